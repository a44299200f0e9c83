//! `cargo xtask bench boot`: from switching on to the page, of our card and of Debian as it installs itself, with the same hub, in turn in the same
//! machine of QEMU's.
//!
//! *Debian*: the release that the card is made from, by `mmdebstrap` in its variant `important` with Debian's kernel and initramfs, on ext4, started
//! by QEMU without a bootloader; the hub is one more unit of it. Making it takes root and runs its packages' scripts under emulation.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    embedding_model,
    image::{self, OwnArgs},
    setup::{emulator, packages},
    step,
    workspace::{cache, root},
};

/// Measured starts of each; one before them, in which first-start work is done, does not count.
const ROUNDS: usize = 3;
/// How long a start may take.
const STARTS_WITHIN: Duration = Duration::from_secs(900);
const RELEASE: &str = "trixie";
const UNIT: &str = "[Unit]\nDescription=Cairn\nAfter=network.target\n\n[Service]\nType=notify\nNotifyAccess=all\n\
    Environment=CAIRN_EMBEDDING_MODEL=/usr/share/embedding.gguf\n\
    ExecStart=/usr/bin/cairn run --data /var/lib/cairn --listen 0.0.0.0:80\n\n[Install]\nWantedBy=multi-user.target\n";
const NETWORK: &str = "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n";

/// One of both: its name, and what QEMU is told besides what is the same.
struct System {
    name: &'static str,
    options: Vec<String>,
}

/// Builds both with this binary of the hub and starts them in turn. Gives the table.
pub(crate) fn run(binary: &Path) -> Result<String> {
    packages::install(packages::IMAGE)?;
    packages::install(packages::DEBIAN)?;
    let work = root().join("build/boot-bench");
    fs::create_dir_all(&work)?;
    let systems = [ours(&work, binary)?, debian(&work, binary)?];
    let mut starts = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (system, starts) in systems.iter().zip(&mut starts) {
            let (seconds, processor) = start(system)?;
            println!("  {}, start {round}: {seconds:.1} s, {processor:.1} s of processor time", system.name);
            if round > 0 {
                starts.push((seconds, processor));
            }
        }
    }
    let mut table = String::from("| | to the page, s | processor time of QEMU, s |\n|---|---|---|\n");
    let median = |values: Vec<f64>| {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let medians = starts.map(|starts| {
        let (seconds, processor): (Vec<f64>, Vec<f64>) = starts.into_iter().unzip();
        (median(seconds), median(processor))
    });
    for (system, (seconds, processor)) in systems.iter().zip(&medians) {
        table += &format!("| {} | {seconds:.1} | {processor:.1} |\n", system.name);
    }
    let [(ours, ours_processor), (theirs, theirs_processor)] = medians;
    table += &format!(
        "| ours ÷ Debian (aim: at most 0.5) | **{:.2}** | {:.2} |\n",
        ours / theirs,
        ours_processor / theirs_processor
    );
    Ok(table)
}

fn ours(work: &Path, binary: &Path) -> Result<System> {
    let built = image::for_qemu(work, Some(binary.to_owned()), true, None, OwnArgs::default())?;
    let card = work.join("ours.img");
    let mut copy = Command::new("cp");
    step::quiet("Making a card", copy.arg("--sparse=always").args([&built.card, &card]))?;
    fs::OpenOptions::new().write(true).open(&card)?.set_len(3 << 30)?;
    let mut options = vec!["-bios".to_owned(), built.loader.display().to_string()];
    options.extend(disk(&card));
    options.extend(["-device".to_owned(), "i6300esb".to_owned()]);
    Ok(System { name: "Cairn's card", options })
}

