//! Drafts: what an answer probably says next, because it quotes what the conversation holds already.
//!
//! The last tokens are looked up earlier in the conversation (prompt lookup decoding); what followed there is the draft. The
//! model reads the draft together with the last token, in one step, and every token of it is kept that the sampler would
//! have chosen anyway. So a draft decides how fast an answer comes, never what it says.

/// Tokens of a draft at most: reading so many more costs a board less than twice a step.
const MAX_DRAFT: usize = 7;
/// Tokens that must match for a draft, and fewer where so many do not.
const MATCHES: [usize; 2] = [4, 2];
/// Steps without a draft after useless ones, at most.
const MAX_PAUSE: u32 = 16;

/// Decides when an answer gets a draft.
#[derive(Debug, Default)]
pub(super) struct Drafter {
    /// Steps to go without a draft.
    pause: u32,
    /// How long the next pause will be.
    next_pause: u32,
}

impl Drafter {
    /// A draft of at most `most` tokens that may follow `tokens`; empty when there is none.
    pub(super) fn draft<'a>(&mut self, tokens: &'a [u32], most: usize) -> &'a [u32] {
        if self.pause > 0 {
            self.pause -= 1;
            return &[];
        }
        MATCHES
            .into_iter()
            .map(|length| following(tokens, length, most.min(MAX_DRAFT)))
            .find(|d| !d.is_empty())
            .unwrap_or(&[])
    }

    /// Learns how much of a draft was kept: after useless ones it waits longer and longer.
    pub(super) fn learn(&mut self, accepted: usize) {
        if accepted > 0 {
            self.next_pause = 0;
        } else {
            self.next_pause = (2 * self.next_pause).clamp(1, MAX_PAUSE);
            self.pause = self.next_pause;
        }
    }
}

/// What followed the newest earlier occurrence of the last `length` tokens.
fn following(tokens: &[u32], length: usize, most: usize) -> &[u32] {
    let Some(start) = tokens.len().checked_sub(length).filter(|start| *start > 0) else { return &[] };
    let (Some(last), Some(before)) = (tokens.get(start..), tokens.get(..tokens.len() - 1)) else {
        return &[];
    };
    let Some(at) = before.windows(length).rposition(|window| window == last) else { return &[] };
    let from = at + length;
    tokens.get(from..tokens.len().min(from + most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draft_is_what_followed_the_newest_occurrence() {
        let tokens = [1, 2, 3, 4, 9, 1, 2, 3, 4, 7, 8, 5, 1, 2, 3, 4];
        assert_eq!(Drafter::default().draft(&tokens, 3), [7, 8, 5]);
        assert_eq!(Drafter::default().draft(&tokens, 100), [7, 8, 5, 1, 2, 3, 4]);
        assert!(Drafter::default().draft(&[1, 2, 3], 5).is_empty());
        assert!(Drafter::default().draft(&[], 5).is_empty());
        assert!(Drafter::default().draft(&tokens, 0).is_empty());
    }

    #[test]
    fn two_tokens_are_enough_where_four_do_not_match() {
        assert_eq!(Drafter::default().draft(&[1, 2, 6, 9, 1, 2], 1), [6]);
    }

    #[test]
    fn a_run_of_one_token_is_continued() {
        assert_eq!(Drafter::default().draft(&[5, 5, 5, 5, 5, 5], 4), [5]);
    }

    #[test]
    fn useless_drafts_make_it_wait_longer_and_a_useful_one_ends_that() {
        let tokens = [1, 2, 6, 9, 1, 2];
        let mut drafter = Drafter::default();
        for pause in [1, 2, 4, 8, 16, 16] {
            assert!(!drafter.draft(&tokens, 1).is_empty());
            drafter.learn(0);
            for _ in 0..pause {
                assert!(drafter.draft(&tokens, 1).is_empty());
            }
        }
        assert!(!drafter.draft(&tokens, 1).is_empty());
        drafter.learn(1);
        assert!(!drafter.draft(&tokens, 1).is_empty());
    }
}
