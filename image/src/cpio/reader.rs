//! The reader, for `inspect`, `diff` and tests: returns the entries in the order of the archive. It accepts only paths and kinds that the
//! writer accepts.

use super::CpioError;
use super::format::{
    ALIGN, HEADER_LEN, Header, KIND_CHARACTER, KIND_DIRECTORY, KIND_FILE, KIND_LINK, KIND_MASK, TRAILER,
};
use super::writer::{Node, check_path};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The path.
    pub path: &'a str,
    /// The kind, the permission bits and the content.
    pub node: Node<'a>,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The modification time, in seconds since 1970.
    pub mtime: u32,
}

/// The entries of an uncompressed archive up to its trailer, and the length of the archive in bytes, including padding. Another archive may
/// follow, as the kernel allows.
pub fn entries(bytes: &[u8]) -> Result<(Vec<Entry<'_>>, usize), CpioError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut entries = Vec::new();
    let mut directories = BTreeMap::new();
    loop {
        let start = reader.at;
        let header = reader.take(HEADER_LEN)?.first_chunk().and_then(Header::decode);
        let header = header.ok_or(CpioError::Header(start))?;
        let name = reader.take(header.name_len as usize)?;
        let name = name.strip_suffix(b"\0").ok_or(CpioError::Header(start))?;
        let path = std::str::from_utf8(name).map_err(|_| CpioError::Header(start))?;
        if path.contains('\0') {
            return Err(CpioError::Header(start));
        }
        reader.skip_padding()?;
        let content = reader.take(header.size as usize)?;
        reader.skip_padding()?;
        if path == TRAILER {
            while !reader.at.is_multiple_of(super::format::BLOCK) && bytes.get(reader.at) == Some(&0) {
                reader.at += 1;
            }
            return Ok((entries, reader.at));
        }
        let node = node(&header, content).ok_or(CpioError::Kind(start))?;
        check_path(path)?;
        if path.rsplit_once('/').is_some_and(|(parent, _)| directories.get(parent) != Some(&true)) {
            return Err(CpioError::NoParent(path.to_owned()));
        }
        if directories.insert(path, matches!(node, Node::Directory { .. })).is_some() {
            return Err(CpioError::Twice(path.to_owned()));
        }
        entries.push(Entry { path, node, uid: header.uid, gid: header.gid, mtime: header.mtime });
    }
}

