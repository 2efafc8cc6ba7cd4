//! Reading all files of a file system of ours. No cluster is read twice, so loops end.

use super::format::{
    ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, ATTRIBUTE_LONG, Boot, CLUSTER, CLUSTER_BYTES, CLUSTERS, ENTRY,
    FAT_MASK, FAT_SECTORS, FATS_AT, FIRST_END, LAST, LONG_LAST, LONG_UNITS, Long, ROOT, SECTOR, Short, boot,
    checksum, offset_of,
};
use super::names::is_path;
use super::{ESP_BYTES, EspError, Tree};
use crate::source::Source;
use zerocopy::FromBytes;

/// No directory of ours lies deeper.
const MAX_DEPTH: usize = 8;
/// No file system of ours has more files; empty ones take no cluster, so that clusters do not bound their number.
const MAX_FILES: usize = 1024;
/// A long name has at most 255 units.
const LONG_PIECES: u8 = 20;

/// The files of a file system, with their long names.
pub fn read(source: &dyn Source) -> Result<Tree<'static>, EspError> {
    if source.len() < ESP_BYTES {
        return Err(EspError::NotOurs);
    }
    let mut sector = vec![0; usize::try_from(SECTOR).unwrap_or_default()];
    source.read_exact_at(&mut sector, 0).map_err(EspError::Io)?;
    let found = Boot::read_from_bytes(&sector).map_err(|_| EspError::NotOurs)?;
    let mut expected = boot(found.volume_id.get());
    expected.state = found.state;
    if found != expected {
        return Err(EspError::NotOurs);
    }
    let mut table = vec![0; usize::try_from(FAT_SECTORS * SECTOR).unwrap_or_default()];
    let [first, _] = FATS_AT;
    source.read_exact_at(&mut table, first).map_err(EspError::Io)?;
    let mut reader = Reader { source, table, seen: vec![false; CLUSTERS as usize + 2], tree: Tree::new() };
    reader.directory(ROOT, "", 0)?;
    Ok(reader.tree)
}

struct Reader<'a> {
    source: &'a dyn Source,
    table: Vec<u8>,
    /// Which clusters were read: no honest file system uses one twice.
    seen: Vec<bool>,
    tree: Tree<'static>,
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
            let start = bytes.len();
            bytes.resize(start + CLUSTER_BYTES, 0);
            let piece = bytes.get_mut(start..).unwrap_or_default();
            self.source.read_exact_at(piece, offset_of(cluster)).map_err(EspError::Io)?;
            taken += 1;
            cluster = self.next(cluster);
            if cluster >= FIRST_END {
                break;
            }
        }
        if let Some(most) = most {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if bytes.len() < most {
                return Err(EspError::Damaged("a file is longer than its chain"));
            }
            bytes.truncate(most);
        }
        Ok(bytes)
    }

    fn see(&mut self, cluster: u32) -> Result<(), EspError> {
        match usize::try_from(cluster).ok().and_then(|at| self.seen.get_mut(at)) {
            Some(seen) if !*seen => {
                *seen = true;
                Ok(())
            }
            _ => Err(EspError::Damaged("a cluster is used twice")),
        }
    }

    fn next(&self, cluster: u32) -> u32 {
        let at = usize::try_from(cluster).unwrap_or(usize::MAX).saturating_mul(4);
        let entry = self.table.get(at..).and_then(|rest| rest.first_chunk::<4>());
        entry.map_or(0, |bytes| u32::from_le_bytes(*bytes) & FAT_MASK)
    }

    fn directory(&mut self, cluster: u32, path: &str, depth: usize) -> Result<(), EspError> {
        if depth > MAX_DEPTH {
            return Err(EspError::Damaged("directories are nested too deeply"));
        }
        let bytes = self.chain(cluster, None)?;
        let mut long = LongName::default();
        for entry in bytes.chunks_exact(ENTRY) {
            let Ok(short) = Short::read_from_bytes(entry) else { break };
            match short.name.first() {
                Some(0) => break,
                Some(0xe5) => long = LongName::default(),
                _ if short.attributes & 0x3f == ATTRIBUTE_LONG => long.push(entry),
                _ if short.attributes & ATTRIBUTE_LABEL != 0 || short.name.starts_with(b".") => {
                    long = LongName::default();
                }
                _ => {
                    let name =
                        std::mem::take(&mut long).finish(&short.name).unwrap_or_else(|| short_name(&short));
                    let whole = if path.is_empty() { name } else { format!("{path}/{name}") };
                    self.entry(&short, &whole, depth)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, short: &Short, path: &str, depth: usize) -> Result<(), EspError> {
        if !is_path(path) {
            return Err(EspError::Damaged("a name that kubedOS does not use"));
        }
        let cluster = u32::from(short.cluster_high.get()) << 16 | u32::from(short.cluster_low.get());
        if short.attributes & ATTRIBUTE_DIRECTORY != 0 {
            return self.directory(cluster & FAT_MASK, path, depth + 1);
        }
        let content = match short.size.get() {
            0 => Vec::new(),
            size => self.chain(cluster & FAT_MASK, Some(size))?,
        };
        if self.tree.files().count() >= MAX_FILES {
            return Err(EspError::Damaged("more files than any of kubedOS"));
        }
        self.tree.add(path, content)
    }
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
