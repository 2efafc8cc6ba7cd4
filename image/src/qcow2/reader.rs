//! The guest disk in an image of any tool. The header and the L1 table are checked when the image is opened. L2 tables and data are read on
//! demand, because an image may be much larger than the memory.

use super::compressed::Method;
use super::format::{Features, Head, MAGIC, MAX_GUEST, OFFSET};
use super::{Qcow2Error, Unsupported};
use crate::source::Source;
use crate::width::to_usize;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use zerocopy::FromBytes;

const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_TABLES: u64 = 1 << 4;
/// The offset of the compression type in version 3, if the header is long enough.
const COMPRESSION_AT: u64 = 104;
/// The limits of QEMU: clusters of 512 bytes to 2 MiB, and an L1 table of 32 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
const MAX_L1_BYTES: u64 = 32 << 20;
/// The flag of an entry whose cluster reads as zeroes, with any offset (version 3).
const ZERO: u64 = 1;
const COMPRESSED: u64 = 1 << 62;
/// The unit of the length of a compressed cluster.
const SECTOR: u64 = 512;

/// The guest disk in an image.
#[expect(missing_debug_implementations, reason = "the image need not be printable")]
pub struct Image<S> {
    image: S,
    guest: u64,
    cluster_bits: u32,
    version: u32,
    method: Method,
    /// The index of each used L1 entry, and the offset of its L2 table, in the order of the guest disk.
    tables: Vec<(u64, u64)>,
    /// The L2 table and the compressed cluster that were read last.
    last_table: Mutex<Option<(u64, Vec<u64>)>>,
    last_cluster: Mutex<Option<(u64, Vec<u8>)>>,
}

/// The place of a cluster of the guest disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Zeroes,
    At(u64),
    Compressed { offset: u64, len: u64 },
}

impl<S: Source> Image<S> {
    /// Opens an image.
    ///
    /// # Errors
    /// [`Qcow2Error::Header`] and [`Qcow2Error::Damaged`] if the image contradicts the format, [`Qcow2Error::Unsupported`] if it has a
    /// feature that this reader does not support.
    pub fn open(image: S) -> Result<Self, Qcow2Error> {
        let head: Head = structure(&image, 0, "the file is too short")?;
        if head.magic != MAGIC {
            return Err(Qcow2Error::Header("the magic number"));
        }
        let version = head.version.get();
        let method = match version {
            2 => Method::Deflate,
            3 => features(&image)?,
            other => return Err(Unsupported::Version(other).into()),
        };
        if head.encryption.get() != 0 {
            return Err(Unsupported::Encrypted.into());
        }
        if head.backing_offset.get() != 0 {
            return Err(Unsupported::BackingFile.into());
        }
        let cluster_bits = head.cluster_bits.get();
        if !CLUSTER_BITS.contains(&cluster_bits) {
            return Err(Qcow2Error::Header("the cluster size"));
        }
        let guest = head.guest.get();
        if guest == 0 || guest > MAX_GUEST {
            return Err(Qcow2Error::Length(guest));
        }
        // An L2 table has the size of a cluster.
        let needed = guest.div_ceil(1 << (2 * cluster_bits - 3));
        if u64::from(head.l1_entries.get()) < needed || needed * 8 > MAX_L1_BYTES {
            return Err(Qcow2Error::Header("the length of the L1 table"));
        }
        let tables = first_table(&image, head.l1_offset.get(), needed, cluster_bits)?;
        let (last_table, last_cluster) = (Mutex::default(), Mutex::default());
        Ok(Self { image, guest, cluster_bits, version, method, tables, last_table, last_cluster })
    }

    /// The file itself.
    pub fn file(&self) -> &S {
        &self.image
    }

    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The number of entries of an L2 table.
    fn per_table(&self) -> u64 {
        self.cluster() / 8
    }

