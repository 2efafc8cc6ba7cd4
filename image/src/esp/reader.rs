//! Reading all files of a file system of ours, with what others have put beside them. No cluster is read twice, so loops end. An entry
//! that cannot be read is a [`Fault`]; it keeps nothing else from being read.

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

/// Directories of other systems lie deeper than ours, but not deeper than this.
const MAX_DEPTH: usize = 16;
/// Empty files take no cluster, so that clusters do not bound their number.
const MAX_FILES: usize = 4096;
/// Bytes of all paths: names are short in clusters, and a path repeats those of its directories.
const MAX_NAMES: usize = 2 << 20;
/// Faults that are kept.
const MAX_FAULTS: usize = 64;
/// A long name has at most 255 units.
const LONG_PIECES: u8 = 20;

/// The files of a file system, with their names.
///
/// # Errors
/// [`EspError::NotOurs`] when its geometry is not the one that is written here, [`EspError::Damaged`] when its root directory cannot be
/// read.
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
    /// Which clusters were read: no honest file system uses one twice.
    seen: Vec<bool>,
    /// Bytes that paths may still have.
    names: usize,
    /// A bound was reached: the rest is not listed.
    is_full: bool,
    listing: Listing,
}

impl Reader<'_> {
    /// The bytes of a chain, of which at most `most` are wanted.
    fn chain(&mut self, first: u32, most: Option<u32>) -> Result<Vec<u8>, EspError> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        let wanted = most.map_or(u64::MAX, |most| u64::from(most).div_ceil(CLUSTER));
        let mut taken = 0;
        while taken < wanted {
            if !(ROOT..=LAST).contains(&cluster) {
                return Err(EspError::Damaged("a chain leads out of the partition"));
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
                return Err(EspError::Damaged("a file is longer than its chain"));
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
                    // A file is found by its long and by its short name, in any case.
                    let [a, b] = [name, alias].map(|name| name.to_uppercase());
                    let is_new = (a == b || answers.insert(a)) && answers.insert(b);
                    self.entry(&short, names, is_new, depth);
                }
            }
        }
        Ok(())
    }

    /// Takes up a file or the files of a directory; what is wrong with them is a fault of theirs.
    fn entry(&mut self, short: &Short, [path, short_path]: [String; 2], is_new: bool, depth: usize) {
        let names = self.names.checked_sub(path.len() + short_path.len());
        let has_room = self.listing.files.len() < MAX_FILES && self.listing.faults.len() < MAX_FAULTS;
        let Some(names) = names.filter(|_| has_room && !self.is_full) else {
            if !std::mem::replace(&mut self.is_full, true) {
                self.fault(
                    path,
                    EspError::Damaged("from here on there is more than any boot partition has"),
                    true,
                );
            }
            return;
        };
        self.names = names;
        if !is_new {
            self.fault(path.clone(), EspError::Damaged("two entries of a directory have one name"), true);
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
    // A slash parts the names of a path, and no system takes it into one.
    let name = name.replace('/', "\u{fffd}");
    if directory.is_empty() { name } else { format!("{directory}/{name}") }
}

/// The entries for the directory itself and for the one that it is in.
fn is_dots(name: &[u8; 11]) -> bool {
    name == b".          " || name == b"..         "
}

/// The pieces of a long name, which come last first.
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
            // Pieces without a first one go on for as long as a directory does: they are not collected.
            self.units.clear();
            return;
        }
        self.expected = order.saturating_sub(1);
        let mut piece: Vec<u16> = long.units().take(LONG_UNITS).collect();
        piece.append(&mut self.units);
        self.units = piece;
    }

    /// The name, if all its pieces were there and belong to the short one.
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
