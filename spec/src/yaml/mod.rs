//! Reads a YAML file into a tree that records the position of every value.
//!
//! Sizes are bounded: a file has at most [`MAX_BYTES`], a tree at most [`MAX_NODES`] values at a depth of at most [`MAX_DEPTH`].
//! Aliases, anchors, tags, directives and a second document are refused, so a tree is never larger than its text. The types of
//! plain scalars follow the core schema of YAML 1.2.2 §10.3.2.

mod characters;
mod lookalike;
mod read;
mod scalar;
mod text;

pub use characters::is_hidden;
pub(crate) use characters::{called, looks_like};
pub(crate) use read::MERGE_KEY;
pub use read::read;
pub(crate) use scalar::plain as plain_kind;

use serde_json::{Map, Value};

/// Maximum size of a file in bytes; a spec of 10,000 nodes has about 4 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// Maximum number of values in a tree.
pub const MAX_NODES: usize = 2_000_000;

/// Maximum nesting depth of values; the ClusterSpec has a depth of 9.
pub const MAX_DEPTH: usize = 32;

/// A position in a file: the start of a text, and its length on that line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The length in characters, within the line; 0 for a point.
    pub length: u32,
}

impl Place {
    /// The start of a file.
    pub const START: Self = Self { line: 1, column: 1, length: 0 };
}

/// One value of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its position.
    pub at: Place,
    /// Its content.
    pub content: Content,
}

/// The content of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// No value, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number that is not whole, as written: no field accepts one, and 1.30 is usually a version, not a number.
    Float(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in file order; no key occurs twice.
    Map(Vec<Entry>),
    /// A value that the reader refused (an alias, a value with a tag). It is not reported again.
    Refused,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The position of the key.
    pub key_at: Place,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The entry with this key; `None` if the key is absent or the value is not a map.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The position of the value at a path, or of its nearest existing parent.
    pub fn locate(&self, path: &[Step]) -> Place {
        let Some((step, rest)) = path.split_first() else { return self.at };
        match (step, &self.content) {
            (Step::Key(key), Content::Map(entries)) => match entries.iter().find(|entry| entry.key == *key) {
                // A missing value is reported at the key of its section.
                Some(entry) if rest.first().is_some_and(|next| !entry.value.has(next)) => entry.key_at,
                Some(entry) if rest.is_empty() => entry.at(),
                Some(entry) => entry.value.locate(rest),
                None => self.at,
            },
            (Step::Index(index), Content::List(list)) => {
                list.get(*index).map_or(self.at, |node| node.locate(rest))
            }
            _ => self.at,
        }
    }

    fn has(&self, step: &Step) -> bool {
        match (step, &self.content) {
            (Step::Key(key), Content::Map(entries)) => entries.iter().any(|entry| entry.key == *key),
            (Step::Index(index), Content::List(list)) => *index < list.len(),
            _ => false,
        }
    }

    /// The value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null | Content::Refused => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Integer(value) => (*value).into(),
            Content::Float(text) => text.parse::<f64>().unwrap_or_default().into(),
            Content::Text(value) => Value::String(value.clone()),
            Content::List(list) => Value::Array(list.iter().map(Self::to_json).collect()),
            Content::Map(entries) => Value::Object(
                entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// One step of a path into a tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// A key of a map.
    Key(String),
    /// An index of a list, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

impl Entry {
    /// The position to report for the value: for a block below its key, the position of the key.
    pub fn at(&self) -> Place {
        let block = matches!(self.value.content, Content::List(_) | Content::Map(_));
        if block && self.value.at.line > self.key_at.line { self.key_at } else { self.value.at }
    }
}

/// A path as text: `spec.nodes.inventory[2].name`.
pub fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}
