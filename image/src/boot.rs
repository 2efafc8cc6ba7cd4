//! The boot manifest, `kubedos/verity.toml` in the initrd (ADR 0002): the root hashes of root and payload, and the keys whose
//! configuration is accepted. The signature of the UKI covers it, and it is the only input of verification.

use kubedos_wire::accept::Authority;
use kubedos_wire::document::{self, DocumentError};
use kubedos_wire::hex32::PublicKey;
use kubedos_wire::release::Release;
use kubedos_wire::seal::{Seal, Volume};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The path of the manifest in the initrd.
pub const MANIFEST_PATH: &str = "kubedos/verity.toml";
/// The path, in the initrd, of the text that must be equal to `/proc/cmdline`.
pub const CMDLINE_PATH: &str = "kubedos/cmdline";

/// A key whose signature is accepted on a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationKey {
    /// The public key.
    pub ed25519: PublicKey,
}

/// The version that this release writes. Version 1 has no `identity`: there, the first configuration key is the identity.
const VERSION: u64 = 2;

/// The boot manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct BootManifest {
    version: u64,
    /// The release of kubedOS, not of the cluster.
    pub release: Release,
    /// The time of the newest signed index of the lock, in seconds since 1970. The clock is never set to an earlier time.
    pub epoch: u64,
    /// The public half of the first configuration key of the cluster; the cluster id is derived from it. It stays the same after that key
    /// is dropped (ADR 0011), so it need not be in `configuration_keys`. A signature of this key alone is not accepted.
    pub identity: PublicKey,
    /// The root volume contains files that are not part of the release. Such an image is for tests only, and `verify` refuses it.
    pub additions: bool,
    /// The root volume.
    pub root: Seal,
    /// The payload volume.
    pub payload: Seal,
    /// The keys whose configurations are accepted: one to eight.
    pub configuration_keys: Vec<ConfigurationKey>,
}

/// The serialized form of a boot manifest.
#[derive(Serialize, Deserialize)]
struct Text {
    version: u64,
    release: Release,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<PublicKey>,
    #[serde(default, skip_serializing_if = "is_false")]
    additions: bool,
    root: Seal,
    payload: Seal,
    configuration_keys: Vec<ConfigurationKey>,
}

/// The content of a boot manifest.
#[derive(Debug, Clone)]
pub struct BootParts<'a> {
    /// The release of kubedOS.
    pub release: Release,
    /// The time of the newest signed index of the lock, in seconds since 1970.
    pub epoch: u64,
    /// The public half of the first configuration key of the cluster.
    pub identity: PublicKey,
    /// The root volume.
    pub root: Seal,
    /// The payload volume.
    pub payload: Seal,
    /// The keys whose configurations are accepted.
    pub configuration_keys: &'a [PublicKey],
}

impl BootManifest {
    /// Creates a manifest of the version that this release writes.
    pub fn new(parts: BootParts<'_>) -> Result<Self, DocumentError> {
        let BootParts { release, epoch, identity, root, payload, configuration_keys } = parts;
        let configuration_keys =
            configuration_keys.iter().map(|key| ConfigurationKey { ed25519: *key }).collect();
        let version = VERSION;
        let manifest =
            Self { version, release, epoch, identity, additions: false, root, payload, configuration_keys };
        manifest.check()?;
        Ok(manifest)
    }

    /// The same manifest with a different value of `additions`.
    #[must_use]
    pub fn with_additions(self, additions: bool) -> Self {
        Self { additions, ..self }
    }

    /// Parses a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Self::try_from(document::parse::<Text>(bytes, VERSION)?)
    }

    /// The manifest as text, in the version that it was read in. The same manifest always gives the same text.
    pub fn emit(&self) -> Result<String, DocumentError> {
        Ok(toml::to_string(self)?)
    }

    /// The configuration keys.
    pub fn keys(&self) -> Vec<PublicKey> {
        self.configuration_keys.iter().map(|key| key.ed25519).collect()
    }

    /// The identity, the keys and the release that a configuration is verified against.
    pub fn authority(&self) -> Authority {
        Authority { identity: self.identity, keys: self.keys(), release: self.release.clone() }
    }

    fn check(&self) -> Result<(), DocumentError> {
        let keys: BTreeSet<PublicKey> = self.keys().into_iter().collect();
        for (field, is_valid) in [
            ("epoch", i64::try_from(self.epoch).is_ok()),
            ("root.data_blocks", self.root.fits(Volume::Root)),
            ("payload.data_blocks", self.payload.fits(Volume::Payload)),
            ("configuration_keys", (1..=8).contains(&self.configuration_keys.len())),
            ("configuration_keys", self.version == 1 || keys.len() == self.configuration_keys.len()),
        ] {
            if !is_valid {
                return Err(DocumentError::Value(field));
            }
        }
        Ok(())
    }
}

