//! Reads and writes the files of a key directory: permissions and PEM.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubedos_debian::digest::Sha256;
use kubedos_image::width::to_usize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::KeyError;
use super::init::NewFile;

/// The limit for a file of a key directory in bytes.
const MAX_LENGTH: u64 = 64 * 1024;

/// The SHA-256 digests of the published secrets in `keys/demo`.
pub(super) const PUBLISHED: [&str; 8] = [
    "809057a8ad53f9fb8069d561697bcce7b56ca5e396b51027fdf1e84b779d31a3", // KEK-1.key
    "652ce3c6d20b0d52cc29e384c19f0eac66672e691913800169df607fa1a2fa5f", // PK-1.key
    "c59742171537f0f59d28df46b320da16db12606b7101dce9cdc6f8012035055f", // configuration-1.key
    "ba2827abe91a746b1fb551b1ae01b0cacb9e8176da49da43805c5e2868a14b46", // db-1.key
    "314cf52ea50921054f91676fc67b1dec405899238b12b257627f452a8b8dfa2e", // intermediate-ca-1.key
    "9bd03b00dac17fca1a742b5f8dff737613813dbd6faa077b14cd558995557a0b", // node-master-1.key
    "7d16f6e5e3e8d00f0f654b832727983ab48c5454505cc0049e01ccd09b3ea35e", // root-ca.key
    "2afcfc753ae598a859cb4a62b031436a587a67aeb0962bfddee4d4e0058fa9ca", // seed-1.key
];

/// Returns an error if the group or others have any access to a file or folder.
pub(super) fn check_private(path: &Path) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(|source| file("read", path, source))?;
    refuse_exposed(path, metadata.mode())
}

fn refuse_exposed(path: &Path, mode: u32) -> Result<(), KeyError> {
    let mode = mode & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

/// Reads a secret. Only the owner may have access to its file, unless the secret is one of the published demo keys: an index
/// that declares demo keys exempts no other secret. The mode is that of the opened file, so the file cannot be exchanged
/// between check and read.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let opened = fs::File::open(path).map_err(|source| file("open", path, source))?;
    let metadata = opened.metadata().map_err(|source| file("read", path, source))?;
    if !metadata.is_file() || metadata.len() > MAX_LENGTH {
        return Err(KeyError::Malformed { path: path.to_owned(), what: "a small file" });
    }
    // Allocate the final size at once: a growing buffer would leave copies of the secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(to_usize(metadata.len()) + 1));
    opened.take(metadata.len()).read_to_end(&mut bytes).map_err(|source| file("read", path, source))?;
    if !PUBLISHED.contains(&Sha256::of(&bytes).to_string().as_str()) {
        refuse_exposed(path, metadata.permissions().mode())?;
    }
    Ok(bytes)
}

/// Reads a public file.
pub(super) fn read_public(path: &Path) -> Result<Vec<u8>, KeyError> {
    let opened = fs::File::open(path).map_err(|source| file("open", path, source))?;
    let mut bytes = Vec::new();
    opened.take(MAX_LENGTH + 1).read_to_end(&mut bytes).map_err(|source| file("read", path, source))?;
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(KeyError::Malformed { path: path.to_owned(), what: "a small file" });
    }
    Ok(bytes)
}

/// Reads an index.
pub(super) fn read_index<T: DeserializeOwned>(path: &Path) -> Result<T, KeyError> {
    let text = String::from_utf8(read_public(path)?)
        .map_err(|_| KeyError::Malformed { path: path.to_owned(), what: "UTF-8" })?;
    toml::from_str(&text).map_err(|source| KeyError::Index { path: path.to_owned(), source })
}

/// Encodes PEM (RFC 7468).
pub(super) fn encode_pem(der: &[u8], label: &str) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut out = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40));
    let mut push = |text: &str| out.push_str(text);
    push("-----BEGIN ");
    push(label);
    push("-----\n");
    let mut rest: &str = &body;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        push(line);
        push("\n");
        rest = after;
    }
    push("-----END ");
    push(label);
    push("-----\n");
    out
}

/// Decodes a file with exactly one PEM block. The caller must wipe secrets.
pub(super) fn decode_pem(text: &[u8], label: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let body = text.strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = body.strip_suffix(&format!("-----END {label}-----"))?;
    let mut joined = Zeroizing::new(String::with_capacity(body.len()));
    for part in body.split_ascii_whitespace() {
        joined.push_str(part);
    }
    STANDARD.decode(joined.as_bytes()).ok()
}

/// Creates a file and flushes it; a secret file is readable by its owner only. It is an error if the file exists.
pub(super) fn write(path: &Path, new: &NewFile) -> Result<(), KeyError> {
    let mode = if new.secret { 0o600 } else { 0o644 };
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(&new.content).and_then(|()| file.sync_all()))
        .map_err(|source| file("write", path, source))
}

/// Writes a temporary file and renames it over an existing one.
pub(super) fn replace(path: &Path, new: &NewFile) -> Result<(), KeyError> {
    let mut name = path.to_owned().into_os_string();
    name.push(".kubedos-partial");
    let partial = Path::new(&name);
    match fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file("remove", partial, error));
        }
        _ => write(partial, new)?,
    }
    fs::rename(partial, path).map_err(|source| file("replace", path, source))
}

pub(super) fn file(doing: &'static str, path: &Path, source: std::io::Error) -> KeyError {
    KeyError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trips_and_contains_one_block() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let der = vec![0xa5; length];
            let pem = encode_pem(&der, "PRIVATE KEY");
            assert_eq!(decode_pem(pem.as_bytes(), "PRIVATE KEY"), Some(der));
            assert_eq!(decode_pem(pem.as_bytes(), "CERTIFICATE"), None);
            let twice = format!("{}{}", *pem, *pem);
            assert_eq!(decode_pem(twice.as_bytes(), "PRIVATE KEY"), None);
            assert!(pem.lines().all(|line| line.len() <= 64));
        }
    }

    /// A prefix of a file is not accepted as the file.
    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("PK.auth");
        for (length, is_read) in [(MAX_LENGTH, true), (MAX_LENGTH + 1, false)] {
            fs::write(&path, vec![1; usize::try_from(length).unwrap()]).unwrap();
            assert_eq!(read_public(&path).is_ok(), is_read, "{length}");
        }
    }
}
