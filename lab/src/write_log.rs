//! Reads the log of a disk's writes, and reconstructs the disk after a power cut.
//!
//! QEMU's `blklogwrites` driver writes the format of Linux' dm-log-writes (`drivers/md/dm-log-writes.c`): a superblock
//! in the first sector, then for every request one sector with the entry and, for writes, the data; all little-endian.
//! QEMU leaves `data_len` zero and writes no marks. It updates the number of entries in the superblock only at a flush
//! and when it ends, so the machine must be ended properly ([`crate::Machine::cut_power`]).
//!
//! A cut is between two entries. Writes since the last flush may be lost, in any combination, because a disk may write
//! its cache in any order. [`Loss`] selects the lost writes.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1 << 0;
const FUA: u64 = 1 << 1;
const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// Maximum length of a request; QEMU splits requests far below it.
const MAX_REQUEST: u64 = 1 << 31;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Superblock {
    magic: U64,
    version: U64,
    entries: U64,
    sector_size: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    sector: U64,
    sectors: U64,
    flags: U64,
    data_len: U64,
}

/// The effect of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Bytes were written.
    Write {
        /// Offset of the data in the log, in bytes.
        data: u64,
        /// Whether the data was on stable media when the request was completed.
        stable: bool,
    },
    /// A range was discarded; its content is then undefined. Here it is left unchanged.
    Discard,
    /// All earlier writes are on stable media.
    Flush,
}

/// One request, in the order in which the disk executed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its first byte on the disk.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its effect.
    pub action: Action,
}

/// A parsed log.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

/// Which writes since the last flush are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None: the disk writes through.
    Nothing,
    /// All of them.
    Everything,
    /// Each write with probability one half, by this seed.
    Some {
        /// Selects the lost writes.
        seed: u64,
    },
}

