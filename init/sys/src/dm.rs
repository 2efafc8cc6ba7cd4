//! Device mapper (`linux/dm-ioctl.h`, interface 4): create a device, load a table, resume, read its status, remove.
//!
//! The parameters of a table are text that the target defines (`Documentation/admin-guide/device-mapper/`); the caller
//! is responsible for their content. Buffers are zeroized after use, because a table of dm-crypt contains a key.

use std::fs::{File, OpenOptions};
use std::io;

use zeroize::Zeroizing;

use crate::ioctl::{buffer, get, opcode, put};

/// Length of `struct dm_ioctl`.
const HEADER: usize = 312;
/// Length of `struct dm_target_spec`.
const SPEC: usize = 40;
const NAME: usize = 48;
const NAME_LEN: usize = 128;
const UUID: usize = NAME + NAME_LEN;
const UUID_LEN: usize = 129;
const TYPE_LEN: usize = 16;
/// Size of the buffer for the answer to a status request.
const ANSWER: usize = 16 * 1024;
/// Maximum size of a table. The tables here have a few hundred bytes; the kernel's own limit is far higher.
const LARGEST: usize = 64 * 1024;

const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const DEV_STATUS: u8 = 7;
const TABLE_LOAD: u8 = 9;
const TABLE_STATUS: u8 = 12;

const READONLY: u32 = 1;
const SUSPEND: u32 = 1 << 1;
const STATUS_TABLE: u32 = 1 << 4;
const ACTIVE_PRESENT: u32 = 1 << 5;
const BUFFER_FULL: u32 = 1 << 8;
const NOFLUSH: u32 = 1 << 11;
const SECURE_DATA: u32 = 1 << 15;
const DEFERRED_REMOVE: u32 = 1 << 17;

/// The device mapper's control device.
#[derive(Debug)]
pub struct DeviceMapper(File);

/// One target of a table.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "parameters may contain a key")]
pub struct Target<'a> {
    /// First sector (of 512 bytes) of the device that this target maps.
    pub start: u64,
    /// Number of sectors.
    pub length: u64,
    /// Type of the target: `verity`, `crypt`, `linear` …
    pub kind: &'a str,
    /// Its parameters.
    pub parameters: &'a str,
}

/// How a table is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode {
    /// Writes through this device fail.
    pub read_only: bool,
    /// The kernel zeroizes its copy of the parameters.
    pub secret: bool,
}

/// The kernel's information about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Minor number: the device is `/dev/dm-<minor>`.
    pub minor: u32,
    /// How many times it is open.
    pub open_count: i32,
    /// It is suspended: I/O waits.
    pub suspended: bool,
    /// It has an active table.
    pub active: bool,
    /// Number of events since the device was created.
    pub event: u32,
}

/// The status of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// First sector.
    pub start: u64,
    /// Number of sectors.
    pub length: u64,
    /// Type of the target: `verity`, `crypt` …
    pub kind: String,
    /// Its status text (`V` or `C` for verity), or its parameters if the table was requested.
    pub text: String,
}

