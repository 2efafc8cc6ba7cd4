//! Compares the shape of a file with the JSON Schema of the types, and reports every difference with its position.
//!
//! This module supports only the keywords that schemars writes for these types; tests compare it with an independent validator.
//! The hints come from [`super::hint`].

use std::collections::HashSet;

use serde_json::Value;

use super::problem::counted;
use super::{MAX_PROBLEMS, Problem, Severity, hint, rule};
use crate::yaml::{Content, Entry, MERGE_KEY, Node, Place, Step, path_text};
use kubedos_wire::value::{self, ValueRule};

/// The refused paths; an invariant that reads one of them cannot be checked.
pub type Refused = HashSet<Vec<Step>>;

/// Collects the problems of the tree's shape, and the refused paths.
pub fn check(schema: &Value, tree: &Node, problems: &mut Vec<Problem>, refused: &mut Refused) {
    let mut walk = Walk { root: schema, path: Vec::new(), problems, refused };
    walk.node(schema, tree, tree.at);
}

struct Walk<'a> {
    root: &'a Value,
    path: Vec<Step>,
    problems: &'a mut Vec<Problem>,
    refused: &'a mut Refused,
}

/// A schema with its `$ref` followed.
pub fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix("#/$defs/"));
    target.and_then(|name| root.get("$defs")?.get(name)).unwrap_or(schema)
}

type Properties = serde_json::Map<String, Value>;

