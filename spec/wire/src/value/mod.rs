//! Values that are checked when they are constructed: names, addresses, keys, versions.
//!
//! Each type has one constructor ([`FromStr`](std::str::FromStr)) and cites one rule: an id, a sentence, and a pattern
//! for the JSON Schema. The pattern may accept more than the constructor, but never less: the constructor refuses
//! every text that the schema refuses.

mod key;
mod name;
mod net;
mod version;

pub use key::{Fingerprint, WireguardKey};
pub use name::{
    ClusterName, DiskName, DomainName, FirmwareName, IfName, NodeName, OperatorName, PlaneId, ProxmoxName,
    ProxmoxTag, UserName,
};
pub use net::{Cidr, Endpoint, HostAddress, MacAddress, NodeId, PortRange, Protocol};
pub use version::{ArtifactVersion, KubernetesVersion, ReleaseVersion};

use std::fmt;

/// The rule for one kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueRule {
    /// Its id in diagnostics and documentation.
    pub id: &'static str,
    /// The requirement, as a sentence without its subject.
    pub sentence: &'static str,
    /// An example of a valid value.
    pub example: &'static str,
}

/// A text that is not a valid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// The violated rule.
    pub rule: ValueRule,
    /// The text, truncated to a readable length.
    pub found: String,
}

impl ValueError {
    /// Creates the error for `text`.
    pub fn new(rule: ValueRule, text: &str) -> Self {
        let mut found: String = text.chars().take(80).collect();
        if found.len() < text.len() {
            found.push('…');
        }
        Self { rule, found }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} violates the rule {}: it must be {}", self.found, self.rule.id, self.rule.sentence)
    }
}

impl std::error::Error for ValueError {}

/// A function that only checks a text.
pub type Check = fn(&str) -> Result<(), ValueError>;

/// The common code of a value type: constructor, serde as text, JSON Schema with the pattern and the rule's id. The
/// type itself provides `fn read(&str) -> Option<Self>` and `Display`.
macro_rules! checked {
    ($name:ident, $rule:literal, $sentence:literal, $pattern:literal, $example:literal) => {
        impl $name {
            /// The rule for every value of this type.
            pub const RULE: $crate::value::ValueRule =
                $crate::value::ValueRule { id: $rule, sentence: $sentence, example: $example };

            pub(crate) fn check(text: &str) -> Result<(), $crate::value::ValueError> {
                text.parse::<Self>().map(drop)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::value::ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::read(text).ok_or_else(|| $crate::value::ValueError::new(Self::RULE, text))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::value::ValueError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": concat!("Must be ", $sentence, "."),
                    "examples": [$example],
                    "x-rule": $rule,
                })
            }
        }
    };
}

/// A value type that contains only a text.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $rule:literal, $sentence:literal, $pattern:literal, $example:literal, $accept:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            fn read(text: &str) -> Option<Self> {
                let accept: fn(&str) -> bool = $accept;
                accept(text).then(|| Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        checked!($name, $rule, $sentence, $pattern, $example);
    };
}

pub(crate) use {checked, text};

/// All kinds of values with their constructors, in the alphabetical order of the rules.
pub const KINDS: [(ValueRule, Check); 21] = [
    (ArtifactVersion::RULE, ArtifactVersion::check),
    (Cidr::RULE, Cidr::check),
    (ClusterName::RULE, ClusterName::check),
    (DiskName::RULE, DiskName::check),
    (DomainName::RULE, DomainName::check),
    (Endpoint::RULE, Endpoint::check),
    (Fingerprint::RULE, Fingerprint::check),
    (FirmwareName::RULE, FirmwareName::check),
    (HostAddress::RULE, HostAddress::check),
    (IfName::RULE, IfName::check),
    (KubernetesVersion::RULE, KubernetesVersion::check),
    (MacAddress::RULE, MacAddress::check),
    (NodeName::RULE, NodeName::check),
    (OperatorName::RULE, OperatorName::check),
    (PlaneId::RULE, PlaneId::check),
    (PortRange::RULE, PortRange::check),
    (ProxmoxName::RULE, ProxmoxName::check),
    (ProxmoxTag::RULE, ProxmoxTag::check),
    (ReleaseVersion::RULE, ReleaseVersion::check),
    (UserName::RULE, UserName::check),
    (WireguardKey::RULE, WireguardKey::check),
];

/// The constructor for a rule id of the JSON Schema.
pub fn kind(id: &str) -> Option<Check> {
    KINDS.iter().find(|(rule, _)| rule.id == id).map(|(_, check)| *check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_satisfies_its_rule_and_every_rule_refuses_the_empty_text() {
        for (rule, check) in KINDS {
            assert_eq!(check(rule.example), Ok(()), "{}", rule.id);
            assert!(check("").is_err(), "{}", rule.id);
            assert!(check("a b").is_err(), "{}", rule.id);
            assert!(check("x\0").is_err(), "{}", rule.id);
            assert!(check(&"9".repeat(5000)).is_err(), "{}", rule.id);
        }
    }

    #[test]
    fn an_error_contains_the_id_of_its_rule() {
        let error = "Node_1".parse::<NodeName>().unwrap_err();
        assert_eq!(error.rule.id, "node-name");
        assert!(error.to_string().contains("\"Node_1\" violates the rule node-name"), "{error}");
    }
}
