//! Embeddings kept between runs by a hash of their text, so that tuning does not embed the same passages again.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use cairn_inference::{EMBEDDING_DIMENSIONS, Embed, EmbedRole, InferenceError};
use futures::{FutureExt, future::BoxFuture};

use super::EvaluateError;

const KEY: usize = 32;
const ENTRY: usize = KEY + EMBEDDING_DIMENSIONS * 4;

/// A model behind a file of what it said before.
pub(super) struct Cached {
    model: Arc<dyn Embed>,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    vectors: HashMap<[u8; KEY], Vec<f32>>,
    file: File,
}

impl Cached {
    /// Reads what `path` holds. An entry that was cut off while it was written is dropped.
    pub(super) fn open(model: Arc<dyn Embed>, path: PathBuf) -> Result<Self, EvaluateError> {
        let io = |source| EvaluateError::Io { what: path.display().to_string(), source };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let whole = bytes.len() - bytes.len() % ENTRY;
        file.set_len(whole as u64).map_err(io)?;
        let mut vectors = HashMap::new();
        for entry in bytes.chunks_exact(ENTRY) {
            let (key, values) = entry.split_at(KEY);
            let Ok(key) = <[u8; KEY]>::try_from(key) else { continue };
            let values = values.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
            vectors.insert(key, values);
        }
        Ok(Self { model, kept: Arc::new(Mutex::new(Kept { vectors, file })) })
    }
}

impl Embed for Cached {
    fn embed(
        &self,
        texts: Vec<String>,
        role: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>> {
        let (model, kept) = (self.model.clone(), self.kept.clone());
        async move {
            let keys: Vec<[u8; KEY]> =
                texts.iter().map(|text| *blake3::hash(text.as_bytes()).as_bytes()).collect();
            let missing: Vec<usize> = {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                keys.iter()
                    .enumerate()
                    .filter(|(_, key)| !kept.vectors.contains_key(*key))
                    .map(|(at, _)| at)
                    .collect()
            };
            let wanted: Vec<String> = missing.iter().filter_map(|at| texts.get(*at).cloned()).collect();
            let fresh = if wanted.is_empty() { Vec::new() } else { model.embed(wanted, role).await? };
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, vector) in missing.into_iter().zip(fresh) {
                let Some(key) = keys.get(at) else { continue };
                let mut entry = key.to_vec();
                entry.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
                if let Err(error) = kept.file.write_all(&entry) {
                    tracing::warn!(%error, "an embedding is not kept for the next run");
                }
                kept.vectors.insert(*key, vector);
            }
            let found = keys.iter().filter_map(|key| kept.vectors.get(key).cloned()).collect();
            Ok(found)
        }
        .boxed()
    }
}
