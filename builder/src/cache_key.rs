//! Digests over labelled inputs. A digest identifies the result of a build from these inputs, and is the base of UUIDs and salts.
//!
//! Invariant: different lists of inputs never produce the same bytes for the hash, because labels and values are hashed with their lengths.
//! The order of the calls matters.

use std::collections::BTreeMap;
use std::fmt;

use ring::digest::{Context, Digest, SHA256};
use serde::Serialize;

use kubedos_debian::digest::Sha256;

/// SHA-256 over a list of labelled inputs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// Collects the inputs of a [`CacheKey`].
#[derive(Clone)]
pub struct CacheKeyBuilder(Context);

impl CacheKeyBuilder {
    /// Starts a key with the kind of the output and the version of its format. A different version results in a different key.
    pub fn new(kind: &str, version: u32) -> Self {
        let mut builder = Self(Context::new(&SHA256));
        builder.part(b"kubedos key\0");
        builder.part(kind.as_bytes());
        builder.part(&version.to_le_bytes());
        builder
    }

    /// Adds an input.
    #[must_use]
    pub fn with(mut self, label: &str, value: impl AsRef<[u8]>) -> Self {
        self.part(label.as_bytes());
        self.part(value.as_ref());
        self
    }

    /// Returns the key of all added inputs.
    pub fn finish(self) -> CacheKey {
        CacheKey(bytes(&self.0.finish()))
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// The inputs of a [`CacheKey`] by label, recorded to report later which of them changed.
#[derive(Clone)]
pub struct Inputs {
    key: CacheKeyBuilder,
    shown: BTreeMap<String, String>,
}

impl Inputs {
    /// Starts a list of inputs, see [`CacheKeyBuilder::new`].
    pub fn new(kind: &str, version: u32) -> Self {
        Self { key: CacheKeyBuilder::new(kind, version), shown: BTreeMap::new() }
    }

    /// Adds an input.
    #[must_use]
    pub fn with(self, label: &str, value: impl AsRef<[u8]>) -> Self {
        let digest = short(value.as_ref());
        self.add(label, value.as_ref(), digest)
    }

    /// Adds an input that has a version.
    #[must_use]
    pub fn with_version(self, label: &str, version: &str, value: impl AsRef<[u8]>) -> Self {
        let shown = format!("{version} {}", short(value.as_ref()));
        self.add(label, value.as_ref(), shown)
    }

    fn add(self, label: &str, value: &[u8], shown: String) -> Self {
        let Self { key, shown: mut all } = self;
        all.insert(label.to_owned(), shown);
        Self { key: key.with(label, value), shown: all }
    }

    /// Returns the key of all added inputs.
    pub fn key(&self) -> CacheKey {
        self.key.clone().finish()
    }

    /// The description of each input by label: the version, if it has one, and a prefix of the digest.
    pub const fn shown(&self) -> &BTreeMap<String, String> {
        &self.shown
    }
}

/// A prefix of the digest for display and comparison. It is not used for verification.
fn short(value: &[u8]) -> String {
    Sha256::of(value).to_string().chars().take(16).collect()
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Inputs {}

impl Serialize for Inputs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown.serialize(serializer)
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.fmt(f)
    }
}

impl CacheKey {
    /// Derives 32 bytes for one purpose.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        CacheKeyBuilder::new(purpose, 1).with("key", self.0).finish().0
    }

    /// Derives 16 bytes for one purpose, for example for a UUID.
    pub fn derive16(&self, purpose: &str) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(self.derive(purpose).split_at(16).0);
        half
    }
}

impl From<[u8; 32]> for CacheKey {
    /// Uses an existing digest as the key.
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl AsRef<[u8]> for CacheKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

impl fmt::Debug for CacheKeyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKeyBuilder")
    }
}

fn bytes(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_between_inputs_changes_the_key() {
        let key = |a: &str, b: &str| CacheKeyBuilder::new("test", 1).with("a", a).with("b", b).finish();
        assert_eq!(key("12", "3"), key("12", "3"));
        assert_ne!(key("12", "3"), key("1", "23"));
        assert_ne!(CacheKeyBuilder::new("test", 1).finish(), CacheKeyBuilder::new("test", 2).finish());
    }

    #[test]
    fn purposes_do_not_share_bytes() {
        let key = CacheKeyBuilder::new("test", 1).finish();
        assert_ne!(key.derive("salt"), key.derive("uuid"));
        assert_eq!(key.derive("salt")[..16], key.derive16("salt"));
    }
}
