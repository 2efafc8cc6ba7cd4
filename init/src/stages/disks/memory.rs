//! What a node remembers in STATE (`node.toml`), and what a boot makes of it. The judgement is pure.
//!
//! The memory is what makes replacing a node, going back to an older configuration and cloning a disk visible. It is written to a
//! temporary name, flushed and renamed, so that it is either the old or the new one (ADR 0052).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Its name in STATE.
pub const FILE: &str = "node.toml";

/// The version that this release writes and understands.
pub const VERSION: u32 = 1;

/// What identifies the machine, as firmware tells it (SMBIOS types 1 and 2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl Machine {
    /// Reads what the kernel shows in `/sys/class/dmi/id`. Texts that many machines share say nothing.
    pub fn observe(sysfs: &Path) -> Self {
        let field = |name: &str| {
            let text = fs::read_to_string(sysfs.join("class/dmi/id").join(name)).ok()?; // no firmware table: then nothing identifies it
            let text = text.trim();
            let says_nothing = text.is_empty()
                || text.chars().all(|letter| matches!(letter, '0' | '-' | 'f' | 'F' | ' ' | '.'))
                || [
                    "none",
                    "not specified",
                    "default string",
                    "to be filled by o.e.m.",
                    "system serial number",
                ]
                .contains(&text.to_ascii_lowercase().as_str());
            (!says_nothing).then(|| text.to_owned())
        };
        Self {
            product_uuid: field("product_uuid"),
            product_serial: field("product_serial"),
            board_serial: field("board_serial"),
        }
    }

    /// Whether a disk that remembers `self` is in another machine now: one of the things that both know differs.
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

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// [`VERSION`].
    pub version: u32,
    /// The node's name.
    pub node: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// The incarnation that the seed named.
    pub incarnation: u32,
    /// No configuration with a lower generation is accepted.
    pub generation_floor: u64,
    /// The clock is never before this, in seconds since 1970.
    pub clock_floor: u64,
    /// The machine that the disk was in.
    pub machine: Machine,
}

impl Memory {
    /// Reads a memory's text.
    pub fn parse(text: &str) -> Result<Self, MemoryError> {
        let memory: Self = toml::from_str(text).map_err(MemoryError::Parse)?;
        if memory.version == VERSION { Ok(memory) } else { Err(MemoryError::Version(memory.version)) }
    }

    /// A memory's text.
    pub fn emit(&self) -> Result<String, MemoryError> {
        toml::to_string(self).map_err(MemoryError::Compose)
    }
}

/// What a boot finds in STATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is remembered: the node is new.
    First,
    /// Everything is as it was; the memory need not be written.
    Same,
    /// The same node, with news to remember.
    News,
    /// The disk was made in another machine: its names and the node's own keys are made anew.
    Clone,
    /// The same machine, with the seed of a later incarnation: the node's own keys are made anew.
    Reborn,
}

