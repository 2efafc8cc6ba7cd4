//! Finds typographic quotes, dashes and colons where YAML expects the ASCII characters. Editors and web pages insert them,
//! and the file then has a different structure. Inside a text these characters are allowed.

use super::Place;
use super::characters::{called, looks_like};
use super::text::Text;
use crate::check::{Problem, rule};

/// A lookalike where YAML expects the ASCII character.
#[derive(Debug)]
pub(super) struct Found {
    pub problem: Problem,
    /// Whether the lookalike changes the structure of the rest of the file; if so, the rest is not checked.
    pub changes_structure: bool,
}

fn found(at: Place, c: char, ascii: char) -> Found {
    let (what, changes_structure) = match ascii {
        '-' => ("cannot start a list item", true),
        ':' => ("cannot end a key", true),
        _ => ("is not a quotation mark in YAML", false),
    };
    let write = if ascii == ':' {
        "a colon and a space".to_owned()
    } else {
        format!("{ascii} (U+{:04X})", u32::from(ascii))
    };
    let problem = rule::LOOKALIKE.at(Place { length: 1, ..at }, format!("{} {what}", called(c)));
    Found { problem: problem.help(format!("write {write} instead")), changes_structure }
}

/// A lookalike at the start of a plain scalar or, where a key is expected, at the end of its name.
pub(super) fn of_scalar(text: &str, at: Place, for_a_key: bool) -> Option<Found> {
    let (column, c, ascii) = structural(text, for_a_key)?;
    Some(found(Place { column: at.column.saturating_add(column), ..at }, c, ascii))
}

/// A key without the typographic quotes around it.
pub(super) fn unquoted(text: &str) -> String {
    text.trim_matches(|c: char| !c.is_ascii() && matches!(looks_like(c), Some('"' | '\''))).to_owned()
}

/// The number of lines before a syntax error that are searched for its cause.
const NEAR: u32 = 3;

/// A lookalike in the line of a syntax error, or at most [`NEAR`] lines before it.
pub(super) fn near(text: &Text<'_>, line: u32) -> Option<Problem> {
    let first = line.saturating_sub(NEAR).max(1);
    let lines = (1_u32..).zip(text.text.lines()).skip_while(|(number, _)| *number < first);
    lines.take_while(|(number, _)| *number <= line).find_map(|(number, content)| {
        let (column, c, ascii) = in_line(content)?;
        let column = text.column(number, column.saturating_add(1));
        Some(found(Place { line: number, column, length: 1 }, c, ascii).problem)
    })
}

/// The lookalike at the start of a key, an item or a value in a line of YAML; the column counts from 0.
fn in_line(line: &str) -> Option<(u32, char, char)> {
    let start = line.len() - line.trim_start_matches([' ', '-']).len();
    let (indent, rest) = line.split_at_checked(start)?;
    let offset = u32::try_from(indent.chars().count()).ok()?;
    if rest.starts_with('#') {
        return None;
    }
    let value = || {
        let at = rest.find(": ")? + 2;
        let (before, value) = rest.split_at_checked(at)?;
        let inside = value.len() - value.trim_start_matches([' ', '[', '{']).len();
        let (skipped, value) = value.split_at_checked(inside)?;
        let column = u32::try_from(before.chars().count() + skipped.chars().count()).ok()?;
        structural(value, false).map(|(inner, c, ascii)| (column + inner, c, ascii))
    };
    let (column, c, ascii) = structural(rest, true).or_else(value)?;
    Some((offset + column, c, ascii))
}

/// The lookalike that the author intended as the start of an item, as a quote, or (where a key is expected) as the end of a
/// key; the column counts from 0.
fn structural(text: &str, for_a_key: bool) -> Option<(u32, char, char)> {
    let mut characters = (0_u32..).zip(text.chars());
    let (_, first) = characters.next()?;
    match looks_like(first).filter(|_| !first.is_ascii()) {
        Some('-') if text.chars().nth(1).is_none_or(|next| next == ' ') => return Some((0, first, '-')),
        Some(ascii @ ('"' | '\'')) => return Some((0, first, ascii)),
        _ => {}
    }
    if !for_a_key || !first.is_ascii_alphabetic() {
        return None;
    }
    let (column, c) = characters.find(|(_, c)| !c.is_ascii_alphanumeric())?;
    (looks_like(c) == Some(':') && c != ':').then_some((column, c, ':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookalike_is_found_in_the_structure_and_not_inside_text() {
        for (line, found) in [
            ("  – name: a", Some((2, '–', '-'))),
            ("  - name：a", Some((8, '：', ':'))),
            ("name: “a: b”", Some((6, '“', '"'))),
            ("  name: [“a”]", Some((9, '“', '"'))),
            ("“name”: a", Some((0, '“', '"'))),
            ("intent: from a – to b", None),
            ("intent: the \u{201c}lab\u{201d}", None),
            ("# – a comment", None),
            ("a: b：c", None),
        ] {
            assert_eq!(in_line(line), found, "{line}");
        }
    }

    #[test]
    fn a_key_loses_its_typographic_quotes() {
        assert_eq!(unquoted("“name”"), "name");
        assert_eq!(unquoted("naïve"), "naïve");
    }
}
