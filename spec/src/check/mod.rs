//! Checks the bytes of a file: the result is a valid spec, or all problems.
//!
//! There are three passes, and one list of problems in the order of the file: the text ([`crate::yaml`]), the shape (against the
//! JSON Schema of the types), and the invariants between fields. An invariant is skipped if a value that it reads was already
//! refused, so that each mistake is reported once; all other invariants still run.

mod hint;
mod not_yet;
mod problem;
mod repair;
pub mod rule;
mod rules;
mod shape;

pub(crate) use hint::{choices, example, flow};
pub use not_yet::{NOT_YET, NotYet, list as list_not_yet, of_path as not_yet};
pub use problem::{MAX_PROBLEMS, Problem, Rule, Severity, counted, render};
pub(crate) use shape::resolve;

use std::collections::HashSet;

use crate::model::{self, ClusterSpec};
use crate::yaml::{self, Content, Node, Place, Step};
use kubedos_wire::value;

/// The version and the kind of the supported documents, as [`model::ApiVersion`] and [`model::Kind`] parse them.
const API_VERSION: &str = "kubedos.ca/v1alpha1";
const KIND: &str = "Cluster";

/// The unchecked bytes of a file.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    bytes: &'a [u8],
    demo_keys: bool,
}

/// A spec that satisfies every rule; only [`Raw::validate`] creates one.
#[derive(Debug, Clone)]
pub struct Validated {
    spec: ClusterSpec,
    warnings: Vec<Problem>,
    not_yet: Vec<&'static NotYet>,
    node_places: Vec<NodePlace>,
}

/// The positions of a node's name and id in the file.
#[derive(Debug, Clone, Copy)]
struct NodePlace {
    name: Place,
    id: Place,
}

impl<'a> Raw<'a> {
    /// The bytes of a file.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, demo_keys: false }
    }

    /// For a spec that is built with the published demo keys: also accepts the demo operator's key and the certificates of the
    /// demo keys. All other rules are unchanged.
    #[must_use]
    pub const fn with_demo_keys(self) -> Self {
        Self { demo_keys: true, ..self }
    }

    /// Checks everything. The error contains all problems, including warnings, in the order of the file.
    pub fn validate(self) -> Result<Validated, Vec<Problem>> {
        let (tree, mut problems) = yaml::read(self.bytes);
        let Some(tree) = tree else { return Err(sorted(problems)) };
        if tree.content == Content::Refused {
            return Err(sorted(problems)); // the whole document has a tag
        }
        if let Some((at, message)) = hint::foreign_document(&tree, API_VERSION, KIND) {
            // This schema does not apply to a document of a different kind or version.
            let help = format!("a ClusterSpec starts with `apiVersion: {API_VERSION}` and `kind: {KIND}`");
            problems.push(rule::UNKNOWN_VALUE.at(at, message).help(help));
            return Err(sorted(problems));
        }
        let schema = model::schema();
        let mut refused = HashSet::new();
        shape::check(schema, &tree, &mut problems, &mut refused);
        let json = repair::repair(schema, &tree, &refused);
        let spec: ClusterSpec = match serde_json::from_value(json) {
            Ok(spec) => spec,
            // Internal error: the shape was checked against the schema of the same types. The spec is still refused.
            Err(error) => {
                problems.push(rule::WRONG_KIND.at(tree.at, format!("failed to parse the spec: {error}")));
                return Err(sorted(problems));
            }
        };
        rules::check(&spec, &tree, &refused, self.demo_keys, &mut problems);
        let problems = sorted(problems);
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(problems);
        }
        let not_yet = not_yet::present(&tree);
        let node_places = node_places(&tree, spec.spec.nodes.inventory.len());
        Ok(Validated { spec, warnings: problems, not_yet, node_places })
    }
}

fn node_places(tree: &Node, count: usize) -> Vec<NodePlace> {
    let list = ["spec", "nodes", "inventory"];
    let inventory = list.iter().try_fold(tree, |node, key| node.entry(key).map(|entry| &entry.value));
    let place = |index: usize, key: &str| {
        inventory.map_or(Place::START, |list| list.locate(&[Step::Index(index), key.into()]))
    };
    (0..count).map(|index| NodePlace { name: place(index, "name"), id: place(index, "id") }).collect()
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

    /// Problems of a valid spec that may have an unwanted effect.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The fields of the spec that have no effect in this version.
    pub fn not_in_this_version(&self) -> &[&'static NotYet] {
        &self.not_yet
    }

    /// The position of a node's name in the file, by the node's index in the inventory.
    pub fn node_place(&self, index: usize) -> Place {
        self.node_places.get(index).map_or(Place::START, |place| place.name)
    }

    /// The position of a node's id, or that of the node if it declares no id.
    pub fn id_place(&self, index: usize) -> Place {
        self.node_places.get(index).map_or(Place::START, |place| place.id)
    }
}

/// One line of the table of rules: id, sentence, severity of a violation.
pub type RuleLine = (&'static str, String, Severity);

/// A group of rules with its title.
pub type RuleGroup = (&'static str, Vec<RuleLine>);

/// Every rule that a spec must satisfy, by group; `docs/invariants.md` is generated from this list.
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
