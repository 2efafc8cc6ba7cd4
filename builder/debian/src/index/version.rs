//! Debian versions, `[epoch:]upstream[-revision]`, with the order of deb-version(7).
//!
//! Upstream and revision are compared in alternating runs: first a run of non-digits, in which `~` sorts before the end and letters sort
//! before all other characters; then a run of digits, by value.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A version with its original text.
#[derive(Debug, Clone)]
pub struct Version {
    text: Box<str>,
    epoch: u32,
    upstream: (usize, usize),
    revision: (usize, usize),
}

/// A text that is not a Debian version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a Debian version: {why}")]
pub struct BadVersion {
    text: String,
    why: &'static str,
}

impl Version {
    /// The original text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn upstream(&self) -> &str {
        self.text.get(self.upstream.0..self.upstream.1).unwrap_or_default()
    }

    fn revision(&self) -> &str {
        self.text.get(self.revision.0..self.revision.1).unwrap_or_default()
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let refused = |why| BadVersion { text: text.to_owned(), why };
        let (epoch, start) = match text.split_once(':') {
            None => (0, 0),
            Some((digits, _)) => {
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(refused("the epoch is not a number"));
                }
                let epoch = digits.parse().ok().filter(|epoch| *epoch <= i32::MAX as u32);
                (epoch.ok_or_else(|| refused("the epoch is too large"))?, digits.len() + 1)
            }
        };
        let end = text.len();
        let dash = text.rfind('-').filter(|dash| *dash >= start);
        let (upstream, revision) = match dash {
            Some(dash) => ((start, dash), (dash + 1, end)),
            None => ((start, end), (end, end)),
        };
        let version = Self { text: text.into(), epoch, upstream, revision };
        if !version.upstream().starts_with(|first: char| first.is_ascii_digit()) {
            return Err(refused("the upstream part does not begin with a digit"));
        }
        if !version.upstream().bytes().all(|byte| is_allowed(byte) || matches!(byte, b'-' | b':')) {
            return Err(refused("the upstream part contains a character that is not permitted"));
        }
        if dash.is_some() && version.revision().is_empty() {
            return Err(refused("the revision is empty"));
        }
        if !version.revision().bytes().all(is_allowed) {
            return Err(refused("the revision contains a character that is not permitted"));
        }
        Ok(version)
    }
}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'~')
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream(), other.upstream()))
            .then_with(|| compare(self.revision(), other.revision()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares by the order of versions: `1.0` equals `0:1.00`.
impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    while !(left.is_empty() && right.is_empty()) {
        let (left_words, left_rest) = split_run(left, |byte| !byte.is_ascii_digit());
        let (right_words, right_rest) = split_run(right, |byte| !byte.is_ascii_digit());
        let words = compare_words(left_words, right_words);
        if words != Ordering::Equal {
            return words;
        }
        let (left_digits, left_rest) = split_run(left_rest, |byte| byte.is_ascii_digit());
        let (right_digits, right_rest) = split_run(right_rest, |byte| byte.is_ascii_digit());
        let (left_digits, right_digits) =
            (left_digits.trim_start_matches('0'), right_digits.trim_start_matches('0'));
        let digits = left_digits.len().cmp(&right_digits.len()).then_with(|| left_digits.cmp(right_digits));
        if digits != Ordering::Equal {
            return digits;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split_run(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len()))
}

/// Compares runs of non-digits: `~` sorts before the end, the end before letters, and letters before all other characters.
fn compare_words(left: &str, right: &str) -> Ordering {
    const fn weight(byte: u8) -> i32 {
        match byte {
            b'~' => -1,
            byte if byte.is_ascii_alphabetic() => byte as i32,
            byte => byte as i32 + 256,
        }
    }
    let (mut left, mut right) = (left.bytes(), right.bytes());
    loop {
        let (one, other) = (left.next(), right.next());
        if one.is_none() && other.is_none() {
            return Ordering::Equal;
        }
        let order = one.map_or(0, weight).cmp(&other.map_or(0, weight));
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    /// deb-version(7) and Debian policy §5.6.12, with the sorting example of the policy (`~~`, `~~a`, `~`, empty, `a`).
    #[test]
    fn the_documented_order_holds() {
        let ascending = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "0.1",
            "1.0~beta1~svc1",
            "1.0~beta1",
            "1.0~rc1",
            "1.0",
            "1.0-0.1",
            "1.0-1~deb13u1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0a1",
            "1.0a10",
            "1.0b",
            "1.0+git1",
            "1.0.1",
            "1.2",
            "1.10",
            "1.10.0",
            "2-1",
            "257.13-1~deb13u1",
            "257.13-1",
            "1:0",
            "1:0.9-1",
            "2:0",
        ];
        for (at, low) in ascending.iter().enumerate() {
            for high in ascending.iter().skip(at + 1) {
                assert!(version(low) < version(high), "{low} is not below {high}");
                assert!(version(high) > version(low), "{high} is not above {low}");
            }
        }
    }

    #[test]
    fn equal_versions_may_have_different_texts() {
        for (one, other) in
            [("1.0", "0:1.0"), ("1.0", "1.00"), ("1.0-0", "1.0"), ("1.2.03", "1.2.3"), ("1-0", "1")]
        {
            assert_eq!(version(one), version(other), "{one} {other}");
        }
        assert_eq!(version("0:1.00-1").to_string(), "0:1.00-1", "a version prints its original text");
    }

    #[test]
    fn malformed_versions_are_refused() {
        for bad in [
            "",
            "a1",
            ":1",
            "1:",
            "-1",
            "1-",
            "x:1",
            "1 2",
            "1_2",
            "1/2",
            "99999999999:1",
            "1-a:b",
            "é1",
            "1-é",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad:?} was accepted");
        }
    }

    const ANY: &str = "([0-9]:)?[0-9][0-9a-c.+~-]{0,6}[0-9a]";

    proptest! {
        #[test]
        fn the_order_is_total(a in ANY, b in ANY, c in ANY) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            if a <= b && b <= c { prop_assert!(a <= c); }
        }

        #[test]
        fn a_tilde_sorts_before_and_a_suffix_after(a in "[0-9][0-9a-c.]{0,6}[0-9a]", suffix in "[a-z.+][0-9a-z]{0,3}") {
            let tilde = version(&format!("{a}~{suffix}"));
            let longer = version(&format!("{a}{suffix}"));
            prop_assert!(tilde < version(&a));
            prop_assert!(version(&a) < longer);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "(?s).{0,40}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.as_str(), text);
            }
        }
    }
}
