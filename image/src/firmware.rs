//! The Raspberry Pi firmware's `config.txt`, as far as a card of ours uses it: which files it names for which model.
//!
//! Source: "config.txt" in Raspberry Pi's documentation (conditional filters; `kernel`, `initramfs`, `device_tree`). A line that is not
//! understood here is an error: what the firmware would pass over in silence must not lie on a card.

use anyhow::{Context, Result, bail};

/// What the firmware loads on one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loads {
    /// The filter that this model answers to; `all` where the file tells none apart.
    pub model: String,
    /// What it starts.
    pub kernel: Option<String>,
    /// The initramfs, where the firmware loads it.
    pub initramfs: Option<String>,
    /// The device tree.
    pub device_tree: Option<String>,
    /// Whether it is started in 64 bits.
    pub wide: bool,
}

/// Filters that select a model.
const MODELS: &[&str] = &["pi3", "pi3+", "pi02", "pi4", "pi400", "cm4", "pi5", "pi500", "cm5"];

/// What the firmware loads, for each model that the file tells apart.
///
/// # Errors
/// When a line is none that is known, or a model is left without a kernel or a device tree.
pub fn parse(config: &str) -> Result<Vec<Loads>> {
    let mut models: Vec<String> = Vec::new();
    for line in lines(config) {
        if let Some(filter) = filter(line)?
            && filter != "all"
            && !models.iter().any(|model| model == filter)
        {
            models.push(filter.to_owned());
        }
    }
    if models.is_empty() {
        models.push("all".to_owned());
    }
    models.into_iter().map(|model| loads(config, model)).collect()
}

fn loads(config: &str, model: String) -> Result<Loads> {
    let mut loads = Loads { model, ..Loads::default() };
    let mut holds = true;
    for line in lines(config) {
        if let Some(filter) = filter(line)? {
            holds = filter == "all" || filter == loads.model;
            continue;
        }
        if !holds {
            continue;
        }
        if let Some(rest) = line.strip_prefix("initramfs ") {
            let (name, place) = rest.split_once(' ').context("initramfs is told no place in memory")?;
            if place != "followkernel" {
                bail!("initramfs at {place}: only followkernel is known");
            }
            loads.initramfs = Some(name.to_owned());
            continue;
        }
        let (key, value) = line.split_once('=').with_context(|| format!("{line:?} is no setting"))?;
        match key {
            "kernel" => loads.kernel = Some(value.to_owned()),
            "device_tree" => loads.device_tree = Some(value.to_owned()),
            "arm_64bit" => loads.wide = value == "1",
            "enable_uart" | "os_check" => {
                if !matches!(value, "0" | "1") {
                    bail!("{key}={value}: 0 or 1");
                }
            }
            _ => bail!("{key} is not known"),
        }
    }
    if loads.kernel.is_none() || loads.device_tree.is_none() || !loads.wide {
        bail!("{}: no kernel, no device tree, or not 64 bits: {loads:?}", loads.model);
    }
    Ok(loads)
}

fn lines(config: &str) -> impl Iterator<Item = &str> {
    config.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn filter(line: &str) -> Result<Option<&str>> {
    let Some(name) = line.strip_prefix('[') else { return Ok(None) };
    let name = name.strip_suffix(']').with_context(|| format!("{line:?} is no filter"))?;
    if name != "all" && !MODELS.contains(&name) {
        bail!("[{name}] selects no model that is known");
    }
    Ok(Some(name))
}

/// The partitions of `autoboot.txt`: the one that is started, and the one that is tried.
///
/// # Errors
/// When it is not exactly one sector (changing it must be one write), or names no two partitions.
pub fn autoboot(text: &str) -> Result<(u8, u8)> {
    if text.len() != 512 {
        bail!("autoboot.txt has {} bytes instead of one sector", text.len());
    }
    let mut part = [None, None];
    let (mut tried, mut both) = (false, false);
    for line in lines(text) {
        match line {
            "[all]" => tried = false,
            "[tryboot]" => tried = true,
            "tryboot_a_b=1" => both = true,
            _ => {
                let number = line.strip_prefix("boot_partition=").and_then(|number| number.parse().ok());
                let [settled, trial] = &mut part;
                *(if tried { trial } else { settled }) = Some(number.with_context(|| line.to_owned())?);
            }
        }
    }
    match part {
        [Some(settled), Some(trial)] if both && settled != trial => Ok((settled, trial)),
        _ => bail!("autoboot.txt names no two partitions"),
    }
}

/// What the boot ROM or the firmware in the board's own memory looks for by itself, by the chip that a device tree is for.
///
/// # Errors
/// When the chip is none that is known.
pub fn by_itself(device_tree: &str) -> Result<&'static [&'static str]> {
    match device_tree.get(..7) {
        Some("bcm2837") => Ok(&["bootcode.bin", "start.elf", "fixup.dat", "config.txt"]),
        Some("bcm2711") => Ok(&["start4.elf", "fixup4.dat", "config.txt"]),
        Some("bcm2712") => Ok(&["config.txt"]),
        _ => bail!("{device_tree}: what starts such a chip is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_gets_what_its_filter_says() {
        let config = "arm_64bit=1\nkernel=u-boot.bin\n[pi3]\ndevice_tree=a.dtb\n[pi3+]\ndevice_tree=b.dtb\n[all]\nenable_uart=1\n";
        let loads = parse(config).unwrap();
        let told: Vec<_> =
            loads.iter().map(|loads| (loads.model.as_str(), loads.device_tree.as_deref())).collect();
        assert_eq!(told, [("pi3", Some("a.dtb")), ("pi3+", Some("b.dtb"))]);
        assert!(loads.iter().all(|loads| loads.kernel.as_deref() == Some("u-boot.bin")));
    }

    #[test]
    fn what_the_firmware_would_pass_over_is_an_error() {
        let good = "arm_64bit=1\nkernel=k\ndevice_tree=t\ninitramfs i followkernel\n# a remark\n";
        assert_eq!(parse(good).unwrap()[0].initramfs.as_deref(), Some("i"));
        for bad in ["kernel\n", "kernal=k\n", "[pi6]\n", "[pi4\n", "initramfs i\n", "os_check=maybe\n"] {
            assert!(parse(&format!("{good}{bad}")).is_err(), "{bad}");
        }
        // A model that is left without a device tree.
        assert!(parse("arm_64bit=1\nkernel=k\n[pi4]\ndevice_tree=t\n[cm4]\n").is_err());
        assert!(parse("kernel=k\ndevice_tree=t\n").is_err(), "32 bits");
    }

    #[test]
    fn the_choice_of_slot_is_one_sector() {
        let text = crate::disk::autoboot(cairn_slots::SlotId::A);
        assert_eq!(autoboot(&text).unwrap(), (2, 3));
        assert_eq!(autoboot(&crate::disk::autoboot(cairn_slots::SlotId::B)).unwrap(), (3, 2));
        assert!(autoboot(text.trim_end()).is_err());
        assert!(autoboot(&text.replace("[tryboot]", "[tryb0ot]")).is_err());
    }
}
