//! The reader: lists all files of the file system, including the files that other systems added. It reads no cluster twice, so a loop in
//! a chain ends. An entry that cannot be read is reported as a [`Fault`], and the reader continues with the next entry.

use super::format::{
    ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, ATTRIBUTE_LONG, Boot, CLUSTER, CLUSTER_BYTES, CLUSTERS, ENTRY,
    FAT_MASK, FAT_SECTORS, FATS_AT, FIRST_END, LAST, LONG_LAST, LONG_UNITS, Long, ROOT, SECTOR, Short,
    checksum, offset_of,
};
use super::listing::{Fault, Listed, Listing};
use super::{ESP_BYTES, EspError};
use crate::source::Source;
use crate::width::to_usize;
use std::collections::BTreeSet;
use zerocopy::FromBytes;

/// The maximum depth of directories. Other systems use deeper directories than kubedOS.
const MAX_DEPTH: usize = 16;
/// The maximum number of files. Empty files use no cluster, so the number of clusters does not limit them.
const MAX_FILES: usize = 4096;
/// The maximum sum of the lengths of all paths, in bytes. Many names fit into a cluster, and each path repeats the names of its
/// directories.
const MAX_NAMES: usize = 2 << 20;
/// The maximum number of faults.
const MAX_FAULTS: usize = 64;
/// The maximum number of pieces of a long name, which has at most 255 units.
const LONG_PIECES: u8 = 20;

/// Lists the files of a file system.
///
/// # Errors
/// [`EspError::NotOurs`] if its geometry is not the one that kubedOS writes, [`EspError::Damaged`] if its root directory cannot be read.
pub fn read(source: &dyn Source) -> Result<Listing, EspError> {
    if source.len() < ESP_BYTES {
        return Err(EspError::NotOurs);
    }
    let mut sector = vec![0; to_usize(SECTOR)];
    source.read_exact_at(&mut sector, 0).map_err(EspError::Io)?;
    let found = Boot::read_from_bytes(&sector).map_err(|_| EspError::NotOurs)?;
    if !found.has_our_geometry() {
        return Err(EspError::NotOurs);
    }
    let [table, second] = FATS_AT.map(|at| {
        let mut table = vec![0; to_usize(FAT_SECTORS * SECTOR)];
        source.read_exact_at(&mut table, at).map(|()| table).map_err(EspError::Io)
    });
    let table = table?;
    let listing = Listing { tables_differ: second? != table, ..Listing::default() };
    let seen = vec![false; CLUSTERS as usize + 2];
    let mut reader = Reader { source, table, seen, names: MAX_NAMES, is_full: false, listing };
    reader.directory(ROOT, ["", ""], 0)?;
    let mut listing = reader.listing;
    listing.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(listing)
}

struct Reader<'a> {
    source: &'a dyn Source,
    table: Vec<u8>,
    /// The clusters that were read. A valid file system uses each cluster at most once.
    seen: Vec<bool>,
    /// The number of bytes that remain for paths.
    names: usize,
    /// A limit was reached: the remaining entries are not listed.
    is_full: bool,
    listing: Listing,
}

