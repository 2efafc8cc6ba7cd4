//! Makes untrusted text safe for a terminal: labels, file names, package fields, firmware strings, messages of other
//! programs.
//!
//! Such text may contain escape sequences that repaint earlier output, line ends that forge a second line, characters
//! that reorder or hide their neighbours, and bytes that are not UTF-8. Three functions cover every case, each for one
//! place:
//!
//! - [`name`] formats one untrusted value. A backslash is doubled, so that a value cannot imitate an escape.
//! - [`line`] and [`lines`] are applied by an output layer to everything that it prints. They do not change backslashes, so
//!   text that is already escaped stays unchanged: applying them twice is the same as applying them once.
//! - [`json`] is for a JSON document: it uses the escapes of JSON, so a reader gets the same value.
//!
//! Printable characters follow the Unicode tables of Rust's `char::escape_debug` (which exclude controls, format
//! characters, separators except the space, private use, unassigned code points, combining marks). Two groups are
//! excluded in addition: invisible letters that those tables count as printable, and letters that are written from
//! right to left, because they reorder their neighbours (UAX #9); no name that kubedOS creates contains them. Letters
//! that look like other letters are not excluded: they cannot change the structure of the output.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Display, Write};

/// An error and its causes on one line. Not escaped: the output layer does that.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Letters and symbols without a visible shape: Hangul fillers, the blank of Braille, the null notehead.
const INVISIBLE: [char; 6] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}', '\u{1d159}'];

/// Whether a character can be printed unchanged: it is visible (or a space), and affects only its own cell.
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        _ if c.is_ascii() => false,
        _ if INVISIBLE.contains(&c) || is_right_to_left(c) => false,
        _ => c.escape_debug().next() == Some(c),
    }
}

/// Blocks of scripts that are written from right to left (Unicode `DerivedBidiClass.txt`, default classes R and AL).
const fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Appends the escape of a character, such as `\n`, `\t` or `\u{1b}`.
fn push_escape(text: &mut String, c: char) {
    match c {
        '\n' | '\r' | '\t' => text.extend(c.escape_default()),
        _ => text.extend(c.escape_unicode()),
    }
}

/// Escapes every character for which `keep` returns false.
fn escaped(text: &str, keep: impl Fn(char) -> bool, push: impl Fn(&mut String, char)) -> Cow<'_, str> {
    let Some(first) = text.find(|c| !keep(c)) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(clean);
    for c in rest.chars() {
        if keep(c) { shown.push(c) } else { push(&mut shown, c) }
    }
    Cow::Owned(shown)
}

/// Formats one untrusted value on one line; a backslash is doubled.
pub fn name(text: &str) -> Cow<'_, str> {
    let push =
        |shown: &mut String, c: char| if c == '\\' { shown.push_str("\\\\") } else { push_escape(shown, c) };
    escaped(text, |c| c != '\\' && is_printable(c), push)
}

/// Like [`name`], for bytes that may not be UTF-8: each invalid byte is formatted as `\xff`.
pub fn bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&name(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a String does not fail.
            let _written = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Formats a whole line of output: it contains no line end, no control, no invisible or reordering character.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_printable, push_escape)
}

/// Formats several lines of output, like [`line`], but keeps line feeds and tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t') || is_printable(c), push_escape)
}

/// Formats a JSON document: line feeds are kept, because they are between tokens. Other characters can only be in a
/// string.
pub fn json(document: &str) -> Cow<'_, str> {
    let push = |shown: &mut String, c: char| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _written = write!(shown, "\\u{unit:04x}");
        }
    };
    escaped(document, |c| c == '\n' || is_printable(c), push)
}

/// At most `most` characters of a single-line text; `…` replaces the rest.
pub fn clipped(text: &str, most: usize) -> Cow<'_, str> {
    let Some((end, _)) = text.char_indices().nth(most) else { return Cow::Borrowed(text) };
    let end = text.get(..end).and_then(|head| head.char_indices().next_back()).map_or(0, |(at, _)| at);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// A row of a table: everything that is formatted into it stays on one line.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a>(pub fmt::Arguments<'a>);

