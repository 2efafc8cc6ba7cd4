//! What enrols our keys in firmware: signature lists (`.esl`) and authenticated variables (`.auth`) for PK, KEK and db.
//!
//! A list holds certificates; an authenticated variable is a list with a time stamp and the signature of the key above: PK signs PK and
//! KEK, KEK signs db. The same `.auth` files serve systemd-boot's self-enrolment (`loader/keys/auto/`) and firmware menus.

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
    /// Platform key: who owns the machine.
    Pk,
    /// Key exchange keys: who may change `db`.
    Kek,
    /// Signature database: what may run.
    Db,
    /// Forbidden signatures: what may not.
    Dbx,
}

impl Variable {
    /// Its name, also the stem of its files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Dbx => "dbx",
        }
    }

    /// The GUID that its name belongs to.
    pub const fn vendor(self) -> Guid {
        match self {
            Self::Pk | Self::Kek => format::GLOBAL_VARIABLE,
            Self::Db | Self::Dbx => format::IMAGE_SECURITY_DATABASE,
        }
    }
}

/// `EFI_TIME` in UTC, without nanoseconds: firmware takes a new value only with a later one.
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
    /// From seconds since 1970-01-01T00:00:00Z; years 1998 to 9999, outside of which `EFI_TIME` is not defined.
    pub fn from_unix(seconds: u64) -> Option<Self> {
        let moment = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let year = u16::try_from(year).ok().filter(|year| (1998..=9999).contains(year))?;
        Some(Self { year, month: u8::from(month), day, hour, minute, second })
    }

    /// As `EFI_TIME` lies in memory: nanoseconds, time zone and daylight saving are zero, as authenticated variables demand.
    pub fn to_bytes(self) -> [u8; format::TIME_LENGTH] {
        let [low, high] = self.year.to_le_bytes();
        [low, high, self.month, self.day, self.hour, self.minute, self.second, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }
}

/// Why a list, a variable or a variable store was refused.
#[derive(Debug, thiserror::Error)]
pub enum EfiSignatureError {
    /// Sizes that contradict each other or the file.
    #[error("malformed {what}: {rule}")]
    Malformed {
        /// The object.
        what: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// More than 32-bit sizes can say, or than the store holds.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The signature.
    #[error("the signature is refused")]
    Signature(#[from] Pkcs7Error),
    /// The signer failed.
    #[error("failed to sign")]
    Signer(#[from] SignerError),
}

#[cfg(test)]
mod tests;
