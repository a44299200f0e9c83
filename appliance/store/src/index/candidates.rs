//! Which passages a search by words scores. BM25 costs some microseconds a passage, and in a large library a common
//! word stands in tens of thousands of them: only those with the rarest of the words are scored, and a sample of
//! those with the next. The best ones are among them, since a word counts by its rarity.

use std::ops::ControlFlow;

use rusqlite::{Connection, named_params};

use super::words::Words;
use crate::error::Result;

/// Most passages that one search by words scores.
pub(super) const MAX_SCORED: usize = 4_000;

/// Matches among the candidates, best first. The sign before a column keeps SQLite from handing the condition or the
/// order to the full-text index, which would score every match first.
const BEST: &str = "SELECT rowid, rank FROM idx.words WHERE words MATCH :words AND (:next IS NULL \
    OR (:rare IS NOT NULL AND +rowid IN (SELECT rowid FROM idx.words WHERE words MATCH :rare)) \
    OR +rowid IN (SELECT rowid FROM idx.words WHERE words MATCH :next AND +rowid % :one_in = 0) \
    OR +rowid IN (SELECT rowid FROM \
        (SELECT rowid FROM idx.words WHERE words MATCH '{title heading} : ' || :next LIMIT :titles))) \
    ORDER BY +rank";

/// The passages to score for some words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    /// Those that match this expression: any of the rarest words.
    rare: Option<String>,
    /// The first word too common to score all of its passages; `None`: the passages of all words are scored.
    next: Option<String>,
    /// Of the passages with `next`, one in so many is scored, spread evenly over the library.
    one_in: i64,
    /// And of those with it in a title or heading, so many.
    titles: usize,
}

impl Candidates {
    /// Counts the passages of each word, no further than to `bound`, the most that may be scored.
    pub(super) fn of(connection: &Connection, words: &Words, bound: usize) -> Result<Self> {
        let mut count = connection
            .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM idx.words WHERE words MATCH ?1 LIMIT ?2)")?;
        let mut counted: Vec<(usize, &str)> = Vec::new();
        for word in words.each() {
            counted.push((count.query_row((word, bound + 1), |row| row.get(0))?, word));
        }
        counted.sort_unstable();
        let (mut room, mut rare) = (bound, Vec::new());
        let mut counted = counted.into_iter();
        let next = counted.find_map(|(passages, word)| match room.checked_sub(passages) {
            Some(left) => {
                room = left;
                rare.push(word);
                None
            }
            None => Some(word.to_owned()),
        });
        // The newest passage's number says how many there are, or more: then fewer are scored.
        let newest = "SELECT coalesce(max(id), 0) FROM idx.passages";
        let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
        let one_in = newest / i64::try_from(room / 2).unwrap_or(i64::MAX).max(1) + 1;
        let rare = (!rare.is_empty()).then(|| rare.join(" OR "));
        Ok(Self { rare, next, one_in, titles: room / 2 })
    }

    /// Gives `take` the candidates that match `expression` with their BM25 (lower is better), best first, until it breaks.
    pub(super) fn best(
        &self,
        connection: &Connection,
        expression: &str,
        mut take: impl FnMut(i64, f64) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Self { rare, next, one_in, titles } = self;
        let mut statement = connection.prepare_cached(BEST)?;
        let mut rows = statement.query(named_params! {
            ":words": expression, ":rare": rare, ":next": next, ":one_in": one_in, ":titles": titles,
        })?;
        while let Some(row) = rows.next()? {
            if take(row.get(0)?, row.get(1)?)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::open;

    struct Library {
        connection: Connection,
        _folder: tempfile::TempDir,
    }

    /// Passages 1 to 400: all with "water", every 20th with "chlorine", 7 and 300 with "iodine", 200 headed "water".
    fn library() -> Library {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        drop(open::create(&path).unwrap());
        let connection = Connection::open_in_memory().unwrap();
        connection.execute("ATTACH ?1 AS idx", [path.to_str()]).unwrap();
        connection.execute("INSERT INTO idx.runs VALUES (1, x'', '', 1, 1, '', '', 400)", []).unwrap();
        for passage in 1..=400 {
            let mut body = format!("water {}", "and more ".repeat(passage % 7));
            body += if passage % 20 == 0 { "chlorine " } else { "" };
            body += if [7, 300].contains(&passage) { "iodine" } else { "" };
            let heading = if passage == 200 { "Water" } else { "" };
            let words = "INSERT INTO idx.words (rowid, title, heading, body) VALUES (?1, '', ?2, ?3)";
            connection.execute(words, (passage, heading, body)).unwrap();
            let row = "INSERT INTO idx.passages (id, run, ordinal, heading, body, location) \
                       VALUES (?1, 1, 1, '', '', '')";
            connection.execute(row, [passage]).unwrap();
        }
        Library { connection, _folder: folder }
    }

    fn found(Library { connection, .. }: &Library, typed: &str, bound: usize) -> Vec<i64> {
        let words = Words::of(typed).unwrap();
        let mut found = Vec::new();
        let candidates = Candidates::of(connection, &words, bound).unwrap();
        let take = |passage, _| {
            found.push(passage);
            Ok(ControlFlow::Continue(()))
        };
        candidates.best(connection, &words.any(), take).unwrap();
        found
    }

    #[test]
    fn few_passages_are_all_scored() {
        assert_eq!(found(&library(), "iodine water.", 402).len(), 400);
        assert_eq!(found(&library(), "iodine chlorine.", 22).len(), 21, "300 has both");
    }

    #[test]
    fn among_many_those_with_the_rarest_words_are_scored_and_in_the_same_order() {
        let library = library();
        let all = found(&library, "iodine chlorine water.", 1000);
        assert_eq!(all.len(), 400);
        let rarest = found(&library, "iodine chlorine water.", 30);
        assert_eq!(rarest[..21], all[..21], "those with iodine or chlorine");
        assert!(rarest.len() <= 30);
        assert_eq!(found(&library, "iodine chlorine water.", 10)[..2], all[..2], "those with iodine");
    }

    #[test]
    fn a_word_that_stands_everywhere_is_sampled_over_the_whole_library() {
        let library = library();
        let sample = found(&library, "water.", 40);
        assert!(sample.len() <= 40 && sample.len() >= 19, "{sample:?}");
        assert!(sample.contains(&200), "the one headed so is not missed");
        assert!(sample.iter().any(|passage| *passage < 60) && sample.iter().any(|passage| *passage > 340));
    }

    #[test]
    fn what_nobody_wrote_is_not_found() {
        assert_eq!(found(&library(), "zebra", 10), Vec::<i64>::new());
        assert_eq!(
            found(&library(), "zebra water.", 40),
            found(&library(), "water.", 40),
            "and is no hindrance"
        );
    }
}
