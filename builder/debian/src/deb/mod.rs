//! A reader for `.deb` files: control fields, maintainer scripts as bytes, and a stream of the entries in the data archive.
//!
//! Follows deb(5): an `ar` archive of `debian-binary`, `control.tar*`, `data.tar*`. Paths are made relative; a path that leaves the
//! tree is an error. Ownership and modes are passed on as numbers. This module runs no script and creates no file on disk.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kubedos_debian::deb::{Deb, DebError};
//! let mut deb = Deb::open(std::fs::File::open("libc6.deb")?)?;
//! println!("{:?}", deb.control()?.get("Version"));
//! deb.visit(|entry, content| {
//!     println!("{} {:o}", entry.path, entry.mode);
//!     std::io::copy(content, &mut std::io::sink())?;
//!     Ok::<(), DebError>(())
//! })?;
//! # Ok(()) }
//! ```

pub mod ar;
mod entry;
mod repack;
pub mod sample;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::control::{ControlError, Paragraph};
use crate::decompress::Bounded;
use ar::Member;
pub use entry::{Entry, Kind};
pub use repack::repack;

/// The maximum unpacked size of a control archive. The largest one in trixie main is below 4 MiB.
const MAX_CONTROL_BYTES: u64 = 32 << 20;

/// The maximum unpacked size of a data archive. The largest ones in trixie main have a few GB.
const MAX_DATA_BYTES: u64 = 16 << 30;

