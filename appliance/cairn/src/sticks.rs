//! Sticks with updates: noticed when they are put in and pulled out. The image makes what is on them readable, each in a folder of its own
//! (`image/rootfs/usr/lib/cairn/stick`); here it is looked at whether there is a repository.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_uplink::updates::repository::METADATA;
use tokio::sync::watch;

/// Where the image lets sticks appear.
const PLACE: &str = "/run/cairn/sticks";
/// The folder for updates on a stick that holds other things as well.
const FOLDER: &str = "cairn";
/// What every repository has.
const TIMESTAMP: &str = "timestamp.json";
/// Sticks that are looked at, at most.
const MOST: usize = 8;
/// Between two looks at what is in.
const EVERY: Duration = Duration::from_secs(3);

/// What has become of a repository on a stick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StickNews {
    /// It is there.
    In(PathBuf),
    /// It is there no longer.
    Out(PathBuf),
}

/// Where sticks appear, if anywhere.
pub(crate) fn place(told: Option<PathBuf>, appliance: bool) -> Option<PathBuf> {
    told.or_else(|| appliance.then(|| PathBuf::from(PLACE)))
}

/// The repositories in `folder`, which may be one itself.
fn repositories(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sticks = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(MOST) {
        sticks.push(entry?.path());
    }
    sticks.sort();
    let inner = sticks.into_iter().flat_map(|stick| [stick.join(FOLDER), stick]);
    let all = std::iter::once(folder.to_owned()).chain(inner);
    Ok(all.filter(|folder| folder.join(METADATA).join(TIMESTAMP).is_file()).collect())
}

/// What is new in `now`, beside `before`: first what is gone.
fn news(before: &[PathBuf], now: &[PathBuf]) -> Vec<StickNews> {
    let gone = before.iter().filter(|folder| !now.contains(folder)).cloned().map(StickNews::Out);
    let come = now.iter().filter(|folder| !before.contains(folder)).cloned().map(StickNews::In);
    gone.chain(come).collect()
}

/// Follows what is in `folder`, and says it to `tell`, which is told again when it answers `false`. `found` holds what was told.
pub(crate) async fn follow(
    folder: PathBuf,
    found: watch::Sender<Vec<PathBuf>>,
    tell: impl Fn(StickNews) -> bool,
) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let place = folder.clone();
        // A stick that answers slowly holds up nobody but this.
        let now = match tokio::task::spawn_blocking(move || repositories(&place)).await {
            Ok(Ok(now)) => now,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Ok(Err(error)) => {
                tracing::debug!(%error, "sticks could not be looked at");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "sticks are not looked at any more");
                return;
            }
        };
        let before = found.borrow().clone();
        for news in news(&before, &now) {
            tracing::info!(?news, "sticks");
            if !tell(news.clone()) {
                break;
            }
            found.send_modify(|told| match news {
                StickNews::In(folder) => told.push(folder),
                StickNews::Out(folder) => told.retain(|other| *other != folder),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn put(folder: &Path) {
        std::fs::create_dir_all(folder.join(METADATA)).unwrap();
        std::fs::write(folder.join(METADATA).join(TIMESTAMP), "{}").unwrap();
    }

    #[test]
    fn a_repository_is_found_where_people_put_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        assert_eq!(repositories(place).unwrap(), Vec::<PathBuf>::new());
        std::fs::write(place.join("note.txt"), "").unwrap();
        std::fs::create_dir_all(place.join("sda1/photos")).unwrap();
        assert_eq!(repositories(place).unwrap(), Vec::<PathBuf>::new());
        put(&place.join("sdb1"));
        put(&place.join("sda1/cairn"));
        assert_eq!(repositories(place).unwrap(), [place.join("sda1/cairn"), place.join("sdb1")]);
        put(place);
        assert_eq!(repositories(place).unwrap()[0], place);
    }

    #[test]
    fn what_is_in_no_longer_is_told_before_what_came() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let told = news(&paths(&["a", "b"]), &paths(&["b", "c"]));
        assert_eq!(told, [StickNews::Out("a".into()), StickNews::In("c".into())]);
        assert!(news(&paths(&["a"]), &paths(&["a"])).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stick_is_told_until_it_is_heard_and_when_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let stick = folder.path().join("sda1");
        put(&stick);
        let (heard, found) = (Mutex::new(Vec::new()), watch::Sender::new(Vec::new()));
        let mut following = found.subscribe();
        let place = folder.path().to_owned();
        let tell = |news| {
            let mut heard = heard.lock().unwrap();
            heard.push(news);
            heard.len() > 1
        };
        let story = async {
            let told = following.wait_for(|found| !found.is_empty()).await.unwrap().clone();
            assert_eq!(told, std::slice::from_ref(&stick));
            std::fs::remove_dir_all(&stick).unwrap();
            following.wait_for(Vec::is_empty).await.unwrap();
        };
        tokio::select! {
            () = follow(place, found, tell) => panic!("it ends"),
            () = story => {}
        }
        let (come, gone) = (StickNews::In(stick.clone()), StickNews::Out(stick));
        assert_eq!(*heard.lock().unwrap(), [come.clone(), come, gone]);
    }
}
