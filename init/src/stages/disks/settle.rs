//! The order of work on disks: choose, judge what disks remember, then table, containers and file systems.
//!
//! A disk that was not adopted gets its containers first and its table last: the table of an adopted disk is the promise that STATE and
//! DATA were made, so that a header that is missing later is a loss and never a beginning.

use std::collections::BTreeMap;

use kubedos_image::gpt::{self, SectorSize, Step as TableStep};
use kubedos_image::guid::Guid;
use kubedos_image::layout::{self, State};

use super::anchor::Anchor;
use super::anchors;
use super::choose::{self, NoTarget};
use super::containers::{self, ContainerChange, ContainerFacts, ContainerRefusal, Content};
use super::filesystems::{self, FilesystemChange, FilesystemFacts, Superblock};
use super::identity;
use super::luks::{self, Checked};
use super::node_record::NodeRecord;
use super::ops::{ContainerStep, DiskOps, FilesystemStep, OpsError};
use super::survey::{Disk, Store, Survey};
use super::table::{self, FreshNames, TableChange, TableFacts, TableWish};
use super::traces::{self, Trace, Traces};
use super::twins;
use super::{DisksError, Patience, Settled, Storage, Wish};
use crate::handover::Medium;

/// Brings disks to what is wished; does nothing when they are. Without a disk STATE and DATA are mounted in memory.
pub fn settle(
    ops: &mut dyn DiskOps,
    wish: &Wish,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<Settled, DisksError> {
    let mut done = Done::default();
    let survey = ops.survey()?;
    // Where STATE is mounted, this boot has judged the other disks already.
    let settled = survey.mounted.contains(&Store::State);
    let target = choose::target(&wish.boot, wish.system.as_ref(), &survey);
    let looked_at = survey.disks.iter().filter(|disk| !settled || target.as_ref() == Ok(disk));
    let mut traces = traces::observe(ops, looked_at, &wish.key)?;
    let mut work = Work { ops, wish, random, done: &mut done };
    let storage = match work.disk(&survey, target.clone(), &mut traces) {
        Err(error) if error.is_absence() => {
            traces::judge(&traces, None, &wish.now, &wish.release)?;
            if wish.patience < Patience::Over && may_still_come(&error) {
                return Err(DisksError::NotYet(error.to_string()));
            }
            work.memory()?;
            Storage::Memory { why: without(&error, &traces) }
        }
        storage => storage?,
    };
    let remembered = match &target {
        Ok(disk) => traces.on(&disk.name).and_then(Trace::record).transpose()?,
        Err(_) => None,
    };
    Ok(Settled { storage, remembered, lasting: done.lasting, passing: done.passing })
}

fn may_still_come(error: &DisksError) -> bool {
    matches!(error, DisksError::NoTarget(NoTarget::NoMatch(_) | NoTarget::BootDiskGone(_)))
}

/// Why there is no disk, and where STATE is all the same.
fn without(error: &DisksError, traces: &Traces) -> String {
    match traces.found.first() {
        Some(trace) => format!("{error}; this node's STATE is on {} and was not used", trace.named),
        None => error.to_string(),
    }
}

/// What was done so far.
#[derive(Default)]
struct Done {
    lasting: Vec<String>,
    passing: Vec<String>,
}

/// One run over the layers.
struct Work<'a> {
    ops: &'a mut dyn DiskOps,
    wish: &'a Wish,
    random: &'a mut dyn FnMut() -> [u8; 16],
    done: &'a mut Done,
}

/// The disk that is worked on.
struct Target {
    disk: Disk,
    /// `allowDestroy` names it.
    may_destroy: bool,
    /// Its table had STATE and DATA before this boot.
    adopted: bool,
    /// What it remembers.
    trace: Option<Trace>,
}

