//! Why keys were refused. No message holds a byte of a secret.

use std::io;
use std::path::PathBuf;

use kubedos_image::efi_signatures::EfiSignatureError;
use kubedos_image::pkcs7::Pkcs7Error;

/// Why keys could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or folder could not be read or written.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// Its object.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others may read a secret.
    #[error("{} holds secrets and its mode is {mode:03o}: group and others may not have access", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An index is not TOML, or not of this version.
    #[error("{} is not an index of keys", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: toml::de::Error,
    },
    /// An index says something that cannot be.
    #[error("{}: {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A key or certificate file has other content.
    #[error("{} is not {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// A certificate was refused.
    #[error("{} is not a certificate for Secure Boot", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Pkcs7Error,
    },
    /// The public half names no certificate that programs are signed with.
    #[error("{} names no db certificate for Secure Boot", path.display())]
    NoCertificate {
        /// The index.
        path: PathBuf,
    },
    /// An index cannot be written as TOML.
    #[error("failed to encode {name}")]
    Encode {
        /// The file.
        name: String,
        /// The cause.
        #[source]
        source: toml::ser::Error,
    },
    /// A secret key is not the one that the public half names.
    #[error("{} is not the newest key of that kind in the public half", path.display())]
    Pair {
        /// The secret key.
        path: PathBuf,
    },
    /// The demo keys are published: they protect nothing.
    #[error("the demo keys are public knowledge and serve the examples only, not {}", spec.display())]
    DemoKeys {
        /// The spec.
        spec: PathBuf,
    },
    /// The published demo keys under another name.
    #[error("{} holds the published demo keys without saying so", path.display())]
    HiddenDemo {
        /// The index.
        path: PathBuf,
    },
    /// The keys are of another cluster.
    #[error("{} holds the keys of cluster {found}, not of {wanted}", path.display())]
    OtherCluster {
        /// The key directory.
        path: PathBuf,
        /// Whose keys they are.
        found: String,
        /// Whose were asked for.
        wanted: String,
    },
    /// There are keys already.
    #[error("{} exists: keys are never overwritten", path.display())]
    Exists {
        /// The key directory.
        path: PathBuf,
    },
    /// The offline root is needed and is not here.
    #[error("the root CA's key {} is not here, and a new intermediate needs its signature", path.display())]
    NoRoot {
        /// Where it would be.
        path: PathBuf,
    },
    /// The generator of random numbers or of keys failed.
    #[error("failed to generate a {0} key")]
    Generate(&'static str),
    /// A certificate could not be made.
    #[error("failed to make a certificate")]
    Issue(#[from] rcgen::Error),
    /// The files that enrol the Secure Boot keys could not be made.
    #[error("failed to make the enrolment of the Secure Boot keys")]
    Enrolment(#[from] EfiSignatureError),
}
