//! Trust, operators, rotation of keys. Public facts only: no secret is ever in a spec.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use kubedos_wire::node::Operator;
use kubedos_wire::value::{Fingerprint, UserName};

/// Trust, operators, rotation of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Security {
    /// How trust begins: the root of all certificates, and how a new node proves itself.
    pub bootstrap: Bootstrap,
    /// Accepted and inert: a node has no SSH.
    #[serde(default)]
    pub ssh: Ssh,
    /// How often keys are changed.
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

/// How trust begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// The model of trust.
    pub model: BootstrapModel,
    /// The SHA-256 of the root certificate, as `kubedos-build keys show` prints it. When it is given, keys of another root are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_fingerprint: Option<Fingerprint>,
    /// How long a voucher, with which a new node enrols, lives once it is armed, in minutes.
    #[serde(default = "voucher_minutes")]
    #[schemars(range(min = 1, max = 10_080))]
    pub voucher_minutes: u32,
}

const fn voucher_minutes() -> u32 {
    60
}

/// The model of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootstrapModel {
    /// A root certificate authority that is kept offline, and an intermediate one for each cluster.
    OfflineCa,
}

/// Accepted and inert: a node has no SSH.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ssh {
    /// Users who might log in if there were SSH; without effect, and a warning says so.
    #[serde(default)]
    #[schemars(length(max = 1000), example = json!(["ops"]))]
    pub allow_users: Vec<UserName>,
    /// Whether users might log in by password; `true` is refused.
    #[serde(default)]
    pub password_auth: bool,
}

/// How often keys are changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRotation {
    /// Days between changes of a node's WireGuard keys, on every plane.
    #[serde(default = "wireguard_days")]
    #[schemars(range(min = 1, max = 3650))]
    pub wireguard_days: u32,
    /// Days that certificates of Kubernetes live.
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
    /// How many control planes must sign a new roster; default the majority of them, and never less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9), example = 2)]
    pub threshold: Option<u8>,
}
