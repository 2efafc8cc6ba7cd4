//! The node's record: the facts of a node that persist across boots, stored as `node.toml` in STATE and in the disk's
//! anchor. The decision whether a boot may continue is pure.
//!
//! With the record, the agent detects an older configuration, an old seed and a cloned disk. Fields of later releases
//! are kept when the record is rewritten (ADR 0003).

use std::fs;
use std::io;
use std::path::Path;

use kubedos_wire::release::Release;
use serde::{Deserialize, Serialize};

use kubedos_base::atomic;

/// Name of the file in STATE.
pub const FILE: &str = "node.toml";

/// The version that this release writes. Disks with version 1 had no anchors; this release reads version 1 and writes it
/// back as version 2. An older release does not look for floors on other disks, and must therefore refuse the disk.
pub const VERSION: u32 = 2;

/// The identity of the machine, as reported by firmware (SMBIOS types 1 and 2).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// UUID of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_uuid: Option<String>,
    /// Serial number of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_serial: Option<String>,
    /// Serial number of the main board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board_serial: Option<String>,
    /// Fields of a later release.
    #[serde(flatten)]
    pub unknown: toml::Table,
}

impl Machine {
    /// Reads what the kernel shows in `/sys/class/dmi/id`. Placeholder texts that many machines share are ignored.
    pub fn observe(sysfs: &Path) -> Self {
        let field = |name: &str| {
            let text = fs::read_to_string(sysfs.join("class/dmi/id").join(name)).ok()?; // without a firmware table the machine has no identity
            let text = text.trim();
            let is_placeholder = text.is_empty()
                || text.chars().all(|letter| matches!(letter, '0' | '-' | 'f' | 'F' | ' ' | '.'))
                || [
                    "none",
                    "not specified",
                    "default string",
                    "to be filled by o.e.m.",
                    "system serial number",
                ]
                .contains(&text.to_ascii_lowercase().as_str());
            (!is_placeholder).then(|| text.to_owned())
        };
        Self {
            product_uuid: field("product_uuid"),
            product_serial: field("product_serial"),
            board_serial: field("board_serial"),
            unknown: toml::Table::new(),
        }
    }

    /// Whether a disk whose record contains `self` is now in another machine: a field that both have differs.
    pub fn differs(&self, now: &Self) -> bool {
        let differs = |then: &Option<String>, now: &Option<String>| match (then, now) {
            (Some(then), Some(now)) => then != now,
            (None, _) | (_, None) => false,
        };
        differs(&self.product_uuid, &now.product_uuid)
            || differs(&self.product_serial, &now.product_serial)
            || differs(&self.board_serial, &now.board_serial)
    }
}

/// The facts that a node stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// [`VERSION`], or an earlier one.
    pub version: u32,
    /// The node's name.
    pub node: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// The incarnation of the seed.
    pub incarnation: u32,
    /// No configuration with a lower generation is accepted.
    pub generation_floor: u64,
    /// No lower release is accepted; absent until a seed or a configuration demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_floor: Option<Release>,
    /// The lower bound of the clock, in seconds since 1970.
    pub clock_floor: u64,
    /// Fields of a later release. They precede `machine` because TOML requires plain values before tables.
    #[serde(flatten)]
    pub unknown: toml::Table,
    /// The machine that the disk was in.
    pub machine: Machine,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl NodeRecord {
    /// Parses a record. The version is parsed first, so that an unsupported version is reported even if the other fields
    /// do not parse.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let Head { version } = toml::from_str(text).map_err(RecordError::Parse)?;
        if (1..=VERSION).contains(&version) {
            toml::from_str(text).map_err(RecordError::Parse)
        } else {
            Err(RecordError::Version(version))
        }
    }

    /// Serializes a record in the version of this release.
    pub fn emit(&self) -> Result<String, RecordError> {
        toml::to_string(&Self { version: VERSION, ..self.clone() }).map_err(RecordError::Compose)
    }
}

