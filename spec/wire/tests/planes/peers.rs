//! Who is a peer of whom, and with which addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kubedos_wire::firewall::{Hook, LISTENERS, Packet, Ruleset, State, Transport, Verdict};
use kubedos_wire::node::{ClusterDocument, PlanePurpose, Role, Roster, Shard};
use kubedos_wire::planes::{KEEPALIVE, Peer, PeerName, WantedPlane, wanted};
use kubedos_wire::value::Cidr;
use proptest::prelude::*;

use crate::clusters::{self, CLUSTER, Cluster, Node, SHARD, key, small};
use crate::roster::ROSTER;

/// The documents of the release, as they are in a configuration volume.
#[test]
fn the_planes_of_the_golden_documents() {
    let (shard, cluster) = (Shard::parse(SHARD).unwrap(), ClusterDocument::parse(CLUSTER).unwrap());
    let planes = wanted(&shard, &cluster, &Roster::parse(ROSTER).unwrap()).unwrap();
    let peer = |name, key: &str, allowed: &str| Peer {
        name,
        key: key.parse().unwrap(),
        endpoint: None,
        keepalive: None,
        allowed: vec![allowed.parse().unwrap()],
    };
    let worker = PeerName::Node("w-1".parse().unwrap());
    let ada = PeerName::Operator("ada".parse().unwrap());
    let plane = WantedPlane {
        id: "wg1".parse().unwrap(),
        purpose: PlanePurpose::Control,
        port: 51820,
        mtu: 1440,
        address: "10.101.0.1".parse().unwrap(),
        cidr: "10.101.0.0/24".parse().unwrap(),
        peers: vec![
            peer(worker, "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=", "10.101.0.2/32"),
            peer(ada, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=", "10.101.0.126/32"),
        ],
    };
    assert_eq!(planes, [plane]);
}

/// A node sends keepalives to the peers that it can reach.
#[test]
fn a_node_without_an_endpoint_keeps_its_path_open() {
    let cluster = small();
    for plane in cluster.wanted(&cluster.nodes[1]) {
        assert_eq!(plane.peers[0].endpoint, Some(format!("192.0.2.1:{}", plane.port).parse().unwrap()));
        assert_eq!(plane.peers[0].keepalive, Some(KEEPALIVE));
    }
    for peer in cluster.wanted(&cluster.nodes[0]).iter().flat_map(|plane| &plane.peers) {
        assert_eq!((peer.endpoint, peer.keepalive), (None, None), "{}", peer.name);
    }
}

fn of<'p>(plane: &'p WantedPlane, node: &Node) -> Option<&'p Peer> {
    let name = PeerName::Node(node.name().parse().unwrap());
    plane.peers.iter().find(|peer| peer.name == name)
}

fn firewall(cluster: &Cluster, node: &Node) -> Ruleset {
    let document = cluster.document();
    Ruleset::new(&cluster.shard(node), &document.planes, &document.policy, LISTENERS).unwrap()
}

/// The name of the rule that decides about a new echo request, and the verdict.
fn echo(ruleset: &Ruleset, device: &str, source: IpAddr, destination: IpAddr) -> (String, Verdict) {
    let packet = Packet {
        input: Some(device.to_owned()),
        output: None,
        source,
        destination,
        hop_limit: 64,
        transport: Transport::Icmp(if source.is_ipv4() { 8 } else { 128 }),
        state: State::New,
        over_limit: false,
    };
    let decision = ruleset.evaluate(Hook::Input, &packet);
    (decision.rule.unwrap().name.clone(), decision.verdict)
}

