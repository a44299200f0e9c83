//! The facts that images and hubs are built from: boards, the card's layout, the cross build.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod buildroot;

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Board {
    name: String,
    compatible: Vec<String>,
    boot: Boot,
    cpu: Cpu,
    memory_mib: Memory,
    devices: Devices,
    model: Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Boot {
    flow: Flow,
    kernel: String,
    #[serde(default)]
    files: Vec<toml::Table>,
    #[serde(default)]
    config: Vec<String>,
    device_trees: Vec<String>,
    console: String,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Flow {
    Script,
    Tryboot,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cpu {
    core: String,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    smallest: u32,
    largest: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Devices {
    led: Option<String>,
    watchdog: String,
    wifi: bool,
    rtc: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    max_file_mib: u32,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn boards() -> Vec<(String, Board)> {
    let folders = std::fs::read_dir(root().join("hardware")).unwrap().map(|entry| entry.unwrap().path());
    let boards = folders.filter(|path| path.is_dir()).map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(path.join("board.toml")).unwrap();
        let board = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, board)
    });
    boards.collect()
}

#[test]
fn every_board_is_described_and_none_twice() {
    let boards = boards();
    let names: BTreeSet<&str> = boards.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["qemu-virt", "rpi3", "rpi4", "rpi5", "rpi-zero2w"]));
    let mut compatible = BTreeSet::new();
    for (name, board) in &boards {
        assert!(
            !board.name.is_empty() && !board.boot.console.is_empty() && !board.devices.watchdog.is_empty()
        );
        for model in &board.compatible {
            assert!(compatible.insert(model.clone()), "{model} is described twice, again in {name}");
        }
        assert!(["stable", "backports"].contains(&board.boot.kernel.as_str()), "{name}");
        // Whatever starts a real board reads config.txt; whoever uses U-Boot brings it along.
        assert_eq!(board.boot.config.is_empty(), name == "qemu-virt", "{name}");
        assert_eq!(board.boot.files.is_empty(), board.boot.flow == Flow::Tryboot, "{name}");
        // A real board is found by its device trees, shows its state on a LED, and has a radio.
        let real = name != "qemu-virt";
        assert_eq!(real, !board.boot.device_trees.is_empty(), "{name}");
        assert_eq!(real, board.devices.led.is_some(), "{name}");
        assert_eq!(real, board.devices.wifi, "{name}");
        assert!(board.memory_mib.smallest <= board.memory_mib.largest, "{name}");
        assert!(
            board.model.max_file_mib * 2 <= board.memory_mib.smallest.max(1),
            "{name}: the model leaves no room"
        );
    }
    let with_tryboot = boards.iter().filter(|(_, board)| board.boot.flow == Flow::Tryboot);
    assert_eq!(with_tryboot.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["rpi5"]);
    let with_clock = |name: &str| boards.iter().find(|(other, _)| other == name).unwrap().1.devices.rtc;
    assert!(with_clock("rpi5") && !with_clock("rpi4"));
}

#[test]
fn the_cross_build_suits_the_oldest_core() {
    let cross: toml::Table = std::fs::read_to_string(root().join("cross.toml")).unwrap().parse().unwrap();
    let target = cross["build"]["default-target"].as_str().unwrap();
    let variables = cross["target"][target]["env"]["passthrough"].as_array().unwrap();
    let flags =
        variables.iter().find_map(|flags| flags.as_str().unwrap().split_once("target-cpu=")).unwrap().1;
    // From oldest to newest; a binary for one runs on those after it.
    let cores = ["cortex-a53", "cortex-a72", "cortex-a76"];
    let position = |core: &str| cores.iter().position(|other| *other == core).unwrap();
    for (name, board) in boards() {
        assert!(position(flags) <= position(&board.cpu.core), "{name} cannot run a binary for {flags}");
        let has_dot_products = board.cpu.features.iter().any(|feature| feature == "asimddp");
        assert_eq!(has_dot_products, board.cpu.core == "cortex-a76", "{name}");
    }
}

#[test]
fn nothing_overlaps_on_the_card() {
    let layout: toml::Table =
        std::fs::read_to_string(root().join("image/layout.toml")).unwrap().parse().unwrap();
    let first = layout["first_mib"].as_integer().unwrap() * 2048;
    let control = &layout["boot_control"];
    let length = control["sectors"].as_integer().unwrap();
    // The partition table ends before the first copy, the copies before the first partition.
    let mut free_from = 34;
    for copy in control["copies"].as_array().unwrap() {
        let copy = copy.as_integer().unwrap();
        assert!(copy >= free_from, "a copy of the boot state lies on something else");
        free_from = copy + length;
    }
    assert!(free_from <= first);
    let partitions = layout["partition"].as_array().unwrap();
    let names: Vec<_> = partitions.iter().map(|partition| partition["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["boot", "boot-a", "boot-b", "root-a", "root-b", "data"]);
    let size = |at: usize| partitions[at]["mib"].as_integer().unwrap();
    assert_eq!((size(1), size(3)), (size(2), size(4)), "what fits one slot must fit the other");
}