/// How this boot relates to the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The node is new and has no record.
    First,
    /// The record has not changed and need not be written.
    Same,
    /// The same node, with a changed record.
    Changed,
    /// The disk was set up in another machine: it gets new UUIDs, and the node gets a new key.
    Clone,
    /// The same machine with the seed of a later incarnation: the node gets a new key.
    NewIncarnation,
}

/// Why this node must not continue with this disk.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read or written.
    #[error("failed to {0} {FILE} in STATE")]
    Access(&'static str, #[source] io::Error),
    /// The agent did not write this text.
    #[error("the node's record cannot be parsed")]
    Parse(#[source] toml::de::Error),
    /// The record cannot be serialized.
    #[error("the node's record cannot be written as TOML")]
    Compose(#[source] toml::ser::Error),
    /// A release with an unsupported record version wrote it.
    #[error(
        "the node's record has version {0}, but this release supports versions 1 to {VERSION}; boot the release that wrote it"
    )]
    Version(u32),
    /// The disk belongs to another cluster.
    #[error("the disk belongs to cluster {then}, but the configuration belongs to cluster {now}")]
    OtherCluster {
        /// On the disk.
        then: String,
        /// In the configuration.
        now: String,
    },
    /// The disk belongs to another node.
    #[error("the disk belongs to node {then}, but the seed belongs to node {now}")]
    OtherNode {
        /// On the disk.
        then: String,
        /// In the seed.
        now: String,
    },
    /// The seed has an earlier incarnation than a seed that this node has used.
    #[error(
        "the seed has incarnation {now}, but this node's record has incarnation {then}; attach the newer seed"
    )]
    OldIncarnation {
        /// On the disk.
        then: u32,
        /// In the seed.
        now: u32,
    },
    /// The configuration is older than one that this node has booted.
    #[error(
        "the configuration has generation {now}, but this node accepts only generation {floor} and later; raise `metadata.generation` to at least {floor} and build again"
    )]
    OldGeneration {
        /// On the disk.
        floor: u64,
        /// In the booted configuration.
        now: u64,
    },
    /// The release is older than a floor that this node has accepted.
    #[error(
        "this is release {now}, but the lowest release that this node accepts is {floor}; boot release {floor} or later"
    )]
    OldRelease {
        /// On the disk.
        floor: Release,
        /// The booted release.
        now: Release,
    },
}

/// Whether a node with the record `then` may boot `release` as `now`: same cluster and node, and no value below a floor.
/// Errors contain both values.
pub fn accept(then: &NodeRecord, now: &NodeRecord, release: &Release) -> Result<(), RecordError> {
    if then.cluster_id != now.cluster_id {
        return Err(RecordError::OtherCluster { then: then.cluster_id.clone(), now: now.cluster_id.clone() });
    }
    if then.node != now.node {
        return Err(RecordError::OtherNode { then: then.node.clone(), now: now.node.clone() });
    }
    if now.incarnation < then.incarnation {
        return Err(RecordError::OldIncarnation { then: then.incarnation, now: now.incarnation });
    }
    if now.generation_floor < then.generation_floor {
        return Err(RecordError::OldGeneration { floor: then.generation_floor, now: now.generation_floor });
    }
    match &then.release_floor {
        Some(floor) if release < floor => {
            Err(RecordError::OldRelease { floor: floor.clone(), now: release.clone() })
        }
        _ => Ok(()),
    }
}

/// How an accepted boot relates to the record.
pub fn judge(recorded: Option<&NodeRecord>, now: &NodeRecord) -> Verdict {
    let Some(then) = recorded else { return Verdict::First };
    if then.machine.differs(&now.machine) {
        Verdict::Clone
    } else if now.incarnation > then.incarnation {
        Verdict::NewIncarnation
    } else if *then == merged(then, now) {
        Verdict::Same
    } else {
        Verdict::Changed
    }
}

