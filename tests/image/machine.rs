//! QEMU's `virt` machine with a card in it: a copy of the built one, larger, as a new card is larger than the image.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::TcpListener,
    os::unix::{
        fs::FileExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cairn_tests::{http, wait};
use nix::sys::{
    socket::{setsockopt, sockopt},
    time::{TimeVal, TimeValLike},
};
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::writes::{Log, Lost};

/// What a card is larger by than the image, bytes.
pub(crate) const CARD: u64 = 3 << 30;
/// How long a whole start may take on a busy machine that emulates another processor.
pub(crate) const STARTS_WITHIN: Duration = Duration::from_secs(1500);
/// How long U-Boot may take until it has chosen.
pub(crate) const CHOOSES_WITHIN: Duration = Duration::from_secs(300);

/// How long QEMU itself may take to do what it is told.
const ORDERED_WITHIN: Duration = Duration::from_secs(60);

/// A card, as a file.
pub(crate) struct Card {
    folder: tempfile::TempDir,
    kind: Kind,
}

/// The machine that QEMU plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `virt`: the bootloader comes from outside, the card is a virtio disk.
    Virt,
    /// `raspi3b`, a Raspberry Pi 3 without its firmware: U-Boot and the device tree are those that the firmware would take from the card, and
    /// U-Boot and Linux read the card through the SD controller.
    Raspi3b,
}

