//! Planes, policy between them, and the network below.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::PlanePurpose;
use crate::value::{Cidr, Endpoint, PlaneId, PortRange};

/// Planes, policy between them, and the network below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Networking {
    /// The WireGuard planes, by name; the name is that of the interface too. Each purpose has exactly one plane.
    #[schemars(extend("minProperties" = 3, "maxProperties" = 3))]
    pub planes: BTreeMap<PlaneId, PlaneSpec>,
    /// What may pass between planes.
    #[serde(default)]
    pub policy: NetworkPolicy,
    /// An overlay network for pods. There is none, and none comes by accident.
    #[serde(default)]
    pub overlay: Overlay,
    /// The network that carries the planes.
    #[serde(default)]
    pub underlay: UnderlaySpec,
}

/// One plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaneSpec {
    /// All addresses of the plane.
    pub cidr: Cidr,
    /// What the plane is for.
    pub purpose: PlanePurpose,
    /// The addresses of members, a part of `cidr`; default its lower half. A node's address is the base plus its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Cidr>,
    /// The addresses of nodes that are not enrolled yet, a part of `cidr`; default its upper half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub births: Option<Cidr>,
    /// The UDP port; default 51820 for control, 51821 for observability, 51822 for kubernetes-backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The MTU of the interfaces; default what the underlay leaves, rounded down to a multiple of 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1280, max = 65520))]
    pub mtu: Option<u16>,
    /// Who is whose peer.
    #[serde(default)]
    pub peers: Peers,
}

/// Who is whose peer on a plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// Every member of every other one.
    #[default]
    Mesh,
    /// Control planes of everybody, workers of control planes only.
    ControlPlanes,
}

/// What may pass between planes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicy {
    /// What happens to everything that is not allowed.
    #[serde(default)]
    pub default_inter_plane: InterPlane,
    /// The exceptions.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub allow: Vec<AllowSpec>,
}

/// What happens between planes by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InterPlane {
    /// It is dropped; there is no other value.
    #[default]
    Deny,
}

/// One exception: hosts of one plane may reach ports at addresses of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowSpec {
    /// The plane that connections come from.
    pub from: PlaneId,
    /// The plane whose addresses are called.
    pub to: PlaneId,
    /// The ports that are called.
    #[schemars(length(min = 1, max = 64))]
    pub ports: Vec<PortRange>,
}

/// An overlay network for pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlay {
    /// None: pods are routed over the Kubernetes plane.
    #[default]
    None,
}

/// The network that carries the planes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnderlaySpec {
    /// The MTU of the path between nodes.
    #[serde(default = "ethernet_mtu")]
    #[schemars(range(min = 1360, max = 65535))]
    pub mtu: u16,
    /// Name servers; nothing in the platform needs one.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub nameservers: Vec<Endpoint>,
}

const fn ethernet_mtu() -> u16 {
    1500
}

impl Default for UnderlaySpec {
    fn default() -> Self {
        Self { mtu: ethernet_mtu(), nameservers: Vec::new() }
    }
}
