//! The key directory: all secrets of one cluster, and the public half that images are built with.
//!
//! ```text
//! keys/<cluster>/            0700, files 0600; rejected if group or others have access
//!   keys.toml                the list of the secrets
//!   root-ca.key              offline: can and should be stored elsewhere
//!   intermediate-ca-N.key    signs certificates for the control planes
//!   configuration-N.key      Ed25519, signs configuration volumes
//!   seed-N.key               Ed25519, signs seeds
//!   node-master-N.key        the disk and birth keys of all nodes are derived from it
//!   PK-N.key KEK-N.key db-N.key   RSA-2048, Secure Boot
//!   public/                  world-readable: the only part that `image` needs in addition to the signing keys
//! ```
//!
//! Opening a directory reads the indices and the public half. A secret is read when it is used, checked against its public half, and wiped
//! afterwards. This module does not prompt and does not use a network. Formats and reasons: `docs/keys.md`, ADR 0011 and 0012.

mod certificate;
mod derive;
mod error;
mod files;
mod index;
mod init;
mod public;
mod rotate;
mod signer;

use std::path::{Path, PathBuf};

use kubedos_wire::hex32::{ClusterId, PublicKey, Secret32};
use zeroize::Zeroizing;

pub use derive::NodeSecrets;
pub use error::KeyError;
pub use init::{Init, Plan, plan_init};
pub use public::{Enrolment, PublicKeys, SecureBoot, is_demo};
pub use rotate::{Role, plan_rotate};
pub use signer::{Ed25519Signer, RsaSigner};

use index::PrivateIndex;

/// The folder of the public half in a key directory.
pub const PUBLIC: &str = "public";
/// The name of both indices.
pub const INDEX: &str = "keys.toml";
/// The name of the committed demo keys.
pub const DEMO: &str = "demo";

/// The published master secret of the demo keys.
const DEMO_NODE_MASTER: &[u8] = include_bytes!("../../../keys/demo/node-master-1.key");

/// An opened key directory. It contains no secret itself.
#[derive(Debug)]
pub struct KeyDir {
    path: PathBuf,
    index: PrivateIndex,
    public: PublicKeys,
}

impl KeyDir {
    /// Returns the key directory of a spec: `explicit` (`--keys`), otherwise `keys/<cluster>`, or the demo keys for the project's examples.
    pub fn locate(explicit: Option<&Path>, spec: &Path, cluster: &str) -> PathBuf {
        let keys = Path::new("keys");
        match explicit {
            Some(path) => path.to_owned(),
            None if serves_examples(&keys.join(DEMO), spec) => keys.join(DEMO),
            None => keys.join(cluster),
        }
    }

    /// Whether a spec is one of the examples for which the demo keys are accepted, independent of the current folder: it is in a
    /// folder `examples` next to a folder `keys/demo` with the demo keys.
    pub fn demo_serves(spec: &Path) -> bool {
        let Ok(spec) = spec.canonicalize() else { return false };
        let examples = spec.ancestors().skip(1).filter(|folder| folder.ends_with("examples"));
        let mut projects = examples.filter_map(Path::parent);
        projects.any(|project| {
            let public = project.join("keys").join(DEMO).join(PUBLIC);
            PublicKeys::open(&public).is_ok_and(|keys| keys.demo)
        })
    }

