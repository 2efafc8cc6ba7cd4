//! Versions. They are always exact: with a range or a wildcard, two builds of one spec could differ (requirement A8).

use super::{checked, text};

fn number(text: &str) -> bool {
    (1..=9).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

fn triple(text: &str) -> bool {
    let mut parts = text.split('.');
    let good = parts.by_ref().take(3).filter(|part| number(part)).count() == 3;
    good && parts.next().is_none()
}

fn identifiers(text: &str) -> bool {
    text.split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

text! {
    /// The version of the artifact, by Semantic Versioning 2.0; part of the names of output files.
    ArtifactVersion, "artifact-version",
    "a version MAJOR.MINOR.PATCH, with an optional -pre-release (Semantic Versioning 2.0), of at most 40 bytes",
    "^(0|[1-9][0-9]{0,8})(\\.(0|[1-9][0-9]{0,8})){2}(-[0-9A-Za-z.-]+)?$", "0.1.0",
    |text| text.len() <= 40 && match text.split_once('-') {
        Some((version, pre)) => triple(version) && identifiers(pre),
        None => triple(text),
    }
}

/// Numeric identifiers must have exactly one spelling, because precedence compares them as numbers.
fn no_leading_zero(text: &str) -> bool {
    text.split('.')
        .all(|part| part == "0" || !part.starts_with('0') || !part.bytes().all(|b| b.is_ascii_digit()))
}

text! {
    /// A release of kubedOS, by Semantic Versioning 2.0.
    ReleaseVersion, "release",
    "a release MAJOR.MINOR.PATCH of kubedOS, with an optional -pre-release (Semantic Versioning 2.0), of at most 40 bytes",
    "^(0|[1-9][0-9]{0,8})(\\.(0|[1-9][0-9]{0,8})){2}(-[0-9A-Za-z.-]+)?$", "0.1.0",
    |text| text.len() <= 40 && match text.split_once('-') {
        Some((version, pre)) => triple(version) && identifiers(pre) && no_leading_zero(pre),
        None => triple(text),
    }
}

text! {
    /// The version of Kubernetes.
    KubernetesVersion, "pinned-version",
    "one exact version vMAJOR.MINOR.PATCH, without a range or a wildcard",
    "^v(0|[1-9][0-9]{0,8})(\\.(0|[1-9][0-9]{0,8})){2}$", "v1.34.2",
    |text| text.strip_prefix('v').is_some_and(triple)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floating_versions_are_refused() {
        for bad in
            ["v1.30.x", "v1.30", "1.30.1", "v1.30.1-rc.1", ">=v1.30.1", "latest", "v01.2.3", "v1.2.3.4"]
        {
            assert!(bad.parse::<KubernetesVersion>().is_err(), "{bad}");
        }
        for good in ["0.1.0", "1.2.3-rc.1", "10.20.30"] {
            assert!(good.parse::<ArtifactVersion>().is_ok(), "{good}");
        }
        for bad in ["0.1", "v0.1.0", "1.2.3-", "1.2.3-a..b", "1.2.3/../x"] {
            assert!(bad.parse::<ArtifactVersion>().is_err(), "{bad}");
            assert!(bad.parse::<ReleaseVersion>().is_err(), "{bad}");
        }
        for (text, good) in [("1.2.3-rc.1", true), ("1.2.3-0", true), ("1.2.3-01", false), ("1.2.3+1", false)]
        {
            assert_eq!(text.parse::<ReleaseVersion>().is_ok(), good, "{text}");
        }
    }
}
