//! Checks that the shard, `cluster.toml` and the roster agree, before peers are computed from them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::document::DocumentError;
use crate::firewall::{self, FirewallError};
use crate::node::{ClusterDocument, Plane, PlanePurpose, Role, Roster, RosterNode, Shard};
use crate::value::{NodeName, OperatorName, PlaneId};

/// Why there are no planes: the documents contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum PlanesError {
    /// The roster has a value twice.
    #[error("the roster cannot be used")]
    Roster(#[from] DocumentError),
    /// The planes of the shard and of the cluster document contradict each other.
    #[error(transparent)]
    Documents(#[from] FirewallError),
    /// A plane has another MTU in the shard.
    #[error("the shard and the cluster document do not agree about the MTU of the plane {0}")]
    Mtu(PlaneId),
    /// A document has another generation than the shard.
    #[error("the {document} has generation {found}, but the shard has generation {wanted}")]
    Generation {
        /// The document.
        document: &'static str,
        /// Its generation.
        found: u64,
        /// The generation of the shard.
        wanted: u64,
    },
    /// The roster does not have as many nodes as the cluster.
    #[error("the roster has {found} nodes, but the cluster has {wanted}")]
    Count {
        /// The number of nodes in the roster.
        found: usize,
        /// The number of nodes in the cluster document.
        wanted: u32,
    },
    /// A node has other values in the roster than in another document, or is not in it.
    #[error("the roster and the {document} do not agree about the node {node}")]
    Node {
        /// The document.
        document: &'static str,
        /// The node.
        node: NodeName,
    },
    /// A node is not on exactly the planes of the cluster.
    #[error("the roster does not have the node {0} on exactly the planes of the cluster")]
    Planes(NodeName),
    /// An address is not the one that derives from the node's id.
    #[error(
        "the roster has the address {found} of the node {node} on the plane {plane}, which does not derive from its id"
    )]
    Address {
        /// The node.
        node: NodeName,
        /// The plane.
        plane: PlaneId,
        /// The address in the roster.
        found: IpAddr,
    },
    /// The roster has other operators than the cluster document, or an operator occurs twice.
    #[error("the roster and the cluster document do not have the same operators")]
    Operators,
    /// The cluster has operators, but not exactly one plane for them.
    #[error("the cluster has operators, but not exactly one plane with the purpose `control`")]
    NoControlPlane,
    /// An operator's address cannot be used on the control plane.
    #[error(
        "the address {found} of the operator {operator} is not an address of members of the control plane"
    )]
    OperatorAddress {
        /// The operator.
        operator: OperatorName,
        /// The address in the roster.
        found: IpAddr,
    },
    /// An operator has the key of another peer.
    #[error("the operator {0} has the key of a node or of another operator")]
    OperatorKey(OperatorName),
}

/// Checks all three documents.
pub(super) fn all(shard: &Shard, cluster: &ClusterDocument, roster: &Roster) -> Result<(), PlanesError> {
    roster.check()?;
    firewall::check_planes(shard, &cluster.planes)?;
    let mtu = |id: &PlaneId| shard.planes.get(id).map(|own| own.mtu);
    if let Some((id, _)) = cluster.planes.iter().find(|(id, plane)| mtu(id) != Some(plane.mtu)) {
        return Err(PlanesError::Mtu(id.clone()));
    }
    let wanted = shard.generation;
    for (document, found) in [("cluster document", cluster.generation), ("roster", roster.generation)] {
        if found != wanted {
            return Err(PlanesError::Generation { document, found, wanted });
        }
    }
    if u32::try_from(roster.nodes.len()) != Ok(cluster.nodes) {
        return Err(PlanesError::Count { found: roster.nodes.len(), wanted: cluster.nodes });
    }
    roster.nodes.iter().try_for_each(|node| addresses(node, cluster))?;
    own_entry(shard, roster)?;
    control_planes(cluster, roster)?;
    operators(cluster, roster)
}

