//! The invariants: rules between several fields of a spec.
//!
//! An invariant is a row: id, sentence, the paths that it reads, and a function. It is skipped if a value that it reads was already
//! refused.

mod interfaces;
mod nodes;
mod operator_keys;
mod planes;
mod platform;
mod substrate;
mod trust;
mod underlay;

use std::collections::HashSet;

use super::shape::Refused;
use super::{MAX_PROBLEMS, Problem, Rule, Severity};
use crate::model::{ClusterSpec, NodeSpec, Spec};
use crate::yaml::{Node, Step};
use kubedos_wire::node::Role;

/// A rule between several fields.
pub struct Invariant {
    /// Its id, sentence and severity.
    pub rule: Rule,
    /// The paths that it reads; `[]` stands for every item, `*` for every key.
    pub reads: &'static [&'static str],
    check: fn(&Spec, &mut Findings<'_>),
}

const fn must(
    id: &'static str,
    sentence: &'static str,
    reads: &'static [&'static str],
    check: fn(&Spec, &mut Findings<'_>),
) -> Invariant {
    Invariant { rule: Rule { id, sentence, severity: Severity::Error }, reads, check }
}

const fn should(
    id: &'static str,
    sentence: &'static str,
    reads: &'static [&'static str],
    check: fn(&Spec, &mut Findings<'_>),
) -> Invariant {
    Invariant { rule: Rule { id, sentence, severity: Severity::Warning }, reads, check }
}

/// All invariants, by group.
pub static GROUPS: &[(&str, &[Invariant])] = &[
    ("The substrate", substrate::RULES),
    ("Nodes and disks", nodes::RULES),
    ("The underlay", underlay::RULES),
    ("Devices and addresses of the underlay", interfaces::RULES),
    ("Planes and policy", planes::RULES),
    ("Trust and operators", trust::RULES),
    ("Storage, Kubernetes, acceptance", platform::RULES),
];

/// Collects the problems that an invariant finds.
pub struct Findings<'a> {
    rule: &'static Rule,
    tree: &'a Node,
    /// Whether the spec is built with the published demo keys.
    demo_keys: bool,
    problems: &'a mut Vec<Problem>,
}

impl Findings<'_> {
    /// Reports a violation of the rule at a path.
    fn at(&mut self, path: &[Step], message: impl Into<String>, help: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(self.rule.at(self.tree.locate(path), message).help(help));
        }
    }

    /// Reports a duplicate. The message gives the line of the first one, unless both are in the same line.
    fn again(&mut self, path: &[Step], first: &[Step], message: impl Into<String>, help: impl Into<String>) {
        let (here, there) = (self.tree.locate(path), self.tree.locate(first));
        let mut message = message.into();
        if here.line != there.line {
            message.push_str(&format!("; the first one is in line {}", there.line));
        }
        self.at(path, message, help);
    }
}

/// Runs every invariant that reads no refused value.
pub fn check(
    spec: &ClusterSpec,
    tree: &Node,
    refused: &Refused,
    demo_keys: bool,
    problems: &mut Vec<Problem>,
) {
    // The number of patterns does not grow with the number of wrong nodes, so this stays linear.
    let refused: HashSet<String> = refused.iter().map(|path| pattern(path)).collect();
    for invariant in GROUPS.iter().flat_map(|(_, invariants)| *invariants) {
        if invariant.reads.iter().any(|read| refused.iter().any(|bad| touches(bad, read))) {
            continue;
        }
        let mut findings = Findings { rule: &invariant.rule, tree, demo_keys, problems };
        (invariant.check)(&spec.spec, &mut findings);
    }
}

/// A path without its indices.
fn pattern(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(_) => text.push_str("[]"),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(if text == "spec.networking.planes." { "*" } else { key });
            }
        }
    }
    text
}

/// Whether two paths are equal, or one of them contains the other.
fn touches(a: &str, b: &str) -> bool {
    let above = |a: &str, b: &str| {
        b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    a.is_empty() || above(a, b) || above(b, a)
}

/// A path from its steps.
macro_rules! at_path {
    ($($step:expr),+ $(,)?) => { [$($crate::yaml::Step::from($step)),+] };
}
use at_path as path;

fn nodes(spec: &Spec) -> impl Iterator<Item = (usize, &NodeSpec)> {
    spec.nodes.inventory.iter().enumerate()
}

fn control_planes(spec: &Spec) -> usize {
    nodes(spec).filter(|(_, node)| node.role == Role::ControlPlane).count()
}

fn workers(spec: &Spec) -> usize {
    nodes(spec).filter(|(_, node)| node.role == Role::Worker).count()
}

/// Names in a list, separated by commas.
fn list(names: impl IntoIterator<Item = impl ToString>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// Every item whose key occurred earlier in the list, with the index of the first occurrence.
fn repeated<K: std::hash::Hash + Eq>(items: impl Iterator<Item = (usize, K)>) -> Vec<(usize, usize)> {
    let mut seen = std::collections::HashMap::new();
    let mut again = Vec::new();
    for (index, key) in items {
        match seen.entry(key) {
            std::collections::hash_map::Entry::Occupied(first) => again.push((index, *first.get())),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(index);
            }
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_path_touches_its_parents_and_children() {
        let bad = pattern(&path!["spec", "nodes", "inventory", 3_usize, "role"]);
        assert_eq!(bad, "spec.nodes.inventory[].role");
        assert!(touches(&bad, "spec.nodes.inventory[].role"));
        assert!(touches(&bad, "spec.nodes"));
        assert!(touches("spec.nodes", &bad));
        assert!(!touches(&bad, "spec.nodes.inventory[].name"));
        assert!(!touches("spec.nodes.inventory[].ro", &bad));
    }
}
