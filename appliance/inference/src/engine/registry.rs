//! The models of the folder: which there are, which are in memory, which one answers, and how much memory is left.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    error::{InferenceError, ModelError},
    inspect::{self, Stamp},
    loaded::Loaded,
    types::{Family, ModelInfo, ModelState},
};

/// Files of the folder that are looked at.
const MAX_MODELS: usize = 64;

enum State {
    Available,
    Loading(Arc<AtomicU64>),
    Loaded { model: Arc<Loaded>, used: u64 },
    Refused(String),
}

struct Entry {
    info: ModelInfo,
    stamp: Option<Stamp>,
    state: State,
}

/// What happens when a model is wanted.
pub(crate) enum Wanted {
    /// It is there.
    Ready,
    /// It is being loaded, or must wait until memory is free.
    Later,
    /// It is to be loaded now: call [`Loaded::load`] with these, then [`Registry::finish`].
    Load(PathBuf, Arc<AtomicU64>),
}

/// All models by name.
pub(crate) struct Registry {
    folder: PathBuf,
    limit: u64,
    entries: BTreeMap<String, Entry>,
    uses: u64,
}

impl Registry {
    pub(crate) fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit, entries: BTreeMap::new(), uses: 0 }
    }

    /// Looks at the folder again. Headers are read only of files that are new or have changed.
    pub(crate) fn scan(&mut self) {
        let mut seen = Vec::new();
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in files.map(|file| file.path()).filter(|path| is_model(path)).take(MAX_MODELS) {
            let name = inspect::name_of(&path);
            seen.push(name.clone());
            let metadata = path.metadata();
            let stamp = metadata.as_ref().ok().and_then(Stamp::of);
            let bytes = metadata.map_or(0, |metadata| metadata.len());
            let known = self.entries.get(&name);
            if known.is_some_and(|entry| entry.stamp == stamp && entry.info.file_bytes == bytes) {
                continue;
            }
            if known.is_some_and(|entry| matches!(entry.state, State::Loading(_) | State::Loaded { .. })) {
                continue;
            }
            self.entries.insert(name.clone(), self.look(&path, name, stamp, bytes));
        }
        self.entries.retain(|name, entry| {
            seen.contains(name) || matches!(entry.state, State::Loading(_) | State::Loaded { .. })
        });
    }

    fn look(&self, path: &Path, name: String, stamp: Option<Stamp>, bytes: u64) -> Entry {
        match inspect::inspect(path).and_then(|info| self.may_generate(info)) {
            Ok(info) => Entry { info, stamp, state: State::Available },
            Err(error) => {
                let info = ModelInfo {
                    name,
                    title: None,
                    path: path.to_owned(),
                    family: None,
                    quantization: String::new(),
                    parameters: 0,
                    context: 0,
                    file_bytes: bytes,
                    memory_bytes: 0,
                    state: ModelState::Available,
                };
                Entry { info, stamp, state: State::Refused(error.to_string()) }
            }
        }
    }

    fn may_generate(&self, info: ModelInfo) -> Result<ModelInfo, ModelError> {
        if info.family == Some(Family::Bert) {
            return Err(ModelError::Unsupported(
                "a place among the embedding models: it does not generate".into(),
            ));
        }
        if info.memory_bytes > self.limit {
            return Err(ModelError::NotEnoughMemory { needed: info.memory_bytes, free: self.limit });
        }
        Ok(info)
    }

    /// What the hub is told.
    pub(crate) fn infos(&self) -> Vec<ModelInfo> {
        self.entries
            .values()
            .map(|entry| {
                let state = match &entry.state {
                    State::Available => ModelState::Available,
                    State::Loaded { .. } => ModelState::Loaded,
                    State::Refused(reason) => ModelState::Refused(reason.clone()),
                    State::Loading(read) => {
                        let percent = read.load(Ordering::Relaxed) * 100 / entry.info.file_bytes.max(1);
                        ModelState::Loading { percent: u8::try_from(percent.min(100)).unwrap_or(100) }
                    }
                };
                ModelInfo { state, ..entry.info.clone() }
            })
            .collect()
    }

    /// The name of the model that answers a request: the one asked for, or the largest that can be used.
    pub(crate) fn resolve(&mut self, asked: Option<&str>) -> Result<String, InferenceError> {
        if asked.is_none_or(|name| !self.entries.contains_key(name)) {
            self.scan();
        }
        match asked {
            Some(name) => match self.entries.get(name).map(|entry| &entry.state) {
                None => Err(InferenceError::UnknownModel(name.to_owned())),
                Some(State::Refused(reason)) => {
                    Err(InferenceError::Refused { model: name.to_owned(), reason: reason.clone() })
                }
                Some(_) => Ok(name.to_owned()),
            },
            None => self
                .entries
                .values()
                .filter(|entry| !matches!(entry.state, State::Refused(_)))
                .max_by_key(|entry| entry.info.parameters)
                .map(|entry| entry.info.name.clone())
                .ok_or_else(|| self.why_none()),
        }
    }

    /// Why no model can be used: there is none, or what is wrong with the first.
    fn why_none(&self) -> InferenceError {
        match self.entries.first_key_value() {
            Some((name, Entry { state: State::Refused(reason), .. })) => {
                InferenceError::Refused { model: name.clone(), reason: reason.clone() }
            }
            _ => InferenceError::NoModel,
        }
    }

    /// Asks for a model. `in_use` says whether conversations need a model that could make room.
    pub(crate) fn want(
        &mut self,
        name: &str,
        in_use: impl Fn(&str) -> bool,
    ) -> Result<Wanted, InferenceError> {
        self.uses += 1;
        let uses = self.uses;
        let entry =
            self.entries.get_mut(name).ok_or_else(|| InferenceError::UnknownModel(name.to_owned()))?;
        match &mut entry.state {
            State::Loaded { used, .. } => {
                *used = uses;
                return Ok(Wanted::Ready);
            }
            State::Loading(_) => return Ok(Wanted::Later),
            State::Refused(reason) => {
                return Err(InferenceError::Refused { model: name.to_owned(), reason: reason.clone() });
            }
            State::Available => {}
        }
        let (needed, path) = (entry.info.memory_bytes, entry.info.path.clone());
        if self.entries.values().any(|entry| matches!(entry.state, State::Loading(_))) {
            return Ok(Wanted::Later);
        }
        while needed > self.free() {
            let idle = self
                .entries
                .iter()
                .filter_map(|(name, entry)| match &entry.state {
                    State::Loaded { used, .. } if !in_use(name) => Some((*used, name.clone())),
                    _ => None,
                })
                .min();
            match idle {
                Some((_, idle)) => self.unload(&idle),
                None if self.loaded() > 0 => return Ok(Wanted::Later),
                None => {
                    return Err(InferenceError::NotEnoughMemory {
                        model: name.to_owned(),
                        needed,
                        free: self.free(),
                    });
                }
            }
        }
        let progress = Arc::new(AtomicU64::new(0));
        if let Some(entry) = self.entries.get_mut(name) {
            entry.state = State::Loading(Arc::clone(&progress));
        }
        Ok(Wanted::Load(path, progress))
    }

    /// Takes the result of loading.
    pub(crate) fn finish(&mut self, name: &str, result: Result<Loaded, InferenceError>) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.state = match result {
                Ok(model) => State::Loaded { model: Arc::new(model), used: self.uses },
                Err(error) => State::Refused(error.to_string()),
            };
        }
    }

    /// Forgets a model's weights; conversations that still use it keep them until they end.
    pub(crate) fn unload(&mut self, name: &str) {
        if let Some(entry) = self.entries.get_mut(name)
            && matches!(entry.state, State::Loaded { .. })
        {
            entry.state = State::Available;
        }
    }

    /// A model that failed while computing is not used again until its file changes.
    pub(crate) fn refuse(&mut self, name: &str, reason: String) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.state = State::Refused(reason);
        }
    }

    pub(crate) fn loaded(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.state, State::Loaded { .. })).count()
    }

    /// The model, if it is in memory.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Loaded>> {
        match &self.entries.get(name)?.state {
            State::Loaded { model, .. } => Some(Arc::clone(model)),
            _ => None,
        }
    }

    pub(crate) fn is_loaded(&self, name: &str) -> bool {
        matches!(self.entries.get(name).map(|entry| &entry.state), Some(State::Loaded { .. }))
    }

    /// Whether a request for this model can be moved on now, be it by loading, by starting or by refusing.
    pub(crate) fn can_serve(&self, name: &str) -> bool {
        let loading = self.entries.values().any(|entry| matches!(entry.state, State::Loading(_)));
        self.is_loaded(name) || !loading
    }

    fn free(&self) -> u64 {
        let taken: u64 = self
            .entries
            .values()
            .filter(|entry| matches!(entry.state, State::Loaded { .. } | State::Loading(_)))
            .map(|entry| entry.info.memory_bytes)
            .sum();
        self.limit.saturating_sub(taken)
    }
}

fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf") && path.is_file()
}
