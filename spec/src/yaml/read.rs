//! Parses bytes into a tree, or reports their problems.
//!
//! granit-parser provides the events; it also limits the nesting, before any recursion. A problem that leaves the structure
//! readable (an alias, a tag, a repeated key) is collected, and a refused value becomes [`Content::Refused`] in the tree. Any
//! other problem ends the reading, so it is the last one.

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::characters::{Kind, called, is_hidden, kind};
use super::text::{self, Text};
use super::{Content, Entry, MAX_DEPTH, MAX_NODES, Node, Place, lookalike, scalar};
use crate::check::{Problem, rule};

/// Reads a file. Returns a tree if the structure was readable to its end.
pub fn read(bytes: &[u8]) -> (Option<Node>, Vec<Problem>) {
    let source = match text::decode(bytes) {
        Ok(source) => source,
        Err(problems) => return (None, problems),
    };
    let (text, mut problems) = text::clean(source);
    let hidden = problems.len();
    problems.extend(tabs(source));
    if text.is_unreadable || problems.len() > hidden {
        return (None, problems);
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH * 2,
        block_nesting_limit: MAX_DEPTH * 2,
    };
    let mut builder = Builder { problems, ..Builder::new(&text) };
    let mut problems = Vec::new();
    for event in Parser::new_from_str_with_options(&text.text, options) {
        let stop = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(Box::new(syntax(&error, &text))),
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
            problems.push(rule::EMPTY_FILE.at(Place::START, "the file contains no values").help(help));
            (None, problems)
        }
    }
}

/// The problem for an error of the parser, with its usual cause as the hint.
fn syntax(error: &ScanError, text: &Text<'_>) -> Problem {
    let marker = error.marker();
    let at = point(marker.line(), marker.col(), text);
    // The lookalike is the cause; the parser reports only its consequence.
    if let Some(problem) = lookalike::near(text, at.line) {
        return problem;
    }
    let help = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return too_deep(at),
        ErrorKind::DirectiveDisallowed => "remove the line; a spec needs no directive",
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidColonPlacement => {
            "check this line and the line before it: a key needs a space after its colon, a text that contains `: ` needs quotes, brackets must be closed"
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::UnclosedFlowCollection { .. } => {
            "close the quote or bracket that is opened here"
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::BlockSequenceEntryNotAllowed => {
            "keys of one section start in the same column; compare this line with the ones above it"
        }
        ErrorKind::ExpectedDocumentStart => "the document ended before this line; remove the rest",
        _ => "check this line and the line before it: quotes, brackets, indentation",
    };
    rule::YAML_SYNTAX.at(at, format!("invalid YAML: {}", error.kind())).help(help)
}

fn too_deep(at: Place) -> Problem {
    let help = "a ClusterSpec has at most 9 levels; look for a bracket that is not closed";
    rule::TOO_DEEP.at(at, format!("values are nested more than {MAX_DEPTH} levels deep")).help(help)
}

/// Converts a position of the parser to a position in the file.
fn point(line: usize, column: usize, text: &Text<'_>) -> Place {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let line = number(line.max(1));
    Place { line, column: text.column(line, number(column.saturating_add(1))), length: 0 }
}

fn tabs(text: &str) -> impl Iterator<Item = Problem> {
    let indented = text.lines().enumerate().filter_map(|(line, content)| {
        let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
        let tab = content.get(..indent)?.find('\t')?;
        (indent < content.len()).then_some((line + 1, tab))
    });
    indented.take(MOST_ALIKE).map(|(line, column)| {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let at = Place { line: number(line), column: number(column.saturating_add(1)), length: 0 };
        let problem = rule::TAB_INDENT.at(at, "a tab in the indentation");
        problem.help("YAML is indented with spaces only")
    })
}

/// An open collection.
struct Open {
    at: Place,
    /// The collection has a tag, which was already reported; its content is read and dropped.
    refused: bool,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    /// The entries, and the key whose value comes next.
    Map(Vec<Entry>, Option<(String, Place)>),
}

struct Builder<'a> {
    text: &'a Text<'a>,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    aliases: usize,
    problems: Vec<Problem>,
}

type Step = Result<(), Box<Problem>>;

impl<'a> Builder<'a> {
    fn new(text: &'a Text<'a>) -> Self {
        Self { text, open: Vec::new(), root: None, documents: 0, nodes: 0, aliases: 0, problems: Vec::new() }
    }

