//! Trust, operators and key rotation. A spec contains public data only, never a secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::node::Operator;
use kubedos_wire::value::{Fingerprint, UserName};

/// Trust, operators and key rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Security {
    /// The initial trust: the root of all certificates, and how a new node proves its identity.
    pub bootstrap: Bootstrap,
    /// Accepted without effect: a node has no SSH.
    #[serde(default)]
    pub ssh: Ssh,
    /// How often keys are rotated.
    #[serde(default)]
    pub key_rotation: KeyRotation,
    /// The people who may use the agent's API; their machines are peers on the control plane only.
    #[serde(default)]
    #[schemars(length(max = 1000), example = json!([{
        "name": "ada",
        "role": "admin",
        "wireguardKey": "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
    }]))]
    pub operators: Vec<Operator>,
    /// How the roster, the list of members, is signed.
    #[serde(default)]
    pub roster: Roster,
}

/// The initial trust: the root of all certificates, and how a new node proves its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// The trust model.
    pub model: BootstrapModel,
    /// The SHA-256 of the root certificate, as `kubedos-build keys show` prints it. If it is given, keys under a different root are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_fingerprint: Option<Fingerprint>,
    /// The lifetime of an armed voucher, in minutes. A new node enrols with a voucher.
    #[serde(default = "voucher_minutes")]
    #[schemars(range(min = 1, max = 10_080))]
    pub voucher_minutes: u32,
}

const fn voucher_minutes() -> u32 {
    60
}

/// The trust model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootstrapModel {
    /// A root certificate authority that is kept offline, and an intermediate authority for each cluster.
    OfflineCa,
}

/// Accepted without effect: a node has no SSH.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ssh {
    /// Users for SSH. The list has no effect and causes a warning.
    #[serde(default)]
    #[schemars(length(max = 1000), example = json!(["ops"]))]
    pub allow_users: Vec<UserName>,
    /// Whether SSH allows passwords; `true` is refused.
    #[serde(default)]
    pub password_auth: bool,
}

/// How often keys are rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRotation {
    /// Days between two rotations of a node's WireGuard keys, on every plane.
    #[serde(default = "wireguard_days")]
    #[schemars(range(min = 1, max = 3650))]
    pub wireguard_days: u32,
    /// The lifetime of Kubernetes certificates, in days.
    #[serde(default = "kube_cert_days")]
    #[schemars(range(min = 1, max = 3650))]
    pub kube_cert_days: u32,
}

const fn wireguard_days() -> u32 {
    30
}

const fn kube_cert_days() -> u32 {
    90
}

impl Default for KeyRotation {
    fn default() -> Self {
        Self { wireguard_days: wireguard_days(), kube_cert_days: kube_cert_days() }
    }
}

/// How the list of members is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Roster {
    /// The number of control planes that must sign a new roster; the default is a majority, and a lower number is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9), example = 2)]
    pub threshold: Option<u8>,
}
