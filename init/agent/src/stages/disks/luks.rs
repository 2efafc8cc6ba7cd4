//! LUKS2 headers of STATE and DATA: whether a container belongs to kubedOS, whether it is finished, and whether its
//! header has the shape that the agent writes.
//!
//! A header contains the cipher, the key slots and the requirements with which cryptsetup opens the container, and an
//! attacker who can write the disk can write a header. The agent therefore copies a header into memory, compares it
//! field by field with the one shape that it writes itself, and gives cryptsetup the checked copy ([`Checked`]), never
//! the bytes on the disk.
//!
//! Layout: LUKS2 On-Disk Format Specification 1.1.1, sections 2 and 3: two copies of a binary header of 4096 bytes,
//! big-endian, each followed by a JSON area; a SHA-256 over both, computed with the checksum field as zeroes. The
//! second copy starts at the offset given by the header size, 16 KiB in headers by cryptsetup. The one key slot
//! follows.

use std::collections::BTreeMap;

use ring::digest;
use serde::{Deserialize, Serialize};

/// How many bytes from the start of a partition [`Headers::read`] needs: both copies.
pub const HEAD_BYTES: usize = 2 * COPY_BYTES;

/// Size of one copy as cryptsetup writes it: binary header and JSON area.
pub const COPY_BYTES: usize = 16 * 1024;

/// Size of the binary header.
pub const BINARY_BYTES: usize = 4096;

/// Size of the one key slot: 4000 stripes of 64 bytes, rounded up to 4 KiB.
pub const SLOT_BYTES: usize = 252 * 1024;

/// How many bytes from the start of a partition [`Checked::read`] needs: both copies and the key slot.
pub const AREA_BYTES: usize = HEAD_BYTES + SLOT_BYTES;

/// Offset of the encrypted data. LUKS2 does not use the bytes between the key slot and this offset.
pub const DATA_OFFSET: u64 = 16 << 20;

/// Value of the `subsystem` field while a container is being created: it has never been used.
pub const UNFINISHED: &str = "kubedos-unfinished";

/// Value of the `subsystem` field of a finished container.
pub const FINISHED: &str = "kubedos";

pub(super) const MAGIC: [&[u8]; 2] = [b"LUKS\xba\xbe", b"SKUL\xba\xbe"];
pub(super) const HEADER_SIZE: usize = 8;
pub(super) const SEQUENCE: usize = 16;
pub(super) const LABEL: usize = 24;
pub(super) const CHECKSUM_KIND: usize = 72;
pub(super) const UUID: usize = 168;
pub(super) const SUBSYSTEM: usize = 208;
pub(super) const PLACE: usize = 256;
pub(super) const CHECKSUM: usize = 448;

/// One copy of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderCopy {
    /// Sequence number; the copy with the higher one counts.
    pub sequence: u64,
    /// The `label` field, which names the store.
    pub label: String,
    /// The `subsystem` field: [`UNFINISHED`] or [`FINISHED`].
    pub subsystem: String,
    /// The checksum is correct.
    pub whole: bool,
    /// The number of the copy: 0 at the start of the partition, 1 for the second one.
    index: usize,
}

/// The copies that have the magic number of a LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// The copies found.
    pub copies: Vec<HeaderCopy>,
}

impl Headers {
    /// Reads both copies from the start of a partition.
    pub fn read(head: &[u8]) -> Self {
        let copy = |index: usize| {
            let bytes = copy_bytes(head, index)?;
            let version = u16::from_be_bytes(*bytes.get(6..)?.first_chunk()?);
            (bytes.starts_with(MAGIC.get(index)?) && version == 2).then(|| read_copy(bytes, index))?
        };
        Self { copies: [copy(0), copy(1)].into_iter().flatten().collect() }
    }

    /// The newest copy with a correct checksum.
    pub fn newest(&self) -> Option<&HeaderCopy> {
        self.copies.iter().filter(|copy| copy.whole).max_by_key(|copy| copy.sequence)
    }
}

fn copy_bytes(head: &[u8], index: usize) -> Option<&[u8]> {
    head.get(index * COPY_BYTES..(index + 1) * COPY_BYTES)
}

fn read_copy(bytes: &[u8], index: usize) -> Option<HeaderCopy> {
    let sequence = u64::from_be_bytes(*bytes.get(SEQUENCE..)?.first_chunk()?);
    let found = bytes.get(CHECKSUM..CHECKSUM + 32)?;
    Some(HeaderCopy {
        sequence,
        label: text(bytes.get(LABEL..LABEL + 48)?),
        subsystem: text(bytes.get(SUBSYSTEM..SUBSYSTEM + 48)?),
        whole: checksum(bytes).is_some_and(|sum| sum == found),
        index,
    })
}

