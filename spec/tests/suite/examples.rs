//! The examples are valid, their ids are recorded, and their plans equal the golden files; the original of the example `founding`
//! gets exactly its diagnostics (requirements S1, S2, N2).

use std::fs;
use std::path::PathBuf;

use kubedos_spec::allocation::Allocation;
use kubedos_spec::check::{self, Raw, Severity, Validated};
use kubedos_spec::plan::ClusterPlan;
use kubedos_wire::node::{ClusterDocument, PublicTrust, Role, Shard};

use crate::golden;

/// Every spec in `examples/`, by its name.
fn examples() -> Vec<(String, PathBuf)> {
    let mut all: Vec<_> = fs::read_dir(golden::project("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    all.sort();
    assert!(all.len() >= 4, "{all:?}");
    all
}

fn validated(path: &PathBuf) -> Validated {
    let source = fs::read_to_string(path).unwrap();
    Raw::new(source.as_bytes()).with_demo_keys().validate().unwrap_or_else(|problems| {
        panic!("{}", check::render(&path.display().to_string(), &source, &problems, false))
    })
}

/// The plan with the ids that are recorded in the allocation file.
fn plan(path: &PathBuf) -> ClusterPlan {
    let recorded = fs::read_to_string(path.with_extension("alloc.toml")).unwrap();
    validated(path).plan(&Allocation::parse(&recorded).unwrap()).unwrap()
}

#[test]
fn the_original_founding_example_gets_its_exact_diagnostics() {
    let source = fs::read_to_string(golden::path("founding-original.yaml")).unwrap();
    let problems = Raw::new(source.as_bytes()).validate().unwrap_err();
    let errors: Vec<_> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| (problem.at.line, problem.at.column, problem.rule))
        .collect();
    assert_eq!(errors, [(87, 22, "fingerprint"), (112, 14, "pinned-version"), (114, 29, "ha-replicas")]);
    let text = check::render("founding-original.yaml", &source, &problems, false);
    golden::compare(&golden::path("golden/founding-original.txt"), &text);
}

#[test]
fn the_corrected_founding_example_differs_only_in_the_wrong_values() {
    let original = fs::read_to_string(golden::path("founding-original.yaml")).unwrap();
    let corrected = fs::read_to_string(golden::project("examples/founding.yaml")).unwrap();
    assert_eq!(original.lines().count(), corrected.lines().count());
    let mut changed = Vec::new();
    for (at, (old, new)) in original.lines().zip(corrected.lines()).enumerate().filter(|(_, (a, b))| a != b) {
        let key = |line: &str| line.split_once(": ").unwrap().0.to_owned();
        let comment = |line: &str| line.split_once(" #").map(|(_, comment)| comment.to_owned());
        assert_eq!((key(old), comment(old)), (key(new), comment(new)), "line {}", at + 1);
        changed.push(at + 1);
    }
    assert_eq!(changed, [87, 112, 114]);
}

#[test]
fn every_example_has_recorded_ids_and_its_documents_round_trip() {
    let trust = PublicTrust {
        cluster_id: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap(),
        seed_keys: Vec::new(),
        demo_keys: true,
    };
    for (name, path) in examples() {
        let plan = plan(&path);
        let assignment = plan.assignment();
        assert!(!assignment.changed && assignment.unrecorded.is_empty(), "{name}: {assignment:?}");
        let recorded = fs::read_to_string(path.with_extension("alloc.toml")).unwrap();
        assert_eq!(assignment.allocation.to_toml().unwrap(), recorded, "{name}");
        let shards: Vec<_> = plan.shards().collect();
        assert_eq!(shards.len(), plan.spec().spec.nodes.inventory.len(), "{name}");
        for (_, shard) in shards {
            assert!(shard.system_disk().is_some(), "{name}");
            assert_eq!(Shard::parse(&shard.to_toml().unwrap()).unwrap(), shard, "{name}");
        }
        let document = plan.cluster_document(&trust);
        assert_eq!(ClusterDocument::parse(&document.to_toml().unwrap()).unwrap(), document, "{name}");
    }
}

#[test]
fn the_plan_of_every_example_equals_its_golden_files() {
    for (name, path) in examples() {
        let plan = plan(&path);
        let file = |extension: &str| golden::path(&format!("golden/plan/{name}.{extension}"));
        golden::compare(&file("txt"), &plan.tables());
        golden::compare(&file("dot"), &plan.dot());
        golden::compare(&file("svg"), &plan.svg().unwrap());
        let document = serde_json::to_value(plan.document()).unwrap();
        golden::compare(&file("json"), &format!("{document:#}\n"));
        let first = plan.node_tables(&plan.nodes()[0]);
        golden::compare(&file("node.txt"), &first);
        for line in plan.tables().lines().chain(first.lines()) {
            assert!(line.chars().count() <= 80, "{name}: wider than a terminal: {line}");
        }
    }
}

/// Requirements N3, N4: the text for the first node, a control plane, and the last one, a worker; and once the data.
#[test]
fn the_firewalls_of_every_example_equal_their_golden_files() {
    for (name, path) in examples() {
        let plan = plan(&path);
        let nodes = [plan.nodes().first().unwrap(), plan.nodes().last().unwrap()];
        assert_eq!(nodes.map(|node| node.role), [Role::ControlPlane, Role::Worker], "{name}");
        let firewalls = plan.firewalls(nodes).unwrap();
        let file = |extension: &str| golden::path(&format!("golden/firewall/{name}.{extension}"));
        let texts: Vec<String> = firewalls.iter().map(ToString::to_string).collect();
        golden::compare(&file("nft"), &texts.join("\n"));
        if name == "lab" {
            let document = serde_json::json!({ "version": 1, "firewalls": firewalls });
            golden::compare(&file("json"), &format!("{document:#}\n"));
        }
    }
}

/// All nodes; and once the data.
#[test]
fn the_underlays_of_every_example_equal_their_golden_files() {
    for (name, path) in examples() {
        let plan = plan(&path);
        let underlays = plan.underlays(plan.nodes()).unwrap();
        let file = |extension: &str| golden::path(&format!("golden/underlay/{name}.{extension}"));
        let texts: Vec<String> = underlays.iter().map(ToString::to_string).collect();
        golden::compare(&file("txt"), &texts.join("\n"));
        if name == "lab" {
            let document = serde_json::json!({ "version": 1, "underlays": underlays });
            golden::compare(&file("json"), &format!("{document:#}\n"));
        }
    }
}

#[test]
fn every_example_lists_its_fields_that_are_not_in_this_version() {
    for (name, path) in examples() {
        let listed = plan(&path).not_in_this_version().to_vec();
        assert_eq!(validated(&path).not_in_this_version(), listed, "{name}");
        assert!(listed.iter().any(|row| row.path == "spec.networking.planes"), "{name}");
        let text = check::list_not_yet(&listed);
        assert!(listed.iter().all(|row| text.contains(row.path) && text.contains(row.what)), "{text}");
    }
}
