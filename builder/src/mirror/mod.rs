//! Where packages come from: never named by the project, always by the host or the caller.
//!
//! In this order: command line, environment (`KUBEDOS_DEBIAN_MIRROR`, `KUBEDOS_DEBIAN_SECURITY_MIRROR`), the host's own apt
//! configuration. A mirror is the base URI of an archive, below which `dists/` and `pool/` lie; which suite the host itself uses
//! does not matter. What a mirror serves is never trusted: it is held against signatures and digests.

mod apt;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use apt::Source;

/// The archives that the lock's suites live in; each has its own base URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// Debian itself: `trixie`, `trixie-updates`, `trixie-backports`.
    Debian,
    /// Security updates: `trixie-security`.
    DebianSecurity,
}

impl Archive {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Debian, Self::DebianSecurity];

    /// The command-line option that names its mirror.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Debian => "--mirror",
            Self::DebianSecurity => "--security-mirror",
        }
    }

    /// The environment variable that names its mirror.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Debian => "KUBEDOS_DEBIAN_MIRROR",
            Self::DebianSecurity => "KUBEDOS_DEBIAN_SECURITY_MIRROR",
        }
    }

    /// Whether a host's apt source is this archive. Security suites are named `*-security` or, before bullseye, `*/updates`.
    fn is_that_of(self, source: &Source) -> bool {
        let security = |suite: &String| suite.contains("-security") || suite.contains("/updates");
        let plain = |suite: &String| SUITES.iter().any(|name| suite == name);
        match self {
            Self::Debian => !source.suites.iter().any(security) && source.suites.iter().any(plain),
            Self::DebianSecurity => source.suites.iter().any(security),
        }
    }
}

/// What a Debian host's main archive can be called in its apt configuration.
const SUITES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "buster",
];

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::DebianSecurity => "debian-security",
        })
    }
}

/// Why there is no mirror.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MirrorError {
    /// None was named and the host's apt configuration has none.
    #[error("no mirror of the archive {archive} is known: {looked} names none")]
    None {
        /// Which archive.
        archive: Archive,
        /// Where it was looked for.
        looked: String,
    },
    /// It is no http(s) URL.
    #[error("{url:?}, from {from}, is no mirror: expected http://… or https://…")]
    NotHttp {
        /// What was given.
        url: String,
        /// By what.
        from: String,
    },
}

impl MirrorError {
    /// What the reader may do about it.
    pub fn help(&self) -> String {
        let archive = match self {
            Self::None { archive, .. } => *archive,
            Self::NotHttp { .. } => Archive::Debian,
        };
        format!("name one with {} URL or the environment variable {}", archive.option(), archive.variable())
    }
}

/// A base URI, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror(String);

impl Mirror {
    /// Takes a base URI; `from` says in an error who named it.
    pub fn new(url: &str, from: &str) -> Result<Self, MirrorError> {
        let refused = || MirrorError::NotHttp { url: url.to_owned(), from: from.to_owned() };
        let plain = url.trim_end_matches('/');
        let host =
            plain.strip_prefix("http://").or_else(|| plain.strip_prefix("https://")).ok_or_else(refused)?;
        if host.is_empty() || plain.contains(char::is_whitespace) {
            return Err(refused());
        }
        Ok(Self(plain.to_owned()))
    }

    /// The URL of a path below the base.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }
}

/// One mirror for each archive that has one; asking for one that is missing is the error.
#[derive(Debug, Clone)]
pub struct Mirrors {
    debian: Result<Mirror, MirrorError>,
    security: Result<Mirror, MirrorError>,
}

/// What was said on the command line and in the environment, and where apt keeps its configuration.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `--mirror`.
    pub debian: Option<String>,
    /// `--security-mirror`.
    pub security: Option<String>,
    /// `KUBEDOS_DEBIAN_MIRROR`.
    pub debian_variable: Option<String>,
    /// `KUBEDOS_DEBIAN_SECURITY_MIRROR`.
    pub security_variable: Option<String>,
    /// apt's folder, `/etc/apt` on a Debian host.
    pub apt: PathBuf,
}

impl Wanted {
    /// The options given, with the process environment and `/etc/apt`.
    pub fn from_environment(debian: Option<String>, security: Option<String>) -> Self {
        let variable =
            |archive: Archive| std::env::var(archive.variable()).ok().filter(|url| !url.is_empty());
        Self {
            debian,
            security,
            debian_variable: variable(Archive::Debian),
            security_variable: variable(Archive::DebianSecurity),
            apt: PathBuf::from("/etc/apt"),
        }
    }
}