impl TryFrom<Text> for BootManifest {
    type Error = DocumentError;

    fn try_from(text: Text) -> Result<Self, DocumentError> {
        let Text { version, release, epoch, identity, additions, root, payload, configuration_keys } = text;
        let identity = match version {
            1 => configuration_keys.first().map(|key| key.ed25519),
            _ => identity,
        };
        let identity = identity.ok_or(DocumentError::Missing("identity"))?;
        let manifest =
            Self { version, release, epoch, identity, additions, root, payload, configuration_keys };
        manifest.check()?;
        Ok(manifest)
    }
}

impl From<BootManifest> for Text {
    fn from(manifest: BootManifest) -> Self {
        let BootManifest { version, release, epoch, identity, additions, root, payload, configuration_keys } =
            manifest;
        let identity = (version > 1).then_some(identity);
        Self { version, release, epoch, identity, additions, root, payload, configuration_keys }
    }
}

/// For serde's `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_wire::hex32::{RootHash, Salt};
    use proptest::prelude::*;

    const GOLDEN: &str = "version = 2
release = \"0.1.0\"
epoch = 1763300000
identity = \"6666666666666666666666666666666666666666666666666666666666666666\"

[root]
root_hash = \"1111111111111111111111111111111111111111111111111111111111111111\"
salt = \"2222222222222222222222222222222222222222222222222222222222222222\"
data_blocks = 15000

[payload]
root_hash = \"3333333333333333333333333333333333333333333333333333333333333333\"
salt = \"4444444444444444444444444444444444444444444444444444444444444444\"
data_blocks = 1