    /// The start and the end of a span in the file.
    fn places(&self, span: Span) -> (Place, Place) {
        let mut at = point(span.start.line(), span.start.col(), self.text);
        let end = point(span.end.line(), span.end.col(), self.text);
        if end.line == at.line {
            at.length = end.column.saturating_sub(at.column);
        }
        (at, end)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Step {
        let (at, end) = self.places(span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = rule::ONE_DOCUMENT.at(at, "a second document starts here");
                    return Err(Box::new(
                        problem.help("a file contains one cluster; write the second one to a separate file"),
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(at, anchor, tag.is_some());
                let key = self.wants_key();
                let quoted = style == ScalarStyle::DoubleQuoted;
                // A character inside the text that is already reported is not reported again.
                let reported = self.text.is_reported((at.line, at.column), (end.line, end.column));
                let escaped = self.hides_a_character(at, &text, quoted);
                if style == ScalarStyle::Plain
                    && let Some(found) = lookalike::of_scalar(&text, at, self.stands_for_a_key(at))
                {
                    if found.changes_structure {
                        return Err(Box::new(found.problem));
                    }
                    self.problem(found.problem);
                    let content =
                        if key { Content::Text(lookalike::unquoted(&text)) } else { Content::Refused };
                    return self.put(Node { at, content });
                }
                let content = match style {
                    _ if !key && (escaped || reported || tag.is_some()) => Content::Refused,
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
                    "merge keys are not supported; write the keys in each section"
                } else {
                    "write the value where it is needed"
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

    /// Collects a problem that does not end the reading.
    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < crate::check::MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Reports an anchor or an alias. A hostile file can contain thousands, so only the first ones are reported.
    fn no_alias(&mut self, at: Place, message: &str, help: &str) {
        self.aliases += 1;
        if self.aliases <= MOST_ALIKE {
            self.problem(rule::NO_ALIAS.at(at, message).help(help));
        }
    }

    fn properties(&mut self, at: Place, anchor: usize, tag: bool) {
        if anchor != 0 {
            let help = "remove the &name; write values where they are needed";
            self.no_alias(at, "this value has an anchor", help);
        }
        if tag {
            let help = "remove the !tag; the schema defines the type of each value";
            self.problem(rule::NO_TAG.at(at, "this value has a tag").help(help));
        }
    }

    /// Whether a text contains a hidden character, written as an escape or after a `#` that does not start a comment.
    fn hides_a_character(&mut self, at: Place, text: &str, quoted: bool) -> bool {
        let Some(hidden) = text.chars().find(|c| is_hidden(*c)) else { return false };
        let rule = match kind(hidden) {
            Some(Kind::Control | Kind::Break) => &rule::CONTROL_CHARACTER,
            _ => &rule::HIDDEN_CHARACTER,
        };
        let message = match quoted {
            true => format!("an escape in this text stands for {}", called(hidden)),
            false => format!("this text contains {}", called(hidden)),
        };
        self.problem(rule.at(at, message).help("write the text without it"));
        true
    }

    /// Whether a plain text is in the position of a key, or on a line of its own where a section is expected.
    fn stands_for_a_key(&self, at: Place) -> bool {
        match self.open.last().map(|open| &open.items) {
            Some(Items::Map(_, Some((_, key_at)))) => key_at.line < at.line,
            _ => true,
        }
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
                // The search is linear in the keys of the map. MAX_KEYS bounds the quadratic time for a hostile map.
                if entries.len() >= MAX_KEYS {
                    let message = format!("a map has more than {MAX_KEYS} keys");
                    let help = "no section of a ClusterSpec has so many; is this the right file?";
                    return Err(Box::new(rule::TOO_MANY_VALUES.at(key_at, message).help(help)));
                }
                match entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_at) {
                    Some(first) => {
                        let message = format!("the key `{key}` occurs a second time");
                        let help = format!("its first value is in line {}; keep one of the two", first.line);
                        self.problem(rule::DUPLICATE_KEY.at(key_at, message).help(help));
                    }
                    None => entries.push(Entry { key, key_at, value: node }),
                }
            }
        }
        Ok(())
    }
}

/// Maximum number of problems of one kind that are collected, for kinds that can occur thousands of times in a file.
const MOST_ALIKE: usize = 20;

const KEY_HELP: &str = "write a name, a colon and a space: `name: value`";

/// The merge key of YAML 1.1, which copies the keys of another map into this map.
pub(crate) const MERGE_KEY: &str = "<<";

/// A text with every hidden character replaced; only for keys that are refused anyway.
fn visible(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Maximum number of keys in a map.
const MAX_KEYS: usize = 256;
