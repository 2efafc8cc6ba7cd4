//! From bytes to a tree, or to what is wrong with the bytes.
//!
//! Events come from granit-parser; nesting is limited there too, before any recursion. What is wrong but leaves the structure
//! readable (an alias, a tag, a key given twice) is collected, and stands in the tree as [`Content::Refused`]; what does not is the last
//! problem.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::{Content, Entry, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, Place, scalar};
use crate::check::{Problem, Rule, rule};

/// Reads a file. The tree is there when the structure could be read to its end.
pub fn read(bytes: &[u8]) -> (Option<Node>, Vec<Problem>) {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(problem) => return (None, vec![*problem]),
    };
    let mut problems: Vec<Problem> = tabs(text).collect();
    if !problems.is_empty() {
        return (None, problems);
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH * 2,
        block_nesting_limit: MAX_DEPTH * 2,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let stop = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(Box::new(syntax(&error))),
        };
        if let Err(problem) = stop {
            problems.append(&mut builder.problems);
            problems.push(*problem);
            return (None, problems);
        }
    }
    problems.append(&mut builder.problems);
    match builder.root {
        Some(root) if root.content != Content::Null => (Some(root), problems),
        _ => {
            let help = "start with: apiVersion: kubedos.ca/v1alpha1";
            problems.push(rule::EMPTY_FILE.at(Place::START, "there is nothing in this file").help(help));
            (None, problems)
        }
    }
}

/// What the parser does not take, with what usually is the reason.
fn syntax(error: &ScanError) -> Problem {
    let marker = error.marker();
    let at = point(marker.line(), marker.col());
    let help = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return too_deep(at),
        ErrorKind::DirectiveDisallowed => "remove the line; a spec needs no directive",
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidColonPlacement => {
            "look here and at the line before: a key has a space behind its colon, a text with `: ` in it stands in quotes, brackets are closed"
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::UnclosedFlowCollection { .. } => {
            "close what is opened here"
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::BlockSequenceEntryNotAllowed => {
            "keys of one section start in the same column; compare this line with the ones above it"
        }
        ErrorKind::ExpectedDocumentStart => "the document has ended before this; remove what follows",
        _ => "look here and at the line before: quotes, brackets, indentation",
    };
    rule::YAML_SYNTAX.at(at, format!("this is not YAML: {}", error.kind())).help(help)
}

fn too_deep(at: Place) -> Problem {
    let help = "the deepest value of a ClusterSpec is nested 9 deep; look for a bracket that is not closed";
    rule::TOO_DEEP.at(at, format!("values are nested more than {MAX_DEPTH} deep")).help(help)
}

fn point(line: usize, column: usize) -> Place {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Place { line: number(line.max(1)), column: number(column.saturating_add(1)), length: 0 }
}

/// The place of a byte offset; only for refusals, so its cost does not matter.
fn place_of(bytes: &[u8], offset: usize) -> Place {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count();
    point(line, column)
}

fn text(bytes: &[u8]) -> Result<&str, Box<Problem>> {
    let refuse = |rule: &'static Rule, at: Place, message: &str, help: &str| {
        Err(Box::new(rule.at(at, message).help(help)))
    };
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has more than {} MiB", MAX_BYTES >> 20);
        let help = "a spec of 10,000 nodes has about 4 MiB; is this the right file?";
        return refuse(&rule::FILE_TOO_LARGE, Place::START, &message, help);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return refuse(&rule::NOT_UTF8, Place::START, "the file is UTF-16, not UTF-8", "save it as UTF-8");
    }
    if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        let problem = rule::BYTE_ORDER_MARK.at(Place::START, "the file starts with a byte order mark");
        return Err(Box::new(
            problem.help("save it as UTF-8 without one: its first three bytes are EF BB BF"),
        ));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let message = format!("the byte 0x{byte:02x} is not UTF-8 here");
            return refuse(&rule::NOT_UTF8, place_of(bytes, at), &message, "save the file as UTF-8");
        }
    };
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_hidden(*c)) {
        let message = format!("the character U+{:04X} has no place in a spec", u32::from(c));
        return refuse(&rule::CONTROL_CHARACTER, place_of(bytes, at), &message, "remove it");
    }
    // YAML takes a carriage return alone for a line end, and nobody else does: lines would be counted in two ways.
    if let Some((at, _)) = text.match_indices('\r').find(|(at, _)| bytes.get(at + 1) != Some(&b'\n')) {
        let message = "a carriage return without a line feed";
        let help = "end lines with a line feed, as on Linux, or with both";
        return refuse(&rule::CONTROL_CHARACTER, place_of(bytes, at), message, help);
    }
    Ok(text)
}

/// Whether a character steers a terminal or makes a text look like another one: control characters but line ends and tabs, what
/// reorders text (Unicode UAX #9), and the byte order mark within a text.
pub fn is_hidden(c: char) -> bool {
    let reorders = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || reorders
}

fn tabs(text: &str) -> impl Iterator<Item = Problem> {
    let indented = text.lines().enumerate().filter_map(|(line, content)| {
        let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
        let tab = content.get(..indent)?.find('\t')?;
        (indent < content.len()).then_some((line + 1, tab))
    });
    indented.take(MOST_ALIKE).map(|(line, column)| {
        let problem = rule::TAB_INDENT.at(point(line, column), "a tab in the indentation");
        problem.help("YAML is indented with spaces only")
    })
}

