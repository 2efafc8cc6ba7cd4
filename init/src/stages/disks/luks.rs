//! LUKS2 headers, as far as identity goes: whose container it is, and whether its making was finished. The keys inside are
//! cryptsetup's business.
//!
//! Layout: LUKS2 On-Disk Format Specification 1.1.1, sections 2 and 2.1: two copies of a binary header of 4096 bytes, big-endian,
//! each followed by a JSON area; a SHA-256 over both, computed with the checksum field as zeroes. The second copy lies at the
//! header's own size, 16 KiB as cryptsetup makes it.

use ring::digest;

/// Bytes of a partition's start that [`Headers::read`] needs: both copies.
pub const HEAD_BYTES: usize = 2 * COPY_BYTES;

/// One copy, binary header and JSON area, as cryptsetup makes it.
pub const COPY_BYTES: usize = 16 * 1024;

/// The binary header.
pub const BINARY_BYTES: usize = 4096;

/// What the `subsystem` field says while a container is made: it has never been used.
pub const UNFINISHED: &str = "kubedos-unfinished";

/// What it says from then on.
pub const FINISHED: &str = "kubedos";

pub(super) const MAGIC: [&[u8]; 2] = [b"LUKS\xba\xbe", b"SKUL\xba\xbe"];
pub(super) const SEQUENCE: usize = 16;
pub(super) const LABEL: usize = 24;
pub(super) const UUID: usize = 168;
pub(super) const SUBSYSTEM: usize = 208;
pub(super) const CHECKSUM: usize = 448;

/// One copy of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCopy {
    /// The newer copy counts.
    pub sequence: u64,
    /// Whose container it is.
    pub label: String,
    /// How far it is.
    pub subsystem: String,
    /// The checksum holds.
    pub whole: bool,
}

/// Both copies, as far as they bear the mark of a LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// The copies found.
    pub copies: Vec<HeaderCopy>,
}

impl Headers {
    /// Reads what lies at the start of a partition.
    pub fn read(head: &[u8]) -> Self {
        let copy = |index: usize| {
            let bytes = head.get(index * COPY_BYTES..(index + 1) * COPY_BYTES)?;
            let version = u16::from_be_bytes(*bytes.get(6..)?.first_chunk()?);
            (bytes.starts_with(MAGIC.get(index)?) && version == 2).then(|| read_copy(bytes))?
        };
        Self { copies: [copy(0), copy(1)].into_iter().flatten().collect() }
    }

    /// The newest whole copy.
    pub fn newest(&self) -> Option<&HeaderCopy> {
        self.copies.iter().filter(|copy| copy.whole).max_by_key(|copy| copy.sequence)
    }
}

fn read_copy(bytes: &[u8]) -> Option<HeaderCopy> {
    let sequence = u64::from_be_bytes(*bytes.get(SEQUENCE..)?.first_chunk()?);
    let found = bytes.get(CHECKSUM..CHECKSUM + 32)?;
    Some(HeaderCopy {
        sequence,
        label: text(bytes.get(LABEL..LABEL + 48)?),
        subsystem: text(bytes.get(SUBSYSTEM..SUBSYSTEM + 48)?),
        whole: checksum(bytes).is_some_and(|sum| sum == found),
    })
}

/// SHA-256 over the copy, with its checksum field as zeroes.
pub(super) fn checksum(copy: &[u8]) -> Option<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(copy.get(..CHECKSUM)?);
    context.update(&[0; 64]);
    context.update(copy.get(CHECKSUM + 64..COPY_BYTES)?);
    context.finish().as_ref().try_into().ok()
}

/// A field of text, up to its first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}
