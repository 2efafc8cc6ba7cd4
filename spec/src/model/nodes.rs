//! The nodes: who they are, what they have, how the underlay reaches them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::{DiskIdentity, DiskPurpose, DiskRule, Interface, Role};
use crate::value::{DiskName, DomainName, Endpoint, MacAddress, NodeId, NodeName, ProxmoxName};

/// The nodes and the numbers that they get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nodes {
    /// The numbers of virtual machines: a node's is `start` plus its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid_range: Option<VmidRange>,
    /// What can fail as a whole: racks, rooms, hosts.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub failure_domains: Vec<FailureDomain>,
    /// The nodes themselves.
    #[schemars(length(min = 1, max = 100_000))]
    pub inventory: Vec<NodeSpec>,
}

/// A range of numbers of virtual machines, both ends included (Proxmox VE takes 100 to 999999999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmidRange {
    /// The base: the node with id 1 gets the number after it.
    #[schemars(range(min = 100, max = 999_999_999))]
    pub start: u32,
    /// The last number that may be used.
    #[schemars(range(min = 100, max = 999_999_999))]
    pub end: u32,
}

/// What can fail as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureDomain {
    /// Its name; nodes refer to it, and it becomes their zone label.
    pub name: DomainName,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Its name and host name.
    pub name: NodeName,
    /// Its number. Without one, `plan --assign` gives it one and records it beside the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NodeId>,
    /// What it is in the cluster.
    pub role: Role,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// How many processors a virtual machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub cpu: Option<u16>,
    /// How much memory a virtual machine has, in MiB.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub memory_mib: Option<u32>,
    /// Its disks. The first one holds the system, unless another one says so.
    #[schemars(length(min = 1, max = 32))]
    pub disks: Vec<DiskSpec>,
    /// Disks of this node that may lose what is on them. Nothing else in the spec or on a command line allows that.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub allow_destroy: Vec<DiskIdentity>,
    /// Network cards of a virtual machine.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub nics: Vec<Nic>,
    /// The node on the network that carries the planes.
    #[serde(default)]
    pub underlay: NodeUnderlay,
}

/// One disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskSpec {
    /// Its name; default `disk-N`, N being its place in the list, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DiskName>,
    /// What it is for; default `system` for the first disk, and `data` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<DiskPurpose>,
    /// The storage pool of Proxmox VE that it is made in; with `substrate.type: proxmox` only, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<ProxmoxName>,
    /// Its size in GiB. A system disk needs 10 GiB (ADR 0001). Needed where the substrate creates the disk (`proxmox`, `cloud`).
    #[serde(default, rename = "sizeGiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub size_gib: Option<u32>,
    /// How to find it; needed on metal. Without it, the disk that the node boots from.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub rule: Option<DiskRule>,
}

/// A network card of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nic {
    /// The bridge that it is attached to.
    pub bridge: ProxmoxName,
    /// Its VLAN; the bridge must carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u16>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
}

/// The node on the network that carries the planes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeUnderlay {
    /// Where peers reach the node; default its first static address. A node without one opens every connection itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Its interfaces; without any, DHCP on every Ethernet device.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub interfaces: Vec<Interface>,
}
