//! Package indices: parses `Packages` stanzas into packages that can be resolved and locked.
//!
//! A package keeps the verbatim text of its stanza, because the stanza is part of the lock's proof. A path that could leave the
//! archive is an error.

pub mod relation;
pub mod version;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::control::{ControlError, Paragraph, paragraphs};
use crate::digest::{NotADigest, Sha256};
use relation::{BadRelation, Group, Operator};
use version::{BadVersion, Version};

/// A stanza that cannot be used.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The stanza is not a valid paragraph.
    #[error("a stanza of the index is malformed")]
    Control(#[from] ControlError),
    /// A required field is missing.
    #[error("the stanza of {package} has no {field}")]
    Missing {
        /// The package's name, or a placeholder if the stanza has no name.
        package: String,
        /// The field's name.
        field: &'static str,
    },
    /// A version cannot be parsed.
    #[error("the stanza of {package} contains a malformed version")]
    Version {
        /// The package's name.
        package: String,
        /// The cause.
        #[source]
        source: BadVersion,
    },
    /// A relation cannot be parsed.
    #[error("the stanza of {package} has a malformed {field}")]
    Relation {
        /// The package's name.
        package: String,
        /// The field's name.
        field: &'static str,
        /// The cause.
        #[source]
        source: BadRelation,
    },
    /// The digest cannot be parsed.
    #[error("the stanza of {package} has a malformed SHA256")]
    Digest {
        /// The package's name.
        package: String,
        /// The cause.
        #[source]
        source: NotADigest,
    },
    /// The size is not a number.
    #[error("the stanza of {package} has a malformed Size")]
    Size {
        /// The package's name.
        package: String,
    },
    /// The path could leave the archive.
    #[error("the stanza of {package} contains the path {path:?}, which is not inside the archive")]
    Path {
        /// The package's name.
        package: String,
        /// The path.
        path: String,
    },
}

/// A package in an archive.
#[derive(Debug, Clone)]
pub struct Package {
    /// The name.
    pub name: String,
    /// The version.
    pub version: Version,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The suite that contains the package.
    pub suite: Arc<str>,
    /// The component within the suite, such as `main`.
    pub component: Arc<str>,
    /// The path below the mirror's base URL.
    pub path: String,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// SHA-256 digest of the `.deb`.
    pub sha256: Sha256,
    /// Name of the source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: Version,
    /// `Pre-Depends` and `Depends`.
    pub depends: Vec<Group>,
    /// `Conflicts` and `Breaks`.
    pub conflicts: Vec<Group>,
    /// `Provides`, each with the version that it provides.
    pub provides: Vec<(String, Option<Version>)>,
    /// The verbatim stanza, including its last line feed.
    pub stanza: String,
}

impl Package {
    /// Parses one stanza of a suite's index.
    pub fn parse(stanza: &str, suite: &Arc<str>, component: &Arc<str>) -> Result<Self, IndexError> {
        let paragraph = Paragraph::parse_one(stanza)?;
        let name = paragraph.get("Package").unwrap_or("a package without a name").to_owned();
        let field = |field: &'static str| {
            paragraph.get(field).ok_or_else(|| IndexError::Missing { package: name.clone(), field })
        };
        let version_of = |text: &str| {
            text.parse::<Version>().map_err(|source| IndexError::Version { package: name.clone(), source })
        };
        let relations =
            |field: &'static str| {
                relation::parse(paragraph.get(field).unwrap_or_default())
                    .map_err(|source| IndexError::Relation { package: name.clone(), field, source })
            };
        field("Package")?;
        let version = version_of(field("Version")?)?;
        let path = field("Filename")?.to_owned();
        if !is_path_inside(&path) {
            return Err(IndexError::Path { package: name, path });
        }
        let size = field("Size")?.parse().map_err(|_| IndexError::Size { package: name.clone() })?;
        let sha256 = field("SHA256")?.parse();
        let sha256 = sha256.map_err(|source| IndexError::Digest { package: name.clone(), source })?;
        let (source, source_version) = match paragraph.get("Source") {
            None => (name.clone(), version.clone()),
            Some(text) => match text.split_once(" (") {
                None => (text.to_owned(), version.clone()),
                Some((source, version)) => (source.to_owned(), version_of(version.trim_end_matches(')'))?),
            },
        };
        let architecture = field("Architecture")?.to_owned();
        let depends = [relations("Pre-Depends")?, relations("Depends")?].concat();
        let conflicts = [relations("Conflicts")?, relations("Breaks")?].concat();
        let provides = relations("Provides")?.into_iter().flat_map(|group| group.0);
        let provides = provides
            .map(|relation| match relation.version {
                Some((Operator::Equal, version)) => (relation.name, Some(version)),
                _ => (relation.name, None),
            })
            .collect();
        let mut stanza = paragraph.raw().to_owned();
        if !stanza.ends_with('\n') {
            stanza.push('\n');
        }
        let (suite, component) = (Arc::clone(suite), Arc::clone(component));
        Ok(Self {
            name,
            version,
            architecture,
            suite,
            component,
            path,
            size,
            sha256,
            source,
            source_version,
            depends,
            conflicts,
            provides,
            stanza,
        })
    }
}

