//! Loop devices (`linux/loop.h`): they present an optical drive with 512-byte sectors, so that the kernel reads its
//! GPT.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::ioctl::Opcode;

use crate::ioctl::{buffer, integer, put};

const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LOOP_CONFIGURE: Opcode = 0x4C0A;

const READ_ONLY: u32 = 1;
const PARTSCAN: u32 = 8;

/// Attaches `backing` read-only to a free loop device with `sector_bytes` per logical sector; the kernel then reads its
/// partition table. The device exists until it is detached or the machine stops.
pub fn attach(backing: &File, sector_bytes: u32) -> io::Result<PathBuf> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    loop {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument; it returns the device's number.
        let number = unsafe { integer(&control, LOOP_CTL_GET_FREE, 0) }?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        match configure(&File::open(&path)?, backing, sector_bytes) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {} // another process took this device: try the next one
            Err(error) => return Err(error),
        }
    }
}

/// `struct loop_config`: fd, block size, `struct loop_info64` of 232 bytes at 8 with its flags at 52, then 64 reserved bytes.
fn configure(device: &File, backing: &File, sector_bytes: u32) -> io::Result<()> {
    const CONFIG: usize = 4 + 4 + 232 + 64;
    let mut config = [0; CONFIG];
    put(&mut config, 0, &backing.as_raw_fd().to_ne_bytes());
    put(&mut config, 4, &sector_bytes.to_ne_bytes());
    put(&mut config, 8 + 52, &(READ_ONLY | PARTSCAN).to_ne_bytes());
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config` of 304 bytes.
    unsafe { buffer(device, LOOP_CONFIGURE, &mut config) }.map(drop)
}