/// Why this node may not go on with this STATE.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file cannot be read or written.
    #[error("failed to {0} what STATE remembers")]
    Access(&'static str, #[source] io::Error),
    /// It is not what the agent writes.
    #[error("what STATE remembers cannot be understood")]
    Parse(#[source] toml::de::Error),
    /// It could not be turned into text.
    #[error("failed to write down what STATE should remember")]
    Compose(#[source] toml::ser::Error),
    /// Another version wrote it.
    #[error("STATE was written in version {0}, only version {VERSION} is understood")]
    Version(u32),
    /// STATE belongs to another cluster.
    #[error("STATE belongs to cluster {then}, the configuration to cluster {now}")]
    OtherCluster {
        /// In STATE.
        then: String,
        /// In the configuration.
        now: String,
    },
    /// STATE belongs to another node.
    #[error("STATE belongs to node {then}, the seed to node {now}")]
    OtherNode {
        /// In STATE.
        then: String,
        /// In the seed.
        now: String,
    },
    /// The seed of an earlier incarnation was used again.
    #[error("the seed is of incarnation {now}, but STATE has seen incarnation {then}")]
    OldIncarnation {
        /// In STATE.
        then: u32,
        /// In the seed.
        now: u32,
    },
    /// An older configuration was put back.
    #[error("the configuration has generation {now}, but this node has seen generation {floor}")]
    OldGeneration {
        /// In STATE.
        floor: u64,
        /// Booted.
        now: u64,
    },
}

/// Compares what STATE remembers with what was booted. Refusals name both sides.
pub fn judge(remembered: Option<&Memory>, now: &Memory) -> Result<Verdict, MemoryError> {
    let Some(then) = remembered else { return Ok(Verdict::First) };
    if then.cluster_id != now.cluster_id {
        return Err(MemoryError::OtherCluster { then: then.cluster_id.clone(), now: now.cluster_id.clone() });
    }
    if then.node != now.node {
        return Err(MemoryError::OtherNode { then: then.node.clone(), now: now.node.clone() });
    }
    if now.incarnation < then.incarnation {
        return Err(MemoryError::OldIncarnation { then: then.incarnation, now: now.incarnation });
    }
    if now.generation_floor < then.generation_floor {
        return Err(MemoryError::OldGeneration { floor: then.generation_floor, now: now.generation_floor });
    }
    Ok(if then.machine.differs(&now.machine) {
        Verdict::Clone
    } else if now.incarnation > then.incarnation {
        Verdict::Reborn
    } else if *then == merged(then, now) {
        Verdict::Same
    } else {
        Verdict::News
    })
}

/// What is to be remembered now: floors never fall, and what firmware does not tell today is not forgotten.
pub fn merged(then: &Memory, now: &Memory) -> Memory {
    let keep = |now: &Option<String>, then: &Option<String>| now.clone().or_else(|| then.clone());
    Memory {
        clock_floor: now.clock_floor.max(then.clock_floor),
        generation_floor: now.generation_floor.max(then.generation_floor),
        machine: Machine {
            product_uuid: keep(&now.machine.product_uuid, &then.machine.product_uuid),
            product_serial: keep(&now.machine.product_serial, &then.machine.product_serial),
            board_serial: keep(&now.machine.board_serial, &then.machine.board_serial),
        },
        ..now.clone()
    }
}

/// Reads the memory; `None` when there is none yet.
pub fn recall(state: &Path) -> Result<Option<Memory>, MemoryError> {
    let text = match fs::read_to_string(state.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(MemoryError::Access("read", error)),
    };
    Memory::parse(&text).map(Some)
}

/// Writes the memory.
pub fn remember(state: &Path, memory: &Memory) -> Result<(), MemoryError> {
    keep(state, FILE, memory.emit()?.as_bytes()).map_err(|error| MemoryError::Access("write", error))
}

/// Writes a file of STATE: after a power cut it is the old or the new one.
pub fn keep(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        Memory {
            version: VERSION,
            node: "cp-1".into(),
            cluster_id: "33".repeat(32),
            incarnation: 2,
            generation_floor: 4,
            clock_floor: 1_763_300_000,
            machine: Machine {
                product_uuid: Some("u-1".into()),
                product_serial: None,
                board_serial: Some("b".into()),
            },
        }
    }

    /// C0: a generation below what the node remembers is refused, and both numbers are named.
    #[test]
    fn an_older_generation_is_refused_naming_both() {
        let now = Memory { generation_floor: 3, ..memory() };
        let error = judge(Some(&memory()), &now).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration has generation 3, but this node has seen generation 4"
        );
    }

    #[test]
    fn another_node_cluster_or_an_old_seed_is_refused() {
        for now in [
            Memory { node: "cp-2".into(), ..memory() },
            Memory { cluster_id: "44".repeat(32), ..memory() },
            Memory { incarnation: 1, ..memory() },
        ] {
            assert!(judge(Some(&memory()), &now).is_err());
        }
    }

    #[test]
    fn what_is_news_and_what_is_not() {
        let verdict = |now: Memory| judge(Some(&memory()), &now).unwrap();
        assert_eq!(judge(None, &memory()).unwrap(), Verdict::First);
        assert_eq!(verdict(memory()), Verdict::Same);
        assert_eq!(verdict(Memory { generation_floor: 5, ..memory() }), Verdict::News);
        assert_eq!(verdict(Memory { clock_floor: 1, ..memory() }), Verdict::Same, "floors never fall");
        assert_eq!(verdict(Memory { incarnation: 3, ..memory() }), Verdict::Reborn);
        assert_eq!(
            verdict(Memory { machine: Machine::default(), ..memory() }),
            Verdict::Same,
            "firmware fell silent"
        );
        let machine = Machine { product_uuid: Some("u-2".into()), ..memory().machine };
        assert_eq!(verdict(Memory { machine: machine.clone(), ..memory() }), Verdict::Clone);
        assert_eq!(verdict(Memory { machine, incarnation: 3, ..memory() }), Verdict::Clone);
    }

    #[test]
    fn texts_that_many_machines_share_identify_none() {
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
    fn a_memory_is_read_as_it_was_written_and_another_version_is_refused() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(recall(state.path()).unwrap(), None);
        remember(state.path(), &memory()).unwrap();
        assert_eq!(recall(state.path()).unwrap(), Some(memory()));
        let names: Vec<_> =
            fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE]);
        let text = fs::read_to_string(state.path().join(FILE)).unwrap();
        fs::write(state.path().join(FILE), text.replace("version = 1", "version = 2")).unwrap();
        assert!(matches!(recall(state.path()), Err(MemoryError::Version(2))));
        fs::write(state.path().join(FILE), "version = \n").unwrap();
        assert!(matches!(recall(state.path()), Err(MemoryError::Parse(_))));
    }
}
