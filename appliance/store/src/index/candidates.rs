//! Which passages a search by words scores. BM25 costs some microseconds a passage, and in a large library a common
//! word stands in tens of thousands of them: only those with the rarest of the words are scored, and where these are
//! few a sample of those with the next. The best ones are among them, since a word counts by its rarity.

use rusqlite::{Connection, named_params};

use super::words::Words;
use crate::error::Result;

/// Most passages that one search by words scores.
pub(super) const MAX_SCORED: usize = 4_000;
/// When the rarest words alone stand in so many times the passages that are wanted, no others are looked at.
const ENOUGH: usize = 4;

/// How many passages match, no further than to a limit.
const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM idx.words WHERE words MATCH ?1 LIMIT ?2)";

/// All matches, best first.
const ALL: &str = "SELECT rowid, rank FROM idx.words WHERE words MATCH ?1 ORDER BY rank";

/// Matches among the rarest words' passages and a sample of the next word's, best first. The sign before a column keeps
/// SQLite from handing the condition or the order to the full-text index, which would score every match first.
const SAMPLE: &str = "SELECT rowid, rank FROM idx.words WHERE words MATCH :words AND ( \
    (:rare IS NOT NULL AND +rowid IN (SELECT rowid FROM idx.words WHERE words MATCH :rare)) \
    OR +rowid IN (SELECT rowid FROM idx.words WHERE words MATCH :next AND +rowid % :one_in = 0) \
    OR +rowid IN (SELECT rowid FROM \
        (SELECT rowid FROM idx.words WHERE words MATCH '{title heading} : ' || :next LIMIT :titles))) \
    ORDER BY +rank";

/// A passage and its BM25: lower is better.
pub(super) type Ranked = (i64, f64);

/// The passages to score for some words.
#[derive(Debug)]
pub(super) struct Candidates<'w> {
    words: &'w Words,
    /// Words whose passages are all scored, the rarest first.
    rare: Vec<&'w str>,
    /// In so many passages, at least, stands one of the rare words.
    with_rare: usize,
    /// The words too common to score all of their passages, the least common first.
    common: Vec<&'w str>,
    /// Of the passages with the first common word, one in so many is scored, spread evenly over the library.
    one_in: i64,
    /// And of those with it in a title or heading, so many.
    titles: usize,
}

