//! From bytes to a tree, or to what is wrong with the bytes.
//!
//! Events come from granit-parser; nesting is limited there too, before any recursion. What is wrong but leaves the structure
//! readable (an alias, a tag, a key given twice) is collected; what does not is the last problem.

use granit_parser::{Event, Parser, ScalarStyle, Span};

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
            Err(error) => {
                let at = error.marker();
                let place = point(at.line(), at.col());
                let sentence = error.kind().to_string();
                Err(Box::new(rule::YAML_SYNTAX.at(place, format!("this is not YAML: {sentence}"))))
            }
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
    let refuse = |rule: &'static Rule, at: Place, message: String| Err(Box::new(rule.at(at, message)));
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has more than {} MiB", MAX_BYTES >> 20);
        return refuse(&rule::FILE_TOO_LARGE, Place::START, message);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return refuse(&rule::NOT_UTF8, Place::START, "the file is UTF-16, not UTF-8".into());
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
            return refuse(
                &rule::NOT_UTF8,
                place_of(bytes, at),
                format!("the byte 0x{byte:02x} is not UTF-8 here"),
            );
        }
    };
    let hidden = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || bidirectional(c);
    if let Some((at, c)) = text.char_indices().find(|(_, c)| hidden(*c)) {
        let message = format!("the character U+{:04X} has no place in a spec", u32::from(c));
        return refuse(&rule::CONTROL_CHARACTER, place_of(bytes, at), message);
    }
    Ok(text)
}

/// Characters that make a text look like another one (Unicode UAX #9, and the byte order mark within a text).
const fn bidirectional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn tabs(text: &str) -> impl Iterator<Item = Problem> {
    let indented = text.lines().enumerate().filter_map(|(line, content)| {
        let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
        let tab = content.get(..indent)?.find('\t')?;
        (indent < content.len()).then_some((line + 1, tab))
    });
    indented.take(20).map(|(line, column)| {
        let problem = rule::TAB_INDENT.at(point(line, column), "a tab in the indentation");
        problem.help("YAML is indented with spaces only")
    })
}

/// An open collection.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<Entry>, Option<(String, Place)>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
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
                let content = match style {
                    ScalarStyle::Plain if !self.wants_key() => scalar::plain(&text),
                    _ => Content::Text(text.into_owned()),
                };
                return self.put(Node { at, content });
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.problem(
                    rule::NO_ALIAS.at(at, "an alias").help("write the value out where it is needed"),
                );
                return self.put(Node { at, content: Content::Null });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.properties(at, anchor, tag.is_some());
                return self.open(Open::List(at, Vec::new()), at);
            }
            Event::MappingStart(_, anchor, tag) => {
                self.properties(at, anchor, tag.is_some());
                return self.open(Open::Map(at, Vec::new(), None), at);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.open.pop() {
                    Some(Open::List(at, list)) => Node { at, content: Content::List(list) },
                    Some(Open::Map(at, entries, _)) => Node { at, content: Content::Map(entries) },
                    None => return Ok(()),
                };
                return self.attach(node);
            }
            _ => {}
        }
        Ok(())
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < crate::check::MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn properties(&mut self, at: Place, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.problem(
                rule::NO_ALIAS
                    .at(at, "an anchor")
                    .help("remove the &name; values are written out where they are needed"),
            );
        }
        if tag {
            self.problem(
                rule::NO_TAG.at(at, "a tag").help("remove the !tag; the schema says what kind a value has"),
            );
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map(_, _, None)))
    }

    fn open(&mut self, open: Open, at: Place) -> Step {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("values are nested more than {MAX_DEPTH} deep");
            return Err(Box::new(rule::TOO_DEEP.at(at, message)));
        }
        if self.wants_key() {
            return Err(Box::new(rule::KEY_IS_TEXT.at(at, "a key that is a list or a map")));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) -> Step {
        if let (Some(Open::Map(_, _, key @ None)), at) = (self.open.last_mut(), node.at) {
            return match node.content {
                Content::Text(text) => {
                    *key = Some((text, at));
                    Ok(())
                }
                _ => Err(Box::new(rule::KEY_IS_TEXT.at(at, "a key that is not a text"))),
            };
        }
        self.attach(node)
    }

    fn attach(&mut self, node: Node) -> Step {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("there are more than {MAX_NODES} values");
            return Err(Box::new(rule::TOO_MANY_VALUES.at(node.at, message)));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, list)) => list.push(node),
            Some(Open::Map(_, entries, key)) => {
                let Some((key, key_at)) = key.take() else { return Ok(()) };
                // Maps are as long as a struct has fields, except for hostile ones, which MAX_KEYS keeps from quadratic time.
                if entries.len() >= MAX_KEYS {
                    let message = format!("a map has more than {MAX_KEYS} keys");
                    return Err(Box::new(rule::TOO_MANY_VALUES.at(key_at, message)));
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

/// The most keys that one map may have.
const MAX_KEYS: usize = 256;
