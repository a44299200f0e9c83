//! What can be said of the Buildroot tree without a checkout of Buildroot: its files fit together. `cargo xtask buildroot --check PATH`
//! says the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{boards, root};

const HERE: &str = "$(BR2_EXTERNAL_CAIRN_PATH)";

fn tree() -> PathBuf {
    root().join("buildroot-config")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A defconfig's symbols; what is "not set" is `n`.
fn symbols(text: &str) -> BTreeMap<String, String> {
    let mut symbols = BTreeMap::new();
    for line in text.lines() {
        let off = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
        let (name, value) = match (off, line.split_once('=')) {
            (Some(name), _) => (name, "n"),
            (None, Some((name, value))) if !line.starts_with('#') => (name, value),
            _ => {
                assert!(line.is_empty() || line.starts_with('#'), "{line:?} is no line of a defconfig");
                continue;
            }
        };
        assert!(
            name.starts_with("BR2_") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{name}"
        );
        let good = matches!(value, "y" | "n")
            || (value.len() >= 2 && value.starts_with('"') && value.ends_with('"'));
        assert!(good, "{name}={value}: neither y, n nor a string");
        assert!(symbols.insert(name.to_owned(), value.to_owned()).is_none(), "{name} is said twice");
    }
    symbols
}

#[test]
fn every_board_has_its_defconfig_and_they_differ_only_where_boards_do() {
    let mut common: Option<String> = None;
    let mut names = BTreeSet::new();
    for (board, facts) in boards() {
        let name = format!("cairn_{}_defconfig", board.replace('-', "_"));
        let text = read(&tree().join("configs").join(&name));
        let symbols = symbols(&text);
        let value = |symbol: &str| symbols.get(symbol).map(|value| value.trim_matches('"').to_owned());
        // Up to the board's own part, which follows the hand-over to image/; only the board's name stands before it.
        let first = text
            .split("# Handed over to image/")
            .next()
            .unwrap()
            .lines()
            .skip(1)
            .collect::<Vec<_>>()
            .join("\n");
        let first = first.replace(&format!("POST_SCRIPT_ARGS=\"{board}\""), "POST_SCRIPT_ARGS=\"\"");
        assert_eq!(common.get_or_insert_with(|| first.clone()), &first, "{name}: the common part is another");
        // What board.toml says is what is built.
        let trees: Vec<&str> =
            facts.boot.device_trees.iter().map(|tree| tree.trim_end_matches(".dtb")).collect();
        assert_eq!(value("BR2_LINUX_KERNEL_INTREE_DTS_NAME").unwrap_or_default(), trees.join(" "), "{name}");
        assert_eq!(value("BR2_PACKAGE_WPA_SUPPLICANT").as_deref() == Some("y"), facts.devices.wifi, "{name}");
        assert_eq!(
            value("BR2_TARGET_UBOOT").as_deref() == Some("y"),
            facts.boot.flow == crate::Flow::Script,
            "{name}"
        );
        assert_eq!(value("BR2_PACKAGE_CAIRN").as_deref(), Some("y"), "{name}");
        // Files that it names exist.
        for (symbol, value) in &symbols {
            for file in value.trim_matches('"').split_whitespace().filter_map(|word| word.strip_prefix(HERE))
            {
                let path = tree().join(file.trim_start_matches('/'));
                assert!(path.exists(), "{name}: {symbol} names {}, which is not there", path.display());
            }
        }
        names.insert(name);
    }
    let there = fs::read_dir(tree().join("configs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), names, "a defconfig without a board, or the other way round");
}

/// Kconfig's files: what is opened is closed, what is sourced exists, every symbol bears the tree's prefix and a help.
#[test]
fn the_menus_are_whole() {
    let mut open = vec![tree().join("Config.in")];
    let mut defined = BTreeSet::new();
    while let Some(path) = open.pop() {
        let text = read(&path);
        let (mut depth, mut helped, mut symbol) = (0_i32, true, String::new());
        for (at, line) in text.lines().enumerate() {
            let here = format!("{}:{}", path.display(), at + 1);
            assert!(!line.ends_with([' ', '\t']), "{here}: blanks at the end");
            assert!(!line.starts_with(' '), "{here}: Kconfig is indented by tabs");
            let word = line.split_whitespace().next().unwrap_or_default();
            match word {
                "source" => {
                    let file = line.split('"').nth(1).unwrap();
                    let file = file
                        .strip_prefix("$BR2_EXTERNAL_CAIRN_PATH/")
                        .unwrap_or_else(|| panic!("{here}: {file}"));
                    open.push(tree().join(file));
                }
                "config" if line.starts_with("config") => {
                    assert!(helped, "{here}: {symbol} has no help");
                    symbol = line.split_whitespace().nth(1).unwrap().to_owned();
                    assert!(symbol.starts_with("BR2_PACKAGE_CAIRN"), "{here}: {symbol}");
                    assert!(defined.insert(symbol.clone()), "{here}: {symbol} is defined twice");
                    helped = false;
                }
                "help" => helped = true,
                "menu" | "if" | "choice" if !line.starts_with('\t') => depth += 1,
                "endmenu" | "endif" | "endchoice" => depth -= 1,
                _ => {}
            }
        }
        assert!(helped && depth == 0, "{}: something is left open", path.display());
    }
    assert!(defined.contains("BR2_PACKAGE_CAIRN"));
}

/// The package's makefile: its version is the workspace's, its licence files exist, definitions and conditions are closed, and it ends in
/// the infrastructure that evaluates it.
#[test]
fn the_package_is_the_one_of_this_workspace() {
    let desc = read(&tree().join("external.desc"));
    assert!(desc.starts_with("name: CAIRN\n"), "{desc}");
    assert!(read(&tree().join("external.mk")).contains("$(BR2_EXTERNAL_CAIRN_PATH)/package/*/*.mk"));
    let text = read(&tree().join("package/cairn/cairn.mk"));
    let workspace: toml::Table = read(&root().join("Cargo.toml")).parse().unwrap();
    let version = workspace["workspace"]["package"]["version"].as_str().unwrap();
    let variable = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.unwrap_or_else(|| panic!("{name} is not said")).to_owned()
    };
    assert_eq!(variable("CAIRN_VERSION"), version);
    for file in variable("CAIRN_LICENSE_FILES").split(' ') {
        assert!(root().join(file).exists(), "{file}");
    }
    let cross = read(&root().join("cross.toml"));
    let flags = text.split("RUSTFLAGS=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(cross.contains(&format!("RUSTFLAGS={flags}")), "{flags} is not what cross.toml says");
    let count = |word: &str| text.lines().filter(|line| line.split_whitespace().next() == Some(word)).count();
    assert_eq!(count("define"), count("endef"));
    assert_eq!(count("ifeq") + count("ifneq") + count("ifdef"), count("endif"));
    for line in text.lines() {
        assert!(!line.starts_with(' '), "{line:?}: makefiles are indented by tabs");
        assert!(!line.ends_with(' '), "{line:?}: blanks at the end");
    }
    assert_eq!(text.matches('(').count(), text.matches(')').count(), "a bracket is left open");
    assert_eq!(text.trim_end().lines().last().unwrap(), "$(eval $(cargo-package))");
    for script in ["check", "post-build", "post-image"] {
        use std::os::unix::fs::PermissionsExt;
        let path = tree().join("scripts").join(script);
        assert!(path.metadata().unwrap().permissions().mode() & 0o111 != 0, "{script} cannot be run");
        let syntax = std::process::Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(syntax.success(), "{script} is no script");
    }
}
