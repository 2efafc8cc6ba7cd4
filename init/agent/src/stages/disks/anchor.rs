//! The anchor: a backup of the node's record and of the LUKS2 headers, for the case that a header cannot be read.
//!
//! The anchor contains the node's record (the same text as `node.toml` in STATE) and a copy of both LUKS2 headers. It is
//! authenticated with a key derived from the node's seed. It is stored in the bytes between key slot and data that
//! LUKS2 does not use, once in the STATE partition and once in the DATA partition, so one damaged partition or one
//! interrupted write does not destroy both copies. The agent reads it at fixed offsets of a disk, without opening or
//! mounting a container; it therefore has the floors of a node from all disks before its first write (ADR 0060).
//!
//! The anchor contains only secrets that are on the disk anyway. An attacker who can write the disk can restore an old
//! anchor or an old copy of STATE; the floors in the seed protect against that.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `KUBEDANC` |
//! | 8 | 4 | version, little-endian like all numbers: 1 |
//! | 12 | 4 | bytes of the record |
//! | 16 | 8 | sequence: the higher one counts |
//! | 24 | 4, 4 | bytes of the header backup of STATE, of DATA: 0 or [`luks::AREA_BYTES`] |
//! | 32 | 32 | HMAC-SHA256 over bytes 0 to 31 and everything from byte 64 on |
//! | 64 | | record, header of STATE, header of DATA |

use std::collections::BTreeMap;

use ring::{hkdf, hmac};

use super::luks::{self, Checked};
use super::ops::DiskKey;
use super::survey::Store;

/// Offset of the anchor in a store's partition: after all possible key slots, before the data at 16 MiB.
pub const PLACE: u64 = 8 << 20;

/// Length of the fixed part of an anchor, with its magic number and lengths.
pub const HEAD_BYTES: usize = 64;

/// Maximum length of an anchor.
pub const MAX_BYTES: usize = HEAD_BYTES + MAX_RECORD + 2 * luks::AREA_BYTES;

/// Maximum length of a record.
const MAX_RECORD: usize = 64 * 1024;

const MAGIC: &[u8; 8] = b"KUBEDANC";
const VERSION: u32 = 1;

/// An authenticated anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Incremented with each new anchor of this disk.
    pub sequence: u64,
    /// The node's record, as TOML.
    pub record: String,
    /// Backups of the LUKS2 headers.
    pub headers: BTreeMap<Store, Checked>,
}

/// The content at the offset of an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No anchor.
    Absent,
    /// An anchor of this node.
    Own(Anchor),
    /// An anchor that this node's key does not authenticate: it is damaged, or belongs to another node.
    Other,
}

/// The length and the sequence in this anchor head, not yet authenticated; `None` if it is not an anchor.
pub fn claims(head: &[u8]) -> Option<(usize, u64)> {
    let number = |at: usize| head.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let sequence = u64::from_le_bytes(*head.get(16..24)?.first_chunk()?);
    if !head.starts_with(MAGIC) || number(8)? != VERSION {
        return None;
    }
    let parts =
        [number(12)?, number(24)?, number(28)?].map(|part| usize::try_from(part).unwrap_or(usize::MAX));
    let length = parts.iter().try_fold(HEAD_BYTES, |sum, part| sum.checked_add(*part))?;
    (length <= MAX_BYTES).then_some((length, sequence))
}

