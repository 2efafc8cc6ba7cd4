//! Hints for diagnostics: the nearest name, the nearest valid value, an example, or the description of the field.
//!
//! This module produces text only; it does not decide whether a value is refused.

use std::net::IpAddr;

use serde_json::Value;

use super::problem::shown;
use super::shape::resolve;
use crate::yaml::{Content, Node, called, looks_like};
use kubedos_wire::value::{self, Cidr, ValueRule};

/// The hint for a text that violates the rule of its value.
pub fn of_value(rule: ValueRule, text: &str) -> String {
    let keeps = |candidate: &String| value::kind(rule.id).is_some_and(|check| check(candidate).is_ok());
    let device = rule.id == "disk-name" && text.starts_with('/');
    if let Some(meant) = repairs(rule.id, text).into_iter().find(keeps).filter(|_| !device) {
        return match rule.id {
            "endpoint" => format!("write {meant}: each plane has its own port"),
            _ => format!("did you mean {meant}?"),
        };
    }
    if let Some((found, latin)) = letters_of_another_script(text) {
        return format!("{found}; did you mean {latin}?");
    }
    let example = rule.example;
    match rule.id {
        "disk-name" if device => {
            format!("a name of your choice, for example: {example}; `match` selects the disk")
        }
        "cidr" | "host-address" if text.parse::<IpAddr>().is_ok() => {
            format!("add the prefix length, for example: {text}/24")
        }
        "pinned-version" => format!("write the version that the lock pins, for example: {example}"),
        "fingerprint" => "write what `kubedos-build keys show` prints as the CA's fingerprint".into(),
        "wireguard-key" => {
            format!("write what `wg pubkey` prints on the operator's machine, for example: {example}")
        }
        _ => format!("for example: {example}"),
    }
}

/// A description of the first character that only looks like an ASCII character, and the text with all such characters
/// replaced.
pub fn letters_of_another_script(text: &str) -> Option<(String, String)> {
    let (first, ascii) = text.chars().find_map(|c| looks_like(c).map(|ascii| (c, ascii)))?;
    if text.len() > 100 {
        return None;
    }
    let replaced = text.chars().map(|c| looks_like(c).unwrap_or(c)).collect();
    Some((format!("{} looks like `{ascii}`, but is a different character", called(first)), replaced))
}

/// Texts that the author may have meant; the caller suggests one that satisfies the rule.
fn repairs(rule: &str, text: &str) -> Vec<String> {
    let lower = text.trim().to_ascii_lowercase();
    match rule {
        "node-name" | "cluster-name" | "domain-name" | "disk-name" | "operator-name" | "plane-name" => {
            vec![lower.replace(['_', '.', ' ', '/'], "-").trim_matches('-').to_owned()]
        }
        "proxmox-name" | "proxmox-tag" => vec![text.trim().replace(' ', "-")],
        "user-name" => vec![lower],
        "mac-address" => vec![lower.replace('-', ":")],
        "fingerprint" => {
            let digits = lower.trim_start_matches("sha256").trim_start_matches([':', '=', ' ']);
            vec![format!("sha256:{}", digits.replace(':', ""))]
        }
        "artifact-version" | "release" => {
            let plain = lower.trim_start_matches('v');
            vec![plain.to_owned(), format!("{plain}.0")]
        }
        "pinned-version" => vec![format!("v{lower}"), lower],
        "cidr" => network(text).into_iter().collect(),
        "host-address" => with_mask(text).into_iter().collect(),
        "endpoint" => vec![text.rsplit_once(':').map_or(text, |(host, _)| host).to_owned()],
        "port-range" => ports(&lower),
        _ => Vec::new(),
    }
}

/// The network of an address with a prefix length or a netmask.
fn network(text: &str) -> Option<String> {
    let text = with_mask(text).unwrap_or_else(|| text.to_owned());
    let (address, prefix) = text.split_once('/')?;
    Cidr::around(address.parse().ok()?, prefix.parse().ok()?).map(|cidr| cidr.to_string())
}

