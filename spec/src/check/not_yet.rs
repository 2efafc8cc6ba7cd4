//! The fields of a spec that have no effect in this version.
//!
//! A row contains a path of the schema and covers all fields below it. A change that implements a field removes its row; at 1.0 the
//! table is empty.

use serde::Serialize;

use crate::yaml::{Content, Node};

/// A part of the spec that has no effect in this version.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NotYet {
    /// Its path; `[]` stands for every item, `*` for every key.
    pub path: &'static str,
    /// The missing effect, or the reason.
    pub what: &'static str,
}

const fn row(path: &'static str, what: &'static str) -> NotYet {
    NotYet { path, what }
}

/// The table.
pub static NOT_YET: &[NotYet] = &[
    row("spec.substrate.proxmox", "this version does not create virtual machines"),
    row("spec.substrate.cloud.provider", "this version does not create virtual machines"),
    row("spec.substrate.metal.firmware", "the image contains no firmware yet"),
    row("spec.nodes.vmidRange", "planned; this version does not create virtual machines"),
    row("spec.nodes.failureDomains", "written into shards; zone labels come with Kubernetes"),
    row("spec.nodes.inventory[].domain", "written into shards; zone labels come with Kubernetes"),
    row("spec.nodes.inventory[].cpu", "this version does not create virtual machines"),
    row("spec.nodes.inventory[].memoryMiB", "this version does not create virtual machines"),
    row("spec.nodes.inventory[].nics", "this version does not create virtual machines"),
    row("spec.nodes.inventory[].disks[].pool", "this version does not create virtual machines"),
    row("spec.nodes.inventory[].disks[].purpose", "only the system disk is used yet"),
    row("spec.networking.planes", "planes come up only in a lab with the demo keys; nodes do not enrol yet"),
    row("spec.security.bootstrap.caFingerprint", "keys are not compared with it yet"),
    row("spec.security.bootstrap.voucherMinutes", "nodes do not enrol yet"),
    row("spec.security.keyRotation", "nodes do not enrol yet"),
    row("spec.security.operators", "the agent has no API yet"),
    row("spec.security.roster", "nodes do not enrol yet"),
    row("spec.storage.zfs", "no pools are created yet"),
    row("spec.storage.ceph", "no pools are created yet"),
    row("spec.orchestration", "nodes neither enrol nor converge yet"),
    row("spec.kubernetes", "planned; Kubernetes is not in the payload yet"),
    row("spec.workload", "Kubernetes is not in the payload yet"),
    row("spec.lifecycle", "nodes are not detected as lost, fenced, replaced or upgraded yet"),
    row("spec.acceptance", "drills are not implemented yet"),
];

/// The rows as text: each reason once, with the fields that it applies to.
pub fn list(rows: &[&'static NotYet]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for row in rows {
        if !reasons.contains(&row.what) {
            reasons.push(row.what);
        }
    }
    let mut text = String::new();
    for reason in reasons {
        let fields = rows.iter().filter(|row| row.what == reason).map(|row| format!("    {}\n", row.path));
        text.push_str(&format!("  {reason}\n{}", fields.collect::<String>()));
    }
    text
}

/// The row for a path of the schema: that of the path itself, or of a section that contains it.
pub fn of_path(path: &str) -> Option<&'static NotYet> {
    NOT_YET.iter().find(|row| {
        path.strip_prefix(row.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// The rows whose paths occur in a tree.
pub fn present(tree: &Node) -> Vec<&'static NotYet> {
    NOT_YET.iter().filter(|row| reaches(tree, &steps(row.path))).collect()
}

fn steps(path: &str) -> Vec<&str> {
    path.split('.')
        .flat_map(|part| match part.strip_suffix("[]") {
            Some(key) => vec![key, "[]"],
            None => vec![part],
        })
        .collect()
}

fn reaches(node: &Node, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    match (&node.content, *first) {
        (Content::List(list), "[]") => list.iter().any(|item| reaches(item, rest)),
        (Content::Map(entries), "*") => entries.iter().any(|entry| reaches(&entry.value, rest)),
        (Content::Map(_), key) => node.entry(key).is_some_and(|entry| reaches(&entry.value, rest)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::shape::resolve;

    /// The schema of the field at a path.
    fn field<'s>(root: &'s serde_json::Value, path: &str) -> Option<&'s serde_json::Value> {
        steps(path).into_iter().try_fold(root, |schema, step| {
            let schema = resolve(root, schema);
            match step {
                "[]" => schema.get("items"),
                "*" => schema.get("additionalProperties"),
                key => schema.get("properties")?.get(key),
            }
        })
    }

    #[test]
    fn every_row_is_a_field_of_the_schema_and_no_row_contains_another() {
        let schema = crate::model::schema();
        for row in NOT_YET {
            assert!(field(schema, row.path).is_some(), "{}", row.path);
            assert_eq!(of_path(row.path), Some(row), "{} is covered by another row", row.path);
            assert!(!row.what.ends_with('.') && !row.what.is_empty(), "{}", row.path);
        }
        assert_eq!(field(schema, "spec.nodes.inventory[].colour"), None);
    }

    #[test]
    fn a_field_that_a_tree_does_not_contain_is_not_listed() {
        let tree = |text: &str| crate::yaml::read(text.as_bytes()).0.unwrap();
        let paths = |text: &str| present(&tree(text)).iter().map(|row| row.path).collect::<Vec<_>>();
        assert_eq!(paths("spec: { nodes: { inventory: [{ name: a }] } }"), [""; 0]);
        assert_eq!(
            paths("spec: { nodes: { inventory: [{ name: a }, { name: b, cpu: 2 }] }, workload: {} }"),
            ["spec.nodes.inventory[].cpu", "spec.workload"]
        );
    }
}