fn debian(work: &Path, binary: &Path) -> Result<System> {
    let base = work.join("debian");
    if !base.join("etc/debian_version").exists() {
        emulator::register()?;
        let mut make = Command::new("mmdebstrap");
        make.args(["--architectures=arm64", "--variant=important", "--include=linux-image-arm64", RELEASE]);
        step::show("Making a Debian (half an hour)", make.arg(&base).arg("http://deb.debian.org/debian"))?;
    }
    let put = |path: &str, text: &str| -> Result<()> {
        let path = base.join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        Ok(fs::write(path, text)?)
    };
    fs::copy(binary, base.join("usr/bin/cairn"))?;
    fs::copy(embedding_model::prepare(&cache())?, base.join("usr/share/embedding.gguf"))?;
    fs::create_dir_all(base.join("var/lib/cairn"))?;
    put("etc/systemd/system/cairn.service", UNIT)?;
    put("etc/systemd/network/50-lan.network", NETWORK)?;
    put("etc/fstab", "/dev/vda / ext4 rw 0 1\n")?;
    let mut enable = Command::new("systemctl");
    enable.arg("--root").arg(&base).args(["enable", "--quiet", "cairn.service", "systemd-networkd.service"]);
    step::quiet("Enabling the hub", &mut enable)?;

    let card = work.join("debian.img");
    fs::File::create(&card)?.set_len(3 << 30)?;
    let mut make = Command::new("/usr/sbin/mkfs.ext4");
    step::quiet("Making its disk", make.args(["-q", "-F", "-d"]).args([&base, &card]))?;
    let boot = |name: &str| -> Result<PathBuf> {
        let mut files = fs::read_dir(base.join("boot"))?.flatten().map(|entry| entry.path());
        files
            .find(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name)))
            .with_context(|| format!("Debian brought no {name}"))
    };
    let mut options: Vec<String> =
        ["-append", "root=/dev/vda rw console=ttyAMA0", "-kernel"].map(str::to_owned).to_vec();
    options.push(boot("vmlinuz-")?.display().to_string());
    options.extend(["-initrd".to_owned(), boot("initrd.img-")?.display().to_string()]);
    options.extend(disk(&card));
    Ok(System { name: "Debian with the same hub", options })
}

fn disk(card: &Path) -> [String; 4] {
    let drive = format!("if=none,id=card,format=raw,file={}", card.display());
    ["-drive".to_owned(), drive, "-device".to_owned(), "virtio-blk-pci,drive=card".to_owned()]
}

/// Seconds until the page answers, and of processor time until then. The power is cut after that.
fn start(system: &System) -> Result<(f64, f64)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let begun = Instant::now();
    let mut machine = Command::new("qemu-system-aarch64")
        .args(["-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "512"])
        .args(["-display", "none", "-monitor", "none", "-serial", "null", "-device", "virtio-rng-pci"])
        .args(["-netdev", &format!("user,id=lan,hostfwd=tcp:127.0.0.1:{port}-:80")])
        .args(["-device", "virtio-net-pci,netdev=lan,romfile="])
        .args(&system.options)
        .stdin(Stdio::null())
        .spawn()
        .context("qemu-system-aarch64 cannot be started")?;
    // Before the guest listens nobody takes the line, which is no answer.
    let answered =
        step::until(&mut machine, "the page answers", STARTS_WITHIN, || Ok(answers(port).unwrap_or(false)));
    let measured = answered.and_then(|()| Ok((begun.elapsed().as_secs_f64(), processor_time(&machine)?)));
    machine.kill()?;
    machine.wait()?;
    measured.with_context(|| system.name)
}

fn answers(port: u16) -> Result<bool> {
    let mut line = TcpStream::connect(("127.0.0.1", port))?;
    line.set_read_timeout(Some(Duration::from_secs(10)))?;
    line.write_all(b"GET /api/health-check HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    line.read_exact(&mut head)?;
    Ok(head.ends_with(b" 200"))
}

/// Of a process and all its threads, seconds (proc(5): fields 14 and 15 of `stat`, in hundredths).
fn processor_time(machine: &Child) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", machine.id()))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let ticks: Vec<u64> =
        fields.iter().skip(11).take(2).map(|field| field.parse()).collect::<Result<_, _>>()?;
    ensure!(ticks.len() == 2, "the kernel tells no times");
    Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
}
