//! How many tokens the embedding model will make of a text, estimated without its vocabulary.

/// Letters of a word that is in the vocabulary as a whole.
const WHOLE_WORD_LETTERS: usize = 7;
/// Letters of each further piece of a longer word.
const PIECE_LETTERS: usize = 4;

/// Tokens of `text` for an uncased WordPiece vocabulary of English: on the generous side for English, close for Spanish and
/// French, one for each letter of other scripts, each sign on its own.
pub fn estimate_tokens(text: &str) -> usize {
    let mut tokens = 0;
    let mut letters = 0_usize;
    let mut foreign = false;
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || is_latin(c) {
            letters += 1;
            foreign |= !c.is_ascii();
        } else {
            tokens += of_word(letters, foreign);
            (letters, foreign) = (0, false);
            tokens += usize::from(!c.is_whitespace() && !c.is_control());
        }
    }
    tokens
}

fn of_word(letters: usize, foreign: bool) -> usize {
    let whole = if foreign { PIECE_LETTERS } else { WHOLE_WORD_LETTERS };
    match letters {
        0 => 0,
        letters if letters <= whole => 1,
        letters => 1 + (letters - whole).div_ceil(PIECE_LETTERS),
    }
}

fn is_latin(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{24f}') && c.is_alphabetic()
}