impl Mirrors {
    /// Finds the mirrors; what is missing is an error only when it is asked for.
    pub fn find(wanted: &Wanted) -> Self {
        let sources = apt::sources(&wanted.apt);
        let choose = |archive: Archive, option: &Option<String>, variable: &Option<String>| {
            if let Some(url) = option {
                return Mirror::new(url, archive.option());
            }
            if let Some(url) = variable {
                return Mirror::new(url, archive.variable());
            }
            let found = sources.iter().filter(|source| archive.is_that_of(source));
            let mut usable = found.filter_map(|source| Mirror::new(&source.uri, "apt").ok());
            usable.next().ok_or_else(|| MirrorError::None { archive, looked: shown(&wanted.apt) })
        };
        Self {
            debian: choose(Archive::Debian, &wanted.debian, &wanted.debian_variable),
            security: choose(Archive::DebianSecurity, &wanted.security, &wanted.security_variable),
        }
    }

    /// Two that are known.
    pub const fn new(debian: Mirror, security: Mirror) -> Self {
        Self { debian: Ok(debian), security: Ok(security) }
    }

    /// The mirror of an archive.
    pub fn of(&self, archive: Archive) -> Result<&Mirror, MirrorError> {
        let mirror = match archive {
            Archive::Debian => &self.debian,
            Archive::DebianSecurity => &self.security,
        };
        mirror.as_ref().map_err(Clone::clone)
    }
}

fn shown(apt: &Path) -> String {
    format!("the host's apt configuration in {}", apt.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb deb-src\n# URIs: http://old.invalid/debian\nURIs: http://one.invalid/debian/\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
        Types: deb\nURIs: https://two.invalid/debian-security\nSuites: bookworm-security\nComponents: main\n";

    fn found(files: &[(&str, &str)]) -> Mirrors {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Mirrors::find(&Wanted { apt: folder.path().to_owned(), ..Wanted::default() })
    }

    fn urls(mirrors: &Mirrors) -> [Option<String>; 2] {
        Archive::ALL.map(|archive| mirrors.of(archive).ok().map(|mirror| mirror.url("x")))
    }

    #[test]
    fn mirrors_come_from_either_form_of_apt_sources() {
        let expected = [
            Some("http://one.invalid/debian/x".to_owned()),
            Some("https://two.invalid/debian-security/x".to_owned()),
        ];
        assert_eq!(urls(&found(&[("sources.list.d/debian.sources", DEB822)])), expected);
        let one_line = "# deb http://no.invalid/debian bookworm main\ndeb-src http://no.invalid/debian bookworm main\n\
            deb [arch=amd64 signed-by=/x] http://one.invalid/debian bookworm main contrib # note\n\
            deb https://two.invalid/debian-security bookworm-security main\n";
        assert_eq!(urls(&found(&[("sources.list", one_line)])), expected);
        assert_eq!(urls(&found(&[("sources.list.d/a.list", one_line)])), expected);
    }

    #[test]
    fn other_peoples_archives_are_not_taken() {
        let other = "deb https://x.invalid/node nodistro main\ndeb https://y.invalid/apt cloud-sdk-bookworm main\n\
            deb cdrom:[Debian] bookworm main\ndeb http://z.invalid/deb ./\n";
        assert_eq!(urls(&found(&[("sources.list", other)])), [None, None]);
        assert_eq!(urls(&found(&[])), [None, None]);
        let disabled = DEB822.replace("Types: deb\n", "Enabled: no\nTypes: deb\n");
        assert_eq!(urls(&found(&[("sources.list.d/d.sources", &disabled)]))[1], None);
    }

    #[test]
    fn what_is_said_goes_before_what_is_found() {
        let wanted = Wanted {
            debian: Some("http://option.invalid/d".to_owned()),
            debian_variable: Some("http://variable.invalid/d".to_owned()),
            security_variable: Some("http://variable.invalid/s/".to_owned()),
            apt: PathBuf::from("/nowhere"),
            ..Wanted::default()
        };
        let expected =
            ["http://option.invalid/d/x".to_owned(), "http://variable.invalid/s/x".to_owned()].map(Some);
        assert_eq!(urls(&Mirrors::find(&wanted)), expected);
        let error = Mirrors::find(&Wanted { apt: "/nowhere".into(), ..Wanted::default() });
        let error = error.of(Archive::DebianSecurity).unwrap_err();
        assert!(error.help().contains("--security-mirror"), "{}", error.help());
        for bad in ["ftp://x/y", "http://", "/srv/mirror", "", "http://a b"] {
            assert!(Mirror::new(bad, "--mirror").is_err(), "{bad:?} was taken");
        }
    }
}
