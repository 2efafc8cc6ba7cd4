//! Carries out the work on disks in this order: choose a disk, read the records of this node on all disks, then write
//! the partition table, the containers and the file systems.
//!
//! A disk that is not adopted yet gets its containers first and its table last. The table of an adopted disk therefore
//! proves that STATE and DATA were created. A header that is missing later was lost; it is not a sign of a first boot.

use std::collections::BTreeMap;

use kubedos_image::gpt::{self, SectorSize, Step as TableStep};
use kubedos_image::guid::Guid;
use kubedos_image::layout::{self, State};

use super::anchor::Anchor;
use super::anchors;
use super::choose::{self, NoTarget};
use super::containers::{self, ContainerChange, ContainerFacts, ContainerRefusal, Content};
use super::duplicates;
use super::filesystems::{self, FilesystemChange, FilesystemFacts, Superblock};
use super::identity;
use super::luks::{self, Checked};
use super::node_record::NodeRecord;
use super::ops::{ContainerStep, DiskOps, FilesystemStep, OpsError, ToOpen};
use super::survey::{Disk, Store, Survey};
use super::table::{self, DesiredTable, NewUuids, TableChange, TableFacts};
use super::traces::{self, Trace, Traces};
use super::{Desired, DisksError, Patience, Settled, Storage};
use kubedos_wire::handover::Medium;

/// Brings the disks to the desired state; makes no change if they have it already. Without a disk, STATE and DATA are
/// mounted in memory.
pub fn settle(
    ops: &mut dyn DiskOps,
    desired: &Desired,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<Settled, DisksError> {
    let mut done = Done::default();
    let survey = ops.survey()?;
    // If STATE is mounted, an earlier run in this boot has already checked the other disks.
    let settled = survey.mounted.contains(&Store::State);
    let target = choose::target(&desired.boot, desired.system.as_ref(), &survey);
    let examined = survey.disks.iter().filter(|disk| !settled || target.as_ref() == Ok(disk));
    let mut traces = traces::observe(ops, examined, &desired.key)?;
    let mut work = Work { ops, desired, random, done: &mut done };
    let storage = match work.disk(&survey, target.clone(), &mut traces) {
        Err(error) if error.is_absence() => {
            traces::judge(&traces, None, &desired.now, &desired.release)?;
            if desired.patience < Patience::Over && may_still_appear(&error) {
                return Err(DisksError::NotYet(error.to_string()));
            }
            work.memory()?;
            Storage::Memory { why: reason_for_memory(&error, &traces) }
        }
        storage => storage?,
    };
    let recorded = match &target {
        Ok(disk) => traces.on(&disk.name).and_then(Trace::record).transpose()?,
        Err(_) => None,
    };
    Ok(Settled { storage, recorded, persistent: done.persistent, transient: done.transient })
}

fn may_still_appear(error: &DisksError) -> bool {
    matches!(error, DisksError::NoTarget(NoTarget::NoMatch(_) | NoTarget::BootDiskAbsent(_)))
}

/// Why no disk is usable, and which disk contains STATE but was not used.
fn reason_for_memory(error: &DisksError, traces: &Traces) -> String {
    match traces.found.first() {
        Some(trace) => format!("{error}; this node's STATE is on {} and was not used", trace.description),
        None => error.to_string(),
    }
}

/// The changes made so far.
#[derive(Default)]
struct Done {
    persistent: Vec<String>,
    transient: Vec<String>,
}

/// One run over the layers.
struct Work<'a> {
    ops: &'a mut dyn DiskOps,
    desired: &'a Desired,
    random: &'a mut dyn FnMut() -> [u8; 16],
    done: &'a mut Done,
}

/// The chosen disk.
struct Target {
    disk: Disk,
    /// `allowDestroy` names it.
    may_destroy: bool,
    /// Its table already contained STATE and DATA before this boot.
    adopted: bool,
    /// The node's STATE on it.
    trace: Option<Trace>,
}

