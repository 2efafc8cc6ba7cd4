//! Identifies foreign data on a disk or partition, so that it is not overwritten and an operator can decide about it.
//!
//! A whole disk counts as empty only if its first and its last MiB contain only zeroes: data that is not recognised may
//! still be valuable. Magic numbers: `include/uapi/linux/magic.h`, and the headers of the file systems as noted.

use kubedos_image::gpt::ReadError;

/// How many bytes at the start and at the end of a disk are examined.
pub const EDGE: usize = 1 << 20;

/// A magic number at a fixed offset.
struct Mark {
    what: &'static str,
    at: usize,
    magic: &'static [u8],
}

/// Magic numbers at the start of a disk or partition, the most specific first.
const MARKS: [Mark; 20] = [
    Mark { what: "a LUKS container", at: 0, magic: b"LUKS\xba\xbe" }, // cryptsetup: LUKS2 on-disk format, section 2
    Mark { what: "an XFS file system", at: 0, magic: b"XFSB" },
    Mark { what: "an ext2, ext3 or ext4 file system", at: 0x438, magic: b"\x53\xef" },
    Mark { what: "a Btrfs file system", at: 0x1_0040, magic: b"_BHRfS_M" },
    Mark { what: "an NTFS file system", at: 3, magic: b"NTFS    " },
    Mark { what: "an exFAT file system", at: 3, magic: b"EXFAT   " },
    Mark { what: "an F2FS file system", at: 0x400, magic: b"\x10\x20\xf5\xf2" },
    Mark { what: "an EROFS file system", at: 0x400, magic: b"\xe2\xe1\xf5\xe0" },
    Mark { what: "a squashfs file system", at: 0, magic: b"hsqs" },
    Mark { what: "an LVM2 physical volume", at: 0x200, magic: b"LABELONE" },
    Mark { what: "an LVM2 physical volume", at: 0, magic: b"LABELONE" },
    Mark { what: "a member of a Linux RAID", at: 0x1000, magic: b"\xfc\x4e\x2b\xa9" }, // include/uapi/linux/raid/md_p.h, version 1.2
    Mark { what: "a member of a Linux RAID", at: 0, magic: b"\xfc\x4e\x2b\xa9" },
    Mark { what: "a Ceph BlueStore device", at: 0, magic: b"bluestore block device" },
    Mark { what: "a bcache device", at: 0x1018, magic: b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca" }, // drivers/md/bcache/bcache_ondisk.h
    Mark { what: "swap space", at: 0xff6, magic: b"SWAPSPACE2" },
    Mark { what: "a FAT file system", at: 0x52, magic: b"FAT32" },
    Mark { what: "a FAT file system", at: 0x36, magic: b"FAT1" },
    Mark { what: "a dm-verity hash tree", at: 0, magic: b"verity\0\0" },
    Mark { what: "an ISO 9660 file system", at: 0x8001, magic: b"CD001" },
];

/// The known content at the start of a disk or partition, if its magic number is recognised.
pub fn known(head: &[u8]) -> Option<&'static str> {
    MARKS
        .iter()
        .find(|mark| head.get(mark.at..).is_some_and(|rest| rest.starts_with(mark.magic)))
        .map(|mark| mark.what)
}

/// Describes the content of a whole disk without a kubedOS table; `None` when both edges are empty.
pub fn foreign(head: &[u8], tail: &[u8], table: &ReadError) -> Option<String> {
    if let ReadError::NoCopy { primary, backup } = table
        && (**primary != ReadError::Absent || **backup != ReadError::Absent)
        && !matches!((&**primary, &**backup), (ReadError::Truncated, ReadError::Truncated))
    {
        return Some(format!("a GUID partition table that cannot be used ({primary}; backup: {backup})"));
    }
    if let Some(what) = known(head) {
        return Some(what.to_owned());
    }
    if head.get(510..512) == Some(b"\x55\xaa")
        && head.get(446..510).is_some_and(|table| table.iter().any(|byte| *byte != 0))
    {
        return Some("an MBR partition table".into());
    }
    let unknown = |edge: &[u8], where_| {
        edge.iter()
            .position(|byte| *byte != 0)
            .map(|at| format!("data of an unknown kind (byte {at} of the {where_} MiB)"))
    };
    unknown(head, "first").or_else(|| unknown(tail, "last"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent() -> ReadError {
        ReadError::NoCopy { primary: Box::new(ReadError::Absent), backup: Box::new(ReadError::Absent) }
    }

    #[test]
    fn a_disk_of_zeroes_is_empty_and_one_other_byte_is_foreign_data() {
        let zeroes = vec![0; EDGE];
        assert_eq!(foreign(&zeroes, &zeroes, &absent()), None);
        let mut tail = zeroes.clone();
        tail[EDGE - 1] = 1;
        let what = foreign(&zeroes, &tail, &absent()).unwrap();
        assert!(what.contains("byte 1048575 of the last MiB"), "{what}");
    }

    #[test]
    fn known_content_is_identified() {
        for mark in &MARKS {
            let mut head = vec![0; EDGE];
            head[mark.at..mark.at + mark.magic.len()].copy_from_slice(mark.magic);
            assert_eq!(foreign(&head, &vec![0; EDGE], &absent()).unwrap(), mark.what);
        }
        let mut head = vec![0; EDGE];
        head[450] = 0x83;
        head[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(foreign(&head, &vec![0; EDGE], &absent()).unwrap(), "an MBR partition table");
    }

    #[test]
    fn a_disk_with_a_damaged_partition_table_is_not_empty() {
        let damaged = ReadError::NoCopy {
            primary: Box::new(ReadError::HeaderChecksum),
            backup: Box::new(ReadError::Absent),
        };
        let zeroes = vec![0; EDGE];
        assert!(foreign(&zeroes, &zeroes, &damaged).unwrap().contains("cannot be used"));
    }
}
