//! Times in UTC with a resolution of one second. Parses the form of `Release` files (RFC 5322) and of locks (RFC 3339), and prints the
//! latter.
//!
//! Only UTC is accepted, with years from 1970 to 9999 and without leap seconds. The day of the week is ignored.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// A time in seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

/// A text that is not a time in one of the two forms.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a date in UTC")]
pub struct BadDate(String);

impl Moment {
    /// Creates a time from seconds since 1970.
    pub const fn from_unix(seconds: u64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn unix(self) -> u64 {
        self.0
    }

    /// The time of the host's clock.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment =
            i64::try_from(self.0).ok().and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
        match moment.and_then(|moment| moment.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            // RFC 3339 has no form for years after 9999.
            None => write!(f, "{} s after 1970", self.0),
        }
    }
}

impl FromStr for Moment {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        // Only UTC. `Release` files write it as a name that RFC 5322 does not have.
        let parsed = match ["UTC", "GMT", "+0000"].iter().find_map(|zone| text.strip_suffix(zone)) {
            Some(date) => OffsetDateTime::parse(&format!("{date}+0000"), &Rfc2822),
            None if text.ends_with('Z') => OffsetDateTime::parse(text, &Rfc3339),
            None => return Err(BadDate(text.to_owned())),
        };
        let seconds = parsed.ok().and_then(|moment| u64::try_from(moment.unix_timestamp()).ok());
        seconds.map(Self).ok_or_else(|| BadDate(text.to_owned()))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_parsed() {
        for (text, unix) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0),
            ("Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741),
            ("Tue, 29 Feb 2000 23:59:59 +0000", 951_868_799),
            ("2026-09-12T07:55:41Z", 1_789_199_741),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().unix(), unix, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "Sat, 12 Sep 2026 07:55:41",
            "Sat, 12 Sep 2026 07:55:41 +0200",
            "Sat, 31 Sep 2026 07:55:41 UTC",
            "Sun, 29 Feb 2026 07:55:41 UTC",
            "Sat, 12 Sep 1969 07:55:41 UTC",
            "Sat, 12 Sep 2026 24:00:00 UTC",
            "2026-9-12",
            "2026-13-12T07:55:41Z",
            "2026-09-12T07:55:41",
            "2026-09-12T7:55:41Z",
        ] {
            assert!(bad.parse::<Moment>().is_err(), "{bad} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_printed_time_parses_to_the_same_time(unix in 0_u64..253_402_300_800) {
            let moment = Moment::from_unix(unix);
            prop_assert_eq!(moment.to_string().parse(), Ok(moment));
        }
    }
}
