//! The planes of a node as data: for each plane the device's values and its peers, computed from the node's shard, from
//! `cluster.toml` and from the roster.
//!
//! [`wanted`] is pure: the same documents give the same planes, in the same order. It owns who is a peer of whom, and which
//! addresses a peer may use. Documents that contradict each other give an error and no plane. [`private_key`] derives the
//! node's keys.
//!
//! Not here: devices, routes and sockets of the kernel; the addresses of nodes that are not enrolled (births); the addresses
//! of pods. What a peer and an allowed address are follows wg(8).

mod check;
mod key;

pub use check::PlanesError;
pub use key::{PlaneKeyError, private_key};

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};

use crate::node::{ClusterDocument, Plane, PlanePurpose, Role, Roster, RosterNode, Shard};
use crate::value::{Cidr, NodeName, OperatorName, PlaneId, WireguardKey};

/// The interval in seconds at which a node sends keepalives to every peer that it can reach (wg(8), `PersistentKeepalive`).
/// So sessions exist before they are needed, a node that restarted is reached again within this time, and routers with
/// address translation on the path keep its port.
pub const KEEPALIVE: u16 = 25;

/// What the stage `Backplanes` waits for, in the record of a node whose planes are up, when peers have no session.
pub const WAITS_ON_PEERS: &str = "peers";

/// One plane of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPlane {
    /// The plane's name, which is also the name of its device.
    pub id: PlaneId,
    /// Its purpose.
    pub purpose: PlanePurpose,
    /// The UDP port that the node listens on.
    pub port: u16,
    /// The MTU of the device in bytes.
    pub mtu: u16,
    /// The node's address as a member.
    pub address: IpAddr,
    /// All addresses of the plane; they are routed to the device.
    pub cidr: Cidr,
    /// The peers, sorted by key.
    pub peers: Vec<Peer>,
}

/// A peer of a node on one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whose key it is.
    pub name: PeerName,
    /// The public key.
    pub key: WireguardKey,
    /// The address and UDP port at which the peer is reached; absent if only the peer can open connections.
    pub endpoint: Option<SocketAddr>,
    /// The interval of keepalives in seconds.
    pub keepalive: Option<u16>,
    /// The addresses that the peer may use and is reached at, sorted; no address belongs to two peers.
    pub allowed: Vec<Cidr>,
}

/// Whose key a peer is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerName {
    /// A node's.
    Node(NodeName),
    /// An operator's.
    Operator(OperatorName),
}

impl Display for PeerName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => name.fmt(f),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

/// The planes of the shard's node, in the order of their names.
pub fn wanted(
    shard: &Shard,
    cluster: &ClusterDocument,
    roster: &Roster,
) -> Result<Vec<WantedPlane>, PlanesError> {
    check::all(shard, cluster, roster)?;
    let planes = cluster.planes.iter().map(|(id, plane)| {
        let own = shard.planes.get(id).ok_or_else(|| PlanesError::Planes(shard.node.clone()))?;
        let nodes = roster
            .nodes
            .iter()
            .filter(|other| other.node != shard.node && plane.peers.pair(shard.role, other.role));
        let mut peers: Vec<Peer> = nodes.filter_map(|other| node(id, plane, other)).collect();
        if shard.role == Role::ControlPlane && plane.purpose == PlanePurpose::Control {
            peers.extend(operators(cluster, roster));
        }
        peers.sort_by_key(|peer| peer.key);
        let (purpose, cidr, port, mtu) = (plane.purpose, plane.cidr, plane.port, plane.mtu);
        Ok(WantedPlane { id: id.clone(), purpose, port, mtu, address: own.member, cidr, peers })
    });
    planes.collect()
}

fn node(id: &PlaneId, plane: &Plane, other: &RosterNode) -> Option<Peer> {
    let on_plane = other.planes.get(id)?;
    let endpoint = other.endpoint.map(|endpoint| SocketAddr::new(endpoint.address(), plane.port));
    Some(Peer {
        name: PeerName::Node(other.node.clone()),
        key: on_plane.key,
        endpoint,
        keepalive: endpoint.map(|_| KEEPALIVE),
        allowed: single(on_plane.member).into_iter().collect(),
    })
}

fn operators<'d>(cluster: &'d ClusterDocument, roster: &'d Roster) -> impl Iterator<Item = Peer> + 'd {
    cluster.operators.iter().filter_map(|operator| {
        Some(Peer {
            name: PeerName::Operator(operator.name.clone()),
            key: operator.wireguard_key,
            endpoint: None,
            keepalive: None,
            allowed: vec![single(*roster.operators.get(&operator.name)?)?],
        })
    })
}

/// The range with this address only.
fn single(address: IpAddr) -> Option<Cidr> {
    Cidr::around(address, if address.is_ipv4() { 32 } else { 128 })
}
