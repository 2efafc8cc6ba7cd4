//! `InRelease`: the signed list of an archive's indices. Verified in-process, by the keys that the project names.
//!
//! Only the text that the signature covers is read. The suite must be the one that was asked for, so that one archive's file
//! cannot stand in for another's; a date before the one that the lock remembers, and a passed `Valid-Until`, are refused.

pub mod date;
pub mod keyring;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::control::{ControlError, Paragraph};
use crate::digest::Sha256;
use crate::mirror::Archive;
use date::{BadDate, Moment};
use keyring::{Fingerprint, Keyring, SignatureError};

/// Why an `InRelease` is refused.
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
    /// The signed text cannot be read.
    #[error("the signed index of {suite} is malformed")]
    Control {
        /// The code name of the suite.
        suite: String,
        /// The cause.
        #[source]
        source: ControlError,
    },
    /// A date cannot be read.
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
    /// A field or line is missing or unreadable.
    #[error("the signed index of {suite} has no usable {field}")]
    Field {
        /// The code name of the suite.
        suite: String,
        /// The field's name.
        field: &'static str,
    },
    /// It is another suite's.
    #[error("the mirror's index of {wanted} is that of {got}")]
    OtherSuite {
        /// What was asked for.
        wanted: String,
        /// What it says of itself.
        got: String,
    },
    /// It is of another archive.
    #[error(
        "the signed index of {suite} is not one of {archive}: its Origin is {origin:?} and its Label {label:?}"
    )]
    OtherArchive {
        /// The code name of the suite.
        suite: String,
        /// The archive that was asked for.
        archive: Archive,
        /// Its `Origin`.
        origin: String,
        /// Its `Label`.
        label: String,
    },
    /// It has expired.
    #[error("the signed index of {suite} was valid until {until}; it is {now} now")]
    Expired {
        /// The code name of the suite.
        suite: String,
        /// Its `Valid-Until`.
        until: Moment,
        /// The host's clock.
        now: Moment,
    },
    /// It is older than the one that the lock was made from.
    #[error("the signed index of {suite} is of {date}, older than {known} of the lock")]
    Older {
        /// The code name of the suite.
        suite: String,
        /// Its date.
        date: Moment,
        /// The lock's date.
        known: Moment,
    },
}

/// A verified `InRelease`.
#[derive(Debug, Clone)]
pub struct Release {
    /// The code name, such as `trixie-security`.
    pub suite: String,
    /// Whose archive it is, such as `Debian`; empty without the field.
    pub origin: String,
    /// Which of its archives, such as `Debian-Security`; empty without the field.
    pub label: String,
    /// When it was made.
    pub date: Moment,
    /// Until when it holds; stable has none.
    pub valid_until: Option<Moment>,
    /// The primary fingerprint of who signed it.
    pub signer: Fingerprint,
    /// The file as it was fetched.
    pub text: String,
    /// Digest of that file.
    pub sha256: Sha256,
    /// Every index by its path below `dists/<suite>/`: digest and size.
    pub indices: BTreeMap<String, (Sha256, u64)>,
}

/// What a signed text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Whose archive it is, such as `Debian`; empty without the field.
    pub origin: String,
    /// Which of its archives, such as `Debian-Security`; empty without the field.
    pub label: String,
    /// When it was made.
    pub date: Moment,
    /// Until when it holds; stable has none.
    pub valid_until: Option<Moment>,
    /// Every index by its path below `dists/<suite>/`: digest and size.
    pub indices: BTreeMap<String, (Sha256, u64)>,
}

impl Contents {
    /// Reads the text that the signature covers; it must be that of `suite`.
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
    /// Checks the signature, then reads what it covers.
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

    /// Refuses an index that does not name Debian's archive of that kind.
    pub fn check_archive(&self, archive: Archive) -> Result<(), ReleaseError> {
        if archive.is_named_by(&self.origin, &self.label) {
            return Ok(());
        }
        let (suite, origin, label) = (self.suite.clone(), self.origin.clone(), self.label.clone());
        Err(ReleaseError::OtherArchive { suite, archive, origin, label })
    }

    /// Refuses an index whose `Valid-Until` has passed.
    pub fn check_validity(&self, now: Moment) -> Result<(), ReleaseError> {
        match self.valid_until {
            Some(until) if until < now => {
                Err(ReleaseError::Expired { suite: self.suite.clone(), until, now })
            }
            _ => Ok(()),
        }
    }

    /// Refuses an index that is older than one that was seen before: a mirror cannot take updates back.
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