/// A package that cannot be read.
#[derive(Debug, Error)]
pub enum DebError {
    /// Reading failed, or the compressed stream is damaged.
    #[error("failed to read the package")]
    Io(#[from] io::Error),
    /// The outer archive does not follow deb(5).
    #[error("not a Debian package: {0}")]
    Ar(&'static str),
    /// A member that deb(5) requires is missing or out of order.
    #[error("the package has no {0}")]
    Missing(&'static str),
    /// A compression that is not `xz`, `zst`, `gz` or none.
    #[error("the member {0} has an unknown compression")]
    Compression(String),
    /// The control archive is too large.
    #[error("the control archive unpacks to more than {MAX_CONTROL_BYTES} bytes")]
    ControlTooLarge,
    /// The `control` file cannot be parsed.
    #[error("the control file is malformed")]
    Control(#[from] ControlError),
    /// A text that is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A path that is absolute, empty, or leaves the tree.
    #[error("the data archive contains the path {0:?}, which is not a relative path inside the tree")]
    Path(String),
    /// A symbolic or hard link without a target.
    #[error("the data archive contains the link {0} without a target")]
    NoTarget(String),
    /// A GNU long-name entry is repeated, truncated, longer than a path can be, or has no entry after it.
    #[error("the archive contains an invalid GNU long-name entry")]
    LongName,
    /// An entry of a type that packages do not contain.
    #[error("the data archive contains {path} with the unknown entry type {kind:?}")]
    EntryType {
        /// The path.
        path: String,
        /// The type byte of the entry header.
        kind: char,
    },
}

/// An opened package.
#[derive(Debug)]
pub struct Deb<R> {
    reader: R,
    control: BTreeMap<String, Vec<u8>>,
    data: Member,
}

impl<R: Read + Seek> Deb<R> {
    /// Reads the outer archive and the whole control archive. Only the position of the data archive is recorded.
    pub fn open(mut reader: R) -> Result<Self, DebError> {
        let members = ar::members(&mut reader)?;
        let mut members = members.into_iter().filter(|member| !member.name.starts_with('_'));
        let version = members.next().filter(|member| member.name == "debian-binary");
        let version = version.ok_or(DebError::Missing("debian-binary member at its start"))?;
        let mut format = String::new();
        read_member(&mut reader, &version)?.take(16).read_to_string(&mut format)?;
        if !format.starts_with("2.") {
            return Err(DebError::Ar("the format version is not 2"));
        }
        let control = members.next().filter(|member| member.name.starts_with("control.tar"));
        let control = control.ok_or(DebError::Missing("control archive"))?;
        let data = members.next().filter(|member| member.name.starts_with("data.tar"));
        let data = data.ok_or(DebError::Missing("data archive"))?;
        let control = read_control(&mut reader, &control)?;
        Ok(Self { reader, control, data })
    }

    /// The fields of the `control` file.
    pub fn control(&self) -> Result<Paragraph<'_>, DebError> {
        let bytes = self.control.get("control").ok_or(DebError::Missing("control file"))?;
        let text = std::str::from_utf8(bytes).map_err(|_| DebError::NotUtf8("the control file"))?;
        Ok(Paragraph::parse_one(text)?)
    }

    /// All files of the control archive by name: `control`, `postinst`, `conffiles`, `triggers`, …
    pub fn control_files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.control
    }

    /// The maintainer scripts that the package contains, from `config`, `postinst`, `postrm`, `preinst` and `prerm`.
    pub fn scripts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        const NAMES: [&str; 5] = ["config", "postinst", "postrm", "preinst", "prerm"];
        NAMES.into_iter().filter_map(|name| Some((name, self.control.get(name)?.as_slice())))
    }

    /// The configuration files that the package declares, as absolute paths.
    pub fn conffiles(&self) -> Result<Vec<&str>, DebError> {
        let Some(bytes) = self.control.get("conffiles") else { return Ok(Vec::new()) };
        let text = std::str::from_utf8(bytes).map_err(|_| DebError::NotUtf8("the conffiles list"))?;
        Ok(text.lines().filter(|line| line.starts_with('/')).map(str::trim_end).collect())
    }

    /// Calls `visitor` for each entry of the data archive, in archive order. The reader gives the bytes of a regular file and is empty for
    /// other entries; unread bytes are skipped. After the last entry, the compressed stream is read to its end, so that the decoder
    /// verifies its checksum.
    pub fn visit<E: From<DebError>>(
        &mut self,
        mut visitor: impl FnMut(&Entry, &mut dyn Read) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = self.data.name.clone();
        let member = read_member(&mut self.reader, &self.data)?;
        let mut archive = tar::Archive::new(Bounded::new(decompress(member, &name)?, MAX_DATA_BYTES));
        entry::each(&mut archive, |entry, content| visitor(&entry, content))?;
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(DebError::Io)?;
        Ok(())
    }
}

fn read_member<'a, R: Read + Seek>(
    reader: &'a mut R,
    member: &Member,
) -> Result<io::Take<&'a mut R>, DebError> {
    reader.seek(SeekFrom::Start(member.offset))?;
    Ok(reader.take(member.size))
}

fn read_control<R: Read + Seek>(
    reader: &mut R,
    member: &Member,
) -> Result<BTreeMap<String, Vec<u8>>, DebError> {
    let content = decompress(read_member(reader, member)?, &member.name)?;
    let mut archive = tar::Archive::new(content.take(MAX_CONTROL_BYTES + 1));
    let mut files = BTreeMap::new();
    let mut total = 0_u64;
    entry::each::<_, DebError>(&mut archive, |entry, content| {
        if let Kind::File { size } = entry.kind {
            total = size.saturating_add(total);
            if total > MAX_CONTROL_BYTES {
                return Err(DebError::ControlTooLarge);
            }
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            files.insert(entry.path, bytes);
        }
        Ok(())
    })?;
    Ok(files)
}

/// Decompresses a `*.tar[.xz|.zst|.gz]` member.
fn decompress<'a>(member: impl Read + 'a, name: &str) -> Result<Box<dyn Read + 'a>, DebError> {
    let member = BufReader::with_capacity(1 << 16, member);
    match name.rsplit_once(".tar").map(|(_, compression)| compression) {
        Some("") => Ok(Box::new(member)),
        Some(".xz") => Ok(Box::new(crate::decompress::xz(member)?)),
        Some(".zst") => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(member)?)),
        Some(".gz") => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(member))),
        _ => Err(DebError::Compression(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