    /// Calls `look` with the L2 table at `offset`.
    fn with_table<T>(&self, offset: u64, look: impl FnOnce(&[u64]) -> T) -> io::Result<T> {
        let mut last = self.last_table.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((at, table)) if *at == offset => Ok(look(table)),
            _ => {
                let table = entries(&self.image, offset, self.per_table())?;
                let (_, table) = last.insert((offset, table));
                Ok(look(table))
            }
        }
    }

    /// Looks up the place of a cluster of the guest disk.
    #[expect(clippy::indexing_slicing, reason = "an L2 table has `per_table` entries")]
    fn place(&self, cluster: u64) -> io::Result<Place> {
        let (index, within) = (cluster / self.per_table(), cluster % self.per_table());
        let found = self.tables.binary_search_by_key(&index, |(index, _)| *index);
        let Some((_, table)) = found.ok().and_then(|at| self.tables.get(at)) else {
            return Ok(Place::Zeroes);
        };
        let entry = self.with_table(*table, |table| table[to_usize(within)])?;
        self.decode(entry)
    }

    fn decode(&self, entry: u64) -> io::Result<Place> {
        if entry & COMPRESSED != 0 {
            // The larger a cluster is, the fewer bits the offset has. The bits above it are the number of additional sectors.
            let offset_bits = 62 - (self.cluster_bits - 8);
            let (offset, sectors) =
                (entry & ((1 << offset_bits) - 1), (entry & (COMPRESSED - 1)) >> offset_bits);
            let end = (offset / SECTOR + sectors + 1) * SECTOR;
            let end = end.min(self.image.len());
            let len = end.checked_sub(offset).filter(|len| *len > 0).ok_or_else(|| outside(offset))?;
            return Ok(Place::Compressed { offset, len });
        }
        let offset = entry & OFFSET;
        match () {
            () if self.version > 2 && entry & ZERO != 0 => Ok(Place::Zeroes),
            () if entry & !(OFFSET | 1 << 63) != 0 => {
                Err(invalid("an entry of an L2 table has unknown bits"))
            }
            () if offset == 0 => Ok(Place::Zeroes),
            () if !offset.is_multiple_of(self.cluster()) => {
                Err(invalid("the offset of a cluster is not aligned"))
            }
            () if offset >= self.image.len() => Err(outside(offset)),
            () => Ok(Place::At(offset)),
        }
    }

    /// Fills `part` with the bytes of a cluster from `within` on.
    fn read(&self, place: Place, within: u64, part: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Zeroes => part.fill(0),
            Place::At(offset) => {
                // A file may end inside its last cluster. The missing bytes are zero.
                let at = offset + within;
                let there = self.image.len().saturating_sub(at).min(part.len() as u64);
                let (data, rest) = part.split_at_mut(to_usize(there));
                self.image.read_exact_at(data, at)?;
                rest.fill(0);
            }
            Place::Compressed { offset, len } => {
                let mut last = self.last_cluster.lock().unwrap_or_else(PoisonError::into_inner);
                let cluster = match last.as_ref() {
                    Some((at, cluster)) if *at == offset => cluster,
                    _ => {
                        let mut compressed = vec![0; to_usize(len)];
                        self.image.read_exact_at(&mut compressed, offset)?;
                        let mut cluster = vec![0; 1 << self.cluster_bits];
                        self.method.decompress(&compressed, &mut cluster)?;
                        &last.insert((offset, cluster)).1
                    }
                };
                let bytes = cluster.get(to_usize(within)..).and_then(|rest| rest.get(..part.len()));
                part.copy_from_slice(bytes.ok_or_else(|| invalid("a compressed cluster is too short"))?);
            }
        }
        Ok(())
    }

    /// The next run of clusters from `first` on, within one L2 table, that do not read as zeroes.
    fn run(&self, first: u64, index: u64, table: u64) -> io::Result<Option<Range<u64>>> {
        let base = index * self.per_table();
        let is_data = |entry: &u64| self.decode(*entry).map_or(true, |place| place != Place::Zeroes);
        self.with_table(table, |entries| {
            let skip = to_usize(first.saturating_sub(base));
            let start = skip + entries.get(skip..)?.iter().position(is_data)?;
            let rest = entries.get(start..)?;
            let len = rest.iter().position(|entry| !is_data(entry)).unwrap_or(rest.len());
            Some(base + start as u64..base + (start + len) as u64)
        })
    }
}

impl From<Unsupported> for Qcow2Error {
    fn from(what: Unsupported) -> Self {
        Self::Unsupported(what)
    }
}

