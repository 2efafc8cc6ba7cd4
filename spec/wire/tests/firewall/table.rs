//! The text of a table, and properties of it that no packet shows.

use kubedos_wire::firewall::{LISTENERS, Listener, TABLE};
use kubedos_wire::node::{PlanePurpose, Role};

use crate::clusters;

#[test]
fn the_text_replaces_its_own_table_only() {
    for cluster in clusters::covering() {
        let text = cluster.ruleset().to_string();
        let tables: Vec<&str> = text.lines().filter(|line| line.contains("table ")).collect();
        let own = format!("table inet {TABLE}");
        assert_eq!(tables, [own.clone(), format!("delete {own}"), format!("{own} {{")]);
        assert!(!text.contains("flush") && !text.contains('\t'), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}

#[test]
fn every_rule_counts_by_its_own_declared_counter() {
    for cluster in clusters::covering() {
        let ruleset = cluster.ruleset();
        let text = ruleset.to_string();
        for rule in ruleset.rules() {
            assert_eq!(
                text.matches(&format!("    counter {} {{ }}\n", rule.name)).count(),
                1,
                "{}",
                rule.name
            );
            assert_eq!(text.matches(&format!("counter name \"{}\" ", rule.name)).count(), 1, "{}", rule.name);
        }
    }
}

/// The list of listeners is part of the policy: a change of it must change this test and `docs/firewall.md`.
#[test]
fn time_is_the_only_listener_of_this_version() {
    let time = Listener {
        name: "time",
        purpose: PlanePurpose::Control,
        role: Some(Role::ControlPlane),
        ports: "123/udp".parse().unwrap(),
    };
    assert_eq!(LISTENERS, [time]);
}

/// Port ranges that overlap or touch are joined, because nft(8) refuses overlapping ranges in a set.
#[test]
fn port_ranges_are_joined() {
    let mut cluster = clusters::covering().remove(0);
    cluster.allow[0].ports =
        vec!["2393/tcp", "2391/tcp", "2380-2390/tcp", "2379-2380/tcp", "1/tcp", "65535/tcp"];
    let text = cluster.ruleset().to_string();
    assert!(text.contains("tcp dport { 1, 2379-2391, 2393, 65535 } \\\n"), "{text}");
}
