//! The root of the ClusterSpec, its metadata, and its small sections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{KubernetesSpec, Lifecycle, Networking, Nodes, Security, Storage, Substrate, yes};
use kubedos_wire::value::{ArtifactVersion, ClusterName, ReleaseVersion};

/// The complete declaration of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// The version of the ClusterSpec format; other versions of kubedOS may support other versions of the format.
    pub api_version: ApiVersion,
    /// The kind of document.
    pub kind: Kind,
    /// The name, version and generation of the cluster.
    pub metadata: Metadata,
    /// The content of the cluster: its nodes, networks and services.
    pub spec: Spec,
}

/// The version of the ClusterSpec format.
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

/// The name, version and generation of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The cluster's name. The names of output files start with it, and certificates contain it. A cluster with a different name is a different cluster.
    pub name: ClusterName,
    /// The version of the artifact that this spec produces. It is part of the names of output files, and nodes show it. It does not select the software of the nodes; the lock does.
    pub artifact_version: ArtifactVersion,
    /// The purpose of the cluster in a few words, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), example = &"the smallest cluster that shows everything")]
    pub intent: Option<String>,
    /// The generation of the configuration: increase it by one with every change that nodes must apply. A node refuses a generation below its recorded floor.
    #[serde(default = "first_generation")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub generation: u64,
    /// The lowest release of kubedOS that may use this configuration; nodes with an older release refuse it. Raise it if an older release has a fault that must not return. The default is the first release that supports every field of a configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_release: Option<ReleaseVersion>,
}

const fn first_generation() -> u64 {
    1
}

/// The content of the cluster: its nodes, networks and services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The processor architecture of every node, and of everything in the image.
    #[serde(default)]
    pub arch: Arch,
    /// The substrate of the nodes: virtual machines of Proxmox VE or of a cloud, or bare metal.
    pub substrate: Substrate,
    /// The nodes, their numbers and their failure domains.
    pub nodes: Nodes,
    /// The planes, the policy between them, and the network below them.
    pub networking: Networking,
    /// Trust, operators and key rotation.
    pub security: Security,
    /// Storage beyond the system disk.
    #[serde(default)]
    pub storage: Storage,
    /// How nodes enrol, and whether the agent corrects drift.
    #[serde(default)]
    pub orchestration: Orchestration,
    /// Kubernetes, the platform of the reference workload.
    #[serde(default)]
    pub kubernetes: KubernetesSpec,
    /// A sample workload; drills measure its availability.
    #[serde(default)]
    pub workload: Workload,
    /// Thresholds and mechanisms of self-healing and of upgrades.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// The acceptance criteria: the maximum time to recover, and the drills that test it.
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

/// How nodes enrol, and whether the agent corrects drift. The agent does the work of the tools that the keys `salt` and `ansible` are named after.
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
    /// How a node becomes a member of the cluster.
    #[serde(default)]
    pub enrollment: Enrollment,
}

impl Default for Salt {
    fn default() -> Self {
        Self { enabled: true, enrollment: Enrollment::default() }
    }
}

/// How a node becomes a member of the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Enrollment {
    /// A single-use voucher in the node's seed, and the pinned certificate authority.
    #[default]
    #[serde(rename = "token+pin")]
    TokenPin,
    /// The node shows its fingerprint and waits for the approval of an operator.
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
    /// How the agent treats drift, a difference between a node and its declaration.
    #[serde(default)]
    pub mode: AnsibleMode,
}

impl Default for Ansible {
    fn default() -> Self {
        Self { enabled: true, mode: AnsibleMode::default() }
    }
}

/// How the agent treats drift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnsibleMode {
    /// The agent corrects drift.
    #[default]
    Converge,
    /// The agent only reports drift.
    Audit,
}

/// A sample workload; drills measure its availability.
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

/// The acceptance criteria: the maximum time to recover, and the drills that test it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acceptance {
    /// The maximum acceptable time to recover from a loss, in minutes; no drill may have a longer limit.
    #[serde(default = "mttr")]
    #[schemars(range(min = 1, max = 10_080))]
    pub mttr_target_minutes: u32,
    /// The drills that test the recovery, each at most once.
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

/// One drill and its time limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drill {
    /// The kind of drill.
    pub name: DrillName,
    /// The maximum time until the cluster has recovered, in minutes; a drill that takes longer fails.
    #[schemars(range(min = 1, max = 10_080), example = 10)]
    pub expect_recovery_minutes: u32,
}

/// The kinds of drills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrillName {
    /// A worker is destroyed and replaced.
    DeleteWorkerVm,
    /// A control plane is destroyed and replaced.
    DeleteControlPlaneVm,
    /// A worker is disconnected from its planes and reconnected later.
    PartitionWorker,
    /// A node is revoked and replaced.
    RevokeNode,
    /// The keys of every plane are rotated.
    RotateKeys,
    /// A faulty image is rolled out, and the nodes roll it back.
    RollBackUpgrade,
    /// The cluster is rebuilt from the recovery bundle alone.
    RebuildFromBundle,
}
