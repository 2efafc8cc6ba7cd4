//! Parses documents that one program writes for another program, by the rule of ADR 0003: `version` is checked first, an
//! unknown version is refused, and an unknown field is ignored. [`DocumentError`] is the error of all these documents;
//! each kind has its own limit for the length.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a document is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is longer than the limit of its kind.
    #[error("document of {length} bytes is longer than {most} bytes")]
    TooLong {
        /// The length of the document in bytes.
        length: usize,
        /// The limit in bytes.
        most: usize,
    },
    /// It is not UTF-8.
    #[error("document is not UTF-8")]
    NotUtf8,
    /// It is not TOML, or does not have the fields of its kind. The text is the parser's message, without the
    /// document's content.
    #[error("document has an invalid form: {0}")]
    Form(String),
    /// Its version is newer than the newest one that this release supports.
    #[error("document has version {found}, this release supports versions 1 to {newest}")]
    Version {
        /// The version of the document.
        found: u64,
        /// The newest supported version.
        newest: u64,
    },
    /// A field that its version requires is missing.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A value is outside the range of its field. An absent number with the default 0 is such a value.
    #[error("field `{0}` has a value that is not allowed")]
    Value(&'static str),
    /// A value that must be unique occurs twice.
    #[error("the document has the {what} {value} twice")]
    Twice {
        /// The kind of the value.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// It is a fixed roster, but the cluster does not use the demo keys.
    #[error("a fixed roster is allowed only with the published demo keys, and this cluster has other keys")]
    NotDemo,
    /// It cannot be serialized.
    #[error("failed to serialize the document")]
    Write(#[from] toml::ser::Error),
}

/// Maximum length of a boot manifest and of the body of a statement, in bytes.
pub const MAX_LEN: usize = 65_536;

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// Parses a document of at most [`MAX_LEN`] bytes with a version from 1 to `newest`. The caller checks what each version
/// requires.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], newest: u64) -> Result<T, DocumentError> {
    within(bytes.len(), MAX_LEN)?;
    parse_text(std::str::from_utf8(bytes).map_err(|_| DocumentError::NotUtf8)?, newest)
}

/// Fails if a document has more than `most` bytes.
pub(crate) fn within(length: usize, most: usize) -> Result<(), DocumentError> {
    if length > most { Err(DocumentError::TooLong { length, most }) } else { Ok(()) }
}

/// Like [`parse`], for a text whose length is already checked.
pub(crate) fn parse_text<T: DeserializeOwned>(text: &str, newest: u64) -> Result<T, DocumentError> {
    let form = |error: toml::de::Error| DocumentError::Form(error.message().to_owned());
    let versioned: Versioned = toml::from_str(text).map_err(form)?;
    if !(1..=newest).contains(&versioned.version) {
        return Err(DocumentError::Version { found: versioned.version, newest });
    }
    toml::from_str(text).map_err(form)
}

/// Removes the details of an error about a document with secrets: a parser's message may quote the text that it could
/// not parse.
pub fn without_content(error: DocumentError) -> DocumentError {
    match error {
        DocumentError::Form(_) => {
            DocumentError::Form("details are omitted because the text contains secrets".into())
        }
        other => other,
    }
}

/// Whether the text may be used in file names and records: the first character is an ASCII letter or digit, the others may
/// also be `.`, `-`, `_`, `+` or `~`; at most 64 characters.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b".-_+~".contains(&byte))
}