impl Work<'_> {
    fn disk(
        &mut self,
        survey: &Survey,
        target: Result<&Disk, NoTarget>,
        traces: &mut Traces,
    ) -> Result<Storage, DisksError> {
        let wish = self.wish;
        let disk = target?.clone();
        let by_rule = wish.system.as_ref().is_some_and(|system| system.rule.is_some());
        let settled = survey.mounted.contains(&Store::State);
        if let (Some(booted), Medium::Disk, false, false) = (wish.booted, wish.boot.medium, by_rule, settled)
        {
            twins::check(self.ops, survey, booted)?;
        }
        let facts = observe_table(self.ops, &disk)?;
        let state = facts.found.as_ref().ok().and_then(|found| layout::recognise(&found.table));
        let adopted = state.is_some_and(|recognised| recognised.state == State::Adopted);
        let may_destroy = survey.may_destroy(&disk, &wish.allow_destroy);
        let changes = table::plan(&facts, TableWish { may_destroy, rename: wish.rename }, &self.names())?;
        traces::judge(traces, Some(&disk), &wish.now, &wish.release)?;
        let target = Target { may_destroy, adopted, trace: traces.on(&disk.name).cloned(), disk };
        if !target.adopted && target.trace.is_none() {
            traces::may_make(traces, &target.disk)?;
        }
        self.check_patience(&target, &changes)?;
        let (commit, prepare): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, TableChange::Write { .. }));
        if target.adopted {
            self.table(&target.disk, &commit)?;
        }
        self.table(&target.disk, &prepare)?;
        let survey = self.ops.survey()?;
        let gone = || NoTarget::BootDiskGone(target.disk.name.clone());
        let target = Target { disk: survey.disk(&target.disk.name).cloned().ok_or_else(gone)?, ..target };
        self.containers(&target, &survey)?;
        if !target.adopted {
            self.table(&target.disk, &commit)?;
        }
        self.filesystems()?;
        let stores = Store::ALL.map(|store| {
            Ok::<_, DisksError>((store, partition(&target.disk, store)?, place(&target.disk, store)?.1))
        });
        Ok(Storage::Disk {
            line: choose::line(&target.disk),
            stores: stores.into_iter().collect::<Result<_, _>>()?,
        })
    }

    fn names(&mut self) -> FreshNames {
        let mut name = || Guid::from_random((self.random)());
        FreshNames { disk: name(), esp: name(), seed: name(), state: name(), data: name() }
    }

    /// A disk that reads as empty is read again before a table is laid out on it, and one that has lost its table but remembers this
    /// node is not laid out at all.
    fn check_patience(&self, target: &Target, changes: &[TableChange]) -> Result<(), DisksError> {
        let lays_out =
            changes.iter().any(|change| matches!(change, TableChange::Write { why: table::LAID_OUT, .. }));
        if lays_out && self.wish.patience == Patience::Fresh && !target.may_destroy {
            return Err(DisksError::NotYet(format!(
                "{} reads as empty, and is read again before it is laid out",
                target.disk
            )));
        }
        if lays_out && target.trace.is_some() && !target.may_destroy {
            return Err(table::TableRefusal::Lost { disk: target.disk.to_string() }.into());
        }
        Ok(())
    }

    fn table(&mut self, disk: &Disk, changes: &[TableChange]) -> Result<(), DisksError> {
        for change in changes {
            apply_table(self.ops, disk, change)?;
            match change {
                TableChange::Wipe => self.done.lasting.push(format!("{} wiped", disk.name)),
                TableChange::Write { why, .. } => self.done.lasting.push(format!("{} {why}", disk.name)),
                TableChange::Announce { request, number, .. } => {
                    self.done.passing.push(format!("{request:?} partition {number}"));
                }
            }
        }
        Ok(())
    }

    fn containers(&mut self, target: &Target, survey: &Survey) -> Result<(), DisksError> {
        let facts = self.observe_containers(target, survey)?;
        let changes = containers::plan(&facts, target.may_destroy);
        let is_loss = match &changes {
            Ok(changes) => changes.iter().any(|change| matches!(change, ContainerChange::Restore { .. })),
            Err(refusal) => matches!(refusal, ContainerRefusal::Lost { .. }),
        };
        // An open container is in use, so its disk is there: only its header is bad.
        if is_loss && self.wish.patience < Patience::Over && survey.open.is_empty() {
            let what =
                format!("{} has lost a header, and is read again before anything is done", target.disk);
            return Err(DisksError::NotYet(what));
        }
        for change in changes? {
            match change {
                ContainerChange::Make { store, lost } => self.make(target, store, lost.as_deref(), survey)?,
                ContainerChange::Restore { store, header } => self.restore(target, store, &header, survey)?,
            }
        }
        Ok(())
    }

    /// Reads the headers, and opens the containers that are finished: that changes nothing on the disk, and only the kernel can say
    /// whether the key fits.
    fn observe_containers(
        &mut self,
        target: &Target,
        survey: &Survey,
    ) -> Result<Vec<ContainerFacts>, DisksError> {
        let mut facts = Vec::new();
        for store in Store::ALL {
            let partition = partition(&target.disk, store)?;
            let content = containers::content(store, &self.ops.read(&partition, 0, luks::AREA_BYTES)?);
            let opens = match &content {
                Content::Finished(_) if survey.open.contains_key(&store) => true,
                Content::Finished(header) => self.open(store, &partition, header)?,
                _ => false,
            };
            let anchor = target.trace.as_ref().and_then(|trace| trace.anchor.as_ref());
            facts.push(ContainerFacts {
                store,
                partition,
                content,
                opens,
                made: target.adopted || anchor.is_some(),
                backup: anchor.and_then(|anchor| anchor.headers.get(&store)).cloned(),
            });
        }
        Ok(facts)
    }

    /// Whether the node's key opens it; then it is open.
    fn open(&mut self, store: Store, partition: &str, header: &Checked) -> Result<bool, OpsError> {
        let step = ContainerStep::Open { header: header.clone() };
        match self.ops.container(store, partition, &step, &self.wish.key) {
            Ok(()) => {
                self.done.passing.push(format!("{} opened", store.name()));
                Ok(true)
            }
            Err(OpsError::WrongKey { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make(
        &mut self,
        target: &Target,
        store: Store,
        lost: Option<&str>,
        survey: &Survey,
    ) -> Result<(), DisksError> {
        let partition = partition(&target.disk, store)?;
        let mut uuid = || Guid::from_random((self.random)());
        let (container, filesystem) = (uuid(), uuid());
        if survey.open.contains_key(&store) {
            self.ops.container(store, &partition, &ContainerStep::Close, &self.wish.key)?;
        }
        let key = &self.wish.key;
        self.ops.container(store, &partition, &ContainerStep::Format { uuid: container }, key)?;
        let made = self.ops.read(&partition, 0, luks::AREA_BYTES)?;
        let header = Checked::read(&made).map_err(|source| ContainerRefusal::Unacceptable {
            partition: partition.clone(),
            store: store.name(),
            source,
        })?;
        self.ops.container(store, &partition, &ContainerStep::Open { header }, key)?;
        self.ops.filesystem(store, &FilesystemStep::Make { uuid: filesystem })?;
        self.ops.container(store, &partition, &ContainerStep::Finish, key)?;
        // Making a container wipes the anchor beside it. What the disk remembers must not be left in one place while the other store
        // is made.
        if let Some(anchor) = target.trace.as_ref().and_then(|trace| trace.anchor.as_ref()) {
            let mut headers = anchor.headers.clone();
            headers.remove(&store);
            let anchor = Anchor { headers, ..anchor.clone() };
            anchors::apply(self.ops, &partition, &anchor, key)?;
        }
        self.done.lasting.push(match lost {
            Some(lost) => format!("{} made anew on {partition}, in place of {lost}", store.name()),
            None => format!("{} made on {partition}", store.name()),
        });
        Ok(())
    }

    /// Key slot first, then one copy of the header after the other: a header that is whole has its key slot.
    fn restore(
        &mut self,
        target: &Target,
        store: Store,
        header: &Checked,
        survey: &Survey,
    ) -> Result<(), DisksError> {
        let partition = partition(&target.disk, store)?;
        let lost = |what| ContainerRefusal::Lost { partition: partition.clone(), store: store.name(), what };
        if !self.ops.opens(header, &self.wish.key)? {
            return Err(lost("the backup of its header does not open with this node's key").into());
        }
        let mut at = luks::AREA_BYTES;
        for length in [luks::SLOT_BYTES, luks::COPY_BYTES, luks::COPY_BYTES] {
            at -= length;
            let bytes = header.bytes().get(at..at + length).unwrap_or_default();
            self.ops.write(&partition, at as u64, bytes)?;
            self.ops.flush(&partition)?;
        }
        if !survey.open.contains_key(&store) && !self.open(store, &partition, header)? {
            return Err(lost("its restored header does not open with this node's key").into());
        }
        self.done
            .lasting
            .push(format!("the header of {} on {partition} was restored from its backup", store.name()));
        Ok(())
    }

    fn filesystems(&mut self) -> Result<(), DisksError> {
        let survey = self.ops.survey()?;
        let mut facts = Vec::new();
        for store in Store::ALL {
            let head = self.ops.read(&store.label(), 0, filesystems::HEAD_BYTES)?;
            facts.push(FilesystemFacts { store, superblock: Superblock::read(&head) });
        }
        for change in filesystems::plan(&facts, &survey)? {
            match change {
                FilesystemChange::Check(store) => {
                    self.ops.filesystem(store, &FilesystemStep::Check)?;
                    self.done.passing.push(format!("{} checked", store.name()));
                }
                FilesystemChange::Mount(store) => {
                    self.ops.filesystem(store, &FilesystemStep::Mount)?;
                    self.done.passing.push(format!("{} mounted", store.name()));
                }
                FilesystemChange::Grow(store) => {
                    self.ops.filesystem(store, &FilesystemStep::Grow)?;
                    self.done.lasting.push(format!("{} grown", store.name()));
                }
            }
        }
        Ok(())
    }

    fn memory(&mut self) -> Result<(), OpsError> {
        let survey = self.ops.survey()?;
        for store in Store::ALL.into_iter().filter(|store| !survey.mounted.contains(store)) {
            self.ops.filesystem(store, &FilesystemStep::MountMemory)?;
            self.done.passing.push(format!("{} mounted in memory", store.name()));
        }
        Ok(())
    }
}

/// Reads what the table's plan needs.
pub fn observe_table<'a>(ops: &mut dyn DiskOps, disk: &'a Disk) -> Result<TableFacts<'a>, OpsError> {
    let edge = usize::try_from(disk.bytes).map_or(identity::EDGE, |bytes| bytes.min(identity::EDGE));
    let head = ops.read(&disk.name, 0, edge)?;
    let tail = ops.read(&disk.name, disk.bytes.saturating_sub(edge as u64), edge)?;
    let found = gpt::read(&head, &tail, disk.bytes, disk.sector_size().unwrap_or(SectorSize::B512));
    Ok(TableFacts { disk, found, head, tail })
}

fn apply_table(ops: &mut dyn DiskOps, disk: &Disk, change: &TableChange) -> Result<(), OpsError> {
    match change {
        TableChange::Wipe => {
            let zeroes = vec![0; identity::EDGE];
            ops.write(&disk.name, disk.bytes.saturating_sub(identity::EDGE as u64), &zeroes)?;
            ops.flush(&disk.name)?;
            ops.write(&disk.name, 0, &zeroes)?;
            ops.flush(&disk.name)
        }
        TableChange::Write { steps, .. } => steps.iter().try_for_each(|step| match step {
            TableStep::Write(extent) => ops.write(&disk.name, extent.offset, &extent.bytes),
            TableStep::Flush => ops.flush(&disk.name),
        }),
        TableChange::Announce { request, number, place } => {
            ops.announce(&disk.name, *request, *number, *place)
        }
    }
}

/// Number and size of a store's partition.
fn place(disk: &Disk, store: Store) -> Result<(u32, u64), DisksError> {
    let nowhere = || DisksError::NoPlace(disk.name.clone(), store.name());
    let layout = layout::adopted(disk.bytes).map_err(|_| nowhere())?;
    let place = layout.place(store.role()).ok_or_else(nowhere)?;
    Ok((place.number, place.len))
}

fn partition(disk: &Disk, store: Store) -> Result<String, DisksError> {
    Ok(disk.partition(place(disk, store)?.0))
}

/// Has both anchors of the disk that STATE is on hold this record and the headers as they are; says whether that changed anything.
pub fn keep_anchors(
    ops: &mut dyn DiskOps,
    storage: &Storage,
    wish: &Wish,
    record: &NodeRecord,
) -> Result<bool, DisksError> {
    let Storage::Disk { stores, .. } = storage else { return Ok(false) };
    let partitions: BTreeMap<Store, String> =
        stores.iter().map(|(store, partition, _)| (*store, partition.clone())).collect();
    let facts = anchors::observe(ops, &partitions, &wish.key)?;
    let changes = anchors::plan(&facts, &record.emit()?);
    for (store, anchor) in &changes {
        if let Some(partition) = partitions.get(store) {
            anchors::apply(ops, partition, anchor, &wish.key)?;
        }
    }
    Ok(!changes.is_empty())
}
