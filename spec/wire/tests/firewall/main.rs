//! Requirements N3, N4: the table of a node decides on every packet as the policy of the specification does, and every rule
//! is hit from both sides.
//!
//! `policy.rs` states the policy a second time, on packets and with its own arithmetic for address ranges; it uses nothing
//! of the library's rules. `clusters.rs` draws clusters, `packets.rs` draws packets at the borders of ranges.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of test functions"
)]

mod clusters;
mod decisions;
mod draw;
mod packets;
mod policy;
mod refusals;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use kubedos_wire::firewall::{Rule, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use clusters::Cluster;
use draw::Draw;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_table_decides_as_the_policy_does(cluster in clusters::clusters(), draws in prop::collection::vec(draw::draws(24), 50)) {
        let ruleset = cluster.ruleset();
        for mut draw in draws {
            let (hook, packet) = packets::packet(&cluster, &mut draw);
            let decision = ruleset.evaluate(hook, &packet);
            let rule = decision.rule.map(|rule| &rule.name);
            prop_assert_eq!(decision.verdict, policy::verdict(&cluster, hook, &packet), "{:?} {:?} by {:?}", hook, packet, rule);
        }
    }

    #[test]
    fn names_and_comments_are_unique_and_valid_in_nft(cluster in clusters::clusters()) {
        let ruleset = cluster.ruleset();
        prop_assert_eq!(&ruleset, &cluster.ruleset());
        let names: BTreeSet<&str> = ruleset.rules().map(|rule| rule.name.as_str()).collect();
        prop_assert_eq!(names.len(), ruleset.rules().count());
        for name in names {
            // `string` in the scanner of nft(8); a name with a dot is no keyword.
            prop_assert!(name.contains('.') && name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)), "{name}");
        }
        for chain in &ruleset.chains {
            let comments: BTreeSet<&str> = chain.rules.iter().map(|rule| rule.comment.as_str()).collect();
            prop_assert_eq!(comments.len(), chain.rules.len());
            // NFTNL_UDATA_COMMENT_MAXLEN of libnftnl.
            prop_assert!(comments.iter().all(|comment| comment.len() < 128 && !comment.contains('"')));
        }
    }
}

/// What happened to a rule: packets that it decided, and packets that missed one of its conditions and got the other verdict.
#[derive(Default)]
struct Seen {
    decided: u32,
    missed: u32,
}

/// How many conditions of the rule the packet misses.
fn missing(rule: &Rule, packet: &kubedos_wire::firewall::Packet) -> usize {
    let conditions = rule.matches.iter().filter(|condition| !condition.holds(packet)).count();
    conditions + usize::from(rule.limit.is_some() && packet.over_limit)
}

fn exercise(cluster: &Cluster, packets: usize) -> BTreeMap<String, Seen> {
    let ruleset = cluster.ruleset();
    let mut seen: BTreeMap<String, Seen> =
        ruleset.rules().map(|rule| (rule.name.clone(), Seen::default())).collect();
    let mut runner = TestRunner::deterministic();
    for _ in 0..packets {
        let mut draw = Draw::random(runner.rng(), 24);
        let (hook, packet) = packets::packet(cluster, &mut draw);
        let decision = ruleset.evaluate(hook, &packet);
        assert_eq!(decision.verdict, policy::verdict(cluster, hook, &packet), "{hook:?} {packet:?}");
        match decision.rule {
            Some(rule) => seen.get_mut(&rule.name).unwrap().decided += 1,
            None => assert_eq!(decision.verdict, Verdict::Accept, "input and forward end with a rule"),
        }
        let chain = ruleset.chains.iter().find(|chain| chain.hook == hook).unwrap();
        for rule in &chain.rules {
            if rule.verdict != decision.verdict && missing(rule, &packet) == 1 {
                seen.get_mut(&rule.name).unwrap().missed += 1;
            }
        }
    }
    seen
}

#[test]
fn every_rule_decides_packets_and_is_missed_by_one_condition() {
    for cluster in clusters::covering() {
        let ruleset = cluster.ruleset();
        let seen = exercise(&cluster, 60_000);
        for rule in ruleset.rules() {
            let Seen { decided, missed } = seen[&rule.name];
            assert!(decided > 0, "{}: decided no packet ({:?})", rule.name, cluster.role);
            assert!(
                missed > 0 || rule.matches.is_empty(),
                "{}: no near miss ({:?})",
                rule.name,
                cluster.role
            );
        }
    }
}
