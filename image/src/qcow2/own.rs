//! Checks that an image has exactly the form that the writer gives it. The guest disk determines header, tables and reference counts, so
//! the file cannot contain other data.

use super::Qcow2Error;
use super::format::{
    CLUSTER, CLUSTER_BYTES, COPIED, COUNTS, Header, OFFSET, Plan, TABLE, check_guest, l1_entries, plan,
};
use crate::source::Source;
use crate::width::to_usize;
use zerocopy::{FromBytes, IntoBytes};

/// Checks that an image has the form that [`write`](super::write) gives it, and returns the number of data clusters of 64 KiB.
///
/// # Errors
/// [`Qcow2Error::Form`] or [`Qcow2Error::Damaged`] with the first difference.
pub fn check(image: &dyn Source) -> Result<u64, Qcow2Error> {
    let mut bytes = vec![0; size_of::<Header>()];
    if image.len() < bytes.len() as u64 || !image.len().is_multiple_of(CLUSTER) {
        return Err(Qcow2Error::Form("length"));
    }
    image.read_exact_at(&mut bytes, 0)?;
    let header = Header::read_from_bytes(&bytes).map_err(|_| Qcow2Error::Form("header"))?;
    let guest = header.head.guest.get();
    check_guest(guest)?;
    if header != plan(guest, 0, 0).header() && !same_form(&header, guest, image.len()) {
        return Err(Qcow2Error::Form("header"));
    }
    // The L1 table is always directly after the header.
    let l1 = entries(image, CLUSTER, l1_entries(guest))?;
    let tables: Vec<(u64, u64)> = (0u64..).zip(l1).filter(|(_, entry)| *entry != 0).collect();
    let total = image.len() / CLUSTER;
    let layout = layout_of(guest, tables.len() as u64, total).ok_or(Qcow2Error::Form("length"))?;
    if header != layout.header() {
        return Err(Qcow2Error::Form("header"));
    }
    let clusters = check_tables(image, &layout, &tables)?;
    check_counts(image, &layout)?;
    check_rest(image, &layout)?;
    Ok(clusters)
}

/// A cheap check before the tables are read: some plan of an image of this length has this header.
fn same_form(header: &Header, guest: u64, len: u64) -> bool {
    let total = len / CLUSTER;
    (0..=l1_entries(guest))
        .any(|tables| layout_of(guest, tables, total).is_some_and(|plan| plan.header() == *header))
}

/// The plan of an image of `total` clusters with `tables` L2 tables.
fn layout_of(guest: u64, tables: u64, total: u64) -> Option<Plan> {
    // The number of refcount blocks depends only on the total, which then determines the number of data clusters.
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
    let len = len.ok_or(Qcow2Error::Damaged("a table", offset))?;
    let mut bytes = vec![0; to_usize(len)];
    image.read_exact_at(&mut bytes, offset)?;
    let (chunks, _) = bytes.as_chunks();
    Ok(chunks.iter().map(|chunk| u64::from_be_bytes(*chunk)).collect())
}

/// Checks that L2 tables and data clusters follow each other in the order of the guest disk. Returns the number of data clusters.
fn check_tables(image: &dyn Source, layout: &Plan, tables: &[(u64, u64)]) -> Result<u64, Qcow2Error> {
    let mut next = layout.data;
    for (number, (table, entry)) in (0u64..).zip(tables) {
        let at = (layout.l2 + number) * CLUSTER;
        if *entry != COPIED | (at & OFFSET) {
            return Err(Qcow2Error::Damaged("an entry of the L1 table", *table));
        }
        for (place, entry) in (0u64..).zip(entries(image, at, TABLE)?) {
            if entry == 0 {
                continue;
            }
            let cluster = table * TABLE + place;
            if entry != COPIED | (next * CLUSTER) || cluster * CLUSTER >= layout.guest {
                return Err(Qcow2Error::Damaged("an entry of an L2 table", at + place * 8));
            }
            next += 1;
        }
    }
    if next == layout.total {
        Ok(next - layout.data)
    } else {
        Err(Qcow2Error::Damaged("the number of clusters", next))
    }
}

fn check_counts(image: &dyn Source, layout: &Plan) -> Result<(), Qcow2Error> {
    let table = layout.refcount_table * CLUSTER;
    let found = entries(image, table, layout.refcount_table_clusters * TABLE)?;
    for (number, entry) in (0u64..).zip(found) {
        let used = number < layout.refcount_block_count;
        let expected = if used { (layout.refcount_blocks + number) * CLUSTER } else { 0 };
        if entry != expected {
            return Err(Qcow2Error::Damaged("an entry of the refcount table", number));
        }
    }
    for block in 0..layout.refcount_block_count {
        let at = (layout.refcount_blocks + block) * CLUSTER;
        let used = layout.total.saturating_sub(block * COUNTS).min(COUNTS);
        let mut expected = 1u16.to_be_bytes().repeat(to_usize(used));
        expected.resize(CLUSTER_BYTES, 0);
        check_bytes(image, at, &expected, "a reference count")?;
    }
    Ok(())
}

/// Checks that the rest of the clusters of the header and the L1 table is zero.
fn check_rest(image: &dyn Source, layout: &Plan) -> Result<(), Qcow2Error> {
    let header = layout.header();
    let l1_end = layout.l1 * CLUSTER + l1_entries(layout.guest) * 8;
    for range in [header.as_bytes().len() as u64..CLUSTER, l1_end..layout.refcount_table * CLUSTER] {
        let zeroes = vec![0; to_usize(range.end - range.start)];
        check_bytes(image, range.start, &zeroes, "padding")?;
    }
    Ok(())
}

fn check_bytes(image: &dyn Source, at: u64, expected: &[u8], what: &'static str) -> Result<(), Qcow2Error> {
    let mut bytes = vec![0; expected.len()];
    image.read_exact_at(&mut bytes, at)?;
    if bytes == expected { Ok(()) } else { Err(Qcow2Error::Damaged(what, at)) }
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;
