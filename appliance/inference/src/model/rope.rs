//! Rotary position embedding (Su et al., 2021), with frequency factors (Llama 3, Phi-3).

use super::config::RopeConfig;

/// The rotation of one kind of layer.
pub(crate) struct Rope {
    /// Turn per position of each pair of components, radians.
    frequencies: Vec<f32>,
    interleaved: bool,
    magnitude: f32,
}

impl Rope {
    /// `factors` divide the frequencies, one per pair.
    pub(crate) fn new(config: &RopeConfig, base: f32, stretch: f32, factors: Option<&[f32]>) -> Self {
        let pairs = config.dimensions / 2;
        let frequencies = (0..pairs)
            .map(|pair| {
                let factor = factors.and_then(|factors| factors.get(pair)).copied().unwrap_or(1.0);
                base.powf(-(2.0 * pair as f32) / config.dimensions as f32) / (factor * stretch)
            })
            .collect();
        Self { frequencies, interleaved: config.interleaved, magnitude: config.magnitude }
    }

    /// Cosine and sine of each pair at a position.
    pub(crate) fn at(&self, position: usize, turns: &mut Vec<(f32, f32)>) {
        turns.clear();
        turns.extend(self.frequencies.iter().map(|frequency| {
            let (sine, cosine) = (position as f32 * frequency).sin_cos();
            (cosine * self.magnitude, sine * self.magnitude)
        }));
    }

    /// Turns one head in place.
    pub(crate) fn turn(&self, head: &mut [f32], turns: &[(f32, f32)]) {
        if self.interleaved {
            for (pair, (cosine, sine)) in head.chunks_exact_mut(2).zip(turns) {
                if let [x, y] = pair {
                    (*x, *y) = (*x * cosine - *y * sine, *x * sine + *y * cosine);
                }
            }
        } else {
            let (first, rest) = head.split_at_mut(turns.len().min(head.len()));
            for ((x, y), (cosine, sine)) in first.iter_mut().zip(rest).zip(turns) {
                (*x, *y) = (*x * cosine - *y * sine, *x * sine + *y * cosine);
            }
        }
    }
}
