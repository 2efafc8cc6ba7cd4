//! Reading and checking images of our own form. Everything is checked when an image is opened: afterwards every cluster is known to lie
//! inside of the image, and to be used once.

use super::Qcow2Error;
use super::format::{CLUSTER, COPIED, COUNTS, Header, OFFSET, Plan, TABLE, check_guest, l1_entries, plan};
use crate::source::Source;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use zerocopy::{FromBytes, IntoBytes};

/// The guest's view of an image.
#[expect(missing_debug_implementations, reason = "the image need not be printable")]
pub struct Image<S> {
    image: S,
    guest: u64,
    /// For each of the guest's clusters that is there, where it lies.
    clusters: BTreeMap<u64, u64>,
}

impl<S: Source> Image<S> {
    /// Opens an image, and checks it: header, tables and reference counts are exactly those that this guest content has.
    pub fn open(image: S) -> Result<Self, Qcow2Error> {
        let mut bytes = vec![0; size_of::<Header>()];
        if image.len() < bytes.len() as u64 || !image.len().is_multiple_of(CLUSTER) {
            return Err(Qcow2Error::Form("length"));
        }
        image.read_exact_at(&mut bytes, 0)?;
        let header = Header::read_from_bytes(&bytes).map_err(|_| Qcow2Error::Form("header"))?;
        let guest = header.guest.get();
        check_guest(guest)?;
        if header != plan(guest, 0, 0).header() && !same_form(&header, guest, image.len()) {
            return Err(Qcow2Error::Form("header"));
        }
        // The first table lies behind the header whatever else there is.
        let l1 = entries(&image, CLUSTER, l1_entries(guest))?;
        let tables: Vec<(u64, u64)> = (0u64..).zip(l1).filter(|(_, entry)| *entry != 0).collect();
        let total = image.len() / CLUSTER;
        let layout = layout_of(guest, tables.len() as u64, total).ok_or(Qcow2Error::Form("length"))?;
        if header != layout.header() {
            return Err(Qcow2Error::Form("header"));
        }
        let clusters = read_tables(&image, &layout, &tables)?;
        check_counts(&image, &layout)?;
        check_rest(&image, &layout)?;
        Ok(Self { image, guest, clusters })
    }

    /// How many clusters of 64 KiB hold data.
    pub fn allocated(&self) -> u64 {
        self.clusters.len() as u64
    }
}

/// A cheap look before the tables are read: the header is one that some plan of an image of that length has.
fn same_form(header: &Header, guest: u64, len: u64) -> bool {
    let total = len / CLUSTER;
    (0..=l1_entries(guest))
        .any(|tables| layout_of(guest, tables, total).is_some_and(|plan| plan.header() == *header))
}

/// The plan of an image of `total` clusters with that many second tables.
fn layout_of(guest: u64, tables: u64, total: u64) -> Option<Plan> {
    // The reference counts depend on the total alone, so that the data's share follows.
    let empty = plan(guest, tables, 0);
    let mut data = total.checked_sub(empty.total)?;
    for _ in 0..8 {
        let found = plan(guest, tables, data);
        match found.total.checked_sub(total) {
            Some(0) => return Some(found),
            Some(over) => data = data.checked_sub(over)?,
            None => return None,
        }
    }
    None
}

fn entries(image: &dyn Source, offset: u64, count: u64) -> Result<Vec<u64>, Qcow2Error> {
    let len =
        count.checked_mul(8).filter(|len| offset.checked_add(*len).is_some_and(|end| end <= image.len()));
    let len = len.and_then(|len| usize::try_from(len).ok()).ok_or(Qcow2Error::Damaged("a table", offset))?;
    let mut bytes = vec![0; len];
    image.read_exact_at(&mut bytes, offset)?;
    let chunks = bytes.chunks_exact(8);
    Ok(chunks.filter_map(|chunk| chunk.first_chunk().map(|chunk| u64::from_be_bytes(*chunk))).collect())
}

