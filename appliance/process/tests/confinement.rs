//! Every restriction in a real child process on this kernel: what is allowed works, what is forbidden does not.
//!
//! This program is its own child: `confinement child CASE FOLDER` confines itself, tries, and prints what came out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    time::Duration,
};

use cairn_process::{
    Channel, ConfineError, Confinement, ConfinementReport, Profile,
    confine::{Measure, UserIds},
    spawn::{self, RoleCommand},
};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::{Uid, geteuid, getppid, setuid},
};

/// How long a child may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;
/// A user that owns nothing here.
const STRANGER: UserIds = UserIds { uid: 61_999, gid: 61_999 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, case, folder] = arguments.as_slice()
        && child == "child"
    {
        println!("{}", in_child(case, Path::new(folder)));
        return ExitCode::SUCCESS;
    }
    let tests: [(&str, fn() -> Result<(), Failed>); 13] = [
        ("infer_reads_its_models_and_nothing_else", infer_reads_its_models_and_nothing_else),
        ("infer_keeps_files_in_the_one_folder_it_is_given", infer_keeps_files),
        ("infer_reaches_no_network_no_program_and_no_other_process", infer_reaches_nothing),
        ("infer_still_has_threads_an_event_loop_and_its_channel", infer_still_computes),
        ("the_extractor_opens_nothing_and_answers_through_its_pipe", the_extractor_opens_nothing),
        ("memory_beyond_the_limit_is_refused", memory_beyond_the_limit_is_refused),
        ("a_process_past_its_processor_time_is_ended", a_process_past_its_time_is_ended),
        ("the_hub_owns_its_folder_and_serves_and_starts_only_itself", the_hub_owns_its_folder),
        ("the_hub_reaches_around_no_rule", the_hub_reaches_around_no_rule),
        ("root_becomes_another_user_for_good", root_becomes_another_user_for_good),
        ("a_second_thread_is_a_reason_not_to_go_on", a_second_thread_is_refused),
        ("a_child_ends_with_its_parent", a_child_ends_with_its_parent),
        ("a_role_inherits_its_descriptors_and_no_others", a_role_inherits_its_descriptors_and_no_others),
    ];
    let trials = tests.map(|(name, test)| Trial::test(name, test)).into_iter().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

// The children.

/// What trying came to: `ok`, or the error's name.
fn tried<T, E: std::fmt::Debug>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            let text = format!("{error:?}");
            let known = ["EACCES", "EPERM", "PermissionDenied", "CrossesDevices"]
                .into_iter()
                .find(|name| text.contains(name));
            known.map_or(text.clone(), |_| "refused".to_owned())
        }
    }
}

fn confined(profile: Profile, folder: &Path) -> ConfinementReport {
    Confinement::new(profile).read(folder.join("models")).apply().unwrap()
}

