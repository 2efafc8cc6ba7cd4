//! Times in UTC with a resolution of one second. Parses the form of `Release` files (RFC 5322) and of locks (RFC 3339), and prints the
//! latter.
//!
//! Only UTC is accepted, with years from 1970 to 9999 and without leap seconds. The day of the week is ignored.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A time in seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

/// A text that is not a time in one of the two forms.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a date in UTC")]
pub struct BadDate(String);

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

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

    fn from_parts(year: u64, month: u64, day: u64, time: &str) -> Option<Self> {
        let mut parts = time.split(':').map(|part| part.parse::<u64>().ok().filter(|_| part.len() == 2));
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let last = *days.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
        let valid = (1970..=9999).contains(&year)
            && (1..=last).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        (valid && parts.next().is_none())
            .then(|| Self(days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second))
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The calculation starts years in March, so that the leap day is the last day.
const fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = if month <= 2 { month + 9 } else { month - 3 };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1;
    days - 719_468
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, time) = (self.0 / 86_400, self.0 % 86_400);
        // 400 years have 146,097 days. The estimate is never too high, and at most two years too low.
        let mut year = 1969 + days * 400 / 146_097;
        while days_before(year + 1, 1, 1) <= days {
            year += 1;
        }
        let mut month = 1;
        while month < 12 && days_before(year, month + 1, 1) <= days {
            month += 1;
        }
        let day = days - days_before(year, month, 1) + 1;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3_600, time / 60 % 60, time % 60)
    }
}

impl FromStr for Moment {
    type Err = BadDate;

    fn from_str(text: &str) -> Result<Self, BadDate> {
        let short = || -> Option<Self> {
            let words: Vec<_> = text.split_ascii_whitespace().collect();
            let [_, day, month, year, time, zone] = words.as_slice() else { return None };
            matches!(*zone, "UTC" | "GMT" | "+0000").then_some(())?;
            let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
            Self::from_parts(year.parse().ok()?, month, day.parse().ok()?, time)
        };
        let long = || -> Option<Self> {
            let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
            let parts: Vec<_> = date.split('-').collect();
            let [year, month, day] = parts.as_slice() else { return None };
            Self::from_parts(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?, time)
        };
        long().or_else(short).ok_or_else(|| BadDate(text.to_owned()))
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