/// An open collection.
struct Open {
    at: Place,
    /// It has a tag, which was reported: what is in it is read and dropped.
    refused: bool,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    /// With the key whose value is next.
    Map(Vec<Entry>, Option<(String, Place)>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    aliases: usize,
    problems: Vec<Problem>,
}

type Step = Result<(), Box<Problem>>;

fn place(span: Span) -> Place {
    let mut place = point(span.start.line(), span.start.col());
    if span.end.line() == span.start.line() {
        place.length = u32::try_from(span.end.col().saturating_sub(span.start.col())).unwrap_or(0);
    }
    place
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Step {
        let at = place(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = rule::ONE_DOCUMENT.at(at, "a second document starts here");
                    return Err(Box::new(
                        problem.help("one file holds one cluster; put the other one into a file of its own"),
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(at, anchor, tag.is_some());
                let key = self.wants_key();
                let escaped = self.escaped(at, &text);
                let content = match style {
                    _ if !key && (escaped || tag.is_some()) => Content::Refused,
                    ScalarStyle::Plain if !key => scalar::plain(&text),
                    ScalarStyle::Plain if scalar::plain(&text) == Content::Null => Content::Null,
                    _ => Content::Text(visible(&text)),
                };
                return self.put(Node { at, content });
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let merge = matches!(self.open.last().map(|open| &open.items),
                    Some(Items::Map(_, Some((key, _)))) if key == MERGE_KEY);
                let help = if merge {
                    "there are no merge keys; write the keys out in each section"
                } else {
                    "write the value out where it is needed"
                };
                self.no_alias(at, "this is an alias", help);
                return self.put(Node { at, content: Content::Refused });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.properties(at, anchor, tag.is_some());
                return self.open(Open { at, refused: tag.is_some(), items: Items::List(Vec::new()) });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.properties(at, anchor, tag.is_some());
                return self.open(Open { at, refused: tag.is_some(), items: Items::Map(Vec::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { at, refused, items }) = self.open.pop() else { return Ok(()) };
                let content = match items {
                    _ if refused => Content::Refused,
                    Items::List(list) => Content::List(list),
                    Items::Map(entries, _) => Content::Map(entries),
                };
                return self.attach(Node { at, content });
            }
            _ => {}
        }
        Ok(())
    }

    /// A problem that does not end the reading.
    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < crate::check::MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// An anchor or an alias. Hostile files have thousands: the first ones say it all.
    fn no_alias(&mut self, at: Place, message: &str, help: &str) {
        self.aliases += 1;
        if self.aliases <= MOST_ALIKE {
            self.problem(rule::NO_ALIAS.at(at, message).help(help));
        }
    }

    fn properties(&mut self, at: Place, anchor: usize, tag: bool) {
        if anchor != 0 {
            let help = "remove the &name; values are written out where they are needed";
            self.no_alias(at, "this value has an anchor", help);
        }
        if tag {
            let help = "remove the !tag; the schema says what kind a value has";
            self.problem(rule::NO_TAG.at(at, "this value has a tag").help(help));
        }
    }

    /// Whether a text holds, written as an escape, what a file must not hold.
    fn escaped(&mut self, at: Place, text: &str) -> bool {
        let Some(hidden) = text.chars().find(|c| is_hidden(*c)) else { return false };
        let message = format!("an escape in this text stands for the character U+{:04X}", u32::from(hidden));
        self.problem(rule::CONTROL_CHARACTER.at(at, message).help("write the text without it"));
        true
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last().map(|open| &open.items), Some(Items::Map(_, None)))
    }

    fn open(&mut self, open: Open) -> Step {
        let at = open.at;
        if self.open.len() >= MAX_DEPTH {
            return Err(Box::new(too_deep(at)));
        }
        if self.wants_key() {
            return Err(Box::new(rule::KEY_IS_TEXT.at(at, "this key is a list or a map").help(KEY_HELP)));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) -> Step {
        if let (Some(Items::Map(_, key @ None)), at) =
            (self.open.last_mut().map(|open| &mut open.items), node.at)
        {
            return match node.content {
                Content::Text(text) => {
                    *key = Some((text, at));
                    Ok(())
                }
                _ => Err(Box::new(rule::KEY_IS_TEXT.at(at, "this key is not a text").help(KEY_HELP))),
            };
        }
        self.attach(node)
    }

    fn attach(&mut self, node: Node) -> Step {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("there are more than {MAX_NODES} values");
            let help = "a spec of 10,000 nodes has about 200,000; is this the right file?";
            return Err(Box::new(rule::TOO_MANY_VALUES.at(node.at, message).help(help)));
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(list)) => list.push(node),
            Some(Items::Map(entries, key)) => {
                let Some((key, key_at)) = key.take() else { return Ok(()) };
                // Maps are as long as a struct has fields, except for hostile ones, which MAX_KEYS keeps from quadratic time.
                if entries.len() >= MAX_KEYS {
                    let message = format!("a map has more than {MAX_KEYS} keys");
                    let help = "no section of a ClusterSpec has so many; is this the right file?";
                    return Err(Box::new(rule::TOO_MANY_VALUES.at(key_at, message).help(help)));
                }
                match entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_at) {
                    Some(first) => {
                        let message = format!("the key `{key}` is given a second time");
                        let help =
                            format!("its first value stands in line {}; keep one of the two", first.line);
                        self.problem(rule::DUPLICATE_KEY.at(key_at, message).help(help));
                    }
                    None => entries.push(Entry { key, key_at, value: node }),
                }
            }
        }
        Ok(())
    }
}

/// The most problems of one kind that are collected where a file can have thousands of them.
const MOST_ALIKE: usize = 20;

const KEY_HELP: &str = "write a name, a colon and a space: `name: value`";

/// The key by which YAML 1.1 copies the keys of another map into this one.
pub(crate) const MERGE_KEY: &str = "<<";

/// A text with everything hidden made visible; only for keys that are refused anyway.
fn visible(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The most keys that one map may have.
const MAX_KEYS: usize = 256;
