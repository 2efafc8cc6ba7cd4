//! Genesis: every state of three control planes, one of which the attacker has.
#![allow(clippy::unwrap_used)]

use kubedos_protocol_model::checker::search;
use kubedos_protocol_model::genesis::Genesis;
use kubedos_wire::membership::GenesisCheck;

#[test]
fn no_second_genesis_and_no_deadlock() {
    let report = search(&Genesis { losses: 2, ..Genesis::default() });
    println!(
        "genesis: {} states, {} steps, depth {}, {} good",
        report.states, report.steps, report.depth, report.good
    );
    assert!(report.violation.is_none(), "{}", report.violation.unwrap().text());
    assert!(report.stuck.is_none(), "{}", report.stuck.unwrap().text());
    assert!(report.good > 0);
}

#[test]
#[ignore = "takes minutes; for `make drill`"]
fn no_second_genesis_with_three_lost_disks() {
    let report = search(&Genesis { losses: 3, ..Genesis::default() });
    println!("genesis, 3 losses: {} states, depth {}", report.states, report.depth);
    assert!(report.violation.is_none(), "{}", report.violation.unwrap().text());
    assert!(report.stuck.is_none(), "{}", report.stuck.unwrap().text());
}

/// The rule of the first design. C forms the cluster with A, and later with B.
#[test]
fn genesis_by_quorum() {
    finds("genesis_by_quorum", &Genesis { by_quorum: true, ..Genesis::default() });
}

/// A control plane that does not remember its signature signs a root with the lost disk of another one, and later a
/// root with its new disk.
#[test]
fn genesis_signs_twice() {
    finds(
        "genesis_signs_twice",
        &Genesis { losses: 1, without: Some(GenesisCheck::Once), ..Genesis::default() },
    );
}

fn finds(name: &str, mutant: &Genesis) {
    let trace = search(mutant).violation.unwrap();
    println!("{name}: {}", trace.text());
    assert_eq!(trace.reason, "a second genesis of one lineage");
}