fn in_child(case: &str, folder: &Path) -> String {
    let mut results = Vec::new();
    let mut note = |what: &str, outcome: String| results.push(format!("{what}={outcome}"));
    match case {
        "infer-files" => {
            confined(Profile::Infer, folder);
            note("model", tried(File::open(folder.join("models/m.gguf"))));
            note("database", tried(File::open(folder.join("records.db"))));
            note("etc", tried(File::open("/etc/passwd")));
            note("write", tried(File::create(folder.join("models/new"))));
            note("remove", tried(fs::remove_file(folder.join("models/m.gguf"))));
        }
        "infer-keeps" => {
            let own = folder.join("own");
            Confinement::new(Profile::Infer).read(folder.join("models")).write(&own).apply().unwrap();
            note("create", tried(fs::write(own.join("new"), b"x")));
            note("sync", tried(File::open(&own).and_then(|folder| folder.sync_all())));
            note("rename", tried(fs::rename(own.join("new"), own.join("kept"))));
            note("list", tried(fs::read_dir(&own)));
            note("out", tried(fs::rename(own.join("kept"), folder.join("models/kept"))));
            note("model", tried(fs::remove_file(folder.join("models/m.gguf"))));
            note("remove", tried(fs::remove_file(own.join("kept"))));
        }
        "infer-reach" => {
            confined(Profile::Infer, folder);
            note("tcp", tried(TcpStream::connect(("127.0.0.1", 9))));
            note("udp", tried(UdpSocket::bind("127.0.0.1:0")));
            note("unix", tried(UnixStream::connect(folder.join("socket"))));
            note("listen", tried(TcpListener::bind("127.0.0.1:0")));
            note("program", tried(Command::new("/bin/true").status()));
            note("signal", tried(kill(getppid(), None)));
            note("debug", tried(fs::read("/proc/1/environ")));
        }
        "infer-computes" => {
            confined(Profile::Infer, folder);
            let sum: u64 = std::thread::spawn(|| (1..=10).sum()).join().unwrap();
            note("thread", sum.to_string());
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            note("loop", tried(runtime.as_ref()));
            let channel = spawn::inherited(spawn::CONTROL).unwrap();
            let said = runtime.unwrap().block_on(async {
                let channel = Channel::<String, String>::new(channel)?;
                let heard = channel.recv().await.unwrap().unwrap();
                channel.send(&format!("heard {heard}")).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, std::io::Error>(())
            });
            note("channel", tried(said));
        }
        "extract" => {
            confined(Profile::Extract, folder);
            note("model", tried(File::open(folder.join("models/m.gguf"))));
            note("tcp", tried(TcpStream::connect(("127.0.0.1", 9))));
            note("program", tried(Command::new("/bin/true").status()));
            let mut input = String::new();
            note("input", tried(std::io::stdin().read_to_string(&mut input)));
            note("read", input);
            note("threads", std::thread::spawn(|| "ok").join().unwrap().to_owned());
        }
        "memory" => {
            Confinement::new(Profile::Extract).memory_limit(256 * MIB as u64).apply().unwrap();
            let mut small: Vec<u8> = Vec::new();
            note("small", tried(small.try_reserve_exact(64 * MIB)));
            let mut large: Vec<u8> = Vec::new();
            note("large", large.try_reserve_exact(512 * MIB).map_or("refused", |()| "ok").to_owned());
        }
        "time" => {
            Confinement::new(Profile::Extract).cpu_seconds(1).apply().unwrap();
            let mut number = 1_u64;
            loop {
                number = std::hint::black_box(number.wrapping_mul(3));
            }
        }
        "hub" => {
            let port: u16 = fs::read_to_string(folder.join("port")).unwrap().parse().unwrap();
            let report = Confinement::new(Profile::Hub)
                .write(folder.join("hub"))
                .execute(std::env::current_exe().unwrap())
                .apply()
                .unwrap();
            note("create", tried(fs::write(folder.join("hub/a"), b"a")));
            note("rename", tried(fs::rename(folder.join("hub/a"), folder.join("hub/b"))));
            note("remove", tried(fs::remove_file(folder.join("hub/b"))));
            note("beside", tried(fs::write(folder.join("beside"), b"a")));
            note("home", tried(fs::read_dir("/root")));
            note("connect", tried(TcpStream::connect(("127.0.0.1", port))));
            note("listen", tried(TcpListener::bind("127.0.0.1:0")));
            note(
                "itself",
                tried(Command::new("/proc/self/exe").arg("--list").stdout(Stdio::null()).status()),
            );
            note("program", tried(Command::new("/bin/true").status()));
            note(
                "lacking",
                report.lacking.iter().filter(|lack| lack.measure != Measure::User).count().to_string(),
            );
        }
        "hub-around" => {
            Confinement::new(Profile::Hub).write(folder.join("hub")).apply().unwrap();
            let packet = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
            note("packet", tried(packet));
            note("unshare", tried(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)));
            note("mount", tried(nix::mount::umount(Path::new("/proc"))));
            note("chroot", tried(nix::unistd::chroot(folder)));
            note("signal", tried(kill(getppid(), None)));
            note(
                "device",
                tried(nix::sys::stat::mknod(
                    &folder.join("hub/disk"),
                    nix::sys::stat::SFlag::S_IFBLK,
                    nix::sys::stat::Mode::S_IRUSR,
                    nix::sys::stat::makedev(8, 0),
                )),
            );
        }
        "user" => {
            let report = Confinement::new(Profile::Hub).write(folder).user(Some(STRANGER)).apply().unwrap();
            note("uid", geteuid().to_string());
            note("told", report.has(Measure::User).to_string());
            note("secret", tried(File::open(folder.join("secret"))));
            note("back", tried(setuid(Uid::from_raw(0))));
        }
        "threads" => {
            let (_keep, wait) = mpsc::channel::<()>();
            std::thread::spawn(move || wait.recv());
            let outcome = Confinement::new(Profile::Infer).apply();
            note("apply", matches!(outcome, Err(ConfineError::Threads(2))).to_string());
        }
        "parent" => {
            // The middle one: starts the last one and is killed.
            let mut last = Command::new("/proc/self/exe").args(["child", "orphan", "/"]).spawn().unwrap();
            last.wait().unwrap();
        }
        "orphan" => {
            Confinement::new(Profile::Infer).apply().unwrap();
            println!("confined");
            std::io::stdout().flush().unwrap();
            std::thread::sleep(2 * PATIENCE);
        }
        "descriptors" => {
            let mut numbers: Vec<i32> = fs::read_dir("/proc/self/fd")
                .unwrap()
                .map(|entry| entry.unwrap())
                // The folder that is being read is open as well.
                .filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| !to.ends_with("fd")))
                .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
                .collect();
            numbers.sort_unstable();
            note("open", format!("{numbers:?}"));
            let mut stream = spawn::inherited(spawn::INFERENCE).unwrap();
            note("works", tried(stream.write_all(b"hello")));
            note("twice", spawn::inherited(spawn::INFERENCE).is_err().to_string());
            note("other", spawn::inherited(7).is_err().to_string());
            note("variable", std::env::var("CAIRN_TEST_SECRET").is_ok().to_string());
        }
        other => panic!("there is no case {other}"),
    }
    results.join(" ")
}

