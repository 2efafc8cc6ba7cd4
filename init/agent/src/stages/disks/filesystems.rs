//! The file systems inside the open containers: plans which of them to check, mount and grow. Pure.
//!
//! Superblock: `fs/ext4/ext4.h`, `struct ext4_super_block`, at byte 1024.

use super::survey::{Store, Survey};

/// How many bytes from the start of a file system [`Superblock::read`] needs.
pub const HEAD_BYTES: usize = 4096;

/// The fields of a superblock that the plan uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Size of the file system in bytes.
    pub bytes: u64,
    /// The file system was not unmounted cleanly, or a kernel found errors in it.
    pub needs_check: bool,
}

impl Superblock {
    /// Reads an ext4 superblock; `None` if the bytes are not an ext4 file system.
    pub fn read(head: &[u8]) -> Option<Self> {
        let field16 = |at: usize| Some(u16::from_le_bytes(*head.get(1024 + at..)?.first_chunk()?));
        let field32 = |at: usize| Some(u32::from_le_bytes(*head.get(1024 + at..)?.first_chunk()?));
        /// `EXT4_VALID_FS`: cleanly unmounted; with `EXT4_ERROR_FS` (2) a kernel found errors.
        const CLEAN: u16 = 1;
        /// `EXT4_FEATURE_INCOMPAT_RECOVER`: the journal must be replayed.
        const RECOVER: u32 = 4;
        /// `EXT4_FEATURE_INCOMPAT_64BIT`: the upper half of the block count is valid.
        const WIDE: u32 = 0x80;
        if field16(0x38)? != 0xef53 {
            return None;
        }
        let incompat = field32(0x60)?;
        let high = if incompat & WIDE == 0 { 0 } else { u64::from(field32(0x150)?) };
        let blocks = high << 32 | u64::from(field32(4)?);
        // Block sizes are 1 KiB to 64 KiB.
        let block_bytes = Some(field32(0x18)?).filter(|log| *log <= 6).map(|log| 1024u64 << log)?;
        let needs_check = field16(0x3a)? != CLEAN || incompat & RECOVER != 0;
        Some(Self { bytes: blocks.checked_mul(block_bytes)?, needs_check })
    }
}

/// One change to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemChange {
    /// Replays the journal and repairs the file system.
    Check(Store),
    /// Mounts the file system at its mount point.
    Mount(Store),
    /// Grows the file system to the size of its container.
    Grow(Store),
}

/// An open, finished container without a readable file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the container of {} has no file system; it was not changed", .store.name())]
pub struct NoFilesystem {
    /// The store.
    pub store: Store,
}

/// The facts about a store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemFacts {
    /// The store.
    pub store: Store,
    /// Its superblock, if it can be read.
    pub superblock: Option<Superblock>,
}

/// A file system is grown only if its container is larger by at least this, because a file system ends at a whole group or
/// cluster.
const SLACK: u64 = 64 << 20;

/// The changes that mount both file systems and grow them to the size of their containers. Empty if they have this state.
pub fn plan(facts: &[FilesystemFacts], survey: &Survey) -> Result<Vec<FilesystemChange>, NoFilesystem> {
    let mut changes = Vec::new();
    for FilesystemFacts { store, superblock } in facts {
        let superblock = superblock.ok_or(NoFilesystem { store: *store })?;
        if !survey.mounted.contains(store) {
            if superblock.needs_check {
                changes.push(FilesystemChange::Check(*store));
            }
            changes.push(FilesystemChange::Mount(*store));
        }
        let container = survey.open.get(store).copied().unwrap_or_default();
        if container >= superblock.bytes.saturating_add(SLACK) {
            changes.push(FilesystemChange::Grow(*store));
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::super::fake_disks::ext4_head;
    use super::*;

    fn facts(head: &[u8]) -> Vec<FilesystemFacts> {
        vec![FilesystemFacts { store: Store::Data, superblock: Superblock::read(head) }]
    }

    fn survey(container: u64, mounted: bool) -> Survey {
        let mut survey = Survey::default();
        survey.open.insert(Store::Data, container);
        if mounted {
            survey.mounted.insert(Store::Data);
        }
        survey
    }

    #[test]
    fn a_clean_file_system_is_mounted_and_a_second_plan_is_empty() {
        let head = ext4_head(10 << 30);
        let mount = plan(&facts(&head), &survey(10 << 30, false));
        assert_eq!(mount, Ok(vec![FilesystemChange::Mount(Store::Data)]));
        assert_eq!(plan(&facts(&head), &survey(10 << 30, true)), Ok(vec![]));
    }

    #[test]
    fn an_uncleanly_unmounted_file_system_is_checked_only_before_mounting() {
        let mut head = ext4_head(10 << 30);
        head[1024 + 0x60] |= 4;
        let expected = vec![FilesystemChange::Check(Store::Data), FilesystemChange::Mount(Store::Data)];
        assert_eq!(plan(&facts(&head), &survey(10 << 30, false)), Ok(expected));
        assert_eq!(plan(&facts(&head), &survey(10 << 30, true)), Ok(vec![]));
    }

    /// O1: the file system uses the additional space of a grown disk.
    #[test]
    fn a_file_system_smaller_than_its_container_is_mounted_and_grown() {
        let head = ext4_head(10 << 30);
        let expected = vec![FilesystemChange::Mount(Store::Data), FilesystemChange::Grow(Store::Data)];
        assert_eq!(plan(&facts(&head), &survey(20 << 30, false)), Ok(expected));
        assert_eq!(plan(&facts(&head), &survey((10 << 30) + 4096, true)), Ok(vec![]));
    }

    #[test]
    fn a_finished_container_without_a_file_system_is_not_formatted() {
        let error = plan(&facts(&[0; HEAD_BYTES]), &survey(1 << 30, false)).unwrap_err();
        assert_eq!(error.to_string(), "the container of data has no file system; it was not changed");
        assert_eq!(Superblock::read(&[0; 100]), None);
    }

    /// A block size of 2^54 KiB or more does not fit into 64 bits: the shift would give zero, and the file system would
    /// seem to have zero bytes.
    #[test]
    fn a_superblock_with_an_invalid_block_size_is_refused() {
        for log in [7u32, 54, 63, 64, u32::MAX] {
            let mut head = ext4_head(10 << 30);
            head[1024 + 0x18..1024 + 0x1c].copy_from_slice(&log.to_le_bytes());
            assert_eq!(Superblock::read(&head), None, "{log}");
        }
    }
}
