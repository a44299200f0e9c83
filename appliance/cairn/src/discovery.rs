//! The hub's name on the network: `cairn.local` by multicast DNS (RFC 6762), and its page as a service (RFC 6763).
//!
//! A network without multicast, or none at all, is no reason not to start: it is tried again. When another machine has
//! the name, the next free one is taken (`cairn-2.local`) and told.

use std::{sync::Arc, time::Duration};

use mdns_sd::{DaemonEvent, ServiceDaemon, ServiceInfo};
use tokio::sync::watch;

/// The service that browsers of services know web pages by.
const SERVICE: &str = "_http._tcp.local.";
/// How long until a failed announcement is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long the goodbye may take when the hub ends.
const GOODBYE_WITHIN: Duration = Duration::from_millis(500);

/// Keeps the hub announced until dropped. The name in force is in the channel.
pub(crate) struct Announcement {
    daemon: Arc<std::sync::Mutex<Option<(ServiceDaemon, String)>>>,
    task: tokio::task::AbortHandle,
}

impl Announcement {
    /// Announces the page on `port` as `name` (without `.local`), shown to people as `title`.
    pub(crate) fn start(name: String, title: String, port: u16, in_force: watch::Sender<String>) -> Self {
        let daemon: Arc<std::sync::Mutex<Option<(ServiceDaemon, String)>>> = Arc::default();
        let slot = Arc::clone(&daemon);
        let task = tokio::spawn(async move {
            loop {
                match announce(&name, &title, port) {
                    Ok((running, fullname, events)) => {
                        tracing::info!(name = format!("{name}.local"), port, "announced on the network");
                        *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((running, fullname));
                        while let Ok(event) = events.recv_async().await {
                            heard(&event, &in_force);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the hub cannot be announced on the network; its address works all the same");
                    }
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        })
        .abort_handle();
        Self { daemon, task }
    }

    /// Says goodbye, so that others forget the name at once.
    pub(crate) async fn end(self) {
        self.task.abort();
        let running = self.daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some((daemon, fullname)) = running else { return };
        let goodbye = async {
            if let Ok(unregistered) = daemon.unregister(&fullname) {
                drop(unregistered.recv_async().await);
            }
            if let Ok(ended) = daemon.shutdown() {
                drop(ended.recv_async().await);
            }
        };
        if tokio::time::timeout(GOODBYE_WITHIN, goodbye).await.is_err() {
            tracing::debug!("the goodbye on the network took too long");
        }
    }
}

type Announced = (ServiceDaemon, String, mdns_sd::Receiver<DaemonEvent>);

fn announce(name: &str, title: &str, port: u16) -> Result<Announced, mdns_sd::Error> {
    let daemon = ServiceDaemon::new()?;
    let events = daemon.monitor()?;
    let host = format!("{name}.local.");
    // Addresses are found and followed by the daemon as interfaces come and go.
    let service = ServiceInfo::new(SERVICE, title, &host, "", port, &[("path", "/")][..])?.enable_addr_auto();
    let fullname = service.get_fullname().to_owned();
    daemon.register(service)?;
    Ok((daemon, fullname, events))
}

fn heard(event: &DaemonEvent, in_force: &watch::Sender<String>) {
    match event {
        DaemonEvent::NameChange(change) => {
            let Some(name) = change.new_name.strip_suffix(".local.").filter(|name| !name.contains('.'))
            else {
                return;
            };
            // Told once for each address family.
            let news = in_force.send_if_modified(|now| {
                let differs = now.as_str() != name;
                name.clone_into(now);
                differs
            });
            if news {
                tracing::warn!(
                    taken = change.original,
                    now = change.new_name,
                    "another machine has the hub's name"
                );
            }
        }
        DaemonEvent::Error(error) => tracing::debug!(%error, "multicast DNS"),
        _ => {}
    }
}
