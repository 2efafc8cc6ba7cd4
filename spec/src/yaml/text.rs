//! Decodes bytes to text: checks the encoding, and reports every character that is not allowed in a spec.
//!
//! Reading continues after such a character, so that one run reports all of them: a character that looks like a space is read as
//! a space, a character without width is skipped, and positions are translated back to the file. A comment may contain the
//! hidden characters that do not change its visible text. Here a comment is recognised from its line alone; the reader checks
//! the scalars again ([`super::read`]).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::characters::{Kind, called, is_hidden, kind, may_be_in_a_comment};
use super::{MAX_BYTES, Place};
use crate::check::{MAX_PROBLEMS, Problem, rule};

/// Maximum number of hidden characters in a file that is still parsed.
const MOST: usize = 10_000;

/// A text without its hidden characters, and the positions of these.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub text: Cow<'a, str>,
    /// For each line, the columns of this text after which a character was removed; one entry per character.
    removed: BTreeMap<u32, Vec<u32>>,
    /// Line and column of every character that was reported.
    reported: BTreeSet<(u32, u32)>,
    has_lone_returns: bool,
    /// The line ends are ambiguous, or there are too many hidden characters: the text must not be parsed.
    pub is_unreadable: bool,
}

impl Text<'_> {
    /// Converts a column of this text to a column of the file.
    pub fn column(&self, line: u32, column: u32) -> u32 {
        let removed = self.removed.get(&line).map(Vec::as_slice).unwrap_or_default();
        let before = removed.partition_point(|at| *at <= column);
        column.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// Whether a character between two places of the file was reported.
    pub fn is_reported(&self, from: (u32, u32), to: (u32, u32)) -> bool {
        from < to && self.reported.range(from..to).next().is_some()
    }
}

/// The text of a file, or the problems of its encoding.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Vec<Problem>> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has more than {} MiB", MAX_BYTES >> 20);
        let help = "a spec of 10,000 nodes has about 4 MiB; is this the right file?";
        return Err(vec![rule::FILE_TOO_LARGE.at(Place::START, message).help(help)]);
    }
    if let Some(encoding) = wide_encoding(bytes) {
        let message = format!("the file is {encoding}, not UTF-8");
        let help = format!(
            "save it as UTF-8 without a byte order mark, or run: iconv -f {encoding} -t UTF-8, and remove the mark"
        );
        return Err(vec![rule::NOT_UTF8.at(Place::START, message).help(help)]);
    }
    std::str::from_utf8(bytes).map_err(|_| not_utf8(bytes))
}

/// Detects UTF-16 and UTF-32 by the byte order mark, or by the zero bytes at the start.
fn wide_encoding(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xff, 0xfe, 0, 0, ..] | [1..=0x7f, 0, 0, 0, ..] => "UTF-32LE",
        [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=0x7f, ..] => "UTF-32BE",
        [0xff, 0xfe, ..] | [1..=0x7f, 0, 1..=0x7f, 0, ..] => "UTF-16LE",
        [0xfe, 0xff, ..] | [0, 1..=0x7f, 0, 1..=0x7f, ..] => "UTF-16BE",
        _ => return None,
    })
}

/// One problem for each run of bytes that are not UTF-8, with the letter that the first byte is in Latin-1.
fn not_utf8(bytes: &[u8]) -> Vec<Problem> {
    let (mut line, mut column) = (1_u32, 1_u32);
    let mut problems = Vec::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            (line, column) =
                if c == '\n' { (line.saturating_add(1), 1) } else { (line, column.saturating_add(1)) };
        }
        let Some(byte) = chunk.invalid().first() else { continue };
        if problems.len() < MAX_PROBLEMS {
            let at = Place { line, column, length: 1 };
            let (message, help) = match char::from(*byte) {
                letter @ '\u{a1}'..='\u{ff}' if letter != '\u{ad}' => (
                    format!(
                        "the byte 0x{byte:02x} is not UTF-8 here; in Latin-1 (ISO 8859-1) it is {letter:?}"
                    ),
                    "save the file as UTF-8, or run: iconv -f ISO-8859-1 -t UTF-8",
                ),
                '\u{80}'..='\u{9f}' => (
                    format!(
                        "the byte 0x{byte:02x} is not UTF-8 here; files in Windows-1252 contain such bytes"
                    ),
                    "save the file as UTF-8, or run: iconv -f WINDOWS-1252 -t UTF-8",
                ),
                _ => (format!("the byte 0x{byte:02x} is not UTF-8 here"), "save the file as UTF-8"),
            };
            problems.push(rule::NOT_UTF8.at(at, message).help(help));
        }
        column = column.saturating_add(1);
    }
    problems
}

/// Reports and removes every hidden character.
pub(super) fn clean(text: &str) -> (Text<'_>, Vec<Problem>) {
    let mut cleaned = Text {
        text: Cow::Borrowed(text),
        removed: BTreeMap::new(),
        reported: BTreeSet::new(),
        has_lone_returns: false,
        is_unreadable: false,
    };
    let mut problems = Vec::new();
    let odd = |c: char| is_hidden(c) || c == '\r';
    if !text.contains(odd) {
        return (cleaned, problems);
    }
    let mut kept = String::with_capacity(text.len());
    for (number, line) in (1_u32..).zip(text.split_inclusive('\n')) {
        if cleaned.reported.len() > MOST {
            // No hand-written file has so many. The rest is not read, which bounds the cost of translating columns.
            break;
        }
        if line.contains(odd) {
            cleaned.line(number, line, &mut kept, &mut problems);
        } else {
            kept.push_str(line);
        }
    }
    cleaned.is_unreadable |= cleaned.reported.len() > MOST;
    cleaned.text = Cow::Owned(kept);
    (cleaned, problems)
}