impl<'w> Candidates<'w> {
    /// Counts the passages of each word, no further than to `bound`, the most that may be scored.
    pub(super) fn of(connection: &Connection, words: &'w Words, bound: usize) -> Result<Self> {
        let mut count = connection.prepare_cached(COUNT)?;
        let mut counted: Vec<(usize, &str)> = Vec::new();
        for word in words.each() {
            counted.push((count.query_row((word, bound + 1), |row| row.get(0))?, word));
        }
        counted.sort_unstable();
        let mut room = bound;
        let scored = counted.iter().take_while(|(passages, _)| match room.checked_sub(*passages) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let rare: Vec<&str> = scored.map(|(_, word)| *word).collect();
        let (of_rare, of_common) = counted.split_at(rare.len());
        let with_rare = of_rare.last().map_or(0, |(passages, _)| *passages);
        let common = of_common.iter().map(|(_, word)| *word).collect();
        // The newest passage's number says how many there are, or more: then fewer are scored.
        let newest = "SELECT coalesce(max(id), 0) FROM idx.passages";
        let newest: i64 = connection.prepare_cached(newest)?.query_row([], |row| row.get(0))?;
        let one_in = newest / i64::try_from(room / 2).unwrap_or(i64::MAX).max(1) + 1;
        Ok(Self { words, rare, with_rare, common, one_in, titles: room / 2 })
    }

    /// The candidates with every word, best first; `None` where only one word is looked for.
    pub(super) fn every(&self, connection: &Connection) -> Result<Option<Vec<Ranked>>> {
        let Some(every) = self.words.every() else { return Ok(None) };
        // Those with every word have the rare ones.
        let all = self.common.is_empty() || !self.rare.is_empty();
        Ok(Some(if all { ranked(connection, &every)? } else { self.sample(connection, &every)? }))
    }

    /// The candidates with any of the words, best first: all that matter when `wanted` of them are.
    pub(super) fn any(&self, connection: &Connection, wanted: usize) -> Result<Vec<Ranked>> {
        if self.common.is_empty() {
            return ranked(connection, &self.words.any());
        }
        if self.with_rare < wanted.saturating_mul(ENOUGH) {
            return self.sample(connection, &self.words.any());
        }
        // Two searches that skip through the common words' lists to where a rare word stands; in one, each rare word
        // would be named, and so would count, twice.
        let (rare, common) = (self.rare.join(" OR "), self.common.join(" OR "));
        let mut found = ranked(connection, &format!("({rare}) AND ({common})"))?;
        found.extend(ranked(connection, &format!("({rare}) NOT ({common})"))?);
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        Ok(found)
    }

    fn sample(&self, connection: &Connection, expression: &str) -> Result<Vec<Ranked>> {
        let rare = (!self.rare.is_empty()).then(|| self.rare.join(" OR "));
        let mut statement = connection.prepare_cached(SAMPLE)?;
        let rows = statement.query_map(
            named_params! {
                ":words": expression, ":rare": rare, ":next": self.common.first(), ":one_in": self.one_in,
                ":titles": self.titles,
            },
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// At most [`MAX_SCORED`] and those that one sample adds: the expressions are made so.
fn ranked(connection: &Connection, expression: &str) -> Result<Vec<Ranked>> {
    let mut statement = connection.prepare_cached(ALL)?;
    let rows = statement.query_map([expression], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::open;

    struct Library {
        connection: Connection,
        folder: tempfile::TempDir,
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
        Library { connection, folder }
    }

    fn found(Library { connection, .. }: &Library, typed: &str, bound: usize) -> Vec<i64> {
        passages(&any(connection, typed, bound, 1000))
    }

    fn any(connection: &Connection, typed: &str, bound: usize, wanted: usize) -> Vec<Ranked> {
        let words = Words::of(typed).unwrap();
        Candidates::of(connection, &words, bound).unwrap().any(connection, wanted).unwrap()
    }

    fn passages(ranked: &[Ranked]) -> Vec<i64> {
        ranked.iter().map(|(passage, _)| *passage).collect()
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
    fn where_the_rarest_words_give_enough_they_score_as_among_all() {
        let Library { connection, .. } = library();
        let typed = "iodine chlorine water.";
        let (all, few) = (any(&connection, typed, 1000, 1000), any(&connection, typed, 30, 5));
        assert_eq!(few.len(), 21, "none with water alone");
        for (one, other) in all.iter().zip(&few) {
            assert_eq!(one.0, other.0);
            assert!((one.1 - other.1).abs() < 1e-9, "{one:?} {other:?}");
        }
    }

    #[test]
    fn those_with_every_word_are_found_however_common_the_words_are() {
        let Library { connection, .. } = library();
        let every = |typed: &str, bound| {
            let words = Words::of(typed).unwrap();
            let candidates = Candidates::of(&connection, &words, bound).unwrap();
            candidates.every(&connection).unwrap().map(|found| passages(&found))
        };
        assert_eq!(every("iodine chlorine.", 10), Some(vec![300]));
        assert_eq!(every("water iodine.", 10).unwrap().len(), 2);
        let sample = every("water more.", 38).unwrap();
        assert!(!sample.is_empty() && sample.len() <= 38, "{sample:?}");
        assert_eq!(every("water", 10), None);
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
    fn bound_values_never_make_sqlite_prepare_a_search_anew() {
        let Library { connection, folder } = library();
        drop(connection);
        // As the store opens its readers.
        let path = folder.path().join("index.db");
        let connection = crate::db::open_reader(&path).unwrap();
        connection.execute("ATTACH ?1 AS idx", [path.to_str()]).unwrap();
        for typed in ["iodine chlorine water.", "water more.", "chlorine and water."] {
            assert!(!any(&connection, typed, 30, 1000).is_empty());
        }
        for sql in [COUNT, SAMPLE] {
            let statement = connection.prepare_cached(sql).unwrap();
            assert!(statement.get_status(rusqlite::StatementStatus::Run) >= 3, "{sql}");
            assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0, "{sql}");
        }
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