impl DeviceMapper {
    /// Opens `/dev/mapper/control`; `dm_mod` must be loaded.
    pub fn open() -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/mapper/control").map(Self)
    }

    /// Creates a device without a table.
    pub fn create(&self, name: &str, uuid: &str) -> io::Result<Info> {
        self.call(DEV_CREATE, request(name, 0, 0)?.with_uuid(uuid)?).map(|answer| answer.info())
    }

    /// Loads a table; [`Self::resume`] activates it.
    pub fn load(&self, name: &str, mode: Mode, targets: &[Target<'_>]) -> io::Result<()> {
        let flags = if mode.read_only { READONLY } else { 0 } | if mode.secret { SECURE_DATA } else { 0 };
        let mut request = request(name, flags, 0)?;
        for target in targets {
            request.push(target)?;
        }
        self.call(TABLE_LOAD, request).map(drop)
    }

    /// Activates the loaded table and resumes I/O.
    pub fn resume(&self, name: &str) -> io::Result<Info> {
        self.call(DEV_SUSPEND, request(name, 0, 0)?).map(|answer| answer.info())
    }

    /// Suspends I/O; with `flush`, after all started I/O has ended.
    pub fn suspend(&self, name: &str, flush: bool) -> io::Result<Info> {
        let flags = SUSPEND | if flush { 0 } else { NOFLUSH };
        self.call(DEV_SUSPEND, request(name, flags, 0)?).map(|answer| answer.info())
    }

    /// Reads the information about a device.
    pub fn info(&self, name: &str) -> io::Result<Info> {
        self.call(DEV_STATUS, request(name, 0, 0)?).map(|answer| answer.info())
    }

    /// Reads the status of each target.
    pub fn status(&self, name: &str) -> io::Result<Vec<TargetStatus>> {
        self.targets(name, 0)
    }

    /// Reads the active table. For dm-crypt the text contains the key, unless the key is in a keyring.
    pub fn table(&self, name: &str) -> io::Result<Vec<TargetStatus>> {
        self.targets(name, STATUS_TABLE)
    }

    /// Removes a device; with `deferred`, when its last user has closed it.
    pub fn remove(&self, name: &str, deferred: bool) -> io::Result<()> {
        self.call(DEV_REMOVE, request(name, if deferred { DEFERRED_REMOVE } else { 0 }, 0)?).map(drop)
    }

    fn targets(&self, name: &str, flags: u32) -> io::Result<Vec<TargetStatus>> {
        let answer = self.call(TABLE_STATUS, request(name, flags, ANSWER)?)?;
        if answer.flags() & BUFFER_FULL != 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(answer.targets())
    }

    fn call(&self, command: u8, mut message: Message) -> io::Result<Message> {
        message.seal();
        // SAFETY: the kernel reads and writes at most `data_size` bytes, which `seal` has set to the buffer's length.
        unsafe { buffer(&self.0, opcode(3, 0xfd, command, HEADER), message.0.as_mut_slice()) }?;
        Ok(message)
    }
}

/// `struct dm_ioctl` and the structures after it.
struct Message(Zeroizing<Vec<u8>>);

fn request(name: &str, flags: u32, room: usize) -> io::Result<Message> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST));
    bytes.resize(HEADER + room, 0);
    put(&mut bytes, 0, &4_u32.to_ne_bytes()); // interface 4.0.0, which every kernel since 2.6 supports
    put(&mut bytes, 16, &312_u32.to_ne_bytes());
    put(&mut bytes, 28, &flags.to_ne_bytes());
    put(&mut bytes, NAME, text(name, NAME_LEN)?);
    Ok(Message(bytes))
}

