//! The header and the tables (QEMU, "docs/interop/qcow2.txt"). All numbers are big-endian.

use super::Qcow2Error;
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const MAGIC: [u8; 4] = *b"QFI\xfb";
pub(super) const VERSION: u32 = 3;
pub(super) const CLUSTER_BITS: u32 = 16;
pub(super) const CLUSTER: u64 = 1 << CLUSTER_BITS;
pub(super) const CLUSTER_BYTES: usize = 1 << CLUSTER_BITS;
/// Reference counts of 16 bits.
pub(super) const REFCOUNT_ORDER: u32 = 4;
/// The number of entries of a table of one cluster.
pub(super) const TABLE: u64 = CLUSTER / 8;
/// The number of clusters that one refcount block covers.
pub(super) const COUNTS: u64 = CLUSTER / 2;
/// The flag for a cluster with a reference count of one, which may be written in place.
pub(super) const COPIED: u64 = 1 << 63;
/// The bits of a table entry that contain the offset: bits 9 to 55.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// The maximum size of the guest disk: 16 TiB.
pub(super) const MAX_GUEST: u64 = 1 << 44;

/// The header of version 2.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Head {
    pub(super) magic: [u8; 4],
    pub(super) version: U32,
    pub(super) backing_offset: U64,
    backing_len: U32,
    pub(super) cluster_bits: U32,
    pub(super) guest: U64,
    pub(super) encryption: U32,
    pub(super) l1_entries: U32,
    pub(super) l1_offset: U64,
    refcounts_offset: U64,
    refcounts_clusters: U32,
    snapshots: U32,
    snapshots_offset: U64,
}

/// The additional fields of the header of version 3.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Features {
    pub(super) incompatible: U64,
    compatible: U64,
    autoclear: U64,
    refcount_order: U32,
    pub(super) header_len: U32,
}

/// The header that kubedOS writes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Header {
    pub(super) head: Head,
    features: Features,
    /// The end mark of the header extensions. There are no extensions.
    extensions: U64,
}

/// The places and sizes of all parts, in clusters. The size of the guest disk, the number of L2 tables and the number of data clusters
/// determine it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) guest: u64,
    pub(super) l1: u64,
    pub(super) l1_clusters: u64,
    pub(super) refcount_table: u64,
    pub(super) refcount_table_clusters: u64,
    pub(super) refcount_blocks: u64,
    pub(super) refcount_block_count: u64,
    pub(super) l2: u64,
    pub(super) data: u64,
    pub(super) total: u64,
}

/// The number of L1 entries that a guest disk needs.
pub(super) fn l1_entries(guest: u64) -> u64 {
    guest.div_ceil(CLUSTER).div_ceil(TABLE)
}

pub(super) fn plan(guest: u64, l2_tables: u64, data_clusters: u64) -> Plan {
    let l1_clusters = l1_entries(guest).div_ceil(TABLE);
    let fixed = 1 + l1_clusters + l2_tables + data_clusters;
    // The refcount blocks also cover themselves and the refcount table.
    let (mut blocks, mut table) = (1, 1);
    loop {
        let total = fixed + blocks + table;
        let (needed, needed_table) = (total.div_ceil(COUNTS), total.div_ceil(COUNTS).div_ceil(TABLE));
        if (needed, needed_table) == (blocks, table) {
            break;
        }
        (blocks, table) = (needed.max(blocks), needed_table.max(table));
        if blocks * COUNTS >= fixed + blocks + table && table * TABLE >= blocks {
            break;
        }
    }
    let l1 = 1;
    let refcount_table = l1 + l1_clusters;
    let refcount_blocks = refcount_table + table;
    let l2 = refcount_blocks + blocks;
    let data = l2 + l2_tables;
    Plan {
        guest,
        l1,
        l1_clusters,
        refcount_table,
        refcount_table_clusters: table,
        refcount_blocks,
        refcount_block_count: blocks,
        l2,
        data,
        total: data + data_clusters,
    }
}

impl Plan {
    #[expect(
        clippy::expect_used,
        reason = "a guest disk has at most MAX_GUEST bytes, which are 2^15 entries; a file of 2^64 bytes has 2^20 clusters of reference counts"
    )]
    pub(super) fn header(&self) -> Header {
        let narrow = |value: u64| U32::new(u32::try_from(value).expect("tables are counted in 32 bits"));
        let head = Head {
            magic: MAGIC,
            version: U32::new(VERSION),
            backing_offset: U64::ZERO,
            backing_len: U32::ZERO,
            cluster_bits: U32::new(CLUSTER_BITS),
            guest: U64::new(self.guest),
            encryption: U32::ZERO,
            l1_entries: narrow(l1_entries(self.guest)),
            l1_offset: U64::new(self.l1 * CLUSTER),
            refcounts_offset: U64::new(self.refcount_table * CLUSTER),
            refcounts_clusters: narrow(self.refcount_table_clusters),
            snapshots: U32::ZERO,
            snapshots_offset: U64::ZERO,
        };
        let features = Features {
            incompatible: U64::ZERO,
            compatible: U64::ZERO,
            autoclear: U64::ZERO,
            refcount_order: U32::new(REFCOUNT_ORDER),
            header_len: U32::new(104),
        };
        Header { head, features, extensions: U64::ZERO }
    }
}

pub(super) fn check_guest(guest: u64) -> Result<(), Qcow2Error> {
    if guest == 0 || !guest.is_multiple_of(512) || guest > MAX_GUEST {
        Err(Qcow2Error::Length(guest))
    } else {
        Ok(())
    }
}
