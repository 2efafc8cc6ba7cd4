//! The rule of ADR 0003 for documents that machines write for machines: `version` is looked at before anything else, an unknown
//! version is refused, an unknown field is ignored.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than any document of its kind.
    #[error("document of {0} bytes is longer than any of its kind")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("document is not UTF-8")]
    NotUtf8,
    /// Not TOML, or not with the fields of its kind. The text is the parser's, without the document's content.
    #[error("document does not have the form of its kind: {0}")]
    Form(String),
    /// Written by another release, in a version that this one does not understand.
    #[error("document has version {found}, this release understands versions 1 to {newest}")]
    Version {
        /// In the document.
        found: u64,
        /// The newest that is understood.
        newest: u64,
    },
    /// A field that its version requires is missing.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A value outside of what its field may hold.
    #[error("field `{0}` holds a value that it must not")]
    Value(&'static str),
}

/// No document of ours is longer.
pub(crate) const MAX_LEN: usize = 65_536;

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > MAX_LEN {
        return Err(DocumentError::TooLong(bytes.len()));
    }
    std::str::from_utf8(bytes).map_err(|_| DocumentError::NotUtf8)
}

/// Reads a document whose version is 1 to `newest`. What each version requires is for the caller to check.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], newest: u64) -> Result<T, DocumentError> {
    let text = text(bytes)?;
    let form = |error: toml::de::Error| DocumentError::Form(error.message().to_owned());
    let versioned: Versioned = toml::from_str(text).map_err(form)?;
    if !(1..=newest).contains(&versioned.version) {
        return Err(DocumentError::Version { found: versioned.version, newest });
    }
    toml::from_str(text).map_err(form)
}

/// The same error about a document that holds secrets: a parser's message may quote the text that it stumbled over.
pub(crate) fn without_content(error: DocumentError) -> DocumentError {
    match error {
        DocumentError::Form(_) => DocumentError::Form("details are withheld, the text holds secrets".into()),
        other => other,
    }
}

/// A name that goes into file names and records: `[a-z0-9]` first, then also `.`, `-`, `_`, `+`, `~`; at most 64.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 64
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b".-_+~".contains(&byte))
}
