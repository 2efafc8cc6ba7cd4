//! The archive keys that the project trusts: OpenPGP certificates from files, each allowed by its fingerprint.
//!
//! A signature is valid if it was made with SHA-256 or a stronger hash by the primary key or a signing subkey of an allowed certificate,
//! while that key was valid. A subkey is valid if its binding signature and its back-signature verify. A revoked certificate is never
//! valid. User ids and signatures of third parties are not evaluated: trust comes from the fingerprint in the selection file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Tag, VerifyingKey};
use thiserror::Error;

use super::date::Moment;

/// The maximum time by which a signature may be ahead of the host's clock.
const CLOCK_SLACK: Duration = Duration::from_secs(24 * 3600);

/// The primary fingerprint of a certificate: 40 or 64 hex digits, upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain: String = text.split_whitespace().collect();
        let digits = plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits && matches!(plain.len(), 40 | 64) {
            Ok(Self(plain.to_ascii_uppercase()))
        } else {
            Err(format!("{text:?} is not an OpenPGP fingerprint (40 or 64 hex digits)"))
        }
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A keyring that cannot be used.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// A file or the folder cannot be read.
    #[error("failed to read the keyring {path}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file contains no certificate.
    #[error("{path} contains no OpenPGP certificate")]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<pgp::errors::Error>,
    },
}

/// No signature is valid.
#[derive(Debug, Error)]
pub enum SignatureError {
    /// The text is not cleartext-signed.
    #[error("the text has no OpenPGP cleartext signature")]
    NotSigned(#[source] Box<pgp::errors::Error>),
    /// No signature by an allowed key verifies.
    #[error("none of the {count} signatures is a valid signature by an allowed key ({allowed}): {reasons}")]
    None {
        /// The number of signatures.
        count: usize,
        /// The allowed fingerprints.
        allowed: String,
        /// The reason for each signature.
        reasons: String,
    },
}

/// The certificates of all keyring files.
#[derive(Debug, Default)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Reads every `*.asc` and `*.gpg` file of a folder.
    pub fn read(folder: &Path) -> Result<Self, KeyringError> {
        let read = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyringError::Read { path, source }
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(read(folder))? {
            let path = entry.map_err(read(folder))?.path();
            if path.extension().is_some_and(|extension| extension == "asc" || extension == "gpg") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut keyring = Self::default();
        for path in paths {
            let bytes = std::fs::read(&path).map_err(read(&path))?;
            let parsed = keyring.add(&bytes);
            parsed.map_err(|source| KeyringError::Parse { path, source: Box::new(source) })?;
        }
        Ok(keyring)
    }

    /// Adds the certificates of one file, armoured or binary.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), pgp::errors::Error> {
        let (certificates, _) = SignedPublicKey::from_reader_many(bytes)?;
        for certificate in certificates {
            self.certificates.push(certificate?);
        }
        Ok(())
    }

