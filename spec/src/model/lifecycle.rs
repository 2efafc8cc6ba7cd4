//! Thresholds and mechanisms of self-healing and of upgrades (requirement S4). Each has a documented default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines a section in which every field has a default. serde's `default` uses the generated `Default`, so the two agree.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr, $min:literal..=$max:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_doc])* #[schemars(range(min = $min, max = $max))] pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

/// Thresholds and mechanisms of self-healing and of upgrades.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Lifecycle {
    /// When a node counts as lost.
    pub detection: Detection,
    /// How a lost node is kept out of the cluster.
    pub fence: Fence,
    /// How a lost node is replaced.
    pub replace: Replace,
    /// How a replaced node rejoins the cluster.
    pub reintegrate: Reintegrate,
    /// How new images reach nodes.
    pub upgrade: Upgrade,
    /// How far the clock of a machine is trusted.
    pub clock: Clock,
    /// The maximum time that a node may be offline, in hours; a node that returns later is replaced, because it may have missed revocations.
    #[schemars(range(min = 1, max = 8760))]
    pub max_offline_hours: u32,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            detection: Detection::default(),
            fence: Fence::default(),
            replace: Replace::default(),
            reintegrate: Reintegrate::default(),
            upgrade: Upgrade::default(),
            clock: Clock::default(),
            max_offline_hours: 168,
        }
    }
}

section! {
    /// When a node counts as lost.
    Detection {
        /// Seconds between two probes of a node, over the control plane.
        probe_interval_seconds: u32 = 2, 1..=300;
        /// Seconds without an answer after which a node is suspected.
        suspect_after_seconds: u32 = 6, 1..=3600;
        /// Seconds without an answer after which a node is lost, unless the substrate reports the loss earlier.
        lost_after_seconds: u32 = 120, 1..=86_400;
    }
}

/// How a lost node is kept out of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fence {
    /// Whether the substrate or an operator must confirm that a node is fenced, before its replacement may start.
    pub method: FenceMethod,
    /// Seconds after which an unconfirmed fence is abandoned and reported.
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
}

impl Default for Fence {
    fn default() -> Self {
        Self { method: FenceMethod::default(), timeout_seconds: 240 }
    }
}

/// Whether the substrate or an operator must confirm that a node is fenced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FenceMethod {
    /// The substrate reports that the machine is off or deleted.
    #[default]
    Substrate,
    /// An operator confirms it.
    Operator,
}

/// How a lost node is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Replace {
    /// Whether the platform or an operator starts a replacement.
    pub mode: ReplaceMode,
    /// The maximum number of concurrent replacements for each role.
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent_per_role: u16,
    /// The maximum number of replacements of one node in an hour.
    #[schemars(range(min = 1, max = 60))]
    pub max_per_hour: u16,
    /// If this percentage of the nodes is lost at the same time, all replacements stop until an operator intervenes; such a loss probably has a common cause.
    #[schemars(range(min = 1, max = 100))]
    pub breaker_percent: u8,
}

impl Default for Replace {
    fn default() -> Self {
        Self {
            mode: ReplaceMode::default(),
            max_concurrent_per_role: 1,
            max_per_hour: 3,
            breaker_percent: 40,
        }
    }
}

/// Whether the platform or an operator starts a replacement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplaceMode {
    /// The platform.
    #[default]
    Automatic,
    /// An operator.
    Manual,
}

section! {
    /// How a replaced node rejoins the cluster.
    Reintegrate {
        /// Minutes within which a new node must become a member and ready.
        timeout_minutes: u32 = 10, 1..=1440;
    }
}

/// How new images reach nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upgrade {
    /// How an upgrade is applied to the nodes.
    pub strategy: UpgradeStrategy,
    /// The maximum number of workers that may be unavailable at a time; control planes are always upgraded one by one.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: u16,
    /// Minutes that a node must be healthy before it keeps the booted image; until then, a reset rolls it back.
    #[schemars(range(min = 1, max = 1440))]
    pub grace_minutes: u32,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { strategy: UpgradeStrategy::default(), max_unavailable: 1, grace_minutes: 5 }
    }
}

/// How an upgrade is applied to the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpgradeStrategy {
    /// Each node boots the new image in place.
    #[default]
    Rolling,
    /// New nodes are added before old nodes are removed.
    Surge,
    /// Each node is destroyed and replaced by a new one.
    Replace,
}

section! {
    /// How far the clock of a machine is trusted.
    Clock {
        /// Maximum number of days by which the real-time clock may be ahead of its floor and still be trusted.
        span_days: u32 = 3650, 1..=36_500;
    }
}
