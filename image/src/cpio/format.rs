//! The header: `070701` and thirteen numbers of eight hex digits each (kernel documentation, "initramfs buffer format").

pub(super) const MAGIC: &[u8; 6] = b"070701";
pub(super) const HEADER_LEN: usize = 6 + 13 * 8;
pub(super) const TRAILER: &str = "TRAILER!!!";
/// Names and contents start at multiples of four.
pub(super) const ALIGN: usize = 4;
/// The whole archive is padded to a multiple of 512 bytes, the block size of cpio.
pub(super) const BLOCK: usize = 512;

pub(super) const KIND_MASK: u32 = 0o170_000;
pub(super) const KIND_DIRECTORY: u32 = 0o040_000;
pub(super) const KIND_FILE: u32 = 0o100_000;
pub(super) const KIND_LINK: u32 = 0o120_000;
pub(super) const KIND_CHARACTER: u32 = 0o020_000;

/// The thirteen numbers, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) inode: u32,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u32,
    pub(super) mtime: u32,
    pub(super) size: u32,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) device_major: u32,
    pub(super) device_minor: u32,
    pub(super) name_len: u32,
    pub(super) check: u32,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for value in self.values() {
            out.extend_from_slice(format!("{value:08x}").as_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (magic, digits) = bytes.split_at_checked(MAGIC.len())?;
        if magic != MAGIC {
            return None;
        }
        let mut values = [0u32; 13];
        for (value, text) in values.iter_mut().zip(digits.chunks_exact(8)) {
            if !text.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *value = u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()?;
        }
        let [
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            major,
            minor,
            device_major,
            device_minor,
            name_len,
            check,
        ] = values;
        Some(Self {
            inode,
            mode,
            uid,
            gid,
            links,
            mtime,
            size,
            major,
            minor,
            device_major,
            device_minor,
            name_len,
            check,
        })
    }

    fn values(&self) -> [u32; 13] {
        [
            self.inode,
            self.mode,
            self.uid,
            self.gid,
            self.links,
            self.mtime,
            self.size,
            self.major,
            self.minor,
            self.device_major,
            self.device_minor,
            self.name_len,
            self.check,
        ]
    }
}
