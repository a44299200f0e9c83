//! The whole tree with real processes: started, killed, stopped, silenced.
//!
//! This program is all of them: `tree supervise FOLDER` is a supervisor with short times, `tree role NAME FOLDER` a role
//! that writes down what happens to it. How a role behaves stands in the file FOLDER/NAME.mode.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use cairn_process::{Channel, ConfinementReport, Profile, spawn};
use cairn_supervisor::{Notify, Order, Policy, Role, RoleLink, RoleSpec, Tree, TreeConfig};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLICY: Policy = Policy {
    start_within: Duration::from_secs(20),
    ping_every: Duration::from_millis(50),
    silent_after: Duration::from_secs(3),
    backoff_first: Duration::from_millis(20),
    backoff_most: Duration::from_millis(200),
    stable_after: Duration::from_secs(60),
    stop_within: Duration::from_secs(2),
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["supervise", folder] => return supervise(Path::new(folder)),
        ["role", name, folder] => return play(name, Path::new(folder)),
        _ => {}
    }
    let tests: [(&str, fn() -> Result<(), Failed>); 10] = [
        ("both_roles_start_talk_and_are_told", both_roles_start_talk_and_are_told),
        ("a_killed_infer_comes_back_with_a_fresh_channel", || comes_back("infer")),
        ("a_killed_hub_comes_back_with_a_fresh_channel", || comes_back("hub")),
        ("a_role_that_stops_answering_is_killed_and_started_again", a_silent_role_is_started_again),
        ("a_role_that_asks_for_it_is_started_again", a_role_that_asks_is_started_again),
        ("the_hub_ends_before_infer_and_nothing_stays_behind", ends_in_order),
        ("what_a_failing_role_says_is_known", what_a_failing_role_says_is_known),
        ("a_role_that_does_not_end_is_killed_and_the_end_is_not_clean", a_stubborn_role_is_killed),
        ("roles_do_not_outlive_their_supervisor", roles_do_not_outlive_their_supervisor),
        ("the_watchdog_is_fed_and_disarmed_by_an_orderly_end_alone", the_watchdog_is_fed),
    ];
    let trials = tests.map(|(name, test)| Trial::test(name, test)).into_iter().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

// The supervisor and its roles.

fn supervise(folder: &Path) -> ExitCode {
    let role = |name: &str| RoleSpec {
        arguments: vec!["role".into(), name.into(), folder.into()],
        environment: vec![],
        policy: POLICY,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(async {
        let config = TreeConfig {
            hub: role("hub"),
            infer: role("infer"),
            data: folder.to_owned(),
            device: None,
            system: None,
            watchdog: Some(folder.join("watchdog")),
            notify: Notify::from_environment().unwrap(),
        };
        Tree::new(config).run().await
    });
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(9) }
}