impl<'a> Walk<'a> {
    fn report(&mut self, problem: Problem) {
        self.refused.insert(self.path.clone());
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Checks a value against the schema of its field; `at` is the position to report.
    fn node(&mut self, field: &'a Value, node: &Node, at: Place) {
        let schema = resolve(self.root, field);
        match node.content {
            Content::Null => return, // reported at its key, or as an item below
            Content::Refused => {
                self.refused.insert(self.path.clone()); // reported when it was read
                return;
            }
            _ => {}
        }
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() || schema.get("const").is_some() {
            return self.choice(field, node);
        }
        match (schema.get("type").and_then(Value::as_str), &node.content) {
            (Some("object"), Content::Map(entries)) => self.map(schema, node, entries, at),
            (Some("array"), Content::List(list)) => self.list(field, node.at, list),
            (Some("string"), Content::Text(text)) => {
                let what = format!("`{}` is {:?}", self.here(), hint::short(text));
                self.text(field, node.at, text, &what);
            }
            (Some("integer"), Content::Integer(number)) => self.integer(field, node.at, *number),
            (Some("boolean"), Content::Bool(_)) | (None, _) => {}
            (Some(kind), _) => self.wrong_kind(field, kind, node),
        }
    }

    fn wrong_kind(&mut self, field: &Value, kind: &str, node: &Node) {
        let schema = resolve(self.root, field);
        if let ("integer", Content::Text(text)) = (kind, &node.content)
            && is_beyond_64_bits(text)
        {
            return self.out_of_range(field, node.at, text);
        }
        let wanted = match kind {
            "object" if schema.get("properties").is_none() => "a section for each name",
            "object" => "a section with keys",
            "array" => "a list",
            "string" => "a text",
            "integer" => "a whole number",
            "boolean" => "true or false",
            other => other,
        };
        let message = format!("{} must be {wanted}, not {}", self.what(), hint::found(&node.content));
        let help = hint::of_kind(self.root, field, kind, &node.content);
        self.report(rule::WRONG_KIND.at(node.at, message).help(help));
    }

    /// The end of the path, from its last key.
    fn here(&self) -> String {
        let start = self.path.iter().rposition(|step| matches!(step, Step::Key(_))).unwrap_or(0);
        path_text(self.path.get(start..).unwrap_or_default())
    }

    /// Like [`Self::here`], for the start of a message; the document itself is `the document`.
    fn what(&self) -> String {
        if self.path.is_empty() { "the document".into() } else { format!("`{}`", self.here()) }
    }

    fn choice(&mut self, field: &Value, node: &Node) {
        let names = hint::choices(resolve(self.root, field));
        let Content::Text(text) = &node.content else { return self.wrong_kind(field, "string", node) };
        if names.contains(&text.as_str()) {
            return;
        }
        let (here, found) = (self.here(), hint::short(text));
        let (message, only) = match names.as_slice() {
            [only] => (format!("`{here}` must be `{only}`, not `{found}`"), Some(format!("write {only}"))),
            _ => {
                let list = hint::names(names.iter().map(|name| format!("`{name}`")));
                (format!("`{here}` must be one of {list}, not `{found}`"), None)
            }
        };
        let near = hint::nearest(text, names.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let help = near.or(only).unwrap_or_else(|| hint::of_choice(self.root, field));
        self.report(rule::UNKNOWN_VALUE.at(node.at, message).help(help));
    }

    fn map(&mut self, schema: &'a Value, node: &Node, entries: &[Entry], at: Place) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        for entry in entries {
            let known = properties.and_then(|properties| properties.get(&entry.key));
            self.path.push(Step::Key(entry.key.clone()));
            match known.or(others) {
                Some(_) if entry.value.content == Content::Null => {
                    let message = format!("`{}` has no value", hint::short(&entry.key));
                    let help = "give it one, or remove the key";
                    self.report(rule::NO_VALUE.at(entry.key_at, message).help(help));
                }
                Some(field) => {
                    if known.is_none()
                        && let Some(names) = schema.get("propertyNames")
                    {
                        let what = format!("the name {:?} cannot be used", hint::short(&entry.key));
                        self.text(names, entry.key_at, &entry.key, &what);
                    }
                    self.node(field, &entry.value, entry.at());
                }
                None if entry.value.content == Content::Refused => {
                    self.refused.insert(self.path.clone()); // reported when it was read
                }
                None => self.unknown(entry, node, properties),
            }
            self.path.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|key| node.entry(key).is_none()) {
            self.missing(key, entries, at, properties);
        }
    }

    fn unknown(&mut self, entry: &Entry, node: &Node, properties: Option<&Properties>) {
        let absent = properties.into_iter().flatten().map(|(name, _)| name.as_str());
        let near = hint::nearest(&entry.key, absent.filter(|name| node.entry(name).is_none()));
        let above = self.path.get(..self.path.len().saturating_sub(1)).unwrap_or_default();
        let section =
            if above.is_empty() { "the document".into() } else { format!("`{}`", path_text(above)) };
        let help = match (hint::letters_of_another_script(&entry.key), near) {
            (Some((found, latin)), _) => format!("{found}; did you mean `{latin}`?"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => {
                format!(
                    "its keys are: {}",
                    hint::names(properties.into_iter().flatten().map(|(name, _)| name))
                )
            }
        };
        let message = format!("{section} has no key `{}`", hint::short(&entry.key));
        self.report(rule::UNKNOWN_KEY.at(entry.key_at, message).help(help));
        if let Some(near) = near {
            // The key that was probably meant cannot be checked either.
            let mut meant = self.path.clone();
            meant.pop();
            meant.push(near.into());
            self.refused.insert(meant);
        }
    }

    fn missing(&mut self, key: &str, entries: &[Entry], at: Place, properties: Option<&Properties>) {
        let known = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
        let misspelt = entries
            .iter()
            .any(|entry| !known(&entry.key) && hint::nearest(&entry.key, std::iter::once(key)).is_some());
        let merged = entries.iter().any(|entry| entry.key == MERGE_KEY);
        let section =
            if self.path.is_empty() { "the document".into() } else { format!("`{}`", path_text(&self.path)) };
        self.path.push(key.into());
        if misspelt || merged {
            self.refused.insert(self.path.clone()); // reported as an unknown key, or as an alias
        } else {
            let field = properties.and_then(|properties| properties.get(key)).unwrap_or(&Value::Null);
            let help = hint::of_missing(self.root, key, field);
            self.report(rule::MISSING_KEY.at(at, format!("{section} needs the key `{key}`")).help(help));
        }
        self.path.pop();
    }

    fn list(&mut self, field: &'a Value, at: Place, list: &[Node]) {
        self.size(field, at, list.len(), ("minItems", "maxItems"), "item");
        let Some(items) = resolve(self.root, field).get("items") else { return };
        for (index, item) in list.iter().enumerate() {
            self.path.push(Step::Index(index));
            if item.content == Content::Null {
                let message = format!("`{}` has no value", self.here());
                self.report(rule::NO_VALUE.at(item.at, message).help("give it one, or remove the item"));
            } else {
                self.node(items, item, item.at);
            }
            self.path.pop();
        }
    }

    fn size(&mut self, field: &Value, at: Place, size: usize, (least, most): (&str, &str), what: &str) {
        let schema = resolve(self.root, field);
        let bound = |key: &str| {
            let number = field.get(key).or_else(|| schema.get(key)).and_then(Value::as_u64);
            number.and_then(|number| usize::try_from(number).ok())
        };
        let wanted = match (bound(least), bound(most)) {
            (Some(least), _) if size < least => format!("at least {}", counted(least, what)),
            (_, Some(most)) if size > most => format!("at most {}", counted(most, what)),
            _ => return,
        };
        let message = format!("`{}` must have {wanted}, not {size}", self.here());
        let help =
            if size == 0 { hint::of_field(self.root, field) } else { hint::description(self.root, field) };
        self.report(rule::WRONG_LENGTH.at(at, message).help(help));
    }

    fn text(&mut self, field: &Value, at: Place, text: &str, what: &str) {
        self.size(field, at, text.chars().count(), ("minLength", "maxLength"), "character");
        let rule = resolve(self.root, field).get("x-rule").and_then(Value::as_str);
        let Some(check) = rule.and_then(value::kind) else { return };
        if let Err(error) = check(text) {
            let ValueRule { id: rule, sentence, .. } = error.rule;
            let message = format!("{what}: it must be {sentence}");
            let help = Some(hint::of_value(error.rule, text));
            self.report(Problem { at, rule, severity: Severity::Error, message, help });
        }
    }

    fn integer(&mut self, field: &Value, at: Place, number: i64) {
        let (least, most) = bounds(resolve(self.root, field), field);
        if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
            self.out_of_range(field, at, &number.to_string());
        }
    }

    fn out_of_range(&mut self, field: &Value, at: Place, found: &str) {
        let wanted = match bounds(resolve(self.root, field), field) {
            (Some(least), Some(most)) => format!("between {least} and {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "a number of at most 64 bits".into(),
        };
        let message = format!("`{}` must be {wanted}, not {}", self.here(), hint::short(found));
        let text = hint::description(self.root, field);
        let help = if text.is_empty() { format!("write a number {wanted}") } else { text };
        self.report(rule::OUT_OF_RANGE.at(at, message).help(help));
    }
}

fn bounds(schema: &Value, field: &Value) -> (Option<i64>, Option<i64>) {
    let bound = |key: &str| field.get(key).or_else(|| schema.get(key)).and_then(Value::as_i64);
    (bound("minimum"), bound("maximum"))
}

/// A whole number of more than 64 bits, which the YAML reader keeps as a text.
fn is_beyond_64_bits(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 18 && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0')
}
