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
    /// Ceph: whether it is used, and how it replicates data.
    #[serde(default)]
    pub ceph: Ceph,
}

/// OpenZFS: storage pools of the substrate with the type `zfs`, or pools on the nodes' own disks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zfs {
    /// Whether OpenZFS is used; if it is, `pools` must name at least one pool.
    #[serde(default)]
    pub enabled: bool,
    /// The pools: storage pools of Proxmox VE with the type `zfs`, or names of pools that nodes create on their disks with the purpose `zfs`.
    #[serde(default)]
    #[schemars(length(max = 64), example = json!(["tank"]))]
    pub pools: Vec<ProxmoxName>,
}

/// Ceph. When it is enabled, the four other keys are needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ceph {
    /// Whether Ceph is used; if it is, the four other keys are needed, and some disks must have the purpose `ceph`.
    #[serde(default)]
    pub enabled: bool,
    /// The unit that two replicas must not share; needed when Ceph is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_domain: Option<CephDomain>,
    /// The number of replicas; needed when Ceph is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "size": 3, "minSize": 2 }))]
    pub replication: Option<CephReplication>,
    /// The planes that carry Ceph's traffic; needed when Ceph is enabled.
    #[serde(default)]
    #[schemars(length(max = 2), example = json!(["wg3"]))]
    pub planes: Vec<PlaneId>,
    /// The recovery after the loss of an OSD; needed when Ceph is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = json!({ "outAfterMinutes": 10, "rebuild": "automatic" }))]
    pub recovery: Option<CephRecovery>,
}

/// The unit that two replicas must not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CephDomain {
    /// A node.
    Node,
    /// A failure domain of `nodes.failureDomains`.
    Domain,
}

/// The number of replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CephReplication {
    /// The number of copies of all data; at least as many nodes or failure domains need a disk for Ceph.
    #[schemars(range(min = 1, max = 10), example = 3)]
    pub size: u8,
    /// The number of copies that must be available for a write to succeed. It should be more than half of `size`; otherwise two halves can diverge.
    #[schemars(range(min = 1, max = 10), example = 2)]
    pub min_size: u8,
}

/// The recovery after the loss of an OSD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CephRecovery {
    /// Minutes after which a lost OSD is marked as out and its data is copied again.
    #[schemars(range(min = 1, max = 10_080), example = 10)]
    pub out_after_minutes: u32,
    /// The maximum number of copy operations that each OSD takes part in at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub max_backfills: u8,
    /// How an OSD on a replaced node is rebuilt.
    pub rebuild: CephRebuild,
}

const fn one() -> u8 {
    1
}

/// How an OSD on a replaced node is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CephRebuild {
    /// The agent, on an empty disk.
    Automatic,
    /// The agent, after the approval of an operator.
    Manual,
}