/// Whether a path from an index or a lock stays below the mirror's base URL, and needs no escapes in a URL.
pub(crate) fn is_path_inside(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-~:=@,".contains(&byte);
    path.bytes().all(plain) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// All packages of the archives, by name and by the names that they provide.
///
/// Only the positions of stanzas are recorded at first; a stanza is parsed on demand. Component main has 69,000 stanzas, and a closure
/// needs a few hundred.
#[derive(Debug, Default)]
pub struct Index {
    offers: BTreeMap<String, Vec<Offer>>,
    providers: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone)]
struct Offer {
    text: Arc<str>,
    range: (usize, usize),
    suite: Arc<str>,
    component: Arc<str>,
}

/// The first line of a field and the lines that continue it (deb822(5): they begin with a space or a tab).
fn value<'s>(stanza: &'s str, field: &str) -> Option<(&'s str, impl Iterator<Item = &'s str>)> {
    let mut lines = stanza.lines();
    let first = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some((first, lines.take_while(|line| line.starts_with([' ', '\t']))))
}

impl Index {
    /// Adds the text of a `Packages` file. With `only`, packages with other names are ignored.
    pub fn add(
        &mut self,
        text: &str,
        suite: &str,
        component: &str,
        only: Option<&[String]>,
    ) -> Result<(), IndexError> {
        let text: Arc<str> = text.into();
        let (suite, component): (Arc<str>, Arc<str>) = (suite.into(), component.into());
        for stanza in paragraphs(&text) {
            let Some(name) = value(stanza, "Package").map(|(first, _)| first.trim()) else {
                return Err(IndexError::Missing { package: "a package".to_owned(), field: "Package" });
            };
            if only.is_some_and(|only| !only.iter().any(|wanted| wanted == name)) {
                continue;
            }
            let provides = value(stanza, "Provides").into_iter().flat_map(|(first, folded)| {
                std::iter::once(first).chain(folded).flat_map(|line| line.split(','))
            });
            // A relation may be folded before its version, so a part without a name is skipped.
            for provided in provides.filter(|relation| !relation.trim_start().starts_with('(')) {
                let Some(provided) = provided.split([' ', '\t', '(', ':']).find(|part| !part.is_empty())
                else {
                    continue;
                };
                let known = self.providers.entry(provided.to_owned()).or_default();
                if !known.iter().any(|provider| provider == name) {
                    known.push(name.to_owned());
                }
            }
            let from = (stanza.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            self.offers.entry(name.to_owned()).or_default().push(Offer {
                text: Arc::clone(&text),
                range: (from, from + stanza.len()),
                suite: Arc::clone(&suite),
                component: Arc::clone(&component),
            });
        }
        Ok(())
    }

    /// Adds one stanza.
    pub fn add_stanza(&mut self, package: &Package) -> Result<(), IndexError> {
        self.add(&package.stanza, &package.suite, &package.component, None)
    }

    /// Removes all packages with a name.
    pub fn remove(&mut self, name: &str) {
        self.offers.remove(name);
    }

    /// All packages with a name, newest first. Of equal versions, the one from the archive that was added first comes first.
    pub fn candidates(&self, name: &str) -> Result<Vec<Package>, IndexError> {
        let offers = self.offers.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut packages = offers
            .iter()
            .map(|offer| {
                let stanza = offer.text.get(offer.range.0..offer.range.1).unwrap_or_default();
                Package::parse(stanza, &offer.suite, &offer.component)
            })
            .collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|one, other| other.version.cmp(&one.version));
        Ok(packages)
    }