fn node<'a>(header: &Header, content: &'a [u8]) -> Option<Node<'a>> {
    let mode = header.mode & !KIND_MASK;
    if header.check != 0 || mode > 0o7777 {
        return None;
    }
    let empty = content.is_empty();
    match header.mode & KIND_MASK {
        KIND_DIRECTORY if empty => Some(Node::Directory { mode }),
        KIND_FILE if header.links == 1 => Some(Node::File { mode, content: Cow::Borrowed(content) }),
        KIND_LINK => Some(Node::Link(std::str::from_utf8(content).ok()?.to_owned())),
        KIND_CHARACTER if empty => {
            Some(Node::Character { mode, major: header.device_major, minor: header.device_minor })
        }
        _ => None,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], CpioError> {
        let end = self.at.checked_add(len).ok_or(CpioError::Truncated(self.at))?;
        let taken = self.bytes.get(self.at..end).ok_or(CpioError::Truncated(self.at))?;
        self.at = end;
        Ok(taken)
    }

    fn skip_padding(&mut self) -> Result<(), CpioError> {
        let at = self.at;
        let padding = self.take(at.next_multiple_of(ALIGN) - at)?;
        if padding.iter().any(|byte| *byte != 0) { Err(CpioError::Padding(at)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Archive;
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Archive<'static> {
        let mut archive = Archive::new(1_763_300_000);
        archive.add_file("kubedos/verity.toml", 0o444, b"version = 1\n".as_slice()).unwrap();
        archive.add_file("init", 0o755, vec![0x7f; 1001]).unwrap();
        archive.add("dev", Node::Directory { mode: 0o755 }).unwrap();
        archive.add("dev/console", Node::Character { mode: 0o600, major: 5, minor: 1 }).unwrap();
        archive.add("dev-x", Node::Directory { mode: 0o700 }).unwrap();
        archive.add("lib", Node::Link("usr/lib".into())).unwrap();
        archive
    }

    #[test]
    fn an_archive_has_pinned_bytes_in_pinned_order() {
        let bytes = sample().write().unwrap();
        let (read, len) = entries(&bytes).unwrap();
        assert_eq!(len, bytes.len());
        let paths: Vec<_> = read.iter().map(|entry| entry.path).collect();
        assert_eq!(paths, ["dev", "dev/console", "dev-x", "init", "kubedos", "kubedos/verity.toml", "lib"]);
        assert_eq!(
            hex::encode(kubedos_wire::hex32::sha256(&[&bytes])),
            "ddf336e676a00323b19d96457cd01aa564c0b9af5cced21f51cd207ce96d644e"
        );
    }

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let mut archive = Archive::new(0);
        for path in ["", "/x", "x/", "a//b", "..", "a/../b", ".", "a\0b", "TRAILER!!!", &"x".repeat(4096)] {
            let node = Node::File { mode: 0o644, content: Cow::Borrowed(b"") };
            assert!(
                matches!(archive.add(path, node), Err(CpioError::Path(_) | CpioError::NoParent(_))),
                "{path}"
            );
        }
        archive.add("f", Node::Link("x".into())).unwrap();
        assert_eq!(archive.add("f", Node::Link("x".into())), Err(CpioError::Twice("f".into())));
        assert_eq!(archive.add("f/g", Node::Link("x".into())), Err(CpioError::NoParent("f/g".into())));
    }

    #[test]
    fn an_archive_cut_anywhere_is_refused() {
        let bytes = sample().write().unwrap();
        let trailer = bytes.windows(10).position(|window| window == b"TRAILER!!!").unwrap();
        for len in 0..=trailer + 10 {
            assert!(entries(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn hard_links_pipes_and_checksums_are_refused() {
        let bytes = sample().write().unwrap();
        let init = bytes.windows(5).position(|window| window == b"init\0").unwrap() - HEADER_LEN;
        for (field, value) in [(4, "00000002"), (1, "000011ed"), (12, "00000001"), (1, "0000c1ed")] {
            let mut bad = bytes.clone();
            bad[init + 6 + field * 8..][..8].copy_from_slice(value.as_bytes());
            assert_eq!(entries(&bad), Err(CpioError::Kind(init)), "{field} {value}");
        }
    }

    /// A kernel would unpack the entries in order, so the reader refuses paths outside the root, duplicate paths, and paths whose parent
    /// directory does not come first.
    #[test]
    fn paths_that_the_writer_refuses_are_not_read() {
        let bytes = sample().write().unwrap();
        for (from, to) in [("dev-x", "../xx"), ("dev-x", "/etc/"), ("dev-x", "e/xyz"), ("lib\0", "dev\0")] {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let mut bad = bytes.clone();
            bad[at..at + to.len()].copy_from_slice(to.as_bytes());
            let refused = entries(&bad).unwrap_err();
            let by_path =
                matches!(refused, CpioError::Path(_) | CpioError::NoParent(_) | CpioError::Twice(_));
            assert!(by_path, "{to}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn a_written_archive_is_read_back(
            files in proptest::collection::btree_map("[a-c]{1,3}(/[a-c]{1,3}){0,3}", proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            mtime: u32,
        ) {
            let mut archive = Archive::new(mtime);
            let mut expected = std::collections::BTreeMap::new();
            for (path, content) in &files {
                if archive.add_file(path, 0o640, content.as_slice()).is_ok() {
                    expected.insert(path.as_str(), content.as_slice());
                }
            }
            let bytes = archive.write().unwrap();
            let (read, len) = entries(&bytes).unwrap();
            prop_assert_eq!(len, bytes.len());
            let mut seen: Vec<&str> = Vec::new();
            for entry in &read {
                prop_assert_eq!((entry.uid, entry.gid, entry.mtime), (0, 0, mtime));
                if let Some((parent, _)) = entry.path.rsplit_once('/') {
                    prop_assert!(seen.contains(&parent));
                }
                if let Node::File { content, .. } = &entry.node {
                    prop_assert_eq!(expected.remove(entry.path), Some(content.as_ref()));
                }
                seen.push(entry.path);
            }
            prop_assert!(expected.is_empty());
        }
    }
}
