//! From bytes to a valid spec, or to everything that is wrong with them.
//!
//! Three passes, and one list of problems in the order of the file: the text ([`crate::yaml`]), the shape (against the JSON Schema that
//! the types emit), and the rules of the whole. A rule of the whole is left out when something that it reads is already refused, so that
//! one mistake is reported once; everything else still runs.

mod not_yet;
mod problem;
mod repair;
pub mod rule;
mod rules;
mod shape;

pub use not_yet::{NOT_YET, NotYet};
pub use problem::{MAX_PROBLEMS, Problem, Rule, Severity};

use std::collections::HashSet;

use crate::model::{self, ClusterSpec};
use crate::value;
use crate::yaml::{self, Node, Place, Step};

/// The bytes of a file that nobody has looked at.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a>(&'a [u8]);

/// A spec that keeps every rule; there is no other way to get one than [`Raw::validate`].
#[derive(Debug, Clone)]
pub struct Validated {
    spec: ClusterSpec,
    warnings: Vec<Problem>,
    not_yet: Vec<&'static NotYet>,
    node_places: Vec<Place>,
}

impl<'a> Raw<'a> {
    /// The bytes of a file.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Checks everything. On refusal: all problems, warnings included, in the order of the file.
    pub fn validate(self) -> Result<Validated, Vec<Problem>> {
        let (tree, mut problems) = yaml::read(self.0);
        let Some(tree) = tree else { return Err(sorted(problems)) };
        let schema = model::schema();
        let mut refused = HashSet::new();
        shape::check(&schema, &tree, &mut problems, &mut refused);
        let json = repair::repair(&schema, &tree, &refused);
        let spec: ClusterSpec = match serde_json::from_value(json) {
            Ok(spec) => spec,
            // The shape was checked against the schema of these very types, so this is the shape pass's own fault; it is still refused.
            Err(error) => {
                problems.push(rule::WRONG_KIND.at(tree.at, format!("the spec does not read: {error}")));
                return Err(sorted(problems));
            }
        };
        rules::check(&spec, &tree, &refused, &mut problems);
        let problems = sorted(problems);
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(problems);
        }
        let not_yet = not_yet::present(&tree);
        let node_places = node_places(&tree, spec.spec.nodes.inventory.len());
        Ok(Validated { spec, warnings: problems, not_yet, node_places })
    }
}

fn node_places(tree: &Node, count: usize) -> Vec<Place> {
    let list = ["spec", "nodes", "inventory"];
    let inventory = list.iter().try_fold(tree, |node, key| node.entry(key).map(|entry| &entry.value));
    let place =
        |index| inventory.map_or(Place::START, |list| list.locate(&[Step::Index(index), "name".into()]));
    (0..count).map(place).collect()
}

fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems
        .sort_by(|a, b| (a.at, a.severity, a.rule, &a.message).cmp(&(b.at, b.severity, b.rule, &b.message)));
    problems.dedup();
    problems.truncate(MAX_PROBLEMS);
    problems
}

impl Validated {
    /// The spec.
    pub const fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// What is valid and may not mean what its author wants.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// What the spec says and this version does not act on.
    pub fn not_in_this_version(&self) -> &[&'static NotYet] {
        &self.not_yet
    }

    /// Where a node's name stands in the file, by its index in the inventory.
    pub fn node_place(&self, index: usize) -> Place {
        self.node_places.get(index).copied().unwrap_or(Place::START)
    }
}

/// One line of the table of rules: id, sentence, what breaking it means.
pub type RuleLine = (&'static str, String, Severity);

/// A group of rules with its title.
pub type RuleGroup = (&'static str, Vec<RuleLine>);

/// Every rule that a spec must keep, by groups; the page `docs/invariants.md` is made of it.
pub fn all_rules() -> Vec<RuleGroup> {
    let plain = |rules: &[&'static Rule]| {
        rules.iter().map(|rule| (rule.id, rule.sentence.to_owned(), rule.severity)).collect::<Vec<_>>()
    };
    let used = |id: &str| !matches!(id, "ed25519-key" | "cluster-id");
    let values = value::KINDS
        .iter()
        .filter(|(rule, _)| used(rule.id))
        .map(|(rule, _)| (rule.id, format!("The value is {}.", rule.sentence), Severity::Error))
        .collect();
    let mut groups =
        vec![("The file", plain(rule::FILE)), ("The shape", plain(rule::SHAPE)), ("Single values", values)];
    for (title, invariants) in rules::GROUPS {
        let lines =
            invariants.iter().map(|i| (i.rule.id, i.rule.sentence.to_owned(), i.rule.severity)).collect();
        groups.push((title, lines));
    }
    groups.push(("Numbers", plain(crate::allocation::RULES)));
    groups
}

#[cfg(test)]
mod tests;
