//! The hub as people and the operating system treat it: started, asked, killed, ended.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

mod running;

use std::{fs, os::unix::process::CommandExt, process::Stdio};

use nix::sys::signal::{Signal, kill};
use running::{Hub, cairn, folder, get, until};

#[tokio::test]
async fn it_starts_and_tells_where_it_is_and_how_to_claim_it() {
    let hub = Hub::start().await;
    let health = hub.answers().await;
    for field in ["status", "version", "uptime", "models_loaded", "database_connected", "vector_store_ready"]
    {
        assert!(health.get(field).is_some(), "{field} is missing in {health}");
    }
    assert_eq!(health["database_connected"], true);
    let page = get(&hub.address().unwrap()).await.unwrap();
    assert!(page.status().is_success());
    assert!(page.text().await.unwrap().contains("<html"));

    let (address, code) = (hub.address().unwrap(), hub.claim_code());
    until("the console shows it", async || hub.said().contains(&code).then_some(())).await;
    let said = hub.said();
    assert!(said.contains(&address), "{said}");
    assert!(said.contains('█') || said.contains('▀'), "a QR code: {said}");
}

/// The tests' hubs listen on loopback and have no model.
#[tokio::test]
async fn what_cannot_be_had_is_not_promised() {
    let hub = Hub::start().await;
    let address = hub.address().unwrap();
    let page = async |path: &str| get(&format!("{address}{path}")).await.ok()?.text().await.ok();
    // The status page names no address that others could not open, and the first page offers none to be passed on.
    assert!(page("/status").await.unwrap().contains("Only this computer itself can reach this hub"));
    assert!(!page("/").await.unwrap().contains("share-title"));
    until("asking says that passages are all that comes", async || {
        page("/ask").await?.contains("It has no model to write answers").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_hub_is_back_at_the_same_address() {
    let hub = Hub::start().await;
    let address = hub.address();
    hub.kill_role("hub").await;
    let health = hub.answers().await;
    assert_eq!(health["database_connected"], true);
    assert_eq!(hub.address(), address, "a page that is open goes on working");
    // It has its channel to infer again.
    until("they talk again", async || (hub.answers().await["inference_connected"] == true).then_some(()))
        .await;
}

#[tokio::test]
async fn a_killed_infer_leaves_the_page_serving_and_comes_back() {
    let hub = Hub::start().await;
    until("infer is connected", async || (hub.answers().await["inference_connected"] == true).then_some(()))
        .await;
    let server = hub.role("hub");
    hub.kill_role("infer").await;
    assert!(get(&hub.address().unwrap()).await.unwrap().status().is_success());
    until("infer is connected again", async || {
        (hub.answers().await["inference_connected"] == true).then_some(())
    })
    .await;
    assert_eq!(hub.role("hub"), server, "the hub itself was left alone");
    let told = until("the restart is told", async || {
        let health: serde_json::Value = serde_json::from_str(&hub.told(&["health", "--json"]).await).unwrap();
        let infer = health["roles"].as_array()?.iter().find(|role| role["role"] == "infer")?.clone();
        (infer["restarts"] == 1 && infer["state"] == "ready").then_some(infer)
    })
    .await;
    assert!(told["last_failure"].as_str().unwrap().contains("SIGKILL"), "{told}");
}

#[tokio::test]
async fn an_orderly_end_in_the_middle_of_writes_loses_none_that_was_confirmed() {
    let hub = Hub::start().await;
    let keeper = hub.claim().await;
    let (first, mut begun) = tokio::sync::mpsc::channel::<()>(1);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (keeper, first) = (keeper.clone(), first.clone());
            tokio::spawn(async move {
                let mut confirmed = Vec::new();
                for number in 0.. {
                    let title = format!("notice {writer}.{number}");
                    match keeper.notice(&title).await {
                        Some(id) => confirmed.push((id, title)),
                        None => break,
                    }
                    if number == 5 {
                        // The others may have said so already.
                        let _said_already = first.try_send(());
                    }
                }
                confirmed
            })
        })
        .collect();
    begun.recv().await.unwrap();
    hub.terminate();
    let mut confirmed = Vec::new();
    for writer in writers {
        confirmed.extend(writer.await.unwrap());
    }
    let (status, folder) = hub.ended().await;
    assert!(status.success(), "{status}");
    assert!(confirmed.len() > 5);

    let hub = Hub::start_in(folder).await;
    let keeper = hub.sign_in().await;
    for (id, title) in confirmed {
        let record: serde_json::Value =
            keeper.get(&format!("/api/v1/records/notice/{id}")).await.json().await.unwrap();
        assert_eq!(record["fields"]["title"], title, "{id}");
    }
}

#[tokio::test]
async fn nothing_confirmed_is_lost_when_every_process_is_killed_at_once() {
    let hub = Hub::start().await;
    let keeper = hub.claim().await;
    let mut confirmed = Vec::new();
    for number in 0..20 {
        confirmed.extend(keeper.notice(&format!("notice {number}")).await);
    }
    assert_eq!(confirmed.len(), 20);
    let roles = [hub.role("hub"), hub.role("infer")];
    hub.kill();
    let (_, folder) = hub.ended().await;
    for role in roles.into_iter().flatten() {
        until("it ends with the supervisor", async || kill(role, None).is_err().then_some(())).await;
    }
    let hub = Hub::start_in(folder).await;
    let keeper = hub.sign_in().await;
    for id in confirmed {
        assert!(keeper.get(&format!("/api/v1/records/notice/{id}")).await.status().is_success(), "{id}");
    }
}

#[tokio::test]
async fn a_second_hub_on_the_same_folder_is_refused_in_a_sentence() {
    let hub = Hub::start().await;
    let second = hub.command(&["run", "--listen", "127.0.0.1:0"]).await;
    let errors = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(4), "{errors}");
    assert!(errors.contains("another hub is running on") && errors.contains("--data"), "{errors}");
    hub.answers().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_in_a_sentence() {
    let folder = folder();
    let mut command = cairn(&["run", "--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(folder.path()).stdout(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        // Root writes everywhere; somebody else does not write into root's folder.
        command.uid(61_998).gid(61_998);
    } else {
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot be written") && errors.contains("Nothing was changed"), "{errors}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_roles_are_confined_and_run_as_other_users_where_root_started_them() {
    let hub = Hub::start().await;
    let field = |role: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{}/status", hub.role(role).unwrap())).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
        line.unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
    };
    until("infer is ready", async || (hub.answers().await["inference_connected"] == true).then_some(()))
        .await;
    for role in ["hub", "infer"] {
        assert_eq!(field(role, "NoNewPrivs"), "1", "{role}");
        assert_eq!(field(role, "Seccomp"), "2", "{role}");
        assert_eq!(field(role, "CapEff"), "0000000000000000", "{role}");
    }
    if nix::unistd::geteuid().is_root() {
        let (hub, infer) = (field("hub", "Uid"), field("infer", "Uid"));
        assert!(hub != "0" && infer != "0" && hub != infer, "{hub} {infer}");
    }
}

#[tokio::test]
async fn a_bad_provisioning_file_stops_nothing_and_is_told() {
    let folder = folder();
    let file = folder.path().join("cairn.toml");
    fs::write(&file, "[hub]\ntitle = \"Spring\"\nlangage = \"es\"\nclaim_code = 5\n").unwrap();
    let hub = Hub::start_with(folder, &["--provisioning", file.to_str().unwrap()]).await;
    until("the console tells it", async || hub.said().contains("line 4").then_some(())).await;
    let said = hub.said();
    assert!(said.contains("line 3") && said.contains("did you mean \"language\"?"), "{said}");
    let setup: serde_json::Value =
        get(&format!("{}/api/v1/setup", hub.address().unwrap())).await.unwrap().json().await.unwrap();
    assert_eq!(setup["hub_name"], "Spring", "what was right counts");
}

#[tokio::test]
async fn a_slow_client_holds_nobody_up() {
    use tokio::io::AsyncWriteExt;
    let hub = Hub::start().await;
    let address = hub.address().unwrap();
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        slow.push(stream);
    }
    assert!(get(&address).await.unwrap().status().is_success());
    hub.terminate();
    let (status, _) = hub.ended().await;
    assert!(status.success(), "{status}: heads that never end do not hold the end up");
    drop(slow);
}

#[tokio::test]
async fn a_stopped_hub_process_is_noticed_and_started_again() {
    let hub = Hub::start().await;
    let first = hub.role("hub").unwrap();
    kill(first, Signal::SIGSTOP).unwrap();
    until("it is started again", async || hub.role("hub").filter(|pid| *pid != first)).await;
    hub.answers().await;
}
