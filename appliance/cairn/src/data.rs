//! The hub's folder: what lies where, whose it is, and that only one hub uses it.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cairn_process::confine::UserIds;
use nix::{
    fcntl::{Flock, FlockArg},
    unistd::{Gid, Uid, chown},
};

use crate::outcome::{Code, Failure};

/// Account of the hub on the device, and the id used where there is no such account.
const HUB_USER: (&str, u32) = ("cairn", 61_180);
/// Account of the models on the device, and the id used where there is no such account.
const INFER_USER: (&str, u32) = ("cairn-infer", 61_181);
/// Deepest folder below the hub's own that changes its owner.
const MAX_DEPTH: usize = 8;

/// A hub's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Records, index, files: the hub's alone.
    pub(crate) fn hub(&self) -> PathBuf {
        self.0.join("hub")
    }

    pub(crate) fn claim_code(&self) -> PathBuf {
        self.hub().join("claim")
    }

    /// Where the running hub's addresses stand.
    pub(crate) fn address(&self) -> PathBuf {
        self.hub().join("address.json")
    }

    /// Where local commands reach the running hub.
    pub(crate) fn console(&self) -> PathBuf {
        self.hub().join("console.sock")
    }

    /// For files that are gone after the next start.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.hub().join("tmp")
    }

    /// What updates keep: wishes, signed metadata, what is passed on.
    pub(crate) fn updates(&self) -> PathBuf {
        self.hub().join("updates")
    }

    /// What the supervisor remembers of updates and of whom to believe. No role can write there, and a factory reset keeps it.
    pub(crate) fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// Beginnings of conversations that the models keep across restarts: theirs alone, and never needed.
    pub(crate) fn beginnings(&self) -> PathBuf {
        self.0.join("beginnings")
    }

    /// Where models rest until they are installed.
    pub(crate) fn incoming_models(&self) -> PathBuf {
        self.models().join("incoming")
    }

    /// The embedding model that is used unless another is named: the first in its folder by name.
    pub(crate) fn embedding_model(&self) -> PathBuf {
        let folder = self.models().join("embed");
        let mut found: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
            .collect();
        found.sort();
        found.into_iter().next().unwrap_or_else(|| folder.join("all-minilm-l6-v2-q8_0.gguf"))
    }

    /// Makes the folder usable: its parts exist and belong to whom they should. Called by the supervisor.
    pub(crate) fn prepare(&self, users: Users) -> Result<(), Failure> {
        let cannot = |error: io::Error| self.not_writable(&error);
        make(&self.0, 0o755).map_err(cannot)?;
        if Uid::effective().is_root() {
            // The roles must be able to walk through it, not to list it.
            let mode = fs::metadata(&self.0).map_err(cannot)?.permissions().mode();
            fs::set_permissions(&self.0, Permissions::from_mode(mode | 0o111)).map_err(cannot)?;
        }
        for (path, mode) in [
            (self.hub(), 0o700),
            (self.models(), 0o755),
            (self.models().join("embed"), 0o755),
            (self.incoming_models(), 0o700),
            (self.beginnings(), 0o700),
        ] {
            make(&path, mode).map_err(cannot)?;
        }
        if let Some(hub) = users.hub {
            for part in [self.hub(), self.models()] {
                hand_over(&part, hub).map_err(cannot)?;
            }
        }
        if let Some(infer) = users.infer {
            hand_over(&self.beginnings(), infer).map_err(cannot)?;
        }
        Ok(())
    }

    pub(crate) fn not_writable(&self, error: &io::Error) -> Failure {
        Failure::new(Code::Failed, format!("the folder {} cannot be written: {error}", self.0.display()))
            .kept("Nothing was changed.")
            .next(
                "The hub keeps its records there. Make it writable, or name another one with --data FOLDER.",
            )
    }

    /// Takes the folder for this process alone. The lock ends with the process, however that ends.
    pub(crate) fn lock(&self) -> Result<Flock<File>, Failure> {
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| self.not_writable(&error))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
            if error == nix::errno::Errno::EWOULDBLOCK {
                Failure::new(Code::Running, format!("another hub is running on {}", self.0.display()))
                    .kept("Nothing was changed; it goes on.")
                    .next("Use it, end it first, or name another folder with --data FOLDER.")
            } else {
                Failure::new(Code::Failed, format!("{} cannot be locked: {error}", path.display()))
            }
        })
    }
}

/// Who runs the roles when the supervisor is root. `None`: as the supervisor.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Users {
    pub(crate) hub: Option<UserIds>,
    pub(crate) infer: Option<UserIds>,
}

impl Users {
    /// Different users where that is possible: we are root, and they can walk to the folder and the models.
    pub(crate) fn choose(folder: &Folder, embedding_model: &Path) -> Self {
        if !Uid::effective().is_root() {
            return Self::default();
        }
        let above = folder.root().parent().unwrap_or(Path::new("/")).to_owned();
        let above = above.canonicalize().unwrap_or(above);
        let hub = UserIds::named(HUB_USER.0, HUB_USER.1);
        let infer = UserIds::named(INFER_USER.0, INFER_USER.1);
        let model = embedding_model.canonicalize().unwrap_or_else(|_| folder.models());
        let model_above = model.parent().unwrap_or(Path::new("/")).to_owned();
        let in_folder = model.starts_with(folder.root());
        Self {
            hub: hub.can_enter(&above).then_some(hub),
            infer: (infer.can_enter(&above) && (in_folder || infer.can_enter(&model_above))).then_some(infer),
        }
    }
}

/// `~/.local/share/cairn`, by the XDG base directory specification.
pub(crate) fn default_folder() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("cairn")
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Gives `path` and all below it to `owner`, where it or anything directly in it belongs to someone else.
pub(crate) fn hand_over(path: &Path, owner: UserIds) -> io::Result<()> {
    let foreign = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.uid() != owner.uid);
    let directly_in = fs::read_dir(path)?.flatten().any(|entry| foreign(&entry.path()));
    if foreign(path) || directly_in { give(path, owner, 0) } else { Ok(()) }
}

fn give(path: &Path, owner: UserIds, depth: usize) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    // A link could lead the new owner to files that are not ours to give.
    if meta.is_symlink() || depth > MAX_DEPTH {
        return Ok(());
    }
    if meta.uid() != owner.uid || meta.gid() != owner.gid {
        chown(path, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner, depth + 1)?;
        }
    }
    Ok(())
}

/// Writes a file so that it is whole or absent, whatever happens.
pub(crate) fn write_durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    use std::io::Write;
    let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = folder.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_hub_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::at(temporary.path());
        folder.prepare(Users::default()).unwrap();
        let lock = folder.lock().unwrap();
        let refused = folder.lock().unwrap_err();
        assert_eq!(refused.code(), Code::Running);
        assert!(refused.to_string().contains("another hub is running"), "{refused}");
        drop(lock);
        folder.lock().unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_stays_behind() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a");
        for content in [b"first".as_slice(), b"second"] {
            write_durably(&path, content, 0o600).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told_in_a_sentence() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("file"), b"").unwrap();
        let failure = Folder::at(temporary.path().join("file/below")).prepare(Users::default()).unwrap_err();
        assert!(failure.to_string().contains("cannot be written") && failure.to_string().contains("--data"));
    }
}
