//! What the card's own `trial` script decides about a new system that has not proved itself: the script as it stands on the card, with its
//! paths in a folder and a `systemctl` that only writes down what it is asked. Its limits are compared with those that it stands behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use cairn_slots::{SlotId, health::Probe, record::Record};

use crate::{on_the_card, program};

/// A system on trial, or not, in a folder.
struct Trial {
    folder: tempfile::TempDir,
}

impl Trial {
    fn new(on_trial: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trial = Self { folder };
        for name in ["run/cairn", "data/trust", "dev", "bin"] {
            fs::create_dir_all(trial.path(name)).unwrap();
        }
        fs::write(trial.path("dev/console"), "").unwrap();
        fs::write(trial.path("run/cairn/boot"), format!("SLOT=b\nTRIAL={}\n", u8::from(on_trial))).unwrap();
        let mut script = on_the_card("usr/lib/cairn/trial");
        for begin in ["/run/cairn", "/data/trust", "/dev/console"] {
            assert!(script.contains(begin), "{begin} is no longer in the script");
            script = script.replace(begin, trial.path(&begin[1..]).to_str().unwrap());
        }
        fs::write(trial.path("trial"), script).unwrap();
        trial.obeying(true);
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What systemd does with the first, gentle request.
    fn obeying(&self, obeys: bool) {
        let (told, obeys) = (self.path("told"), u8::from(obeys));
        let text = format!("echo \"$*\" >> {}\n[ {obeys} = 1 ] || [ \"$1\" = reboot ]", told.display());
        program(&self.path("bin/systemctl"), &text);
    }

    fn record(&self, record: &Record) {
        fs::write(self.path("data/trust/updates.json"), serde_json::to_vec_pretty(record).unwrap()).unwrap();
    }

    /// Runs the script; what systemd was asked for so far, line by line.
    fn call(&self, arguments: &[&str]) -> Vec<String> {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let done =
            Command::new("sh").arg(self.path("trial")).args(arguments).env("PATH", path).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        fs::read_to_string(self.path("told")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn console(&self) -> String {
        fs::read_to_string(self.path("dev/console")).unwrap()
    }
}

/// A record of an update that is being tried.
fn tried() -> Record {
    let release = serde_json::json!({ "version": "0.1.1", "manifest": "00".repeat(32) });
    Record::default().with_attempt(serde_json::from_value(release).unwrap(), SlotId::B)
}

#[test]
fn a_system_that_does_not_prove_itself_in_time_goes_back() {
    let trial = Trial::new(true);
    trial.record(&tried());
    assert_eq!(trial.call(&[]), ["--no-block reboot"]);
    assert!(trial.console().contains("has not proved itself within 20 minutes"), "{}", trial.console());
    // Data that cannot be mounted: no record, and no proof either.
    assert_eq!(Trial::new(true).call(&[]), ["--no-block reboot"]);
    // A systemd that takes no more jobs.
    let trial = Trial::new(true);
    trial.obeying(false);
    assert_eq!(trial.call(&[]), ["--no-block reboot", "reboot --force --force"]);
}

#[test]
fn one_that_stays_and_one_that_was_settled_are_left_alone() {
    let none: [&str; 0] = [];
    let trial = Trial::new(true);
    trial.record(&tried().confirmed());
    assert_eq!(trial.call(&[]), none);
    for _ in 0..9 {
        assert_eq!(trial.call(&["ended"]), none, "an orderly restart of a system that stays is no failure");
    }
    let trial = Trial::new(false);
    trial.record(&tried());
    assert_eq!(trial.call(&[]), none);
    for _ in 0..9 {
        assert_eq!(trial.call(&["ended"]), none);
    }
    assert_eq!(trial.console(), "");
}

#[test]
fn the_sixth_end_of_a_supervisor_on_trial_is_the_last() {
    let trial = Trial::new(true);
    trial.record(&tried());
    for _ in 0..5 {
        assert!(trial.call(&["ended"]).is_empty());
    }
    assert_eq!(trial.call(&["ended"]), ["--no-block reboot"]);
    assert!(trial.console().contains("ended 6 times"), "{}", trial.console());
}

#[test]
fn the_limits_stand_in_their_order() {
    let timer = on_the_card("usr/lib/systemd/system/cairn-trial.timer");
    let minutes =
        timer.lines().find_map(|line| line.strip_prefix("OnBootSec=")?.strip_suffix("min")).unwrap();
    let limit = Duration::from_secs(60 * minutes.parse::<u64>().unwrap());
    let last = Probe::ALL.into_iter().map(Probe::deadline).max().unwrap();
    // The supervisor judges first; starting up to it takes a slow board less than the rest.
    assert!(limit >= last + Duration::from_secs(240), "{limit:?} and {last:?}");
    // What hangs before systemd is there: a watchdog that is fed for so long, and then waits as long as it was told to.
    let init = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("initramfs/init")).unwrap();
    let number = |before: &str| -> u64 {
        let rest = init.split(before).nth(1).unwrap_or_else(|| panic!("no {before:?} in init"));
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let (fed, patience) = (number("{ sleep "), number("watchdog -F -T "));
    assert!(Duration::from_secs(fed + patience) < Duration::from_secs(7 * 60), "{fed} s and {patience} s");
    assert!(init.contains("{ sleep 300; kill -9 $watchdog; } &"), "the feeding does not end by itself");
}
