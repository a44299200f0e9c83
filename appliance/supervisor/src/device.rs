//! What the supervisor does to the device it runs on, because nobody else may: the status LED, the clock, switching off,
//! factory reset, the provisioning file. Decisions stand in `cairn-device`; this carries them out.

use std::path::PathBuf;

use cairn_device::{
    boot_file::{self, Forgotten},
    clock::{self, Clock, Moment},
    concern::Concern,
    durable::Disk,
    led::{Led, Signal},
    reset,
};

use crate::{
    message::{DeviceOrder, Role},
    status::{RoleHealth, TreeStatus},
};

/// What the supervisor needs to know of the device.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// The root of the image's and the kernel's files: `/`.
    pub root: PathBuf,
    /// The data partition's folder.
    pub data: PathBuf,
    /// The provisioning file on the boot partition.
    pub boot_file: PathBuf,
    /// The status LED's name, when the board has one.
    pub led: Option<String>,
    /// The program that switches off and restarts: systemd's `systemctl`.
    pub systemctl: PathBuf,
}

/// The device.
#[derive(Debug)]
pub(crate) struct Device {
    config: DeviceConfig,
    disk: Disk,
    clock: Clock,
    led: Option<Led>,
    updating: bool,
}

/// What the LED says. A worry that passes by itself in seconds is none for it.
fn signal(updating: bool, roles: &[RoleHealth], hub: Option<RoleHealth>, concerns: &[Concern]) -> Signal {
    let lasting = |concern: &Concern| *concern != Concern::MemoryNearlyFull;
    match hub {
        _ if updating => Signal::Updating,
        Some(RoleHealth::Ready) => {
            let failing = roles.contains(&RoleHealth::Failing);
            if failing || concerns.iter().any(lasting) { Signal::Attention } else { Signal::Ready }
        }
        Some(RoleHealth::Failing) => Signal::Attention,
        Some(RoleHealth::Starting | RoleHealth::Stopped) | None => Signal::Starting,
    }
}

impl Device {
    pub(crate) fn new(config: DeviceConfig) -> Self {
        let clock = Clock::read(&config.root, &config.data);
        let mut device = Self { config, disk: Disk::new(), clock, led: None, updating: false };
        device.light(Signal::Starting);
        device
    }

    /// Shows how the tree is on the LED.
    pub(crate) fn show(&mut self, status: &TreeStatus) {
        let roles: Vec<RoleHealth> = status.roles.iter().map(|role| role.health).collect();
        let hub = status.role(Role::Hub).map(|role| role.health);
        self.light(signal(self.updating, &roles, hub, &status.concerns));
    }

    fn light(&mut self, signal: Signal) {
        // The kernel may find its LEDs after we have started.
        if self.led.is_none() {
            self.led = self.config.led.as_deref().and_then(|name| Led::find(&self.config.root, name));
        }
        if let Some(led) = &mut self.led
            && let Err(error) = led.show(signal)
        {
            tracing::debug!(%error, ?signal, "the status LED");
        }
    }

    /// Does what the hub asks for.
    pub(crate) fn obey(&mut self, order: DeviceOrder) {
        match order {
            DeviceOrder::PowerOff => self.systemctl(&["poweroff"]),
            DeviceOrder::Restart => self.systemctl(&["reboot"]),
            DeviceOrder::FactoryReset => match reset::ask(&self.config.data, &self.disk) {
                Ok(()) => {
                    tracing::warn!("factory reset: everything of the community is erased at the next start");
                    self.systemctl(&["reboot"]);
                }
                Err(error) => tracing::error!(%error, "nothing is reset"),
            },
            DeviceOrder::SetClock(seconds) => self.set_clock(Moment(seconds)),
            DeviceOrder::ForgetToken => {
                let file = &self.config.boot_file;
                match boot_file::forget(file, &self.config.data, "gateway", "enrolment_token", &self.disk) {
                    Ok(Forgotten::Nothing) => {}
                    Ok(when) => tracing::info!(
                        ?when,
                        "the used enrolment token is taken out of the provisioning file"
                    ),
                    Err(error) => tracing::warn!(
                        %error,
                        "the used enrolment token stays in the provisioning file; it is of no use to others"
                    ),
                }
            }
            DeviceOrder::Updating(updating) => self.updating = updating,
        }
    }

