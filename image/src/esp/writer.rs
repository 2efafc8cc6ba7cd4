//! The writer: allocates clusters in order, first to the directories, then to the files. It never frees a cluster, so every chain is one
//! run of consecutive clusters.

use super::format::{
    ATTRIBUTE_ARCHIVE, ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, BACKUP_SECTOR, CLUSTER, CLUSTERS, END, FAT_HEAD,
    FATS_AT, INFO_SECTOR, LABEL, ROOT, SECTOR, boot, info, offset_of, short,
};
use super::names::{is_path, push_entries, shorten};
use super::{ESP_BYTES, EspError};
use crate::sparse::Runs;
use crate::width::const_u32;
use std::borrow::Cow;
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// The files of an EFI system partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree<'a> {
    files: BTreeMap<String, Cow<'a, [u8]>>,
}

/// A run of clusters and the number of its bytes that are used. An empty run starts at 0.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    first: u32,
    clusters: u32,
    bytes: u32,
}

/// The run of every directory and every file.
struct Places<'t>(BTreeMap<&'t str, Run>);

impl Places<'_> {
    #[expect(clippy::expect_used, reason = "`write` places all paths of the tree before it looks up a path")]
    fn of(&self, path: &str) -> Run {
        *self.0.get(path).expect("every directory and every file has a place")
    }
}

impl<'a> Tree<'a> {
    /// Creates a tree without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file at a path such as `EFI/BOOT/BOOTX64.EFI`. Its directories are created automatically.
    pub fn add(&mut self, path: &str, content: impl Into<Cow<'a, [u8]>>) -> Result<(), EspError> {
        if !is_path(path) {
            return Err(EspError::Path(path.to_owned()));
        }
        let clashes = |other: &str| {
            let mut mine = path.split('/');
            let mut theirs = other.split('/');
            loop {
                match (mine.next(), theirs.next()) {
                    (Some(a), Some(b)) if a == b => {}
                    // Two names that differ only in case clash, for files and directories.
                    (Some(a), Some(b)) => return a.eq_ignore_ascii_case(b),
                    // The paths are equal, or one path is a directory of the other.
                    _ => return true,
                }
            }
        };
        if let Some(other) = self.files.keys().find(|other| clashes(other)) {
            return Err(EspError::Clash(other.clone(), path.to_owned()));
        }
        self.files.insert(path.to_owned(), content.into());
        Ok(())
    }

