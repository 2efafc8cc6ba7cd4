//! The ClusterPlan: everything that is computed from a valid spec and the recorded numbers, by a pure function.
//!
//! Its size is linear in the number of nodes. The pairs of peers would be quadratic, so they are not stored: a node's peers are
//! computed on request, and a plan of 10,000 nodes contains 10,000 rows and not 10^8 pairs.

mod change;
mod document;
mod dot;
mod drawing;
mod peers;
pub mod ranges;
mod shards;
mod table;

pub use change::{Change, EFFECTS, Effect, EffectRow, changes};
pub use document::{NodeDocument, PlanDocument, StageDocument};
pub use drawing::{Band, Party, Row, Service};
pub use peers::Peer;
pub use shards::UnderlayDocument;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::allocation::{Allocation, AssignError, Assignment};
use crate::check::{NotYet, Validated};
use crate::model::{Arch, ClusterSpec, NodeSpec, Peers, PlaneSpec};
use kubedos_wire::node::{PlanePurpose, PolicyAllow, Role, SubstrateType};
use kubedos_wire::value::{Cidr, Endpoint, FirmwareName, NodeId, NodeName, OperatorName, PlaneId};

/// Everything that is computed from a valid spec and the recorded numbers.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    spec: ClusterSpec,
    assignment: Assignment,
    planes: BTreeMap<PlaneId, PlannedPlane>,
    nodes: Vec<PlannedNode>,
    by_name: BTreeMap<NodeName, usize>,
    control_planes: Vec<usize>,
    not_yet: Vec<&'static NotYet>,
}

/// One plane with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedPlane {
    /// Its purpose.
    pub purpose: PlanePurpose,
    /// All of its addresses.
    pub cidr: Cidr,
    /// The addresses of members.
    pub members: Cidr,
    /// The addresses of nodes that are not enrolled yet.
    pub births: Cidr,
    /// The UDP port.
    pub port: u16,
    /// The MTU of its interfaces.
    pub mtu: u16,
    /// Which members are peers of each other.
    pub peers: Peers,
}

/// One node with its numbers. Its addresses are computed from its id on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// Its name.
    pub name: NodeName,
    /// Its number.
    pub id: NodeId,
    /// Its role in the cluster.
    pub role: Role,
    /// The address at which peers reach it.
    pub endpoint: Option<Endpoint>,
    /// The VMID of its virtual machine.
    pub vmid: Option<u32>,
    /// The addresses of its pods.
    pub pod_cidr: Option<Cidr>,
    index: usize,
}

/// The parts of the spec that affect the code of an image, and not only its configuration (ADR 0002).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInputs {
    /// The architecture.
    pub arch: Arch,
    /// The substrate of the nodes; it selects the kernel.
    pub substrate: SubstrateType,
    /// Packages of firmware for bare metal.
    pub firmware: Vec<FirmwareName>,
}

impl Validated {
    /// The plan with the recorded numbers; without an allocation file, pass [`Allocation::empty`].
    pub fn plan(&self, recorded: &Allocation) -> Result<ClusterPlan, AssignError> {
        let assignment = recorded.assign(self)?;
        Ok(ClusterPlan::new(self, assignment))
    }
}

impl ClusterPlan {
    fn new(validated: &Validated, assignment: Assignment) -> Self {
        let spec = validated.spec().clone();
        let planes = planes(&spec);
        let numbers = &assignment.allocation.nodes;
        let inventory = spec.spec.nodes.inventory.iter().enumerate();
        let mut nodes: Vec<PlannedNode> = inventory
            .filter_map(|(index, node)| Some(planned(&spec, index, node, *numbers.get(&node.name)?)))
            .collect();
        nodes.sort_by_key(|node| node.id);
        let by_name = nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect();
        let is_control_plane = |(_, node): &(usize, &PlannedNode)| node.role == Role::ControlPlane;
        let control_planes = nodes.iter().enumerate().filter(is_control_plane).map(|(at, _)| at).collect();
        let not_yet = validated.not_in_this_version().to_vec();
        Self { spec, assignment, planes, nodes, by_name, control_planes, not_yet }
    }