/// A text that leaves room for its terminating NUL.
fn text(text: &str, room: usize) -> io::Result<&[u8]> {
    if text.is_empty() || text.len() >= room || text.bytes().any(|byte| byte == 0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(text.as_bytes())
}

impl Message {
    fn with_uuid(mut self, uuid: &str) -> io::Result<Self> {
        put(&mut self.0, UUID, text(uuid, UUID_LEN)?);
        Ok(self)
    }

    /// Appends `struct dm_target_spec` and its parameters, terminated by a NUL and padded to 8 bytes.
    fn push(&mut self, target: &Target<'_>) -> io::Result<()> {
        let length = (SPEC + target.parameters.len() + 1).next_multiple_of(8);
        if self.0.len() + length > LARGEST || target.parameters.bytes().any(|byte| byte == 0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let next = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        let at = self.0.len();
        self.0.resize(at + length, 0); // within the capacity, so the buffer does not move and no copy of a secret remains
        put(&mut self.0, at, &target.start.to_ne_bytes());
        put(&mut self.0, at + 8, &target.length.to_ne_bytes());
        put(&mut self.0, at + 20, &next.to_ne_bytes());
        put(&mut self.0, at + 24, text(target.kind, TYPE_LEN)?);
        put(&mut self.0, at + SPEC, target.parameters.as_bytes());
        let count = u32::from_ne_bytes(get(&self.0, 20)) + 1;
        put(&mut self.0, 20, &count.to_ne_bytes());
        Ok(())
    }

    fn seal(&mut self) {
        let size = u32::try_from(self.0.len()).unwrap_or(0);
        put(&mut self.0, 12, &size.to_ne_bytes());
    }

    fn flags(&self) -> u32 {
        u32::from_ne_bytes(get(&self.0, 28))
    }

    fn info(&self) -> Info {
        Info {
            minor: minor(u64::from_ne_bytes(get(&self.0, 40))),
            open_count: i32::from_ne_bytes(get(&self.0, 24)),
            suspended: self.flags() & SUSPEND != 0,
            active: self.flags() & ACTIVE_PRESENT != 0,
            event: u32::from_ne_bytes(get(&self.0, 32)),
        }
    }

    /// The kernel writes the first target at `data_start`; each target gives the offset of the next one, relative to
    /// the first.
    fn targets(&self) -> Vec<TargetStatus> {
        let first = usize::try_from(u32::from_ne_bytes(get(&self.0, 16))).unwrap_or(HEADER);
        let count = u32::from_ne_bytes(get(&self.0, 20));
        let mut targets = Vec::new();
        let mut at = first;
        for _ in 0..count {
            let Some(spec) = self.0.get(at..).filter(|rest| rest.len() >= SPEC) else { break };
            targets.push(TargetStatus {
                start: u64::from_ne_bytes(get(spec, 0)),
                length: u64::from_ne_bytes(get(spec, 8)),
                kind: until_nul(spec.get(24..SPEC).unwrap_or_default()),
                text: until_nul(spec.get(SPEC..).unwrap_or_default()),
            });
            let next = usize::try_from(u32::from_ne_bytes(get(spec, 20))).unwrap_or(usize::MAX);
            let Some(following) = first.checked_add(next).filter(|following| *following > at) else { break };
            at = following;
        }
        targets
    }
}

fn until_nul(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The minor number in the kernel's `huge_encode_dev`, which dm uses: bits 0–7 and 20–31.
const fn minor(dev: u64) -> u32 {
    let low = (dev & 0xffff_ffff) as u32;
    (low & 0xff) | ((low >> 12) & 0x000f_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_layout_of_the_kernel_header() {
        let mut message = request("kubedos-root", READONLY, 0).unwrap();
        let target = Target { start: 0, length: 120_000, kind: "verity", parameters: "1 /dev/vda6" };
        message.push(&target).unwrap();
        message.seal();
        let bytes = &message.0;
        assert_eq!(bytes.len(), HEADER + (SPEC + 12_usize).next_multiple_of(8));
        assert_eq!(u32::from_ne_bytes(get(bytes, 12)) as usize, bytes.len());
        assert_eq!(u32::from_ne_bytes(get(bytes, 20)), 1);
        assert_eq!(&bytes[48..61], b"kubedos-root\0");
        assert_eq!(u64::from_ne_bytes(get(bytes, HEADER + 8)), 120_000);
        assert_eq!(&bytes[HEADER + 24..HEADER + 31], b"verity\0");
        assert_eq!(&bytes[HEADER + SPEC..HEADER + SPEC + 12], b"1 /dev/vda6\0");
    }

    #[test]
    fn two_targets_are_parsed_and_an_invalid_offset_ends_the_list() {
        let mut message = request("x", 0, 0).unwrap();
        message.push(&Target { start: 0, length: 8, kind: "verity", parameters: "C" }).unwrap();
        let second = message.0.len() - HEADER;
        message.push(&Target { start: 8, length: 8, kind: "linear", parameters: "V" }).unwrap();
        let read: Vec<_> = message.targets().into_iter().map(|t| (t.start, t.kind, t.text)).collect();
        assert_eq!(read, [(0, "verity".into(), "C".into()), (8, "linear".into(), "V".into())]);
        put(&mut message.0, HEADER + 20, &0_u32.to_ne_bytes()); // the offset of the next target does not advance
        assert_eq!(message.targets().len(), 1);
        put(&mut message.0, HEADER + 20, &u32::MAX.to_ne_bytes());
        assert_eq!(message.targets().len(), 1);
        assert!(second > 0);
    }

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(request("", 0, 0).is_err());
        assert!(request(&"n".repeat(128), 0, 0).is_err());
        assert!(request("a\0b", 0, 0).is_err());
        assert!(request(&"n".repeat(127), 0, 0).is_ok());
    }

    #[test]
    fn the_minor_is_decoded_beyond_eight_bits() {
        assert_eq!(minor(0xfd00), 0);
        assert_eq!(minor((254 << 8) | 3), 3);
        assert_eq!(minor((1 << 20) | (254 << 8) | 2), 0x102);
    }
}