/// A partition, as the card's own table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Card {
    /// A copy of the built card of QEMU's own board.
    pub(crate) fn new() -> Result<Self> {
        Self::copied(&prepared("CAIRN_CARD")?, Kind::Virt, CARD)
    }

    /// A copy of the built card of a Raspberry Pi 3.
    pub(crate) fn of_raspi3() -> Result<Self> {
        // QEMU takes cards of a power of two only.
        let card = Self::copied(&prepared("CAIRN_CARD_RPI3")?, Kind::Raspi3b, CARD.next_power_of_two())?;
        // QEMU 7.2 takes the start of this chip's watchdog for its end and restarts at once.
        card.put_on_boot_partition("extra.txt", "module_blacklist=bcm2835_wdt")?;
        Ok(card)
    }

    fn copied(image: &Path, kind: Kind, size: u64) -> Result<Self> {
        let card = Self { folder: tempfile::TempDir::with_prefix("cairn-card-")?, kind };
        copy_file(image, &card.path())?;
        card.set_size(size)?;
        Ok(card)
    }

    /// What was copied to a larger card has room behind it.
    pub(crate) fn set_size(&self, bytes: u64) -> Result<()> {
        Ok(OpenOptions::new().write(true).open(self.path())?.set_len(bytes)?)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("card.img")
    }

    pub(crate) fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.path())?.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        OpenOptions::new().write(true).open(self.path())?.write_all_at(bytes, at)?;
        Ok(())
    }

    /// A partition by its number, as an independent reader of the table sees it.
    pub(crate) fn partition(&self, number: u32) -> Result<Place> {
        let told = Command::new("/usr/sbin/sfdisk").arg("--json").arg(self.path()).output()?;
        let table: Value = serde_json::from_slice(&told.stdout).context("sfdisk cannot read the table")?;
        let name = format!("{}{number}", self.path().display());
        let rows = table["partitiontable"]["partitions"].as_array().context("no partitions")?;
        let row = rows.iter().find(|row| row["node"] == name.as_str()).context(name)?;
        let bytes = |key: &str| row[key].as_u64().map(|sectors| sectors * 512).context("a number");
        Ok(Place { start: bytes("start")?, size: bytes("size")? })
    }

    /// Copies one partition over another of the same size.
    pub(crate) fn copy_partition(&self, from: u32, to: u32) -> Result<()> {
        let (from, to) = (self.partition(from)?, self.partition(to)?);
        ensure!(from.size == to.size, "the slots differ in size");
        let (mut reader, mut writer) =
            (File::open(self.path())?, OpenOptions::new().write(true).open(self.path())?);
        reader.seek(SeekFrom::Start(from.start))?;
        let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
        while at < from.size {
            reader.read_exact(&mut buffer)?;
            if buffer.iter().any(|byte| *byte != 0) {
                writer.seek(SeekFrom::Start(to.start + at))?;
                writer.write_all(&buffer)?;
            }
            at += buffer.len() as u64;
        }
        Ok(())
    }

    /// Fills slot B with what slot A holds.
    pub(crate) fn fill_slot_b(&self) -> Result<()> {
        self.copy_partition(2, 3)?;
        self.copy_partition(5, 6)
    }

    /// Puts a file on the boot partition.
    pub(crate) fn put_on_boot_partition(&self, name: &str, content: &str) -> Result<()> {
        let source = self.folder.path().join("put");
        std::fs::write(&source, content)?;
        self.mcopy(&source, Path::new(&format!("::/{name}")))
    }

    /// Takes a file from the boot partition, as the firmware would. Gives where it lies now.
    fn take_from_boot_partition(&self, name: &str) -> Result<PathBuf> {
        let taken = self.folder.path().join(name);
        self.mcopy(Path::new(&format!("::/{name}")), &taken)?;
        Ok(taken)
    }

    fn mcopy(&self, from: &Path, to: &Path) -> Result<()> {
        let image = format!("{}@@{}", self.path().display(), self.partition(1)?.start);
        let done = Command::new("mcopy").args(["-D", "o", "-n", "-i", &image]).args([from, to]).output()?;
        ensure!(done.status.success(), "mcopy: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// The names of the boot partition's files, as another reader of FAT lists them.
    pub(crate) fn boot_partition(&self) -> Result<String> {
        let image = format!("{}@@{}", self.path().display(), self.partition(1)?.start);
        let told = Command::new("mdir").args(["-b", "-i", &image, "::/"]).output()?;
        ensure!(told.status.success(), "mdir: {}", String::from_utf8_lossy(&told.stderr));
        Ok(String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// Another card with the same content.
    pub(crate) fn copy(&self) -> Result<Self> {
        let copy = Self { folder: tempfile::TempDir::with_prefix("cairn-card-")?, kind: self.kind };
        copy_file(&self.path(), &copy.path())?;
        Ok(copy)
    }

    /// Starts the machine. What it writes to its serial port goes to `artifacts/image/<name>.log`.
    pub(crate) fn start(&self, name: &str) -> Result<Machine> {
        match self.kind {
            Kind::Virt => Machine::start(&self.as_drive(), name),
            Kind::Raspi3b => self.start_raspi3b(name),
        }
    }

    fn start_raspi3b(&self, name: &str) -> Result<Machine> {
        let mut options = Vec::new();
        for (option, file) in [("-kernel", "u-boot.bin"), ("-dtb", "bcm2837-rpi-3-b.dtb")] {
            let taken = self.take_from_boot_partition(file)?;
            options.extend([option.to_owned(), taken.display().to_string()]);
        }
        options.extend(["-drive".to_owned(), format!("if=sd,format=raw,file={}", self.path().display())]);
        Machine::raspi3b(&options, self.monitor()?, name)
    }

    /// Where QEMU will come for orders.
    fn monitor(&self) -> Result<Monitor> {
        let path = self.folder.path().join("monitor");
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        setsockopt(
            &listener,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(ORDERED_WITHIN.as_secs().cast_signed()),
        )?;
        Ok(Monitor { path, listener })
    }

    /// Starts the machine with a USB controller and sticks, by name, that can be put in: [`Machine::plug`].
    pub(crate) fn start_with_sticks(&self, name: &str, sticks: &[(&str, &Path)]) -> Result<Machine> {
        let mut devices = self.as_drive().to_vec();
        let monitor = self.monitor()?;
        devices.extend(["-device".to_owned(), "qemu-xhci,id=usb".to_owned()]);
        devices.extend(monitor.option());
        for (node, path) in sticks {
            let node = format!("driver=file,node-name={node},filename={}", path.display());
            devices.extend(["-blockdev".to_owned(), node]);
        }
        Machine::start(&devices, name)?.taking_orders(monitor)
    }

    fn as_drive(&self) -> [String; 2] {
        ["-drive".to_owned(), format!("if=none,id=card,format=raw,file={}", self.path().display())]
    }

    /// Starts the machine and notes what it writes and flushes, so that [`Card::cut`] can be a power cut at any of them.
    pub(crate) fn start_noted(&self, name: &str) -> Result<Machine> {
        copy_file(&self.path(), &self.at_switching_on())?;
        File::create(self.writes())?;
        // What is flushed is noted; that it is in this computer's memory only matters to nobody.
        let file = |node: &str, path: PathBuf| {
            format!("driver=file,node-name={node},cache.no-flush=on,filename={}", path.display())
        };
        let disk = [
            "-blockdev".to_owned(),
            file("content", self.path()),
            "-blockdev".to_owned(),
            file("writes", self.writes()),
            "-blockdev".to_owned(),
            "driver=blklogwrites,node-name=card,file=content,log=writes".to_owned(),
        ];
        Machine::start(&disk, name)
    }

    /// What a machine of [`Card::start_noted`] has written so far.
    pub(crate) fn log(&self) -> Result<Log> {
        Log::read(&self.writes())
    }

    /// How long that log is so far, bytes.
    pub(crate) fn noted(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.writes())?.len())
    }

    /// Another card: this one as a power cut after so many entries of its log leaves it.
    pub(crate) fn cut(&self, log: &Log, after: usize, chance: &mut StdRng) -> Result<(Self, Lost)> {
        let card = Self { folder: tempfile::TempDir::with_prefix("cairn-card-")?, kind: self.kind };
        copy_file(&self.at_switching_on(), &card.path())?;
        let lost = log.cut(&card.path(), after, chance)?;
        Ok((card, lost))
    }

    fn at_switching_on(&self) -> PathBuf {
        self.folder.path().join("before.img")
    }

    fn writes(&self) -> PathBuf {
        self.folder.path().join("writes.log")
    }
}

/// A running machine. Dropping it is a power cut.
pub(crate) struct Machine {
    process: Child,
    log: PathBuf,
    port: u16,
    started: Instant,
    /// The line to QEMU, if it takes orders.
    orders: Option<BufReader<UnixStream>>,
}

/// Listens before QEMU is started, so that nobody has to wait for a socket of QEMU's to appear.
struct Monitor {
    path: PathBuf,
    listener: UnixListener,
}

impl Monitor {
    fn option(&self) -> [String; 2] {
        ["-qmp".to_owned(), format!("unix:{}", self.path.display())]
    }
}

impl Machine {
    /// `virt`.
    fn start(disk: &[String], name: &str) -> Result<Self> {
        let port = free_port()?;
        let mut options: Vec<String> =
            ["-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", "512", "-bios"]
                .map(str::to_owned)
                .to_vec();
        options.push(prepared("CAIRN_BOOTLOADER")?.display().to_string());
        options.extend(disk.iter().cloned());
        let devices =
            ["virtio-blk-pci,drive=card", "i6300esb", "virtio-rng-pci", "virtio-net-pci,netdev=lan,romfile="];
        options.extend(devices.iter().flat_map(|device| ["-device".to_owned(), (*device).to_owned()]));
        options.extend(["-netdev".to_owned(), lan(port)]);
        Self::run(&options, &[], port, name)
    }

    /// `raspi3b`. Its network is put in later, by [`Machine::plug_network`]: U-Boot's use of USB leaves QEMU's controller in a state in which
    /// Linux no longer sees what hangs on it.
    fn raspi3b(options: &[String], monitor: Monitor, name: &str) -> Result<Self> {
        let port = free_port()?;
        let mut all: Vec<String> = ["-M", "raspi3b"].map(str::to_owned).to_vec();
        all.extend(options.iter().cloned());
        all.extend(["-netdev".to_owned(), lan(port)]);
        all.extend(monitor.option());
        // The first serial port is the one that the firmware keeps for Bluetooth.
        Self::run(&all, &["-serial", "null"], port, name)?.taking_orders(monitor)
    }

    fn run(options: &[String], first: &[&str], port: u16, name: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../artifacts/image");
        std::fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{name}.log"));
        // What an earlier machine of this name said is not this one's.
        if log.exists() {
            std::fs::remove_file(&log)?;
        }
        let process = Command::new("qemu-system-aarch64")
            .args(first)
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            // The guest's clock goes by instructions (4 ns each), not by the host's: on a busy host it is slow, and its watchdogs and
            // deadlines see nothing of that. A board that gets no processor for half a minute is not what is tested here.
            .args(["-icount", "shift=2,sleep=on", "-display", "none", "-monitor", "none"])
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .context("qemu-system-aarch64 cannot be started")?;
        Ok(Self { process, log, port, started: Instant::now(), orders: None })
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn taking_orders(mut self, monitor: Monitor) -> Result<Self> {
        let (stream, _) = monitor.listener.accept().context("QEMU does not come for orders")?;
        stream.set_read_timeout(Some(ORDERED_WITHIN))?;
        self.orders = Some(BufReader::new(stream));
        self.order("qmp_capabilities", &json!({}))?;
        Ok(self)
    }

    /// Puts the network of a [`Kind::Raspi3b`] in, as a USB adapter.
    pub(crate) fn plug_network(&mut self) -> Result<()> {
        self.order("device_add", &json!({ "driver": "usb-net", "id": "lan-in", "netdev": "lan" }))
    }

    /// Puts a stick in.
    pub(crate) fn plug(&mut self, stick: &str) -> Result<()> {
        let stick =
            json!({ "driver": "usb-storage", "id": format!("{stick}-in"), "drive": stick, "bus": "usb.0" });
        self.order("device_add", &stick)
    }

    /// Pulls it out.
    pub(crate) fn pull(&mut self, stick: &str) -> Result<()> {
        self.order("device_del", &json!({ "id": format!("{stick}-in") }))
    }

    /// Tells QEMU to do something (QEMU Machine Protocol: one JSON object a line, events between the answers).
    fn order(&mut self, execute: &str, arguments: &Value) -> Result<()> {
        let line = self.orders.as_mut().context("this machine takes no orders")?;
        let order = json!({ "execute": execute, "arguments": arguments });
        writeln!(line.get_mut(), "{order}")?;
        loop {
            let mut answer = String::new();
            ensure!(line.read_line(&mut answer)? > 0, "QEMU says no more");
            let answer: Value = serde_json::from_str(&answer)?;
            ensure!(answer["error"].is_null(), "{order}: {answer}");
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until what stands on the serial port from byte `from` on holds all of `parts`, for a machine that restarts by itself.
    pub(crate) async fn until_it_says_after(
        &mut self,
        from: usize,
        parts: &[&str],
        within: Duration,
    ) -> Result<String> {
        let what = format!("the console says {parts:?}");
        let said = wait::until(&what, within, async || {
            let news = self.serial_since(from);
            if parts.iter().all(|part| news.contains(part)) {
                return Some(Ok(news));
            }
            match self.process.try_wait() {
                Ok(Some(status)) => Some(Err(anyhow::anyhow!("the machine ended with {status}"))),
                _ => None,
            }
        });
        let said = said.await;
        said.with_context(|| self.tail())?
    }

    /// What the serial port said so far.
    pub(crate) fn serial(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// What it said from byte `from` on.
    pub(crate) fn serial_since(&self, from: usize) -> String {
        let mut serial = self.serial();
        serial.split_off(serial.floor_char_boundary(from))
    }

    /// Waits until the serial port says something.
    pub(crate) async fn until_it_says(&mut self, what: &str, within: Duration) -> Result<String> {
        self.until_it_says_after(0, &[what], within).await
    }

    /// Waits for the health check, asked from outside. Gives its answer.
    pub(crate) async fn until_healthy(&mut self) -> Result<Value> {
        let client = http::builder().timeout(Duration::from_secs(20)).build()?;
        let url = format!("{}/api/health-check", self.address());
        let healthy = wait::until("the page answers", STARTS_WITHIN, async || {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Some(Err(anyhow::anyhow!("the machine ended with {status}")));
            }
            let answer = client.get(&url).send().await.ok()?;
            let good = answer.status().is_success();
            let body: Value = answer.json().await.ok()?;
            good.then_some(Ok(body))
        });
        healthy.await.with_context(|| self.tail())?
    }

    fn tail(&self) -> String {
        let serial = self.serial();
        let lines: Vec<&str> = serial.lines().collect();
        format!("the end of {}:\n{}", self.log.display(), lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // As a power cut: nothing is told to the guest.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Where two machines ask at the same moment, QEMU says that it is taken and ends; tests of `cargo xtask test-image` have a network each.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A network of the machine's own, its page at a port of this computer.
fn lan(port: u16) -> String {
    format!("user,id=lan,hostfwd=tcp:127.0.0.1:{port}-:80")
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    let copied = copy.args(["--sparse=always", "--reflink=auto"]).args([from, to]).status()?;
    ensure!(copied.success(), "{} cannot be copied", from.display());
    Ok(())
}

/// What `cargo xtask test-image` has prepared, by environment variable.
pub(crate) fn prepared(name: &str) -> Result<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"))
}
