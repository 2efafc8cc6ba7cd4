//! One entry of a package's data archive, with a checked relative path.
//!
//! The parser reads raw tar entries and supports GNU long names only, as dpkg does. It limits the length of a name before it reads the name
//! into memory. Ownership, modes and device numbers are returned as numbers; no file is created.

use std::io::Read;

use tar::EntryType;

use super::DebError;

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// The target, unchanged; it may be absolute or relative.
        target: String,
    },
    /// Another name of an earlier entry of the same package.
    Hardlink {
        /// The path of that entry, in the form of [`Entry::path`].
        target: String,
    },
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One entry of a data archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path relative to the root, without leading `./` and trailing `/`. It is not empty and has no `.`, `..` or empty components.
    pub path: String,
    /// The type.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// User id of the owner.
    pub uid: u64,
    /// Group id.
    pub gid: u64,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
}

impl Entry {
    /// Parses the header of an archive entry and applies the long names of the entries before it. Returns `None` for the root directory.
    fn read<R: Read>(entry: &tar::Entry<'_, R>, long: LongNames) -> Result<Option<Self>, DebError> {
        let header = entry.header();
        let raw = long.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let raw = String::from_utf8(raw).map_err(|_| DebError::NotUtf8("a path of the archive"))?;
        let Some(path) = relative(&raw)? else { return Ok(None) };
        let link = long.link.or_else(|| header.link_name_bytes().map(|bytes| bytes.into_owned()));
        let link = link.map(String::from_utf8).transpose();
        let link = link.map_err(|_| DebError::NotUtf8("a link of the archive"))?;
        if link.as_ref().is_some_and(|link| link.contains('\0')) {
            return Err(DebError::Path(raw));
        }
        let target = || {
            let target = link.clone().filter(|link| !link.is_empty());
            target.ok_or_else(|| DebError::NoTarget(path.clone()))
        };
        let device = || -> Result<_, DebError> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Kind::File { size: entry.size() },
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink { target: target()? },
            EntryType::Link => {
                let target = relative(&target()?)?;
                Kind::Hardlink { target: target.ok_or_else(|| DebError::Path(raw.clone()))? }
            }
            EntryType::Char => device().map(|(major, minor)| Kind::CharacterDevice { major, minor })?,
            EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
            EntryType::Fifo => Kind::Fifo,
            other => return Err(DebError::EntryType { path, kind: char::from(other.as_byte()) }),
        };
        let (mode, uid, gid, mtime) =
            (header.mode()? & 0o7777, header.uid()?, header.gid()?, header.mtime()?);
        Ok(Some(Self { path, kind, mode, uid, gid, mtime }))
    }
}

/// Long names that GNU tar stores as separate entries before an entry whose path or link target does not fit into its header.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The maximum length of a path in bytes, including its NUL (`PATH_MAX`).
const LONGEST_NAME: u64 = 4096;

impl LongNames {
    /// Stores the name if `entry` is a long-name entry. Returns `false` for any other entry.
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<bool, DebError> {
        let name = match entry.header().entry_type() {
            EntryType::GNULongName => &mut self.path,
            EntryType::GNULongLink => &mut self.link,
            _ => return Ok(false),
        };
        if name.is_some() || entry.size() > LONGEST_NAME {
            return Err(DebError::LongName);
        }
        let mut bytes = Vec::new();
        if entry.read_to_end(&mut bytes)? as u64 != entry.size() {
            return Err(DebError::LongName);
        }
        bytes.pop_if(|last| *last == 0);
        *name = Some(bytes);
        Ok(true)
    }
}

/// Calls `visitor` for each entry in archive order. GNU long names are the only supported tar extension, as in dpkg.
pub(super) fn each<R: Read, E: From<DebError>>(
    archive: &mut tar::Archive<R>,
    mut visitor: impl FnMut(Entry, &mut tar::Entry<'_, R>) -> Result<(), E>,
) -> Result<(), E> {
    let mut long = LongNames::default();
    for entry in archive.entries().map_err(DebError::Io)?.raw(true) {
        let mut entry = entry.map_err(DebError::Io)?;
        if long.take(&mut entry)? {
            continue;
        }
        if let Some(read) = Entry::read(&entry, std::mem::take(&mut long))? {
            visitor(read, &mut entry)?;
        }
    }
    if long.path.is_some() || long.link.is_some() { Err(DebError::LongName.into()) } else { Ok(()) }
}

/// `./usr/bin/` → `usr/bin`; `./` → `None`. Refuses absolute paths and paths with `.`, `..` or empty components.
fn relative(raw: &str) -> Result<Option<String>, DebError> {
    let refused = || DebError::Path(raw.to_owned());
    let path = raw.strip_prefix("./").unwrap_or(raw);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        return if raw.starts_with('.') { Ok(None) } else { Err(refused()) };
    }
    if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refused());
    }
    Ok(Some(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::relative;

    #[test]
    fn paths_are_relative_and_stay_in_the_tree() {
        assert_eq!(relative("./usr/bin/").unwrap().as_deref(), Some("usr/bin"));
        assert_eq!(relative("etc/x").unwrap().as_deref(), Some("etc/x"));
        assert_eq!(relative("./").unwrap(), None);
        assert_eq!(relative(".").unwrap(), None);
        for bad in ["/etc/x", "./../x", "./a/../b", "a//b", "", "./a/./b", "..", "a\0b", "/"] {
            assert!(relative(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
