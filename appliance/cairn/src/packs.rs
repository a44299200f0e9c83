//! Where models and content packs of the repository belong on this hub: models beside those that a keeper uploaded, content as a document of the
//! library. A new one takes the place of the old one in one step, and the old one is thrown away only once the new one has loaded.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use cairn_inference::{InferenceClient, InferenceError, ModelState};
use cairn_library::{IndexOutcome, Library};
use cairn_store::{ListQuery, MAX_PAGE, Part, Record, Store, StoreError, Viewer};
use cairn_supervisor::TreeStatus;
use cairn_sync::{BlobId, Kind, RecordId, Value};
use cairn_uplink::updates::{
    files,
    packs::{Held, InPlace, Offered, PackKind, PutError, SPARE, Shelf},
};
use futures::future::{BoxFuture, FutureExt};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tokio::sync::watch;

use crate::{data::Folder, documents};

/// Largest content pack, in bytes.
const MAX_CONTENT: u64 = 16 << 30;
const HUB: Viewer = Viewer::system(Part::Console);

/// What stood in a new model's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// Another model of that name.
    Another,
    /// The new one.
    Itself,
}

/// The hub's places for packs.
pub(crate) struct HubShelf {
    pub(crate) folder: Folder,
    pub(crate) store: Store,
    pub(crate) library: Library,
    pub(crate) inference: InferenceClient,
    pub(crate) tree: watch::Receiver<Option<TreeStatus>>,
}

impl HubShelf {
    fn model(&self, pack: &Offered) -> PathBuf {
        self.folder.models().join(format!("{}.gguf", pack.pack.name))
    }

    /// Puts a model in place and loads it. In every moment one of the two stands under the name; a first one that does not load is taken out
    /// again, so that nobody is offered it.
    async fn put_model(&self, pack: &Offered) -> Result<(), PutError> {
        let (fresh, place, name) = (self.resting(pack), self.model(pack), pack.pack.name.as_str());
        if pack.ending != "gguf" {
            return Err(PutError::Refused("a model is a file that ends in .gguf".to_owned()));
        }
        let before = match (fresh.exists(), place.exists()) {
            // A power cut came before it was seen to load, or before that was written down.
            (false, _) => Before::Itself,
            (true, true) => Before::Another,
            (true, false) => Before::Nothing,
        };
        let file = if before == Before::Itself { place.clone() } else { fresh.clone() };
        let inspected = blocking(move || Ok(cairn_inference::inspect(&file))).await?;
        let unfit = match inspected.map(|info| info.state) {
            Ok(ModelState::Refused(why)) => Some(why),
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        };
        if let Some(why) = unfit {
            if before == Before::Itself {
                blocking(move || take_out(&place, &fresh)).await?;
            }
            return Err(PutError::Refused(why));
        }
        let models = self.inference.models().await.map_err(|error| PutError::Later(error.to_string()))?;
        let loaded =
            models.iter().any(|model| model.name == name && matches!(model.state, ModelState::Loaded));
        let (new, old) = (fresh.clone(), place.clone());
        blocking(move || match before {
            Before::Nothing => install(&new, &old),
            Before::Another => swap(&new, &old),
            Before::Itself => Ok(()),
        })
        .await?;
        let error = match self.load_anew(name).await {
            Ok(()) => {
                if !loaded {
                    // It was loaded to see whether it can be. Nobody had asked it anything.
                    drop(self.inference.unload(name).await);
                }
                return Ok(());
            }
            Err(error @ (InferenceError::Refused { .. } | InferenceError::NotEnoughMemory { .. })) => {
                PutError::Refused(error.to_string())
            }
            Err(error) => PutError::Later(error.to_string()),
        };
        match before {
            Before::Another => {
                blocking(move || swap(&fresh, &place)).await?;
                if loaded && let Err(error) = self.load_anew(name).await {
                    tracing::warn!(%error, name, "the model before could not be loaded again");
                }
            }
            // It may have worked before: it stays until it is known that it does not.
            Before::Itself if matches!(error, PutError::Later(_)) => return Err(error),
            Before::Itself | Before::Nothing => blocking(move || take_out(&place, &fresh)).await?,
        }
        // Listing them has it look at the folder again: what it found of the file that is out of its place counts no more.
        drop(self.inference.models().await);
        Err(error)
    }

    async fn load_anew(&self, name: &str) -> Result<(), InferenceError> {
        // Whether there was anything to unload makes no difference to what follows.
        drop(self.inference.unload(name).await);
        // Listing them has it look at the files anew: what was found of the file before, good or bad, counts no more.
        self.inference.models().await?;
        self.inference.load(name).await
    }

    /// A document of this file that another hub of the community has made, or a person: a pack does not stand twice in a library.
    async fn same(&self, title: &str, blob: BlobId) -> Option<Record> {
        let query = ListQuery {
            project: Some(None),
            text_prefix: Some(("title".to_owned(), title.to_owned())),
            limit: MAX_PAGE,
            ..ListQuery::of(Kind::Document)
        };
        let found = self.store.list(&HUB, query).await;
        let found = found
            .inspect_err(|error| tracing::debug!(%error, "documents could not be looked through"))
            .ok()?;
        let blob = blob.to_string();
        found.items.into_iter().find(|record| record.text("file") == blob)
    }

