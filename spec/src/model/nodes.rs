//! The nodes: their identity, their hardware, and their connection to the underlay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::node::{DiskIdentity, DiskPurpose, DiskRule, Interface, Role};
use kubedos_wire::value::{DiskName, DomainName, Endpoint, MacAddress, NodeId, NodeName, ProxmoxName};

/// The nodes, their numbers and their failure domains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nodes {
    /// The range of VMIDs in Proxmox VE: a node's VMID is `start` plus its id. Needed with `substrate.type: proxmox`, and not allowed otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "start": 2000, "end": 2099 }))]
    pub vmid_range: Option<VmidRange>,
    /// The failure domains: racks, rooms or hosts that can fail as a whole. The control planes should be in several of them.
    #[serde(default)]
    #[schemars(length(max = 1000), example = json!([{ "name": "rack-a" }, { "name": "rack-b" }]))]
    pub failure_domains: Vec<FailureDomain>,
    /// The nodes, in any order: their numbers are recorded, so a node keeps its addresses when its position in the list changes.
    #[schemars(length(min = 1, max = 100_000), example = json!([{ "name": "cp-1", "role": "control-plane", "disks": [{ "sizeGiB": 32 }] }]))]
    pub inventory: Vec<NodeSpec>,
}

/// A range of VMIDs, both ends included (Proxmox VE accepts 100 to 999999999).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmidRange {
    /// The base of the VMIDs: the node with id 1 has the next number, and no node has the base itself.
    #[schemars(range(min = 100, max = 999_999_999), example = 2000)]
    pub start: u32,
    /// The last VMID that a node may have.
    #[schemars(range(min = 100, max = 999_999_999), example = 2099)]
    pub end: u32,
}

/// A failure domain: a rack, a room or a host that can fail as a whole.
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
    /// The node's name, which is also its host name. A name keeps its number permanently, so a different node needs a different name.
    pub name: NodeName,
    /// The node's number, from which its addresses, its pods' addresses and its VMID derive. Without it, `plan --assign` assigns the lowest number that was never used, and records it in the allocation file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1)]
    pub id: Option<NodeId>,
    /// The incarnation of the node that the configuration expects: increase it by one when the node is replaced. The node refuses the seed of an earlier incarnation, even on an empty disk.
    #[serde(default = "first_incarnation")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub incarnation: u32,
    /// The role of the node in the cluster.
    pub role: Role,
    /// The node's failure domain, one of `failureDomains`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// The number of processors of the virtual machine; needed with `substrate.type: proxmox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024), example = 4)]
    pub cpu: Option<u16>,
    /// The memory of the virtual machine, in MiB (8192 for 8 GiB); needed with `substrate.type: proxmox`.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 16_777_216), example = 8192)]
    pub memory_mib: Option<u32>,
    /// The node's disks. The first disk is the system disk, unless it has a different `purpose`.
    #[schemars(length(min = 1, max = 32), example = json!([{ "sizeGiB": 32 }]))]
    pub disks: Vec<DiskSpec>,
    /// Disks of this node whose content may be destroyed, each by the identity in its `match`. No other field and no command-line option allows this.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!([{ "serial": "S3Z1NB0K100001" }]))]
    pub allow_destroy: Vec<DiskIdentity>,
    /// Network cards of the virtual machine; needed with `substrate.type: proxmox`, and not allowed otherwise.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!([{ "bridge": "vmbr0", "vlan": 10 }]))]
    pub nics: Vec<Nic>,
    /// The node's connection to the underlay, the network that carries the planes.
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
    /// A name for the disk, of your choice; the default is `disk-N`, where N is its index in the list, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DiskName>,
    /// The purpose of the disk; the default is `system` for the first disk and `data` for the others. Exactly one disk of a node has the purpose `system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<DiskPurpose>,
    /// The storage pool of Proxmox VE that contains the disk; needed with `substrate.type: proxmox`, and not allowed otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<ProxmoxName>,
    /// The disk's size in GiB; at least 10 for the system disk. Needed if the substrate creates the disk (`proxmox`, `cloud`); a node refuses a smaller disk.
    #[serde(default, rename = "sizeGiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576), example = 32)]
    pub size_gib: Option<u32>,
    /// The conditions that select the disk; exactly one disk must match. Needed on metal. Without it, the disk is the one that the node booted from.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "serial": "S3Z1NB0K100001" }))]
    pub rule: Option<DiskRule>,
}

impl DiskSpec {
    /// The disk's name: as declared, or `disk-` and its index in the node's list. `None` if no name has this index.
    pub fn name_at(&self, index: usize) -> Option<DiskName> {
        self.name.clone().or_else(|| format!("disk-{index}").parse().ok())
    }

    /// The disk's purpose: as declared, or the default for its index in the node's list.
    pub fn purpose_at(&self, index: usize) -> DiskPurpose {
        self.purpose.unwrap_or(if index == 0 { DiskPurpose::System } else { DiskPurpose::Data })
    }
}

/// A network card of a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nic {
    /// The bridge that the card is attached to, one of `substrate.proxmox.bridges`.
    #[schemars(example = &"vmbr0")]
    pub bridge: ProxmoxName,
    /// The card's VLAN; the bridge must be VLAN-aware and carry it. Without it, frames are untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4094), example = 10)]
    pub vlan: Option<u16>,
    /// The card's hardware address; without it, Proxmox VE generates one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
}

/// The node's connection to the underlay, the network that carries the planes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeUnderlay {
    /// The address at which peers reach the node; the default is its first static address. If a node has neither, only the node itself can open connections, so control planes need an endpoint or a static address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The node's interfaces. If the list is empty, the node uses DHCP on every Ethernet device.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!([{ "name": "uplink", "addresses": ["192.0.2.11/24"], "gateway": "192.0.2.1" }]))]
    pub interfaces: Vec<Interface>,
}

impl NodeUnderlay {
    /// The address at which peers reach the node: as declared, or its first static address.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let mut addresses = self.interfaces.iter().flat_map(|interface| &interface.addresses);
        self.endpoint.or_else(|| Endpoint::new(addresses.next()?.address()))
    }
}