    /// The files in order of path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_ref()))
    }

    /// Creates the file system: [`ESP_BYTES`] long, sparse. `volume_id` is the volume serial number of FAT.
    pub fn write(&self, volume_id: u32) -> Result<Runs<'_>, EspError> {
        let directories = self.directories();
        let mut clusters = Clusters { next: ROOT };
        let mut places = Places(BTreeMap::new());
        for (path, names) in &directories {
            // The length of a directory does not depend on the clusters of its entries.
            let bytes = self.directory(path, names, |_| Run::default())?;
            places.0.insert(path, clusters.take(bytes.len() as u64)?);
        }
        for (path, content) in &self.files {
            places.0.insert(path, clusters.take(content.len() as u64)?);
        }

        let mut runs = Runs::new(ESP_BYTES);
        let used = clusters.next - ROOT;
        for at in [0, BACKUP_SECTOR] {
            runs.add_bytes(at * SECTOR, boot(volume_id).as_bytes().to_vec())?;
            runs.add_bytes((at + INFO_SECTOR) * SECTOR, info(used).as_bytes().to_vec())?;
        }
        let table = table(places.0.values(), used);
        for at in FATS_AT {
            runs.add_bytes(at, table.clone())?;
        }
        for (path, names) in &directories {
            let bytes = self.directory(path, names, |path| places.of(path))?;
            runs.add_bytes(offset_of(places.of(path).first), bytes)?;
        }
        for (path, content) in &self.files {
            runs.add_bytes(offset_of(places.of(path).first), Cow::Borrowed(content.as_ref()))?;
        }
        Ok(runs)
    }

    /// Every directory (the root is the empty path) with the names in it. Both are sorted.
    fn directories(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut directories: BTreeMap<&str, Vec<&str>> = BTreeMap::from([("", Vec::new())]);
        for path in self.files.keys() {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            for end in ends {
                let (whole, _) = path.split_at(end);
                let (parent, name) = whole.rsplit_once('/').unwrap_or(("", whole));
                let names = directories.entry(parent).or_default();
                if names.last() != Some(&name) {
                    names.push(name);
                }
            }
        }
        for names in directories.values_mut() {
            names.sort_unstable();
            names.dedup();
        }
        directories
    }

    /// The content of a directory. `place` returns the clusters of its parent and of its entries.
    fn directory(
        &self,
        path: &str,
        names: &[&str],
        place: impl Fn(&str) -> Run,
    ) -> Result<Vec<u8>, EspError> {
        let mut bytes = Vec::new();
        if path.is_empty() {
            bytes.extend_from_slice(short(LABEL, ATTRIBUTE_LABEL, 0, 0).as_bytes());
        } else {
            // If the parent is the root directory, the cluster of `..` is 0.
            let parent = path.rsplit_once('/').map_or(0, |(parent, _)| place(parent).first);
            let dots = [(*b".          ", place(path).first), (*b"..         ", parent)];
            for (name, cluster) in dots {
                bytes.extend_from_slice(short(name, ATTRIBUTE_DIRECTORY, cluster, 0).as_bytes());
            }
        }
        for (name, short_name) in names.iter().zip(shorten(names)?) {
            let whole = if path.is_empty() { (*name).to_owned() } else { format!("{path}/{name}") };
            let run = place(&whole);
            let (attributes, size) = if self.files.contains_key(&whole) {
                (ATTRIBUTE_ARCHIVE, run.bytes)
            } else {
                (ATTRIBUTE_DIRECTORY, 0)
            };
            push_entries(&mut bytes, name, &short(short_name, attributes, run.first, size));
        }
        Ok(bytes)
    }
}

struct Clusters {
    next: u32,
}

impl Clusters {
    fn take(&mut self, bytes: u64) -> Result<Run, EspError> {
        let free = CLUSTERS - (self.next - ROOT);
        let full = EspError::Full(bytes);
        let Ok(bytes) = u32::try_from(bytes) else { return Err(full) };
        let clusters = bytes.div_ceil(const { const_u32(CLUSTER) });
        if clusters > free {
            return Err(full);
        }
        let first = if clusters == 0 { 0 } else { self.next };
        self.next += clusters;
        Ok(Run { first, clusters, bytes })
    }
}

/// The allocation table up to its last non-zero entry. The runs cover each used cluster exactly once.
fn table<'a>(runs: impl Iterator<Item = &'a Run>, used: u32) -> Vec<u8> {
    let mut runs: Vec<&Run> = runs.filter(|run| run.clusters > 0).collect();
    runs.sort_unstable_by_key(|run| run.first);
    let mut entries = FAT_HEAD.to_vec();
    for run in runs {
        let last = run.first + run.clusters - 1;
        entries.extend((run.first..last).map(|cluster| cluster + 1));
        entries.push(END);
    }
    debug_assert_eq!(entries.len() as u64, u64::from(used) + 2);
    entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A size of more than 32 bits does not fit into a directory entry; a smaller size may still be too large for the partition.
    #[test]
    fn a_size_that_does_not_fit_is_refused_without_an_allocation() {
        let mut clusters = Clusters { next: ROOT };
        let room = u64::from(CLUSTERS) * CLUSTER;
        for bytes in [room + 1, u64::from(u32::MAX), 1 << 32, (1 << 32) + 1, u64::MAX] {
            assert!(matches!(clusters.take(bytes), Err(EspError::Full(refused)) if refused == bytes));
            assert_eq!(clusters.next, ROOT);
        }
        let all = clusters.take(room).unwrap();
        assert_eq!((all.first, all.clusters, u64::from(all.bytes)), (ROOT, CLUSTERS, room));
        assert!(matches!(clusters.take(1), Err(EspError::Full(1))));
        assert_eq!(clusters.take(0).unwrap().first, 0);
    }
}