// The tests.

/// A folder that every user can walk into, as a hub's folder is.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(folder.path().join("models")).unwrap();
    fs::create_dir(folder.path().join("hub")).unwrap();
    fs::write(folder.path().join("models/m.gguf"), b"GGUF").unwrap();
    fs::write(folder.path().join("records.db"), b"secret").unwrap();
    folder
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn run(case: &str, folder: &Path) -> String {
    let output =
        Command::new(this_program()).args(["child", case]).arg(folder).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {} {errors}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn expect(case: &str, folder: &Path, expected: &str) -> Result<(), Failed> {
    let got = run(case, folder);
    if got == expected {
        Ok(())
    } else {
        Err(format!("{case}\n  got      {got}\n  expected {expected}").into())
    }
}

fn infer_reads_its_models_and_nothing_else() -> Result<(), Failed> {
    let expected = "model=ok database=refused etc=refused write=refused remove=refused";
    expect("infer-files", folder().path(), expected)
}

fn infer_keeps_files() -> Result<(), Failed> {
    let folder = folder();
    fs::create_dir(folder.path().join("own"))?;
    // Landlock says of a rename across folders that the two are on different file systems.
    let expected = "create=ok sync=ok rename=ok list=ok out=refused model=refused remove=ok";
    expect("infer-keeps", folder.path(), expected)
}

fn infer_reaches_nothing() -> Result<(), Failed> {
    let folder = folder();
    let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let expected =
        "tcp=refused udp=refused unix=refused listen=refused program=refused signal=refused debug=refused";
    expect("infer-reach", folder.path(), expected)
}

fn infer_still_computes() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (ours, theirs) = UnixStream::pair()?;
        let channel = Channel::<String, String>::new(ours)?;
        let child = RoleCommand::new(["child", "infer-computes", "/"])
            .inherit(theirs, spawn::CONTROL)
            .streams(Stdio::null(), Stdio::piped(), Stdio::inherit())
            .spawn()?;
        channel.send(&"you".to_owned()).await?;
        let said = tokio::time::timeout(PATIENCE, channel.recv()).await??;
        assert_eq!(said.as_deref(), Some("heard you"));
        let output = child.wait_with_output().await?;
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "thread=55 loop=ok channel=ok");
        Ok(())
    })
}

