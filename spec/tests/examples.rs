//! The examples validate, and the founding example gets exactly its diagnostics (requirement S1).

use kubedos_spec::allocation::Allocation;
use kubedos_spec::check::{Raw, Severity};
use kubedos_spec::node::{ClusterDocument, PublicTrust, Shard};

const EXAMPLES: [(&str, &str); 4] = [
    ("founding", include_str!("../../examples/founding.yaml")),
    ("ha", include_str!("../../examples/ha.yaml")),
    ("lab", include_str!("../../examples/lab.yaml")),
    ("bare-metal", include_str!("../../examples/bare-metal.yaml")),
];

#[test]
fn the_founding_example_has_exactly_its_three_flaws() {
    let source = include_bytes!("founding-original.yaml");
    let problems = Raw::new(source).validate().unwrap_err();
    let errors: Vec<_> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| (problem.at.line, problem.at.column, problem.rule))
        .collect();
    assert_eq!(errors, [(87, 22, "fingerprint"), (112, 14, "pinned-version"), (114, 29, "ha-replicas")]);
}

#[test]
fn the_mended_founding_example_differs_in_the_flawed_lines_only() {
    let original = include_str!("founding-original.yaml");
    let mended = EXAMPLES[0].1;
    let changed: Vec<usize> = original
        .lines()
        .zip(mended.lines())
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(at, _)| at + 1)
        .collect();
    assert_eq!(changed, [87, 112, 114]);
    assert_eq!(original.lines().count(), mended.lines().count());
}

#[test]
fn every_example_validates_plans_and_its_documents_read_back() {
    let trust = PublicTrust {
        cluster_id: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap(),
        seed_keys: Vec::new(),
        demo_keys: true,
    };
    for (name, source) in EXAMPLES {
        let validated = match Raw::new(source.as_bytes()).validate() {
            Ok(validated) => validated,
            Err(problems) => panic!("{name}: {problems:#?}"),
        };
        let plan = validated.plan(&Allocation::empty(validated.spec().metadata.name.clone())).unwrap();
        let shards: Vec<_> = plan.shards().collect();
        assert_eq!(shards.len(), validated.spec().spec.nodes.inventory.len(), "{name}");
        for (_, shard) in shards {
            assert!(shard.system_disk().is_some(), "{name}");
            assert_eq!(Shard::parse(&shard.to_toml().unwrap()).unwrap(), shard, "{name}");
        }
        let document = plan.cluster_document(&trust);
        assert_eq!(ClusterDocument::parse(&document.to_toml().unwrap()).unwrap(), document, "{name}");
    }
}