/// Converts a netmask to a prefix length.
fn with_mask(text: &str) -> Option<String> {
    let (address, mask) = text.split_once('/')?;
    let mask = u32::from(mask.parse::<std::net::Ipv4Addr>().ok()?);
    (mask.leading_ones() + mask.trailing_zeros() == 32).then(|| format!("{address}/{}", mask.leading_ones()))
}

fn ports(text: &str) -> Vec<String> {
    let reversed = text.split_once('/').and_then(|(ports, protocol)| {
        let (first, last) = ports.split_once('-')?;
        Some(format!("{last}-{first}/{protocol}"))
    });
    let named = match text.trim_end_matches("/tcp") {
        "https" => Some("443/tcp".into()),
        "http" => Some("80/tcp".into()),
        _ => None,
    };
    [text.to_owned(), format!("{text}/tcp")].into_iter().chain(reversed).chain(named).collect()
}

/// The hint for a value whose type is not the one that the schema requires.
pub fn of_kind(root: &Value, field: &Value, kind: &str, content: &Content) -> String {
    let written = match (kind, content) {
        ("string", Content::Bool(_) | Content::Integer(_) | Content::Float(_)) => {
            text_of_scalar(root, field, content)
        }
        ("boolean", Content::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => Some("write true".to_owned()),
            "no" | "off" | "n" => Some("write false".to_owned()),
            word @ ("true" | "false") => Some(format!("write {word}, in lower case and without quotes")),
            _ => None,
        },
        ("boolean", Content::Integer(0)) => Some("write false".to_owned()),
        ("boolean", Content::Integer(1)) => Some("write true".to_owned()),
        ("integer", Content::Text(text)) => whole_number(text),
        ("integer", Content::Float(text)) => {
            let number: Option<f64> = text.parse().ok().filter(|n: &f64| n.fract() == 0.0 && n.abs() < 1e15);
            number.map(|number| format!("write {number:.0}"))
        }
        ("array", Content::Map(_)) => Some("put `- ` before each item".to_owned()),
        _ => None,
    };
    written.unwrap_or_else(|| of_field(root, field))
}

fn text_of_scalar(root: &Value, field: &Value, content: &Content) -> Option<String> {
    let text = match content {
        Content::Bool(value) => value.to_string(),
        Content::Integer(value) => value.to_string(),
        Content::Float(text) => text.clone(),
        _ => return None,
    };
    let rule = resolve(root, field).get("x-rule").and_then(Value::as_str);
    match rule.and_then(|id| value::KINDS.iter().find(|(rule, _)| rule.id == id)) {
        Some((rule, check)) if check(&text).is_err() => Some(of_value(*rule, &text)),
        _ => Some("put it in quotes".to_owned()),
    }
}

/// The whole number that the author of a text probably meant.
fn whole_number(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    let number = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = digits.get(number.len()..)?;
    let plain = match number.trim_start_matches('0') {
        "" if number.starts_with('0') => "0",
        rest => rest,
    };
    plain.parse::<i64>().ok()?;
    if !unit.is_empty() {
        return Some(format!("write {plain}, without a unit: the key contains the unit"));
    }
    Some(match plain == text {
        true => format!("write {plain}, without quotes"),
        false => format!("write {plain}"),
    })
}

/// An example of a field, or its keys, or its description.
pub fn of_field(root: &Value, field: &Value) -> String {
    if let Some(example) = example(root, field) {
        return format!("for example: {example}");
    }
    match resolve(root, field).get("properties").and_then(Value::as_object) {
        Some(properties) => format!("its keys are: {}", names(properties.keys())),
        None => description(root, field),
    }
}

/// The first sentence of a field's description.
pub fn description(root: &Value, field: &Value) -> String {
    let own = |schema: &Value| schema.get("description").and_then(Value::as_str).map(first_sentence);
    own(field).or_else(|| own(resolve(root, field))).unwrap_or_default()
}

/// The meanings of the values of an enumeration.
pub fn of_choice(root: &Value, field: &Value) -> String {
    let schema = resolve(root, field);
    let each = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let meanings: Vec<String> = each
        .filter_map(|one| {
            let meaning = first_sentence(one.get("description")?.as_str()?);
            Some(format!("{}: {meaning}", choices(one).first()?))
        })
        .collect();
    if meanings.is_empty() || meanings.len() > 4 { description(root, field) } else { meanings.join("; ") }
}