/// SHA-256 over the copy, with the checksum field as zeroes.
pub(super) fn checksum(copy: &[u8]) -> Option<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(copy.get(..CHECKSUM)?);
    context.update(&[0; 64]);
    context.update(copy.get(CHECKSUM + 64..COPY_BYTES)?);
    context.finish().as_ref().try_into().ok()
}

/// A text field, up to its first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// The difference between an intact header and the headers that the agent writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// Both copies are damaged.
    #[error("both copies of the header are damaged")]
    NotWhole,
    /// A field of the binary header has an unexpected value.
    #[error("{0} in the binary header differs from the value that kubedOS writes")]
    Binary(&'static str),
    /// The JSON area has an unexpected shape.
    #[error("its metadata differs from the metadata that kubedOS writes: {0}")]
    Shape(String),
    /// A field of the JSON area has an unexpected value.
    #[error("{field} of its metadata is `{found}`, but kubedOS writes `{expected}`")]
    Field {
        /// The path of the field.
        field: &'static str,
        /// The value in the header.
        found: String,
        /// The value that the agent writes.
        expected: &'static str,
    },
}

/// A header and its key slot, copied from a disk and checked: exactly one key slot and one segment, both AES-XTS, no
/// tokens, no requirements. Both copies are generated from the newest intact one, and their JSON text is serialized
/// again from the checked values, so that no parser can read different values from it (through a repeated name, or
/// bytes after a NUL).
#[derive(Clone, PartialEq, Eq)]
pub struct Checked {
    area: Vec<u8>,
    sequence: u64,
}

impl std::fmt::Debug for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Checked {
    /// Checks the first [`AREA_BYTES`] of a partition.
    pub fn read(area: &[u8]) -> Result<Self, Unacceptable> {
        let headers = Headers::read(area);
        let newest = headers.newest().ok_or(Unacceptable::NotWhole)?;
        let copy = copy_bytes(area, newest.index).ok_or(Unacceptable::NotWhole)?;
        let slot = area.get(HEAD_BYTES..AREA_BYTES).ok_or(Unacceptable::NotWhole)?;
        check_binary(copy, newest.index)?;
        let json = checked_metadata(copy)?;
        let mut checked = Vec::with_capacity(AREA_BYTES);
        for index in [0, 1] {
            checked.extend(as_copy(copy, &json, index).ok_or(Unacceptable::NotWhole)?);
        }
        checked.extend_from_slice(slot);
        Ok(Self { area: checked, sequence: newest.sequence })
    }

    /// The [`AREA_BYTES`] to write at the start of a partition or of a detached header.
    pub fn bytes(&self) -> &[u8] {
        &self.area
    }