impl Reader<'_> {
    /// Reads a chain: the first `most` bytes, or all bytes of a directory (`None`).
    fn chain(&mut self, first: u32, most: Option<u32>) -> Result<Vec<u8>, EspError> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        let wanted = most.map_or(u64::MAX, |most| u64::from(most).div_ceil(CLUSTER));
        let mut taken = 0;
        while taken < wanted {
            if !(ROOT..=LAST).contains(&cluster) {
                return Err(EspError::Damaged("a cluster chain leaves the partition"));
            }
            self.see(cluster)?;
            if most.is_none() {
                let start = offset_of(cluster);
                self.listing.directories.push(start..start + CLUSTER);
            }
            let start = bytes.len();
            bytes.resize(start + CLUSTER_BYTES, 0);
            let (_, piece) = bytes.split_at_mut(start);
            self.source.read_exact_at(piece, offset_of(cluster)).map_err(EspError::Io)?;
            taken += 1;
            cluster = self.next(cluster);
            if cluster >= FIRST_END {
                break;
            }
        }
        if let Some(most) = most {
            let most = most as usize;
            if bytes.len() < most {
                return Err(EspError::Damaged("a file is longer than its cluster chain"));
            }
            bytes.truncate(most);
        }
        Ok(bytes)
    }

    fn see(&mut self, cluster: u32) -> Result<(), EspError> {
        match self.seen.get_mut(cluster as usize) {
            Some(seen) if !*seen => {
                *seen = true;
                Ok(())
            }
            _ => Err(EspError::Damaged("a cluster is used twice")),
        }
    }

    fn next(&self, cluster: u32) -> u32 {
        let entry = self.table.get(cluster as usize * 4..).and_then(|rest| rest.first_chunk::<4>());
        entry.map_or(0, |bytes| u32::from_le_bytes(*bytes) & FAT_MASK)
    }

    fn directory(
        &mut self,
        cluster: u32,
        [path, short_path]: [&str; 2],
        depth: usize,
    ) -> Result<(), EspError> {
        if depth > MAX_DEPTH {
            return Err(EspError::Damaged("directories are nested too deeply"));
        }
        let bytes = self.chain(cluster, None)?;
        let mut long = LongName::default();
        let mut answers = BTreeSet::new();
        for entry in bytes.chunks_exact(ENTRY) {
            let Ok(short) = Short::read_from_bytes(entry) else { break };
            match short.name.first() {
                Some(0) => break,
                Some(0xe5) => {
                    self.listing.erased += 1;
                    long = LongName::default();
                }
                _ if short.attributes & 0x3f == ATTRIBUTE_LONG => long.push(entry),
                _ if short.attributes & ATTRIBUTE_LABEL != 0 || is_dots(&short.name) => {
                    long = LongName::default();
                }
                _ => {
                    let alias = short_name(&short);
                    let name = std::mem::take(&mut long).finish(&short.name).unwrap_or_else(|| alias.clone());
                    let names = [within(path, &name), within(short_path, &alias)];
                    // A lookup finds a file by its long name and by its short name, and ignores the case.
                    let [a, b] = [name, alias].map(|name| name.to_uppercase());
                    let is_new = (a == b || answers.insert(a)) && answers.insert(b);
                    self.entry(&short, names, is_new, depth);
                }
            }
        }
        Ok(())
    }

    /// Adds a file, or the files of a directory, to the listing. An error becomes a fault of the entry.
    fn entry(&mut self, short: &Short, [path, short_path]: [String; 2], is_new: bool, depth: usize) {
        let names = self.names.checked_sub(path.len() + short_path.len());
        let has_room = self.listing.files.len() < MAX_FILES && self.listing.faults.len() < MAX_FAULTS;
        let Some(names) = names.filter(|_| has_room && !self.is_full) else {
            if !std::mem::replace(&mut self.is_full, true) {
                self.fault(
                    path,
                    EspError::Damaged("too many entries: this entry and all later ones are not read"),
                    true,
                );
            }
            return;
        };
        self.names = names;
        if !is_new {
            self.fault(
                path.clone(),
                EspError::Damaged("two entries of a directory have the same name"),
                true,
            );
        }
        let cluster =
            (u32::from(short.cluster_high.get()) << 16 | u32::from(short.cluster_low.get())) & FAT_MASK;
        if short.attributes & ATTRIBUTE_DIRECTORY != 0 {
            if let Err(error) = self.directory(cluster, [&path, &short_path], depth + 1) {
                self.fault(path, error, true);
            }
            return;
        }
        let content = match short.size.get() {
            0 => Ok(Vec::new()),
            size => self.chain(cluster, Some(size)),
        };
        match content {
            Ok(content) => self.listing.files.push(Listed { path, short_path, content }),
            Err(error) => self.fault(path, error, false),
        }
    }

    fn fault(&mut self, path: String, error: EspError, hides_files: bool) {
        self.listing.faults.push(Fault { path, error, hides_files });
    }
}

fn within(directory: &str, name: &str) -> String {
    // A slash separates the names of a path. No system allows it inside a name.
    let name = name.replace('/', "\u{fffd}");
    if directory.is_empty() { name } else { format!("{directory}/{name}") }
}

/// Whether the name is that of the entry for the directory itself or for its parent directory.
fn is_dots(name: &[u8; 11]) -> bool {
    name == b".          " || name == b"..         "
}

/// The pieces of a long name. The last piece comes first in the directory.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    expected: u8,
    checksum: u8,
    broken: bool,
}

impl LongName {
    fn push(&mut self, entry: &[u8]) {
        let Ok(long) = Long::read_from_bytes(entry) else { return };
        let order = long.order & !LONG_LAST;
        if long.order & LONG_LAST != 0 {
            *self = Self { checksum: long.checksum, expected: order, ..Self::default() };
        }
        self.broken |=
            order == 0 || order != self.expected || long.checksum != self.checksum || order > LONG_PIECES;
        if self.broken {
            // A directory may consist of orphaned pieces only: collecting them would need unbounded memory.
            self.units.clear();
            return;
        }
        self.expected = order.saturating_sub(1);
        let mut piece: Vec<u16> = long.units().take(LONG_UNITS).collect();
        piece.append(&mut self.units);
        self.units = piece;
    }

    /// The name, if all pieces were found and their checksum is that of the short name.
    fn finish(self, short: &[u8; 11]) -> Option<String> {
        if self.broken || self.units.is_empty() || self.expected != 0 || self.checksum != checksum(short) {
            return None;
        }
        let units = self.units.into_iter().take_while(|unit| *unit != 0);
        char::decode_utf16(units).collect::<Result<String, _>>().ok()
    }
}

fn short_name(short: &Short) -> String {
    let (base, extension) = short.name.split_at(8);
    let part = |bytes: &[u8], lower: bool| -> String {
        let text = bytes.trim_ascii_end().iter().map(|byte| char::from(*byte));
        text.map(|letter| if lower { letter.to_ascii_lowercase() } else { letter }).collect()
    };
    let base = part(base, short.case & 0x08 != 0);
    let extension = part(extension, short.case & 0x10 != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
