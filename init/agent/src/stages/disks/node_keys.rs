//! The node's own key in STATE, and the keys that were set aside.
//!
//! If the disk is moved to another machine, or the seed has a new incarnation, the node is a different node and needs a
//! different key. The identity of a machine is text from firmware, and a repair or a firmware update may change it. The
//! agent therefore never deletes the previous keys: it moves them to a folder named after their owner, and restores them
//! when the disk is used with the same owner again. Enrolment, in a later version, will delete them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kubedos_wire::hex32::sha256;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use super::node_record::{Machine, NodeRecord};
use kubedos_base::atomic;

/// The folder in STATE for the node's own keys.
const KEYS: &str = "keys";

/// The folder in STATE for previous keys, with one subfolder per owner.
const ASIDE: &str = "keys-aside";

/// A file next to the key that contains its owner, so that an exchange interrupted by a power cut is not repeated.
const OWNER: &str = "owner";

/// The node's own key: an Ed25519 key pair in PKCS#8, generated here. It never leaves the node.
const NODE_KEY: &str = "node.pk8";

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to {0} the node's key")]
pub struct KeyError(&'static str, #[source] io::Error);

/// The owner of keys: the incarnation, and the machine's identity as reported by firmware.
#[derive(Debug, Clone, PartialEq)]
pub struct Owner {
    incarnation: u32,
    machine: Machine,
}

impl Owner {
    /// The owner of the keys of the node with this record.
    pub fn of(record: &NodeRecord) -> Self {
        Self { incarnation: record.incarnation, machine: record.machine.clone() }
    }

    /// A file name: 128 bits of a digest over all fields, each prefixed with its length.
    fn folder(&self) -> String {
        let Machine { product_uuid, product_serial, board_serial, .. } = &self.machine;
        let mut text = self.incarnation.to_string();
        for field in [product_uuid, product_serial, board_serial] {
            let field = field.as_deref().unwrap_or_default();
            text.push_str(&format!("\0{}\0{field}", field.len()));
        }
        let digest = sha256(&[text.as_bytes()]);
        hex::encode(digest.get(..16).unwrap_or_default())
    }
}

/// Where the keys of the new owner come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchanged {
    /// The new owner has used this disk before; its earlier keys were restored.
    Returned,
    /// The new owner has no keys yet.
    New,
}

/// Moves the keys of `then` aside and restores those of `now`, if there are any. Idempotent, also after a power cut.
pub fn exchange(state: &Path, then: &Owner, now: &Owner) -> Result<Exchanged, KeyError> {
    let failed = |error| KeyError("set aside", error);
    let (keys, aside, name) = (state.join(KEYS), state.join(ASIDE), now.folder());
    if owner(&keys).map_err(failed)?.as_ref() == Some(&name) {
        return Ok(Exchanged::Returned); // an earlier exchange was interrupted after this step
    }
    fs::create_dir_all(&aside).map_err(failed)?;
    if keys.exists() {
        fs::rename(&keys, free(&aside, &then.folder())).map_err(failed)?;
    }
    let returned = latest(&aside, &name).map_err(failed)?;
    if let Some(returned) = &returned {
        atomic::replace(returned, OWNER, name.as_bytes()).map_err(failed)?;
        fs::rename(returned, &keys).map_err(failed)?;
    }
    atomic::sync(&aside).and_then(|()| atomic::sync(state)).map_err(failed)?;
    Ok(if returned.is_some() { Exchanged::Returned } else { Exchanged::New })
}

