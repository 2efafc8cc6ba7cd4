//! Writing: clusters are given out in order, first to the directories, then to the files; nothing is ever freed, so every chain is a run.

use super::format::{
    ATTRIBUTE_ARCHIVE, ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, BACKUP_SECTOR, CLUSTER, CLUSTERS, END, FAT_HEAD,
    FATS_AT, INFO_SECTOR, LABEL, ROOT, SECTOR, boot, info, offset_of, short,
};
use super::names::{is_path, push_entries, shorten};
use super::{ESP_BYTES, EspError};
use crate::sparse::Runs;
use std::borrow::Cow;
use std::collections::BTreeMap;
use zerocopy::IntoBytes;

/// The files of an EFI system partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree<'a> {
    files: BTreeMap<String, Cow<'a, [u8]>>,
}

/// A run of clusters; one without clusters starts at 0.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    first: u32,
    clusters: u32,
}

impl<'a> Tree<'a> {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file at a path such as `EFI/BOOT/BOOTX64.EFI`; its directories come by themselves.
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
                    // The same but for its case, as file or directory.
                    (Some(a), Some(b)) => return a.eq_ignore_ascii_case(b),
                    // One path ends where the other goes on, or both do.
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

    /// Makes the file system: [`ESP_BYTES`] long, sparse. `volume_id` is what FAT calls the serial number.
    pub fn write(&self, volume_id: u32) -> Result<Runs<'_>, EspError> {
        let directories = self.directories();
        let mut clusters = Clusters { next: ROOT };
        let mut places: BTreeMap<&str, Run> = BTreeMap::new();
        for (path, names) in &directories {
            places.insert(path, clusters.take(self.directory_bytes(path, names))?);
        }
        for (path, content) in &self.files {
            places.insert(path, clusters.take(content.len() as u64)?);
        }

        let mut runs = Runs::new(ESP_BYTES);
        let used = clusters.next - ROOT;
        for at in [0, BACKUP_SECTOR] {
            runs.add_bytes(at * SECTOR, boot(volume_id).as_bytes().to_vec())?;
            runs.add_bytes((at + INFO_SECTOR) * SECTOR, info(used).as_bytes().to_vec())?;
        }
        let table = table(places.values(), used);
        for at in FATS_AT {
            runs.add_bytes(at, table.clone())?;
        }
        for (path, names) in &directories {
            let place = places.get(path).copied().unwrap_or_default();
            runs.add_bytes(offset_of(place.first), self.directory(path, names, &places))?;
        }
        for (path, content) in &self.files {
            let place = places.get(path.as_str()).copied().unwrap_or_default();
            runs.add_bytes(offset_of(place.first), Cow::Borrowed(content.as_ref()))?;
        }
        Ok(runs)
    }

    /// Every directory (the root is the empty path) with the names in it, both sorted.
    fn directories(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut directories: BTreeMap<&str, Vec<&str>> = BTreeMap::from([("", Vec::new())]);
        for path in self.files.keys() {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            for end in ends {
                let whole = path.get(..end).unwrap_or_default();
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

    fn directory_bytes(&self, path: &str, names: &[&str]) -> u64 {
        self.directory(path, names, &BTreeMap::new()).len() as u64
    }

    /// A directory's content; its length does not depend on the places.
    fn directory(&self, path: &str, names: &[&str], places: &BTreeMap<&str, Run>) -> Vec<u8> {
        let first = |path: &str| places.get(path).copied().unwrap_or_default().first;
        let mut bytes = Vec::new();
        if path.is_empty() {
            bytes.extend_from_slice(short(LABEL, ATTRIBUTE_LABEL, 0, 0).as_bytes());
        } else {
            // `..` of a directory in the root names cluster 0.
            let parent = path.rsplit_once('/').map_or(0, |(parent, _)| first(parent));
            let dots = [(*b".          ", first(path)), (*b"..         ", parent)];
            for (name, cluster) in dots {
                bytes.extend_from_slice(short(name, ATTRIBUTE_DIRECTORY, cluster, 0).as_bytes());
            }
        }
        for (name, short_name) in names.iter().zip(shorten(names)) {
            let whole = if path.is_empty() { (*name).to_owned() } else { format!("{path}/{name}") };
            let (attributes, size) = match self.files.get(&whole) {
                Some(content) => (ATTRIBUTE_ARCHIVE, u32::try_from(content.len()).unwrap_or_default()),
                None => (ATTRIBUTE_DIRECTORY, 0),
            };
            push_entries(&mut bytes, name, &short(short_name, attributes, first(&whole), size));
        }
        bytes
    }
}

struct Clusters {
    next: u32,
}

impl Clusters {
    fn take(&mut self, bytes: u64) -> Result<Run, EspError> {
        let free = CLUSTERS - (self.next - ROOT);
        let clusters = u32::try_from(bytes.div_ceil(CLUSTER)).ok().filter(|wanted| *wanted <= free);
        let clusters = clusters.ok_or(EspError::Full(bytes))?;
        let first = if clusters == 0 { 0 } else { self.next };
        self.next += clusters;
        Ok(Run { first, clusters })
    }
}

/// The table as far as it is not zero. The runs cover all used clusters, each once.
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
