//! The writer, in two passes: the first pass finds the clusters that are not zero, and the second pass copies them. The data clusters are
//! in the order of the guest disk.

use super::Qcow2Error;
use super::format::{CLUSTER, CLUSTER_BYTES, COPIED, COUNTS, Plan, TABLE, check_guest, l1_entries, plan};
use crate::source::Source;
use crate::width::to_usize;
use std::io;
use zerocopy::IntoBytes;

/// Writes `source`, which must not change in the meantime, as an image. `sink` gets pieces with their offsets, in ascending order; all
/// other bytes are zero. Returns the length of the image in bytes.
pub fn write(
    source: &dyn Source,
    mut sink: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<u64, Qcow2Error> {
    check_guest(source.len())?;
    let clusters = data_clusters(source)?;
    let tables = second_level_tables(&clusters);
    let plan = plan(source.len(), tables.len() as u64, clusters.len() as u64);

    sink(0, plan.header().as_bytes())?;
    sink(plan.l1 * CLUSTER, &first_level(&plan, &tables))?;
    let counts = (0..plan.refcount_block_count).map(|block| (plan.refcount_blocks + block) * CLUSTER);
    sink(plan.refcount_table * CLUSTER, &big_endian(counts))?;
    for block in 0..plan.refcount_block_count {
        let used = plan.total.saturating_sub(block * COUNTS).min(COUNTS);
        let bytes = 1u16.to_be_bytes().repeat(to_usize(used));
        sink((plan.refcount_blocks + block) * CLUSTER, &bytes)?;
    }
    let mut at = 0usize;
    for (number, table) in (0u64..).zip(&tables) {
        let mut entries = vec![0u64; to_usize(TABLE)];
        while let Some(cluster) = clusters.get(at).filter(|cluster| *cluster / TABLE == *table) {
            #[expect(clippy::indexing_slicing, reason = "a table has TABLE entries")]
            let entry = &mut entries[to_usize(cluster % TABLE)];
            *entry = COPIED | ((plan.data + at as u64) * CLUSTER);
            at += 1;
        }
        sink((plan.l2 + number) * CLUSTER, &big_endian(entries.into_iter()))?;
    }
    let mut buffer = vec![0; CLUSTER_BYTES];
    for (number, cluster) in (0u64..).zip(&clusters) {
        read_cluster(source, *cluster, &mut buffer)?;
        sink((plan.data + number) * CLUSTER, &buffer)?;
    }
    Ok(plan.total * CLUSTER)
}

/// The clusters of the guest disk that are not all zero, in order.
fn data_clusters(source: &dyn Source) -> io::Result<Vec<u64>> {
    let mut clusters = Vec::new();
    let mut buffer = vec![0; CLUSTER_BYTES];
    let mut at = 0;
    while let Some(data) = source.next_data(at) {
        let first = data.start / CLUSTER;
        let end = data.end.div_ceil(CLUSTER);
        for cluster in first.max(at.div_ceil(CLUSTER))..end {
            read_cluster(source, cluster, &mut buffer)?;
            if buffer.iter().any(|byte| *byte != 0) {
                clusters.push(cluster);
            }
        }
        at = (end * CLUSTER).max(at);
    }
    Ok(clusters)
}

/// Reads a whole cluster. The last cluster of the guest disk may be shorter; the missing bytes are zero.
fn read_cluster(source: &dyn Source, cluster: u64, buffer: &mut [u8]) -> io::Result<()> {
    let start = cluster * CLUSTER;
    let len = to_usize(source.len().saturating_sub(start).min(CLUSTER));
    let (data, rest) = buffer.split_at_mut(len);
    rest.fill(0);
    source.read_exact_at(data, start)
}

/// The indices of the L1 entries that are used.
fn second_level_tables(clusters: &[u64]) -> Vec<u64> {
    let mut tables: Vec<u64> = clusters.iter().map(|cluster| cluster / TABLE).collect();
    tables.dedup();
    tables
}

fn first_level(plan: &Plan, tables: &[u64]) -> Vec<u8> {
    let mut entries = vec![0u64; to_usize(l1_entries(plan.guest))];
    for (number, table) in (0u64..).zip(tables) {
        #[expect(clippy::indexing_slicing, reason = "no data cluster is after the end of the guest disk")]
        let entry = &mut entries[to_usize(*table)];
        *entry = COPIED | ((plan.l2 + number) * CLUSTER);
    }
    big_endian(entries.into_iter())
}

fn big_endian(values: impl Iterator<Item = u64>) -> Vec<u8> {
    values.flat_map(u64::to_be_bytes).collect()
}