/// The owner of the keys in a folder; `None` if the folder does not exist or does not name an owner.
fn owner(keys: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(keys.join(OWNER)) {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A name that is not in use: the folder may contain earlier keys of the same owner, which must not be overwritten.
fn free(aside: &Path, name: &str) -> PathBuf {
    let mut path = aside.join(name);
    let mut count = 1u32;
    while path.exists() {
        count += 1;
        path = aside.join(format!("{name}-{count}"));
    }
    path
}

/// The folder with the most recent keys of this owner.
fn latest(aside: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let mut latest = None;
    for entry in fs::read_dir(aside)? {
        let entry = entry?;
        let found = entry.file_name();
        let Some(rest) = found.to_str().and_then(|found| found.strip_prefix(name)) else { continue };
        let count = if rest.is_empty() {
            Some(1)
        } else {
            rest.strip_prefix('-').and_then(|count| count.parse::<u32>().ok())
        };
        if let Some(count) = count
            && latest.as_ref().is_none_or(|(best, _)| *best < count)
        {
            latest = Some((count, entry.path()));
        }
    }
    Ok(latest.map(|(_, path)| path))
}

/// Generates the node's key if it has none; returns its fingerprint: SHA-256 of the public key, hexadecimal.
pub fn fingerprint(state: &Path, owner: &Owner) -> Result<String, KeyError> {
    let keys = state.join(KEYS);
    let bytes = match fs::read(keys.join(NODE_KEY)) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !keys.exists() => generate(state, owner)?,
        Err(error) => return Err(KeyError("read", error)),
    };
    let pair = Ed25519KeyPair::from_pkcs8(&bytes);
    let pair = pair.map_err(|_| KeyError("read", io::Error::from(io::ErrorKind::InvalidData)))?;
    Ok(hex::encode(sha256(&[pair.public_key().as_ref()])))
}

/// Generates a key in a temporary folder, which is renamed when it is complete.
fn generate(state: &Path, owner: &Owner) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let pair = pair.map_err(|_| KeyError("generate", io::Error::other("no randomness")))?;
    let bytes = Zeroizing::new(pair.as_ref().to_vec());
    let new = state.join(format!("{KEYS}.new"));
    let write = || {
        fs::create_dir_all(&new)?;
        atomic::replace(&new, NODE_KEY, &bytes)?;
        atomic::replace(&new, OWNER, owner.folder().as_bytes())?;
        fs::rename(&new, state.join(KEYS))?;
        atomic::sync(state)
    };
    write().map_err(|error| KeyError("store", error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uuid: &str, incarnation: u32) -> Owner {
        Owner { incarnation, machine: Machine { product_uuid: Some(uuid.into()), ..Machine::default() } }
    }

    /// A repair changes an SMBIOS text and changes it back: the node gets its first keys again.
    #[test]
    fn an_earlier_owner_gets_its_keys_back() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let (a, b, later) = (owner("a", 1), owner("b", 1), owner("b", 2));
        let first = fingerprint(state, &a).unwrap();
        assert_eq!(exchange(state, &a, &b).unwrap(), Exchanged::New);
        let second = fingerprint(state, &b).unwrap();
        assert_ne!(first, second);
        assert_eq!(exchange(state, &b, &a).unwrap(), Exchanged::Returned);
        assert_eq!(fingerprint(state, &a).unwrap(), first);
        assert_eq!(exchange(state, &a, &b).unwrap(), Exchanged::Returned);
        assert_eq!(fingerprint(state, &b).unwrap(), second);
        assert_eq!(exchange(state, &b, &later).unwrap(), Exchanged::New, "a new incarnation");
    }

    /// No key is lost, for any number of changes of the machine's identity.
    #[test]
    fn no_exchange_deletes_a_key() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let mut prints = std::collections::BTreeSet::new();
        let mut at = owner("0", 1);
        for round in 0..20u32 {
            prints.insert(fingerprint(state, &at).unwrap());
            let next = owner(&(round * 7 % 5).to_string(), 1);
            if next != at {
                exchange(state, &at, &next).unwrap();
                at = next;
            }
        }
        let kept = fs::read_dir(state.join(ASIDE)).unwrap().count() + usize::from(state.join(KEYS).exists());
        assert_eq!(kept, prints.len());
    }

    /// After a power cut before the record is written, the exchange is repeated; the repetition makes no change.
    #[test]
    fn a_repeated_exchange_makes_no_further_change() {
        for unmarked in [false, true] {
            let state = tempfile::tempdir().unwrap();
            let state = state.path();
            let (a, b) = (owner("a", 1), owner("b", 1));
            let first = fingerprint(state, &a).unwrap();
            if unmarked {
                fs::remove_file(state.join(KEYS).join(OWNER)).unwrap(); // as an earlier release left it
            }
            exchange(state, &a, &b).unwrap();
            exchange(state, &a, &b).unwrap();
            let second = fingerprint(state, &b).unwrap();
            exchange(state, &a, &b).unwrap();
            assert_eq!(fingerprint(state, &b).unwrap(), second);
            exchange(state, &b, &a).unwrap();
            exchange(state, &b, &a).unwrap();
            assert_eq!(fingerprint(state, &a).unwrap(), first);
            exchange(state, &a, &b).unwrap();
            assert_eq!(fingerprint(state, &b).unwrap(), second);
        }
    }

    /// A key folder without its key file is an error; the agent does not generate a new key in it.
    #[test]
    fn a_key_folder_without_its_key_gets_no_new_key() {
        let state = tempfile::tempdir().unwrap();
        fingerprint(state.path(), &owner("a", 1)).unwrap();
        fs::remove_file(state.path().join(KEYS).join(NODE_KEY)).unwrap();
        assert!(fingerprint(state.path(), &owner("a", 1)).is_err());
    }
}
