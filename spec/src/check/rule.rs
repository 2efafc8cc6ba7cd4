//! The rules of the file and of its shape. The rules of single values are defined with their types ([`kubedos_wire::value`]), the
//! invariants between fields in [`super::rules`].

pub use super::problem::{Rule, Severity};

macro_rules! rules {
    ($table:ident: $($name:ident = $id:literal, $sentence:literal;)*) => {
        $(#[doc = $sentence] pub static $name: Rule =
            Rule { id: $id, sentence: $sentence, severity: Severity::Error };)*

        /// These rules, in order.
        pub static $table: &[&Rule] = &[$(&$name),*];
    };
}

rules! { FILE:
    EMPTY_FILE = "empty-file", "A file contains a ClusterSpec and is not empty.";
    FILE_TOO_LARGE = "file-too-large", "A file has at most 16 MiB.";
    NOT_UTF8 = "not-utf8", "A file is UTF-8.";
    BYTE_ORDER_MARK = "byte-order-mark", "A file does not start with a byte order mark.";
    CONTROL_CHARACTER = "control-character", "A file contains no control characters except line ends and tabs, and no characters that reorder text, not even in comments.";
    HIDDEN_CHARACTER = "hidden-character", "A file contains no invisible characters and no spaces except U+0020; comments may contain other spaces, joiners and variation selectors.";
    LOOKALIKE = "lookalike", "Quotes, colons and the dash of a list item are ASCII characters.";
    TAB_INDENT = "tab-indent", "A line is not indented with tabs.";
    YAML_SYNTAX = "yaml-syntax", "A file is YAML 1.2, without directives.";
    ONE_DOCUMENT = "one-document", "A file contains one document.";
    NO_ALIAS = "no-alias", "A file contains no anchors and no aliases.";
    NO_TAG = "no-tag", "A file contains no tags: the schema defines the type of each value.";
    TOO_DEEP = "too-deep", "Values are nested at most 32 levels deep.";
    TOO_MANY_VALUES = "too-many-values", "A file has at most 2,000,000 values, and a map at most 256 keys.";
    KEY_IS_TEXT = "key-is-text", "A key is a text.";
    DUPLICATE_KEY = "duplicate-key", "A key occurs once in its section.";
}

rules! { SHAPE:
    UNKNOWN_KEY = "unknown-key", "A section contains only keys that the schema defines.";
    MISSING_KEY = "missing-key", "Every key that the schema requires is present.";
    NO_VALUE = "no-value", "Every key has a value.";
    WRONG_KIND = "wrong-kind", "A value has the type that the schema defines.";
    UNKNOWN_VALUE = "unknown-value", "If the schema lists the allowed values, the value is one of them.";
    OUT_OF_RANGE = "out-of-range", "A number is in the range that the schema defines.";
    WRONG_LENGTH = "wrong-length", "The length of a text, a list or a map is in the range that the schema defines.";
}
