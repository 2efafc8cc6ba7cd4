//! A plan is a function of the spec and the recorded numbers; addresses are in their ranges, peers are mutual, and the stages have
//! a fixed order (requirements N2, S2, S3).

use std::collections::BTreeSet;

use kubedos_spec::allocation::Allocation;
use kubedos_spec::check::Raw;
use kubedos_spec::plan::{ClusterPlan, Party, PlannedNode};
use kubedos_wire::firewall::{Hook, Packet, State, Transport, Verdict};
use kubedos_wire::node::{Role, Shard};
use kubedos_wire::value::Protocol;
use proptest::prelude::*;
use serde_json::Value;

use crate::generate;

fn plan(spec: &Value, recorded: Option<&Allocation>) -> ClusterPlan {
    let validated = Raw::new(spec.to_string().as_bytes()).validate().unwrap();
    let empty = Allocation::empty(validated.spec().metadata.name.clone());
    validated.plan(recorded.unwrap_or(&empty)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_spec_gives_the_same_plan(spec in generate::specs()) {
        let (a, b) = (plan(&spec, None), plan(&spec, None));
        prop_assert_eq!(a.document(), b.document());
        prop_assert_eq!((a.tables(), a.dot(), a.svg()), (b.tables(), b.dot(), b.svg()));
    }

    #[test]
    fn the_order_of_nodes_does_not_matter_once_ids_are_recorded(spec in generate::specs(), turn in 0_usize..9) {
        let first = plan(&spec, None);
        let recorded = &first.assignment().allocation;
        let mut turned = spec.clone();
        let inventory = turned["spec"]["nodes"]["inventory"].as_array_mut().unwrap();
        let length = inventory.len();
        inventory.rotate_left(turn % length);
        inventory.reverse();
        let (a, b) = (plan(&spec, Some(recorded)), plan(&turned, Some(recorded)));
        prop_assert_eq!(a.document(), b.document());
        prop_assert_eq!(a.shards().collect::<Vec<_>>(), b.shards().collect::<Vec<_>>());
    }

    #[test]
    fn addresses_are_unique_and_inside_their_ranges(spec in generate::specs()) {
        let plan = plan(&spec, None);
        for (name, plane) in plan.planes() {
            let mut seen = BTreeSet::new();
            for node in plan.nodes() {
                let (member, birth) = (plane.member(node.id).unwrap(), plane.birth(node.id).unwrap());
                prop_assert!(plane.members.contains(member) && plane.cidr.contains(member));
                prop_assert!(plane.births.contains(birth) && plane.cidr.contains(birth));
                for edge in [plane.members.network(), plane.members.last(), plane.births.network(), plane.births.last()] {
                    prop_assert!(member != edge && birth != edge, "{name}: {edge}");
                }
                prop_assert!(seen.insert(member) && seen.insert(birth), "{name}: {member}, {birth}");
            }
        }
    }

    #[test]
    fn peers_are_mutual_and_counted(spec in generate::specs()) {
        let plan = plan(&spec, None);
        for name in plan.planes().keys() {
            let pairs: BTreeSet<_> = plan
                .nodes()
                .iter()
                .flat_map(|node| plan.peers(node, name).map(move |peer| (&node.name, peer.node)))
                .collect();
            for (a, b) in &pairs {
                prop_assert!(a != b && pairs.contains(&(*b, *a)), "{name}: {a} has the peer {b}");
            }
            for node in plan.nodes() {
                prop_assert_eq!(plan.peers(node, name).count(), plan.peer_count(node, name));
                // Every node reaches every control plane on every plane (requirement N1).
                for control_plane in plan.control_planes().filter(|other| other.id != node.id) {
                    prop_assert!(pairs.contains(&(&node.name, &control_plane.name)));
                }
            }
        }
    }

    #[test]
    fn every_shard_round_trips(spec in generate::specs()) {
        let plan = plan(&spec, None);
        prop_assert_eq!(plan.shards().count(), plan.nodes().len());
        for (_, shard) in plan.shards() {
            prop_assert!(shard.system_disk().is_some());
            prop_assert_eq!(Shard::parse(&shard.to_toml().unwrap()).unwrap(), shard);
        }
    }

    #[test]
    fn every_node_of_a_valid_spec_has_a_firewall(spec in generate::specs()) {
        let plan = plan(&spec, None);
        let firewalls = plan.firewalls(plan.nodes()).unwrap();
        prop_assert_eq!(firewalls.len(), plan.nodes().len());
        for (node, firewall) in plan.nodes().iter().zip(&firewalls) {
            prop_assert_eq!(&node.name, &firewall.node);
            for index in 0..plan.policy().len() {
                let name = format!("input.allow.{index}.tcp");
                prop_assert!(firewall.rules().any(|rule| rule.name == name), "{name}");
            }
        }
    }

    /// Requirements N3, N4: the drawing shows every connection between peers that their firewalls accept.
    #[test]
    fn every_accepted_connection_between_nodes_is_drawn(
        spec in generate::specs(),
        port in prop_oneof![Just(123_u16), Just(6443), Just(7444), 1..=u16::MAX],
        protocol in prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
    ) {
        let plan = plan(&spec, None);
        let party = |node: &PlannedNode| match node.role {
            Role::ControlPlane => Party::ControlPlanes,
            Role::Worker => Party::Workers,
        };
        let firewalls = plan.firewalls(plan.nodes()).unwrap();
        let rules = |node: &PlannedNode| firewalls.iter().find(|rules| rules.node == node.name).unwrap();
        let transports = [
            Transport::Ports { protocol, source: 50_000, destination: port },
            Transport::Icmp(8),
            Transport::Icmp(128),
            Transport::Other,
        ];
        for band in plan.flows().unwrap() {
            let Some((id, plane)) = band.plane else { continue };
            for to in plan.nodes() {
                for peer in plan.peers(to, id) {
                    let from = plan.node(peer.node.as_str()).unwrap();
                    for (destination, transport) in
                        plan.planes().values().flat_map(|other| transports.map(|it| (other.member(to.id).unwrap(), it)))
                    {
                        let source = plane.member(from.id).unwrap();
                        if source.is_ipv4() != destination.is_ipv4() {
                            continue;
                        }
                        let packet = Packet {
                            input: Some(id.to_string()), output: None, source, destination, hop_limit: 64, transport,
                            state: State::New, over_limit: false,
                        };
                        let sent = Packet { input: None, output: Some(id.to_string()), ..packet.clone() };
                        let decision = rules(to).evaluate(Hook::Input, &packet);
                        let passes = decision.verdict == Verdict::Accept
                            && rules(from).evaluate(Hook::Output, &sent).verdict == Verdict::Accept;
                        let Some(rule) = decision.rule.filter(|_| passes) else { continue };
                        let drawn = band.rows.iter().any(|row| {
                            ((row.from, row.to) == (party(from), party(to))
                                || row.both && (row.to, row.from) == (party(from), party(to)))
                                && row.services.iter().any(|service| service.rule == rule.name)
                        });
                        prop_assert!(drawn, "{} over {id} to {}: {}", from.name, to.name, rule.name);
                    }
                }
            }
        }
    }

    #[test]
    fn a_spec_has_no_difference_from_itself_and_differences_are_symmetric(spec in generate::specs(), other in generate::specs()) {
        let validated = |spec: &Value| Raw::new(spec.to_string().as_bytes()).validate().unwrap();
        let (a, b) = (validated(&spec), validated(&other));
        prop_assert_eq!(kubedos_spec::plan::changes(&a, &a), vec![]);
        let there = kubedos_spec::plan::changes(&a, &b);
        let back = kubedos_spec::plan::changes(&b, &a);
        prop_assert_eq!(there.len(), back.len());
        prop_assert_eq!(there.is_empty(), a.spec() == b.spec());
    }
}

#[test]
fn the_eight_stages_have_a_fixed_order() {
    let spec = serde_json::from_str::<Value>(
        r#"{"apiVersion":"kubedos.ca/v1alpha1","kind":"Cluster","metadata":{"name":"one","artifactVersion":"0.1.0"},
        "spec":{"substrate":{"type":"cloud"},"nodes":{"inventory":[{"name":"cp-1","role":"control-plane","disks":[{"sizeGiB":32}]}]},
        "networking":{"planes":{"wg1":{"cidr":"10.101.0.0/24","purpose":"control"},"wg2":{"cidr":"10.102.0.0/24","purpose":"observability"},
        "wg3":{"cidr":"10.103.0.0/24","purpose":"kubernetes-backend"}}},"security":{"bootstrap":{"model":"offline-ca"}}}}"#,
    )
    .unwrap();
    let document = plan(&spec, None).document();
    let names: Vec<_> = document.stages.iter().map(|stage| stage.name).collect();
    assert_eq!(
        names,
        [
            "Validate Spec",
            "Provision Substrate",
            "First Boot",
            "Backplanes Up",
            "Discovery / Enrollment",
            "Converge Platform Roles",
            "Bring Up Reference Workload",
            "Seal"
        ]
    );
    let json = serde_json::to_value(&document.stages).unwrap();
    for stage in json.as_array().unwrap() {
        for key in ["place", "rerun"] {
            assert!(stage[key].is_string(), "{stage}");
        }
    }
    let destructive: Vec<_> =
        json.as_array().unwrap().iter().filter(|stage| stage["rerun"] == "destructive").collect();
    assert_eq!(destructive.len(), 1);
    assert_eq!(destructive[0]["name"], "First Boot");
}
