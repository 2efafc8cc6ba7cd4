//! The pages of the documentation that are made of the types and of the list of rules: `docs/spec-reference.md`, `docs/invariants.md`.
//!
//! Words, kinds, bounds, defaults and examples come from the JSON Schema, so that the page, the schema and the check cannot disagree.
//! `kubedos-build schema --reference` and `--invariants` print the pages; a test compares them with the committed ones.

use std::fmt::Write as _;

use serde_json::Value;

use crate::check::{self, Severity, choices, example, flow, not_yet, resolve};
use crate::model;

/// The page that lists every field of the ClusterSpec.
pub fn fields() -> String {
    let root = model::schema();
    let mut page = String::from(
        "# ClusterSpec reference\n\n\
         Made by `kubedos-build schema --reference` from the types that read the spec; `kubedos-build schema` prints the same as JSON Schema for editors.\n\
         The rules between fields are on the page of [invariants](invariants.md); specs to start from are in [`examples/`](../examples).\n\n\
         A key that is not listed is refused, and so is a key without a value. A default stands where a key is left out; *needed* means that it cannot be.\n\
         *Not in this version* means that the field is checked and planned with, and nothing acts on it yet: `validate` and `plan` list those that a spec uses.\n",
    );
    section(&mut page, root, root, "");
    page
}

/// The page that lists every rule.
pub fn rules() -> String {
    let mut page = String::from(
        "# Invariants\n\n\
         Made by `kubedos-build schema --invariants` from the list of rules. Every rule is checked by `kubedos-build validate`, and by every command that reads a spec;\n\
         a diagnostic names the rule that was broken. A broken rule is an error and the spec is refused, unless the table says *warning*.\n\
         Each has a spec that breaks it, with the diagnostic beside it, in [`spec/tests/bad`](../spec/tests/bad) or [`spec/tests/warned`](../spec/tests/warned).\n",
    );
    for (title, rules) in check::all_rules() {
        // Writing to a String does not fail.
        let _written = write!(page, "\n## {title}\n\n| rule | what holds |\n| --- | --- |\n");
        for (id, sentence, severity) in rules {
            let warning = if severity == Severity::Warning { " *Warning.*" } else { "" };
            let _written = writeln!(page, "| `{id}` | {}{warning} |", cell(&sentence));
        }
    }
    page
}