    /// Verifies a cleartext-signed text. Returns the signed text with `\n` line ends and the primary fingerprint of the signer.
    pub fn verify(
        &self,
        signed: &str,
        allowed: &[Fingerprint],
        now: Moment,
    ) -> Result<(String, Fingerprint), SignatureError> {
        let (message, _) = CleartextSignedMessage::from_string(signed)
            .map_err(|source| SignatureError::NotSigned(Box::new(source)))?;
        let text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, text.as_bytes(), allowed, now) {
                Ok(signer) => return Ok((text.replace("\r\n", "\n"), signer)),
                Err(reason) => reasons.push(reason),
            }
        }
        let allowed: Vec<_> = allowed.iter().map(|fingerprint| fingerprint.0.as_str()).collect();
        Err(SignatureError::None {
            count: message.signatures().len(),
            allowed: allowed.join(", "),
            reasons: reasons.join("; "),
        })
    }

    fn check(
        &self,
        signature: &Signature,
        text: &[u8],
        allowed: &[Fingerprint],
        now: Moment,
    ) -> Result<Fingerprint, String> {
        let issuers: Vec<_> =
            signature.issuer_key_id().into_iter().map(|id| id.to_string().to_ascii_uppercase()).collect();
        let issuer = issuers.first().map_or("an unnamed key", String::as_str);
        let strong = matches!(
            signature.hash_alg(),
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        );
        if !strong || !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
            return Err(format!("the signature by {issuer} has an unsupported type or a weak hash"));
        }
        let made: SystemTime = signature
            .created()
            .ok_or_else(|| format!("the signature by {issuer} has no creation time"))?
            .into();
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(now.unix());
        if made > clock + CLOCK_SLACK {
            return Err(format!("the signature by {issuer} is later than this host's clock"));
        }
        if let Some(lifetime) = signature.signature_expiration_time().map(Duration::from)
            && !lifetime.is_zero()
            && made + lifetime < clock
        {
            return Err(format!("the signature by {issuer} has expired"));
        }
        let mut reason =
            format!("the signature by {issuer} was made by a key that is not allowed for the suite");
        for certificate in &self.certificates {
            let fingerprint = Fingerprint(certificate.fingerprint().to_string().to_ascii_uppercase());
            if !allowed.contains(&fingerprint) {
                continue;
            }
            let by_subkey =
                certificate.public_subkeys.iter().find(|subkey| signature.verify(&subkey.key, text).is_ok());
            let usable = match by_subkey {
                Some(subkey) => is_usable_subkey(certificate, subkey, made),
                None if signature.verify(certificate, text).is_ok() => is_usable(certificate, made),
                None => continue,
            };
            match usable {
                Ok(()) => return Ok(fingerprint),
                Err(why) => reason = format!("the signature by {issuer} was made by a key that {why}"),
            }
        }
        if issuers.iter().any(|issuer| self.has_key(issuer, allowed)) {
            reason = format!("the signature by {issuer} does not match the text");
        }
        Err(reason)
    }

    /// Whether an issuer id names a key of an allowed certificate. Then the text was changed; otherwise an unknown key signed it.
    fn has_key(&self, issuer: &str, allowed: &[Fingerprint]) -> bool {
        let certificates = self.certificates.iter().filter(|certificate| {
            allowed
                .iter()
                .any(|fingerprint| fingerprint.0.eq_ignore_ascii_case(&certificate.fingerprint().to_string()))
        });
        certificates
            .flat_map(|certificate| {
                let subkeys = certificate.public_subkeys.iter().map(|subkey| subkey.key.legacy_key_id());
                subkeys.chain([certificate.legacy_key_id()])
            })
            .any(|id| id.to_string().eq_ignore_ascii_case(issuer))
    }
}

/// Checks that the primary key was valid at a time.
fn is_usable(certificate: &SignedPublicKey, at: SystemTime) -> Result<(), &'static str> {
    let key = &certificate.primary_key;
    if certificate.details.revocation_signatures.iter().any(|revocation| revocation.verify_key(key).is_ok()) {
        return Err("was revoked");
    }
    let on_users = certificate.details.users.iter().flat_map(|user| {
        let verified =
            |signature: &&Signature| signature.verify_certification(key, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(verified)
    });
    let direct =
        certificate.details.direct_signatures.iter().filter(|signature| signature.verify_key(key).is_ok());
    let newest = on_users.chain(direct).max_by_key(|signature| signature.created());
    let newest = newest.ok_or("has no self-signature")?;
    within_lifetime(key.created_at().into(), newest, at)
}

/// Checks that a subkey was bound for signing and valid at a time.
fn is_usable_subkey(
    certificate: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    at: SystemTime,
) -> Result<(), &'static str> {
    is_usable(certificate, at)?;
    let primary = &certificate.primary_key;
    let is_verified = |signature: &&Signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok();
    let revoked = |signature: &Signature| signature.typ() == Some(SignatureType::SubkeyRevocation);
    if subkey.signatures.iter().any(|signature| revoked(signature) && is_bound_by(primary, subkey, signature))
    {
        return Err("was revoked");
    }
    let bindings = subkey.signatures.iter().filter(|signature| !revoked(signature)).filter(is_verified);
    let newest =
        bindings.max_by_key(|signature| signature.created()).ok_or("is not bound to its certificate")?;
    let back = newest.embedded_signature().filter(|_| newest.key_flags().sign());
    let back = back.ok_or("is not bound for signing")?;
    back.verify_primary_key_binding(&subkey.key, primary).map_err(|_| "has no valid back-signature")?;
    within_lifetime(subkey.key.created_at().into(), newest, at)
}

fn is_bound_by<K: VerifyingKey + Serialize>(
    primary: &K,
    subkey: &SignedPublicSubKey,
    signature: &Signature,
) -> bool {
    signature.verify_subkey_binding(primary, &subkey.key).is_ok()
}

fn within_lifetime(created: SystemTime, newest: &Signature, at: SystemTime) -> Result<(), &'static str> {
    let lifetime = newest.key_expiration_time().map(Duration::from).filter(|lifetime| !lifetime.is_zero());
    if at < created {
        return Err("did not exist yet");
    }
    if lifetime.is_some_and(|lifetime| at >= created + lifetime) {
        return Err("had expired");
    }
    Ok(())
}
