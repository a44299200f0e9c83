//! Keys and values of the tokens that a conversation has had so far.

use half::f16;

use super::Config;

/// One conversation's memory: for each layer the keys and values of all positions, one position after the other.
pub(crate) struct Cache {
    layers: Vec<(Vec<f16>, Vec<f16>)>,
    width: usize,
    /// The tokens that are in it, so that another conversation with the same beginning can go on from there.
    tokens: Vec<u32>,
    capacity: usize,
}

impl Cache {
    /// A cache for at most `capacity` positions. Address space is reserved now, memory is used as it fills.
    pub(crate) fn new(config: &Config, capacity: usize) -> Self {
        let width = config.kv_width();
        let layers = (0..config.layers)
            .map(|_| (Vec::with_capacity(capacity * width), Vec::with_capacity(capacity * width)))
            .collect();
        Self { layers, width, tokens: Vec::with_capacity(capacity), capacity }
    }

    /// Bytes that its content takes now.
    pub(crate) fn bytes(&self) -> u64 {
        (self.layers.len() * 2 * self.width * size_of::<f16>() * self.tokens.len()) as u64
    }

    /// Positions in it.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Positions that still fit.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.tokens.len()
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Forgets all positions from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        for (keys, values) in &mut self.layers {
            keys.truncate(length * self.width);
            values.truncate(length * self.width);
        }
    }

    /// Takes over how many positions fit; for a kept cache that goes on in another conversation.
    pub(crate) fn extend_capacity(&mut self, capacity: usize) {
        if capacity > self.capacity {
            for (keys, values) in &mut self.layers {
                keys.reserve_exact(capacity * self.width - keys.len());
                values.reserve_exact(capacity * self.width - values.len());
            }
            self.capacity = capacity;
        }
    }

    /// Appends keys and values (rows of the key width) of one layer.
    pub(super) fn append(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        if let Some((k, v)) = self.layers.get_mut(layer) {
            k.extend(keys.iter().map(|key| f16::from_f32(*key)));
            v.extend(values.iter().map(|value| f16::from_f32(*value)));
        }
    }

    /// Says which tokens the appended positions are, once all layers have them.
    pub(super) fn commit(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Drops what layers have beyond the committed positions, after a failure between them.
    pub(super) fn roll_back(&mut self) {
        self.truncate(self.tokens.len());
    }

    pub(super) fn layer(&self, layer: usize) -> (&[f16], &[f16]) {
        self.layers.get(layer).map_or((&[], &[]), |(keys, values)| (keys, values))
    }
}
