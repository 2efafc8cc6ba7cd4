//! Finds this node's STATE and its records on all disks, before the stage writes to any of them.
//!
//! The agent never moves STATE to another disk. It refuses a boot that would create STATE on one disk while another disk
//! contains it. It also refuses a boot below a floor in the record of any attached disk, even if the boot would not use
//! that disk. Disks are read at the offsets of the layout, not by their partition tables, so a disk with a lost table is
//! recognised too.

use kubedos_image::layout;
use kubedos_wire::release::Release;

use super::anchor::{self, Anchor, Found, HEAD_BYTES, PLACE};
use super::containers::{self, Content};
use super::luks;
use super::node_record::{self, NodeRecord, RecordError};
use super::ops::{DiskKey, DiskOps, OpsError};
use super::survey::{Disk, Store};

/// This node's STATE on one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The kernel's name of the disk.
    pub disk: String,
    /// The disk, as messages describe it.
    pub description: String,
    /// Its anchor; `None` if the disk has no intact anchor, but this node's key opens its STATE. Releases without anchors
    /// wrote such disks.
    pub anchor: Option<Anchor>,
}

impl Trace {
    /// The record in the anchor.
    pub fn record(&self) -> Option<Result<NodeRecord, RecordError>> {
        self.anchor.as_ref().map(|anchor| NodeRecord::parse(&anchor.record))
    }
}

/// The results for all disks.
#[derive(Debug, Default)]
pub struct Traces {
    /// The disks that have this node's STATE.
    pub found: Vec<Trace>,
    /// Errors of the disks that cannot be read. These disks may have STATE.
    pub unreadable: Vec<OpsError>,
}

impl Traces {
    /// The result for one disk.
    pub fn on(&self, disk: &str) -> Option<&Trace> {
        self.found.iter().find(|trace| trace.disk == disk)
    }

    /// The results for all other disks.
    pub fn others<'a>(&'a self, disk: &'a str) -> impl Iterator<Item = &'a Trace> {
        self.found.iter().filter(move |trace| trace.disk != disk)
    }
}

/// Why this boot is refused.
#[derive(Debug, thiserror::Error)]
pub enum TraceRefusal {
    /// The record on a disk forbids this boot.
    #[error("{disk} contains this node's STATE")]
    Record {
        /// The disk.
        disk: String,
        /// The reason.
        #[source]
        source: RecordError,
    },
    /// This boot would move STATE.
    #[error(
        "this node's STATE is on {state_disk}, but this boot would create it on {target}; the agent never moves STATE: boot from {state_name}, name it in `match`, detach it, or replace the node (a seed with a new incarnation)"
    )]
    Elsewhere {
        /// The disk that has it.
        state_disk: String,
        /// The kernel name of that disk.
        state_name: String,
        /// The disk on which this boot would create STATE.
        target: String,
    },
    /// Two disks have STATE, and this boot would use the older one.
    #[error(
        "this node's STATE is on {newer}, and an older copy is on {older}, which this boot would use; detach the disk that must not be used"
    )]
    Older {
        /// The disk with the newer one.
        newer: String,
        /// The disk that this boot would use.
        older: String,
    },
    /// It is unknown whether another disk has STATE.
    #[error(
        "this boot would create STATE on {target}, but another disk cannot be read and may contain it; detach that disk if it is broken"
    )]
    Unreadable {
        /// The disk on which this boot would create STATE.
        target: String,
        /// The disk that cannot be read.
        #[source]
        source: OpsError,
    },
}

/// Examines these disks. Makes no change.
pub fn observe<'a>(
    ops: &mut dyn DiskOps,
    disks: impl Iterator<Item = &'a Disk>,
    key: &DiskKey,
) -> Result<Traces, OpsError> {
    let mut traces = Traces::default();
    for disk in disks {
        match find(ops, disk, key) {
            Ok(trace) => traces.found.extend(trace),
            Err(error @ OpsError::Io { .. }) => traces.unreadable.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(traces)
}

fn find(ops: &mut dyn DiskOps, disk: &Disk, key: &DiskKey) -> Result<Option<Trace>, OpsError> {
    let Some(starts) = starts(disk) else { return Ok(None) };
    let trace = |anchor| Trace { disk: disk.name.clone(), description: disk.to_string(), anchor };
    // Try the anchor with the highest claimed sequence first, and stop at the first authentic one.
    let mut claims = Vec::new();
    for start in starts {
        let at = start + PLACE;
        claims.extend(
            anchor::claims(&ops.read(&disk.name, at, HEAD_BYTES)?).map(|(len, sequence)| (sequence, at, len)),
        );
    }
    claims.sort_unstable_by(|one, other| other.cmp(one));
    for (_, at, len) in claims {
        if let Found::Own(anchor) = anchor::open(&ops.read(&disk.name, at, len)?, key) {
            return Ok(Some(trace(Some(anchor))));
        }
    }
    let [state, _] = starts;
    let area = ops.read(&disk.name, state, luks::AREA_BYTES)?;
    match containers::content(Store::State, &area) {
        Content::Finished(header) if ops.opens(&header, key)? => Ok(Some(trace(None))),
        _ => Ok(None),
    }
}

/// The offsets of STATE and DATA on a disk of this size, if it is large enough.
fn starts(disk: &Disk) -> Option<[u64; 2]> {
    let layout = layout::adopted(disk.bytes).ok()?; // too small
    let start = |store: Store| layout.place(store.role()).map(|place| place.start);
    Some([start(Store::State)?, start(Store::Data)?])
}

/// Whether this boot may use the disk `target`, or memory if it is `None`. Pure.
pub fn judge(
    traces: &Traces,
    target: Option<&Disk>,
    now: &NodeRecord,
    release: &Release,
) -> Result<(), TraceRefusal> {
    for trace in &traces.found {
        let Some(record) = trace.record() else { continue };
        record
            .and_then(|then| node_record::accept(&then, now, release))
            .map_err(|source| TraceRefusal::Record { disk: trace.description.clone(), source })?;
    }
    let Some(target) = target else { return Ok(()) };
    let sequence = |trace: &Trace| trace.anchor.as_ref().map_or(0, |anchor| anchor.sequence);
    match (traces.on(&target.name), traces.others(&target.name).max_by_key(|trace| sequence(trace))) {
        (_, None) => Ok(()),
        (None, Some(other)) => Err(TraceRefusal::Elsewhere {
            state_disk: other.description.clone(),
            state_name: other.disk.clone(),
            target: target.to_string(),
        }),
        (Some(own), Some(other)) if sequence(own) < sequence(other) => {
            Err(TraceRefusal::Older { newer: other.description.clone(), older: own.description.clone() })
        }
        (Some(_), Some(_)) => Ok(()),
    }
}

/// Checks, before STATE is created on `target`, that every disk that may have STATE could be read.
pub fn may_create(traces: &mut Traces, target: &Disk) -> Result<(), TraceRefusal> {
    match traces.unreadable.pop() {
        Some(source) => Err(TraceRefusal::Unreadable { target: target.to_string(), source }),
        None => Ok(()),
    }
}