/// Combines the record in STATE with the one in the anchor: the fields of the former, and the higher one of each floor.
pub fn newest(state: Option<&NodeRecord>, anchor: Option<&NodeRecord>) -> Option<NodeRecord> {
    match (state, anchor) {
        (Some(state), Some(anchor)) => Some(NodeRecord {
            generation_floor: state.generation_floor.max(anchor.generation_floor),
            release_floor: state.release_floor.clone().max(anchor.release_floor.clone()),
            clock_floor: state.clock_floor.max(anchor.clock_floor),
            ..state.clone()
        }),
        (state, anchor) => state.or(anchor).cloned(),
    }
}

/// The record to store now: floors never decrease, identity that firmware no longer reports is kept, unknown fields are
/// kept.
pub fn merged(then: &NodeRecord, now: &NodeRecord) -> NodeRecord {
    let keep = |now: &Option<String>, then: &Option<String>| now.clone().or_else(|| then.clone());
    NodeRecord {
        clock_floor: now.clock_floor.max(then.clock_floor),
        generation_floor: now.generation_floor.max(then.generation_floor),
        release_floor: now.release_floor.clone().max(then.release_floor.clone()),
        machine: Machine {
            product_uuid: keep(&now.machine.product_uuid, &then.machine.product_uuid),
            product_serial: keep(&now.machine.product_serial, &then.machine.product_serial),
            board_serial: keep(&now.machine.board_serial, &then.machine.board_serial),
            unknown: then.machine.unknown.clone(),
        },
        unknown: then.unknown.clone(),
        ..now.clone()
    }
}

/// Reads the record; `None` if it does not exist yet.
pub fn load(state: &Path) -> Result<Option<NodeRecord>, RecordError> {
    let text = match fs::read_to_string(state.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecordError::Access("read", error)),
    };
    NodeRecord::parse(&text).map(Some)
}

/// Writes the record.
pub fn store(state: &Path, record: &NodeRecord) -> Result<(), RecordError> {
    atomic::replace(state, FILE, record.emit()?.as_bytes())
        .map_err(|error| RecordError::Access("write", error))
}

#[cfg(test)]
mod tests {
    use super::super::fake_disks::record;
    use super::*;

    /// C0: a generation below the recorded one is refused, and the message contains both.
    #[test]
    fn an_older_generation_is_refused_with_both_values() {
        let now = NodeRecord { generation_floor: 3, ..record() };
        let error = accept(&record(), &now, &Release::this()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the configuration has generation 3, but this node accepts only generation 4"),
            "{error}"
        );
    }

    #[test]
    fn a_different_node_or_cluster_and_an_old_seed_are_refused() {
        for now in [
            NodeRecord { node: "cp-2".into(), ..record() },
            NodeRecord { cluster_id: "44".repeat(32), ..record() },
            NodeRecord { incarnation: 1, ..record() },
        ] {
            assert!(accept(&record(), &now, &Release::this()).is_err());
        }
    }

    /// C0: a release below the highest floor that the node has accepted is refused, and the floor never decreases.
    #[test]
    fn an_older_release_is_refused_with_both_values() {
        let then = NodeRecord { release_floor: Some(Release::new(0, 10, 0)), ..record() };
        let error = accept(&then, &record(), &Release::new(0, 9, 9)).unwrap_err().to_string();
        assert!(error.contains("release 0.9.9") && error.contains("release 0.10.0"), "{error}");
        accept(&then, &record(), &Release::new(0, 10, 0)).unwrap();
        let lower = NodeRecord { release_floor: Some(Release::new(0, 1, 0)), ..record() };
        assert_eq!(merged(&then, &lower).release_floor, then.release_floor);
        assert_eq!(merged(&then, &record()).release_floor, then.release_floor);
        assert_eq!(newest(Some(&lower), Some(&then)).unwrap().release_floor, then.release_floor);
    }

