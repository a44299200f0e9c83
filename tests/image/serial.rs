//! What stands on the serial port, read as an operator would: a line that sounds like trouble is one, unless it is known why it is there.

/// Words that make somebody stop reading.
const TROUBLE: &[&str] = &[
    "error",
    "fail",
    "warn",
    "cannot",
    "could not",
    "unable",
    "not found",
    "no such",
    "denied",
    "timed out",
    "time out",
    "panic",
    "bug:",
    "oops",
    "fatal",
    "corrupt",
    "bad ",
    "invalid",
    "killed",
    "dependency",
    "emergency",
    "rescue",
];

/// Lines that sound like trouble and are none: a part of the line, and why it is there.
const EXPLAINED: &[(&str, &str)] = &[
    // U-Boot, as Debian builds it for QEMU.
    (
        "Loading Environment from Flash... *** Warning - bad CRC",
        "U-Boot's own settings are never saved: ours lie in the boot state",
    ),
    (
        "Cannot persist EFI variables without system partition",
        "U-Boot looks for an EFI system first; there is none",
    ),
    ("Loading Boot0000 'virtio 0' failed", "the same"),
    ("Loading Boot0000 'usb 0' failed", "the same, with a stick in"),
    ("Loading Boot0001 'virtio 0' failed", "the same, with a stick in"),
    ("EFI boot manager: Cannot load any image", "the same"),
    ("Boot failed (err=-14)", "the same"),
    ("fatal: no kernel available", "U-Boot asks QEMU for a kernel before it looks at the card"),
    ("Missing TPMv2 device for EFI_TCG_PROTOCOL", "the machine has no TPM"),
    (
        "Unable to finalize remaining DM devices",
        "the root is verified up to the last instruction that is read from it",
    ),
    // The kernel's own words.
    ("Kernel command line:", "names what a panic does"),
];

/// Lines of `serial` that nobody has explained, without colours and animation.
pub(crate) fn unexplained(serial: &str, also: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = serial
        .lines()
        .map(plain)
        .filter(|line| {
            let small = line.to_lowercase();
            TROUBLE.iter().any(|word| small.contains(word))
                && !EXPLAINED.iter().map(|(part, _)| part).chain(also).any(|part| line.contains(part))
        })
        .collect();
    lines.dedup();
    lines
}

/// A line without the terminal's control sequences (ECMA-48, section 5.4).
pub(crate) fn plain(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line.chars().peekable());
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            if !c.is_control() {
                text.push(c);
            }
        } else if rest.next_if_eq(&'[').is_some() {
            // Up to the final byte.
            while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else {
            rest.next();
        }
    }
    text.trim().to_owned()
}

#[test]
fn a_line_of_trouble_is_found_through_colours_and_an_explained_one_is_not() {
    let serial = "[\u{1b}[0;1;31mFAILED\u{1b}[0m] Failed to start \u{1b}[0;1;39mx.service\u{1b}[0m.\r\n\
        EFI boot manager: Cannot load any image\r\n[\u{1b}[0;32m  OK  \u{1b}[0m] Reached target.\r\ncairn: no card was found\r\n";
    assert_eq!(unexplained(serial, &[]), ["[FAILED] Failed to start x.service."]);
    assert!(unexplained(serial, &["x.service"]).is_empty());
}