    /// The spec that the plan was computed from.
    pub const fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// The numbers, and which of them are not recorded yet.
    pub const fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// The planes, by name.
    pub const fn planes(&self) -> &BTreeMap<PlaneId, PlannedPlane> {
        &self.planes
    }

    /// The nodes, in the order of their ids.
    pub fn nodes(&self) -> &[PlannedNode] {
        &self.nodes
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.by_name.get(&name.parse::<NodeName>().ok()?).and_then(|at| self.nodes.get(*at))
    }

    /// The control planes, in the order of their ids.
    pub fn control_planes(&self) -> impl Iterator<Item = &PlannedNode> {
        self.control_planes.iter().filter_map(|at| self.nodes.get(*at))
    }

    /// The declaration of a node in the spec.
    pub fn node_spec(&self, node: &PlannedNode) -> Option<&NodeSpec> {
        self.spec.spec.nodes.inventory.get(node.index)
    }

    /// The connections that are allowed between planes.
    pub fn policy(&self) -> Vec<PolicyAllow> {
        let allow = self.spec.spec.networking.policy.allow.iter();
        allow
            .map(|a| PolicyAllow { from: a.from.clone(), to: a.to.clone(), ports: a.ports.clone() })
            .collect()
    }

    /// The addresses of operators on the control plane: they count down from the end of the members' range.
    pub fn operators(&self) -> BTreeMap<OperatorName, IpAddr> {
        let plane = self.planes.values().find(|plane| plane.purpose == PlanePurpose::Control);
        let numbers = &self.assignment.allocation.operators;
        let address =
            |id: &NodeId| plane?.members.nth(plane?.members.size().checked_sub(1 + u128::from(id.get()))?);
        numbers.iter().filter_map(|(name, id)| Some((name.clone(), address(id)?))).collect()
    }

    /// The parts of the spec that affect the code of an image.
    pub fn image_inputs(&self) -> ImageInputs {
        let substrate = &self.spec.spec.substrate;
        let mut firmware = substrate.metal.as_ref().map(|metal| metal.firmware.clone()).unwrap_or_default();
        firmware.sort();
        ImageInputs { arch: self.spec.spec.arch, substrate: substrate.kind, firmware }
    }

    /// The fields of the spec that have no effect in this version.
    pub fn not_in_this_version(&self) -> &[&'static NotYet] {
        &self.not_yet
    }
}

impl PlannedPlane {
    fn new(spec: &ClusterSpec, plane: &PlaneSpec) -> Option<Self> {
        let (members, births) = ranges::of(plane)?;
        let (port, mtu) = (ranges::port(plane), ranges::mtu(&spec.spec, plane));
        Some(Self {
            purpose: plane.purpose,
            cidr: plane.cidr,
            members,
            births,
            port,
            mtu,
            peers: plane.peers,
        })
    }

    /// The address of a node as a member.
    pub fn member(&self, id: NodeId) -> Option<IpAddr> {
        self.members.nth(u128::from(id.get()))
    }

    /// The address of a node before it is enrolled.
    pub fn birth(&self, id: NodeId) -> Option<IpAddr> {
        self.births.nth(u128::from(id.get()))
    }
}

fn planes(spec: &ClusterSpec) -> BTreeMap<PlaneId, PlannedPlane> {
    let planes = spec.spec.networking.planes.iter();
    planes.filter_map(|(name, plane)| Some((name.clone(), PlannedPlane::new(spec, plane)?))).collect()
}

fn planned(spec: &ClusterSpec, index: usize, node: &NodeSpec, id: NodeId) -> PlannedNode {
    let kubernetes = &spec.spec.kubernetes;
    let pod_cidr = kubernetes.enabled.then(|| {
        let (pods, _) = ranges::kubernetes(kubernetes);
        pods.subnet(kubernetes.node_pod_prefix, u128::from(id.get()))
    });
    PlannedNode {
        name: node.name.clone(),
        id,
        role: node.role,
        endpoint: node.underlay.endpoint(),
        vmid: spec.spec.nodes.vmid_range.and_then(|range| range.start.checked_add(id.get())),
        pod_cidr: pod_cidr.flatten(),
        index,
    }
}
