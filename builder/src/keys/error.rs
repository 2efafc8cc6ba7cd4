//! The errors of keys. No message contains a byte of a secret.

use std::io;
use std::path::PathBuf;

use kubedos_image::efi_signatures::EfiSignatureError;
use kubedos_image::pkcs7::Pkcs7Error;

/// The errors of generating, reading and using keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or folder cannot be read or written.
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
    /// The group or others can read a secret.
    #[error("{} contains secrets and its mode is {mode:03o}: group and others must not have access", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// The permission bits.
        mode: u32,
    },
    /// The index is not TOML or has another version.
    #[error("{} is not a key index", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: toml::de::Error,
    },
    /// A value in the index breaks a rule.
    #[error("{}: {rule}", path.display())]
    Rule {
        /// The file.
        path: PathBuf,
        /// The broken rule.
        rule: &'static str,
    },
    /// A key or certificate file has invalid content.
    #[error("{} is not {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The expected content.
        what: &'static str,
    },
    /// A certificate cannot be used for Secure Boot.
    #[error("{} is not a certificate for Secure Boot", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Pkcs7Error,
    },
    /// The public half lists no certificate for signing programs.
    #[error("{} lists no db certificate for Secure Boot", path.display())]
    NoCertificate {
        /// The index.
        path: PathBuf,
    },
    /// The index cannot be encoded as TOML.
    #[error("failed to encode {name}")]
    Encode {
        /// The file.
        name: String,
        /// The cause.
        #[source]
        source: toml::ser::Error,
    },
    /// A secret key does not belong to the public half.
    #[error("the secret key {} does not match the newest public key of its kind in public/keys.toml", path.display())]
    Pair {
        /// The secret key.
        path: PathBuf,
    },
    /// The demo keys are published, so they do not protect anything.
    #[error("the demo keys are published and accepted for the examples only, not for {}", spec.display())]
    DemoKeys {
        /// The spec.
        spec: PathBuf,
    },
    /// Published demo keys whose index does not set `demo`.
    #[error("{} contains published demo keys, but the key index does not declare them as demo keys", path.display())]
    HiddenDemo {
        /// The index.
        path: PathBuf,
    },
    /// The keys belong to a different cluster.
    #[error("{} contains the keys of cluster {found}, not of {wanted}", path.display())]
    OtherCluster {
        /// The key directory.
        path: PathBuf,
        /// The cluster of the keys.
        found: String,
        /// The requested cluster.
        wanted: String,
    },
    /// The key directory already exists.
    #[error("{} exists: keys are never overwritten", path.display())]
    Exists {
        /// The key directory.
        path: PathBuf,
    },
    /// The root CA's key is needed but not available.
    #[error("the root CA's key {} is missing, but it must sign a new intermediate", path.display())]
    NoRoot {
        /// The expected path.
        path: PathBuf,
    },
    /// The clock is outside the range of `EFI_TIME`.
    #[error(
        "the clock is {0} s after 1970, but the time of a Secure Boot variable must be in the years 1998 to 9999"
    )]
    Clock(u64),
    /// The generator of random numbers or keys failed.
    #[error("failed to generate a {0} key")]
    Generate(&'static str),
    /// A certificate cannot be created.
    #[error("failed to create a certificate")]
    Issue(#[from] rcgen::Error),
    /// The files that enrol the Secure Boot keys cannot be created.
    #[error("failed to create the enrolment of the Secure Boot keys")]
    Enrolment(#[from] EfiSignatureError),
}
