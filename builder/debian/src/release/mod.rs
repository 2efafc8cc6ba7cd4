//! `InRelease`, the signed list of a suite's indices. It is verified in-process with the keys that the project names.
//!
//! Only the text that the signature covers is parsed. The suite must be the requested one, so that the file of one suite cannot
//! replace the file of a different suite. A date before the date in the lock, or a `Valid-Until` in the past, is an error.

pub mod date;
pub mod keyring;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::control::{ControlError, Paragraph};
use crate::digest::Sha256;
use crate::mirror::Archive;
use date::{BadDate, Moment};
use keyring::{Fingerprint, Keyring, SignatureError};

/// An `InRelease` that is refused.
#[derive(Debug, Error)]
pub enum ReleaseError {
    /// The signature does not verify.
    #[error("the signature of the index of {suite} does not verify")]
    Signature {
        /// The code name of the suite.
        suite: String,
        /// The cause.
        #[source]
        source: SignatureError,
    },
    /// The signed text cannot be parsed.
    #[error("the signed index of {suite} is malformed")]
    Control {
        /// The code name of the suite.
        suite: String,
        /// The cause.
        #[source]
        source: ControlError,
    },
    /// A date cannot be parsed.
    #[error("the signed index of {suite} has a malformed {field}")]
    Date {
        /// The code name of the suite.
        suite: String,
        /// The field's name.
        field: &'static str,
        /// The cause.
        #[source]
        source: BadDate,
    },
    /// A field is missing or cannot be parsed.
    #[error("the signed index of {suite} has no usable {field}")]
    Field {
        /// The code name of the suite.
        suite: String,
        /// The field's name.
        field: &'static str,
    },
    /// The index is for a different suite.
    #[error("the mirror's index of {wanted} has the Codename {got}")]
    OtherSuite {
        /// The requested suite.
        wanted: String,
        /// The `Codename` of the index.
        got: String,
    },
    /// The index is from another archive.
    #[error(
        "the signed index of {suite} is not from the archive {archive}: its Origin is {origin:?} and its Label is {label:?}"
    )]
    OtherArchive {
        /// The code name of the suite.
        suite: String,
        /// The requested archive.
        archive: Archive,
        /// The `Origin` of the index.
        origin: String,
        /// The `Label` of the index.
        label: String,
    },
    /// The index has expired.
    #[error("the signed index of {suite} was valid until {until}, and the clock of this host is at {now}")]
    Expired {
        /// The code name of the suite.
        suite: String,
        /// The `Valid-Until` of the index.
        until: Moment,
        /// The host's clock.
        now: Moment,
    },
    /// The index is older than the one in the lock.
    #[error("the signed index of {suite} has the date {date}, which is older than {known} in the lock")]
    Older {
        /// The code name of the suite.
        suite: String,
        /// The date of the index.
        date: Moment,
        /// The date in the lock.
        known: Moment,
    },
}

/// A verified `InRelease`.
#[derive(Debug, Clone)]
pub struct Release {
    /// The code name, such as `trixie-security`.
    pub suite: String,
    /// The `Origin` field, such as `Debian`; empty if absent.
    pub origin: String,
    /// The `Label` field, such as `Debian-Security`; empty if absent.
    pub label: String,
    /// The `Date` field.
    pub date: Moment,
    /// The `Valid-Until` field; stable has none.
    pub valid_until: Option<Moment>,
    /// Primary fingerprint of the key that signed the index.
    pub signer: Fingerprint,
    /// The fetched text.
    pub text: String,
    /// SHA-256 digest of the fetched text.
    pub sha256: Sha256,
    /// Digest and size in bytes of each index, by path below `dists/<suite>/`.
    pub indices: BTreeMap<String, (Sha256, u64)>,
}

/// The fields of a signed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The `Origin` field, such as `Debian`; empty if absent.
    pub origin: String,
    /// The `Label` field, such as `Debian-Security`; empty if absent.
    pub label: String,
    /// The `Date` field.
    pub date: Moment,
    /// The `Valid-Until` field; stable has none.
    pub valid_until: Option<Moment>,
    /// Digest and size in bytes of each index, by path below `dists/<suite>/`.
    pub indices: BTreeMap<String, (Sha256, u64)>,
}

