//! The nodes: who they are, what they have, how the underlay reaches them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::node::{DiskIdentity, DiskPurpose, DiskRule, Interface, Role};
use kubedos_wire::value::{DiskName, DomainName, Endpoint, MacAddress, NodeId, NodeName, ProxmoxName};

/// The nodes and the numbers that they get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nodes {
    /// The numbers of virtual machines in Proxmox VE: a node's is `start` plus its id. With `substrate.type: proxmox` only, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "start": 2000, "end": 2099 }))]
    pub vmid_range: Option<VmidRange>,
    /// What can fail as a whole: racks, rooms, hosts. Control planes should stand in several.
    #[serde(default)]
    #[schemars(length(max = 1000), example = json!([{ "name": "rack-a" }, { "name": "rack-b" }]))]
    pub failure_domains: Vec<FailureDomain>,
    /// The nodes themselves, in any order: their numbers are recorded, so moving a node in this list moves no address.
    #[schemars(length(min = 1, max = 100_000), example = json!([{ "name": "cp-1", "role": "control-plane", "disks": [{ "sizeGiB": 32 }] }]))]
    pub inventory: Vec<NodeSpec>,
}

/// A range of numbers of virtual machines, both ends included (Proxmox VE takes 100 to 999999999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmidRange {
    /// The base, a number that no node gets: the node with id 1 has the one after it.
    #[schemars(range(min = 100, max = 999_999_999), example = 2000)]
    pub start: u32,
    /// The last number that a node may have.
    #[schemars(range(min = 100, max = 999_999_999), example = 2099)]
    pub end: u32,
}

/// What can fail as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureDomain {
    /// The failure domain's name; nodes refer to it, and it becomes their zone label in Kubernetes.
    pub name: DomainName,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// The node's name, also its host name. A name keeps its numbers for ever: another node needs another name.
    pub name: NodeName,
    /// The node's number, of which its addresses, its pods' addresses and its VMID are made. Without one, `plan --assign` gives it the lowest that nobody ever had, and records it beside the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1)]
    pub id: Option<NodeId>,
    /// Which incarnation of the node the configuration expects: raise it by one when the node is replaced. The node refuses the seed of an earlier one, also on an empty disk.
    #[serde(default = "first_incarnation")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub incarnation: u32,
    /// What the node is in the cluster.
    pub role: Role,
    /// The node's failure domain, one of `failureDomains`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// How many processors the virtual machine has; needed with `substrate.type: proxmox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024), example = 4)]
    pub cpu: Option<u16>,
    /// How much memory the virtual machine has, in MiB (8 GiB are 8192); needed with `substrate.type: proxmox`.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 16_777_216), example = 8192)]
    pub memory_mib: Option<u32>,
    /// The node's disks. The first one holds the system, unless another one has that purpose.
    #[schemars(length(min = 1, max = 32), example = json!([{ "sizeGiB": 32 }]))]
    pub disks: Vec<DiskSpec>,
    /// Disks of this node that may lose what is on them, each as its `match` names it. Nothing else in the spec or on a command line allows that.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!([{ "serial": "S3Z1NB0K100001" }]))]
    pub allow_destroy: Vec<DiskIdentity>,
    /// Network cards of the virtual machine; with `substrate.type: proxmox` only, and needed there.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!([{ "bridge": "vmbr0", "vlan": 10 }]))]
    pub nics: Vec<Nic>,
    /// The node on the underlay, the network that carries the planes.
    #[serde(default)]
    pub underlay: NodeUnderlay,
}

const fn first_incarnation() -> u32 {
    1
}

/// One disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskSpec {
    /// A name for the disk, of your choice; default `disk-N`, N being its place in the list, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DiskName>,
    /// What the disk is for; default `system` for the first disk, and `data` for the others. Exactly one disk of a node is for the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<DiskPurpose>,
    /// The storage pool of Proxmox VE that the disk is made in; with `substrate.type: proxmox` only, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<ProxmoxName>,
    /// The disk's size in GiB; at least 10 for the system. Needed where the substrate makes the disk (`proxmox`, `cloud`); a node refuses a smaller one.
    #[serde(default, rename = "sizeGiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576), example = 32)]
    pub size_gib: Option<u32>,
    /// How the disk is found: exactly one must fit. Needed on metal. Without it, it is the disk that the node boots from.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "serial": "S3Z1NB0K100001" }))]
    pub rule: Option<DiskRule>,
}

/// A network card of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nic {
    /// The bridge that the card is attached to, one of `substrate.proxmox.bridges`.
    #[schemars(example = &"vmbr0")]
    pub bridge: ProxmoxName,
    /// The card's VLAN; the bridge must be VLAN-aware and carry it. Without one, frames are untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094), example = 10)]
    pub vlan: Option<u16>,
    /// The card's hardware address; without one, Proxmox VE makes one up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
}

/// The node on the network that carries the planes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeUnderlay {
    /// Where peers reach the node; default its first static address. A node without either opens every connection itself, so control planes need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The node's interfaces; without any, DHCP on every Ethernet device.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!([{ "name": "uplink", "addresses": ["192.0.2.11/24"], "gateway": "192.0.2.1" }]))]
    pub interfaces: Vec<Interface>,
}
