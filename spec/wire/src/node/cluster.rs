//! The document `/cluster.toml`: the public data about the cluster, for every node.

use std::collections::BTreeMap;
use std::net::IpAddr;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CLUSTER_VERSION, Role, parse};
use crate::document::DocumentError;
use crate::hex32::{ClusterId, PublicKey};
use crate::value::{
    ArtifactVersion, Cidr, ClusterName, Endpoint, KubernetesVersion, NodeId, NodeName, OperatorName, PlaneId,
    PortRange, WireguardKey,
};

/// The public part of the keys, which the builder reads from the key directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicTrust {
    /// The id of the cluster (ADR 0002).
    pub cluster_id: ClusterId,
    /// The keys that may sign seeds.
    pub seed_keys: Vec<PublicKey>,
    /// Whether the keys are the published demo keys, which give no protection.
    pub demo_keys: bool,
}

/// The public data about the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDocument {
    /// Always [`super::CLUSTER_VERSION`].
    pub version: u32,
    /// The cluster's name.
    pub name: ClusterName,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The generation of the configuration.
    pub generation: u64,
    /// The version of the artifact.
    pub artifact_version: ArtifactVersion,
    /// The keys that may sign seeds.
    pub seed_keys: Vec<PublicKey>,
    /// Whether the keys are the published demo keys. They give no protection, and every console shows a warning.
    #[serde(default)]
    pub demo_keys: bool,
    /// The number of nodes; each has a shard.
    pub nodes: u32,
    /// Limits and thresholds.
    pub limits: Limits,
    /// Kubernetes; absent if it is not enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// The connections that are allowed between planes; all others are dropped.
    pub policy: Policy,
    /// The planes, by name.
    pub planes: BTreeMap<PlaneId, Plane>,
    /// The control planes, with the data that a node needs before it is enrolled.
    pub control_planes: Vec<ControlPlane>,
    /// The people who may use the agent's API.
    #[serde(default)]
    pub operators: Vec<Operator>,
}

impl ClusterDocument {
    /// Parses the document; unknown fields are ignored, a later version is refused.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        parse(text, CLUSTER_VERSION)
    }

    /// Serializes the document as TOML.
    pub fn to_toml(&self) -> Result<String, DocumentError> {
        Ok(toml::to_string(self)?)
    }
}

/// Limits that each node enforces by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The number of hours after which an offline node is replaced.
    pub max_offline_hours: u32,
    /// Maximum number of days by which the real-time clock may be ahead of its floor and still be trusted.
    pub clock_span_days: u32,
    /// Lifetime of an armed voucher, in minutes.
    pub voucher_minutes: u32,
}

/// One plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plane {
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
    /// The MTU of its interface.
    pub mtu: u16,
    /// Which members are peers of each other.
    #[serde(default, skip_serializing_if = "Peers::is_mesh")]
    pub peers: Peers,
}

/// Which members of a plane are peers of each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Peers {
    /// Every member is a peer of every other member.
    #[default]
    Mesh,
    /// Control planes are peers of all members; workers are peers of control planes only.
    ControlPlanes,
}

impl Peers {
    /// Whether members with these roles are peers of each other.
    pub fn pair(self, one: Role, other: Role) -> bool {
        self == Self::Mesh || one == Role::ControlPlane || other == Role::ControlPlane
    }

    /// serde passes a reference.
    fn is_mesh(&self) -> bool {
        *self == Self::Mesh
    }
}

/// The purpose of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PlanePurpose {
    /// The agent's API, enrolment, time, operators.
    Control,
    /// Metrics and logs.
    Observability,
    /// Control plane to workers, etcd, pods.
    KubernetesBackend,
}

/// The connections that are allowed between planes; all others are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The exceptions. If empty, no connection is allowed.
    #[serde(default)]
    pub allow: Vec<PolicyAllow>,
}

/// One exception: hosts on plane `from` may connect to these ports at addresses of plane `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyAllow {
    /// The plane of the client.
    pub from: PlaneId,
    /// The plane of the server.
    pub to: PlaneId,
    /// The destination ports.
    pub ports: Vec<PortRange>,
}

/// How other nodes reach a control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPlane {
    /// Its name.
    pub node: NodeName,
    /// Its number.
    pub id: NodeId,
    /// Its address on the underlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Its addresses as a member, by plane.
    pub members: BTreeMap<PlaneId, IpAddr>,
}

/// A person who may use the agent's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Operator {
    /// The operator's name, which is also the common name of their certificate.
    pub name: OperatorName,
    /// The permissions of the operator.
    pub role: OperatorRole,
    /// The public key of the operator's machine, as `wg pubkey` prints it; it is a peer on the control plane only.
    pub wireguard_key: WireguardKey,
}

/// The permissions of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Reads status, logs and drift.
    Viewer,
    /// Reads, and restarts, drains, replaces and approves nodes.
    Operator,
    /// Does everything, including revocation, rotation and configuration.
    Admin,
}

/// The settings of Kubernetes that every node needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The exact version.
    pub version: KubernetesVersion,
    /// The addresses of all pods.
    pub pod_cidr: Cidr,
    /// The addresses of services.
    pub service_cidr: Cidr,
}