impl Contents {
    /// Parses the text that the signature covers. Its `Codename` must be `suite`.
    pub fn parse(signed: &str, suite: &str) -> Result<Self, ReleaseError> {
        let owned = || suite.to_owned();
        let paragraph = Paragraph::parse_one(signed)
            .map_err(|source| ReleaseError::Control { suite: owned(), source })?;
        let missing = |field| ReleaseError::Field { suite: owned(), field };
        let codename = paragraph.get("Codename").ok_or_else(|| missing("Codename"))?;
        if codename != suite {
            return Err(ReleaseError::OtherSuite { wanted: owned(), got: codename.to_owned() });
        }
        let moment = |field: &'static str| {
            let parsed = paragraph.get(field).map(str::parse::<Moment>).transpose();
            parsed.map_err(|source| ReleaseError::Date { suite: owned(), field, source })
        };
        let date = moment("Date")?.ok_or_else(|| missing("Date"))?;
        let valid_until = moment("Valid-Until")?;
        let mut indices = BTreeMap::new();
        for line in paragraph.get("SHA256").unwrap_or_default().lines().filter(|line| !line.trim().is_empty())
        {
            let (sha256, size, path) = parse_index_line(line).ok_or_else(|| missing("SHA256"))?;
            indices.insert(path, (sha256, size));
        }
        if indices.is_empty() {
            return Err(missing("SHA256"));
        }
        let text = |field| paragraph.get(field).unwrap_or_default().to_owned();
        Ok(Self { origin: text("Origin"), label: text("Label"), date, valid_until, indices })
    }
}

impl Release {
    /// Checks the signature, then parses the text that it covers.
    pub fn verify(
        inrelease: &str,
        suite: &str,
        keyring: &Keyring,
        allowed: &[Fingerprint],
        now: Moment,
    ) -> Result<Self, ReleaseError> {
        let owned = || suite.to_owned();
        let (signed, signer) = keyring
            .verify(inrelease, allowed, now)
            .map_err(|source| ReleaseError::Signature { suite: owned(), source })?;
        let Contents { origin, label, date, valid_until, indices } = Contents::parse(&signed, suite)?;
        let (text, sha256) = (inrelease.to_owned(), Sha256::of(inrelease.as_bytes()));
        Ok(Self { suite: owned(), origin, label, date, valid_until, signer, text, sha256, indices })
    }

    /// Checks that `Origin` and `Label` name this archive of Debian.
    pub fn check_archive(&self, archive: Archive) -> Result<(), ReleaseError> {
        if archive.has_origin_and_label(&self.origin, &self.label) {
            return Ok(());
        }
        let (suite, origin, label) = (self.suite.clone(), self.origin.clone(), self.label.clone());
        Err(ReleaseError::OtherArchive { suite, archive, origin, label })
    }

    /// Checks that `Valid-Until` is not in the past.
    pub fn check_validity(&self, now: Moment) -> Result<(), ReleaseError> {
        match self.valid_until {
            Some(until) if until < now => {
                Err(ReleaseError::Expired { suite: self.suite.clone(), until, now })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the index is not older than a known one, so that a mirror cannot withdraw updates.
    pub fn check_not_before(&self, known: Moment) -> Result<(), ReleaseError> {
        if self.date < known {
            return Err(ReleaseError::Older { suite: self.suite.clone(), date: self.date, known });
        }
        Ok(())
    }
}

fn parse_index_line(line: &str) -> Option<(Sha256, u64, String)> {
    let mut words = line.split_ascii_whitespace();
    let (sha256, size, path) = (words.next()?, words.next()?, words.next()?);
    let rest = words.next();
    (rest.is_none()).then_some(())?;
    Some((sha256.parse().ok()?, size.parse().ok()?, path.to_owned()))
}
