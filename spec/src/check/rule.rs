//! The rules of the file and of its shape. The rules of single values stand beside their types ([`kubedos_wire::value`]), those of the whole
//! in [`super::rules`].

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
    EMPTY_FILE = "empty-file", "A file holds a ClusterSpec, not nothing.";
    FILE_TOO_LARGE = "file-too-large", "A file has at most 16 MiB.";
    NOT_UTF8 = "not-utf8", "A file is UTF-8.";
    BYTE_ORDER_MARK = "byte-order-mark", "A file does not start with a byte order mark.";
    CONTROL_CHARACTER = "control-character", "A file has no control characters but line ends and tabs, and none that reorder text, also in comments.";
    HIDDEN_CHARACTER = "hidden-character", "A file has no characters that cannot be seen and no spaces but U+0020; comments may have spaces, joiners and variation selectors.";
    LOOKALIKE = "lookalike", "Quotes, colons and the dash of a list item are those of ASCII.";
    TAB_INDENT = "tab-indent", "A line is not indented with tabs.";
    YAML_SYNTAX = "yaml-syntax", "A file is YAML 1.2, without directives.";
    ONE_DOCUMENT = "one-document", "A file holds one document.";
    NO_ALIAS = "no-alias", "Values are written out: there are no anchors and aliases.";
    NO_TAG = "no-tag", "The schema gives values their kind: there are no tags.";
    TOO_DEEP = "too-deep", "Values are nested at most 32 deep.";
    TOO_MANY_VALUES = "too-many-values", "A file has at most 2,000,000 values, and a map at most 256 keys.";
    KEY_IS_TEXT = "key-is-text", "A key is a text.";
    DUPLICATE_KEY = "duplicate-key", "A key stands once in its section.";
}

rules! { SHAPE:
    UNKNOWN_KEY = "unknown-key", "A section has only the keys that the schema knows.";
    MISSING_KEY = "missing-key", "A key that the schema demands is there.";
    NO_VALUE = "no-value", "A key that is there has a value.";
    WRONG_KIND = "wrong-kind", "A value has the kind that the schema says.";
    UNKNOWN_VALUE = "unknown-value", "Where the schema lists values, the value is one of them.";
    OUT_OF_RANGE = "out-of-range", "A number lies in the range that the schema says.";
    WRONG_LENGTH = "wrong-length", "A text, a list or a map is as long as the schema says.";
}