[[configuration_keys]]
ed25519 = \"5555555555555555555555555555555555555555555555555555555555555555\"
";

    fn manifest() -> BootManifest {
        let seal = |hash: u8, salt: u8, data_blocks| Seal {
            root_hash: RootHash::new([hash; 32]),
            salt: Salt::new([salt; 32]),
            data_blocks,
        };
        let keys = [PublicKey::new([0x55; 32])];
        BootManifest::new(BootParts {
            release: Release::new(0, 1, 0),
            epoch: 1_763_300_000,
            identity: PublicKey::new([0x66; 32]),
            root: seal(0x11, 0x22, 15000),
            payload: seal(0x33, 0x44, 1),
            configuration_keys: &keys,
        })
        .unwrap()
    }

    /// The text as releases without the identity wrote it.
    fn version_1() -> String {
        GOLDEN.replacen("version = 2", "version = 1", 1).replacen(
            &format!("identity = \"{}\"\n", "66".repeat(32)),
            "",
            1,
        )
    }

    #[test]
    fn the_text_is_that_of_version_2() {
        assert_eq!(manifest().emit().unwrap(), GOLDEN);
        assert_eq!(BootManifest::parse(GOLDEN.as_bytes()).unwrap(), manifest());
    }

    /// `inspect` and `verify` read older images, in which the first key is the identity. The text is emitted as it was read.
    #[test]
    fn a_manifest_of_version_1_is_read_with_its_first_key_as_identity() {
        let manifest = BootManifest::parse(version_1().as_bytes()).unwrap();
        assert_eq!(manifest.identity, PublicKey::new([0x55; 32]));
        assert_eq!(manifest.emit().unwrap(), version_1());
        let ignored = version_1().replacen("epoch", &format!("identity = \"{}\"\nepoch", "77".repeat(32)), 1);
        assert_eq!(BootManifest::parse(ignored.as_bytes()).unwrap(), manifest);
    }

    /// A signature of the identity key is accepted only if the key is also listed.
    #[test]
    fn the_authority_has_the_listed_keys_and_no_other() {
        let authority = manifest().authority();
        assert_eq!(authority.keys, [PublicKey::new([0x55; 32])]);
        assert_eq!(authority.identity, PublicKey::new([0x66; 32]));
    }

    #[test]
    fn the_mark_of_an_image_with_additions_round_trips() {
        let marked = manifest().with_additions(true);
        let text = marked.emit().unwrap();
        assert!(text.contains("\nadditions = true\n"));
        assert_eq!(BootManifest::parse(text.as_bytes()).unwrap(), marked);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_versions_refused() {
        let newer = GOLDEN.replace("epoch", "hint = [\"x\"]\nepoch").replace("[root]", "[root]\nmore = 1");
        assert_eq!(BootManifest::parse(newer.as_bytes()).unwrap(), manifest());
        let version = GOLDEN.replace("version = 2", "version = 3");
        assert_eq!(
            BootManifest::parse(version.as_bytes()),
            Err(DocumentError::Version { found: 3, newest: 2 })
        );
        let nameless = GOLDEN.replacen("identity", "identities", 1);
        assert_eq!(BootManifest::parse(nameless.as_bytes()), Err(DocumentError::Missing("identity")));
    }

    #[test]
    fn invalid_values_are_refused() {
        for (field, from, to) in [
            ("release", "0.1.0", "../x"),
            ("release", "0.1.0", ""),
            ("release", "0.1.0", "0.1.0+1"),
            ("identity", "6666", "666"),
            ("identity", "identity = \"66", "identity = \"X6"),
            ("epoch", "1763300000", "-1"),
            ("root.data_blocks", "15000", "0"),
            ("root.data_blocks", "15000", "131073"),
            ("payload.data_blocks", "data_blocks = 1\n", "data_blocks = 786433\n"),
            ("ed25519", "5555", "555"),
            ("root_hash", "1111", "AAAA"),
            ("salt", "2222", "22222222"),
            ("salt", "salt = \"2", "salte = \"2"),
        ] {
            let text = GOLDEN.replacen(from, to, 1);
            assert_ne!(text, GOLDEN);
            assert!(BootManifest::parse(text.as_bytes()).is_err(), "{field}");
        }
        let without_key =
            GOLDEN.split("[[").next().unwrap().replace("epoch", "configuration_keys = []\nepoch");
        assert_eq!(
            BootManifest::parse(without_key.as_bytes()),
            Err(DocumentError::Value("configuration_keys"))
        );
        let key = "[[configuration_keys]]";
        let (head, one) = GOLDEN.split_once(key).unwrap();
        let twice = format!("{head}{key}{one}\n{key}{one}");
        assert_eq!(BootManifest::parse(twice.as_bytes()), Err(DocumentError::Value("configuration_keys")));
        assert_eq!(BootManifest::parse(&[0xff]), Err(DocumentError::NotUtf8));
        assert_eq!(
            BootManifest::parse(&vec![b' '; 65_537]),
            Err(DocumentError::TooLong { length: 65_537, most: 65_536 })
        );
    }

    proptest! {
        #[test]
        fn any_manifest_round_trips(
            release: [u32; 3],
            epoch in 0..i64::MAX as u64,
            hashes: [[u8; 32]; 5],
            root in 1u64..=131_072,
            payload in 1u64..=786_432,
            keys in proptest::collection::btree_set(any::<[u8; 32]>(), 1..=8),
        ) {
            let seal = |hash: usize, data_blocks| Seal {
                root_hash: RootHash::new(hashes[hash]),
                salt: Salt::new(hashes[hash + 1]),
                data_blocks,
            };
            let keys: Vec<PublicKey> = keys.into_iter().map(PublicKey::new).collect();
            let [major, minor, patch] = release.map(u64::from);
            let manifest = BootManifest::new(BootParts {
                release: Release::new(major, minor, patch),
                epoch,
                identity: PublicKey::new(hashes[4]),
                root: seal(0, root),
                payload: seal(2, payload),
                configuration_keys: &keys,
            }).unwrap();
            let text = manifest.emit().unwrap();
            prop_assert_eq!(BootManifest::parse(text.as_bytes()), Ok(manifest));
        }
    }
}
