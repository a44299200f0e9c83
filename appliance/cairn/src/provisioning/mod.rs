//! The provisioning file, `cairn.toml`: what a hub is told before its first start, on the boot partition of a card or
//! by `--provisioning`.
//!
//! No mistake in it stops the hub. Each is told by its line, with what is used instead, on the console, on the page and
//! in the log. What the file says of the hub itself counts until somebody has claimed it; afterwards the settings
//! page does, so that a card left in the reader does not undo a keeper's decisions. What it says of the network counts
//! always.

mod keys;
mod nearest;

use std::{fmt, fs::File, io::Read, net::SocketAddr, ops::Range, path::Path};

use cairn_device::network::{self, AccessPoint, Passphrase, Ssid, Wish};
use cairn_store::{CloudEndpoint, CloudMode, Secret, Settings};
use toml::de::{DeTable, DeValue};

use keys::{KEYS, Key};
use nearest::nearest;

/// Name on the network when nobody gave one.
pub(crate) const DEFAULT_NAME: &str = "cairn";
/// Largest provisioning file, bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Most mistakes that are told.
const MAX_FINDINGS: usize = 50;

/// What the file says. `None`: nothing, or nothing usable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Provisioning {
    /// Name on the network, without `.local`.
    pub(crate) name: Option<String>,
    /// The name that people see.
    pub(crate) title: Option<String>,
    /// Language of the pages.
    pub(crate) language: Option<String>,
    /// The claim code, for boards without a screen.
    pub(crate) claim_code: Option<Secret>,
    /// Whether anyone may sign up.
    pub(crate) open_sign_up: Option<bool>,
    /// Where to listen.
    pub(crate) listen: Vec<SocketAddr>,
    /// Whether to announce the hub.
    pub(crate) announce: Option<bool>,
    /// The Wi-Fi to join.
    pub(crate) wifi: Wifi,
    /// The hub's own Wi-Fi.
    pub(crate) access_point: AccessPoint,
    /// Whether its passphrase was there and could not be used.
    pub(crate) access_point_unusable: bool,
    /// The gateway to enrol with.
    pub(crate) gateway: Gateway,
    /// Where questions are answered.
    pub(crate) mode: Option<CloudMode>,
    /// The cloud model's address, name and key.
    pub(crate) cloud: [Option<String>; 2],
    pub(crate) cloud_key: Option<Secret>,
}

/// A Wi-Fi to join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wifi {
    pub(crate) ssid: Option<Ssid>,
    /// `Some(None)`: it was there and could not be used.
    pub(crate) passphrase: Option<Option<Passphrase>>,
    pub(crate) country: Option<String>,
}

/// A gateway and the token that lets the hub in once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub(crate) url: Option<String>,
    pub(crate) enrolment_token: Option<Secret>,
}

/// One mistake in the file and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) wrong: String,
    /// What is used instead.
    pub(crate) instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "cairn.toml, line {}: ", self.line)?;
        } else {
            f.write_str("cairn.toml: ")?;
        }
        write!(f, "{}; {}", self.wrong, self.instead)
    }
}

