//! The confined child: what it may do, how its death is told, and real archives through it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{ENGLISH, samples, text};
use cairn_library::extract::{BlockKind, Extractor, ExtractorCommand, Format, Hint, Limits, Reason};

fn child() -> ExtractorCommand {
    ExtractorCommand::new(env!("CARGO_BIN_EXE_extract-child"), [""; 0])
}

fn shell(script: &str) -> ExtractorCommand {
    ExtractorCommand::new("/bin/sh", ["-c", script])
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[tokio::test]
async fn the_child_reads_what_this_process_reads() {
    for (name, bytes) in samples() {
        let here = crate::support::read(bytes.clone(), name).unwrap();
        let there = Extractor::new(child()).extract(file(&bytes), &Hint::from_name(name)).await.unwrap();
        assert_eq!(here, there, "{name}");
    }
}

#[tokio::test]
async fn the_death_of_the_child_is_told_for_what_it_is() {
    let limits = Limits { wall_time: Duration::from_millis(300), ..Limits::default() };
    for (script, expected) in [
        ("kill -SYS $$", Reason::Forbidden),
        ("kill -XCPU $$", Reason::TimedOut { seconds: 120 }),
        ("kill -KILL $$", Reason::OutOfMemory { mebibytes: 768 }),
        (
            "echo 'memory allocation of 9 bytes failed' >&2; kill -ABRT $$",
            Reason::OutOfMemory { mebibytes: 768 },
        ),
        (
            "echo 'thread main panicked: boom' >&2; exit 101",
            Reason::Crashed { how: "exit status: 101; thread main panicked: boom".into() },
        ),
        ("printf 'XXXXYYYY'", Reason::Crashed { how: "it sent a report that is too large".into() }),
        (
            r"printf '\001\000\000\000\011'",
            Reason::Crashed { how: "it sent a report that makes no sense".into() },
        ),
        ("exit 0", Reason::Crashed { how: "exit status: 0; without a word".into() }),
    ] {
        let error =
            Extractor::new(shell(script)).extract(file(b"x"), &Hint::from_name("f.txt")).await.unwrap_err();
        assert_eq!((error.file.as_str(), &error.reason), ("f.txt", &expected), "{script}");
    }
    let started = Instant::now();
    let error = Extractor::with_limits(shell("exec sleep 60"), limits)
        .extract(file(b"x"), &Hint::default())
        .await
        .unwrap_err();
    assert_eq!(error.reason, Reason::TimedOut { seconds: 0 });
    assert!(started.elapsed() < Duration::from_secs(30));
    let missing = ExtractorCommand::new("/nowhere/cairn", [""; 0]);
    let error = Extractor::new(missing).extract(file(b"x"), &Hint::from_name("f.txt")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // The hub goes on.
    let (name, bytes) = samples().swap_remove(0);
    assert!(Extractor::new(child()).extract(file(&bytes), &Hint::from_name(name)).await.is_ok());
}

#[test]
fn the_child_is_confined_before_it_reads() {
    // So much text that the child waits on its full pipe, where it can be looked at.
    let text = format!("{ENGLISH}\n\n").repeat(20_000);
    let job = serde_json::json!({ "hint": Hint::from_name("a.txt"), "limits": Limits::default() });
    let mut child = Command::new(env!("CARGO_BIN_EXE_extract-child"))
        .env_clear()
        .env("CAIRN_EXTRACT_JOB", job.to_string())
        .stdin(file(text.as_bytes()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut length = [0; 4];
    child.stdout.as_mut().unwrap().read_exact(&mut length).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let value =
        |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap().to_owned();
    assert_eq!(value("Seccomp:"), "2", "{status}");
    assert_eq!(value("NoNewPrivs:"), "1", "{status}");
    assert_eq!(value("CapEff:").trim_matches('0'), "", "{status}");
    let cpu = limits.lines().find(|line| line.starts_with("Max cpu time")).unwrap();
    assert!(cpu.contains("120"), "{cpu}");
    let memory = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(memory.contains(&(768_u64 << 20).to_string()), "{memory}");
}

#[tokio::test]
async fn an_archive_of_the_real_writer_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("pages");
    fs::create_dir(&pages).unwrap();
    for n in 0..300 {
        let page = format!(
            "<!DOCTYPE html><html><head><meta charset='utf-8'><title>Page {n}</title></head><body><h1>Page {n}</h1>\
             <p>Well number {n} is {n} metres deep. {ENGLISH}</p></body></html>"
        );
        fs::write(pages.join(format!("page{n}.html")), page).unwrap();
    }
    fs::write(pages.join("icon.png"), icon()).unwrap();
    let archive = folder.path().join("wells.zim");
    let made = Command::new("zimwriterfs")
        .args([
            "--welcome=page0.html",
            "--illustration=icon.png",
            "--language=eng",
            "--title=Wells",
            "--description=d",
        ])
        .args(["--creator=c", "--publisher=p", "--name=n", "--clusterSize=32"])
        .args([Path::new(&pages), &archive])
        .output()
        .expect("zimwriterfs is needed for this test: apt-get install zim-tools");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let document = Extractor::new(child())
        .extract(File::open(&archive).unwrap(), &Hint::from_name("wells.zim"))
        .await
        .unwrap();
    assert_eq!(document.summary.format, Format::Zim);
    assert_eq!(document.summary.title.as_deref(), Some("Wells"));
    assert_eq!(document.summary.language.as_deref(), Some("en"));
    assert_eq!(document.summary.notices, []);
    let headings = document.blocks.iter().filter(|block| block.kind == BlockKind::Heading(1)).count();
    assert_eq!(headings, 300);
    for n in 0..300 {
        assert!(text(&document).contains(&format!("Well number {n} is {n} metres deep.")), "{n}");
    }
    // Cut off at every sixteenth, as an upload that broke.
    let bytes = fs::read(&archive).unwrap();
    for sixteenth in 0..16 {
        let cut = &bytes[..bytes.len() * sixteenth / 16];
        match Extractor::new(child()).extract(file(cut), &Hint::from_name("cut.zim")).await {
            Ok(document) => assert!(!document.summary.notices.is_empty(), "{sixteenth}/16"),
            Err(error) => assert!(matches!(error.reason, Reason::Damaged { .. } | Reason::Empty), "{error}"),
        }
    }
}

/// A picture of 48 by 48 grey points, which the archive writer insists on.
fn icon() -> Vec<u8> {
    let rows: Vec<u8> =
        (0..48).flat_map(|_| std::iter::once(0).chain(std::iter::repeat_n(0x80, 48))).collect();
    let (a, b) = rows.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        ((a + u32::from(*byte)) % 65521, (a + b + u32::from(*byte)) % 65521)
    });
    let length = rows.len() as u16;
    let mut packed = vec![0x78, 0x01, 1];
    packed.extend(length.to_le_bytes().into_iter().chain((!length).to_le_bytes()));
    packed.extend(rows);
    packed.extend((b << 16 | a).to_be_bytes());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, body) in [
        (b"IHDR", [&[0, 0, 0, 48, 0, 0, 0, 48][..], &[8, 0, 0, 0, 0]].concat()),
        (b"IDAT", packed),
        (b"IEND", Vec::new()),
    ] {
        let body = [&kind[..], &body].concat();
        let crc = !body.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(
                crc ^ u32::from(*byte),
                |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
            )
        });
        png.extend((body.len() as u32 - 4).to_be_bytes());
        png.extend(body);
        png.extend(crc.to_be_bytes());
    }
    png
}