/// A section with its table, then the sections in it.
fn section(page: &mut String, root: &Value, field: &Value, path: &str) {
    let schema = resolve(root, field);
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let title = if path.is_empty() { "The document".to_owned() } else { format!("`{path}`") };
    let _written = write!(page, "\n## {title}\n\n{}\n", words(root, field));
    let whole = not_yet(path);
    if let Some(row) = whole {
        let _written = write!(page, "\n*Not in this version: {}.*\n", row.what);
    }
    page.push_str("\n| key | type | default | example | meaning |\n| --- | --- | --- | --- | --- |\n");
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: Vec<&str> = required.filter_map(Value::as_str).collect();
    // What is needed comes first, in the order of the types; the rest by name.
    let mut properties: Vec<(&String, &Value)> = properties.iter().collect();
    properties.sort_by_key(|(key, _)| required.iter().position(|name| name == key).unwrap_or(usize::MAX));
    for (key, field) in &properties {
        let needed = required.contains(&key.as_str());
        let inner = join(path, key);
        let mut meaning = words(root, field);
        if let (None, Some(row)) = (whole, not_yet(&inner)) {
            let _written = write!(meaning, " *Not in this version: {}.*", row.what);
        }
        let _written = writeln!(
            page,
            "| `{key}` | {} | {} | {} | {} |",
            cell(&kind(root, field, key)),
            default(root, field, needed),
            example(root, field).map_or_else(String::new, |text| format!("`{}`", cell(&text))),
            cell(&meaning)
        );
    }
    for (key, field) in &properties {
        enumeration(page, root, key, field);
    }
    for (key, field) in properties {
        let (inner, path) = within(root, field, join(path, key));
        section(page, root, inner, &path);
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What the items of a list or the entries of a map are, with their path; anything else is itself.
fn within<'s>(root: &'s Value, field: &'s Value, path: String) -> (&'s Value, String) {
    let schema = resolve(root, field);
    if let Some(items) = schema.get("items") {
        return (items, format!("{path}[]"));
    }
    match schema.get("additionalProperties").filter(|others| others.is_object()) {
        Some(others) => (others, format!("{path}.*")),
        None => (field, path),
    }
}

/// A field's own words, else those of its type.
fn words(root: &Value, field: &Value) -> String {
    let description = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
    let text = description(field).or_else(|| description(resolve(root, field))).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The values of an enumeration with what each stands for.
fn enumeration(page: &mut String, root: &Value, key: &str, field: &Value) {
    let schema = resolve(root, field);
    let each: Vec<String> = (schema.get("oneOf").and_then(Value::as_array).into_iter().flatten())
        .filter_map(|one| {
            let meaning = one.get("description").and_then(Value::as_str)?;
            Some(format!("- `{}`: {meaning}\n", choices(one).first()?))
        })
        .collect();
    if each.len() > 1 {
        let _written = write!(page, "\n`{key}` is one of\n\n{}", each.concat());
    }
}

/// What kind of value it is, with its unit and its bounds.
fn kind(root: &Value, field: &Value, key: &str) -> String {
    let schema = resolve(root, field);
    let number = |name: &str| field.get(name).or_else(|| schema.get(name)).and_then(Value::as_u64);
    let range = |least: &str, most: &str, what: &str| match (number(least), number(most)) {
        (Some(a), Some(b)) if a == b => format!(", {} {what}", grouped(a)),
        (Some(a), Some(b)) => format!(", {} to {} {what}", grouped(a), grouped(b)),
        (Some(a), None) => format!(", at least {} {what}", grouped(a)),
        (None, Some(b)) => format!(", at most {} {what}", grouped(b)),
        (None, None) => String::new(),
    };
    let bounded = |text: String| text.trim_end().to_owned();
    if !choices(schema).is_empty() {
        return match choices(schema).as_slice() {
            [only] => format!("`{only}`"),
            several => several.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") if schema.get("additionalProperties").is_some_and(Value::is_object) => {
            bounded(format!("a section for each name{}", range("minProperties", "maxProperties", "of them")))
        }
        Some("object") => "section".to_owned(),
        Some("array") => {
            let items = schema.get("items").map_or_else(String::new, |items| kind(root, items, key));
            let of = if items == "section" { "sections".to_owned() } else { items };
            bounded(format!("list of {of}{}", range("minItems", "maxItems", "of them")))
        }
        Some("string") => match schema.get("x-rule").and_then(Value::as_str) {
            Some(rule) => format!("[{rule}](invariants.md#single-values)"),
            None => bounded(format!("text{}", range("minLength", "maxLength", "characters"))),
        },
        Some("integer") => bounded(format!("number{}", range("minimum", "maximum", unit(key)))),
        Some("boolean") => "`true`, `false`".to_owned(),
        other => other.unwrap_or_default().to_owned(),
    }
}

/// The unit that a key's name ends with.
fn unit(key: &str) -> &'static str {
    const UNITS: [(&str, &str); 9] = [
        ("GiB", "GiB"),
        ("MiB", "MiB"),
        ("Seconds", "seconds"),
        ("Minutes", "minutes"),
        ("Hours", "hours"),
        ("Days", "days"),
        ("Percent", "percent"),
        ("Prefix", "bits"),
        ("mtu", "bytes"),
    ];
    UNITS.iter().find(|(end, _)| key.ends_with(end)).map_or("", |(_, unit)| unit)
}

fn default(root: &Value, field: &Value, needed: bool) -> String {
    match field.get("default") {
        _ if needed => "*needed*".to_owned(),
        Some(Value::Object(_)) if resolve(root, field).get("properties").is_some() => "as below".to_owned(),
        Some(Value::Array(list)) if list.is_empty() => "none".to_owned(),
        Some(value) => format!("`{}`", flow(value)),
        None => "–".to_owned(),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_words_and_a_default_or_an_example() {
        fn walk(root: &Value, field: &Value, path: &str, bare: &mut Vec<String>) {
            let schema = resolve(root, field);
            for (key, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let inner = join(path, key);
                let said = field.get("default").is_some() || example(root, field).is_some();
                let nested = resolve(root, field).get("properties").is_some();
                if words(root, field).split(' ').count() < 2 || !(said || nested) {
                    bare.push(inner.clone());
                }
                let (within, path) = within(root, field, inner);
                walk(root, within, &path, bare);
            }
        }
        let root = model::schema();
        let mut bare = Vec::new();
        walk(root, root, "", &mut bare);
        assert_eq!(bare, [""; 0]);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(1024), "1024");
        assert_eq!(grouped(16_777_216), "16,777,216");
        assert_eq!(grouped(65_535), "65,535");
    }
}
