//! Debian control paragraphs ("deb822"): `Packages`, `Release`, a package's `control`, apt's `*.sources`.
//!
//! The parser is zero-copy: a [`Paragraph`] borrows its text, so that an index of 60 MB is not copied. Field names are
//! case-insensitive, and a paragraph must not contain a field twice. Follows Debian policy §5.1; comment lines (`#`) are skipped, as in
//! deb822(5).

use thiserror::Error;

/// The maximum number of fields in a paragraph. Paragraphs of the archive have dozens. The limit bounds the search for duplicates,
/// which takes quadratic time.
const MAX_FIELDS: usize = 512;

/// A paragraph that cannot be parsed. Line numbers start at 1 and are relative to the given text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ControlError {
    /// A continuation line without a field before it.
    #[error("line {line}: a continuation line has no field above it")]
    Orphan {
        /// The line number.
        line: usize,
    },
    /// A line that is not a field, comment or continuation.
    #[error("line {line}: expected `Field: value`")]
    NotAField {
        /// The line number.
        line: usize,
    },
    /// A field occurs twice.
    #[error("line {line}: duplicate field {field}")]
    Twice {
        /// The line number.
        line: usize,
        /// The field's name.
        field: String,
    },
    /// More fields than the limit.
    #[error("line {line}: more than {MAX_FIELDS} fields")]
    TooMany {
        /// The line number.
        line: usize,
    },
    /// The text does not contain exactly one paragraph.
    #[error("expected one paragraph, found {found}")]
    Count {
        /// The number of paragraphs.
        found: usize,
    },
}

/// One paragraph: fields in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paragraph<'a> {
    raw: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Paragraph<'a> {
    /// Parses a text that must contain exactly one paragraph.
    pub fn parse_one(text: &'a str) -> Result<Self, ControlError> {
        let mut chunks = paragraphs(text);
        match (chunks.next(), chunks.next()) {
            (Some(only), None) => Self::parse(only),
            (None, _) => Err(ControlError::Count { found: 0 }),
            (Some(_), Some(_)) => Err(ControlError::Count { found: 2 + chunks.count() }),
        }
    }

    /// Parses one chunk from [`paragraphs`]. It contains no blank line.
    pub fn parse(raw: &'a str) -> Result<Self, ControlError> {
        let mut fields: Vec<(&str, &str)> = Vec::with_capacity(24);
        let mut start = 0;
        for (number, line) in raw.split_inclusive('\n').enumerate() {
            let at = start;
            start += line.len();
            let line_number = number + 1;
            if line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or(ControlError::Orphan { line: line_number })?;
                *value = extend(raw, value, start);
                continue;
            }
            let (name, rest) = line.split_once(':').ok_or(ControlError::NotAField { line: line_number })?;
            if name.is_empty() || !name.bytes().all(|byte| matches!(byte, 33..=126)) {
                return Err(ControlError::NotAField { line: line_number });
            }
            if fields.len() == MAX_FIELDS {
                return Err(ControlError::TooMany { line: line_number });
            }
            if fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                return Err(ControlError::Twice { line: line_number, field: name.to_owned() });
            }
            let from = at + name.len() + 1;
            let leading = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            let value = raw.get(from + leading..start).unwrap_or_default();
            fields.push((name, value.trim_end()));
        }
        Ok(Self { raw, fields })
    }

    /// The value of a field: the first line trimmed, the continuation lines unchanged.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// All fields, in order.
    pub fn fields(&self) -> &[(&'a str, &'a str)] {
        &self.fields
    }

    /// The source text of the paragraph.
    pub fn raw(&self) -> &'a str {
        self.raw
    }
}

/// Extends `value`, a slice of `raw`, to the offset `end` and trims trailing white space.
fn extend<'a>(raw: &'a str, value: &'a str, end: usize) -> &'a str {
    let from = (value.as_ptr() as usize).saturating_sub(raw.as_ptr() as usize);
    raw.get(from..end).unwrap_or(value).trim_end()
}

/// Splits a text at blank lines. A chunk ends after its last line feed and does not contain the blank lines.
pub fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
            let (line, after) = rest.split_at(line_end);
            if line.is_empty() {
                return None;
            }
            if !line.trim().is_empty() {
                break;
            }
            rest = after;
        }
        let (chunk, after) = rest.split_at(paragraph_end(rest));
        rest = after;
        Some(chunk)
    })
}

/// The offset of the first blank line, or the length.
fn paragraph_end(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim().is_empty() {
            return at;
        }
        at += line.len();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_continuations_and_case() {
        let text = "Package: a\nDescription: short\n long\n .\n more\n# note\nversion:1.0 \n";
        let paragraph = Paragraph::parse_one(text).unwrap();
        assert_eq!(paragraph.get("package"), Some("a"));
        assert_eq!(paragraph.get("Description"), Some("short\n long\n .\n more"));
        assert_eq!(paragraph.get("Version"), Some("1.0"));
        assert_eq!(paragraph.get("Nothing"), None);
    }

    #[test]
    fn the_first_line_of_a_value_may_be_empty() {
        let paragraph = Paragraph::parse_one("SHA256:\n aa 1 x\n bb 2 y\n").unwrap();
        assert_eq!(
            paragraph.get("sha256").unwrap().lines().filter(|line| !line.trim().is_empty()).count(),
            2
        );
    }

    #[test]
    fn malformed_text_is_refused_with_its_line() {
        assert_eq!(Paragraph::parse(" x\n"), Err(ControlError::Orphan { line: 1 }));
        assert_eq!(Paragraph::parse("A: 1\nb\n"), Err(ControlError::NotAField { line: 2 }));
        assert_eq!(
            Paragraph::parse("A: 1\na: 2\n"),
            Err(ControlError::Twice { line: 2, field: "a".to_owned() })
        );
        let many: String = (0..=MAX_FIELDS).map(|number| format!("A{number}: 1\n")).collect();
        assert_eq!(Paragraph::parse(&many), Err(ControlError::TooMany { line: MAX_FIELDS + 1 }));
        assert_eq!(Paragraph::parse_one("\n\n"), Err(ControlError::Count { found: 0 }));
        assert_eq!(Paragraph::parse_one("A: 1\n\nA: 2\n \nA: 3"), Err(ControlError::Count { found: 3 }));
    }

    proptest! {
        #[test]
        fn a_written_paragraph_parses_to_the_same_fields(
            fields in prop::collection::btree_map("[A-Z][a-z]{1,8}(-[A-Z][a-z]{1,4})?", "[!-~]([ -~]{0,20}[!-~])?(\n [!-~]{1,9}){0,3}", 1..9)
        ) {
            let lower: std::collections::BTreeSet<_> = fields.keys().map(|key| key.to_lowercase()).collect();
            prop_assume!(lower.len() == fields.len());
            let text: String = fields.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
            let doubled = format!("\n{text}\n\n{text}");
            let chunks: Vec<_> = paragraphs(&doubled).collect();
            prop_assert_eq!(chunks.len(), 2);
            for chunk in chunks {
                prop_assert_eq!(chunk, text.as_str());
                let read = Paragraph::parse(chunk).unwrap();
                for (key, value) in &fields {
                    prop_assert_eq!(read.get(key), Some(value.as_str()));
                }
            }
        }
    }
}
