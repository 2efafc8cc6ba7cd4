//! Builds a parseable spec from a spec whose shape is wrong, so that the invariants between fields still run.
//!
//! A refused optional value is omitted; a refused required value is replaced by an example of the schema. Invariants that read
//! such a value are skipped, so a replacement is never reported, and a repaired spec is never returned.

use serde_json::{Map, Value};

use super::hint::choices;
use super::shape::{Refused, resolve};
use crate::yaml::{Content, Node, Step};

/// The tree as JSON that the types can parse.
pub fn repair(schema: &Value, tree: &Node, refused: &Refused) -> Value {
    if refused.is_empty() {
        return tree.to_json();
    }
    let mut path = Vec::new();
    repaired(schema, schema, Some(tree), refused, &mut path)
}

fn repaired(
    root: &Value,
    schema: &Value,
    node: Option<&Node>,
    refused: &Refused,
    path: &mut Vec<Step>,
) -> Value {
    let schema = resolve(root, schema);
    match (schema.get("type").and_then(Value::as_str), node.map(|node| &node.content)) {
        (Some("object"), content) => {
            let mut object = Map::new();
            let properties = schema.get("properties").and_then(Value::as_object);
            let required = |key: &str| {
                let list = schema.get("required").and_then(Value::as_array);
                list.is_some_and(|list| list.iter().any(|name| name == key))
            };
            for (key, inner) in properties.into_iter().flatten() {
                let found = node.and_then(|node| node.entry(key)).map(|entry| &entry.value);
                path.push(key.as_str().into());
                let deep = matches!(found.map(|f| &f.content), Some(Content::Map(_) | Content::List(_)));
                let good = found.filter(|_| deep || !refused.contains(path.as_slice()));
                if good.is_some() || required(key) {
                    object.insert(key.clone(), repaired(root, inner, good, refused, path));
                }
                path.pop();
            }
            if let (Some(others), Some(Content::Map(entries))) =
                (schema.get("additionalProperties").filter(|others| others.is_object()), content)
            {
                for entry in entries {
                    path.push(entry.key.as_str().into());
                    let deep = matches!(entry.value.content, Content::Map(_));
                    let named = schema.get("propertyNames").is_none() || !refused.contains(path.as_slice());
                    if deep && named && well_named(root, schema, &entry.key) {
                        object.insert(
                            entry.key.clone(),
                            repaired(root, others, Some(&entry.value), refused, path),
                        );
                    }
                    path.pop();
                }
            }
            Value::Object(object)
        }
        (Some("array"), Some(Content::List(list))) => {
            let items = schema.get("items").unwrap_or(&Value::Null);
            let mut list_out = Vec::with_capacity(list.len());
            for (index, item) in list.iter().enumerate() {
                path.push(Step::Index(index));
                let deep = matches!(item.content, Content::Map(_));
                let good = Some(item).filter(|_| deep || !refused.contains(path.as_slice()));
                list_out.push(repaired(root, items, good, refused, path));
                path.pop();
            }
            Value::Array(list_out)
        }
        (Some("array"), _) => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let items = schema.get("items").unwrap_or(&Value::Null);
            Value::Array((0..least).map(|_| repaired(root, items, None, refused, path)).collect())
        }
        (_, Some(_)) if !refused.contains(path.as_slice()) => node.map_or(Value::Null, Node::to_json),
        _ => stand_in(schema),
    }
}

fn well_named(root: &Value, schema: &Value, key: &str) -> bool {
    let names = schema.get("propertyNames").map(|names| resolve(root, names));
    let check = names
        .and_then(|names| names.get("x-rule"))
        .and_then(Value::as_str)
        .and_then(kubedos_wire::value::kind);
    check.is_none_or(|check| check(key).is_ok())
}

/// A scalar that the schema accepts.
fn stand_in(schema: &Value) -> Value {
    if let Some(first) = choices(schema).first() {
        return Value::String((*first).to_owned());
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => {
            schema.get("examples").and_then(|e| e.get(0)).cloned().unwrap_or_else(|| "x".into())
        }
        Some("integer") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => Value::Bool(false),
        _ => Value::Null,
    }
}
