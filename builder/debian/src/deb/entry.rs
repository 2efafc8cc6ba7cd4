//! One entry of a package's data archive, with its path made relative and checked.

use std::io::Read;

use tar::EntryType;

use super::DebError;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link; the target is as it stands, absolute or relative.
    Symlink {
        /// Where it points.
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
    /// Relative to the root, no `./` before and no `/` behind; never empty, never with `.`, `..` or empty components.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
}

impl Entry {
    /// Reads the header of an archive entry, with the long names that stood before it; `None` for the root directory itself.
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

/// What GNU tar puts before an entry whose path or link does not fit into its header, as entries of their own.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// No path is longer (`PATH_MAX`), its NUL included.
const LONGEST_NAME: u64 = 4096;

impl LongNames {
    /// Takes such an entry; any other is left to the caller.
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

/// Hands on the entries of an archive in its order. Of tar's extensions only GNU's long names are read, as dpkg reads no others.
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

/// `./usr/bin/` → `usr/bin`; `./` → `None`. Refuses what is absolute, goes up, or has empty components.
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
            assert!(relative(bad).is_err(), "{bad:?} was taken");
        }
    }
}
