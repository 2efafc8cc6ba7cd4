//! A digest over labelled inputs: the name of what is built from them, and the base of its UUIDs and salts.
//!
//! Every input has a label, and labels and values carry their lengths, so that two different lists of inputs never make the same
//! bytes. The order of the calls counts.

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
    /// Starts with what is to be built and the version of its way of building: a new version makes new keys.
    pub fn new(kind: &str, version: u32) -> Self {
        let mut builder = Self(Context::new(&SHA256));
        builder.part(b"kubedos key\0");
        builder.part(kind.as_bytes());
        builder.part(&version.to_le_bytes());
        builder
    }

    /// Adds one input.
    #[must_use]
    pub fn with(mut self, label: &str, value: impl AsRef<[u8]>) -> Self {
        self.part(label.as_bytes());
        self.part(value.as_ref());
        self
    }

    /// The key of everything added.
    pub fn finish(self) -> CacheKey {
        CacheKey(bytes(&self.0.finish()))
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// The inputs of a [`CacheKey`] by name, kept beside it to say later which of them changed.
#[derive(Clone)]
pub struct Inputs {
    key: CacheKeyBuilder,
    shown: BTreeMap<String, String>,
}

impl Inputs {
    /// As [`CacheKeyBuilder::new`].
    pub fn new(kind: &str, version: u32) -> Self {
        Self { key: CacheKeyBuilder::new(kind, version), shown: BTreeMap::new() }
    }

    /// Adds one input.
    #[must_use]
    pub fn with(self, label: &str, value: impl AsRef<[u8]>) -> Self {
        let digest = short(value.as_ref());
        self.add(label, value.as_ref(), digest)
    }

    /// Adds one input that has a version.
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

    /// The key of everything added.
    pub fn key(&self) -> CacheKey {
        self.key.clone().finish()
    }

    /// Each input by name: its version, if it has one, and the beginning of its digest.
    pub const fn shown(&self) -> &BTreeMap<String, String> {
        &self.shown
    }
}

/// Enough of a digest to tell one input from another; nothing is believed for it.
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
    /// 32 bytes for one purpose, made from the key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        CacheKeyBuilder::new(purpose, 1).with("key", self.0).finish().0
    }

    /// 16 bytes for one purpose: the material of a UUID.
    pub fn derive16(&self, purpose: &str) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(self.derive(purpose).split_at(16).0);
        half
    }
}

impl From<[u8; 32]> for CacheKey {
    /// A digest that somebody else made.
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