    /// Makes the document, or gives it the new file. Searches find what was read of the old one until the new one is read.
    async fn put_content(&self, pack: &Offered, held: &Held) -> Result<RecordId, PutError> {
        let (store, path) = (self.store.clone(), self.resting(pack));
        let kept = move || {
            let kept = File::open(&path)
                .map_err(documents::KeepError::from)
                .and_then(|file| documents::keep_file(&store, file, MAX_CONTENT));
            kept.map_err(|error| PutError::Later(error.to_string()))
        };
        let blob = blocking(kept).await?;
        let file_name = pack.file_name();
        let title = if pack.title.is_empty() { documents::title_of(&file_name) } else { pack.title.clone() };
        let fields = documents::fields(&title, &file_name, blob, pack.wanted.length);
        let before = match held.record {
            Some(id) => Some(self.store.get(&HUB, id).await.map_err(gone)?),
            None => self.same(&title, blob).await,
        };
        let record = match &before {
            Some(record) if record.deleted => return Err(PutError::Refused(GONE.to_owned())),
            Some(record) => self.store.update(&HUB, record.id, fields, None, None).await.map_err(gone)?,
            None => self
                .store
                .create(&HUB, Kind::Document, None, fields, Some(held.change))
                .await
                .map_err(later)?,
        };
        match self.library.index_now(record.id).await {
            Ok(IndexOutcome::Failed { reason }) => {
                let undone = match before {
                    Some(before) => {
                        let names = record
                            .fields
                            .keys()
                            .filter(|name| record.fields.get(*name) != before.fields.get(*name));
                        let old = names.map(|name| {
                            (name.clone(), before.fields.get(name).cloned().unwrap_or(Value::Null))
                        });
                        self.store.update(&HUB, record.id, old.collect(), None, None).await.map(drop)
                    }
                    None => self.store.delete(&HUB, record.id, None).await,
                };
                undone.map_err(later)?;
                Err(PutError::Refused(format!("it cannot be read: {reason}")))
            }
            Ok(IndexOutcome::Gone) => Err(PutError::Refused(GONE.to_owned())),
            // It is read later, as any other document.
            Ok(IndexOutcome::Indexed { .. }) | Err(_) => Ok(record.id),
        }
    }
}

const GONE: &str = "its document was removed from the library";

fn gone(error: StoreError) -> PutError {
    match error {
        StoreError::NotFound(_) => PutError::Refused(GONE.to_owned()),
        other => later(other),
    }
}

fn later(error: StoreError) -> PutError {
    PutError::Later(error.to_string())
}

impl Shelf for HubShelf {
    fn resting(&self, pack: &Offered) -> PathBuf {
        let name = format!("pack-{}-{}", pack.revision, pack.file_name());
        match pack.pack.kind {
            PackKind::Model => self.folder.incoming_models().join(name),
            PackKind::Content => self.folder.updates().join("packs").join(name),
        }
    }

    fn settle(&self, pack: &Offered) -> BoxFuture<'_, Result<bool, PutError>> {
        let (resting, pack, model) = (self.resting(pack), pack.clone(), self.model(pack));
        blocking(move || settle(&pack, &resting, &model)).boxed()
    }

    fn put(&self, pack: &Offered, held: &Held) -> BoxFuture<'_, Result<Option<RecordId>, PutError>> {
        let (pack, held) = (pack.clone(), held.clone());
        async move {
            match pack.pack.kind {
                PackKind::Model => self.put_model(&pack).await.map(|()| None),
                PackKind::Content => self.put_content(&pack, &held).await.map(Some),
            }
        }
        .boxed()
    }

    fn lend(&self, pack: &InPlace, to: PathBuf) -> BoxFuture<'_, io::Result<()>> {
        let (pack, model) = (pack.clone(), self.model(&pack.offered));
        async move {
            let gone = || io::Error::new(io::ErrorKind::NotFound, GONE);
            let mut file = match (pack.offered.pack.kind, pack.record) {
                (PackKind::Model, _) => match fs::hard_link(&model, &to) {
                    // The confinement of this process, or the disk's format, may not allow it.
                    Err(error) if error.kind() != io::ErrorKind::NotFound => File::open(&model)?,
                    linked => return linked,
                },
                (PackKind::Content, Some(record)) => {
                    self.store.open_file(&HUB, record).await.map_err(|_| gone())?.0
                }
                (PackKind::Content, None) => return Err(gone()),
            };
            let needed = file.metadata()?.len().saturating_add(SPARE);
            if self.room().is_some_and(|room| room < needed) {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk has no room for a copy"));
            }
            let copying = move || io::copy(&mut file, &mut File::create(&to)?).map(drop);
            tokio::task::spawn_blocking(copying).await.map_err(io::Error::other)?
        }
        .boxed()
    }

    fn room(&self) -> Option<u64> {
        self.tree.borrow().as_ref()?.board.disk_free
    }
}

