//! The document itself, its metadata, and its small sections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{KubernetesSpec, Lifecycle, Networking, Nodes, Security, Storage, Substrate, yes};
use kubedos_wire::value::{ArtifactVersion, ClusterName, ReleaseVersion};

/// One cluster, declared completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// The version of this document's shape; another version of kubedOS may understand another one.
    pub api_version: ApiVersion,
    /// The kind of document.
    pub kind: Kind,
    /// What the cluster is called and which version of it this is.
    pub metadata: Metadata,
    /// What the cluster consists of.
    pub spec: Spec,
}

/// The version of the ClusterSpec's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only version so far.
    #[serde(rename = "kubedos.ca/v1alpha1")]
    V1alpha1,
}

/// The kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A cluster.
    Cluster,
}

/// What the cluster is called and which version of it this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The cluster's name; the names of output files start with it, and it stands in certificates. Another name is another cluster.
    pub name: ClusterName,
    /// The version of the artifact that this spec makes. It names output files and is shown by nodes; what code they run, the lock decides.
    pub artifact_version: ArtifactVersion,
    /// What the cluster is for, in a few words, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), example = &"the smallest cluster that shows everything")]
    pub intent: Option<String>,
    /// The generation of the configuration: raise it by one with every change that nodes shall take. A node refuses one that is lower than what it remembers.
    #[serde(default = "first_generation")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub generation: u64,
    /// The lowest release of kubedOS that may use this configuration; nodes of an older one refuse it. Raise it when an older release has a fault that must not come back. Without one, it is the first release that understands everything in a configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_release: Option<ReleaseVersion>,
}

const fn first_generation() -> u64 {
    1
}

/// What the cluster consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The processor architecture of every node, and of everything in the image.
    #[serde(default)]
    pub arch: Arch,
    /// What the nodes run on: machines of Proxmox VE, of a cloud, or of metal.
    pub substrate: Substrate,
    /// The nodes, their numbers and their failure domains.
    pub nodes: Nodes,
    /// Planes, policy and the network below them.
    pub networking: Networking,
    /// Trust, operators, rotation of keys.
    pub security: Security,
    /// Storage beyond the system disk.
    #[serde(default)]
    pub storage: Storage,
    /// Which gate enrolment has, and whether drift is mended.
    #[serde(default)]
    pub orchestration: Orchestration,
    /// The reference workload's platform.
    #[serde(default)]
    pub kubernetes: KubernetesSpec,
    /// A sample workload, whose availability drills watch.
    #[serde(default)]
    pub workload: Workload,
    /// Thresholds and mechanisms of self-healing and of upgrades.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// What the cluster must prove: how fast it recovers, in which drills.
    #[serde(default)]
    pub acceptance: Acceptance,
}

/// A processor architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    #[default]
    Amd64,
}

/// Which gate enrolment has, and how convergence runs. The agent does what the founding document's §9 gives to Salt and Ansible.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Orchestration {
    /// Enrolment, discovery and coordination.
    #[serde(default)]
    pub salt: Salt,
    /// Convergence and audit.
    #[serde(default)]
    pub ansible: Ansible,
}

/// Enrolment, discovery and coordination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Salt {
    /// Whether the agent enrols nodes and coordinates them. Kubernetes needs it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The gate that a node passes to become a member of the cluster.
    #[serde(default)]
    pub enrollment: Enrollment,
}

impl Default for Salt {
    fn default() -> Self {
        Self { enabled: true, enrollment: Enrollment::default() }
    }
}

/// The gate that a node passes to become a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enrollment {
    /// A single-use voucher in the node's seed, and the pinned certificate authority.
    #[default]
    #[serde(rename = "token+pin")]
    TokenPin,
    /// The node shows its fingerprint and waits for an operator.
    #[serde(rename = "offline-approval")]
    OfflineApproval,
}

/// Convergence and audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ansible {
    /// Whether the agent converges nodes and audits them. Kubernetes needs it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What is done about drift, that is about whatever on a node is not as declared.
    #[serde(default)]
    pub mode: AnsibleMode,
}

impl Default for Ansible {
    fn default() -> Self {
        Self { enabled: true, mode: AnsibleMode::default() }
    }
}

/// Whether drift is mended or only reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnsibleMode {
    /// Drift is mended.
    #[default]
    Converge,
    /// Drift is reported.
    Audit,
}

/// A sample workload that drills watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// Whether the sample workload is deployed.
    #[serde(default)]
    pub enabled: bool,
    /// How many replicas the sample workload has.
    #[serde(default = "workload_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u16,
}

const fn workload_replicas() -> u16 {
    2
}

impl Default for Workload {
    fn default() -> Self {
        Self { enabled: false, replicas: workload_replicas() }
    }
}

/// What the cluster must prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acceptance {
    /// The longest time to recover from a loss that is acceptable, in minutes; no drill may be given more.
    #[serde(default = "mttr")]
    #[schemars(range(min = 1, max = 10_080))]
    pub mttr_target_minutes: u32,
    /// The drills that show it, each at most once.
    #[serde(default)]
    #[schemars(length(max = 64), example = json!([{ "name": "delete-worker-vm", "expectRecoveryMinutes": 10 }]))]
    pub drills: Vec<Drill>,
}

const fn mttr() -> u32 {
    30
}

impl Default for Acceptance {
    fn default() -> Self {
        Self { mttr_target_minutes: mttr(), drills: Vec::new() }
    }
}

/// One drill and its bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drill {
    /// Which drill it is.
    pub name: DrillName,
    /// The longest time until everything is well again, in minutes; the drill fails beyond it.
    #[schemars(range(min = 1, max = 10_080), example = 10)]
    pub expect_recovery_minutes: u32,
}

/// The drills that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrillName {
    /// A worker is destroyed and replaced.
    DeleteWorkerVm,
    /// A control plane is destroyed and replaced.
    DeleteControlPlaneVm,
    /// A worker's planes are cut and joined again.
    PartitionWorker,
    /// A node is revoked and replaced.
    RevokeNode,
    /// The keys of every plane are rotated.
    RotateKeys,
    /// A broken image is rolled out and rolls back.
    RollBackUpgrade,
    /// The cluster is rebuilt from the recovery bundle alone.
    RebuildFromBundle,
}