    #[test]
    fn a_record_is_rewritten_only_when_it_changes() {
        let verdict = |now: NodeRecord| judge(Some(&record()), &now);
        assert_eq!(judge(None, &record()), Verdict::First);
        assert_eq!(verdict(record()), Verdict::Same);
        assert_eq!(verdict(NodeRecord { generation_floor: 5, ..record() }), Verdict::Changed);
        assert_eq!(
            verdict(NodeRecord { clock_floor: 1, ..record() }),
            Verdict::Same,
            "floors never decrease"
        );
        assert_eq!(verdict(NodeRecord { incarnation: 3, ..record() }), Verdict::NewIncarnation);
        assert_eq!(
            verdict(NodeRecord { machine: Machine::default(), ..record() }),
            Verdict::Same,
            "firmware no longer reports an identity"
        );
        let machine = Machine { product_uuid: Some("u-2".into()), ..record().machine };
        assert_eq!(verdict(NodeRecord { machine: machine.clone(), ..record() }), Verdict::Clone);
        assert_eq!(verdict(NodeRecord { machine, incarnation: 3, ..record() }), Verdict::Clone);
    }

    #[test]
    fn placeholder_texts_do_not_identify_a_machine() {
        let sysfs = tempfile::tempdir().unwrap();
        let folder = sysfs.path().join("class/dmi/id");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [
            ("product_uuid", "00000000-0000-0000-0000-000000000000\n"),
            ("product_serial", "To Be Filled By O.E.M.\n"),
            ("board_serial", "BSN12345\n"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let machine = Machine::observe(sysfs.path());
        let expected = Machine { board_serial: Some("BSN12345".into()), ..Machine::default() };
        assert_eq!(machine, expected);
        assert_eq!(Machine::observe(Path::new("/nonexistent")), Machine::default());
    }

    #[test]
    fn a_record_is_read_as_written_and_an_unsupported_version_is_refused() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(load(state.path()).unwrap(), None);
        store(state.path(), &record()).unwrap();
        assert_eq!(load(state.path()).unwrap(), Some(record()));
        let names: Vec<_> =
            fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        for version in ["0", "3"] {
            fs::write(state.path().join(FILE), format!("version = {version}\nof = 'another shape'\n"))
                .unwrap();
            assert!(matches!(load(state.path()), Err(RecordError::Version(_))), "{version}");
        }
        fs::write(state.path().join(FILE), "version = \n").unwrap();
        assert!(matches!(load(state.path()), Err(RecordError::Parse(_))));
    }

    /// `node.toml` as release 0.1.0 wrote it, before anchors were added.
    const VERSION_1: &str = "version = 1
node = \"cp-1\"
cluster_id = \"3333333333333333333333333333333333333333333333333333333333333333\"
incarnation = 2
generation_floor = 4
clock_floor = 1763300000

[machine]
product_uuid = \"u-1\"
board_serial = \"b\"
";

    #[test]
    fn a_record_of_version_1_is_rewritten_as_version_2() {
        let then = NodeRecord::parse(VERSION_1).unwrap();
        assert_eq!(then, NodeRecord { version: 1, ..record() });
        assert_eq!(judge(Some(&then), &record()), Verdict::Changed);
        let lower = NodeRecord { generation_floor: 3, ..record() };
        assert!(accept(&then, &lower, &Release::this()).is_err(), "the floor of version 1 counts");
        assert_eq!(NodeRecord::parse(&then.emit().unwrap()).unwrap(), record());
    }

    /// ADR 0003: the fields of a later release are kept when this release rewrites the record.
    #[test]
    fn unknown_fields_are_kept() {
        let newer = VERSION_1
            .replace("clock_floor", "roster_epoch = 9\nclock_floor")
            .replace("[machine]", "[later]\ny = true\n\n[machine]")
            .replace("board_serial", "tpm = \"t\"\nboard_serial");
        let then = NodeRecord::parse(&newer).unwrap();
        let text = merged(&then, &NodeRecord { generation_floor: 9, ..record() }).emit().unwrap();
        for kept in ["roster_epoch = 9", "tpm = \"t\"", "[later]", "y = true", "generation_floor = 9"] {
            assert!(text.contains(kept), "{kept} is not in {text}");
        }
        assert_eq!(NodeRecord::parse(&text).unwrap().unknown, then.unknown);
    }
}
