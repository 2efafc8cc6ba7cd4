//! The ClusterSpec as people write it: the only source of field names, types, ranges, defaults and descriptions.
//!
//! The JSON Schema, the reference page (`docs/spec-reference.md`) and the check of a file's shape are generated from these
//! types. A constraint between several fields is a rule in [`crate::check`]. Every struct refuses unknown keys; every
//! optional field documents its default.

mod cluster;
mod kubernetes;
mod lifecycle;
mod networking;
mod nodes;
mod security;
mod storage;
mod substrate;

pub use cluster::{
    Acceptance, Ansible, AnsibleMode, ApiVersion, Arch, ClusterSpec, Drill, DrillName, Enrollment, Kind,
    Metadata, Orchestration, Salt, Spec, Workload,
};
pub use kubedos_wire::node::Peers;
pub use kubernetes::{Cni, CniName, Etcd, Ha, KubernetesSpec, Observability, PolicyDefault};
pub use lifecycle::{
    Clock, Detection, Fence, FenceMethod, Lifecycle, Reintegrate, Replace, ReplaceMode, Upgrade,
    UpgradeStrategy,
};
pub use networking::{AllowSpec, InterPlane, NetworkPolicy, Networking, Overlay, PlaneSpec, UnderlaySpec};
pub use nodes::{DiskSpec, FailureDomain, Nic, NodeSpec, NodeUnderlay, Nodes, VmidRange};
pub use security::{Bootstrap, BootstrapModel, KeyRotation, Roster, Security, Ssh};
pub use storage::{Ceph, CephDomain, CephRebuild, CephRecovery, CephReplication, Storage, Zfs};
pub use substrate::{Bridge, CloudSpec, MetalSpec, PoolType, Proxmox, StoragePool, Substrate};

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use kubedos_wire::value::PlaneId;

/// The JSON Schema (2020-12) of the ClusterSpec.
///
/// A key without a value is an error in a ClusterSpec, so the `null` that schemars adds to optional fields is removed.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<ClusterSpec>().to_value();
        without_null(&mut schema);
        schema
    });
    &SCHEMA
}

fn without_null(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [one] = types.as_slice() {
                    let one = one.clone();
                    object.insert("type".into(), one);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(one)] = choices.as_slice() {
                    let one = one.clone();
                    object.remove("anyOf");
                    for (key, inner) in one {
                        object.entry(key).or_insert(inner);
                    }
                }
            }
            // schemars writes the names of a map as a pattern; as `propertyNames`, the names are checked by their own rule.
            if let Some(Value::Object(patterns)) = object.remove("patternProperties")
                && let Some((pattern, inner)) = patterns.into_iter().next()
            {
                let names =
                    serde_json::json!({ "type": "string", "pattern": pattern, "x-rule": PlaneId::RULE.id });
                object.insert("additionalProperties".into(), inner);
                object.insert("propertyNames".into(), names);
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(crate) const fn yes() -> bool {
    true
}
