//! The public half: an input of images. It can be copied to a build machine that has no secret.

use std::path::Path;

use kubedos_image::pkcs7::Certificate;
use kubedos_wire::accept::Authority;
use kubedos_wire::hex32::{ClusterId, KeyId, PublicKey};
use kubedos_wire::release::Release;

use super::index::PublicIndex;
use super::{INDEX, KeyError, files};

/// The demo keys that are committed to the project: they are known by their bytes, whatever a copy calls itself.
const DEMO_INDEX: &str = include_str!("../../../keys/demo/public/keys.toml");

/// Their certificates.
const DEMO_CERTIFICATES: [&[u8]; 5] = [
    include_bytes!("../../../keys/demo/public/root-ca.crt"),
    include_bytes!("../../../keys/demo/public/intermediate-ca-1.crt"),
    include_bytes!("../../../keys/demo/public/PK-1.crt"),
    include_bytes!("../../../keys/demo/public/KEK-1.crt"),
    include_bytes!("../../../keys/demo/public/db-1.crt"),
];

/// The public half of a cluster's keys. In lists, the newest is last and signs; the others are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys {
    /// Whose keys they are.
    pub cluster: String,
    /// The published demo keys: whatever is built with them says so.
    pub demo: bool,
    /// The first configuration key there ever was.
    pub identity: PublicKey,
    /// Configuration keys.
    pub configuration: Vec<PublicKey>,
    /// Seed keys.
    pub seed: Vec<PublicKey>,
    /// Certificate of the offline root CA, DER.
    pub root_ca: Vec<u8>,
    /// Certificates of the cluster's intermediate CAs, DER.
    pub intermediate_ca: Vec<Vec<u8>>,
    /// Secure Boot.
    pub secure_boot: SecureBoot,
}

/// Certificates and enrolment of Secure Boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureBoot {
    /// Platform key, DER.
    pub pk: Vec<u8>,
    /// Key exchange key, DER.
    pub kek: Vec<u8>,
    /// What programs are signed with, DER.
    pub db: Vec<Vec<u8>>,
    /// What enrols them.
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
    /// When a file is missing or not what the index says.
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

    /// What images of this release that are built with these keys judge configurations by.
    pub fn authority(&self) -> Authority {
        Authority { identity: self.identity, keys: self.configuration.clone(), release: Release::this() }
    }

    /// Whether a certificate is one whose private key is published with the demo keys.
    fn has_a_demo_certificate(&self) -> bool {
        let demo = demo_certificates();
        let own = || {
            let authorities = [&self.root_ca].into_iter().chain(&self.intermediate_ca);
            authorities.chain([&self.secure_boot.pk, &self.secure_boot.kek]).chain(&self.secure_boot.db)
        };
        demo.into_iter().any(|known| own().any(|certificate| *certificate == known))
    }

    /// The id of the cluster `name` under these keys. A name is asked for because the demo keys serve several.
    pub fn cluster_id(&self, name: &str) -> ClusterId {
        ClusterId::derive(&self.identity, name)
    }
}

impl SecureBoot {
    /// Firmware takes RSA only.
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

/// Is this one of the published demo keys, for configurations or seeds?
pub fn is_demo(id: KeyId) -> bool {
    demo_keys().iter().any(|key| key.id() == id)
}

#[expect(clippy::expect_used, reason = "the demo keys are committed, and a test reads them")]
fn demo_certificates() -> [Vec<u8>; 5] {
    DEMO_CERTIFICATES.map(|text| files::decode_pem(text, "CERTIFICATE").expect("a certificate in PEM"))
}

#[expect(clippy::expect_used, reason = "the demo keys are committed, and a test reads them")]
fn demo_keys() -> Vec<PublicKey> {
    let demo = toml::from_str::<PublicIndex>(DEMO_INDEX).expect("the demo keys have an index");
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
