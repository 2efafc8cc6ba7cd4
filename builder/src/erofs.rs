//! Writes a composed tree as EROFS: converts the tree to the writer's types, and caches compressed segments in the store.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use kubedos_image::erofs::{
    Attributes, Compression, Device, InodeId, Kind as InodeKind, Params, SegmentCache, Sink, Statistics,
    Time, Tree as ErofsTree, TreeError, WriteError,
};

use kubedos_image::ordered::threads;

use crate::cache_key::CacheKey;
use crate::compose::tree::{Kind, Node, Tree};
use crate::store::{Store, StoreError};

/// The compression of volumes, and the largest cluster in bytes (ADR 0057).
pub const COMPRESSION: Compression = Compression::Zstd(10);
const CLUSTER: u32 = 64 << 10;

/// What the bytes of a volume depend on in addition to its tree: the writer's version and the compression.
pub fn identity() -> String {
    format!("{} {COMPRESSION:?} {CLUSTER}", kubedos_image::erofs::writer())
}

/// The errors of writing an EROFS image.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// EROFS cannot represent a node of the tree.
    #[error("failed to place /{path} of {origin}")]
    Place {
        /// The path.
        path: String,
        /// The package or part of the builder that added it.
        origin: String,
        /// The cause.
        #[source]
        source: TreeError,
    },
    /// The parent of a path is not a directory of the tree, or the target of a hard link does not exist.
    #[error("/{path} of {origin} has no parent directory or no link target in the tree")]
    Lost {
        /// The path.
        path: String,
        /// The package or part of the builder that added it.
        origin: String,
    },
    /// The tree has no root directory.
    #[error("the tree has no root directory")]
    NoRoot,
    /// A mode contains bits other than permission bits.
    #[error("/{path} of {origin} has mode {mode:o}, which contains bits other than permission bits")]
    Mode {
        /// The path.
        path: String,
        /// The package or part of the builder that added it.
        origin: String,
        /// The mode.
        mode: u32,
    },
    /// The image cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Writes the tree as an EROFS image with this UUID. Every inode has the time `epoch`, in seconds since 1970.
pub fn write(
    tree: &Tree,
    uuid: [u8; 16],
    epoch: u64,
    cache: &dyn SegmentCache,
    sink: &mut dyn Sink,
) -> Result<Statistics, ErofsError> {
    let epoch = Time { seconds: epoch, nanos: 0 };
    let params = Params { uuid, epoch, compression: COMPRESSION, cluster: CLUSTER, threads: threads() };
    Ok(kubedos_image::erofs::write(&inodes(tree, epoch)?, &params, cache, sink)?)
}

/// Converts the tree. Paths are sorted, so directories precede their entries, and files precede their hard links.
fn inodes(tree: &Tree, epoch: Time) -> Result<ErofsTree<'_>, ErofsError> {
    let place = |path: &str, node: &Node, source| ErofsError::Place {
        path: path.to_owned(),
        origin: node.origin.to_string(),
        source,
    };
    let lost =
        |path: &str, node: &Node| ErofsError::Lost { path: path.to_owned(), origin: node.origin.to_string() };
    let mut paths = tree.iter();
    let Some(("", root)) = paths.next() else { return Err(ErofsError::NoRoot) };
    let mut inodes = ErofsTree::new(attributes("", root, epoch)?).map_err(|source| ErofsError::Place {
        path: String::new(),
        origin: "the root directory".to_owned(),
        source,
    })?;
    let mut ids: HashMap<&str, InodeId> = HashMap::from([("", InodeId::ROOT)]);
    for (path, node) in paths {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = *ids.get(parent).ok_or_else(|| lost(path, node))?;
        let (name, attributes) = (name.as_bytes(), attributes(path, node, epoch)?);
        let added = match &node.kind {
            Kind::Directory => inodes.add_directory(parent, name, attributes),
            Kind::File(content) => {
                inodes.add(parent, name, InodeKind::File(Box::new(&**content)), attributes)
            }
            Kind::Symlink(target) => {
                inodes.add(parent, name, InodeKind::Symlink(target.clone().into_bytes()), attributes)
            }
            Kind::Hardlink(target) => {
                let id = *ids.get(target.as_str()).ok_or_else(|| lost(path, node))?;
                inodes.link(parent, name, id).map(|()| id)
            }
            Kind::Device { character, major, minor } => {
                let device = Device { major: *major, minor: *minor };
                let kind = if *character { InodeKind::Character(device) } else { InodeKind::Block(device) };
                inodes.add(parent, name, kind, attributes)
            }
        };
        ids.insert(path, added.map_err(|source| place(path, node, source))?);
    }
    Ok(inodes)
}

