//! What a spec may say and this version does not act on.
//!
//! A row names a path of the schema and covers everything below it. A part of the product that starts to act on a field removes its row;
//! at 1.0 the table is empty.

use serde::Serialize;

use crate::yaml::{Content, Node};

/// A part of the spec that this version does not act on.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NotYet {
    /// Its path; `[]` stands for every item, `*` for every key.
    pub path: &'static str,
    /// What will act on it.
    pub what: &'static str,
}

const fn row(path: &'static str, what: &'static str) -> NotYet {
    NotYet { path, what }
}

/// The table.
pub static NOT_YET: &[NotYet] = &[
    row("spec.substrate.proxmox", "virtual machines are not made by this version"),
    row("spec.substrate.cloud.provider", "virtual machines are not made by this version"),
    row("spec.nodes.inventory[].cpu", "virtual machines are not made by this version"),
    row("spec.nodes.inventory[].memoryMiB", "virtual machines are not made by this version"),
    row("spec.nodes.inventory[].nics", "virtual machines are not made by this version"),
    row("spec.nodes.inventory[].disks[].pool", "virtual machines are not made by this version"),
    row("spec.nodes.inventory[].disks[].purpose", "only the system disk is used yet"),
    row(
        "spec.nodes.inventory[].underlay",
        "planned and written into shards; interfaces are not brought up yet",
    ),
    row("spec.networking.planes", "addresses are planned and written into shards; planes do not come up yet"),
    row("spec.networking.policy", "planned; there is no firewall before there are planes"),
    row("spec.networking.underlay", "planned and written into shards; interfaces are not brought up yet"),
    row("spec.security.bootstrap.voucherMinutes", "nodes do not enrol yet"),
    row("spec.security.keyRotation", "nodes do not enrol yet"),
    row("spec.security.operators", "the agent has no API yet"),
    row("spec.security.roster", "nodes do not enrol yet"),
    row("spec.storage.zfs", "no pools are made yet"),
    row("spec.storage.ceph", "no pools are made yet"),
    row("spec.orchestration", "nodes neither enrol nor converge yet"),
    row("spec.kubernetes", "planned; Kubernetes is not in the payload yet"),
    row("spec.workload", "Kubernetes is not in the payload yet"),
    row("spec.lifecycle", "nothing is detected, fenced, replaced or upgraded yet"),
    row("spec.acceptance", "there are no drills yet"),
];

/// The rows that a tree has something to.
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
