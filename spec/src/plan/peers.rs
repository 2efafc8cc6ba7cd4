//! The peers of a node: computed for one node on request, never stored for all nodes.

use std::net::IpAddr;

use super::{ClusterPlan, PlannedNode, PlannedPlane};
use crate::model::Peers;
use kubedos_wire::node::{PlanePurpose, Role};
use kubedos_wire::value::{Cidr, Endpoint, NodeName, PlaneId};

/// A peer of a node on one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer<'p> {
    /// Its name.
    pub node: &'p NodeName,
    /// Its address on the plane; an allowed-ip with the longest prefix.
    pub address: IpAddr,
    /// The addresses of its pods, an allowed-ip on the Kubernetes plane.
    pub pods: Option<Cidr>,
    /// Its address on the underlay.
    pub endpoint: Option<Endpoint>,
}

impl ClusterPlan {
    /// The peers of a member on a plane, in the order of their ids.
    pub fn peers<'p>(
        &'p self,
        of: &'p PlannedNode,
        plane: &PlaneId,
    ) -> Box<dyn Iterator<Item = Peer<'p>> + 'p> {
        let Some(plane) = self.planes().get(plane) else { return Box::new(std::iter::empty()) };
        let others = if has_all_as_peers(plane, of) {
            Box::new(self.nodes().iter()) as Box<dyn Iterator<Item = &PlannedNode>>
        } else {
            Box::new(self.control_planes())
        };
        let peers = others.filter(|node| node.id != of.id).filter_map(|node| peer(plane, node));
        Box::new(peers)
    }

    /// The number of peers of a member on a plane, without iterating over them.
    pub fn peer_count(&self, of: &PlannedNode, plane: &PlaneId) -> usize {
        match self.planes().get(plane) {
            Some(plane) if has_all_as_peers(plane, of) => self.nodes().len().saturating_sub(1),
            Some(_) => self.control_planes.len(), // the node is a worker, so it is not one of them
            None => 0,
        }
    }
}

fn has_all_as_peers(plane: &PlannedPlane, of: &PlannedNode) -> bool {
    plane.peers == Peers::Mesh || of.role == Role::ControlPlane
}

fn peer<'p>(plane: &PlannedPlane, node: &'p PlannedNode) -> Option<Peer<'p>> {
    let pods = node.pod_cidr.filter(|_| plane.purpose == PlanePurpose::KubernetesBackend);
    Some(Peer { node: &node.name, address: plane.member(node.id)?, pods, endpoint: node.endpoint })
}