fn attributes(path: &str, node: &Node, epoch: Time) -> Result<Attributes, ErofsError> {
    let mode = u16::try_from(node.mode).map_err(|_| ErofsError::Mode {
        path: path.to_owned(),
        origin: node.origin.to_string(),
        mode: node.mode,
    })?;
    Ok(Attributes {
        mode,
        uid: node.uid,
        gid: node.gid,
        mtime: epoch,
        xattrs: node.xattrs.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect(),
    })
}

/// The cache of compressed segments in the store. The reader verifies them.
#[derive(Debug)]
pub struct Segments<'s>(pub &'s Store);

impl Segments<'_> {
    const KIND: &'static str = "segment";
    const FILE: &'static str = "data";
}

impl SegmentCache for Segments<'_> {
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        // An unreadable segment is compressed again.
        let folder = self.0.find(Self::KIND, &CacheKey::from(*key))?;
        fs::read(folder.join(Self::FILE)).ok()
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) {
        let key = CacheKey::from(*key);
        let fill = |folder: &Path| -> Result<(), Unkept> { Ok(fs::write(folder.join(Self::FILE), bytes)?) };
        // If it cannot be stored, the next build compresses it again.
        let _unkept = self.0.insert(Self::KIND, &key, fill);
    }
}

/// The error of storing a segment.
#[derive(Debug, thiserror::Error)]
enum Unkept {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn segments_are_cached_and_damaged_ones_are_compressed_again() {
        let by: Arc<str> = Arc::from("p");
        let mut tree = Tree::new(50);
        let text: Vec<u8> = (0..300_000_u32).flat_map(|n| (n % 9001).to_le_bytes()).collect();
        tree.add("usr/lib/big", Node::file(text, &by)).unwrap();
        tree.add("usr/lib/link", Node::symlink("big", &by)).unwrap();
        tree.add("usr/lib/other", Node::new(Kind::Hardlink("usr/lib/big".into()), &by)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("built"));
        let run = || {
            let mut out = Vec::new();
            let statistics = write(&tree, [1; 16], 50, &Segments(&store), &mut out).unwrap();
            (out, statistics)
        };
        let (first, statistics) = run();
        assert!(statistics.segments > 0 && statistics.cached_segments == 0);
        let (second, statistics) = run();
        assert_eq!(statistics.cached_segments, statistics.segments);
        assert!(first == second);
        for entry in fs::read_dir(folder.path().join("built/segment")).unwrap() {
            let path = entry.unwrap().path().join("data");
            let mut bytes = fs::read(&path).unwrap();
            bytes[5] ^= 1;
            fs::write(path, bytes).unwrap();
        }
        let (third, statistics) = run();
        assert_eq!(statistics.cached_segments, 0);
        assert!(first == third);
        assert_eq!(run().1.cached_segments, statistics.segments, "they are stored again");
    }

    #[test]
    fn a_tree_without_root_and_a_mode_that_does_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("built"));
        let fails = |tree: &Tree| {
            write(tree, [0; 16], 0, &Segments(&store), &mut Vec::new()).unwrap_err().to_string()
        };
        let mut tree = Tree::new(0);
        tree.remove("");
        assert_eq!(fails(&tree), "the tree has no root directory");
        let mut tree = Tree::new(0);
        tree.add("x", Node::file(*b"", &Arc::from("p"))).unwrap();
        tree.get_mut("x").unwrap().mode = 0o200_644;
        assert_eq!(fails(&tree), "/x of p has mode 200644, which contains bits other than permission bits");
    }

    #[test]
    fn a_path_without_a_parent_is_refused_by_name() {
        let by: Arc<str> = Arc::from("stray");
        let mut tree = Tree::new(0);
        tree.insert("gone/x", Node::file(*b"", &by)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("built"));
        let error = write(&tree, [0; 16], 0, &Segments(&store), &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/gone/x of stray has no parent directory or no link target in the tree"
        );
    }
}