    /// Opens a key directory.
    ///
    /// # Errors
    /// [`KeyError::Exposed`] if others can read it and it does not declare demo keys; [`KeyError::Index`] and related errors if it is
    /// not a key directory.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let public = PublicKeys::open(&path.join(PUBLIC))?;
        if !public.demo {
            files::check_private(path)?;
        }
        let index: PrivateIndex = files::read_index(&path.join(INDEX))?;
        index.check(&path.join(INDEX), &public)?;
        Ok(Self { path: path.to_owned(), index, public })
    }

    /// Opens the keys for a cluster. They must belong to that cluster, or be the demo keys for a spec that is one of the examples.
    ///
    /// # Errors
    /// Those of [`KeyDir::open`]; [`KeyError::DemoKeys`], [`KeyError::OtherCluster`].
    pub fn open_for(path: &Path, spec: &Path, cluster: &str) -> Result<Self, KeyError> {
        let keys = Self::open(path)?;
        if keys.public.demo && !serves_examples(path, spec) {
            return Err(KeyError::DemoKeys { spec: spec.to_owned() });
        }
        if !keys.public.demo && keys.public.cluster != cluster {
            return Err(KeyError::OtherCluster {
                path: path.to_owned(),
                found: keys.public.cluster,
                wanted: cluster.to_owned(),
            });
        }
        Ok(keys)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The public half.
    pub fn public(&self) -> &PublicKeys {
        &self.public
    }

    /// Whether the directory contains the root CA's key. It should be stored elsewhere.
    pub fn has_root(&self) -> bool {
        self.path.join(&self.index.root_ca).exists()
    }

    /// Returns the signer for configuration statements.
    ///
    /// # Errors
    /// If the key cannot be read, or is not the newest one of the public half.
    pub fn configuration_signer(&self) -> Result<Ed25519Signer, KeyError> {
        self.ed25519(&self.index.configuration, self.public.configuration.last())
    }

    /// Returns the signer for seeds.
    ///
    /// # Errors
    /// If the key cannot be read, or is not the newest one of the public half.
    pub fn seed_signer(&self) -> Result<Ed25519Signer, KeyError> {
        self.ed25519(&self.index.seed, self.public.seed.last())
    }

    /// Returns the signer for EFI programs, with the newest certificate in `db`.
    ///
    /// # Errors
    /// If the key cannot be read, or does not belong to the certificate.
    pub fn secure_boot_signer(&self) -> Result<RsaSigner, KeyError> {
        let certificate = self.secure_boot_certificate()?.to_owned();
        let path = self.path.join(&self.index.db);
        RsaSigner::new(&self.secret(&path)?, certificate, &path)
    }

    /// The newest certificate in `db` (DER), with which EFI programs are signed.
    ///
    /// # Errors
    /// [`KeyError::NoCertificate`].
    pub fn secure_boot_certificate(&self) -> Result<&[u8], KeyError> {
        let newest = self.public.secure_boot.db.last().map(Vec::as_slice);
        newest.ok_or_else(|| KeyError::NoCertificate { path: self.path.join(PUBLIC).join(INDEX) })
    }

    /// Derives the disk and the birth key of one incarnation of a node. The same arguments give the same keys.
    ///
    /// # Errors
    /// If the master secret cannot be read.
    pub fn node_secrets(
        &self,
        cluster: ClusterId,
        node: &str,
        incarnation: u32,
    ) -> Result<NodeSecrets, KeyError> {
        let path = self.path.join(&self.index.node_master);
        let text = files::read_secret(&path)?;
        let mut master = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii_end(), master.as_mut())
            .map_err(|_| KeyError::Malformed { path: path.clone(), what: "64 hex digits" })?;
        if !self.public.demo && text.trim_ascii_end() == DEMO_NODE_MASTER.trim_ascii_end() {
            return Err(KeyError::HiddenDemo { path });
        }
        derive::node_secrets(&Secret32::new(*master), cluster, node, incarnation)
    }

    fn ed25519(&self, name: &str, public: Option<&PublicKey>) -> Result<Ed25519Signer, KeyError> {
        let path = self.path.join(name);
        let signer = Ed25519Signer::new(&self.secret(&path)?, &path)?;
        if Some(signer.public()) == public { Ok(signer) } else { Err(KeyError::Pair { path }) }
    }

    /// Reads a secret key in PKCS #8 format.
    fn secret(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let text = files::read_secret(path)?;
        files::decode_pem(&text, "PRIVATE KEY")
            .map(Zeroizing::new)
            .ok_or_else(|| KeyError::Malformed { path: path.to_owned(), what: "a private key in PEM" })
    }
}

/// Whether the demo keys are accepted for a spec: only if it is in the `examples` folder next to their `keys` folder.
fn serves_examples(keys: &Path, spec: &Path) -> bool {
    let (Ok(keys), Ok(spec)) = (keys.canonicalize(), spec.canonicalize()) else { return false };
    keys.parent().and_then(Path::parent).is_some_and(|project| spec.starts_with(project.join("examples")))
}

#[cfg(test)]
mod tests;
