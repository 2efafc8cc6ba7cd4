//! Storage beyond the system disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::value::{PlaneId, ProxmoxName};

/// Storage beyond the system disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Storage {
    /// OpenZFS: whether it is used, and for which pools.
    #[serde(default)]
    pub zfs: Zfs,
    /// Ceph: whether it is used, and how its replicas are kept.
    #[serde(default)]
    pub ceph: Ceph,
}

/// OpenZFS: of the substrate's pools where they are of that type, else of the nodes' own disks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zfs {
    /// Whether OpenZFS is used; then `pools` names at least one.
    #[serde(default)]
    pub enabled: bool,
    /// The pools: storage pools of Proxmox VE of type `zfs`, or the names of pools that nodes make of their disks of purpose `zfs`.
    #[serde(default)]
    #[schemars(length(max = 64), example = json!(["tank"]))]
    pub pools: Vec<ProxmoxName>,
}

/// Ceph. When it is enabled, all four of the following sections must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ceph {
    /// Whether Ceph is used; then the four keys below are needed, and disks have the purpose `ceph`.
    #[serde(default)]
    pub enabled: bool,
    /// What a fake must not share with another one; needed when enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<CephDomain>,
    /// How many replicas there are; needed when enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "size": 3, "minSize": 2 }))]
    pub replication: Option<CephReplication>,
    /// The planes that carry Ceph's traffic; needed when enabled.
    #[serde(default)]
    #[schemars(length(max = 2), example = json!(["wg3"]))]
    pub planes: Vec<PlaneId>,
    /// What happens after a loss; needed when enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "outAfterMinutes": 10, "rebuild": "automatic" }))]
    pub recovery: Option<CephRecovery>,
}

/// What a fake must not share with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CephDomain {
    /// A node.
    Node,
    /// A failure domain of `nodes.failureDomains`.
    Domain,
}

/// How many replicas there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CephReplication {
    /// How many copies of everything are kept; that many nodes or failure domains need a disk for Ceph.
    #[schemars(range(min = 1, max = 10), example = 3)]
    pub size: u8,
    /// How many copies must be there for a write to succeed; more than half of `size`, or two halves can disagree.
    #[schemars(range(min = 1, max = 10), example = 2)]
    pub min_size: u8,
}

/// What happens after a loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CephRecovery {
    /// Minutes until a lost OSD counts as gone and its data are copied again.
    #[schemars(range(min = 1, max = 10_080), example = 10)]
    pub out_after_minutes: u32,
    /// How many copies each OSD may take part in at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub max_backfills: u8,
    /// Who rebuilds an OSD on a replaced node.
    pub rebuild: CephRebuild,
}

const fn one() -> u8 {
    1
}

/// Who rebuilds an OSD on a replaced node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CephRebuild {
    /// The agent, on an empty disk.
    Automatic,
    /// An operator says so first.
    Manual,
}
