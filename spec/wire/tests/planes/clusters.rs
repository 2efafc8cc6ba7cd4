//! Clusters as the tests know them, and their documents.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kubedos_wire::hex32::sha256;
use kubedos_wire::node::{
    ClusterDocument, ControlPlane, Operator, OperatorRole, Peers, Plane, PlanePurpose, Role, Roster,
    RosterKind, RosterNode, RosterPlane, Shard, ShardPlane,
};
use kubedos_wire::planes::{WantedPlane, wanted};
use kubedos_wire::value::{Cidr, NodeId, PlaneId, WireguardKey};
use proptest::prelude::*;

pub const CLUSTER: &str = include_str!("../golden/cluster-v1.toml");
pub const SHARD: &str = include_str!("../golden/shard-v2.toml");

#[derive(Debug, Clone)]
pub struct Node {
    pub id: u32,
    pub role: Role,
    pub endpoint: bool,
}

impl Node {
    pub fn name(&self) -> String {
        format!("node-{}", self.id)
    }
}

#[derive(Debug, Clone)]
pub struct Cluster {
    pub v4: bool,
    pub peers: [Peers; 3],
    pub nodes: Vec<Node>,
    pub operators: usize,
}

const PURPOSES: [PlanePurpose; 3] =
    [PlanePurpose::Control, PlanePurpose::Observability, PlanePurpose::KubernetesBackend];

/// A key that no other text has.
pub fn key(of: &str) -> WireguardKey {
    let mut bytes = sha256(&[of.as_bytes()]);
    bytes[31] &= 0x7f;
    WireguardKey::new(bytes)
}

impl Cluster {
    fn planes(&self) -> BTreeMap<PlaneId, Plane> {
        let plane = |index: usize| {
            let cidr: Cidr = if self.v4 {
                format!("10.{}.0.0/24", 101 + index).parse().unwrap()
            } else {
                format!("fd00:0:0:{index}::/64").parse().unwrap()
            };
            let (members, births) = cidr.halves().unwrap();
            let id: PlaneId = format!("wg{}", index + 1).parse().unwrap();
            let (purpose, peers) = (PURPOSES[index], self.peers[index]);
            (
                id,
                Plane {
                    purpose,
                    cidr,
                    members,
                    births,
                    port: 51820 + u16::try_from(index).unwrap(),
                    mtu: 1408,
                    peers,
                },
            )
        };
        (0..3).map(plane).collect()
    }

    pub fn roster(&self) -> Roster {
        let planes = self.planes();
        let on_planes = |node: &Node| {
            let on_plane = |(id, plane): (&PlaneId, &Plane)| {
                let member = plane.members.nth(u128::from(node.id)).unwrap();
                (id.clone(), RosterPlane { key: key(&format!("{} {id}", node.id)), member })
            };
            planes.iter().map(on_plane).collect()
        };
        let nodes = self.nodes.iter().map(|node| RosterNode {
            node: node.name().parse().unwrap(),
            id: NodeId::new(node.id).unwrap(),
            role: node.role,
            endpoint: node.endpoint.then(|| format!("192.0.2.{}", node.id).parse().unwrap()),
            planes: on_planes(node),
        });
        let members = planes.values().next().unwrap().members;
        let address = |number: usize| members.nth(members.size() - 2 - number as u128).unwrap();
        let operators = (0..self.operators)
            .map(|number| (format!("operator-{number}").parse().unwrap(), address(number)))
            .collect();
        Roster { version: 1, kind: RosterKind::Fixed, generation: 3, nodes: nodes.collect(), operators }
    }

    pub fn document(&self) -> ClusterDocument {
        let roster = self.roster();
        let control_planes = roster.nodes.iter().filter(|node| node.role == Role::ControlPlane);
        let operator = |number: usize| Operator {
            name: format!("operator-{number}").parse().unwrap(),
            role: OperatorRole::Viewer,
            wireguard_key: key(&format!("operator {number}")),
        };
        let mut document = ClusterDocument::parse(CLUSTER).unwrap();
        document.policy.allow.clear();
        document.nodes = u32::try_from(self.nodes.len()).unwrap();
        document.planes = self.planes();
        document.operators = (0..self.operators).map(operator).collect();
        document.control_planes = control_planes
            .map(|node| ControlPlane {
                node: node.node.clone(),
                id: node.id,
                endpoint: node.endpoint,
                members: node.planes.iter().map(|(id, plane)| (id.clone(), plane.member)).collect(),
            })
            .collect();
        document
    }

    pub fn shard(&self, node: &Node) -> Shard {
        let planes = self.planes().into_iter().map(|(id, plane)| {
            let address = |range: Cidr| -> IpAddr { range.nth(u128::from(node.id)).unwrap() };
            let (member, birth) = (address(plane.members), address(plane.births));
            let Plane { purpose, cidr, port, mtu, .. } = plane;
            (id, ShardPlane { purpose, cidr, member, birth, port, mtu })
        });
        let mut shard = Shard::parse(SHARD).unwrap();
        shard.node = node.name().parse().unwrap();
        shard.hostname = shard.node.clone();
        shard.id = NodeId::new(node.id).unwrap();
        shard.role = node.role;
        shard.underlay.endpoint = self.roster().node(&shard.node).unwrap().endpoint;
        shard.planes = planes.collect();
        shard
    }

    pub fn wanted(&self, node: &Node) -> Vec<WantedPlane> {
        wanted(&self.shard(node), &self.document(), &self.roster()).unwrap()
    }
}

/// One control plane and one worker without an endpoint, with one operator.
pub fn small() -> Cluster {
    let node = |id, role, endpoint| Node { id, role, endpoint };
    let nodes = vec![node(1, Role::ControlPlane, true), node(2, Role::Worker, false)];
    Cluster { v4: true, peers: [Peers::Mesh; 3], nodes, operators: 1 }
}

/// Clusters of 1 to 8 nodes, with gaps between ids.
pub fn clusters() -> impl Strategy<Value = Cluster> {
    let peers = || prop_oneof![Just(Peers::Mesh), Just(Peers::ControlPlanes)];
    let node = (any::<bool>(), any::<bool>());
    let nodes = prop::collection::btree_map(1..60_u32, node, 1..=8);
    (any::<bool>(), [peers(), peers(), peers()], nodes, 0..4_usize).prop_map(
        |(v4, peers, nodes, operators)| {
            let node = |(id, (control, endpoint)): (u32, (bool, bool))| {
                let role = if control { Role::ControlPlane } else { Role::Worker };
                Node { id, role, endpoint }
            };
            Cluster { v4, peers, nodes: nodes.into_iter().map(node).collect(), operators }
        },
    )
}
