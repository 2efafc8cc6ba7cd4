//! The public half of the keys, an input of images. It can be copied to a build machine that has no secrets.

use std::path::Path;

use kubedos_image::pkcs7::Certificate;
use kubedos_wire::accept::Authority;
use kubedos_wire::hex32::{ClusterId, KeyId, PublicKey};
use kubedos_wire::release::Release;

use super::index::PublicIndex;
use super::{INDEX, KeyError, files};

/// The index of the committed demo keys. They are recognised by their bytes, so a copy under a different name is recognised too.
const DEMO_INDEX: &str = include_str!("../../../keys/demo/public/keys.toml");

/// The certificates of the demo keys.
const DEMO_CERTIFICATES: [&[u8]; 5] = [
    include_bytes!("../../../keys/demo/public/root-ca.crt"),
    include_bytes!("../../../keys/demo/public/intermediate-ca-1.crt"),
    include_bytes!("../../../keys/demo/public/PK-1.crt"),
    include_bytes!("../../../keys/demo/public/KEK-1.crt"),
    include_bytes!("../../../keys/demo/public/db-1.crt"),
];

/// The public half of a cluster's keys. The last element of a list is the newest and is used for signing; the others are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys {
    /// The cluster's name.
    pub cluster: String,
    /// Whether these are the published demo keys. Everything that is built with them is marked.
    pub demo: bool,
    /// The cluster identity key: the first configuration key.
    pub identity: PublicKey,
    /// The accepted configuration keys.
    pub configuration: Vec<PublicKey>,
    /// The accepted seed keys.
    pub seed: Vec<PublicKey>,
    /// The certificate of the offline root CA in DER.
    pub root_ca: Vec<u8>,
    /// The certificates of the cluster's intermediate CAs in DER.
    pub intermediate_ca: Vec<Vec<u8>>,
    /// The certificates and enrolment files of Secure Boot.
    pub secure_boot: SecureBoot,
}

/// The certificates and enrolment files of Secure Boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureBoot {
    /// The certificate of the platform key in DER.
    pub pk: Vec<u8>,
    /// The certificate of the key exchange key in DER.
    pub kek: Vec<u8>,
    /// The certificates that EFI programs are signed with, in DER.
    pub db: Vec<Vec<u8>>,
    /// The files that enrol the keys.
    pub enrolment: Enrolment,
}

/// Authenticated variables (`.auth`), for `loader/keys/auto/` on the ESP and for firmware menus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// `PK.auth`.
    pub pk: Vec<u8>,
    /// `KEK.auth`.
    pub kek: Vec<u8>,
    /// `db.auth`.
    pub db: Vec<u8>,
}

impl PublicKeys {
    /// Reads a public half: the folder `public` of a key directory, or a copy of it.
    ///
    /// # Errors
    /// If a file is missing or does not match the index.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let at = path.join(INDEX);
        let index: PublicIndex = files::read_index(&at)?;
        index.check(&at)?;
        if !index.demo && shares_a_key_with_the_demo(&index) {
            return Err(KeyError::HiddenDemo { path: at });
        }
        let certificate = |name: &String| read_certificate(&path.join(name));
        let certificates = |names: &[String]| names.iter().map(certificate).collect::<Result<Vec<_>, _>>();
        let enrolment = |name: &str| files::read_public(&path.join(name));
        let keys = Self {
            root_ca: certificate(&index.root_ca)?,
            intermediate_ca: certificates(&index.intermediate_ca)?,
            secure_boot: SecureBoot {
                pk: certificate(&index.secure_boot.pk)?,
                kek: certificate(&index.secure_boot.kek)?,
                db: certificates(&index.secure_boot.db)?,
                enrolment: Enrolment {
                    pk: enrolment("PK.auth")?,
                    kek: enrolment("KEK.auth")?,
                    db: enrolment("db.auth")?,
                },
            },
            cluster: index.cluster,
            demo: index.demo,
            identity: index.identity,
            configuration: index.configuration,
            seed: index.seed,
        };
        keys.secure_boot.check(path)?;
        if !keys.demo && keys.has_a_demo_certificate() {
            return Err(KeyError::HiddenDemo { path: at });
        }
        Ok(keys)
    }

    /// Returns the authority by which images of this release with these keys accept configurations.
    pub fn authority(&self) -> Authority {
        Authority { identity: self.identity, keys: self.configuration.clone(), release: Release::this() }
    }

    /// Whether a certificate's private key is published with the demo keys.
    fn has_a_demo_certificate(&self) -> bool {
        let demo = demo_certificates();
        let own = || {
            let authorities = [&self.root_ca].into_iter().chain(&self.intermediate_ca);
            authorities.chain([&self.secure_boot.pk, &self.secure_boot.kek]).chain(&self.secure_boot.db)
        };
        demo.into_iter().any(|known| own().any(|certificate| *certificate == known))
    }

    /// Returns the id of the cluster `name` under these keys. The name is a parameter because the demo keys are used for several clusters.
    pub fn cluster_id(&self, name: &str) -> ClusterId {
        ClusterId::derive(&self.identity, name)
    }
}

impl SecureBoot {
    /// Checks that all keys are RSA keys: firmware supports no others.
    fn check(&self, path: &Path) -> Result<(), KeyError> {
        for certificate in [&self.pk, &self.kek].into_iter().chain(&self.db) {
            Certificate::parse(certificate)
                .map_err(|source| KeyError::Certificate { path: path.to_owned(), source })?;
        }
        Ok(())
    }
}

fn read_certificate(path: &Path) -> Result<Vec<u8>, KeyError> {
    files::decode_pem(&files::read_public(path)?, "CERTIFICATE")
        .ok_or_else(|| KeyError::Malformed { path: path.to_owned(), what: "a certificate in PEM" })
}

/// Whether a key id belongs to one of the published demo keys for configurations or seeds.
pub fn is_demo(id: KeyId) -> bool {
    demo_keys().iter().any(|key| key.id() == id)
}

#[expect(clippy::expect_used, reason = "the demo keys are committed, and a test reads them")]
fn demo_certificates() -> [Vec<u8>; 5] {
    DEMO_CERTIFICATES
        .map(|text| files::decode_pem(text, "CERTIFICATE").expect("the demo certificates are PEM"))
}

#[expect(clippy::expect_used, reason = "the demo keys are committed, and a test reads them")]
fn demo_keys() -> Vec<PublicKey> {
    let demo = toml::from_str::<PublicIndex>(DEMO_INDEX).expect("the index of the demo keys is valid");
    [demo.configuration, demo.seed].concat()
}

fn shares_a_key_with_the_demo(index: &PublicIndex) -> bool {
    let known = demo_keys();
    index.configuration.iter().chain(&index.seed).chain([&index.identity]).any(|key| known.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_demo_keys_can_be_read() {
        assert!(demo_keys().len() >= 2 && demo_keys().iter().all(|key| is_demo(key.id())));
        assert!(demo_certificates().iter().all(|certificate| !certificate.is_empty()));
    }
}
