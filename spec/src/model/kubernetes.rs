//! Kubernetes, the platform of the reference workload.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::yes;
use kubedos_wire::value::{Cidr, KubernetesVersion};

/// Kubernetes, the platform of the reference workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesSpec {
    /// Whether nodes run Kubernetes.
    #[serde(default)]
    pub enabled: bool,
    /// The exact version that the lock pins; needed when Kubernetes is enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<KubernetesVersion>,
    /// High availability: how many control planes there are, and where etcd runs.
    #[serde(default)]
    pub ha: Ha,
    /// The pod network: its implementation, the visibility of flows, and the default policy.
    #[serde(default)]
    pub cni: Cni,
    /// Metrics, dashboards and logs, on the observability plane.
    #[serde(default)]
    pub observability: Observability,
    /// The addresses of all pods; the default is 10.244.0.0/16. Each node has one subnet, whose number is the node's id; subnet 0 is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"10.244.0.0/16")]
    pub pod_cidr: Option<Cidr>,
    /// The prefix length of a node's subnet of `podCidr`: 24 means 256 addresses for the pods of each node.
    #[serde(default = "node_prefix")]
    #[schemars(range(min = 16, max = 28))]
    pub node_pod_prefix: u8,
    /// The addresses of services; the default is 10.245.0.0/16.
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

/// High availability, as kubeadm's guidance describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ha {
    /// The number of control planes, as a check: it must equal the number in the inventory, which is the default.
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
    /// On other machines. This value is refused, because the cluster keeps its own state in etcd on the control planes.
    External,
}

/// The pod network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cni {
    /// The implementation of the pod network.
    #[serde(default)]
    pub name: CniName,
    /// Whether flows are visible through Hubble, on the observability plane, with client certificates.
    #[serde(default = "yes")]
    pub hubble: bool,
    /// The connections that a pod may have when no network policy selects it.
    #[serde(default)]
    pub policy_default: PolicyDefault,
}

impl Default for Cni {
    fn default() -> Self {
        Self { name: CniName::default(), hubble: true, policy_default: PolicyDefault::default() }
    }
}

/// An implementation of the pod network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CniName {
    /// Cilium, with native routing and in place of kube-proxy.
    #[default]
    Cilium,
}

/// The connections that a pod may have when no network policy selects it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyDefault {
    /// No connections.
    Deny,
    /// All connections within the cluster.
    #[default]
    Allow,
}

/// Metrics, dashboards and logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Observability {
    /// Whether a Prometheus server collects the metrics of nodes, Kubernetes and Cilium.
    #[serde(default)]
    pub prometheus: bool,
    /// Whether a Grafana server runs. Its dashboards show metrics and logs, so `prometheus` or `loki` should be enabled too.
    #[serde(default)]
    pub grafana: bool,
    /// Whether Loki collects the nodes' journals and the pods' output.
    #[serde(default)]
    pub loki: bool,
}