/// Serializes an anchor and authenticates it.
pub fn seal(anchor: &Anchor, key: &DiskKey) -> Vec<u8> {
    let part = |store: Store| anchor.headers.get(&store).map_or(&[][..], Checked::bytes);
    let (state, data) = (part(Store::State), part(Store::Data));
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes(); // a length above MAX_BYTES is rejected by `claims`
    let mut bytes = Vec::with_capacity(HEAD_BYTES + anchor.record.len() + state.len() + data.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length(anchor.record.as_bytes()));
    bytes.extend_from_slice(&anchor.sequence.to_le_bytes());
    bytes.extend_from_slice(&length(state));
    bytes.extend_from_slice(&length(data));
    let mut mac = hmac::Context::with_key(&mac_key(key));
    mac.update(&bytes);
    let body = [anchor.record.as_bytes(), state, data];
    body.iter().for_each(|part| mac.update(part));
    bytes.extend_from_slice(mac.sign().as_ref());
    body.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// Reads an anchor. No field is used before the anchor is authenticated.
pub fn open(bytes: &[u8], key: &DiskKey) -> Found {
    if !bytes.starts_with(MAGIC) {
        return Found::Absent;
    }
    authentic(bytes, key).map_or(Found::Other, Found::Own)
}

fn authentic(bytes: &[u8], key: &DiskKey) -> Option<Anchor> {
    let bytes = bytes.get(..claims(bytes)?.0)?;
    let (head, body) = (bytes.get(..HEAD_BYTES)?, bytes.get(HEAD_BYTES..)?);
    let (fields, mac) = head.split_at_checked(32)?;
    let signed = [fields, body].concat();
    hmac::verify(&mac_key(key), &signed, mac).ok()?; // the only error is a wrong MAC
    let number =
        |at: usize| fields.get(at..at + 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let sequence = u64::from_le_bytes(*fields.get(16..24)?.first_chunk()?);
    let (record, rest) = body.split_at_checked(number(12)?)?;
    let (state, data) = rest.split_at_checked(number(24)?)?;
    let mut headers = BTreeMap::new();
    for (store, bytes) in [(Store::State, state), (Store::Data, data)] {
        if !bytes.is_empty() {
            // A later release may write different headers. This release cannot restore them, but still uses the
            // record.
            headers.extend(Checked::read(bytes).ok().map(|header| (store, header)));
        }
    }
    Some(Anchor { sequence, record: std::str::from_utf8(record).ok()?.to_owned(), headers })
}

/// Derives the key of the anchors from the key of the containers.
#[expect(clippy::expect_used, reason = "32 bytes are within HKDF's bound of 255 times 32, for every input")]
fn mac_key(key: &DiskKey) -> hmac::Key {
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"kubedos anchor v1").extract(key.as_slice());
    secret.expand(&[b"mac"], hmac::HMAC_SHA256).map(hmac::Key::from).expect("an output of 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::super::fake_disks::luks_area_of;
    use super::*;
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    fn key(byte: u8) -> DiskKey {
        Zeroizing::new([byte; 32])
    }

    fn anchor() -> Anchor {
        let header = |store| Checked::read(&luks_area_of(store, luks::FINISHED, 3)).unwrap();
        let headers = Store::ALL.into_iter().map(|store| (store, header(store))).collect();
        Anchor { sequence: 7, record: "version = 2\n".into(), headers }
    }

    #[test]
    fn an_anchor_is_read_as_written() {
        let bytes = seal(&anchor(), &key(1));
        assert_eq!(claims(&bytes), Some((bytes.len(), 7)));
        assert_eq!(open(&bytes, &key(1)), Found::Own(anchor()));
        let mut longer = bytes;
        longer.resize(MAX_BYTES, 0xff);
        assert_eq!(open(&longer, &key(1)), Found::Own(anchor()), "bytes after the anchor are ignored");
        let small = Anchor { headers: BTreeMap::new(), ..anchor() };
        assert_eq!(open(&seal(&small, &key(1)), &key(1)), Found::Own(small));
    }

    /// C0, T5: the anchor of another node is not used.
    #[test]
    fn an_anchor_with_a_different_key_is_not_used() {
        assert_eq!(open(&seal(&anchor(), &key(1)), &key(2)), Found::Other);
        assert_eq!(open(&[0; HEAD_BYTES], &key(1)), Found::Absent);
        assert_eq!(open(b"", &key(1)), Found::Absent);
        let mut unsigned = seal(&anchor(), &key(1));
        unsigned[32..64].fill(0);
        assert_eq!(open(&unsigned, &key(1)), Found::Other);
    }

    proptest! {
        #[test]
        fn an_anchor_with_a_changed_bit_is_not_used(at in 0usize..600_000, bit in 0u8..8) {
            let mut bytes = seal(&anchor(), &key(1));
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(!matches!(open(&bytes, &key(1)), Found::Own(_)));
        }

        #[test]
        fn the_reader_does_not_panic_on_any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), lengths: [u32; 3]) {
            if bytes.len() >= 32 {
                bytes[..8].copy_from_slice(MAGIC);
                bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
                for (at, length) in [12, 24, 28].into_iter().zip(lengths) {
                    bytes[at..at + 4].copy_from_slice(&(length % 300).to_le_bytes());
                }
            }
            prop_assert!(!matches!(open(&bytes, &key(1)), Found::Own(_)));
            claims(&bytes);
        }
    }
}
