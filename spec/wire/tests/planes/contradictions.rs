//! Documents that contradict each other give no plane.

use kubedos_wire::node::{ClusterDocument, PlanePurpose, Role, Roster, Shard};
use kubedos_wire::planes::wanted;
use kubedos_wire::value::PlaneId;

use crate::clusters::{key, small};

fn id(plane: &str) -> PlaneId {
    plane.parse().unwrap()
}

type Change = fn(&mut Shard, &mut ClusterDocument, &mut Roster);

fn refusal(change: Change) -> String {
    let cluster = small();
    let (mut shard, mut document, mut roster) =
        (cluster.shard(&cluster.nodes[0]), cluster.document(), cluster.roster());
    wanted(&shard, &document, &roster).unwrap();
    change(&mut shard, &mut document, &mut roster);
    kubedos_wire::printable::chain(&wanted(&shard, &document, &roster).unwrap_err())
}

#[test]
fn documents_of_different_configurations_are_refused() {
    let changes: [(&str, Change); 8] = [
        ("the roster has generation 2, but the shard has generation 3", |_, _, roster| roster.generation = 2),
        ("the cluster document has generation 4", |_, cluster, _| cluster.generation = 4),
        ("generation 3, but the shard has generation 5", |shard, _, _| shard.generation = 5),
        ("the roster has 1 nodes, but the cluster has 2", |_, _, roster| drop(roster.nodes.pop())),
        ("do not agree about the MTU of the plane wg2", |_, cluster, _| {
            cluster.planes.get_mut(&id("wg2")).unwrap().mtu = 1440;
        }),
        ("do not agree about the plane wg3", |_, cluster, _| {
            cluster.planes.get_mut(&id("wg3")).unwrap().port = 51900;
        }),
        ("the planes wg1 and wg2 overlap", |shard, cluster, _| {
            let cidr = "10.100.0.0/14".parse().unwrap();
            cluster.planes.get_mut(&id("wg2")).unwrap().cidr = cidr;
            shard.planes.get_mut(&id("wg2")).unwrap().cidr = cidr;
        }),
        ("do not agree about the plane wg2", |shard, _, _| {
            assert!(shard.planes.remove(&id("wg2")).is_some())
        }),
    ];
    for (says, change) in changes {
        assert!(refusal(change).contains(says), "{says}: {}", refusal(change));
    }
}

#[test]
fn a_node_with_other_values_in_the_roster_is_refused() {
    let shard_says = "the roster and the shard do not agree about the node node-1";
    let cluster_says = "the roster and the cluster document do not agree about the node node-";
    let changes: [(&str, Change); 14] = [
        (shard_says, |_, _, roster| roster.nodes[0].node = "other".parse().unwrap()),
        (shard_says, |_, _, roster| roster.nodes[0].role = Role::Worker),
        (shard_says, |_, _, roster| roster.nodes[0].endpoint = None),
        (shard_says, |shard, _, _| shard.id = 3.try_into().unwrap()),
        (shard_says, |shard, _, _| {
            shard.planes.get_mut(&id("wg1")).unwrap().member = "10.101.0.9".parse().unwrap();
        }),
        (cluster_says, |_, cluster, _| cluster.control_planes.clear()),
        (cluster_says, |_, cluster, _| cluster.control_planes[0].endpoint = None),
        (cluster_says, |_, cluster, _| {
            cluster.control_planes[0].members.remove(&id("wg1")).unwrap();
        }),
        (cluster_says, |_, cluster, _| cluster.control_planes[0].node = "node-9".parse().unwrap()),
        // The worker becomes a control plane, to which operators and all workers would connect.
        (cluster_says, |_, _, roster| roster.nodes[1].role = Role::ControlPlane),
        ("node node-2 on exactly the planes", |_, _, roster| {
            assert!(roster.nodes[1].planes.remove(&id("wg3")).is_some())
        }),
        ("node node-2 on exactly the planes", |_, _, roster| {
            let member = "10.104.0.2".parse().unwrap();
            let plane = kubedos_wire::node::RosterPlane { key: key("more"), member };
            roster.nodes[1].planes.insert("wg4".parse().unwrap(), plane);
        }),
        // In the range of members, but not the address of the id.
        ("10.102.0.3 of the node node-2 on the plane wg2", |_, _, roster| {
            roster.nodes[1].planes.get_mut(&id("wg2")).unwrap().member = "10.102.0.3".parse().unwrap();
        }),
        // A birth address, for which the firewall has other rules.
        ("10.102.0.130 of the node node-2 on the plane wg2", |_, _, roster| {
            roster.nodes[1].planes.get_mut(&id("wg2")).unwrap().member = "10.102.0.130".parse().unwrap();
        }),
    ];
    for (says, change) in changes {
        assert!(refusal(change).contains(says), "{says}: {}", refusal(change));
    }
}

/// A roster in memory has not passed the reader.
#[test]
fn a_roster_with_a_key_twice_is_refused() {
    let says = refusal(|_, _, roster| {
        let stolen = roster.nodes[0].planes[&id("wg1")].key;
        roster.nodes[1].planes.get_mut(&id("wg1")).unwrap().key = stolen;
    });
    assert!(says.contains("the roster cannot be used") && says.contains("the key "), "{says}");
}

#[test]
fn an_operator_with_an_address_or_key_of_another_peer_is_refused() {
    let changes: [(&str, Change); 10] = [
        ("do not have the same operators", |_, _, roster| roster.operators.clear()),
        ("do not have the same operators", |_, cluster, _| cluster.operators.clear()),
        ("do not have the same operators", |_, cluster, _| {
            let again = cluster.operators[0].clone();
            cluster.operators.push(again);
        }),
        ("the operator operator-0 has the key of a node", |_, cluster, roster| {
            cluster.operators[0].wireguard_key = roster.nodes[1].planes[&id("wg3")].key;
        }),
        ("the operator operator-0 has the key of a node", |_, cluster, roster| {
            let mut bytes = *roster.nodes[1].planes[&id("wg1")].key.bytes();
            bytes[31] |= 0x80;
            cluster.operators[0].wireguard_key = kubedos_wire::value::WireguardKey::new(bytes);
        }),
        ("10.101.0.130 of the operator operator-0", |_, _, roster| {
            *roster.operators.values_mut().next().unwrap() = "10.101.0.130".parse().unwrap();
        }),
        ("10.102.0.9 of the operator operator-0", |_, _, roster| {
            *roster.operators.values_mut().next().unwrap() = "10.102.0.9".parse().unwrap();
        }),
        ("10.101.0.0 of the operator operator-0", |_, _, roster| {
            *roster.operators.values_mut().next().unwrap() = "10.101.0.0".parse().unwrap();
        }),
        ("the address 10.101.0.2 twice", |_, _, roster| {
            *roster.operators.values_mut().next().unwrap() = "10.101.0.2".parse().unwrap();
        }),
        ("not exactly one plane with the purpose `control`", |shard, cluster, _| {
            cluster.planes.get_mut(&id("wg2")).unwrap().purpose = PlanePurpose::Control;
            shard.planes.get_mut(&id("wg2")).unwrap().purpose = PlanePurpose::Control;
        }),
    ];
    for (says, change) in changes {
        assert!(refusal(change).contains(says), "{says}: {}", refusal(change));
    }
}
