//! Parts of a file that a command writes: figures in a document, calibrated values in a source file.

use std::fs;

use anyhow::{Context, Result};

use crate::{step, workspace::root};

/// Replaces what stands between the marks of `title` in the document `file`.
pub(crate) fn write(file: &str, title: &str, section: &str) -> Result<()> {
    change(file, |text| {
        with_section(text, title, section).with_context(|| format!("{file} has no place for {title}"))
    })
}

/// Replaces the value of the constant `name` in the source file `file`.
pub(crate) fn set_constant(file: &str, name: &str, value: &str) -> Result<()> {
    change(file, |text| {
        with_constant(text, name, value).with_context(|| format!("{file} has no constant {name}"))
    })
}

fn change(file: &str, with: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let path = root().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
    fs::write(&path, with(&text)?).with_context(|| format!("{file} cannot be written"))?;
    step::say(&format!("Written to {file}"));
    Ok(())
}

fn with_section(text: &str, title: &str, section: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {title} -->\n"), format!("<!-- end {title} -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", section.trim()))
}

fn with_constant(text: &str, name: &str, value: &str) -> Option<String> {
    let start = text.find(&format!("pub const {name}: "))?;
    let (before, rest) = text.split_at_checked(start)?;
    let (declared, rest) = rest.split_once('=')?;
    let (_, after) = rest.split_once(';')?;
    Some(format!("{before}{declared}= {value};{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_its_neighbours_are_not() {
        let text = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n";
        let once = with_section(text, "x", "new\n").unwrap();
        assert_eq!(
            once,
            "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n"
        );
        assert_eq!(with_section(&once, "x", "new").unwrap(), once);
        assert!(with_section(text, "z", "new").is_none());
    }

    #[test]
    fn a_constant_gets_its_value_and_no_other_does() {
        let text = "pub const A: T =\n    T { x: 1.0 };\n\npub const B: T = T { x: 2.0 };\n";
        assert_eq!(
            with_constant(text, "A", "T { x: 3.5 }").unwrap(),
            "pub const A: T = T { x: 3.5 };\n\npub const B: T = T { x: 2.0 };\n"
        );
        assert!(with_constant(text, "C", "1").is_none());
    }
}