fn first(range: &Cidr) -> IpAddr {
    range.network()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_address_and_no_key_belongs_to_two_peers(cluster in clusters::clusters()) {
        for node in &cluster.nodes {
            let planes = cluster.wanted(node);
            prop_assert_eq!(planes.len(), 3);
            for plane in &planes {
                let mut owners = BTreeMap::new();
                for peer in &plane.peers {
                    prop_assert!(!peer.allowed.is_empty());
                    for range in &peer.allowed {
                        prop_assert!(plane.cidr.covers(range) && !range.contains(plane.address));
                        prop_assert!(owners.keys().all(|other: &Cidr| !other.overlaps(range)), "{range}");
                        owners.insert(*range, &peer.name);
                    }
                }
                prop_assert!(plane.peers.windows(2).all(|two| two[0].key < two[1].key), "sorted, no key twice");
                prop_assert!(of(plane, node).is_none(), "a node is not its own peer");
            }
        }
    }

    /// One is a peer of the other if and only if the other is one of it, with the right key, address and endpoint.
    #[test]
    fn nodes_are_peers_of_each_other(cluster in clusters::clusters()) {
        let wanted: Vec<_> = cluster.nodes.iter().map(|node| cluster.wanted(node)).collect();
        for (one, of_one) in cluster.nodes.iter().zip(&wanted) {
            for (other, of_other) in cluster.nodes.iter().zip(&wanted).filter(|(other, _)| other.id != one.id) {
                for (index, (here, there)) in of_one.iter().zip(of_other).enumerate() {
                    let either = one.role == Role::ControlPlane || other.role == Role::ControlPlane;
                    let pair = either || cluster.peers[index] == kubedos_wire::node::Peers::Mesh;
                    prop_assert_eq!(of(here, other).is_some(), pair);
                    prop_assert_eq!(of(there, one).is_some(), pair);
                    let Some(peer) = of(here, other) else { continue };
                    prop_assert_eq!(peer.key, key(&format!("{} {}", other.id, here.id)));
                    prop_assert_eq!(peer.allowed.iter().map(first).collect::<Vec<_>>(), [there.address]);
                    let endpoint = format!("192.0.2.{}:{}", other.id, there.port).parse().unwrap();
                    prop_assert_eq!(peer.endpoint, other.endpoint.then_some(endpoint));
                    prop_assert_eq!(peer.keepalive.is_some(), other.endpoint);
                }
            }
        }
    }

    /// Operators are peers of control planes, on the control plane, and of nobody else.
    #[test]
    fn operators_reach_control_planes_only(cluster in clusters::clusters()) {
        for node in &cluster.nodes {
            for plane in cluster.wanted(node) {
                let people = plane.peers.iter().filter(|peer| matches!(peer.name, PeerName::Operator(_)));
                let wanted = node.role == Role::ControlPlane && plane.purpose == PlanePurpose::Control;
                prop_assert_eq!(people.count(), if wanted { cluster.operators } else { 0 });
            }
        }
    }

    /// Without one node, every other node has the same planes without the peers of that node.
    #[test]
    fn a_node_changes_exactly_one_peer_of_the_others(cluster in clusters::clusters(), at: prop::sample::Index) {
        let gone = at.get(&cluster.nodes).clone();
        let mut fewer = cluster.clone();
        fewer.nodes.retain(|node| node.id != gone.id);
        for node in &fewer.nodes {
            let mut before = cluster.wanted(node);
            for plane in &mut before {
                let name = PeerName::Node(gone.name().parse().unwrap());
                let count = plane.peers.len();
                plane.peers.retain(|peer| peer.name != name);
                let both_workers = node.role == Role::Worker && gone.role == Role::Worker;
                prop_assert!(count - plane.peers.len() == 1 || (both_workers && count == plane.peers.len()));
            }
            prop_assert_eq!(before, fewer.wanted(node));
        }
    }

    /// What a peer may send, the firewall accepts on this plane, and on no other plane and not from the underlay. The
    /// neighbours of the plane's range, which no peer has, are dropped by the rule against spoofing.
    #[test]
    fn the_firewall_accepts_exactly_the_addresses_of_peers(cluster in clusters::clusters()) {
        for node in &cluster.nodes {
            let (ruleset, planes) = (firewall(&cluster, node), cluster.wanted(node));
            for plane in &planes {
                for source in plane.peers.iter().flat_map(|peer| &peer.allowed).map(first) {
                    let (_, verdict) = echo(&ruleset, plane.id.as_str(), source, plane.address);
                    prop_assert_eq!(verdict, Verdict::Accept, "{} on {}", source, plane.id);
                    for other in planes.iter().filter(|other| other.id != plane.id) {
                        for destination in [plane.address, other.address] {
                            let (rule, verdict) = echo(&ruleset, other.id.as_str(), source, destination);
                            prop_assert_eq!(verdict, Verdict::Drop);
                            prop_assert_eq!(rule, format!("input.plane.{}.source", other.id));
                        }
                    }
                    let (rule, verdict) = echo(&ruleset, "eth0", source, plane.address);
                    prop_assert_eq!(verdict, Verdict::Drop);
                    prop_assert_eq!(rule, format!("input.underlay.source.{}", plane.id));
                }
                let outside = match (plane.cidr.network(), plane.cidr.last()) {
                    (IpAddr::V4(first), IpAddr::V4(last)) => {
                        [IpAddr::from((u32::from(first) - 1).to_be_bytes()), (u32::from(last) + 1).to_be_bytes().into()]
                    }
                    (IpAddr::V6(first), IpAddr::V6(last)) => {
                        [(u128::from(first) - 1).to_be_bytes().into(), (u128::from(last) + 1).to_be_bytes().into()]
                    }
                    _ => unreachable!("a range has one family"),
                };
                for source in outside {
                    let (rule, verdict) = echo(&ruleset, plane.id.as_str(), source, plane.address);
                    prop_assert_eq!(verdict, Verdict::Drop);
                    prop_assert_eq!(rule, format!("input.plane.{}.source", plane.id));
                }
            }
        }
    }
}