/// Why a log cannot be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum WriteLogError {
    /// The log, the disk or the output cannot be used.
    #[error("the write log or the disk cannot be used")]
    File(#[from] io::Error),
    /// The file is not a write log of the supported version.
    #[error("not a write log: {0}")]
    Malformed(&'static str),
    /// The cut is after the last entry.
    #[error("cut at {at}, but the log has {entries} entries")]
    NoSuchCut {
        /// The position of the cut.
        at: usize,
        /// The number of entries.
        entries: usize,
    },
}

impl WriteLog {
    /// Reads the entries of a log; the data stays in the file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a complete write log.
    pub fn open(path: &Path) -> Result<Self, WriteLogError> {
        let file = File::open(path)?;
        let entries = parse(&file, file.metadata()?.len())?;
        Ok(Self { file, entries })
    }

    /// The requests, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Changes `disk`, which has the content before the first entry, to the content after a power cut before entry
    /// `at`.
    ///
    /// # Errors
    /// If there are fewer entries, or an I/O operation fails.
    pub fn replay(&self, disk: &File, at: usize, loss: Loss) -> Result<(), WriteLogError> {
        let before =
            self.entries.get(..at).ok_or(WriteLogError::NoSuchCut { at, entries: self.entries.len() })?;
        let mut buffer = Vec::new();
        for entry in survivors(before, loss) {
            let Action::Write { data, .. } = entry.action else { continue };
            buffer.resize(usize::try_from(entry.length).map_err(|_| WriteLogError::Malformed("request"))?, 0);
            self.file.read_exact_at(&mut buffer, data)?;
            disk.write_all_at(&buffer, entry.offset)?;
        }
        Ok(())
    }
}

/// The entries before a cut that are on the disk after it.
fn survivors(before: &[Entry], loss: Loss) -> impl Iterator<Item = &Entry> {
    let flushed = before.iter().rposition(|entry| entry.action == Action::Flush).unwrap_or(0);
    let mut random = match loss {
        Loss::Some { seed } => seed,
        Loss::Nothing | Loss::Everything => 0,
    };
    before
        .iter()
        .enumerate()
        .filter(move |(index, entry)| {
            let safe = *index < flushed || matches!(entry.action, Action::Write { stable: true, .. });
            let lucky = match loss {
                Loss::Nothing => true,
                Loss::Everything => false,
                Loss::Some { .. } => split_mix(&mut random) & 1 == 1,
            };
            safe || lucky
        })
        .map(|(_, entry)| entry)
}

/// SplitMix64 (Steele, Lea, Flood 2014): a short generator whose sequence does not change with a library.
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Parses the superblock and the entries in a log of `length` bytes.
///
/// # Errors
/// If the log cannot be read or is not complete.
pub fn parse(log: impl Read + Seek, length: u64) -> Result<Vec<Entry>, WriteLogError> {
    let mut log = BufReader::new(log);
    let mut head = [0_u8; size_of::<Superblock>()];
    log.read_exact(&mut head)?;
    let superblock =
        Superblock::read_from_bytes(&head).map_err(|_| WriteLogError::Malformed("superblock"))?;
    if superblock.magic.get() != MAGIC {
        return Err(WriteLogError::Malformed("magic"));
    }
    if superblock.version.get() != VERSION {
        return Err(WriteLogError::Malformed("version"));
    }
    let sector = u64::from(superblock.sector_size.get());
    if !sector.is_power_of_two() || !(512..=1 << 20).contains(&sector) {
        return Err(WriteLogError::Malformed("sector size"));
    }
    let (mut entries, mut position) = (Vec::new(), sector);
    for _ in 0..superblock.entries.get() {
        // Every entry takes a sector, so a damaged entry count ends the loop here.
        if position.saturating_add(sector) > length {
            return Err(WriteLogError::Malformed("truncated"));
        }
        log.seek(SeekFrom::Start(position))?;
        let mut raw = [0_u8; size_of::<RawEntry>()];
        log.read_exact(&mut raw)?;
        let raw = RawEntry::read_from_bytes(&raw).map_err(|_| WriteLogError::Malformed("entry"))?;
        position += sector;
        let entry = entry(&raw, sector, position)?;
        if matches!(entry.action, Action::Write { .. }) {
            position += entry.length;
        }
        if position > length {
            return Err(WriteLogError::Malformed("truncated"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(raw: &RawEntry, sector: u64, data: u64) -> Result<Entry, WriteLogError> {
    let flags = raw.flags.get();
    let length = raw.sectors.get().checked_mul(sector).filter(|length| *length <= MAX_REQUEST);
    let length = length.ok_or(WriteLogError::Malformed("request length"))?;
    let offset = raw.sector.get().checked_mul(sector).ok_or(WriteLogError::Malformed("request offset"))?;
    if flags & !(FLUSH | FUA | DISCARD) != 0 {
        return Err(WriteLogError::Malformed(if flags & MARK != 0 { "a mark" } else { "unknown flags" }));
    }
    let action = if flags & DISCARD != 0 {
        Action::Discard
    } else if flags & FLUSH != 0 && length == 0 {
        Action::Flush
    } else {
        Action::Write { data, stable: flags & FUA != 0 }
    };
    Ok(Entry { offset, length, action })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const SECTOR: usize = 512;
    const DISK: usize = 16 * SECTOR;

    #[derive(Debug, Clone)]
    enum Request {
        Write { sector: usize, sectors: usize, byte: u8, stable: bool },
        Discard { sector: usize, sectors: usize },
        Flush,
    }

    fn sector_of(bytes: &[u8]) -> Vec<u8> {
        let mut sector = bytes.to_vec();
        sector.resize(SECTOR, 0);
        sector
    }

    fn log_bytes(requests: &[Request]) -> Vec<u8> {
        let superblock = Superblock {
            magic: MAGIC.into(),
            version: VERSION.into(),
            entries: u64::try_from(requests.len()).unwrap().into(),
            sector_size: 512.into(),
        };
        let mut log = sector_of(superblock.as_bytes());
        for request in requests {
            let (sector, sectors, flags, byte) = match *request {
                Request::Write { sector, sectors, byte, stable } => {
                    (sector, sectors, if stable { FUA } else { 0 }, Some(byte))
                }
                Request::Discard { sector, sectors } => (sector, sectors, DISCARD, None),
                Request::Flush => (0, 0, FLUSH, None),
            };
            let raw = RawEntry {
                sector: (sector as u64).into(),
                sectors: (sectors as u64).into(),
                flags: flags.into(),
                data_len: 0.into(),
            };
            log.extend(sector_of(raw.as_bytes()));
            if let Some(byte) = byte {
                log.extend(std::iter::repeat_n(byte, sectors * SECTOR));
            }
        }
        log
    }

    fn open(bytes: &[u8]) -> Result<WriteLog, WriteLogError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        WriteLog::open(file.path())
    }

    fn replayed(log: &WriteLog, at: usize, loss: Loss) -> Vec<u8> {
        let mut disk = tempfile::tempfile().unwrap();
        disk.set_len(DISK as u64).unwrap();
        log.replay(&disk, at, loss).unwrap();
        let mut bytes = Vec::new();
        disk.rewind().unwrap();
        disk.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// The expected result, computed with the simplest possible code. The caller decides which entries survive.
    fn model(requests: &[Request], survives: impl Fn(usize) -> bool) -> Vec<u8> {
        let mut disk = vec![0; DISK];
        for (index, request) in requests.iter().enumerate() {
            if let Request::Write { sector, sectors, byte, .. } = *request
                && survives(index)
            {
                disk[sector * SECTOR..(sector + sectors) * SECTOR].fill(byte);
            }
        }
        disk
    }

    fn request() -> impl Strategy<Value = Request> {
        let range = || (0_usize..12, 1_usize..4);
        prop_oneof![
            4 => (range(), any::<u8>(), any::<bool>())
                .prop_map(|((sector, sectors), byte, stable)| Request::Write { sector, sectors, byte, stable }),
            1 => range().prop_map(|(sector, sectors)| Request::Discard { sector, sectors }),
            2 => Just(Request::Flush),
        ]
    }

    proptest! {
        #[test]
        fn a_replay_equals_the_writes_before_the_cut(requests in prop::collection::vec(request(), 0..30), cut in any::<prop::sample::Index>()) {
            let log = open(&log_bytes(&requests)).unwrap();
            prop_assert_eq!(log.entries().len(), requests.len());
            let at = cut.index(requests.len() + 1);
            prop_assert_eq!(replayed(&log, at, Loss::Nothing), model(&requests[..at], |_| true));
        }

        #[test]
        fn flushed_or_stable_writes_are_never_lost(requests in prop::collection::vec(request(), 0..30), cut in any::<prop::sample::Index>()) {
            let log = open(&log_bytes(&requests)).unwrap();
            let at = cut.index(requests.len() + 1);
            let flushed = requests[..at].iter().rposition(|r| matches!(r, Request::Flush)).unwrap_or(0);
            let stable = |index: usize| index < flushed || matches!(requests[index], Request::Write { stable: true, .. });
            prop_assert_eq!(replayed(&log, at, Loss::Everything), model(&requests[..at], stable));
        }

        #[test]
        fn a_seeded_loss_drops_whole_writes_and_is_repeatable(requests in prop::collection::vec(request(), 0..12), seed in any::<u64>()) {
            let log = open(&log_bytes(&requests)).unwrap();
            let at = requests.len();
            let after = replayed(&log, at, Loss::Some { seed });
            prop_assert_eq!(&after, &replayed(&log, at, Loss::Some { seed }));
            let kept: Vec<Entry> = survivors(log.entries(), Loss::Some { seed }).copied().collect();
            prop_assert_eq!(after, model(&requests, |index| kept.contains(&log.entries()[index])));
            let flushed = requests.iter().rposition(|r| matches!(r, Request::Flush)).unwrap_or(0);
            prop_assert!(log.entries()[..flushed].iter().all(|entry| kept.contains(entry)));
        }
    }

    #[test]
    fn a_seeded_loss_keeps_some_writes_and_drops_others() {
        let requests: Vec<Request> =
            (0..12).map(|sector| Request::Write { sector, sectors: 1, byte: 1, stable: false }).collect();
        let log = open(&log_bytes(&requests)).unwrap();
        let kept = survivors(log.entries(), Loss::Some { seed: 1 }).count();
        assert!((1..12).contains(&kept), "{kept}");
    }

    #[test]
    fn an_incomplete_or_invalid_log_is_refused_with_its_cause() {
        let good = log_bytes(&[Request::Write { sector: 1, sectors: 2, byte: 9, stable: false }]);
        let refused = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
        assert!(open(&good[..good.len() - 1]).unwrap_err().to_string().ends_with("truncated"));
        let mut bad = good.clone();
        bad[0] ^= 1;
        assert_eq!(refused(&bad), "not a write log: magic");
        let mut bad = good.clone();
        bad[8] = 2;
        assert_eq!(refused(&bad), "not a write log: version");
        let mut bad = good.clone();
        bad[16..24].fill(0xff);
        assert_eq!(refused(&bad), "not a write log: truncated");
        let mut bad = good;
        bad[SECTOR + 16] = 8;
        assert_eq!(refused(&bad), "not a write log: a mark");
    }

    #[test]
    fn a_cut_after_the_end_is_refused() {
        let log = open(&log_bytes(&[Request::Flush])).unwrap();
        let disk = tempfile::tempfile().unwrap();
        let error = log.replay(&disk, 2, Loss::Nothing).unwrap_err();
        assert_eq!(error.to_string(), "cut at 2, but the log has 1 entries");
    }
}
