//! Whether a disk matches a rule, with the reason for each field that does not match. Pure.
//!
//! A rule (`match`) selects the system disk. A truncated name may match it, because more than one match is refused.
//! An identity (`allowDestroy`) permits data loss: it must contain the complete name, and exactly one attached disk may
//! have this name.

use std::fmt;

use kubedos_wire::node::{DiskIdentity, DiskRule};

use super::show::quoted;
use super::{Disk, GIB, size};
use kubedos_wire::disk_names::{self, Agreement};

/// One field of a rule that does not match a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The rule has no field.
    EmptyRule,
    /// The disk has no medium.
    NoMedium,
    /// The serial number, world-wide name or path does not match.
    Name {
        /// The field of the rule.
        field: Field,
        /// The kind of the difference.
        difference: Difference,
    },
    /// The disk is smaller than `minSizeGiB`.
    TooSmall {
        /// The disk's size.
        bytes: u64,
        /// The rule's limit.
        least_gib: u32,
    },
    /// The disk is larger than `maxSizeGiB`.
    TooLarge {
        /// The disk's size.
        bytes: u64,
        /// The rule's limit.
        most_gib: u32,
    },
}

/// How a name of a disk differs from the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The disk does not have this name.
    Absent,
    /// Only upper and lower case differ.
    CaseOnly,
    /// The disk has a different name.
    Other,
}

/// A field that names a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `serial`.
    Serial,
    /// `wwn`.
    Wwn,
    /// `path`.
    Path,
}

impl Field {
    /// Its name in the spec.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Wwn => "wwn",
            Self::Path => "path",
        }
    }

    /// The disk's values of this field.
    fn found(self, disk: &Disk) -> &[String] {
        match self {
            Self::Serial => &disk.serials,
            Self::Wwn => &disk.wwns,
            Self::Path => &disk.paths,
        }
    }

    /// The best agreement between a value of the spec and the disk's values.
    fn agreement(self, wanted: &str, disk: &Disk) -> Agreement {
        let compare = |found: &String| match self {
            Self::Serial => disk_names::serial(wanted, found, disk.serial_limit),
            Self::Wwn => disk_names::wwn(wanted, found),
            Self::Path if found == wanted => Agreement::Full,
            Self::Path => Agreement::None,
        };
        self.found(disk).iter().map(compare).max().unwrap_or(Agreement::None)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyRule => f.write_str("the rule is empty"),
            Self::NoMedium => f.write_str("no medium"),
            Self::Name { field, difference } => {
                let field = field.name();
                match difference {
                    Difference::Absent => write!(f, "has no {field}"),
                    Difference::CaseOnly => write!(f, "{field} differs in upper and lower case"),
                    Difference::Other => write!(f, "different {field}"),
                }
            }
            Self::TooSmall { bytes, least_gib } => {
                write!(f, "{} is less than minSizeGiB {least_gib}", size(*bytes))
            }
            Self::TooLarge { bytes, most_gib } => {
                write!(f, "{} is more than maxSizeGiB {most_gib}", size(*bytes))
            }
        }
    }
}

/// The fields of a rule that do not match the disk. If empty, the disk matches.
pub fn rule(disk: &Disk, rule: &DiskRule) -> Vec<Mismatch> {
    let names = [(Field::Serial, &rule.serial), (Field::Wwn, &rule.wwn), (Field::Path, &rule.path)];
    let gives_name = names.iter().any(|(_, wanted)| wanted.is_some());
    if !gives_name && rule.min_size_gib.is_none() && rule.max_size_gib.is_none() {
        return vec![Mismatch::EmptyRule];
    }
    let mut mismatches = Vec::new();
    if disk.bytes == 0 {
        mismatches.push(Mismatch::NoMedium);
    }
    for (field, wanted) in names {
        let Some(wanted) = wanted else { continue };
        let agreement = field.agreement(wanted, disk);
        if agreement < Agreement::Prefix {
            let difference = match agreement {
                Agreement::CaseOnly => Difference::CaseOnly,
                _ if field.found(disk).is_empty() => Difference::Absent,
                _ => Difference::Other,
            };
            mismatches.push(Mismatch::Name { field, difference });
        }
    }
    if disk.bytes > 0 {
        let gib = |count: u32| u64::from(count) * GIB;
        mismatches.extend(
            rule.min_size_gib
                .filter(|least| disk.bytes < gib(*least))
                .map(|least_gib| Mismatch::TooSmall { bytes: disk.bytes, least_gib }),
        );
        mismatches.extend(
            rule.max_size_gib
                .filter(|most| disk.bytes > gib(*most))
                .map(|most_gib| Mismatch::TooLarge { bytes: disk.bytes, most_gib }),
        );
    }
    mismatches
}