    /// The names of the packages that provide a virtual package, sorted.
    pub fn providers(&self, name: &str) -> Vec<&str> {
        let mut names: Vec<_> = self.providers.get(name).into_iter().flatten().map(String::as_str).collect();
        names.retain(|provider| self.offers.contains_key(*provider));
        names.sort_unstable();
        names
    }

    /// The number of packages.
    pub fn len(&self) -> usize {
        self.offers.values().map(Vec::len).sum()
    }

    /// Whether there is no package.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 7\nSHA256: {}\n{more}\n",
            Sha256::of(version.as_bytes())
        )
    }

    #[test]
    fn the_newest_version_comes_first_and_only_filters_names() {
        let mut index = Index::default();
        index.add(&stanza("a", "1.0-1", ""), "x", "main", None).unwrap();
        index
            .add(
                &[stanza("a", "1.0-2", "Source: s (0.9)\n"), stanza("b", "9", "")].join("\n"),
                "y",
                "main",
                None,
            )
            .unwrap();
        index
            .add(
                &[stanza("a", "5", ""), stanza("c", "9", "")].join("\n"),
                "z",
                "main",
                Some(&["c".to_owned()]),
            )
            .unwrap();
        let offered = index.candidates("a").unwrap();
        let versions: Vec<_> =
            offered.iter().map(|package| (package.version.as_str(), &*package.suite)).collect();
        assert_eq!(versions, [("1.0-2", "y"), ("1.0-1", "x")]);
        assert_eq!((offered[0].source.as_str(), offered[0].source_version.as_str()), ("s", "0.9"));
        assert_eq!(index.candidates("c").unwrap().len(), 1);
        assert_eq!(index.len(), 4);
    }

    #[test]
    fn providers_are_found_by_the_provided_name() {
        let mut index = Index::default();
        index.add(&stanza("m", "1", "Provides: mta (= 2), x:any\n"), "s", "main", None).unwrap();
        index.add(&stanza("e", "1", "Provides: mta\n"), "s", "main", None).unwrap();
        assert_eq!(index.providers("mta"), ["e", "m"]);
        assert_eq!(
            index.candidates("m").unwrap()[0].provides[0],
            ("mta".to_owned(), Some("2".parse().unwrap()))
        );
        assert_eq!(index.providers("x"), ["m"]);
        let folded = stanza("f", "1", "Provides: a (= 1), mta\n (= 2),\n\tb:any\nDescription: a, c\n d\n");
        index.add(&folded, "s", "main", None).unwrap();
        assert_eq!(index.providers("mta"), ["e", "f", "m"]);
        assert_eq!(
            (index.providers("b"), index.providers("c"), index.providers("d")),
            (vec!["f"], vec![], vec![])
        );
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_refused() {
        for bad in ["/etc/x", "../x", "pool/../../x", "pool//x", "a b", "a\\b", "pool/x?y", ""] {
            let text = stanza("a", "1", "").replace("pool/a_1.deb", bad);
            let mut index = Index::default();
            index.add(&text, "s", "main", None).unwrap();
            assert!(index.candidates("a").is_err(), "{bad:?} was accepted");
        }
    }
}