/// Reads the file at `path`; without a path there is nothing to read and nothing wrong.
pub(crate) fn read(path: Option<&Path>) -> (Provisioning, Vec<Finding>) {
    let Some(path) = path else { return Default::default() };
    let whole = |wrong| {
        let instead = "the hub starts as if there were no such file".to_owned();
        (Provisioning::default(), vec![Finding { line: 0, wrong, instead }])
    };
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)) {
        Ok(read) if read as u64 > MAX_FILE => {
            whole(format!("the file is larger than {} KiB", MAX_FILE / 1024))
        }
        Ok(_) => match String::from_utf8(bytes) {
            // Editors on some systems put a mark in front.
            Ok(text) => parse(text.strip_prefix('\u{feff}').unwrap_or(&text)),
            Err(error) => {
                let line = error
                    .as_bytes()
                    .iter()
                    .take(error.utf8_error().valid_up_to())
                    .filter(|b| **b == b'\n')
                    .count();
                whole(format!("line {} is not text in UTF-8", line + 1))
            }
        },
        Err(error) => whole(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Reads the text of a provisioning file.
pub(crate) fn parse(text: &str) -> (Provisioning, Vec<Finding>) {
    let line_of = |span: Range<usize>| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1;
    let mut findings = Vec::new();
    let mut provisioning = Provisioning::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        findings.push(Finding {
            line: error.span().map_or(0, &line_of),
            wrong: error.message().to_owned(),
            instead: "what could not be read there is passed over".to_owned(),
        });
    }
    for (section_name, section) in table.get_ref() {
        let line = line_of(section_name.span());
        let name: &str = section_name.get_ref();
        let Some(entries) = section.get_ref().as_table() else {
            // A key above all sections: someone forgot the section's line.
            let wrong = match KEYS.iter().find(|key| key.name == name) {
                Some(key) => format!("{name:?} stands outside of its section [{}]", key.section),
                None => format!("{name:?} stands outside of any section"),
            };
            findings.push(Finding { line, wrong, instead: "it is passed over".to_owned() });
            continue;
        };
        if !KEYS.iter().any(|key| key.section == name) {
            let wrong =
                format!("there is no section [{name}]{}", hint(name, KEYS.iter().map(|key| key.section)));
            findings.push(Finding { line, wrong, instead: "it is passed over".to_owned() });
            continue;
        }
        for (key_name, value) in entries {
            let known = KEYS.iter().find(|key| key.section == name && key.name == key_name.get_ref());
            let Some(key) = known else {
                let names = KEYS.iter().filter(|key| key.section == name).map(|key| key.name);
                let wrong =
                    format!("[{name}] has no {:?}{}", key_name.get_ref(), hint(key_name.get_ref(), names));
                let instead = "it is passed over".to_owned();
                findings.push(Finding { line: line_of(key_name.span()), wrong, instead });
                continue;
            };
            if let Err(expected) = set(key, &mut provisioning, value.get_ref()) {
                let wrong = format!("{:?} must be {expected}", key.name);
                let instead = key.instead.to_owned();
                findings.push(Finding { line: line_of(value.span()), wrong, instead });
            }
        }
    }
    findings.sort_by_key(|finding| finding.line);
    findings.dedup();
    if findings.len() > MAX_FINDINGS {
        findings.truncate(MAX_FINDINGS);
        let wrong = "there are more mistakes than these".to_owned();
        findings.push(Finding { line: 0, wrong, instead: "they are passed over".to_owned() });
    }
    (provisioning, findings)
}

fn set(key: &Key, provisioning: &mut Provisioning, value: &DeValue<'_>) -> Result<(), String> {
    (key.set)(provisioning, value)
}

fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(name, known).map(|nearest| format!(" (did you mean {nearest:?}?)")).unwrap_or_default()
}

impl Provisioning {
    /// What the file wants of the network. What it said and cannot be used is left out rather than weakened: no network
    /// is joined or made without the passphrase that somebody wrote for it.
    pub(crate) fn wish(&self) -> Wish {
        let name = self.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let mut access_point = self.access_point.clone();
        let wifi = match (&self.wifi.ssid, &self.wifi.passphrase) {
            (None, _) | (_, Some(None)) => None,
            (Some(ssid), passphrase) => {
                Some(network::Wifi { ssid: ssid.clone(), passphrase: passphrase.clone().flatten() })
            }
        };
        if self.access_point_unusable {
            access_point.wanted = Some(false);
        }
        Wish { name, wifi, access_point, country: self.wifi.country.clone() }
    }

