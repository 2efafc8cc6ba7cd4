//! The planes, the policy between them, and the network below them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::node::{Peers, PlanePurpose};
use kubedos_wire::value::{Cidr, Endpoint, PlaneId, PortRange};

/// The planes, the policy between them, and the network below them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Networking {
    /// The WireGuard planes, by name; the plane's interface has the same name. Each of the three purposes has exactly one plane.
    #[schemars(extend("minProperties" = 3, "maxProperties" = 3), example = json!({ "wg1": { "cidr": "10.101.0.0/24", "purpose": "control" } }))]
    pub planes: BTreeMap<PlaneId, PlaneSpec>,
    /// The connections that are allowed between planes; all others are dropped.
    #[serde(default)]
    pub policy: NetworkPolicy,
    /// An overlay network for pods. The only value is `none`.
    #[serde(default)]
    pub overlay: Overlay,
    /// The network between the machines, which carries the planes.
    #[serde(default)]
    pub underlay: UnderlaySpec,
}

/// One plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlaneSpec {
    /// All addresses of the plane, for members and births; no other network may contain any of them.
    pub cidr: Cidr,
    /// The purpose of the plane.
    pub purpose: PlanePurpose,
    /// The addresses of members, a part of `cidr`; the default is its lower half. A node's address is the first address plus the node's id; the addresses of operators count down from the last address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.101.0.0/25")]
    pub members: Option<Cidr>,
    /// The addresses of nodes that are not enrolled yet, a part of `cidr`; the default is its upper half. A node's address is the first address plus the node's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.101.0.128/25")]
    pub births: Option<Cidr>,
    /// The UDP port that every node listens on for this plane; the default is 51820 for control, 51821 for observability, 51822 for kubernetes-backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535), example = 51820)]
    pub port: Option<u16>,
    /// The MTU of the plane's interfaces, in bytes; the default is the underlay's MTU minus 60 bytes over IPv4 or 80 over IPv6, rounded down to a multiple of 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1280, max = 65520), example = 1440)]
    pub mtu: Option<u16>,
    /// Which members are peers of each other. The kubernetes-backend plane must be a mesh when Kubernetes is enabled.
    #[serde(default)]
    pub peers: Peers,
}

/// The connections that are allowed between planes; all others are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicy {
    /// The action for connections that are not allowed.
    #[serde(default)]
    pub default_inter_plane: InterPlane,
    /// The allowed connections, each for one pair of planes in one direction.
    #[serde(default)]
    #[schemars(length(max = 1000), example = json!([{ "from": "wg1", "to": "wg3", "ports": ["6443/tcp"] }]))]
    pub allow: Vec<AllowSpec>,
}

/// The action for connections that are not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InterPlane {
    /// They are dropped. This is the only value.
    #[default]
    Deny,
}

/// One exception: hosts on plane `from` may connect to these ports at addresses of plane `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowSpec {
    /// The plane of the client.
    pub from: PlaneId,
    /// The plane of the server.
    #[schemars(example = &"wg3")]
    pub to: PlaneId,
    /// The destination ports.
    #[schemars(length(min = 1, max = 64), example = json!(["6443/tcp", "2379-2380/tcp"]))]
    pub ports: Vec<PortRange>,
}

/// An overlay network for pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlay {
    /// No overlay: pods are routed over the Kubernetes plane.
    #[default]
    None,
}

/// The network that carries the planes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnderlaySpec {
    /// The MTU of the path between nodes, in bytes: the smallest of all links on it.
    #[serde(default = "ethernet_mtu")]
    #[schemars(range(min = 1360, max = 65535))]
    pub mtu: u16,
    /// Name servers for workloads; the platform itself needs none.
    #[serde(default)]
    #[schemars(length(max = 8), example = json!(["192.0.2.53"]))]
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
