//! Reading order of lines with right-to-left script, and letters for what fonts have as forms and ligatures.
//!
//! A PDF says where each glyph stands. Most writers draw Arabic and Hebrew from left to right, as it looks, some in
//! reading order; so glyphs are sorted by place first and then put in reading order by the core of the Unicode bidirectional
//! algorithm (UAX 9): runs of one direction, in the order of the line's own direction. A glyph that stands for several
//! letters keeps them in their order.

use icu_normalizer::ComposingNormalizerBorrowed;

use super::page::Unit;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Left,
    Right,
    Number,
    Neutral,
}

/// The text of a line in reading order.
pub(super) fn in_reading_order(buffer: &str, mut units: Vec<Unit>) -> String {
    if !buffer.chars().any(is_right_to_left) {
        return letters(buffer);
    }
    let ends: Vec<usize> = units.iter().skip(1).map(|unit| unit.start).chain([buffer.len()]).collect();
    let mut pieces: Vec<(Unit, &str)> = units
        .drain(..)
        .zip(ends)
        .map(|(unit, end)| (unit, buffer.get(unit.start..end).unwrap_or_default()))
        .collect();
    pieces.sort_by(|(a, _), (b, _)| a.left.total_cmp(&b.left));
    let classes = resolved(pieces.iter().map(|(_, text)| class(text)).collect());
    let right = classes.iter().filter(|class| **class == Class::Right).count();
    let left = classes.iter().filter(|class| **class == Class::Left).count();
    let mut runs: Vec<(Class, Vec<&str>)> = Vec::new();
    for (class, (_, text)) in classes.into_iter().zip(pieces) {
        match runs.last_mut() {
            Some((of, run)) if *of == class => run.push(text),
            _ => runs.push((class, vec![text])),
        }
    }
    for (class, run) in &mut runs {
        if *class == Class::Right {
            run.reverse();
        }
    }
    if right >= left {
        runs.reverse();
    }
    letters(&runs.concat_text())
}

trait ConcatText {
    fn concat_text(&self) -> String;
}

impl ConcatText for Vec<(Class, Vec<&str>)> {
    fn concat_text(&self) -> String {
        self.iter().flat_map(|(_, run)| run.iter().copied()).collect()
    }
}

/// Gives neutral and number pieces a direction: numbers keep their own order inside right-to-left text, and what
/// stands between two pieces of one direction goes with them, else with the line.
fn resolved(mut classes: Vec<Class>) -> Vec<Class> {
    let strong = |class: &Class| matches!(class, Class::Left | Class::Right);
    let right = classes.iter().filter(|class| **class == Class::Right).count();
    let line = if right * 2 >= classes.iter().filter(|class| strong(class)).count() {
        Class::Right
    } else {
        Class::Left
    };
    // Numbers and the points between their figures read from left to right.
    let mut index = 0;
    while index < classes.len() {
        if classes.get(index) == Some(&Class::Number) {
            let run = classes.get(index..).unwrap_or_default();
            let mut end = run.iter().take_while(|class| **class == Class::Number).count();
            while run.get(end) == Some(&Class::Neutral) && run.get(end + 1) == Some(&Class::Number) {
                end += 1 + run.iter().skip(end + 1).take_while(|class| **class == Class::Number).count();
            }
            for class in classes.iter_mut().skip(index).take(end) {
                *class = Class::Left;
            }
            index += end;
        }
        index += 1;
    }
    let before: Vec<Option<Class>> = classes
        .iter()
        .scan(None, |last, class| {
            if strong(class) {
                *last = Some(*class);
            }
            Some(*last)
        })
        .collect();
    let mut after = None;
    for (class, before) in classes.iter_mut().zip(before).rev() {
        if strong(class) {
            after = Some(*class);
        } else {
            *class = match (before, after) {
                (Some(before), Some(after)) if before == after => before,
                _ => line,
            };
        }
    }
    classes
}

fn class(text: &str) -> Class {
    match text.chars().find(|c| c.is_alphanumeric()) {
        Some(c) if is_right_to_left(c) => Class::Right,
        Some(c) if c.is_numeric() => Class::Number,
        Some(_) => Class::Left,
        None => Class::Neutral,
    }
}

/// Letters of Hebrew, Arabic, Syriac, Thaana and N'Ko and their presentation forms, not the Arabic figures.
fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{65f}' | '\u{66a}'..='\u{6ef}' | '\u{6fa}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}')
}

/// Letters for ligatures and presentation forms; nothing for controls; a bullet for private signs, which is what they mostly are.
fn letters(text: &str) -> String {
    let normalizer = ComposingNormalizerBorrowed::new_nfkc();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}' => {
                out.push_str(&normalizer.normalize(c.encode_utf8(&mut [0; 4])));
            }
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' => out.push(' '),
            '\u{e000}'..='\u{f8ff}' => out.push('•'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    // Accents that are drawn beside their letter.
    ComposingNormalizerBorrowed::new_nfc().normalize(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places each glyph right of the one before.
    fn drawn(glyphs: &[&str]) -> String {
        let buffer = glyphs.concat();
        let mut start = 0;
        let units = glyphs.iter().zip(0_u32..).map(|(glyph, place)| {
            let unit = Unit { start, left: f64::from(place), right: f64::from(place + 1) };
            start += glyph.len();
            unit
        });
        in_reading_order(&buffer, units.collect())
    }

    fn visual(text: &str) -> String {
        let letters: Vec<String> = text.chars().map(String::from).collect();
        drawn(&letters.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn arabic_drawn_as_it_looks_reads_in_order() {
        let reversed = |text: &str| text.chars().rev().collect::<String>();
        assert_eq!(visual(&reversed("اغل الماء")), "اغل الماء");
        // Figures stand from left to right inside.
        let drawn = format!("{} 12.5 {}", reversed("لترا"), reversed("اشرب"));
        assert_eq!(visual(&drawn), "اشرب 12.5 لترا");
    }

    #[test]
    fn one_arabic_word_in_an_english_line_is_turned_alone() {
        let word: String = "ماء".chars().rev().collect();
        assert_eq!(visual(&format!("water ({word}) is safe")), "water (ماء) is safe");
    }

    #[test]
    fn ligatures_become_letters_in_their_order() {
        assert_eq!(drawn(&["ﬁ", "lter"]), "filter");
        // Lam-alef is one glyph for two letters.
        assert_eq!(drawn(&["م", "ﻼ", "س"]), "سلام");
    }
}