/// What a power cut left: a swap whose new model was not seen to load is undone, anything that is not the pack is removed. Gives whether the pack's
/// file is here.
fn settle(pack: &Offered, resting: &Path, model: &Path) -> Result<bool, PutError> {
    let trouble = |error: &dyn std::fmt::Display| PutError::Later(error.to_string());
    if let Some(folder) = resting.parent() {
        fs::create_dir_all(folder).map_err(|error| trouble(&error))?;
    }
    let is = |path: &Path| files::is(&pack.wanted, path).map_err(|error| trouble(&error));
    let in_place = || -> Result<bool, PutError> { Ok(pack.pack.kind == PackKind::Model && is(model)?) };
    if !resting.exists() {
        return in_place();
    }
    if is(resting)? {
        return Ok(true);
    }
    if in_place()? {
        swap(resting, model)?;
        return Ok(true);
    }
    fs::remove_file(resting).map_err(|error| trouble(&error))?;
    Ok(false)
}

/// Exchanges two files in one step.
fn swap(new: &Path, old: &Path) -> Result<(), PutError> {
    let failed =
        |error: std::io::Error| PutError::Later(format!("{} cannot be replaced: {error}", old.display()));
    readable(new).map_err(failed)?;
    renameat2(AT_FDCWD, new, AT_FDCWD, old, RenameFlags::RENAME_EXCHANGE)
        .map_err(|error| failed(error.into()))?;
    synced(new).and_then(|()| synced(old)).map_err(failed)
}

fn install(new: &Path, place: &Path) -> Result<(), PutError> {
    let done = readable(new).and_then(|()| fs::rename(new, place)).and_then(|()| synced(place));
    done.map_err(|error| PutError::Later(format!("{} cannot be installed: {error}", place.display())))
}

/// Takes a model out of its place.
fn take_out(place: &Path, to: &Path) -> Result<(), PutError> {
    let done = fs::rename(place, to).and_then(|()| synced(to)).and_then(|()| synced(place));
    done.map_err(|error| PutError::Later(format!("{} cannot be taken out: {error}", place.display())))
}

/// By the inference role.
fn readable(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.sync_all()
}

fn synced(path: &Path) -> std::io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PutError> + Send + 'static,
) -> Result<T, PutError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(PutError::Later(error.to_string())))
}

#[cfg(test)]
mod tests {
    use cairn_uplink::updates::{files::Wanted, packs::PackName};
    use sha2::{Digest, Sha256};

    use super::*;

    const NEW: &[u8] = b"the new model";
    const OLD: &[u8] = b"the model before";

    /// Settles what a power cut left at rest and in place. Gives whether the file is here, and what is where then.
    fn settled(kind: PackKind, rest: Option<&[u8]>, place: Option<&[u8]>) -> (bool, [Option<Vec<u8>>; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let (resting, model) = (folder.path().join("incoming/pack-2-a.gguf"), folder.path().join("a.gguf"));
        fs::create_dir(folder.path().join("incoming")).unwrap();
        for (path, bytes) in [(&resting, rest), (&model, place)] {
            if let Some(bytes) = bytes {
                fs::write(path, bytes).unwrap();
            }
        }
        let pack = Offered {
            pack: PackName { kind, name: "a".to_owned() },
            revision: 2,
            title: String::new(),
            memory: 0,
            wanted: Wanted {
                target: "targets/a.gguf".to_owned(),
                length: NEW.len() as u64,
                sha256: Sha256::digest(NEW).into(),
            },
            ending: "gguf".to_owned(),
        };
        let here = settle(&pack, &resting, &model).unwrap();
        (here, [fs::read(resting).ok(), fs::read(model).ok()])
    }

    #[test]
    fn after_a_power_cut_the_model_before_is_in_its_place_and_what_came_is_kept() {
        let (new, old, torn) = (Some(NEW), Some(OLD), Some(&NEW[..5]));
        let kept =
            |rest: Option<&[u8]>, place: Option<&[u8]>| [rest.map(<[u8]>::to_vec), place.map(<[u8]>::to_vec)];
        for (what, rest, place, here, after) in [
            ("nothing has come", None, None, false, kept(None, None)),
            ("nothing has come of the second", None, old, false, kept(None, old)),
            ("it has come", new, None, true, kept(new, None)),
            ("the second has come", new, old, true, kept(new, old)),
            ("exchanged and not loaded yet", old, new, true, kept(new, old)),
            ("the first in place and not loaded yet", None, new, true, kept(None, new)),
            ("loaded, the old one removed, not written down", None, new, true, kept(None, new)),
            ("something else is at rest", torn, old, false, kept(None, old)),
            ("something else is at rest, and nothing in place", torn, None, false, kept(None, None)),
        ] {
            assert_eq!(settled(PackKind::Model, rest, place), (here, after), "{what}");
        }
        // A content pack has no place beside its document.
        assert_eq!(settled(PackKind::Content, None, new), (false, kept(None, new)));
        assert_eq!(settled(PackKind::Content, old, new), (false, kept(None, new)));
    }
}
