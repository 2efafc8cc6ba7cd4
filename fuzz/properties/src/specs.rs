//! The ClusterSpec, from text to plan.

use kubedos_spec::allocation::Allocation;
use kubedos_spec::check::{MAX_PROBLEMS, Raw, Severity};
use kubedos_spec::plan::ClusterPlan;
use kubedos_spec::yaml::{self, Content, MAX_DEPTH, Node, Place};
use kubedos_wire::node::{ClusterDocument, PublicTrust, Shard};

use crate::frugal::{Most, frugal};
use crate::{Seed, Target, keys};

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "yaml", property: yaml, seeds: yaml_seeds, mutants: 50_000 },
    Target { name: "cluster_spec", property: cluster_spec, seeds: cluster_spec_seeds, mutants: 5000 },
];

/// A tree has a limited depth and no duplicate key, and every value and problem has a place in the text.
fn yaml(input: &[u8]) {
    // The node of a value is much larger than its one or two characters. While the text is read, its tokens also take memory.
    let most = Most { factor: 512, constant: 64 << 10 };
    let (tree, problems) = frugal(most, input.len(), || yaml::read(input));
    assert!(tree.is_some() || !problems.is_empty());
    let lines = 1 + input.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u32;
    for problem in &problems {
        stands_in(problem.at, lines);
    }
    if let Some(tree) = tree {
        bounded(&tree, 1, lines);
    }
}

fn stands_in(at: Place, lines: u32) {
    assert!((1..=lines + 1).contains(&at.line) && at.column >= 1, "{at:?} of {lines} lines");
}

fn bounded(node: &Node, depth: usize, lines: u32) {
    assert!(depth <= MAX_DEPTH + 1, "depth {depth}");
    stands_in(node.at, lines);
    match &node.content {
        Content::List(list) => list.iter().for_each(|item| bounded(item, depth + 1, lines)),
        Content::Map(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                assert!(entries[..index].iter().all(|earlier| earlier.key != entry.key));
                stands_in(entry.key_at, lines);
                bounded(&entry.value, depth + 1, lines);
            }
        }
        _ => {}
    }
}

fn yaml_seeds() -> Vec<Seed> {
    let text = "# note\na: {b: [1, 0x1f, 1e3, ~, true], \"c\": 'd'}\ne:\n  - f: |\n      two\n      lines\n  - >-\n    folded\n? g\n: h\n";
    let refused = "a: &x 1\nb: *x\nc: !tag d\na: 2\n";
    vec![("every-kind", text.into()), ("refused-kinds", refused.into())]
}

/// A valid spec has a plan unless its numbers cannot be assigned. Round trip: the documents of the plan are written and read again, and
/// are equal. An invalid spec has at least one error; each problem has a position inside the file, and the shape check reports everything
/// that serde cannot parse.
fn cluster_spec(input: &[u8]) {
    let lines = 1 + input.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u32;
    let validated = match Raw::new(input).with_demo_keys().validate() {
        Ok(validated) => validated,
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            assert!(problems.len() <= MAX_PROBLEMS);
            for problem in &problems {
                stands_in(problem.at, lines);
                assert!(!problem.message.starts_with("failed to parse the spec"), "{}", problem.message);
            }
            return;
        }
    };
    assert!(validated.warnings().iter().all(|problem| problem.severity == Severity::Warning));
    let Ok(plan) = validated.plan(&Allocation::empty(validated.spec().metadata.name.clone())) else { return };
    for (_, shard) in plan.shards() {
        assert_eq!(Shard::parse(&shard.to_toml().unwrap()).unwrap(), shard);
    }
    let cluster = plan.cluster_document(&trust());
    assert_eq!(ClusterDocument::parse(&cluster.to_toml().unwrap()).unwrap(), cluster);
}

fn cluster_spec_seeds() -> Vec<Seed> {
    vec![
        ("lab.yaml", example("lab").into_bytes()),
        ("bare-metal.yaml", example("bare-metal").into_bytes()),
        ("founding.yaml", example("founding").into_bytes()),
    ]
}

/// One of the project's examples.
pub(crate) fn example(name: &str) -> String {
    std::fs::read_to_string(crate::project().join("examples").join(format!("{name}.yaml"))).unwrap()
}

/// The plan of a spec that validates.
pub(crate) fn plan_of(spec: &str) -> ClusterPlan {
    let validated = Raw::new(spec.as_bytes()).with_demo_keys().validate().unwrap();
    validated.plan(&Allocation::empty(validated.spec().metadata.name.clone())).unwrap()
}

/// The public trust of a cluster.
pub(crate) fn trust() -> PublicTrust {
    PublicTrust {
        cluster_id: keys::cluster_id("lab").to_string().parse().unwrap(),
        seed_keys: Vec::new(),
        demo_keys: true,
    }
}