/// Writes one line to the folder's log.
fn note(folder: &Path, line: &str) {
    // A test that has ended takes its folder along; what its last processes say then interests nobody.
    if let Ok(mut log) = OpenOptions::new().append(true).create(true).open(folder.join("log")) {
        // One write, so that lines of two processes do not mix.
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

fn mode(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(format!("{name}.mode"))).unwrap_or_default()
}

fn play(name: &str, folder: &Path) -> ExitCode {
    if mode(folder, name) == "fail early" {
        cairn_supervisor::last_words("there is\nno room").unwrap();
        assert!(cairn_supervisor::last_words("again").is_err(), "the channel was taken twice");
        return ExitCode::from(1);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let report = ConfinementReport { profile: Profile::Hub, held: vec![], lacking: vec![] };
        let (link, mut orders) = RoleLink::connect(report).await.unwrap();
        if let Ok(first) = spawn::inherited(spawn::INFERENCE) {
            tokio::spawn(answer(folder.to_owned(), first));
        }
        note(folder, &format!("{name} started {}", std::process::id()));
        if mode(folder, name) == "fail" {
            link.last_words(&"much ".repeat(1000)).await.unwrap();
            return ExitCode::from(3);
        }
        link.ready().await.unwrap();
        let mut told = false;
        while let Some(order) = orders.recv().await {
            match order {
                Order::Inference(stream) if name == "infer" => {
                    drop(tokio::spawn(answer(folder.to_owned(), stream)))
                }
                Order::Inference(stream) => drop(tokio::spawn(ask(folder.to_owned(), stream))),
                Order::Status(status) => {
                    for failure in status.roles.iter().filter_map(|role| role.last_failure.as_ref()) {
                        note(folder, &format!("{name} hears: {failure}"));
                    }
                    let ready =
                        status.roles.iter().all(|role| role.health == cairn_supervisor::RoleHealth::Ready);
                    if ready && !std::mem::replace(&mut told, true) {
                        let restarts: Vec<u32> = status.roles.iter().map(|role| role.restarts).collect();
                        let memory = status.roles.iter().all(|role| role.memory > Some(0));
                        note(folder, &format!("{name} told {restarts:?} {memory}"));
                    }
                    if ready && mode(folder, name) == "restart infer" {
                        fs::remove_file(folder.join(format!("{name}.mode"))).unwrap();
                        link.restart(Role::Infer).await.unwrap();
                    }
                }
                Order::Update(..) => {}
                Order::Shutdown if mode(folder, name) == "stubborn" => {}
                Order::Shutdown => break,
            }
        }
        note(folder, &format!("{name} ended"));
        ExitCode::SUCCESS
    })
}

/// The hub's side of the inference channel: one question.
async fn ask(folder: PathBuf, stream: std::os::unix::net::UnixStream) {
    let channel = Channel::<u32, u32>::new(stream).unwrap();
    channel.send(&20).await.unwrap();
    if let Ok(Some(answer)) = channel.recv().await {
        note(&folder, &format!("answered {answer}"));
    }
    // Stays open as long as infer does.
    drop(channel.recv().await);
}

/// Infer's side.
async fn answer(folder: PathBuf, stream: std::os::unix::net::UnixStream) {
    let channel = Channel::<u32, u32>::new(stream).unwrap();
    while let Ok(Some(question)) = channel.recv().await {
        note(&folder, "asked");
        channel.send(&(question + 1)).await.unwrap();
    }
}

// The tests.

struct Running {
    supervisor: Child,
    folder: tempfile::TempDir,
    manager: UnixDatagram,
}