/// Tables and data lie one after the other in the guest's order.
fn read_tables(
    image: &dyn Source,
    layout: &Plan,
    tables: &[(u64, u64)],
) -> Result<BTreeMap<u64, u64>, Qcow2Error> {
    let mut clusters = BTreeMap::new();
    let mut next = layout.data;
    for (number, (table, entry)) in (0u64..).zip(tables) {
        let at = (layout.l2 + number) * CLUSTER;
        if *entry != COPIED | (at & OFFSET) {
            return Err(Qcow2Error::Damaged("an entry of the first table", *table));
        }
        for (place, entry) in (0u64..).zip(entries(image, at, TABLE)?) {
            if entry == 0 {
                continue;
            }
            let cluster = table * TABLE + place;
            if entry != COPIED | (next * CLUSTER) || cluster * CLUSTER >= layout.guest {
                return Err(Qcow2Error::Damaged("an entry of a second table", at + place * 8));
            }
            clusters.insert(cluster, next * CLUSTER);
            next += 1;
        }
    }
    if next == layout.total { Ok(clusters) } else { Err(Qcow2Error::Damaged("the number of clusters", next)) }
}

fn check_counts(image: &dyn Source, layout: &Plan) -> Result<(), Qcow2Error> {
    let table = layout.refcount_table * CLUSTER;
    let found = entries(image, table, layout.refcount_table_clusters * TABLE)?;
    for (number, entry) in (0u64..).zip(found) {
        let used = number < layout.refcount_block_count;
        let expected = if used { (layout.refcount_blocks + number) * CLUSTER } else { 0 };
        if entry != expected {
            return Err(Qcow2Error::Damaged("an entry of the table of reference counts", number));
        }
    }
    for block in 0..layout.refcount_block_count {
        let at = (layout.refcount_blocks + block) * CLUSTER;
        let used = layout.total.saturating_sub(block * COUNTS).min(COUNTS);
        let mut expected = 1u16.to_be_bytes().repeat(usize::try_from(used).unwrap_or_default());
        expected.resize(usize::try_from(CLUSTER).unwrap_or_default(), 0);
        check_bytes(image, at, &expected, "a reference count")?;
    }
    Ok(())
}

/// What follows header and first table up to their clusters' ends is zero.
fn check_rest(image: &dyn Source, layout: &Plan) -> Result<(), Qcow2Error> {
    let header = layout.header();
    let l1_end = layout.l1 * CLUSTER + l1_entries(layout.guest) * 8;
    for range in [header.as_bytes().len() as u64..CLUSTER, l1_end..layout.refcount_table * CLUSTER] {
        let zeroes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
        check_bytes(image, range.start, &zeroes, "padding")?;
    }
    Ok(())
}

fn check_bytes(image: &dyn Source, at: u64, expected: &[u8], what: &'static str) -> Result<(), Qcow2Error> {
    let mut bytes = vec![0; expected.len()];
    image.read_exact_at(&mut bytes, at)?;
    if bytes == expected { Ok(()) } else { Err(Qcow2Error::Damaged(what, at)) }
}

impl<S: Source> Source for Image<S> {
    fn len(&self) -> u64 {
        self.guest
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.guest);
        if end.is_none() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end"));
        }
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let within = at % CLUSTER;
            let count = usize::try_from(CLUSTER - within).unwrap_or(usize::MAX).min(rest.len());
            let (part, next) = rest.split_at_mut(count);
            match self.clusters.get(&(at / CLUSTER)) {
                Some(place) => self.image.read_exact_at(part, place + within)?,
                None => part.fill(0),
            }
            at += count as u64;
            rest = next;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let (cluster, _) = self.clusters.range(offset / CLUSTER..).next()?;
        let start = (cluster * CLUSTER).max(offset);
        let end = ((cluster + 1) * CLUSTER).min(self.guest);
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