/// Whether every field of the identity matches the disk completely.
pub fn is(disk: &Disk, identity: &DiskIdentity) -> bool {
    let names =
        [(Field::Serial, &identity.serial), (Field::Wwn, &identity.wwn), (Field::Path, &identity.path)];
    let mut given = names.iter().filter_map(|(field, wanted)| Some((*field, wanted.as_ref()?))).peekable();
    given.peek().is_some() && given.all(|(field, wanted)| field.agreement(wanted, disk) == Agreement::Full)
}

/// The permission for one disk that follows from a list of identities (`allowDestroy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// An entry names this disk, and no other attached disk.
    Granted,
    /// No entry names this disk.
    NotNamed,
    /// Entries name this disk, but also other disks; such entries have no effect.
    Ambiguous {
        /// The entry, as text.
        entry: String,
        /// The disks that it names.
        disks: Vec<String>,
    },
}

/// Whether the content of the disk may be destroyed. An entry that names several attached disks has no effect.
pub fn permission(disk: &Disk, attached: &[Disk], identities: &[DiskIdentity]) -> Permission {
    let mut permission = Permission::NotNamed;
    for identity in identities.iter().filter(|identity| is(disk, identity)) {
        let named: Vec<&Disk> = attached.iter().filter(|other| is(other, identity)).collect();
        if named.iter().all(|other| other.name == disk.name) {
            return Permission::Granted;
        }
        permission = Permission::Ambiguous {
            entry: entry(identity),
            disks: named.iter().map(|disk| disk.name.clone()).collect(),
        };
    }
    permission
}

/// An identity as text.
fn entry(identity: &DiskIdentity) -> String {
    let names =
        [(Field::Serial, &identity.serial), (Field::Wwn, &identity.wwn), (Field::Path, &identity.path)];
    let given = names.iter().filter_map(|(field, wanted)| {
        wanted.as_ref().map(|wanted| format!("{} {}", field.name(), quoted(wanted)))
    });
    given.collect::<Vec<_>>().join(" and ")
}

/// A rule as text.
pub fn rule_text(rule: &DiskRule) -> String {
    let names = [("serial", &rule.serial), ("wwn", &rule.wwn), ("path", &rule.path)];
    let names = names.iter().filter_map(|(name, value)| Some(format!("{name} {}", quoted(value.as_ref()?))));
    let sizes = [("minSizeGiB", rule.min_size_gib), ("maxSizeGiB", rule.max_size_gib)];
    let sizes = sizes.iter().filter_map(|(name, value)| Some(format!("{name} {}", (*value)?)));
    let parts: Vec<String> = names.chain(sizes).collect();
    if parts.is_empty() { "an empty rule".into() } else { parts.join(", ") }
}