impl Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes text as [`line`] formats it.
struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&line(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Labels of an attacker who can write a disk: they try to control the terminal, or to look like another label.
    const HOSTILE: [(&str, &str); 14] = [
        ("\u{1b}[2K\rok", r"\u{1b}[2K\rok"),
        ("\u{9b}2Kok", r"\u{9b}2Kok"),
        ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
        ("a\nok  root", r"a\nok  root"),
        ("a\u{2028}b\u{2029}c\u{85}d\u{b}e", r"a\u{2028}b\u{2029}c\u{85}d\u{b}e"),
        ("\u{202e}txt.exe\u{202c}", r"\u{202e}txt.exe\u{202c}"),
        ("\u{2066}a\u{2069}\u{200f}\u{61c}", r"\u{2066}a\u{2069}\u{200f}\u{61c}"),
        ("es\u{200b}p\u{feff}\u{2060}\u{ad}", r"es\u{200b}p\u{feff}\u{2060}\u{ad}"),
        ("a\u{a0}b\u{3000}c\u{2003}", r"a\u{a0}b\u{3000}c\u{2003}"),
        ("\u{e0041}\u{fe0f}\u{301}", r"\u{e0041}\u{fe0f}\u{301}"),
        ("\u{3164}\u{2800}", r"\u{3164}\u{2800}"),
        ("\u{e000}\u{10ffff}\u{378}", r"\u{e000}\u{10ffff}\u{378}"),
        ("\u{5d0}1", r"\u{5d0}1"),
        ("\u{7f}\u{8}\t", r"\u{7f}\u{8}\t"),
    ];

    #[test]
    fn hostile_text_becomes_one_visible_line() {
        for (text, shown) in HOSTILE {
            assert_eq!(line(text), shown);
            assert_eq!(name(text), shown);
            assert_eq!(bytes(text.as_bytes()), shown);
            assert_eq!(Row(format_args!("{text}")).to_string(), shown);
        }
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in ["esp", "root-a", "Größe 5 µm", "日本語", "a \"quoted\" 'name'", "…", "Ω"] {
            assert!(matches!(name(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_value_cannot_imitate_an_escape() {
        assert_eq!(name(r"\u{1b}"), r"\\u{1b}");
        assert_eq!(bytes(b"\xff"), r"\xff");
        assert_eq!(bytes(br"\xff"), r"\\xff");
        assert_eq!(bytes(b"a\xc3(\xed\xa0\x80"), r"a\xc3(\xed\xa0\x80");
    }

    #[test]
    fn a_long_text_is_clipped() {
        assert_eq!(clipped("abc", 3), "abc");
        assert_eq!(clipped("äbcd", 3), "äb…");
        assert_eq!(clipped("abc", 0), "…");
    }

    proptest! {
        #[test]
        fn escaped_text_is_printable_and_escaping_is_idempotent(text in any::<String>(), raw in any::<Vec<u8>>()) {
            for shown in [name(&text), line(&text), Cow::Owned(bytes(&raw))] {
                prop_assert!(shown.chars().all(is_printable));
                prop_assert_eq!(line(&shown), &*shown);
            }
            prop_assert!(lines(&text).chars().all(|c| matches!(c, '\n' | '\t') || is_printable(c)));
        }

        /// Two different values always have different escaped forms.
        #[test]
        fn different_values_have_different_forms(a in "[\\\\uxn{}0-9a-f\\n\u{1b}\u{e9}]{0,6}", b in "[\\\\uxn{}0-9a-f\\n\u{1b}\u{e9}]{0,6}") {
            prop_assert_eq!(name(&a) == name(&b), a == b);
        }

        #[test]
        fn json_keeps_its_values(text in any::<String>(), key in any::<String>()) {
            let value = serde_json::json!({ key: [text] });
            for document in [value.to_string(), format!("{value:#}")] {
                let shown = json(&document);
                prop_assert!(shown.chars().all(|c| c == '\n' || is_printable(c)));
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&shown).unwrap(), &value);
            }
        }
    }
}
