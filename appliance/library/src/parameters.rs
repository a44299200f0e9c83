//! Every figure that search and answers are tuned by, in one place.
//!
//! `cargo xtask evaluate --calibrate` prints the values that do best on one half of the questions and how they do on
//! the other; `--write` puts them here. What came out stands in docs/SEARCH.md. Marking and checking are chosen by hand.

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

/// How sentences of a passage are marked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marking {
    /// Part of the embedding in a sentence's score, where there is one.
    pub similarity_weight: f32,
    /// What a sentence needs at least.
    pub least: f32,
    /// What a sentence needs at least, as a share of the passage's best.
    pub share_of_best: f32,
    /// Most sentences marked in one passage.
    pub most: usize,
    /// Shortest sentence worth embedding, in characters.
    pub shortest_sentence: usize,
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
    bias: -11.694709,
    cosine: 8.02933,
    coverage: 5.0715923,
    sentence: 10.090532,
    threshold: 0.6,
};

/// Without embeddings: by words alone.
pub const VERDICT_BY_WORDS: VerdictModel =
    VerdictModel { bias: -3.9201815, cosine: 0.0, coverage: 7.5721602, sentence: 0.0, threshold: 0.4 };

/// Marking.
pub const MARKING: Marking =
    Marking { similarity_weight: 0.6, least: 0.3, share_of_best: 0.8, most: 3, shortest_sentence: 12 };

/// Checking of answers.
pub const SUPPORT: Support =
    Support { overlap: 0.7, overlap_with_meaning: 0.4, cosine: 0.6, same_matter: 0.6 };
