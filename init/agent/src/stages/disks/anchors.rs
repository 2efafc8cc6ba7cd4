//! Keeps the two anchors of the system disk up to date: both contain the node's current record and the current LUKS2
//! headers. Observe, plan, apply.

use std::collections::BTreeMap;

use super::anchor::{self, Anchor, Found, HEAD_BYTES, PLACE};
use super::containers::{self, Content};
use super::luks::{self, Checked};
use super::ops::{DiskKey, DiskOps, OpsError};
use super::survey::Store;

/// The facts about both partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorFacts {
    /// The anchor in each store's partition.
    pub found: BTreeMap<Store, Found>,
    /// The header of each finished container.
    pub headers: BTreeMap<Store, Checked>,
}

/// Reads both partitions, which are given by their kernel names.
pub fn observe(
    ops: &mut dyn DiskOps,
    partitions: &BTreeMap<Store, String>,
    key: &DiskKey,
) -> Result<AnchorFacts, OpsError> {
    let mut facts = AnchorFacts { found: BTreeMap::new(), headers: BTreeMap::new() };
    // Usually both copies are equal, and then only one of them needs to be authenticated.
    let mut before: Option<(Vec<u8>, Found)> = None;
    for (store, partition) in partitions {
        let head = ops.read(partition, PLACE, HEAD_BYTES)?;
        let bytes = match anchor::claims(&head) {
            Some((length, _)) => ops.read(partition, PLACE, length)?,
            None => head,
        };
        let found = match before.take() {
            Some((equal, found)) if equal == bytes => found,
            _ => anchor::open(&bytes, key),
        };
        facts.found.insert(*store, found.clone());
        before = Some((bytes, found));
        let area = ops.read(partition, 0, luks::AREA_BYTES)?;
        if let Content::Finished(header) = containers::content(*store, &area) {
            facts.headers.insert(*store, header);
        }
    }
    Ok(facts)
}

/// The anchor to write into each store's partition, in this order; empty when both anchors are up to date. Pure.
pub fn plan(facts: &AnchorFacts, record: &str) -> Vec<(Store, Anchor)> {
    let own = |found: &Found| match found {
        Found::Own(anchor) => Some(anchor.clone()),
        Found::Absent | Found::Other => None,
    };
    let newest = facts.found.values().filter_map(own).max_by_key(|anchor| anchor.sequence);
    let sequence = newest.as_ref().map_or(0, |anchor| anchor.sequence);
    // A header that cannot be read now exists only in this backup, so the backup must be kept.
    let mut headers = newest.as_ref().map_or_else(BTreeMap::new, |anchor| anchor.headers.clone());
    headers.extend(facts.headers.clone());
    let wanted = match newest {
        Some(anchor) if anchor.record == record && anchor.headers == headers => anchor,
        _ => Anchor { sequence: sequence + 1, record: record.to_owned(), headers },
    };
    let stale = |store: &&Store| facts.found.get(*store).and_then(own).as_ref() != Some(&wanted);
    // Write the older or damaged copy first, so that the newest anchor stays intact until the other one is complete.
    let mut order: Vec<Store> = facts.found.keys().filter(stale).copied().collect();
    order.sort_by_key(|store| facts.found.get(store).and_then(own).map(|anchor| anchor.sequence));
    order.into_iter().map(|store| (store, wanted.clone())).collect()
}

/// Writes an anchor into a store's partition and flushes it.
pub fn apply(ops: &mut dyn DiskOps, partition: &str, anchor: &Anchor, key: &DiskKey) -> Result<(), OpsError> {
    ops.write(partition, PLACE, &anchor::seal(anchor, key))?;
    ops.flush(partition)
}

#[cfg(test)]
mod tests {
    use super::super::fake_disks::luks_area_of;
    use super::*;

    fn header(store: Store) -> Checked {
        Checked::read(&luks_area_of(store, luks::FINISHED, 3)).unwrap()
    }

    fn headers() -> BTreeMap<Store, Checked> {
        Store::ALL.into_iter().map(|store| (store, header(store))).collect()
    }

    fn own(sequence: u64, record: &str) -> Found {
        Found::Own(Anchor { sequence, record: record.into(), headers: headers() })
    }

    fn planned(state: Found, data: Found, record: &str) -> Vec<(Store, u64)> {
        let facts =
            AnchorFacts { found: [(Store::State, state), (Store::Data, data)].into(), headers: headers() };
        plan(&facts, record).into_iter().map(|(store, anchor)| (store, anchor.sequence)).collect()
    }

    #[test]
    fn both_anchors_get_the_record_and_the_older_copy_is_written_first() {
        use Store::{Data, State};
        assert_eq!(planned(Found::Absent, Found::Absent, "a"), [(State, 1), (Data, 1)]);
        assert_eq!(planned(own(3, "a"), own(3, "a"), "a"), []);
        assert_eq!(planned(own(3, "a"), own(3, "a"), "b"), [(State, 4), (Data, 4)]);
        assert_eq!(planned(own(4, "b"), own(3, "a"), "b"), [(Data, 4)], "an interrupted update is completed");
        assert_eq!(planned(own(4, "b"), own(3, "a"), "c"), [(Data, 5), (State, 5)]);
        assert_eq!(planned(own(3, "a"), Found::Other, "a"), [(Data, 3)], "a damaged copy is rewritten");
        assert_eq!(planned(Found::Other, own(3, "a"), "b"), [(State, 4), (Data, 4)]);
    }

    #[test]
    fn a_changed_header_is_backed_up_again() {
        let found = [(Store::State, own(3, "a")), (Store::Data, own(3, "a"))].into();
        let mut changed = headers();
        changed.insert(Store::Data, Checked::read(&luks_area_of(Store::Data, luks::FINISHED, 4)).unwrap());
        let changes = plan(&AnchorFacts { found, headers: changed.clone() }, "a");
        assert!(changes.iter().all(|(_, anchor)| anchor.headers == changed && anchor.sequence == 4));
        assert_eq!(changes.len(), 2);
    }

    /// O1: the anchor keeps the backup of a header that is damaged on the disk.
    #[test]
    fn the_backup_of_an_unreadable_header_is_kept() {
        let found = [(Store::State, own(3, "a")), (Store::Data, own(3, "a"))].into();
        let mut unreadable = headers();
        unreadable.remove(&Store::Data);
        let changes = plan(&AnchorFacts { found, headers: unreadable }, "b");
        assert_eq!(changes.len(), 2);
        assert!(changes.iter().all(|(_, anchor)| anchor.headers == headers()));
    }
}
