//! Relations between packages, such as `a (>= 1) | b, c:any` (Debian policy §7.1).
//!
//! Architecture qualifiers are removed, because a lock has only one architecture. Architecture restrictions (`[amd64]`) and build profiles
//! are errors: they occur in source packages only.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

use super::version::{BadVersion, Version};

/// A comparison operator for versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Earlier, Self::EarlierOrEqual, Self::Equal, Self::LaterOrEqual, Self::Later]
            .into_iter()
            .find(|operator| operator.as_str() == text)
    }
}

/// A package name with a condition on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The package or virtual package. An architecture qualifier (`:any`) is removed, because a lock has only one architecture.
    pub name: String,
    /// The condition on its version.
    pub version: Option<(Operator, Version)>,
}

impl Relation {
    /// Whether a version satisfies the condition.
    pub fn fits(&self, version: &Version) -> bool {
        self.version.as_ref().is_none_or(|(operator, wanted)| {
            let order = version.cmp(wanted);
            match operator {
                Operator::Earlier => order == Ordering::Less,
                Operator::EarlierOrEqual => order != Ordering::Greater,
                Operator::Equal => order == Ordering::Equal,
                Operator::LaterOrEqual => order != Ordering::Less,
                Operator::Later => order == Ordering::Greater,
            }
        })
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.version {
            Some((operator, version)) => write!(f, " ({} {version})", operator.as_str()),
            None => Ok(()),
        }
    }
}

/// Alternatives in the order of the text. One of them must be satisfied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(pub Vec<Relation>);

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, relation) in self.0.iter().enumerate() {
            write!(f, "{}{relation}", if at == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

/// A relation field that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadRelation {
    /// The part does not have the form `name [(operator version)]`.
    #[error("{0:?} is not a package relation")]
    Malformed(String),
    /// The version in the relation is malformed.
    #[error("{part:?} is not a package relation")]
    Version {
        /// The part of the field.
        part: String,
        /// The cause.
        #[source]
        source: BadVersion,
    },
}

/// Parses a whole field. An empty field has no groups; a trailing comma is permitted, as in dpkg.
pub fn parse(field: &str) -> Result<Vec<Group>, BadRelation> {
    field.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_group).collect()
}

fn parse_group(text: &str) -> Result<Group, BadRelation> {
    text.split('|').map(|part| parse_relation(part.trim())).collect::<Result<_, _>>().map(Group)
}

fn parse_relation(part: &str) -> Result<Relation, BadRelation> {
    let malformed = || BadRelation::Malformed(part.to_owned());
    let (name, condition) = match part.split_once('(') {
        None => (part, None),
        Some((name, rest)) => (name.trim_end(), Some(rest.strip_suffix(')').ok_or_else(malformed)?.trim())),
    };
    let name = match name.split_once(':') {
        None => name,
        Some((name, qualifier)) if is_name(qualifier) => name,
        Some(_) => return Err(malformed()),
    };
    if !is_name(name) {
        return Err(malformed());
    }
    let version = condition.map(|condition| {
        let digits = condition.find(|char: char| !matches!(char, '<' | '>' | '=')).ok_or_else(malformed)?;
        let (operator, version) = condition.split_at(digits);
        let operator = Operator::parse(operator).ok_or_else(malformed)?;
        let version = version.trim().parse();
        Ok((operator, version.map_err(|source| BadRelation::Version { part: part.to_owned(), source })?))
    });
    Ok(Relation { name: name.to_owned(), version: version.transpose()? })
}

/// Whether the text is a package name (policy §5.6.1). Shorter names are permitted, because qualifiers can be shorter.
fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_real_field_is_parsed() {
        let groups =
            parse("libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, python3:any (<< 3.14),\n x(=1),")
                .unwrap();
        let shown: Vec<_> = groups.iter().map(Group::to_string).collect();
        assert_eq!(
            shown,
            ["libc6 (>= 2.38)", "debconf (>= 0.5) | debconf-2.0", "python3 (<< 3.14)", "x (= 1)"]
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn malformed_relations_are_refused() {
        for bad in [
            "a (",
            "a (1)",
            "a (>= )",
            "a (> 1)",
            "A",
            "a |",
            "| a",
            "a b",
            "a:",
            "a (>= 1) x",
            "a (>= x)",
            "é",
        ] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn each_operator_compares_as_documented() {
        let cases = [
            ("<<", [true, false, false]),
            ("<=", [true, true, false]),
            ("=", [false, true, false]),
            (">=", [false, true, true]),
            (">>", [false, false, true]),
        ];
        for (operator, expected) in cases {
            let relation = parse_relation(&format!("a ({operator} 1.5)")).unwrap();
            let got = ["1.4", "1.5", "1.6"].map(|version| relation.fits(&version.parse().unwrap()));
            assert_eq!(got, expected, "{operator}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_relation_parses_to_the_same_relation(
            field in prop::collection::vec(prop::collection::vec(
                ("[a-z][a-z0-9+.-]{1,6}", prop::option::of((prop::sample::select(vec!["<<", "<=", "=", ">=", ">>"]), "[0-9][0-9a-z.]{0,4}"))),
                1..4), 0..5)
        ) {
            let text: Vec<String> = field.iter().map(|group| {
                let parts: Vec<String> = group.iter().map(|(name, version)| match version {
                    Some((operator, version)) => format!("{name} ({operator} {version})"),
                    None => name.clone(),
                }).collect();
                parts.join(" | ")
            }).collect();
            let groups = parse(&text.join(", ")).unwrap();
            let shown: Vec<_> = groups.iter().map(Group::to_string).collect();
            prop_assert_eq!(shown, text);
        }
    }
}
