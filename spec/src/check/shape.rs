//! The shape of a file against the JSON Schema that the types emit: every difference, each at its place.
//!
//! Knows the keywords that schemars writes for these types and no more; a test holds it against an independent validator.

use std::collections::HashSet;

use serde_json::Value;

use super::rule;
use super::{MAX_PROBLEMS, Problem};
use crate::value;
use crate::yaml::{Content, Node, Place, Step};

/// A path that is refused: what reads it cannot be judged.
pub type Refused = HashSet<Vec<Step>>;

/// Collects what is wrong with the tree's shape, and the paths that are refused.
pub fn check(schema: &Value, tree: &Node, problems: &mut Vec<Problem>, refused: &mut Refused) {
    let mut walk = Walk { root: schema, path: Vec::new(), problems, refused };
    walk.node(schema, tree);
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

impl Walk<'_> {
    fn report(&mut self, problem: Problem) {
        self.refused.insert(self.path.clone());
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    fn node(&mut self, schema: &Value, node: &Node) {
        let root = self.root;
        let schema = resolve(root, schema);
        if node.content == Content::Null {
            return; // reported at its key, or as an item below
        }
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() || schema.get("const").is_some() {
            return self.choice(schema, node);
        }
        match (schema.get("type").and_then(Value::as_str), &node.content) {
            (Some("object"), Content::Map(_)) => self.map(schema, node),
            (Some("array"), Content::List(list)) => self.list(schema, node, list),
            (Some("string"), Content::Text(text)) => self.text(schema, node.at, text),
            (Some("integer"), Content::Integer(number)) => self.integer(schema, node.at, *number),
            (Some("boolean"), Content::Bool(_)) | (None, _) => {}
            (Some(kind), _) => self.wrong_kind(kind, node),
        }
    }

    fn wrong_kind(&mut self, kind: &str, node: &Node) {
        let wanted = match kind {
            "object" => "a section with keys",
            "array" => "a list",
            "string" => "a text",
            "integer" => "a whole number",
            "boolean" => "true or false",
            other => other,
        };
        let mut problem = rule::WRONG_KIND
            .at(node.at, format!("`{}` must be {wanted}, not {}", self.here(), found(&node.content)));
        problem = match (kind, &node.content) {
            ("string", Content::Bool(_) | Content::Integer(_) | Content::Float(_)) => {
                problem.help("put it in quotes")
            }
            ("boolean", Content::Text(text)) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => problem.help("write true"),
                "no" | "off" | "n" => problem.help("write false"),
                _ => problem,
            },
            ("integer", Content::Text(text)) if text.parse::<i64>().is_ok() => {
                problem.help("write the number without quotes and without a leading zero")
            }
            ("array", Content::Map(_)) => problem.help("put `- ` before each item"),
            _ => problem,
        };
        self.report(problem);
    }

    /// The last key of the path with what follows it.
    fn here(&self) -> String {
        let start = self.path.iter().rposition(|step| matches!(step, Step::Key(_))).unwrap_or(0);
        let text = crate::yaml::path_text(self.path.get(start..).unwrap_or_default());
        if text.is_empty() { "the file".into() } else { text }
    }

    fn choice(&mut self, schema: &Value, node: &Node) {
        let names = choices(schema);
        if let Content::Text(text) = &node.content {
            if names.contains(&text.as_str()) {
                return;
            }
            let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let message = match names.as_slice() {
                [only] => format!("`{}` must be `{only}`, not `{}`", self.here(), short(text)),
                _ => format!("`{}` must be one of {list}, not `{}`", self.here(), short(text)),
            };
            let mut problem = rule::UNKNOWN_VALUE.at(node.at, message);
            if let Some(near) = nearest(text, names.iter().copied()) {
                problem = problem.help(format!("did you mean `{near}`?"));
            } else if let [only] = names.as_slice() {
                problem = problem.help(format!("write {only}"));
            }
            return self.report(problem);
        }
        self.wrong_kind("string", node);
    }

    fn map(&mut self, schema: &Value, node: &Node) {
        let Content::Map(entries) = &node.content else { return };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let kinds = schema.get("propertyNames").or_else(|| schema.get("x-keys"));
        self.size(schema, node.at, entries.len(), "minProperties", "maxProperties", "entries");
        for entry in entries {
            let known = properties.and_then(|properties| properties.get(&entry.key));
            self.path.push(Step::Key(entry.key.clone()));
            match known.or(others) {
                Some(schema) if entry.value.content == Content::Null => {
                    let _unused = schema;
                    let message = format!("`{}` has no value", entry.key);
                    self.report(
                        rule::NO_VALUE.at(entry.key_at, message).help("give it one, or remove the key"),
                    );
                }
                Some(schema) => {
                    if let (None, Some(names)) = (known, kinds) {
                        let names = resolve(self.root, names);
                        self.text(names, entry.key_at, &entry.key);
                    }
                    self.node(schema, &entry.value);
                }
                None => self.unknown(&entry.key, entry.key_at, node, properties),
            }
            self.path.pop();
        }
        for key in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if node.entry(key).is_none() {
                self.missing(key, node, properties);
            }
        }
    }

    fn unknown(
        &mut self,
        key: &str,
        at: Place,
        node: &Node,
        properties: Option<&serde_json::Map<String, Value>>,
    ) {
        let absent = properties
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .filter(|n| node.entry(n).is_none());
        let near = nearest(key, absent);
        let section =
            crate::yaml::path_text(self.path.get(..self.path.len().saturating_sub(1)).unwrap_or_default());
        let section = if section.is_empty() { "the document".to_owned() } else { format!("`{section}`") };
        let mut problem = rule::UNKNOWN_KEY.at(at, format!("{section} has no key `{}`", short(key)));
        problem = match (near, properties) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            (None, Some(properties)) => {
                let known = properties.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                problem.help(format!("it has: {known}"))
            }
            (None, None) => problem,
        };
        self.report(problem);
        if let Some(near) = near {
            // What is meant by the misspelt key cannot be judged either.
            let mut meant = self.path.clone();
            meant.pop();
            meant.push(near.into());
            self.refused.insert(meant);
        }
    }

    fn missing(&mut self, key: &str, node: &Node, properties: Option<&serde_json::Map<String, Value>>) {
        let misspelt = match &node.content {
            Content::Map(entries) => entries.iter().any(|entry| {
                properties.is_none_or(|properties| !properties.contains_key(&entry.key))
                    && nearest(&entry.key, std::iter::once(key)).is_some()
            }),
            _ => false,
        };
        let section = self.here();
        self.path.push(key.into());
        if misspelt {
            self.refused.insert(self.path.clone()); // reported as an unknown key
        } else {
            let schema = properties.and_then(|properties| properties.get(key));
            let mut problem = rule::MISSING_KEY.at(node.at, format!("`{section}` needs the key `{key}`"));
            problem.at.length = problem.at.length.min(1);
            if let Some(example) = schema.and_then(|schema| example(resolve(self.root, schema))) {
                problem = problem.help(format!("for example: {key}: {example}"));
            }
            self.report(problem);
        }
        self.path.pop();
    }

    fn list(&mut self, schema: &Value, node: &Node, list: &[Node]) {
        self.size(schema, node.at, list.len(), "minItems", "maxItems", "items");
        let Some(items) = schema.get("items") else { return };
        for (index, item) in list.iter().enumerate() {
            self.path.push(Step::Index(index));
            if item.content == Content::Null {
                let message = format!("`{}` has no value", self.here());
                self.report(rule::NO_VALUE.at(item.at, message).help("give it one, or remove the item"));
            } else {
                self.node(items, item);
            }
            self.path.pop();
        }
    }

    fn size(&mut self, schema: &Value, at: Place, size: usize, least: &str, most: &str, what: &str) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let count = size as u64;
        let wanted = match (bound(least), bound(most)) {
            (Some(least), _) if count < least => format!("at least {least}"),
            (_, Some(most)) if count > most => format!("at most {most}"),
            _ => return,
        };
        let message = format!("`{}` must have {wanted} {what}, not {size}", self.here());
        self.report(rule::WRONG_LENGTH.at(at, message));
    }

    fn text(&mut self, schema: &Value, at: Place, text: &str) {
        self.size(schema, at, text.chars().count(), "minLength", "maxLength", "characters");
        let Some(check) = schema.get("x-rule").and_then(Value::as_str).and_then(value::kind) else { return };
        if let Err(error) = check(text) {
            let message =
                format!("`{}` is {:?}: it must be {}", self.here(), error.found, error.rule.sentence);
            let problem =
                Problem { at, rule: error.rule.id, severity: super::Severity::Error, message, help: None };
            self.report(problem.help(hint(error.rule, text)));
        }
    }

    fn integer(&mut self, schema: &Value, at: Place, number: i64) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let wanted = match (least, most) {
            (Some(least), Some(most)) if number < least || number > most => {
                format!("between {least} and {most}")
            }
            (Some(least), None) if number < least => format!("at least {least}"),
            (None, Some(most)) if number > most => format!("at most {most}"),
            _ => return,
        };
        let message = format!("`{}` must be {wanted}, not {number}", self.here());
        self.report(rule::OUT_OF_RANGE.at(at, message));
    }
}