impl Work<'_> {
    fn disk(
        &mut self,
        survey: &Survey,
        target: Result<&Disk, NoTarget>,
        traces: &mut Traces,
    ) -> Result<Storage, DisksError> {
        let desired = self.desired;
        let disk = target?.clone();
        let by_rule = desired.system.as_ref().is_some_and(|system| system.rule.is_some());
        let settled = survey.mounted.contains(&Store::State);
        if let (Some(booted), Medium::Disk, false, false) =
            (desired.booted, desired.boot.medium, by_rule, settled)
        {
            duplicates::check(self.ops, survey, booted)?;
        }
        let facts = observe_table(self.ops, &disk)?;
        let state = facts.found.as_ref().ok().and_then(|found| layout::recognise(&found.table));
        let adopted = state.is_some_and(|recognised| recognised.state == State::Adopted);
        let may_destroy = survey.may_destroy(&disk, &desired.allow_destroy);
        let changes = table::plan(
            &facts,
            DesiredTable { may_destroy, renew_uuids: desired.renew_uuids },
            &self.new_uuids(),
        )?;
        traces::judge(traces, Some(&disk), &desired.now, &desired.release)?;
        let target = Target { may_destroy, adopted, trace: traces.on(&disk.name).cloned(), disk };
        if !target.adopted && target.trace.is_none() {
            traces::may_create(traces, &target.disk)?;
        }
        self.check_patience(&target, &changes)?;
        let (commit, prepare): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, TableChange::Write { .. }));
        if target.adopted {
            self.table(&target.disk, &commit)?;
        }
        self.table(&target.disk, &prepare)?;
        let survey = self.ops.survey()?;
        let absent = || NoTarget::BootDiskAbsent(target.disk.name.clone());
        let target = Target { disk: survey.disk(&target.disk.name).cloned().ok_or_else(absent)?, ..target };
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

    fn new_uuids(&mut self) -> NewUuids {
        let mut name = || Guid::from_random((self.random)());
        NewUuids { disk: name(), esp: name(), seed: name(), state: name(), data: name() }
    }

    /// An apparently empty disk is read a second time before a table is written to it. A disk without a table but with
    /// STATE of this node gets no new table.
    fn check_patience(&self, target: &Target, changes: &[TableChange]) -> Result<(), DisksError> {
        let creates_table =
            changes.iter().any(|change| matches!(change, TableChange::Write { why: table::PARTITIONED, .. }));
        if creates_table && self.desired.patience == Patience::Fresh && !target.may_destroy {
            return Err(DisksError::NotYet(format!(
                "{} seems to be empty, and is read again before it is partitioned",
                target.disk
            )));
        }
        if creates_table && target.trace.is_some() && !target.may_destroy {
            return Err(table::TableRefusal::Lost { disk: target.disk.to_string() }.into());
        }
        Ok(())
    }

    fn table(&mut self, disk: &Disk, changes: &[TableChange]) -> Result<(), DisksError> {
        for change in changes {
            apply_table(self.ops, disk, change)?;
            match change {
                TableChange::Wipe => self.done.persistent.push(format!("{} wiped", disk.name)),
                TableChange::Write { why, .. } => self.done.persistent.push(format!("{} {why}", disk.name)),
                TableChange::Announce { request, number, .. } => {
                    self.done.transient.push(format!("{request:?} partition {number}"));
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
        // An open container is in use, so its disk is ready: only its header is damaged.
        if is_loss && self.desired.patience < Patience::Over && survey.open.is_empty() {
            let what = format!(
                "a header on {} is missing, and the disk is read again before any change",
                target.disk
            );
            return Err(DisksError::NotYet(what));
        }
        for change in changes? {
            match change {
                ContainerChange::Create { store, lost } => {
                    self.create(target, store, lost.as_deref(), survey)?
                }
                ContainerChange::Restore { store, header } => self.restore(target, store, &header, survey)?,
            }
        }
        Ok(())
    }

    /// Reads the headers and opens the finished containers. Opening does not change the disk, and only cryptsetup can
    /// test the key.
    fn observe_containers(
        &mut self,
        target: &Target,
        survey: &Survey,
    ) -> Result<Vec<ContainerFacts>, DisksError> {
        let mut found = Vec::new();
        for store in Store::ALL {
            let partition = partition(&target.disk, store)?;
            let content = containers::content(store, &self.ops.read(&partition, 0, luks::AREA_BYTES)?);
            found.push((store, partition, content));
        }
        let opened = self.open_finished(&found, survey)?;
        let anchor = target.trace.as_ref().and_then(|trace| trace.anchor.as_ref());
        let facts = found.into_iter().map(|(store, partition, content)| ContainerFacts {
            store,
            partition,
            content,
            opens: survey.open.contains_key(&store) || opened.contains(&store),
            existed: target.adopted || anchor.is_some(),
            backup: anchor.and_then(|anchor| anchor.headers.get(&store)).cloned(),
        });
        Ok(facts.collect())
    }

    /// Opens the finished containers that are not open yet, and returns those that the node's key opens.
    fn open_finished(
        &mut self,
        found: &[(Store, String, Content)],
        survey: &Survey,
    ) -> Result<Vec<Store>, OpsError> {
        let wanted: Vec<ToOpen> = found
            .iter()
            .filter(|(store, ..)| !survey.open.contains_key(store))
            .filter_map(|(store, partition, content)| match content {
                Content::Finished(header) => {
                    Some(ToOpen { store: *store, partition: partition.clone(), header: header.clone() })
                }
                _ => None,
            })
            .collect();
        let results = self.ops.open_each(&wanted, &self.desired.key);
        let mut opened = Vec::new();
        for (ToOpen { store, .. }, result) in wanted.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    self.done.transient.push(format!("{} opened", store.name()));
                    opened.push(store);
                }
                Err(OpsError::WrongKey { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// Opens the container; returns whether the node's key fits.
    fn open(&mut self, store: Store, partition: &str, header: &Checked) -> Result<bool, OpsError> {
        let step = ContainerStep::Open { header: header.clone() };
        match self.ops.container(store, partition, &step, &self.desired.key) {
            Ok(()) => {
                self.done.transient.push(format!("{} opened", store.name()));
                Ok(true)
            }
            Err(OpsError::WrongKey { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create(
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
            self.ops.container(store, &partition, &ContainerStep::Close, &self.desired.key)?;
        }
        let key = &self.desired.key;
        self.ops.container(store, &partition, &ContainerStep::Format { uuid: container }, key)?;
        let written = self.ops.read(&partition, 0, luks::AREA_BYTES)?;
        let header = Checked::read(&written).map_err(|source| ContainerRefusal::Unacceptable {
            partition: partition.clone(),
            store: store.name(),
            source,
        })?;
        self.ops.container(store, &partition, &ContainerStep::Open { header }, key)?;
        self.ops.filesystem(store, &FilesystemStep::Create { uuid: filesystem })?;
        self.ops.container(store, &partition, &ContainerStep::Finish, key)?;
        // Creating a container wipes the anchor in its partition. Write the anchor back at once, so that the record is in both
        // partitions while the other store is created.
        if let Some(anchor) = target.trace.as_ref().and_then(|trace| trace.anchor.as_ref()) {
            let mut headers = anchor.headers.clone();
            headers.remove(&store);
            let anchor = Anchor { headers, ..anchor.clone() };
            anchors::apply(self.ops, &partition, &anchor, key)?;
        }
        self.done.persistent.push(match lost {
            Some(lost) => format!("{} created on {partition}, replacing {lost}", store.name()),
            None => format!("{} created on {partition}", store.name()),
        });
        Ok(())
    }

    /// Restores a header: writes the key slot first, then one copy of the header after the other. A header with a correct
    /// checksum therefore always has its key slot.
    fn restore(
        &mut self,
        target: &Target,
        store: Store,
        header: &Checked,
        survey: &Survey,
    ) -> Result<(), DisksError> {
        let partition = partition(&target.disk, store)?;
        let lost = |what| ContainerRefusal::Lost { partition: partition.clone(), store: store.name(), what };
        if !self.ops.opens(header, &self.desired.key)? {
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
            .persistent
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
        let changes = filesystems::plan(&facts, &survey)?;
        let checks = changes.iter().filter_map(|change| match change {
            FilesystemChange::Check(store) => Some(*store),
            FilesystemChange::Mount(_) | FilesystemChange::Grow(_) => None,
        });
        let checks: Vec<Store> = checks.collect();
        self.ops.check_each(&checks)?;
        self.done.transient.extend(checks.iter().map(|store| format!("{} checked", store.name())));
        for change in changes {
            match change {
                FilesystemChange::Check(_) => {}
                FilesystemChange::Mount(store) => {
                    self.ops.filesystem(store, &FilesystemStep::Mount)?;
                    self.done.transient.push(format!("{} mounted", store.name()));
                }
                FilesystemChange::Grow(store) => {
                    self.ops.filesystem(store, &FilesystemStep::Grow)?;
                    self.done.persistent.push(format!("{} grown", store.name()));
                }
            }
        }
        Ok(())
    }

    fn memory(&mut self) -> Result<(), OpsError> {
        let survey = self.ops.survey()?;
        for store in Store::ALL.into_iter().filter(|store| !survey.mounted.contains(store)) {
            self.ops.filesystem(store, &FilesystemStep::MountMemory)?;
            self.done.transient.push(format!("{} mounted in memory", store.name()));
        }
        Ok(())
    }
}

/// Reads the facts that the plan of the table needs.
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

/// Updates both anchors of the disk with STATE to this record and the current headers; returns whether an anchor was
/// written.
pub fn keep_anchors(
    ops: &mut dyn DiskOps,
    storage: &Storage,
    desired: &Desired,
    record: &NodeRecord,
) -> Result<bool, DisksError> {
    let Storage::Disk { stores, .. } = storage else { return Ok(false) };
    let partitions: BTreeMap<Store, String> =
        stores.iter().map(|(store, partition, _)| (*store, partition.clone())).collect();
    let facts = anchors::observe(ops, &partitions, &desired.key)?;
    let changes = anchors::plan(&facts, &record.emit()?);
    for (store, anchor) in &changes {
        if let Some(partition) = partitions.get(store) {
            anchors::apply(ops, partition, anchor, &desired.key)?;
        }
    }
    Ok(!changes.is_empty())
}