/// A node has the addresses of its id, on every plane.
fn addresses(node: &RosterNode, cluster: &ClusterDocument) -> Result<(), PlanesError> {
    if !node.planes.keys().eq(cluster.planes.keys()) {
        return Err(PlanesError::Planes(node.node.clone()));
    }
    for ((id, plane), on_plane) in cluster.planes.iter().zip(node.planes.values()) {
        let found = on_plane.member;
        if plane.members.nth(u128::from(node.id.get())) != Some(found) {
            return Err(PlanesError::Address { node: node.node.clone(), plane: id.clone(), found });
        }
    }
    Ok(())
}

/// The roster and the shard describe the node equally.
fn own_entry(shard: &Shard, roster: &Roster) -> Result<(), PlanesError> {
    let here = (shard.id, shard.role, shard.underlay.endpoint);
    let entry = roster.node(&shard.node).filter(|entry| (entry.id, entry.role, entry.endpoint) == here);
    let same = |entry: &RosterNode| {
        let in_roster = entry.planes.iter().map(|(id, plane)| (id, plane.member));
        in_roster.eq(shard.planes.iter().map(|(id, plane)| (id, plane.member)))
    };
    match entry.filter(|entry| same(entry)) {
        Some(_) => Ok(()),
        None => Err(PlanesError::Node { document: "shard", node: shard.node.clone() }),
    }
}

/// The control planes of the cluster document are those of the roster.
fn control_planes(cluster: &ClusterDocument, roster: &Roster) -> Result<(), PlanesError> {
    let error = |node: &NodeName| PlanesError::Node { document: "cluster document", node: node.clone() };
    for wanted in &cluster.control_planes {
        let same = roster.node(&wanted.node).is_some_and(|entry| {
            let members = entry.planes.iter().map(|(id, plane)| (id, &plane.member));
            (entry.id, entry.role, entry.endpoint) == (wanted.id, Role::ControlPlane, wanted.endpoint)
                && members.eq(&wanted.members)
        });
        if !same {
            return Err(error(&wanted.node));
        }
    }
    let listed: BTreeSet<&NodeName> = cluster.control_planes.iter().map(|wanted| &wanted.node).collect();
    let unlisted = |node: &&RosterNode| node.role == Role::ControlPlane && !listed.contains(&node.node);
    roster.nodes.iter().find(unlisted).map_or(Ok(()), |node| Err(error(&node.node)))
}

/// Every operator has an address of its own on the control plane and a key of its own.
fn operators(cluster: &ClusterDocument, roster: &Roster) -> Result<(), PlanesError> {
    if cluster.operators.is_empty() && roster.operators.is_empty() {
        return Ok(());
    }
    let names: BTreeSet<&OperatorName> = cluster.operators.iter().map(|operator| &operator.name).collect();
    if names.len() != cluster.operators.len() || !names.into_iter().eq(roster.operators.keys()) {
        return Err(PlanesError::Operators);
    }
    let mut control = cluster.planes.values().filter(|plane| plane.purpose == PlanePurpose::Control);
    let (Some(plane), None) = (control.next(), control.next()) else {
        return Err(PlanesError::NoControlPlane);
    };
    for (operator, found) in &roster.operators {
        // The roster has no address twice, so this one is no node's.
        if !usable(plane, *found) {
            return Err(PlanesError::OperatorAddress { operator: operator.clone(), found: *found });
        }
    }
    let nodes = roster.nodes.iter().flat_map(|node| node.planes.values());
    let mut keys: BTreeSet<[u8; 32]> = nodes.map(|on_plane| on_plane.key.canonical()).collect();
    let twice = cluster.operators.iter().find(|operator| !keys.insert(operator.wireguard_key.canonical()));
    twice.map_or(Ok(()), |operator| Err(PlanesError::OperatorKey(operator.name.clone())))
}

/// Whether the address is one of members, without the first and the last, which no member has.
fn usable(plane: &Plane, address: IpAddr) -> bool {
    let members = plane.members;
    members.contains(address) && address != members.network() && address != members.last()
}