fn structure<T: FromBytes>(image: &dyn Source, at: u64, what: &'static str) -> Result<T, Qcow2Error> {
    let mut bytes = vec![0; size_of::<T>()];
    if image.len() < at.saturating_add(bytes.len() as u64) {
        return Err(Qcow2Error::Header(what));
    }
    image.read_exact_at(&mut bytes, at)?;
    T::read_from_bytes(&bytes).map_err(|_| Qcow2Error::Header(what))
}

/// Checks the incompatible features of version 3, and returns the compression method.
fn features(image: &dyn Source) -> Result<Method, Qcow2Error> {
    let features: Features = structure(image, size_of::<Head>() as u64, "the header length")?;
    let bits = features.incompatible.get();
    for (bit, what) in [
        (CORRUPT, Unsupported::Corrupt),
        (DIRTY, Unsupported::Dirty),
        (EXTERNAL_DATA, Unsupported::ExternalData),
        (EXTENDED_TABLES, Unsupported::ExtendedTables),
    ] {
        if bits & bit != 0 {
            return Err(what.into());
        }
    }
    if bits & !COMPRESSION != 0 {
        return Err(Unsupported::Features(bits & !COMPRESSION).into());
    }
    let header_len = u64::from(features.header_len.get());
    if header_len < COMPRESSION_AT {
        return Err(Qcow2Error::Header("the header length"));
    }
    let kind = if header_len > COMPRESSION_AT {
        structure::<u8>(image, COMPRESSION_AT, "the header length")?
    } else {
        0
    };
    match (kind, bits & COMPRESSION != 0) {
        (0, false) => Ok(Method::Deflate),
        (1, true) => Ok(Method::Zstd),
        (0 | 1, _) => Err(Qcow2Error::Header("the compression type")),
        (other, _) => Err(Unsupported::Compression(other).into()),
    }
}

/// The used entries of the L1 table. Two entries must not refer to the same L2 table: a hostile image could otherwise expand few bytes to a
/// large disk.
fn first_table(
    image: &dyn Source,
    offset: u64,
    count: u64,
    cluster_bits: u32,
) -> Result<Vec<(u64, u64)>, Qcow2Error> {
    let end = offset.checked_add(count * 8).filter(|end| *end <= image.len());
    if end.is_none() {
        return Err(Qcow2Error::Damaged("the offset of the L1 table", offset));
    }
    let mut tables = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, entry) in (0u64..).zip(entries(image, offset, count)?) {
        let table = entry & OFFSET;
        if entry & !(OFFSET | 1 << 63) != 0 {
            return Err(Qcow2Error::Damaged("an entry of the L1 table", index));
        }
        if table == 0 {
            continue;
        }
        let fits = table.checked_add(1 << cluster_bits).is_some_and(|end| end <= image.len());
        if !fits || !table.is_multiple_of(1 << cluster_bits) || !seen.insert(table) {
            return Err(Qcow2Error::Damaged("an entry of the L1 table", index));
        }
        tables.push((index, table));
    }
    Ok(tables)
}

fn entries(image: &dyn Source, offset: u64, count: u64) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; to_usize(count * 8)];
    image.read_exact_at(&mut bytes, offset)?;
    let (chunks, _) = bytes.as_chunks();
    Ok(chunks.iter().map(|chunk| u64::from_be_bytes(*chunk)).collect())
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn outside(offset: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("the cluster at {offset} is after the end of the file"),
    )
}

impl<S: Source> Source for Image<S> {
    fn len(&self) -> u64 {
        self.guest
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.guest);
        if end.is_none() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end"));
        }
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let within = at % self.cluster();
            let count = to_usize(self.cluster() - within).min(rest.len());
            let (part, next) = rest.split_at_mut(count);
            self.read(self.place(at / self.cluster())?, within, part)?;
            at += count as u64;
            rest = next;
        }
        Ok(())
    }

    /// A table that cannot be read counts as data, so that reading it returns the error.
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let first = offset / self.cluster();
        let from = self.tables.partition_point(|(index, _)| *index < first / self.per_table());
        for (index, table) in self.tables.get(from..)? {
            let found = match self.run(first, *index, *table) {
                Ok(None) => continue,
                Ok(Some(run)) => run,
                Err(_) => index * self.per_table()..(index + 1) * self.per_table(),
            };
            let start = (found.start * self.cluster()).max(offset);
            let end = (found.end * self.cluster()).min(self.guest);
            return (start < end).then_some(start..end);
        }
        None
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
