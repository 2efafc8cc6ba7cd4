//! Adds the content of an opened package to a tree. No script runs, and no file is written to disk.
//!
//! Owners are the numeric ids of the archive. An entry of a kind that packages must not contain (device, named pipe) is an error that
//! names the entry. Packages contain no extended attributes: Debian sets capabilities in maintainer scripts.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::sync::Arc;

use super::tree::{Kind, Node, Tree, TreeError};
use kubedos_debian::deb::{self, Deb, DebError};
use kubedos_image::width::to_usize;

/// The errors of unpacking.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The package cannot be read.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The content of a file cannot be read.
    #[error("failed to read /{path}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry that is not a file, directory or link.
    #[error("/{path} is a {what}, which a package of an image must not contain")]
    Kind {
        /// The entry.
        path: String,
        /// The kind of the entry.
        what: &'static str,
    },
    /// An owner or group id outside the range of ids.
    #[error("/{path} belongs to {id}, which is not a valid id")]
    Owner {
        /// The entry.
        path: String,
        /// The owner or the group.
        id: u64,
    },
    /// The entry does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Adds the files of a package to the tree.
pub fn unpack<R: Read + Seek>(name: &str, deb: &mut Deb<R>, tree: &mut Tree) -> Result<(), UnpackError> {
    let origin: Arc<str> = Arc::from(name);
    deb.visit(|entry, content| {
        let path = entry.path.as_str();
        let id = |id: u64| u32::try_from(id).map_err(|_| UnpackError::Owner { path: path.to_owned(), id });
        let refused = |what| Err(UnpackError::Kind { path: path.to_owned(), what });
        let kind = match &entry.kind {
            deb::Kind::Directory => Kind::Directory,
            deb::Kind::Symlink { target } => Kind::Symlink(target.clone()),
            deb::Kind::Hardlink { target } => Kind::Hardlink(target.clone()),
            deb::Kind::File { size } => {
                // The size comes from the header and is not trusted: allocate at most 1 MiB in advance.
                let mut bytes = Vec::with_capacity(to_usize(*size).min(1 << 20));
                let read = content.read_to_end(&mut bytes);
                let failed = |source| UnpackError::Read { path: path.to_owned(), source };
                if read.map_err(failed)? as u64 != *size {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
                Kind::File(bytes.into())
            }
            deb::Kind::CharacterDevice { .. } | deb::Kind::BlockDevice { .. } => return refused("device"),
            deb::Kind::Fifo => return refused("named pipe"),
        };
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { entry.mode };
        let (uid, gid, origin) = (id(entry.uid)?, id(entry.gid)?, Arc::clone(&origin));
        let node = Node { kind, mode, uid, gid, mtime: entry.mtime, xattrs: BTreeMap::new(), origin };
        Ok(tree.insert(path, node)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_debian::deb::sample::{deb, header};
    use tar::EntryType;

    #[test]
    fn owners_modes_and_links_are_those_of_the_archive() {
        let mut deb = deb(&[], |b| {
            b.append_data(&mut header(EntryType::Directory, 0o755, 0), "./", &b""[..]).unwrap();
            b.append_data(&mut header(EntryType::Directory, 0o2750, 0), "./var/", &b""[..]).unwrap();
            b.append_data(&mut header(EntryType::Regular, 0o640, 2), "./var/f", &b"hi"[..]).unwrap();
            b.append_link(&mut header(EntryType::Link, 0o640, 0), "./var/g", "./var/f").unwrap();
            b.append_link(&mut header(EntryType::Symlink, 0o777, 0), "./l", "../up").unwrap();
        });
        let mut tree = Tree::new(9);
        unpack("p", &mut deb, &mut tree).unwrap();
        tree.check().unwrap();
        assert_eq!(
            tree.listing(),
            "d0755 0:0 /\nl0777 0:42 /l -> ../up\nd2750 0:42 /var\n-0640 0:42 /var/f\nh0640 0:42 /var/g = /var/f\n"
        );
        assert_eq!(&**tree.content("var/g").unwrap(), b"hi");
    }

    #[test]
    fn a_device_in_a_package_is_refused_by_name() {
        for (kind, what) in
            [(EntryType::Block, "device"), (EntryType::Char, "device"), (EntryType::Fifo, "pipe")]
        {
            let mut deb = deb(&[], |b| {
                b.append_data(&mut header(kind, 0o600, 0), "./dev/sda", &b""[..]).unwrap();
            });
            let text = unpack("p", &mut deb, &mut Tree::new(0)).unwrap_err().to_string();
            assert!(text.contains("/dev/sda") && text.contains(what), "{text}");
        }
    }
}