/// The hint for a missing key.
pub fn of_missing(root: &Value, key: &str, field: &Value) -> String {
    if let Some(example) = example(root, field) {
        return format!("for example: {key}: {example}");
    }
    let schema = resolve(root, field);
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required = required.filter_map(Value::as_str).collect::<Vec<_>>();
    if required.is_empty() {
        of_field(root, field)
    } else {
        format!("write `{key}:` with {} below it", required.join(", "))
    }
}

/// An example of a field in one line: its own, that of its type, or its first choice.
pub fn example(root: &Value, field: &Value) -> Option<String> {
    let schema = resolve(root, field);
    let given = [field, schema].into_iter().find_map(|schema| schema.get("examples")?.get(0));
    let first = || choices(schema).first().map(|name| (*name).to_owned());
    given.map(flow).or_else(first)
}

/// A JSON value as YAML in one line.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) if needs_quotes(text) => format!("{text:?}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether YAML cannot read a text without quotes, or reads it as a different value.
fn needs_quotes(text: &str) -> bool {
    let odd = |c: char| {
        matches!(
            c,
            ':' | '#'
                | ','
                | '['
                | ']'
                | '{'
                | '}'
                | '"'
                | '\''
                | '&'
                | '*'
                | '!'
                | '|'
                | '>'
                | '%'
                | '@'
                | '`'
        )
    };
    let harmless =
        text.contains(':') && !text.contains(": ") && !text.starts_with(|c: char| c.is_ascii_digit());
    let kept = matches!(crate::yaml::plain_kind(text), Content::Text(_));
    !kept || text.is_empty() || (text.chars().any(odd) && !harmless)
}

/// The first sentence of a description, so that a hint is one line.
fn first_sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.find(". ").map_or(line.len(), |at| at);
    let sentence = line.get(..end).unwrap_or(&line).trim_end_matches('.');
    let mut letters = sentence.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    let second_is_lower = letters.clone().next().is_some_and(char::is_lowercase);
    if second_is_lower { format!("{first}{}", letters.as_str()) } else { sentence.to_owned() }
}

/// The values of an enumeration.
pub fn choices(schema: &Value) -> Vec<&str> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    let own = schema.get("const").into_iter().chain(list("enum")).filter_map(Value::as_str);
    own.chain(list("oneOf").flat_map(choices)).collect()
}

/// The description of a value in a message.
pub fn found(content: &Content) -> String {
    match content {
        Content::Null | Content::Refused => "no value".into(),
        Content::Bool(value) => format!("{value}"),
        Content::Integer(value) => format!("the number {value}"),
        Content::Float(text) => format!("the number {}", short(text)),
        Content::Text(text) => format!("the text {:?}", short(text)),
        Content::List(_) => "a list".into(),
        Content::Map(_) => "a section with keys".into(),
    }
}

/// A text of the file in a message: truncated to a readable length, without terminal control characters.
pub fn short(text: &str) -> String {
    let cut: String = text.chars().take(60).map(shown).collect();
    if text.chars().nth(60).is_some() { cut + "…" } else { cut }
}

