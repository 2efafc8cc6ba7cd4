//! Block device requests that no crate offers: the size of a device, and changes of single partitions of a disk in use.
//!
//! `BLKRRPART` re-reads a whole table and fails while one partition is in use; `BLKPG` adds, resizes and removes single
//! partitions of a busy disk. Kernel files: `include/uapi/linux/blkpg.h`, `block/ioctl.c` (`blkpg_do_ioctl`).

use std::ffi::{c_int, c_longlong, c_void};
use std::io;
use std::os::fd::AsFd;
use std::ptr;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::ioctl::{buffer, opcode};

/// `BLKPG`: `_IO(0x12, 105)`.
const BLKPG: Opcode = 0x1269;

/// A request about one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionRequest {
    /// Adds the partition.
    Add,
    /// Removes it; the kernel refuses while it is in use.
    Remove,
    /// Changes its length; allowed while it is in use.
    Resize,
}

impl PartitionRequest {
    /// `BLKPG_ADD_PARTITION`, `BLKPG_DEL_PARTITION`, `BLKPG_RESIZE_PARTITION`.
    const fn op(self) -> c_int {
        match self {
            Self::Add => 1,
            Self::Remove => 2,
            Self::Resize => 3,
        }
    }
}

/// `struct blkpg_partition`.
#[repr(C)]
struct BlkpgPartition {
    start: c_longlong,
    length: c_longlong,
    pno: c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct BlkpgArg {
    op: c_int,
    flags: c_int,
    datalen: c_int,
    data: *mut c_void,
}

struct Blkpg(BlkpgArg);

// SAFETY: BLKPG takes a pointer to `struct blkpg_ioctl_arg`. It copies from this structure and from the one that `data`
// points at, writes to neither, and has no output. `Blkpg` is created only in `announce_partition`, which keeps the structure at
// `data` alive during the call.
unsafe impl Ioctl for Blkpg {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        BLKPG
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(&mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Announces a change of partition `number` of the whole disk `disk`; `start` and `length` in bytes, multiples of its
/// sector size.
///
/// Fails with `EBUSY` if the partition would overlap another one, or is in use and must be removed; with `ENXIO` if the
/// partition to resize or remove does not exist; with `EINVAL` if it does not fit onto the disk.
pub fn announce_partition(
    disk: impl AsFd,
    request: PartitionRequest,
    number: u32,
    start: u64,
    length: u64,
) -> rustix::io::Result<()> {
    let mut partition = BlkpgPartition {
        start: c_longlong::try_from(start).map_err(|_| Errno::INVAL)?,
        length: c_longlong::try_from(length).map_err(|_| Errno::INVAL)?,
        pno: c_int::try_from(number).map_err(|_| Errno::INVAL)?,
        devname: [0; 64],
        volname: [0; 64],
    };
    let datalen = c_int::try_from(size_of::<BlkpgPartition>()).map_err(|_| Errno::INVAL)?;
    let data = ptr::from_mut(&mut partition).cast();
    let arg = Blkpg(BlkpgArg { op: request.op(), flags: 0, datalen, data });
    // SAFETY: the opcode matches the argument (above), whose `data` points at `partition`, which outlives the call.
    unsafe { ioctl(disk, arg) }
}

/// `BLKGETSIZE64`: `_IOR(0x12, 114, size_t)`.
const BLKGETSIZE64: Opcode = opcode(2, 0x12, 114, 8);

/// The size of a block device in bytes.
pub fn size_bytes(device: impl AsFd) -> io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: BLKGETSIZE64 writes one u64.
    unsafe { buffer(device, BLKGETSIZE64, &mut bytes) }?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The size of a logical sector in bytes.
pub fn logical_sector_bytes(device: impl AsFd) -> io::Result<u32> {
    Ok(rustix::fs::ioctl_blksszget(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_size_and_a_plain_file_is_refused() {
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(size_of::<BlkpgArg>(), 24);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(announce_partition(&file, PartitionRequest::Add, 1, 0, 512).is_err());
        assert_eq!(
            announce_partition(&file, PartitionRequest::Resize, 1, u64::MAX, 512),
            Err(Errno::INVAL),
            "a start beyond the kernel's type"
        );
    }

    #[test]
    fn a_plain_file_is_refused_as_a_block_device() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(size_bytes(&file).unwrap_err().raw_os_error(), Some(25)); // ENOTTY
        assert!(logical_sector_bytes(&file).is_err());
        assert_eq!(BLKGETSIZE64, 0x8008_1272);
    }
}
