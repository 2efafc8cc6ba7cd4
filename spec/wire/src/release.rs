//! The release of kubedOS as a comparable value: Semantic Versioning 2.0, so `1.10.0` is above `1.9.0`, and
//! `1.0.0-rc.1` below `1.0.0`. Build metadata (`+…`) has no precedence in that order and is refused, so that equal
//! releases have the same text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// Maximum length of the text of a release, in bytes.
const MAX_LEN: usize = 64;

/// The text is not a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a release MAJOR.MINOR.PATCH with an optional -pre-release")]
pub struct ParseReleaseError;

/// A release of kubedOS, ordered by precedence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(semver::Version);

impl Release {
    /// The release of this program: all crates of the workspace have the same version.
    pub fn this() -> Self {
        static THIS: LazyLock<Release> = LazyLock::new(|| {
            #[expect(
                clippy::expect_used,
                reason = "a constant of the build; every test of this module reads it"
            )]
            env!("CARGO_PKG_VERSION").parse().expect("the workspace's version is a release")
        });
        THIS.clone()
    }

    /// The release `major.minor.patch`.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }
}

impl FromStr for Release {
    type Err = ParseReleaseError;

    fn from_str(text: &str) -> Result<Self, ParseReleaseError> {
        let version = semver::Version::parse(text).map_err(|_| ParseReleaseError)?;
        if text.len() > MAX_LEN || !version.build.is_empty() {
            return Err(ParseReleaseError);
        }
        Ok(Self(version))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        text.parse().unwrap()
    }

    #[test]
    fn releases_are_ordered_by_precedence_and_not_as_text() {
        let ascending = ["0.1.0", "0.2.0-rc.1", "0.2.0-rc.2", "0.2.0-rc.10", "0.2.0", "0.10.0", "1.0.0"];
        for pair in ascending.windows(2) {
            assert!(release(pair[0]) < release(pair[1]), "{pair:?}");
        }
        assert_eq!(Release::new(0, 1, 0), release("0.1.0"));
    }

    #[test]
    fn the_release_of_this_program_is_the_version_of_the_workspace() {
        assert_eq!(Release::this().to_string(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_release_has_exactly_one_text() {
        assert_eq!(release("1.2.3-rc.1").to_string(), "1.2.3-rc.1");
        let long = format!("1.2.3-{}", "a".repeat(59));
        for bad in [
            "",
            "1.2",
            "v1.2.3",
            "01.2.3",
            "1.2.3+1",
            "1.2.3 ",
            "../1.2.3",
            "99999999999999999999.0.0",
            &long,
        ] {
            assert_eq!(bad.parse::<Release>(), Err(ParseReleaseError), "{bad}");
        }
    }
}
