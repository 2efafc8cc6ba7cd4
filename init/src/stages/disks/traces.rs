//! Where this node's STATE is, on all disks, and what it remembers: known before anything is written.
//!
//! STATE never moves by itself. A boot that would put it on another disk than the one that has it is refused, and so is a boot below
//! a floor that any attached disk remembers, whichever disk that boot would use. Disks are read at the offsets of the layout, not by
//! their partition tables, so a disk with a lost table is recognised too.

use kubedos_image::layout;
use kubedos_image::release::Release;

use super::anchor::{self, Anchor, Found, HEAD_BYTES, PLACE};
use super::containers::{self, Content};
use super::luks;
use super::node_record::{self, NodeRecord, RecordError};
use super::ops::{DiskKey, DiskOps, OpsError};
use super::survey::{Disk, Store};

/// STATE of this node, on one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The kernel's name of the disk.
    pub disk: String,
    /// The disk, as messages name it.
    pub named: String,
    /// What it remembers; `None` for a disk of a release without anchors, or with damaged ones, whose STATE this node's key opens.
    pub anchor: Option<Anchor>,
}

impl Trace {
    /// The record in the anchor.
    pub fn record(&self) -> Option<Result<NodeRecord, RecordError>> {
        self.anchor.as_ref().map(|anchor| NodeRecord::parse(&anchor.record))
    }
}

/// What all disks say.
#[derive(Debug, Default)]
pub struct Traces {
    /// The disks that have STATE of this node.
    pub found: Vec<Trace>,
    /// The disks that cannot be read, and may have it.
    pub unreadable: Vec<OpsError>,
}

impl Traces {
    /// What one disk says.
    pub fn on(&self, disk: &str) -> Option<&Trace> {
        self.found.iter().find(|trace| trace.disk == disk)
    }

    /// What the other disks say.
    pub fn beside<'a>(&'a self, disk: &'a str) -> impl Iterator<Item = &'a Trace> {
        self.found.iter().filter(move |trace| trace.disk != disk)
    }
}

/// Why this boot may not use the disk that it would use.
#[derive(Debug, thiserror::Error)]
pub enum TraceRefusal {
    /// A disk remembers that this boot must not be.
    #[error("{disk} holds this node's STATE")]
    Record {
        /// Which.
        disk: String,
        /// What it remembers.
        #[source]
        source: RecordError,
    },
    /// STATE would move.
    #[error(
        "this node's STATE is on {has}, but this boot would make it anew on {would}; STATE never moves by itself: boot from {has_name} or name it in `match`, detach it, or replace the node (a seed of a new incarnation)"
    )]
    Elsewhere {
        /// The disk that has it.
        has: String,
        /// Its kernel name.
        has_name: String,
        /// The disk that would get it.
        would: String,
    },
    /// Two disks have it, and the one that this boot would use is the older one.
    #[error(
        "this node's STATE is on {newer} and, older, on {older}, which this boot would use; detach the one that must not be used"
    )]
    Older {
        /// The disk with the newer one.
        newer: String,
        /// The disk that this boot would use.
        older: String,
    },
    /// It cannot be known whether STATE is elsewhere.
    #[error(
        "STATE would be made on {would}, but another disk cannot be read and may hold it; detach that disk if it is broken"
    )]
    Unreadable {
        /// The disk that would get it.
        would: String,
        /// The disk that cannot be read.
        #[source]
        source: OpsError,
    },
}

/// Looks at these disks. Writes nothing.
pub fn observe<'a>(
    ops: &mut dyn DiskOps,
    disks: impl Iterator<Item = &'a Disk>,
    key: &DiskKey,
) -> Result<Traces, OpsError> {
    let mut traces = Traces::default();
    for disk in disks {
        match look(ops, disk, key) {
            Ok(trace) => traces.found.extend(trace),
            Err(error @ OpsError::Io { .. }) => traces.unreadable.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(traces)
}

fn look(ops: &mut dyn DiskOps, disk: &Disk, key: &DiskKey) -> Result<Option<Trace>, OpsError> {
    let Some(starts) = starts(disk) else { return Ok(None) };
    let trace = |anchor| Trace { disk: disk.name.clone(), named: disk.to_string(), anchor };
    // The one that claims to be newest is authenticated first; an authentic one ends the search.
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

/// Where STATE and DATA lie on a disk of this size, if it is large enough to have them.
fn starts(disk: &Disk) -> Option<[u64; 2]> {
    let layout = layout::adopted(disk.bytes).ok()?; // too small
    let start = |store: Store| layout.place(store.role()).map(|place| place.start);
    Some([start(Store::State)?, start(Store::Data)?])
}

/// Whether this boot may use `target` (none: memory). Pure.
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
            .map_err(|source| TraceRefusal::Record { disk: trace.named.clone(), source })?;
    }
    let Some(target) = target else { return Ok(()) };
    let sequence = |trace: &Trace| trace.anchor.as_ref().map_or(0, |anchor| anchor.sequence);
    match (traces.on(&target.name), traces.beside(&target.name).max_by_key(|trace| sequence(trace))) {
        (_, None) => Ok(()),
        (None, Some(other)) => Err(TraceRefusal::Elsewhere {
            has: other.named.clone(),
            has_name: other.disk.clone(),
            would: target.to_string(),
        }),
        (Some(own), Some(other)) if sequence(own) < sequence(other) => {
            Err(TraceRefusal::Older { newer: other.named.clone(), older: own.named.clone() })
        }
        (Some(_), Some(_)) => Ok(()),
    }
}

/// STATE is about to be made on `target`: every disk that may have it must have been read.
pub fn may_make(traces: &mut Traces, target: &Disk) -> Result<(), TraceRefusal> {
    match traces.unreadable.pop() {
        Some(source) => Err(TraceRefusal::Unreadable { would: target.to_string(), source }),
        None => Ok(()),
    }
}
