//! Reads the file system of a volume: counts its files and, on request, lists all paths.
//!
//! The volume is untrusted and may describe far more data than it contains: files can share clusters, and names can be long. Content and
//! names are therefore limited in proportion to the volume's size.

use std::collections::BTreeMap;

use kubedos_image::erofs::reader::{ErofsError, Found, Inode, Kind, Piece, Reader, Volume};
use kubedos_image::source::Source;
use kubedos_image::width::to_usize;

use super::report::{NodeReport, TreeReport};
use kubedos_debian::digest::Hasher;

/// The limit for content, in bytes per byte of the volume. Real volumes have about three.
const MOST_CONTENT: u64 = 64;
/// The limit for content of small volumes in bytes, because one block can represent megabytes of equal data.
const LEAST_CONTENT: u64 = 1 << 30;
/// The limit for all paths and targets in bytes. Real volumes have some hundred thousand.
const MOST_NAMES: u64 = 256 << 20;

/// The errors of reading a file system.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The file system cannot be read.
    #[error(transparent)]
    Erofs(#[from] ErofsError),
    /// The files exceed the limit for content.
    #[error("its files have more than {0} bytes of content, the limit for a volume of its size")]
    Content(u64),
    /// The names exceed the limit for names.
    #[error("its paths have more than {0} bytes, the limit")]
    Names(u64),
}

/// Counts the files of a volume; with `listed`, lists all paths, which reads all files.
///
/// # Errors
/// [`TreeError`].
pub(super) fn tree(source: &dyn Source, listed: bool) -> Result<TreeReport, TreeError> {
    let volume = Volume::open(source)?;
    let mut list = List {
        volume: &volume,
        reader: volume.reader(),
        linked: BTreeMap::new(),
        content: most_content(&volume),
        names: MOST_NAMES,
    };
    let mut report = TreeReport { made: volume.epoch(), ..TreeReport::default() };
    for found in volume.walk() {
        let found = found?;
        let same_as = list.same_as(&found)?;
        match found.inode.kind {
            _ if same_as.is_some() => report.hard_links += 1,
            Kind::Directory => report.directories += 1,
            Kind::File => {
                report.files += 1;
                report.content_bytes = report.content_bytes.saturating_add(found.inode.size);
            }
            Kind::Symlink => report.symlinks += 1,
            _ => report.special += 1,
        }
        if listed {
            let node = list.node(&found, same_as)?;
            report.entries.get_or_insert_default().push(node);
        }
    }
    Ok(report)
}

/// The limit for the content of a volume in bytes.
fn most_content(volume: &Volume<'_>) -> u64 {
    volume.bytes().saturating_mul(MOST_CONTENT).max(LEAST_CONTENT)
}

struct List<'v> {
    volume: &'v Volume<'v>,
    reader: Reader<'v>,
    /// For each inode with several paths, the first path and the description of its content.
    linked: BTreeMap<u64, (String, Option<String>)>,
    /// The number of bytes that can still be read.
    content: u64,
    names: u64,
}

impl List<'_> {
    /// Returns the first path of the same inode, if there is one.
    fn same_as(&mut self, found: &Found) -> Result<Option<String>, TreeError> {
        if found.inode.kind == Kind::Directory || found.inode.links < 2 {
            return Ok(None);
        }
        if let Some((path, _)) = self.linked.get(&found.inode.nid) {
            return Ok(Some(path.clone()));
        }
        let path = self.name(&found.path)?;
        self.linked.insert(found.inode.nid, (path, None));
        Ok(None)
    }

    fn node(&mut self, found: &Found, same_as: Option<String>) -> Result<NodeReport, TreeError> {
        let inode = &found.inode;
        let known = self.linked.get(&inode.nid).and_then(|(_, content)| content.clone());
        let (kind, content) = match inode.kind {
            Kind::Directory => ("directory", String::new()),
            Kind::File => match known {
                Some(digest) => ("file", digest),
                None => ("file", self.digest(inode)?),
            },
            Kind::Symlink => {
                let target = self.volume.link(inode)?;
                ("link", self.name(&target)?)
            }
            Kind::Character { major, minor } => ("character device", format!("{major}:{minor}")),
            Kind::Block { major, minor } => ("block device", format!("{major}:{minor}")),
            Kind::Fifo => ("fifo", String::new()),
            Kind::Socket => ("socket", String::new()),
        };
        if let Some((_, known)) = self.linked.get_mut(&inode.nid) {
            *known = Some(content.clone());
        }
        let xattrs = self.volume.xattrs(inode)?;
        let xattrs = xattrs.iter().map(|(name, value)| Ok((self.name(name)?, hex::encode(value))));
        let xattrs = xattrs.collect::<Result<_, TreeError>>()?;
        Ok(NodeReport {
            path: if found.path.is_empty() { "/".to_owned() } else { self.name(&found.path)? },
            kind,
            mode: format!("{:04o}", inode.mode),
            uid: inode.uid,
            gid: inode.gid,
            bytes: if inode.kind == Kind::File { inode.size } else { 0 },
            content,
            xattrs,
            modified: Some(inode.mtime).filter(|time| *time != self.volume.epoch()),
            same_as,
        })
    }

    fn digest(&mut self, inode: &Inode) -> Result<String, TreeError> {
        let left = self.content.checked_sub(inode.size);
        self.content = left.ok_or_else(|| TreeError::Content(most_content(self.volume)))?;
        let mut hasher = Hasher::new();
        let zeroes = [0; 4096];
        self.reader.read(inode, 0..inode.size, &mut |piece| {
            match piece {
                Piece::Bytes(bytes) => hasher.update(bytes),
                Piece::Zeroes(mut left) => {
                    while left > 0 {
                        let (part, _) = zeroes.split_at(to_usize(left).min(zeroes.len()));
                        hasher.update(part);
                        left -= part.len() as u64;
                    }
                }
            }
            Ok(())
        })?;
        Ok(hasher.finish().0.to_string())
    }

    /// Converts a name to text. Names that are not UTF-8 are escaped.
    fn name(&mut self, bytes: &[u8]) -> Result<String, TreeError> {
        let left = self.names.checked_sub(bytes.len() as u64);
        self.names = left.ok_or(TreeError::Names(MOST_NAMES))?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.escape_ascii().to_string(),
        })
    }
}
