//! The status LED, by the kernel's LED class (`Documentation/leds/leds-class.rst`): what each state looks like, and the
//! files to write for it. The kernel blinks; nothing here has to run for that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the LED says. HUB-KEEPERS.md explains it to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Even, slow blinking.
    Starting,
    /// Steady light.
    Ready,
    /// Fast blinking: do not cut the power if it can be helped.
    Updating,
    /// Two short flashes and a pause: the status page says why.
    Attention,
}

/// One file to write in the LED's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub file: &'static str,
    /// What to write.
    pub value: String,
}

/// What a LED can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The kernel's trigger that blinks evenly.
    pub timer: bool,
    /// The kernel's trigger that plays a pattern.
    pub pattern: bool,
    /// Brightest value.
    pub max_brightness: u32,
}

impl Abilities {
    /// From the files `trigger` (names in a line, the one in force in brackets) and `max_brightness`.
    #[must_use]
    pub fn parse(trigger: &str, max_brightness: &str) -> Self {
        let has = |name: &str| {
            trigger.split_ascii_whitespace().any(|word| word.trim_matches(|c| c == '[' || c == ']') == name)
        };
        Self {
            timer: has("timer"),
            pattern: has("pattern"),
            max_brightness: max_brightness.trim().parse().unwrap_or(1).max(1),
        }
    }
}

/// The files to write, in order.
#[must_use]
pub fn plan(signal: Signal, abilities: Abilities) -> Vec<Write> {
    let write = |file, value: &dyn ToString| Write { file, value: value.to_string() };
    let steady = |brightness: u32| vec![write("trigger", &"none"), write("brightness", &brightness)];
    let blink = |on_ms: u32, off_ms: u32| {
        vec![write("trigger", &"timer"), write("delay_on", &on_ms), write("delay_off", &off_ms)]
    };
    let bright = abilities.max_brightness;
    match signal {
        Signal::Ready => steady(bright),
        Signal::Attention if abilities.pattern => {
            // Pairs of brightness and milliseconds; a change takes the first one's time, so that each edge is a pair
            // of its own that takes none (ledtrig-pattern).
            let pattern = format!("{bright} 100 {bright} 0 0 150 0 0 {bright} 100 {bright} 0 0 1200 0 0");
            vec![write("trigger", &"pattern"), write("pattern", &pattern)]
        }
        Signal::Starting if abilities.timer => blink(500, 500),
        Signal::Updating if abilities.timer => blink(100, 100),
        Signal::Attention if abilities.timer => blink(100, 1900),
        // A LED that cannot blink is lit only when all is well.
        Signal::Starting | Signal::Updating | Signal::Attention => steady(0),
    }
}

/// A LED of the board.
#[derive(Debug)]
pub struct Led {
    folder: PathBuf,
    shown: Option<Signal>,
}

impl Led {
    /// The LED `name` below `root`; `None` when the kernel has none of that name.
    #[must_use]
    pub fn find(root: &Path, name: &str) -> Option<Self> {
        let folder = root.join("sys/class/leds").join(name);
        folder.join("trigger").exists().then_some(Self { folder, shown: None })
    }

    /// Shows `signal`, unless it is shown already.
    ///
    /// # Errors
    /// When the kernel does not take it; it is tried again the next time.
    pub fn show(&mut self, signal: Signal) -> io::Result<()> {
        if self.shown == Some(signal) {
            return Ok(());
        }
        let read = |file: &str| crate::text(&self.folder.join(file)).unwrap_or_default();
        let abilities = Abilities::parse(&read("trigger"), &read("max_brightness"));
        for write in plan(signal, abilities) {
            fs::write(self.folder.join(write.file), write.value)?;
        }
        self.shown = Some(signal);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Raspberry Pi 4's kernel prints it.
    const PI: &str = "none kbd-scrolllock usb-gadget rc-feedback [mmc0] mmc1 timer oneshot pattern default-on panic cpu cpu0\n";

    fn spelled(signal: Signal, trigger: &str, max: &str) -> Vec<String> {
        let writes = plan(signal, Abilities::parse(trigger, max));
        writes.into_iter().map(|write| format!("{}={}", write.file, write.value)).collect()
    }

    #[test]
    fn each_state_looks_different_on_every_kind_of_led_that_can_blink() {
        for trigger in [PI, "none [timer]", "none timer [pattern]"] {
            let states = [Signal::Starting, Signal::Ready, Signal::Updating, Signal::Attention];
            let plans: std::collections::BTreeSet<_> =
                states.iter().map(|signal| spelled(*signal, trigger, "255")).collect();
            assert_eq!(plans.len(), states.len(), "{trigger}");
        }
    }

    #[test]
    fn the_files_are_those_of_the_kernels_triggers() {
        assert_eq!(spelled(Signal::Starting, PI, "1\n"), ["trigger=timer", "delay_on=500", "delay_off=500"]);
        assert_eq!(spelled(Signal::Ready, PI, "255\n"), ["trigger=none", "brightness=255"]);
        assert_eq!(
            spelled(Signal::Attention, PI, "1"),
            ["trigger=pattern", "pattern=1 100 1 0 0 150 0 0 1 100 1 0 0 1200 0 0"]
        );
        assert_eq!(spelled(Signal::Attention, "none timer", "1")[0], "trigger=timer");
        assert_eq!(spelled(Signal::Starting, "[none] mmc0", "nonsense"), ["trigger=none", "brightness=0"]);
    }

    #[test]
    fn it_is_written_once_and_again_only_when_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/class/leds/ACT");
        assert!(Led::find(root.path(), "ACT").is_none());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("trigger"), PI).unwrap();
        fs::write(folder.join("max_brightness"), "255\n").unwrap();
        let mut led = Led::find(root.path(), "ACT").unwrap();
        led.show(Signal::Starting).unwrap();
        assert_eq!(fs::read_to_string(folder.join("delay_on")).unwrap(), "500");
        fs::write(folder.join("delay_on"), "untouched").unwrap();
        led.show(Signal::Starting).unwrap();
        assert_eq!(fs::read_to_string(folder.join("delay_on")).unwrap(), "untouched");
        led.show(Signal::Ready).unwrap();
        assert_eq!(fs::read_to_string(folder.join("brightness")).unwrap(), "255");
    }
}