fn the_extractor_opens_nothing() -> Result<(), Failed> {
    let folder = folder();
    let input = folder.path().join("document");
    fs::write(&input, b"words")?;
    let output = Command::new(this_program())
        .args(["child", "extract"])
        .arg(folder.path())
        .stdin(File::open(input)?)
        .output()?;
    let got = String::from_utf8_lossy(&output.stdout);
    assert_eq!(got.trim(), "model=refused tcp=refused program=refused input=ok read=words threads=ok");
    Ok(())
}

fn memory_beyond_the_limit_is_refused() -> Result<(), Failed> {
    expect("memory", Path::new("/"), "small=ok large=refused")
}

fn a_process_past_its_time_is_ended() -> Result<(), Failed> {
    let output = Command::new(this_program()).args(["child", "time", "/"]).output()?;
    let signal = output.status.signal();
    assert!(matches!(signal, Some(nix::libc::SIGKILL | nix::libc::SIGXCPU)), "{:?}", output.status);
    Ok(())
}

fn the_hub_owns_its_folder() -> Result<(), Failed> {
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    fs::write(folder.path().join("port"), listener.local_addr()?.port().to_string())?;
    let expected = "create=ok rename=ok remove=ok beside=refused home=refused connect=ok listen=ok itself=ok \
                    program=refused lacking=0";
    expect("hub", folder.path(), expected)
}

fn the_hub_reaches_around_no_rule() -> Result<(), Failed> {
    let expected =
        "packet=refused unshare=refused mount=refused chroot=refused signal=refused device=refused";
    expect("hub-around", folder().path(), expected)
}

fn root_becomes_another_user_for_good() -> Result<(), Failed> {
    if !geteuid().is_root() {
        println!("passed over: only root can become another user");
        return Ok(());
    }
    let folder = folder();
    let secret = folder.path().join("secret");
    fs::write(&secret, b"x")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    assert!(STRANGER.can_enter(folder.path()));
    assert!(!STRANGER.can_enter(Path::new("/root")) || !Path::new("/root").exists());
    expect("user", folder.path(), "uid=61999 told=true secret=refused back=refused")
}

fn a_second_thread_is_refused() -> Result<(), Failed> {
    expect("threads", Path::new("/"), "apply=true")
}

fn a_child_ends_with_its_parent() -> Result<(), Failed> {
    let mut middle =
        Command::new(this_program()).args(["child", "parent", "/"]).stdout(Stdio::piped()).spawn()?;
    let mut pipe = middle.stdout.take().unwrap();
    let mut confined = [0; 9];
    pipe.read_exact(&mut confined)?;
    kill(nix::unistd::Pid::from_raw(i32::try_from(middle.id())?), Signal::SIGKILL)?;
    middle.wait()?;
    // The last one holds the pipe as long as it lives.
    let (ended, wait) = mpsc::channel();
    std::thread::spawn(move || ended.send(pipe.read_to_end(&mut Vec::new())));
    wait.recv_timeout(PATIENCE).map_err(|_| "the child outlived its parent")??;
    Ok(())
}

fn a_role_inherits_its_descriptors_and_no_others() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Open in this process, without the flag that closes it on exec.
        let leaky = File::open("/dev/null")?;
        nix::fcntl::fcntl(&leaky, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
        let ((_control, control), (mut ours, theirs)) = (UnixStream::pair()?, UnixStream::pair()?);
        let child = RoleCommand::new(["child", "descriptors", "/"])
            .inherit(theirs, spawn::INFERENCE)
            .inherit(control, spawn::CONTROL)
            .streams(Stdio::null(), Stdio::piped(), Stdio::inherit())
            .spawn()?;
        let output = child.wait_with_output().await?;
        let got = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(got.trim(), "open=[0, 1, 2, 3, 4] works=ok twice=true other=true variable=false");
        let mut said = [0; 5];
        ours.read_exact(&mut said)?;
        assert_eq!(&said, b"hello");
        Ok(())
    })
}
