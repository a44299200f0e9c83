//! Keys and values of the tokens that a conversation has had so far.

use cairn_kernels::{Compute, KernelError, KvCache, KvFormat, KvShape};

use super::Config;
use crate::error::ModelError;

/// One conversation's memory.
pub(crate) struct Cache {
    pub(super) kv: KvCache,
    /// The tokens that are in it, so that another conversation with the same beginning can go on from there.
    tokens: Vec<u32>,
}

impl Cache {
    /// A cache for at most `capacity` positions. Address space is reserved now, memory is used as it fills.
    pub(crate) fn new(config: &Config, capacity: usize) -> Result<Self, ModelError> {
        Ok(Self { kv: KvCache::new(shape(config, capacity), FORMAT)?, tokens: Vec::with_capacity(capacity) })
    }

    /// Bytes that its content takes now.
    pub(crate) fn bytes(&self) -> u64 {
        self.kv.prefix_len_bytes(self.tokens.len()) as u64
    }

    /// Bytes that [`Cache::save`] writes for `length` positions.
    pub(crate) fn bytes_of(config: &Config, length: usize) -> u64 {
        KvCache::bytes_for(&shape(config, length), FORMAT) as u64
    }

    /// Positions in it.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Positions that still fit.
    pub(crate) fn room(&self) -> usize {
        self.kv.shape().capacity - self.tokens.len()
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Forgets all positions from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        self.kv.truncate(self.tokens.len());
    }

    /// A new cache for `capacity` positions that begins with the first `length` of this one.
    pub(crate) fn fork(&self, length: usize, capacity: usize) -> Result<Self, ModelError> {
        let length = length.min(self.tokens.len());
        let mut kv =
            KvCache::new(KvShape { capacity: capacity.max(length).max(1), ..self.kv.shape() }, FORMAT)?;
        kv.copy_prefix(&self.kv, length)?;
        let mut tokens = Vec::with_capacity(capacity);
        tokens.extend(self.tokens.iter().take(length));
        Ok(Self { kv, tokens })
    }

    /// Writes keys and values of the first `length` positions.
    pub(crate) fn save(&self, length: usize, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.kv.save_prefix(length, out)
    }

    /// What [`Cache::save`] wrote for these tokens.
    pub(crate) fn read(
        config: &Config,
        tokens: &[u32],
        from: &mut dyn std::io::Read,
    ) -> std::io::Result<Self> {
        let refused = |error: KernelError| std::io::Error::new(std::io::ErrorKind::InvalidInput, error);
        let mut kv = KvCache::new(shape(config, tokens.len().max(1)), FORMAT).map_err(refused)?;
        kv.load_prefix(tokens.len(), from)?;
        Ok(Self { kv, tokens: tokens.to_vec() })
    }

    /// Appends keys and values (rows of the key width) of one layer. They count once they are committed.
    pub(super) fn append(
        &mut self,
        compute: &Compute,
        layer: usize,
        keys: &[f32],
        values: &[f32],
        count: usize,
    ) -> Result<(), ModelError> {
        Ok(self.kv.write(compute, layer, keys, values, count)?)
    }

    /// Says which tokens the appended positions are, once all layers have them.
    pub(super) fn commit(&mut self, tokens: &[u32]) -> Result<(), ModelError> {
        self.kv.advance(tokens.len())?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }
}

/// Halves: eight-bit caches take 55 % of the memory and move the logits of small models visibly.
const FORMAT: KvFormat = KvFormat::F16;

fn shape(config: &Config, capacity: usize) -> KvShape {
    KvShape {
        layers: config.layers,
        kv_heads: config.kv_heads,
        head_dim: config.head,
        capacity: capacity.max(1),
    }
}
