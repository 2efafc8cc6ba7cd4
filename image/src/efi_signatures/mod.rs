//! The data that enrols the keys of a cluster in firmware: signature lists (`.esl`) and authenticated variables (`.auth`) for PK, KEK and
//! db.
//!
//! A list contains certificates. An authenticated variable is a list with a time stamp and the signature of the key one level above: PK
//! signs PK and KEK, KEK signs db. The same `.auth` files work for the self-enrolment of systemd-boot (`loader/keys/auto/`) and in
//! firmware menus.

pub mod format;
mod reader;
pub mod varstore;
mod writer;

pub use reader::{AuthenticatedVariable, certificates};
pub use writer::{authenticated, message, signature_list};

use crate::guid::Guid;
use crate::pkcs7::{Pkcs7Error, SignerError};

/// A variable of the Secure Boot key hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    /// Platform key: the key of the owner of the machine.
    Pk,
    /// Key exchange keys: the keys that may change `db`.
    Kek,
    /// Signature database: the keys and digests of programs that may run.
    Db,
    /// Forbidden signatures: the keys and digests of programs that must not run.
    Dbx,
}

impl Variable {
    /// The name of the variable, which is also the stem of its files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
        }
    }

    /// The vendor GUID, which is the namespace of the name.
    pub const fn vendor(self) -> Guid {
        match self {
            Self::Pk | Self::Kek => format::GLOBAL_VARIABLE,
            Self::Db | Self::Dbx => format::IMAGE_SECURITY_DATABASE,
        }
    }
}

/// `EFI_TIME` in UTC, without nanoseconds. Firmware accepts a new value only with a later time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Timestamp {
    /// Converts seconds since 1970-01-01T00:00:00Z. `None` outside the years 1998 to 9999, for which `EFI_TIME` is defined.
    pub fn from_unix(seconds: u64) -> Option<Self> {
        let moment = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let year = u16::try_from(year).ok().filter(|year| (1998..=9999).contains(year))?;
        Some(Self { year, month: u8::from(month), day, hour, minute, second })
    }

    /// The bytes of an `EFI_TIME`. Nanoseconds, time zone and daylight saving are zero, as authenticated variables require.
    pub fn to_bytes(self) -> [u8; format::TIME_LENGTH] {
        let [low, high] = self.year.to_le_bytes();
        [low, high, self.month, self.day, self.hour, self.minute, self.second, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

/// A list, a variable or a variable store cannot be written, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum EfiSignatureError {
    /// The object contradicts itself or the file.
    #[error("malformed {what}: {rule}")]
    Malformed {
        /// The object.
        what: &'static str,
        /// The cause.
        rule: &'static str,
    },
    /// The object does not fit into 32-bit sizes, or into the store.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The signature is malformed, or not made by a trusted certificate.
    #[error("the signature is refused")]
    Signature(#[from] Pkcs7Error),
    /// The signer failed.
    #[error("failed to sign")]
    Signer(#[from] SignerError),
}

#[cfg(test)]
mod tests;
