//! The plan as one JSON document (`"version": 1`, readers ignore unknown fields).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::{ClusterPlan, PlannedNode, PlannedPlane};
use crate::check::NotYet;
use kubedos_wire::node::{PolicyAllow, Role, SubstrateType};
use kubedos_wire::stage::{PLAN_STAGES, Place, Rerun, Stage};
use kubedos_wire::value::{Cidr, ClusterName, DomainName, Endpoint, NodeId, NodeName, OperatorName, PlaneId};

/// The plan of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanDocument {
    /// Always 1.
    pub version: u32,
    /// The cluster's name.
    pub cluster: ClusterName,
    /// The generation of the configuration.
    pub generation: u64,
    /// The substrate of the nodes.
    pub substrate: SubstrateType,
    /// The planes, by name.
    pub planes: BTreeMap<PlaneId, PlannedPlane>,
    /// The connections that are allowed between planes; all others are dropped.
    pub allow: Vec<PolicyAllow>,
    /// The addresses of operators on the control plane.
    pub operators: BTreeMap<OperatorName, IpAddr>,
    /// The nodes, in the order of their ids.
    pub nodes: Vec<NodeDocument>,
    /// Nodes whose ids are not recorded yet.
    pub unrecorded: Vec<NodeName>,
    /// The stages, in order.
    pub stages: Vec<StageDocument>,
    /// The fields of the spec that have no effect in this version.
    pub not_in_this_version: Vec<&'static NotYet>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDocument {
    /// Its name.
    pub name: NodeName,
    /// Its number.
    pub id: NodeId,
    /// Its role in the cluster.
    pub role: Role,
    /// Its failure domain and zone label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// The VMID of its virtual machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmid: Option<u32>,
    /// The addresses of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<Cidr>,
    /// The address at which peers reach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Its addresses on each plane.
    pub planes: BTreeMap<PlaneId, NodePlane>,
}

/// A node on one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodePlane {
    /// Its address as a member.
    pub member: IpAddr,
    /// Its address before it is enrolled.
    pub birth: IpAddr,
    /// The number of its peers.
    pub peers: usize,
}

/// One stage of the plan: at build time, on the substrate or on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageDocument {
    /// Its name.
    pub name: &'static str,
    /// Where it runs.
    pub place: Place,
    /// The effect of a second run.
    pub rerun: Rerun,
    /// The agent's stages that implement it (`docs/stages.md`).
    pub stages: Vec<AgentStage>,
}

/// One stage of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentStage {
    /// Its name.
    pub name: &'static str,
    /// The stages that must have succeeded before it.
    pub needs: Vec<&'static str>,
    /// The effect of a second run.
    pub rerun: Rerun,
    /// Whether this version implements it.
    pub in_this_version: bool,
}

impl ClusterPlan {
    /// The plan as a document.
    pub fn document(&self) -> PlanDocument {
        PlanDocument {
            version: 1,
            cluster: self.spec().metadata.name.clone(),
            generation: self.spec().metadata.generation,
            substrate: self.spec().spec.substrate.kind,
            planes: self.planes().clone(),
            allow: self.policy(),
            operators: self.operators(),
            nodes: self.nodes().iter().map(|node| self.node_document(node)).collect(),
            unrecorded: self.assignment().unrecorded.clone(),
            stages: stages(),
            not_in_this_version: self.not_in_this_version().to_vec(),
        }
    }

    fn node_document(&self, node: &PlannedNode) -> NodeDocument {
        let planes = self.planes().iter().filter_map(|(name, plane)| {
            let (member, birth) = (plane.member(node.id)?, plane.birth(node.id)?);
            Some((name.clone(), NodePlane { member, birth, peers: self.peer_count(node, name) }))
        });
        NodeDocument {
            name: node.name.clone(),
            id: node.id,
            role: node.role,
            domain: self.node_spec(node).and_then(|spec| spec.domain.clone()),
            vmid: node.vmid,
            pod_cidr: node.pod_cidr,
            endpoint: node.endpoint,
            planes: planes.collect(),
        }
    }
}

/// The eight stages of the plan, each with the agent's stages that implement it.
pub fn stages() -> Vec<StageDocument> {
    let agent = |stage: &Stage| AgentStage {
        name: stage.name(),
        needs: stage.needs().iter().map(|need| need.name()).collect(),
        rerun: stage.rerun(),
        in_this_version: stage.in_this_version(),
    };
    let stages = PLAN_STAGES.iter().map(|stage| StageDocument {
        name: stage.name,
        place: stage.place,
        rerun: stage.rerun,
        stages: stage.stages.iter().map(agent).collect(),
    });
    stages.collect()
}