impl Text<'_> {
    fn line(&mut self, number: u32, line: &str, kept: &mut String, problems: &mut Vec<Problem>) {
        let comment = comment_column(line);
        // The run of one character that is being reported.
        let mut run: Option<(char, Place)> = None;
        let mut characters = (1_u32..).zip(line.chars()).peekable();
        while let Some((column, c)) = characters.next() {
            let in_comment = comment.is_some_and(|from| column >= from);
            // A lone carriage return is a line end for YAML and for no other program, so the line numbers would differ.
            let alone = c == '\r' && characters.peek().is_none_or(|(_, next)| *next != '\n');
            if !(alone || is_hidden(c)) || (in_comment && may_be_in_a_comment(c)) {
                report(run.take(), line, problems);
                kept.push(c);
                continue;
            }
            if self.reported.len() > MOST {
                break;
            }
            if alone && std::mem::replace(&mut self.has_lone_returns, true) {
                // A file from classic Mac OS has a carriage return at the end of each line; only the first one is reported.
                continue;
            }
            match kind(c) {
                Some(Kind::Space) => kept.push(' '),
                other => {
                    self.is_unreadable |= other == Some(Kind::Break);
                    let removed = self.removed.entry(number).or_default();
                    let earlier = u32::try_from(removed.len()).unwrap_or(u32::MAX);
                    removed.push(column.saturating_sub(earlier));
                }
            }
            self.reported.insert((number, column));
            match &mut run {
                Some((same, at)) if *same == c => at.length += 1,
                _ => {
                    let at = Place { line: number, column, length: 1 };
                    report(run.replace((c, at)), line, problems);
                }
            }
        }
        report(run, line, problems);
    }
}

/// The column where a comment starts, determined from the line alone: a `#` at its start or after white space, without a quote
/// before it.
fn comment_column(line: &str) -> Option<u32> {
    let mut before = ' ';
    for (column, c) in (1_u32..).zip(line.chars()) {
        match c {
            '#' if matches!(before, ' ' | '\t') => return Some(column),
            '"' | '\'' => return None,
            other => before = other,
        }
    }
    None
}

fn report(run: Option<(char, Place)>, line: &str, problems: &mut Vec<Problem>) {
    if let Some((c, at)) = run
        && problems.len() < MAX_PROBLEMS
    {
        problems.push(problem(c, at, line));
    }
}

fn problem(c: char, at: Place, line: &str) -> Problem {
    let called = match at.length {
        1 => called(c),
        count => format!("{} ({count} times)", called(c)),
    };
    if (c, at.line, at.column) == ('\u{feff}', 1, 1) {
        let help = "save it as UTF-8 without one: its first three bytes are EF BB BF";
        return rule::BYTE_ORDER_MARK
            .at(at, format!("the file starts with a byte order mark, {called}"))
            .help(help);
    }
    let before = usize::try_from(at.column).unwrap_or(usize::MAX).saturating_sub(1);
    let indents = line.chars().take(before).all(|c| c == ' ' || is_hidden(c));
    let (rule, message, help) = match kind(c) {
        Some(Kind::Space) if indents => (
            &rule::HIDDEN_CHARACTER,
            format!("{called} in the indentation, which is not a space for YAML"),
            "indent with spaces (U+0020)",
        ),
        Some(Kind::Space) => (
            &rule::HIDDEN_CHARACTER,
            format!("{called} looks like a space, but is not a space for YAML"),
            "write a space (U+0020) instead",
        ),
        Some(Kind::Break) if c == '\r' => (
            &rule::CONTROL_CHARACTER,
            "a carriage return without a line feed, U+000D CARRIAGE RETURN".to_owned(),
            "end lines with a line feed, as on Linux, or with both",
        ),
        Some(Kind::Break) => (
            &rule::CONTROL_CHARACTER,
            format!("{called} ends a line for some programs and not for others"),
            "write a line feed (U+000A) instead, or remove it",
        ),
        Some(Kind::Control) if c.is_control() => (
            &rule::CONTROL_CHARACTER,
            format!("{called} is a control character, which may control a terminal"),
            "remove it",
        ),
        Some(Kind::Control) => (
            &rule::CONTROL_CHARACTER,
            format!("{called} changes the order or the shape of the text around it"),
            "remove it: the visible text differs from the content of the file",
        ),
        _ if c == '\u{feff}' => (
            &rule::HIDDEN_CHARACTER,
            format!("{called}, a byte order mark within the text"),
            "remove it; it often remains where two files were joined",
        ),
        _ => (&rule::HIDDEN_CHARACTER, format!("{called} is invisible"), "remove it"),
    };
    rule.at(at, message).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_translated_back_to_the_file() {
        let (text, problems) = clean("a\u{200b}\u{200b}b: c\nd\u{a0}e\u{200b}f\n");
        assert_eq!(text.text, "ab: c\nd ef\n");
        assert_eq!((text.column(1, 1), text.column(1, 2), text.column(1, 5)), (1, 4, 7));
        assert_eq!((text.column(2, 3), text.column(2, 4)), (3, 5));
        let places: Vec<_> = problems.iter().map(|p| (p.at.line, p.at.column, p.at.length)).collect();
        assert_eq!(places, [(1, 2, 2), (2, 2, 1), (2, 4, 1)]);
        assert!(text.is_reported((2, 1), (2, 3)) && !text.is_reported((2, 3), (2, 4)));
    }

    #[test]
    fn a_number_sign_after_a_quote_does_not_start_a_comment() {
        for (line, column) in [
            ("# a", Some(1)),
            ("a: b # c", Some(6)),
            ("a#b", None),
            ("a: \"b # c\"", None),
            ("a: 'b' # c", None),
        ] {
            assert_eq!(comment_column(line), column, "{line}");
        }
    }
}
