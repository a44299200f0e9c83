//! From logits to a token. The same seed, settings and logits always give the same token.

/// How a token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// 0: always the likeliest.
    pub(crate) temperature: f32,
    /// Only the likeliest so many; 0: all.
    pub(crate) top_k: usize,
    /// Only the likeliest whose probabilities together reach this.
    pub(crate) top_p: f32,
    /// Only those with at least this share of the likeliest one's probability.
    pub(crate) min_p: f32,
    /// Logits of recent tokens are divided (or, below zero, multiplied) by this; 1: not at all.
    pub(crate) repetition_penalty: f32,
    pub(crate) seed: u64,
}

/// Recent tokens that the repetition penalty looks at.
const PENALTY_WINDOW: usize = 64;

impl Sampling {
    /// The settings for a temperature; at 0 nothing but the model decides.
    pub(crate) fn new(temperature: f32, seed: u64) -> Self {
        let repetition_penalty = if temperature > 0.0 { 1.05 } else { 1.0 };
        Self { temperature, top_k: 40, top_p: 0.95, min_p: 0.05, repetition_penalty, seed }
    }
}

/// Chooses the tokens of one answer.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: SplitMix,
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling) -> Self {
        Self { sampling, random: SplitMix::new(sampling.seed), candidates: Vec::new() }
    }

    /// The next token; `recent` are the tokens before it. Logits that are not numbers are never chosen; when none is a
    /// number there is no token.
    pub(crate) fn sample(&mut self, logits: &mut [f32], recent: &[u32]) -> Option<u32> {
        let sampling = self.sampling;
        if sampling.repetition_penalty != 1.0 {
            penalize(logits, recent, sampling.repetition_penalty);
        }
        if sampling.temperature <= 0.0 {
            return greatest(logits);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend((0_u32..).zip(logits.iter().copied()).filter(|(_, logit)| logit.is_finite()));
        let descending = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if sampling.top_k > 0 && sampling.top_k < candidates.len() {
            candidates.select_nth_unstable_by(sampling.top_k, descending);
            candidates.truncate(sampling.top_k);
        }
        candidates.sort_unstable_by(descending);
        let (_, likeliest) = *candidates.first()?;
        let mut total = 0.0;
        for (_, value) in candidates.iter_mut() {
            *value = ((*value - likeliest) / sampling.temperature).exp();
            total += *value;
        }
        // The likeliest has the weight 1, so that weights are shares of its probability.
        let (mut sum, mut kept) = (0.0, 0);
        for (_, weight) in candidates.iter() {
            if kept > 0 && (*weight < sampling.min_p || sum >= sampling.top_p * total) {
                break;
            }
            sum += weight;
            kept += 1;
        }
        candidates.truncate(kept);
        let mut target = self.random.unit() * sum;
        for (token, weight) in candidates.iter() {
            target -= weight;
            if target < 0.0 {
                return Some(*token);
            }
        }
        candidates.last().map(|(token, _)| *token)
    }
}

/// The token with the greatest logit; of several the first.
pub(crate) fn greatest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, logit) in (0_u32..).zip(logits.iter().copied()) {
        if logit.is_finite() && best.is_none_or(|(_, greatest)| logit > greatest) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}

fn penalize(logits: &mut [f32], recent: &[u32], penalty: f32) {
    let mut tokens: Vec<u32> = recent.iter().rev().take(PENALTY_WINDOW).copied().collect();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and the same on every machine and in every release.
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// About normally distributed, mean 0, standard deviation 1: the sum of twelve uniform numbers.
    pub(crate) fn gaussian(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// Appends random bytes.
    pub(crate) fn fill(&mut self, count: usize, out: &mut Vec<u8>) {
        for start in (0..count).step_by(8) {
            let bytes = self.next().to_le_bytes();
            out.extend(bytes.iter().take(count - start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(temperature: f32, seed: u64) -> Sampling {
        Sampling { temperature, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed }
    }

    #[test]
    fn at_temperature_zero_the_first_greatest_is_taken() {
        let mut sampler = Sampler::new(plain(0.0, 1));
        assert_eq!(sampler.sample(&mut [0.5, 2.0, 2.0, f32::NAN], &[]), Some(1));
        assert_eq!(sampler.sample(&mut [f32::NAN, f32::NEG_INFINITY], &[]), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
        let draw = |seed| -> Vec<u32> {
            let mut sampler = Sampler::new(plain(1.0, seed));
            (0..64).filter_map(|_| sampler.sample(&mut [1.0; 50], &[])).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn tokens_come_as_often_as_their_probabilities_say() {
        let mut sampler = Sampler::new(plain(1.0, 3));
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            let logits = &mut [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
            counts[sampler.sample(logits, &[]).unwrap() as usize] += 1;
        }
        for (count, share) in counts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((f64::from(*count) / 20_000.0 - share).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn each_limit_removes_the_unlikely() {
        let seen = |sampling: Sampling| {
            let mut sampler = Sampler::new(sampling);
            let mut seen: Vec<u32> = (0..2000)
                .map(|_| {
                    sampler
                        .sample(&mut [0.4_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), 0.1_f32.ln()], &[])
                        .unwrap()
                })
                .collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(seen(plain(1.0, 1)), [0, 1, 2, 3]);
        assert_eq!(seen(Sampling { top_k: 2, ..plain(1.0, 1) }), [0, 1]);
        assert_eq!(seen(Sampling { top_p: 0.6, ..plain(1.0, 1) }), [0, 1]);
        assert_eq!(seen(Sampling { min_p: 0.45, ..plain(1.0, 1) }), [0, 1, 2]);
    }

    #[test]
    fn the_penalty_lowers_what_was_said_already() {
        let mut sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..plain(0.0, 1) });
        assert_eq!(sampler.sample(&mut [1.5, 2.0], &[1]), Some(0));
        assert_eq!(sampler.sample(&mut [-1.5, -1.0], &[1]), Some(0));
    }
}
