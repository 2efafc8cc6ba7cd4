//! Sample values for the tests and the fuzz targets of several crates. The product does not use them.

use crate::handover::{Handover, Medium, VERSION};

/// A hand-over of a node that booted from a disk.
pub fn handover() -> Handover {
    Handover {
        version: VERSION,
        release: "0.1.0".into(),
        boot_device: "vda".into(),
        boot_partuuid: None,
        medium: Medium::Disk,
        root_hash: "00".repeat(32),
        payload_hash: "11".repeat(32),
        configuration_hash: "22".repeat(32),
        cluster: "lab".into(),
        cluster_id: "33".repeat(32),
        generation: 4,
        record_count: 13,
        epoch: 1_763_300_000,
    }
}