/// Names in a list, separated by commas.
pub fn names(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    names.map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

/// The name that the author probably meant, ignoring case: at most a third of its letters differ (Damerau–Levenshtein), or
/// the text is its prefix.
pub fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if text.len() > 100 {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let lower = plain(text);
    names
        .filter_map(|name| {
            let whole = plain(name);
            let distance = strsim::damerau_levenshtein(&lower, &whole);
            let is_beginning = lower.len() >= 4 && whole.starts_with(&lower);
            (is_beginning || distance <= (name.len().max(3) / 3).min(3)).then_some((distance, name))
        })
        .min_by_key(|(distance, name)| (*distance, *name))
        .map(|(_, name)| name)
}

/// Checks whether the document is a ClusterSpec of this version; if not, returns a position and a message.
pub fn foreign_document(tree: &Node, version: &str, kind: &str) -> Option<(crate::yaml::Place, String)> {
    let text = |key: &str| match tree.entry(key).map(|entry| &entry.value.content) {
        Some(Content::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let Content::Map(entries) = &tree.content else { return None };
    match (text("apiVersion"), text("kind")) {
        (Some(api), found) if nearest(api, std::iter::once(version)).is_none() => {
            let at = tree.entry("apiVersion").map_or(tree.at, |entry| entry.value.at);
            let message = match found {
                Some(other) if other != kind => {
                    format!("this is a {} of {}, not a {kind} of {version}", short(other), short(api))
                }
                _ => format!("`apiVersion` must be `{version}`, not `{}`", short(api)),
            };
            Some((at, message))
        }
        (None, None)
            if entries
                .iter()
                .all(|entry| nearest(&entry.key, ["apiVersion", "kind"].into_iter()).is_none()) =>
        {
            Some((tree.at, "this is not a ClusterSpec: it has neither `apiVersion` nor `kind`".to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_suggested_only_if_it_satisfies_the_rule() {
        for (rule, text, hint) in [
            ("cidr", "10.101.0.1/24", "did you mean 10.101.0.0/24?"),
            ("cidr", "10.101.0.0/255.255.255.0", "did you mean 10.101.0.0/24?"),
            ("cidr", "10.101.0.0/255.0.255.0", "for example: 10.101.0.0/24"),
            ("cidr", "10.101.0.0", "add the prefix length, for example: 10.101.0.0/24"),
            ("host-address", "192.0.2.7/255.255.255.0", "did you mean 192.0.2.7/24?"),
            ("node-name", "W_1", "did you mean w-1?"),
            ("node-name", "…", "for example: cp-1"),
            ("plane-name", "WG2", "did you mean wg2?"),
            ("mac-address", "52-54-00-AA-00-01", "did you mean 52:54:00:aa:00:01?"),
            ("port-range", "6443", "did you mean 6443/tcp?"),
            ("port-range", "6443/TCP", "did you mean 6443/tcp?"),
            ("port-range", "2380-2379/tcp", "did you mean 2379-2380/tcp?"),
            ("port-range", "70000", "for example: 2379-2380/tcp"),
            ("artifact-version", "v1.2.3", "did you mean 1.2.3?"),
            ("artifact-version", "1.2", "did you mean 1.2.0?"),
            ("pinned-version", "1.34.2", "did you mean v1.34.2?"),
            ("endpoint", "192.0.2.1:51820", "write 192.0.2.1: each plane has its own port"),
        ] {
            let (rule, _) = value::KINDS.iter().find(|(known, _)| known.id == rule).unwrap();
            assert_eq!(of_value(*rule, text), hint, "{text}");
        }
    }

    #[test]
    fn a_number_is_found_despite_units_and_separators() {
        let hint = |text: &str| whole_number(text);
        assert_eq!(hint("32GiB").as_deref(), Some("write 32, without a unit: the key contains the unit"));
        assert_eq!(hint("032").as_deref(), Some("write 32"));
        assert_eq!(hint("1_000").as_deref(), Some("write 1000"));
        assert_eq!(hint("32").as_deref(), Some("write 32, without quotes"));
        assert_eq!(hint("00").as_deref(), Some("write 0"));
        assert_eq!(hint("many"), None);
        assert_eq!(hint(""), None);
    }

    #[test]
    fn a_name_with_few_edits_is_suggested() {
        let names = ["sizeGiB", "name", "failureDomains", "control-plane"];
        let near = |text| nearest(text, names.into_iter());
        assert_eq!(near("size"), Some("sizeGiB"));
        assert_eq!(near("SIZEGIB"), Some("sizeGiB"));
        assert_eq!(near("failure_domain"), Some("failureDomains"));
        assert_eq!(near("controlplane"), Some("control-plane"));
        assert_eq!(near("owner"), None);
        assert_eq!(near(&"n".repeat(5000)), None);
    }

    #[test]
    fn an_example_is_valid_yaml() {
        let value = serde_json::json!([{ "a": "x: y", "b": ["1", "v1", "yes", ""], "c": {}, "d": true }]);
        assert_eq!(flow(&value), r#"[{ a: "x: y", b: ["1", v1, yes, ""], c: {}, d: true }]"#);
    }
}