    fn set_clock(&mut self, told: Moment) {
        let Some(moment) = clock::accept(told, self.clock.floor()) else {
            tracing::warn!(told = told.0, "a time before the floor is not believed");
            return;
        };
        if let Err(error) = clock::set(moment) {
            tracing::error!(%error, "the clock could not be set");
            return;
        }
        if let Err(error) = self.clock.remember(moment, &self.disk) {
            tracing::warn!(%error, "the time could not be written down for the next start");
        }
    }

    /// Restarts, with an argument for the firmware where the board needs one.
    pub(crate) fn restart(&self, argument: Option<&str>) {
        match argument {
            None => self.systemctl(&["reboot"]),
            Some(argument) => self.systemctl(&["reboot", &format!("--reboot-argument={argument}")]),
        }
    }

    /// systemd ends this process like every other then, and so the roles in order.
    fn systemctl(&self, words: &[&str]) {
        let mut command = tokio::process::Command::new(&self.config.systemctl);
        match command.arg("--no-block").args(words).stdin(std::process::Stdio::null()).spawn() {
            Ok(_) => tracing::warn!(?words, "asked for by the hub"),
            Err(error) => tracing::error!(?words, %error, "the service manager could not be asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: Option<RoleHealth> = Some(RoleHealth::Ready);

    #[test]
    fn the_led_says_what_matters_most() {
        let signal = |updating, roles: &[RoleHealth], concerns: &[Concern]| {
            super::signal(updating, roles, roles.first().copied(), concerns)
        };
        use RoleHealth::{Failing, Ready, Starting};
        assert_eq!(signal(false, &[], &[]), Signal::Starting);
        assert_eq!(signal(false, &[Starting, Starting], &[Concern::Hot]), Signal::Starting);
        assert_eq!(signal(false, &[Ready, Starting], &[]), Signal::Ready, "models may still load");
        assert_eq!(signal(false, &[Ready, Failing], &[]), Signal::Attention);
        assert_eq!(signal(false, &[Failing, Ready], &[]), Signal::Attention);
        assert_eq!(signal(false, &[Ready, Ready], &[Concern::UnderVoltage]), Signal::Attention);
        assert_eq!(signal(false, &[Ready, Ready], &[Concern::MemoryNearlyFull]), Signal::Ready);
        assert_eq!(
            signal(true, &[Failing, Failing], &[Concern::Hot]),
            Signal::Updating,
            "do not cut the power"
        );
        assert_eq!(super::signal(false, &[], READY, &[]), Signal::Ready);
    }

    #[tokio::test]
    async fn a_factory_reset_leaves_the_marker_and_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // A service manager that notes what it was asked.
        std::fs::write(
            path("systemctl"),
            format!("#!/bin/sh\necho \"$@\" > {}.new\nmv {0}.new {0}\n", path("asked").display()),
        )
        .unwrap();
        std::fs::set_permissions(path("systemctl"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let config = DeviceConfig {
            root: path("root"),
            data: folder.path().to_owned(),
            boot_file: path("cairn.toml"),
            led: None,
            systemctl: path("systemctl"),
        };
        let mut device = Device::new(config);
        std::fs::create_dir(path("hub")).unwrap();
        device.obey(DeviceOrder::FactoryReset);
        let asked = async {
            while !path("asked").exists() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), asked).await.unwrap();
        assert_eq!(std::fs::read_to_string(path("asked")).unwrap().trim(), "--no-block reboot");
        let boot = tempfile::tempdir().unwrap();
        let outcome = reset::at_start(folder.path(), boot.path(), &Disk::new()).unwrap();
        assert_eq!(outcome, reset::Outcome::Done);
        assert!(!path("hub").exists());
    }

    #[tokio::test]
    async fn a_used_token_goes_and_a_time_before_the_floor_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("root/usr/share/cairn")).unwrap();
        std::fs::write(path("root").join(clock::BUILD_TIME_FILE), "1790000000\n").unwrap();
        std::fs::write(path("cairn.toml"), "[gateway]\nenrolment_token = \"s3cret\"\n").unwrap();
        let config = DeviceConfig {
            root: path("root"),
            data: path("data"),
            boot_file: path("cairn.toml"),
            led: None,
            systemctl: path("none"),
        };
        let mut device = Device::new(config);
        device.obey(DeviceOrder::ForgetToken);
        assert!(!std::fs::read_to_string(path("cairn.toml")).unwrap().contains("s3cret"));
        let before = Moment::now();
        device.obey(DeviceOrder::SetClock(1_000_000_000));
        assert!(Moment::now() >= before);
        assert!(!path("data/device/trusted-time").exists());
    }
}