    /// The sequence number of the header.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Builds the first (0) or second (1) copy from the same binary header and this JSON text.
fn as_copy(copy: &[u8], json: &[u8], index: usize) -> Option<Vec<u8>> {
    let mut bytes = copy.get(..BINARY_BYTES)?.to_vec();
    bytes.extend_from_slice(json);
    if bytes.len() >= COPY_BYTES {
        return None; // the text needs a terminating NUL
    }
    bytes.resize(COPY_BYTES, 0);
    bytes.get_mut(..6)?.copy_from_slice(MAGIC.get(index)?);
    bytes.get_mut(PLACE..PLACE + 8)?.copy_from_slice(&((index * COPY_BYTES) as u64).to_be_bytes());
    let sum = checksum(&bytes)?;
    bytes.get_mut(CHECKSUM..CHECKSUM + 32)?.copy_from_slice(&sum);
    Some(bytes)
}

fn check_binary(copy: &[u8], index: usize) -> Result<(), Unacceptable> {
    let number = |at: usize| {
        copy.get(at..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_be_bytes(*bytes))
    };
    let kind = copy.get(CHECKSUM_KIND..CHECKSUM_KIND + 32).map(text);
    for (field, is_expected) in [
        ("the size", number(HEADER_SIZE) == Some(COPY_BYTES as u64)),
        ("the place", number(PLACE) == Some((index * COPY_BYTES) as u64)),
        ("the checksum's algorithm", kind.as_deref() == Some("sha256")),
    ] {
        if !is_expected {
            return Err(Unacceptable::Binary(field));
        }
    }
    Ok(())
}

/// The JSON area. Unknown fields are rejected: flags, requirements, priorities and integrity change how a container is
/// opened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    keyslots: BTreeMap<String, KeySlot>,
    tokens: BTreeMap<String, serde_json::Value>,
    segments: BTreeMap<String, Segment>,
    digests: BTreeMap<String, Digest>,
    config: Config,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySlot {
    r#type: String,
    key_size: u32,
    af: AntiForensic,
    area: Area,
    kdf: Kdf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AntiForensic {
    r#type: String,
    stripes: u32,
    hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    r#type: String,
    offset: String,
    size: String,
    encryption: String,
    key_size: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    r#type: String,
    hash: String,
    iterations: u32,
    salt: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Segment {
    r#type: String,
    offset: String,
    size: String,
    iv_tweak: String,
    encryption: String,
    sector_size: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    r#type: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    json_size: String,
    keyslots_size: String,
}

/// The agent asks for 1,000 iterations, and cryptsetup uses the same number for the digest. More iterations would only
/// cost time, because the key is random.
const ITERATIONS: &str = "1000";

/// Checks the JSON area and returns the same metadata, serialized again.
fn checked_metadata(copy: &[u8]) -> Result<Vec<u8>, Unacceptable> {
    let shape = |error: &dyn std::fmt::Display| Unacceptable::Shape(error.to_string());
    let area = copy.get(BINARY_BYTES..COPY_BYTES).ok_or(Unacceptable::NotWhole)?;
    let end = area.iter().position(|byte| *byte == 0).unwrap_or(area.len());
    let (json, rest) = area.split_at(end);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Unacceptable::Shape("bytes follow the end of the JSON text".into()));
    }
    let metadata: Metadata = serde_json::from_slice(json).map_err(|error| shape(&error))?;
    let slot = only(&metadata.keyslots, "keyslots")?;
    let segment = only(&metadata.segments, "segments")?;
    let digest = only(&metadata.digests, "digests")?;
    if !metadata.tokens.is_empty() {
        return Err(Unacceptable::Field { field: "tokens", found: "a token".into(), expected: "none" });
    }
    let sector_size = segment.sector_size.to_string();
    let numbers =
        [slot.key_size, slot.af.stripes, slot.area.key_size, slot.kdf.iterations, digest.iterations]
            .map(|number| number.to_string());
    let [key_size, stripes, area_key_size, iterations, digest_iterations] = &numbers;
    let (keyslots, segments) = (digest.keyslots.join(","), digest.segments.join(","));
    for (field, found, expected) in [
        ("keyslots.0.type", &slot.r#type, "luks2"),
        ("keyslots.0.key_size", key_size, "64"),
        ("keyslots.0.af.type", &slot.af.r#type, "luks1"),
        ("keyslots.0.af.stripes", stripes, "4000"),
        ("keyslots.0.af.hash", &slot.af.hash, "sha256"),
        ("keyslots.0.area.type", &slot.area.r#type, "raw"),
        ("keyslots.0.area.offset", &slot.area.offset, "32768"),
        ("keyslots.0.area.size", &slot.area.size, "258048"),
        ("keyslots.0.area.encryption", &slot.area.encryption, "aes-xts-plain64"),
        ("keyslots.0.area.key_size", area_key_size, "64"),
        ("keyslots.0.kdf.type", &slot.kdf.r#type, "pbkdf2"),
        ("keyslots.0.kdf.hash", &slot.kdf.hash, "sha256"),
        ("keyslots.0.kdf.iterations", iterations, ITERATIONS),
        ("segments.0.type", &segment.r#type, "crypt"),
        ("segments.0.offset", &segment.offset, "16777216"),
        ("segments.0.size", &segment.size, "dynamic"),
        ("segments.0.iv_tweak", &segment.iv_tweak, "0"),
        ("segments.0.encryption", &segment.encryption, "aes-xts-plain64"),
        // cryptsetup chooses the larger size if the disk has physical sectors of that size.
        ("segments.0.sector_size", &sector_size, if sector_size == "512" { "512" } else { "4096" }),
        ("digests.0.type", &digest.r#type, "pbkdf2"),
        ("digests.0.keyslots", &keyslots, "0"),
        ("digests.0.segments", &segments, "0"),
        ("digests.0.hash", &digest.hash, "sha256"),
        ("digests.0.iterations", digest_iterations, ITERATIONS),
        ("config.json_size", &metadata.config.json_size, "12288"),
        ("config.keyslots_size", &metadata.config.keyslots_size, "16744448"),
    ] {
        if found != expected {
            return Err(Unacceptable::Field { field, found: found.clone(), expected });
        }
    }
    serde_json::to_vec(&metadata).map_err(|error| shape(&error))
}

/// The only entry of a map, which must have the number 0.
fn only<'a, T>(entries: &'a BTreeMap<String, T>, field: &'static str) -> Result<&'a T, Unacceptable> {
    match (entries.len(), entries.get("0")) {
        (1, Some(entry)) => Ok(entry),
        _ => {
            let found = entries.keys().cloned().collect::<Vec<_>>().join(",");
            Err(Unacceptable::Field { field, found, expected: "0" })
        }
    }
}

#[cfg(test)]
mod tests;