/// What to write instead of a value that breaks its rule.
fn hint(rule: value::ValueRule, text: &str) -> String {
    match rule.id {
        "cidr" => {
            let fixed = text.split_once('/').and_then(|(address, prefix)| {
                value::Cidr::around(address.parse().ok()?, prefix.parse().ok()?)
            });
            fixed.map_or_else(
                || format!("for example: {}", rule.example),
                |cidr| format!("did you mean {cidr}?"),
            )
        }
        "pinned-version" => format!("name the version that the lock pins, for example: {}", rule.example),
        "fingerprint" => "write what `kubedos-build keys show` prints as the CA's fingerprint".to_owned(),
        "node-name" | "cluster-name" | "domain-name" | "operator-name" | "disk-name" => {
            let fixed = text.to_ascii_lowercase().replace(['_', '.', ' '], "-");
            let fits = value::kind(rule.id).is_some_and(|check| check(&fixed).is_ok());
            if fits { format!("did you mean `{fixed}`?") } else { format!("for example: {}", rule.example) }
        }
        _ => format!("for example: {}", rule.example),
    }
}

/// The values of an enumeration.
pub fn choices(schema: &Value) -> Vec<&str> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let own = schema.get("const").into_iter().chain(list("enum")).filter_map(Value::as_str);
    own.chain(list("oneOf").flat_map(choices)).collect()
}

fn example(schema: &Value) -> Option<String> {
    let given = schema.get("examples").and_then(|examples| examples.get(0)).and_then(Value::as_str);
    let first = || choices(schema).first().copied();
    given.or_else(first).map(str::to_owned)
}

fn found(content: &Content) -> String {
    match content {
        Content::Null => "nothing".into(),
        Content::Bool(value) => format!("{value}"),
        Content::Integer(value) => format!("the number {value}"),
        Content::Float(value) => format!("the number {value}"),
        Content::Text(text) => format!("the text {:?}", short(text)),
        Content::List(_) => "a list".into(),
        Content::Map(_) => "a section with keys".into(),
    }
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() { cut + "…" } else { cut }
}

/// The name that was probably meant: at most a third of its letters differ (Damerau–Levenshtein), case aside.
fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if text.len() > 100 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    names
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.len().max(3) / 3).min(3))
        .min_by_key(|(distance, name)| (*distance, *name))
        .map(|(_, name)| name)
}