/// The fields that distinguish several disks that match one rule, as advice to the operator.
pub fn apart(disks: &[&Disk]) -> String {
    let shared = |names: fn(&Disk) -> &[String]| {
        disks.iter().enumerate().any(|(at, disk)| {
            disks.iter().skip(at + 1).any(|other| names(disk).iter().any(|name| names(other).contains(name)))
        })
    };
    if shared(|disk| &disk.wwns) {
        return "disks with the same wwn are paths to one disk, and multipath is not supported: attach one path, \
                or give `path`"
            .into();
    }
    let all = |names: fn(&Disk) -> &[String]| disks.iter().all(|disk| !names(disk).is_empty());
    let fields = [
        ("wwn", all(|disk| &disk.wwns)),
        ("serial", all(|disk| &disk.serials) && !shared(|disk| &disk.serials)),
        ("path", all(|disk| &disk.paths) && !shared(|disk| &disk.paths)),
    ];
    let usable: Vec<String> =
        fields.iter().filter(|(_, usable)| *usable).map(|(name, _)| format!("`{name}`")).collect();
    if usable.is_empty() {
        "no field of the spec distinguishes them: detach all but one".into()
    } else {
        format!("name one by its {}", usable.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> Disk {
        Disk {
            serials: vec!["A1".into()],
            paths: vec!["pci-0000:00:04.0".into()],
            ..Disk::new(name, 20 * GIB)
        }
    }

    fn texts(mismatches: &[Mismatch]) -> Vec<String> {
        mismatches.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mismatch_is_reported() {
        let wanted = DiskRule {
            serial: Some("B2".into()),
            wwn: Some("0x5000c500a1b2c3d4".into()),
            path: Some("pci-0000:00:05.0".into()),
            min_size_gib: Some(21),
            max_size_gib: Some(19),
        };
        assert_eq!(
            texts(&rule(&disk("vda"), &wanted)),
            [
                "different serial",
                "has no wwn",
                "different path",
                "20.0 GiB is less than minSizeGiB 21",
                "20.0 GiB is more than maxSizeGiB 19",
            ]
        );
    }

    #[test]
    fn all_fields_of_a_rule_must_match_and_an_empty_rule_matches_no_disk() {
        let serial = |serial: &str, least| DiskRule {
            serial: Some(serial.into()),
            min_size_gib: Some(least),
            ..DiskRule::default()
        };
        assert!(disk("vda").matches(&serial("A1", 20)));
        assert!(!disk("vda").matches(&serial("A1", 21)));
        assert!(!disk("vda").matches(&serial("A", 20)));
        assert_eq!(rule(&disk("vda"), &DiskRule::default()), [Mismatch::EmptyRule]);
        assert_eq!(texts(&rule(&disk("vda"), &serial("a1", 1))), ["serial differs in upper and lower case"]);
        let empty = Disk { bytes: 0, ..disk("sdb") };
        assert_eq!(rule(&empty, &serial("A1", 1)), [Mismatch::NoMedium]);
    }

    /// S3: an entry of `allowDestroy` permits the loss of the one disk that it names.
    #[test]
    fn an_allow_destroy_entry_needs_an_exact_name_and_an_empty_entry_matches_no_disk() {
        let serial = |text: &str| DiskIdentity { serial: Some(text.into()), ..DiskIdentity::default() };
        assert!(disk("vda").is(&serial("A1")));
        assert!(!disk("vda").is(&serial("a1")));
        assert!(!disk("vda").is(&DiskIdentity::default()));
        let path = DiskIdentity { path: Some("pci-0000:00:04.0".into()), ..DiskIdentity::default() };
        assert!(disk("vda").is(&path));
        let nameless = Disk { serials: vec![], paths: vec![], ..disk("vda") };
        assert!(!nameless.is(&serial("A1")) && !nameless.is(&path));
    }

    /// S3: a truncated name can select a disk, but never permits its destruction.
    #[test]
    fn a_truncated_name_matches_a_rule_but_not_allow_destroy() {
        let cut = Disk {
            serials: vec!["01234567890123456789".into()],
            serial_limit: Some(disk_names::SERIAL_BYTES),
            wwns: vec!["naa.600140512345678990abcdef01234567".into()],
            ..disk("vda")
        };
        let (serial, wwn) =
            (Some("0123456789012345678901234".to_owned()), Some("0x6001405123456789".to_owned()));
        let rules = [
            DiskRule { serial: serial.clone(), ..DiskRule::default() },
            DiskRule { wwn: wwn.clone(), ..DiskRule::default() },
        ];
        let identities = [
            DiskIdentity { serial, ..DiskIdentity::default() },
            DiskIdentity { wwn, ..DiskIdentity::default() },
        ];
        for wanted in &rules {
            assert!(cut.matches(wanted), "{wanted:?}");
        }
        assert_eq!(permission(&cut, std::slice::from_ref(&cut), &identities), Permission::NotNamed);
    }

    /// S3: an entry that names several attached disks does not permit the destruction of any of them.
    #[test]
    fn an_entry_for_several_disks_gives_no_permission() {
        let serial = |text: &str| DiskIdentity { serial: Some(text.into()), ..DiskIdentity::default() };
        let other = Disk { serials: vec!["B".into()], ..disk("vdc") };
        let attached = [disk("vda"), disk("vdb"), other.clone()];
        let path = DiskIdentity { path: Some("usb-0".into()), ..DiskIdentity::default() };
        let identities = [serial("A1"), serial("B"), path];
        for disk in &attached[..2] {
            let expected = Permission::Ambiguous {
                entry: "serial \"A1\"".into(),
                disks: vec!["vda".into(), "vdb".into()],
            };
            assert_eq!(permission(disk, &attached, &identities), expected);
        }
        assert_eq!(permission(&other, &attached, &identities), Permission::Granted);
        assert_eq!(permission(&attached[0], &attached[..1], &identities), Permission::Granted);
        assert_eq!(permission(&attached[0], &attached, &[]), Permission::NotNamed);
    }

    /// Namespaces of one NVMe controller share its serial number; paths of one disk share its world-wide name.
    #[test]
    fn the_advice_lists_the_fields_that_distinguish_the_disks() {
        let of = |name: &str, wwn: &[&str], path: &[&str]| Disk {
            wwns: wwn.iter().map(|text| (*text).to_owned()).collect(),
            paths: path.iter().map(|text| (*text).to_owned()).collect(),
            ..disk(name)
        };
        let cases = [
            (
                of("nvme0n1", &["eui.01"], &["pci-1-nvme-1"]),
                of("nvme0n2", &["eui.02"], &["pci-1-nvme-2"]),
                "name one by its `wwn` or `path`",
            ),
            (
                of("nvme0n1", &[], &["pci-1-nvme-1"]),
                of("nvme0n2", &["eui.02"], &["pci-1-nvme-2"]),
                "name one by its `path`",
            ),
            (of("sda", &["naa.5"], &["p1"]), of("sdb", &["naa.5"], &["p2"]), "multipath is not supported"),
            (of("vda", &[], &[]), of("vdb", &[], &[]), "detach all but one"),
        ];
        for (first, second, expected) in cases {
            let text = apart(&[&first, &second]);
            assert!(text.contains(expected), "{text}");
        }
    }
}
