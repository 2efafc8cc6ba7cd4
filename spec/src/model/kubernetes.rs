//! The reference workload's platform.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::yes;
use kubedos_wire::value::{Cidr, KubernetesVersion};

/// The reference workload's platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesSpec {
    /// Whether nodes run Kubernetes.
    #[serde(default)]
    pub enabled: bool,
    /// The exact version, the one that the lock pins; needed when Kubernetes is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<KubernetesVersion>,
    /// High availability: how many control planes there are, and where etcd runs.
    #[serde(default)]
    pub ha: Ha,
    /// The pods' network: which one, and what it shows and lets pass.
    #[serde(default)]
    pub cni: Cni,
    /// Metrics, dashboards and logs, on the observability plane.
    #[serde(default)]
    pub observability: Observability,
    /// The addresses of all pods; default 10.244.0.0/16. A node has the part of it whose number is its id; the first part stays free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.244.0.0/16")]
    pub pod_cidr: Option<Cidr>,
    /// The length of the prefix of a node's part of `podCidr`: 24 means 256 addresses for the pods of each node.
    #[serde(default = "node_prefix")]
    #[schemars(range(min = 16, max = 28))]
    pub node_pod_prefix: u8,
    /// The addresses of services; default 10.245.0.0/16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.245.0.0/16")]
    pub service_cidr: Option<Cidr>,
}

const fn node_prefix() -> u8 {
    24
}

impl Default for KubernetesSpec {
    fn default() -> Self {
        Self {
            enabled: false,
            version: None,
            ha: Ha::default(),
            cni: Cni::default(),
            observability: Observability::default(),
            pod_cidr: None,
            node_pod_prefix: node_prefix(),
            service_cidr: None,
        }
    }
}

/// High availability, after kubeadm's guidance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ha {
    /// How many control planes there are, as a check: it must be the number that the inventory has, which is also its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9), example = 3)]
    pub control_plane_replicas: Option<u32>,
    /// Where the members of etcd run.
    #[serde(default)]
    pub etcd: Etcd,
}

/// Where etcd runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Etcd {
    /// On the control planes.
    #[default]
    Stacked,
    /// Elsewhere; refused, since the cluster's own state lives in etcd on the control planes.
    External,
}

/// The pods' network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cni {
    /// Which network it is.
    #[serde(default)]
    pub name: CniName,
    /// Whether flows are visible through Hubble, on the observability plane, with client certificates.
    #[serde(default = "yes")]
    pub hubble: bool,
    /// What a pod may reach and be reached by when no policy selects it.
    #[serde(default)]
    pub policy_default: PolicyDefault,
}

impl Default for Cni {
    fn default() -> Self {
        Self { name: CniName::default(), hubble: true, policy_default: PolicyDefault::default() }
    }
}

/// A network for pods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CniName {
    /// Cilium, with native routing and in place of kube-proxy.
    #[default]
    Cilium,
}

/// What pods may do when no policy selects them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyDefault {
    /// Nothing.
    Deny,
    /// Everything within the cluster.
    #[default]
    Allow,
}

/// Metrics, dashboards and logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observability {
    /// Metrics: whether a Prometheus server collects those of nodes, Kubernetes and Cilium.
    #[serde(default)]
    pub prometheus: bool,
    /// Dashboards: whether a Grafana server runs. They show metrics and logs, so one of the other two should be enabled.
    #[serde(default)]
    pub grafana: bool,
    /// Logs: whether the nodes' journals and the pods' output are collected by Loki.
    #[serde(default)]
    pub loki: bool,
}