    /// The settings of a hub that nobody has claimed yet. What the store would refuse is told and left out.
    pub(crate) fn settings(&self, before: &Settings) -> (Settings, Vec<Finding>) {
        let mut settings = before.clone();
        let mut findings = Vec::new();
        let mut attempt = |change: &dyn Fn(&mut Settings)| {
            let mut changed = settings.clone();
            change(&mut changed);
            match changed.check() {
                Ok(()) => settings = changed,
                Err(error) => findings.push(Finding {
                    line: 0,
                    wrong: error.to_string().trim_end_matches('.').to_owned(),
                    instead: "the usual setting is used".to_owned(),
                }),
            }
        };
        if let Some(title) = self.title.clone().or_else(|| self.name.clone()) {
            attempt(&|settings| settings.hub_name.clone_from(&title));
        }
        if let Some(language) = &self.language {
            attempt(&|settings| settings.language.clone_from(language));
        }
        if let Some(open) = self.open_sign_up {
            attempt(&|settings| settings.open_sign_up = open);
        }
        if let [Some(url), Some(model)] = &self.cloud {
            attempt(&|settings| {
                let key = self.cloud_key.clone().unwrap_or_default();
                settings.cloud = Some(CloudEndpoint { url: url.clone(), model: model.clone(), key });
            });
        }
        if let Some(mode) = self.mode {
            attempt(&|settings| settings.inference = mode);
        }
        (settings, findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[hub]
name = "spring"
title = "Spring Village"
language = "es"
claim_code = "ABCD-2345"
open_sign_up = true

[network]
listen = ["0.0.0.0:80", "[::]:80"]
announce = false

[wifi]
ssid = "village"
passphrase = "correct horse"
country = "CH"

[gateway]
url = "https://gateway.example.org"
enrolment_token = "tok-1"

[inference]
mode = "auto"
url = "https://models.example.org/v1"
model = "small"
key = "sk-1"
"#;

    fn told(text: &str) -> Vec<String> {
        parse(text).1.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_says_everything_and_nothing_is_wrong() {
        let (provisioning, findings) = parse(GOOD);
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(provisioning.name.as_deref(), Some("spring"));
        assert_eq!(provisioning.listen.len(), 2);
        assert_eq!(provisioning.wifi.country.as_deref(), Some("CH"));
        assert_eq!(provisioning.gateway.url.as_deref(), Some("https://gateway.example.org"));
        let (settings, findings) = provisioning.settings(&Settings::default());
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!((settings.hub_name.as_str(), settings.language.as_str()), ("Spring Village", "es"));
        assert!(settings.open_sign_up);
        assert_eq!(settings.inference, CloudMode::Auto);
        assert_eq!(settings.cloud.unwrap().model, "small");
    }

    #[test]
    fn every_mistake_is_told_by_its_line_with_what_is_used_instead_and_the_rest_counts() {
        let text = "[hub]\nname = \"Spring Village!\"\nlangage = \"es\"\ntitle = \"Spring\"\nopen_sign_up = \"yes\"\n\n[netwrk]\nx = 1\n";
        let told = told(text);
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(told[0].contains("line 2") && told[0].contains("cairn"), "{}", told[0]);
        assert!(told[1].contains("line 3") && told[1].contains("did you mean \"language\"?"), "{}", told[1]);
        assert!(told[2].contains("line 5") && told[2].contains("true or false"), "{}", told[2]);
        assert!(told[3].contains("line 7") && told[3].contains("did you mean \"network\"?"), "{}", told[3]);
        assert_eq!(parse(text).0.title.as_deref(), Some("Spring"));
    }

    #[test]
    fn a_line_that_is_no_toml_costs_itself_and_not_the_file() {
        let (provisioning, findings) =
            parse("[hub]\nname = \"spring\"\nlanguage = es\nopen_sign_up = true\n");
        assert!(findings.iter().any(|finding| finding.line == 3), "{findings:?}");
        assert_eq!(provisioning.name.as_deref(), Some("spring"));
        assert_eq!(provisioning.open_sign_up, Some(true));
    }

    #[test]
    fn a_forgotten_section_is_recognised() {
        let told = told("language = \"es\"\n");
        assert!(told[0].contains("[hub]"), "{told:?}");
    }

    #[test]
    fn a_file_that_is_no_text_a_file_that_is_huge_and_no_file_are_told_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cairn.toml");
        for (content, expected) in
            [(b"[hub]\n\xff\xfe".to_vec(), "line 2 is not text"), (vec![b'#'; 70_000], "larger than 64 KiB")]
        {
            std::fs::write(&path, content).unwrap();
            let (provisioning, findings) = read(Some(&path));
            assert_eq!(provisioning, Provisioning::default());
            assert!(findings.first().unwrap().to_string().contains(expected), "{findings:?}");
        }
        let (_, findings) = read(Some(&folder.path().join("none")));
        assert!(findings.first().unwrap().to_string().contains("cannot be read"));
        assert!(read(None).1.is_empty());
    }

    #[test]
    fn the_network_is_what_the_file_wants_and_never_weaker() {
        use cairn_device::network::WifiMode;
        let wish = |text: &str| parse(text).0.wish();
        assert!(matches!(wish("").wifi_mode(), WifiMode::AccessPoint { passphrase: None, .. }));
        let joined = wish(GOOD);
        assert!(matches!(joined.wifi_mode(), WifiMode::Join(wifi) if wifi.passphrase.is_some()));
        assert_eq!((joined.name.as_str(), joined.country.as_deref()), ("spring", Some("CH")));
        // A passphrase that cannot be used does not make an open network of a closed one. The hub stays in reach by its
        // own Wi-Fi, where its page tells the mistake.
        let wrong = wish("[wifi]\nssid = \"village\"\npassphrase = \"short\"\n");
        assert!(wrong.wifi.is_none());
        assert!(matches!(wrong.wifi_mode(), WifiMode::AccessPoint { .. }));
        let closed = wish("[access_point]\npassphrase = \"short\"\n");
        assert!(matches!(closed.wifi_mode(), WifiMode::Off));
        let named = wish("[access_point]\nssid = \"Refuge\"\npassphrase = \"correct horse\"\n");
        assert!(
            matches!(named.wifi_mode(), WifiMode::AccessPoint { ssid, passphrase: Some(_) } if ssid.as_str() == "Refuge")
        );
    }

    #[test]
    fn secrets_of_the_file_are_never_printed() {
        let (provisioning, _) = parse(GOOD);
        let printed = format!("{provisioning:?}");
        for secret in ["ABCD", "correct horse", "tok-1", "sk-1"] {
            assert!(!printed.contains(secret), "{secret} in {printed}");
        }
        // Neither when they are wrong.
        let told =
            told("[hub]\nclaim_code = \"hunter2 hunter2\"\n[wifi]\npassphrase = \"short\"\n").join("\n");
        assert!(!told.contains("hunter2") && !told.contains("short\""), "{told}");
    }
}
