//! Every figure that search and answers are tuned by, in one place.
//!
//! `cargo xtask evaluate --calibrate` prints the values that do best on one half of the questions and how they do on
//! the other; `--write` puts them here. What came out stands in docs/SEARCH.md. Marking was chosen
//! on the same halves, by what `cargo xtask evaluate` prints of it; checking is chosen by hand.

/// How the two rankings become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fusion {
    /// The constant of reciprocal rank fusion: the larger, the less the first places stand out.
    pub k: f32,
    /// Weight of the ranking by words.
    pub words: f32,
    /// Weight of the ranking by meaning.
    pub meaning: f32,
    /// Factor on that weight for a question that is not in English, the language that the embedding model knows.
    pub other_language: f32,
    /// What each further passage of a document keeps of its score.
    pub decay: f32,
    /// How many hits of each ranking take part.
    pub depth: usize,
}

/// How the library tells whether it holds the answer: a logistic model over what the search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerdictModel {
    /// Constant.
    pub bias: f32,
    /// Weight of the best cosine between the question and a passage.
    pub cosine: f32,
    /// Weight of the best share of the question's words that stand in one passage.
    pub coverage: f32,
    /// Weight of the best cosine between the question and a single sentence.
    pub sentence: f32,
    /// From which value on the answer is taken to be in the library.
    pub threshold: f32,
}

/// How the sentences that answer are marked: a sum over what speaks for each, compared with the best of all passages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marking {
    /// Weight of the cosine between the question and the sentence below its heading; above 0, sentences that were not
    /// embedded are not marked.
    pub cosine: f32,
    /// Weight of the share of the question's words that stand in the sentence.
    pub coverage: f32,
    /// Weight of that share among the words that stand in any of the sentences.
    pub present: f32,
    /// What a sentence needs at least.
    pub least: f32,
    /// What a sentence needs at least, as a share of the best.
    pub share_of_best: f32,
    /// Most sentences marked in one passage.
    pub most: usize,
    /// In how many of the best passages sentences are marked.
    pub passages: usize,
}

/// How a sentence of an answer is checked against the passages that it cites.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Support {
    /// Share of the sentence's words in the passage that is enough by itself.
    pub overlap: f32,
    /// Share that is enough where the embedding agrees.
    pub overlap_with_meaning: f32,
    /// Cosine from which on the embedding agrees.
    pub cosine: f32,
    /// Share of words in common from which on two sentences are taken to speak of the same thing, so that
    /// a negation in only one of them is a contradiction.
    pub same_matter: f32,
}

/// Words and meaning, fused.
pub const FUSION: Fusion =
    Fusion { k: 2.0, words: 1.0, meaning: 2.0, other_language: 0.1, decay: 0.9, depth: 50 };

/// With embeddings.
pub const VERDICT: VerdictModel = VerdictModel {
    bias: -11.285515,
    cosine: 5.710493,
    coverage: 4.780895,
    sentence: 11.670074,
    threshold: 0.5,
};

/// Without embeddings: by words alone.
pub const VERDICT_BY_WORDS: VerdictModel =
    VerdictModel { bias: -3.9201815, cosine: 0.0, coverage: 7.5721602, sentence: 0.0, threshold: 0.4 };

/// Marking with embeddings.
pub const MARKING: Marking = Marking {
    cosine: 1.0,
    coverage: 0.2,
    present: 0.0,
    least: 0.4,
    share_of_best: 0.9,
    most: 2,
    passages: 3,
};

/// Marking by words alone.
pub const MARKING_BY_WORDS: Marking = Marking {
    cosine: 0.0,
    coverage: 0.0,
    present: 1.0,
    least: 0.3,
    share_of_best: 0.7,
    most: 2,
    passages: 1,
};

/// Checking of answers.
pub const SUPPORT: Support =
    Support { overlap: 0.7, overlap_with_meaning: 0.4, cosine: 0.6, same_matter: 0.6 };
