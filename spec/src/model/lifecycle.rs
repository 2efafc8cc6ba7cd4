//! Thresholds and mechanisms of self-healing and of upgrades (requirement S4): every one has a default, and the default is documented.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A section of which every field has a default: serde's `default` per field and `Default` agree because one is made of the other.
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
    /// How a lost node is kept out.
    pub fence: Fence,
    /// How a lost node is replaced.
    pub replace: Replace,
    /// How a replaced node comes back.
    pub reintegrate: Reintegrate,
    /// How new images reach nodes.
    pub upgrade: Upgrade,
    /// How far the clock of a machine is believed.
    pub clock: Clock,
    /// How long a node may have been away, in hours; one that comes back later is replaced, not taken back, since it has missed revocations.
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
        /// Seconds without an answer after which a node is lost, unless the substrate says so earlier.
        lost_after_seconds: u32 = 120, 1..=86_400;
    }
}

/// How a lost node is kept out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fence {
    /// What must be known before a node counts as fenced, that is before its replacement may start.
    pub method: FenceMethod,
    /// Seconds until a fence that nobody has confirmed is given up and reported.
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: u32,
}

impl Default for Fence {
    fn default() -> Self {
        Self { method: FenceMethod::default(), timeout_seconds: 240 }
    }
}

/// What must be known before a node counts as fenced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FenceMethod {
    /// The substrate says that the machine is off or gone.
    #[default]
    Substrate,
    /// An operator says so.
    Operator,
}

/// How a lost node is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Replace {
    /// Who starts a replacement.
    pub mode: ReplaceMode,
    /// How many replacements of one role run at a time.
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent_per_role: u16,
    /// How many replacements of one node are started in an hour.
    #[schemars(range(min = 1, max = 60))]
    pub max_per_hour: u16,
    /// The share of nodes, in percent, that must be lost at once for replacing to stop until an operator says more: so large a loss is a fault of something else.
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

/// Who starts a replacement.
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
    /// How a replaced node comes back.
    Reintegrate {
        /// Minutes that a new node has to become a member and ready.
        timeout_minutes: u32 = 10, 1..=1440;
    }
}

/// How new images reach nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upgrade {
    /// How an upgrade goes through the nodes.
    pub strategy: UpgradeStrategy,
    /// How many workers may be away at a time; control planes always go one by one.
    #[schemars(range(min = 1, max = 1000))]
    pub max_unavailable: u16,
    /// Minutes that a node must be well before it keeps what it booted; until then, a reset rolls it back.
    #[schemars(range(min = 1, max = 1440))]
    pub grace_minutes: u32,
}

impl Default for Upgrade {
    fn default() -> Self {
        Self { strategy: UpgradeStrategy::default(), max_unavailable: 1, grace_minutes: 5 }
    }
}

/// How an upgrade goes through the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpgradeStrategy {
    /// Each node boots the new image in its place.
    #[default]
    Rolling,
    /// New nodes come before old ones go.
    Surge,
    /// Each node is destroyed and made anew.
    Replace,
}

section! {
    /// How far a node's clock is believed.
    Clock {
        /// Days that the real-time clock may be ahead of the last time that is certain, and still be believed.
        span_days: u32 = 3650, 1..=36_500;
    }
}
