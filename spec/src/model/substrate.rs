//! The substrate of the nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::node::SubstrateType;
use kubedos_wire::value::{FirmwareName, ProxmoxName, ProxmoxTag};

/// The substrate of the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Substrate {
    /// The kind of substrate. It selects the kernel: `metal` uses the generic kernel with its list of drivers, the others use the cloud kernel.
    #[serde(rename = "type")]
    pub kind: SubstrateType,
    /// The cluster of Proxmox VE; needed with `type: proxmox`, and not allowed otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxmox: Option<Proxmox>,
    /// Additions to the generic kernel that the machines need, such as firmware; only with `type: metal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metal: Option<MetalSpec>,
    /// The cloud, or the lab; only with `type: cloud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<CloudSpec>,
}

/// A cluster of Proxmox VE, and the parts of it that are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proxmox {
    /// The name of the cluster of Proxmox VE.
    #[schemars(example = &"pve-01")]
    pub cluster_name: ProxmoxName,
    /// The storage pools that disks are created in.
    #[schemars(length(min = 1, max = 256), example = json!([{ "name": "fast-zfs", "type": "zfs" }]))]
    pub storage_pools: Vec<StoragePool>,
    /// The bridges that network cards are attached to.
    #[schemars(length(min = 1, max = 256), example = json!([{ "name": "vmbr0", "vlanAware": true, "trunks": [10, 20] }]))]
    pub bridges: Vec<Bridge>,
    /// Tags of every virtual machine. A colon is replaced by a dash, because Proxmox VE does not accept colons in tags.
    #[serde(default)]
    #[schemars(length(max = 64), example = json!(["kubedos"]))]
    pub tags: Vec<ProxmoxTag>,
}

/// A storage pool of Proxmox VE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoragePool {
    /// The pool's name in Proxmox VE; disks refer to it.
    pub name: ProxmoxName,
    /// The type of the pool.
    #[serde(rename = "type")]
    pub kind: PoolType,
}

/// The type of a storage pool, with the names that Proxmox VE uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolType {
    /// ZFS.
    Zfs,
    /// LVM.
    Lvm,
    /// LVM with thin provisioning.
    LvmThin,
    /// A directory.
    Dir,
    /// Btrfs.
    Btrfs,
    /// NFS.
    Nfs,
    /// Ceph RBD.
    Rbd,
}

/// A bridge of Proxmox VE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bridge {
    /// The bridge's name in Proxmox VE; network cards refer to it.
    #[schemars(example = &"vmbr0")]
    pub name: ProxmoxName,
    /// Whether the bridge is VLAN-aware.
    #[serde(default)]
    pub vlan_aware: bool,
    /// The VLANs that the bridge carries, from 1 to 4094. If the list is empty, the bridge carries all VLANs.
    #[serde(default)]
    #[schemars(length(max = 4094), inner(range(min = 1, max = 4094)), example = json!([10, 20]))]
    pub trunks: Vec<u16>,
}

/// Machines without a hypervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetalSpec {
    /// Packages of firmware and microcode that the machines need, by their names in Debian.
    #[serde(default)]
    #[schemars(length(max = 32), example = json!(["intel-microcode"]))]
    pub firmware: Vec<FirmwareName>,
}

/// Virtual machines of a cloud, or of the lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloudSpec {
    /// The cloud's name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), example = &"lab")]
    pub provider: Option<String>,
}
