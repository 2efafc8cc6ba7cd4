//! The effect of a change of the spec on running nodes: one table by path, and the comparison of two specs with it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::check::Validated;

/// The effect of a change, from the least to the most disruptive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The configuration does not change: file names, texts for people, data for drills.
    Nothing,
    /// A new configuration volume, applied while the node runs.
    Live,
    /// A new configuration volume, applied at the node's next start.
    Restart,
    /// The node is destroyed and replaced by a new one.
    Replace,
    /// A new image, because the code changes and not only the configuration.
    Image,
    /// A new cluster.
    Rebuild,
}

impl Effect {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Live => "live",
            Self::Restart => "restart",
            Self::Replace => "replace",
            Self::Image => "image",
            Self::Rebuild => "rebuild",
        }
    }
}

/// A path of the spec, and the effect of a change at or below it. The longest path that matches applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectRow {
    /// The path; nodes of the inventory are `spec.nodes.inventory[]`.
    pub path: &'static str,
    /// The effect of a change.
    pub effect: Effect,
}

const fn row(path: &'static str, effect: Effect) -> EffectRow {
    EffectRow { path, effect }
}

/// The effect of each path.
pub static EFFECTS: &[EffectRow] = &[
    row("apiVersion", Effect::Live),
    row("kind", Effect::Live),
    row("metadata.name", Effect::Rebuild),
    row("metadata.artifactVersion", Effect::Live),
    row("metadata.intent", Effect::Nothing),
    row("metadata.generation", Effect::Live),
    row("metadata.minimumRelease", Effect::Live),
    row("spec.arch", Effect::Rebuild),
    row("spec.substrate.type", Effect::Image),
    row("spec.substrate.proxmox", Effect::Nothing),
    row("spec.substrate.cloud", Effect::Nothing),
    row("spec.substrate.metal.firmware", Effect::Image),
    row("spec.substrate.metal", Effect::Nothing),
    row("spec.nodes.vmidRange", Effect::Replace),
    row("spec.nodes.failureDomains", Effect::Nothing),
    row("spec.nodes.inventory[]", Effect::Live),
    row("spec.nodes.inventory[].id", Effect::Replace),
    row("spec.nodes.inventory[].incarnation", Effect::Replace),
    row("spec.nodes.inventory[].role", Effect::Replace),
    row("spec.nodes.inventory[].domain", Effect::Replace),
    row("spec.nodes.inventory[].cpu", Effect::Restart),
    row("spec.nodes.inventory[].memoryMiB", Effect::Restart),
    row("spec.nodes.inventory[].disks", Effect::Replace),
    row("spec.nodes.inventory[].allowDestroy", Effect::Restart),
    row("spec.nodes.inventory[].nics", Effect::Replace),
    row("spec.nodes.inventory[].underlay", Effect::Restart),
    row("spec.networking.planes", Effect::Rebuild),
    row("spec.networking.policy", Effect::Live),
    row("spec.networking.overlay", Effect::Rebuild),
    row("spec.networking.underlay", Effect::Restart),
    row("spec.security.bootstrap", Effect::Live),
    row("spec.security.bootstrap.caFingerprint", Effect::Rebuild),
    row("spec.security.ssh", Effect::Nothing),
    row("spec.security.keyRotation", Effect::Live),
    row("spec.security.operators", Effect::Live),
    row("spec.security.roster", Effect::Live),
    row("spec.storage", Effect::Replace),
    row("spec.orchestration", Effect::Live),
    row("spec.kubernetes", Effect::Restart),
    row("spec.kubernetes.podCidr", Effect::Rebuild),
    row("spec.kubernetes.nodePodPrefix", Effect::Rebuild),
    row("spec.kubernetes.serviceCidr", Effect::Rebuild),
    row("spec.kubernetes.version", Effect::Image),
    row("spec.kubernetes.cni", Effect::Live),
    row("spec.workload", Effect::Live),
    row("spec.lifecycle", Effect::Live),
    row("spec.acceptance", Effect::Nothing),
];

/// One difference between two specs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// The path; nodes are given by name.
    pub path: String,
    /// Its effect.
    pub effect: Effect,
}

/// Every difference between two valid specs. Nodes are compared by name, so their order does not matter.
pub fn changes(old: &Validated, new: &Validated) -> Vec<Change> {
    let (Ok(old), Ok(new)) = (serde_json::to_value(old.spec()), serde_json::to_value(new.spec())) else {
        return Vec::new(); // specs are maps with string keys, so they are always valid JSON
    };
    let mut found = Vec::new();
    compare(&mut found, "", "", &old, &new);
    found
}

fn compare(found: &mut Vec<Change>, path: &str, pattern: &str, old: &Value, new: &Value) {
    if old == new {
        return;
    }
    let join = |base: &str, key: &str| if base.is_empty() { key.to_owned() } else { format!("{base}.{key}") };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let none = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none));
                compare(found, &join(path, key), &join(pattern, key), a, b);
            }
        }
        (Value::Array(a), Value::Array(b)) if pattern == "spec.nodes.inventory" => {
            let (a, b) = (by_name(a), by_name(b));
            let names: std::collections::BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
            for name in names {
                let at = format!("{path}[{name}]");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => compare(found, &at, "spec.nodes.inventory[]", a, b),
                    _ => found.push(Change { path: at, effect: Effect::Live }),
                }
            }
        }
        _ => found.push(Change { path: path.to_owned(), effect: effect(pattern) }),
    }
}

fn by_name(nodes: &[Value]) -> BTreeMap<&str, &Value> {
    nodes.iter().filter_map(|node| Some((node.get("name")?.as_str()?, node))).collect()
}

/// The effect of a path, by the longest row that matches; a path without a row has the strongest effect.
pub fn effect(path: &str) -> Effect {
    let fits = |row: &&EffectRow| {
        path.strip_prefix(row.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    EFFECTS.iter().filter(fits).max_by_key(|row| row.path.len()).map_or(Effect::Rebuild, |row| row.effect)
}