impl Running {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(modes: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in modes {
            fs::write(folder.path().join(format!("{name}.mode")), mode).unwrap();
        }
        fs::write(folder.path().join("watchdog"), b"").unwrap();
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let supervisor = Command::new(std::env::current_exe().unwrap())
            .arg("supervise")
            .arg(folder.path())
            .env("NOTIFY_SOCKET", socket)
            .env("WATCHDOG_USEC", "200000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { supervisor, folder, manager }
    }

    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until `count` lines of the log begin with `start`, and gives the last of them.
    fn wait_for(&self, count: usize, start: &str) -> Result<String, Failed> {
        until(&format!("{count} × {start:?}"), || {
            let lines: Vec<_> = self.log().into_iter().filter(|line| line.starts_with(start)).collect();
            (lines.len() >= count).then(|| lines.get(count - 1).cloned()).flatten()
        })
        .map_err(|failed| format!("{failed:?}; the log: {:#?}", self.log()).into())
    }

    /// The process of the `count`th start of a role.
    fn pid(&self, count: usize, name: &str) -> Result<Pid, Failed> {
        let line = self.wait_for(count, &format!("{name} started "))?;
        Ok(Pid::from_raw(line.rsplit(' ').next().unwrap().parse()?))
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 1024];
        let read = self.manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.supervisor.id()).unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> Result<ExitStatus, Failed> {
        until("the supervisor ends", || self.supervisor.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.supervisor.kill());
        drop(self.supervisor.wait());
    }
}

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() > deadline {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn gone(pid: Pid) -> bool {
    kill(pid, None).is_err()
}

fn both_roles_start_talk_and_are_told() -> Result<(), Failed> {
    let tree = Running::start();
    tree.wait_for(1, "answered 21")?;
    assert_eq!(tree.wait_for(1, "hub told")?, "hub told [0, 0] true");
    let mut heard = Vec::new();
    while !heard.contains(&"WATCHDOG=1".to_owned())
        || !heard.iter().any(|text: &String| text.contains("READY=1"))
    {
        heard.push(tree.hear());
    }
    Ok(())
}

fn comes_back(name: &str) -> Result<(), Failed> {
    let tree = Running::start();
    tree.wait_for(1, "answered 21")?;
    let first = tree.pid(1, name)?;
    kill(first, Signal::SIGKILL)?;
    let second = tree.pid(2, name)?;
    assert_ne!(first, second);
    // The two talk again, over another channel.
    tree.wait_for(2, "answered 21")?;
    let other = if name == "hub" { "infer" } else { "hub" };
    let starts = tree.log().iter().filter(|line| line.starts_with(&format!("{other} started"))).count();
    assert_eq!(starts, 1, "{other} was left alone");
    assert!(gone(first), "its end was seen: no zombie");
    Ok(())
}

fn a_silent_role_is_started_again() -> Result<(), Failed> {
    let tree = Running::start();
    tree.wait_for(1, "answered 21")?;
    let first = tree.pid(1, "infer")?;
    kill(first, Signal::SIGSTOP)?;
    tree.pid(2, "infer")?;
    tree.wait_for(2, "answered 21")?;
    assert!(gone(first));
    Ok(())
}

fn a_role_that_asks_is_started_again() -> Result<(), Failed> {
    let tree = Running::start_with(&[("hub", "restart infer")]);
    let first = tree.pid(1, "infer")?;
    tree.pid(2, "infer")?;
    assert!(gone(first));
    Ok(())
}

fn what_a_failing_role_says_is_known() -> Result<(), Failed> {
    // Of the hub, because infer hears nothing of what happens elsewhere; before and after it is linked.
    let tree = Running::start_with(&[("infer", "fail early")]);
    tree.wait_for(1, "hub hears: it ended with code 1: there is no room")?;
    let tree = Running::start_with(&[("infer", "fail")]);
    let heard = tree.wait_for(1, "hub hears: it ended with code 3: much much")?;
    assert!(heard.len() < 500, "{} characters", heard.len());
    Ok(())
}

fn ends_in_order() -> Result<(), Failed> {
    let mut tree = Running::start();
    tree.wait_for(1, "answered 21")?;
    let (hub, infer) = (tree.pid(1, "hub")?, tree.pid(1, "infer")?);
    tree.signal(Signal::SIGTERM);
    assert_eq!(tree.ended()?.code(), Some(0));
    let ends: Vec<String> = tree.log().into_iter().filter(|line| line.ends_with(" ended")).collect();
    assert_eq!(ends, ["hub ended", "infer ended"]);
    assert!(gone(hub) && gone(infer));
    Ok(())
}

fn a_stubborn_role_is_killed() -> Result<(), Failed> {
    let mut tree = Running::start_with(&[("hub", "stubborn")]);
    tree.wait_for(1, "answered 21")?;
    let hub = tree.pid(1, "hub")?;
    tree.signal(Signal::SIGTERM);
    assert_eq!(tree.ended()?.code(), Some(9));
    assert!(gone(hub));
    Ok(())
}

fn roles_do_not_outlive_their_supervisor() -> Result<(), Failed> {
    let mut tree = Running::start();
    tree.wait_for(1, "answered 21")?;
    tree.signal(Signal::SIGKILL);
    tree.ended()?;
    tree.wait_for(1, "hub ended")?;
    tree.wait_for(1, "infer ended")?;
    Ok(())
}

fn the_watchdog_is_fed() -> Result<(), Failed> {
    for (signal, orderly) in [(Signal::SIGTERM, true), (Signal::SIGKILL, false)] {
        let mut tree = Running::start();
        let read = |tree: &Running| fs::read(tree.folder.path().join("watchdog")).unwrap();
        until("it is fed three times", || (read(&tree).len() >= 3).then_some(()))?;
        tree.signal(signal);
        tree.ended()?;
        assert_eq!(read(&tree).ends_with(b"V"), orderly, "{signal}");
    }
    Ok(())
}
