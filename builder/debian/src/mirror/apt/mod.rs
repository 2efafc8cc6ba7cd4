//! Reads the sources of the host's apt configuration, in the order in which apt reads them (sources.list(5)).
//!
//! The order is `sources.list`, then `*.list` and `*.sources` in `sources.list.d` by name. A file that cannot be read, or a source that
//! cannot serve packages, is reported with its reason, so that an error message can list why each one was not used.

mod text;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use text::{Entry, deb822, mirror_list, one_line};

/// The maximum size of a configuration file. Real ones have a few kB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why a source cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unfit {
    /// The source has no binary packages.
    #[error("only source packages: deb-src")]
    SourceOnly,
    /// The configuration disables the source.
    #[error("disabled: Enabled is no")]
    Disabled,
    /// The repository has no `dists/`.
    #[error("a flat repository, without suites")]
    Flat,
    /// The line of a mirror list is for a different architecture.
    #[error("a mirror for a different architecture")]
    OtherArchitecture,
    /// The text does not follow sources.list(5).
    #[error("{0}")]
    Malformed(&'static str),
    /// The scheme of the URI is not supported.
    #[error("{0} sources are not supported, only http, https and mirror lists")]
    Scheme(String),
    /// The URI cannot be parsed.
    #[error("the URI is malformed")]
    Uri,
    /// The file cannot be read.
    #[error("the file cannot be read ({0})")]
    Unreadable(ErrorKind),
    /// The file is not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The file is larger than the limit.
    #[error("larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
}

/// A line in a configuration file; line 0 is the file itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// A source with its place.
pub(super) type Located = (Place, Result<String, Unfit>);

/// All sources of a host, in the order in which apt reads them.
pub(super) fn sources(apt: &Path) -> Vec<Located> {
    let mut found = Vec::new();
    let main = apt.join("sources.list");
    if fs::symlink_metadata(&main).is_ok() {
        read_into(&mut found, &main, one_line);
    }
    let folder = apt.join("sources.list.d");
    let parts = match names(&folder) {
        Ok(parts) => parts,
        Err(error) if error.kind() == ErrorKind::NotFound => return found,
        Err(error) => {
            found.push((Place { file: folder, line: 0 }, Err(Unfit::Unreadable(error.kind()))));
            return found;
        }
    };
    for file in parts {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => read_into(&mut found, &file, one_line),
            Some("sources") => read_into(&mut found, &file, deb822),
            _ => {}
        }
    }
    found
}

/// The files in `folder` with names that apt accepts (letters, digits, `_`, `-`, `:` and `.`), sorted by name.
fn names(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let is_read = name.to_str().is_some_and(|name| {
            !name.starts_with('.')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
        });
        if is_read {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

fn read_into(found: &mut Vec<Located>, file: &Path, parse: fn(&str) -> Vec<Entry>) {
    let place = |line| Place { file: file.to_owned(), line };
    match read(file) {
        Ok(text) => found.extend(parse(&text).into_iter().map(|entry| (place(entry.line), entry.uri))),
        Err(unfit) => found.push((place(0), Err(unfit))),
    }
}

/// Reads a configuration file. Invalid UTF-8 is replaced, because comments can have any encoding.
fn read(file: &Path) -> Result<String, Unfit> {
    let unreadable = |error: io::Error| Unfit::Unreadable(error.kind());
    // Opening a named pipe would block until there is a writer.
    if !fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(Unfit::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Unfit::TooLarge);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The mirrors of a mirror list on the disk of the host, in the order of their priorities.
pub(super) fn list(file: &Path) -> Vec<Located> {
    let mut found = Vec::new();
    read_into(&mut found, file, mirror_list);
    found
}
