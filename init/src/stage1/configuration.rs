//! Which configuration volume is used: found by partition type, then by signature, then by device and generation. On the device of the root
//! volume the highest generation wins that a configuration key of the initrd has signed for this cluster; other devices count only when it
//! has none, so that a stick and the disk it was copied to never mix. Whatever else was found is named with the reason (requirement C0).
//!
//! The floor below which a generation is refused lies in STATE, which is not open yet: the agent checks it.

use std::fs::File;
use std::io::{self, Read as _};

use kubedos_image::DocumentError;
use kubedos_image::boot::BootManifest;
use kubedos_image::hex32::ClusterId;
use kubedos_image::statement::{self, ConfigurationStatement, Domain, StatementError};

use super::candidates::statements;
use super::devices::{self, DeviceError, Disk};

/// Longest a statement's partition can be; what follows the statement in it is zero.
const PARTITION: u64 = 1 << 20;

/// Why a statement is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its partition cannot be reached.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Its partition cannot be read.
    #[error("failed to read")]
    Read(#[from] io::Error),
    /// It is none, or not signed by a key of this image.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// What was signed is no configuration statement.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It belongs to another cluster.
    #[error("signed for another cluster, {0}")]
    Foreign(String),
}

/// A statement as it was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// Where its partition lies.
    pub disk: &'a Disk,
    /// The partition's number.
    pub number: u32,
    /// What it says, or why it does not count.
    pub statement: Result<ConfigurationStatement, Refusal>,
}

/// Reads every statement on the disks, in their order.
pub fn observe<'a>(ranked: &[&'a Disk], manifest: &BootManifest) -> Vec<Found<'a>> {
    let places =
        ranked.iter().flat_map(|disk| statements(disk).into_iter().map(move |number| (*disk, number)));
    places.map(|(disk, number)| Found { disk, number, statement: read(disk, number, manifest) }).collect()
}

fn read(disk: &Disk, number: u32, manifest: &BootManifest) -> Result<ConfigurationStatement, Refusal> {
    let partition = devices::partition(disk, number)?;
    let mut bytes = Vec::new();
    File::open(&partition.path)?.take(PARTITION).read_to_end(&mut bytes)?;
    accept(&bytes, manifest)
}

/// The statement in a partition's bytes, if this image accepts it.
pub fn accept(bytes: &[u8], manifest: &BootManifest) -> Result<ConfigurationStatement, Refusal> {
    let keys = manifest.keys();
    let verified = statement::read(bytes)?.verify(Domain::Configuration, &keys)?;
    let statement = ConfigurationStatement::parse(&verified)?;
    let ours = keys.first().map(|first| ClusterId::derive(first, &statement.cluster));
    if ours == Some(statement.cluster_id) { Ok(statement) } else { Err(Refusal::Foreign(statement.cluster)) }
}

/// What to open, best first, and what was refused.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Acceptable statements: in the order of the disks, and on each the highest generation first.
    pub acceptable: Vec<(&'a Disk, ConfigurationStatement)>,
    /// One line for each of the others.
    pub refused: Vec<String>,
}

/// Sorts what was found. A partition that holds only zeroes is a free slot and not worth a word.
pub fn choose(found: Vec<Found<'_>>) -> Choice<'_> {
    let mut choice = Choice { acceptable: Vec::new(), refused: Vec::new() };
    for Found { disk, number, statement } in found {
        match statement {
            Ok(statement) => choice.acceptable.push((disk, statement)),
            Err(Refusal::Statement(StatementError::Empty)) => {}
            Err(refusal) => {
                choice.refused.push(format!(
                    "{} partition {number}: {}",
                    disk.name,
                    crate::console::chain(&refusal)
                ));
            }
        }
    }
    let mut order: Vec<&str> = choice.acceptable.iter().map(|(disk, _)| disk.name.as_str()).collect();
    order.dedup(); // a disk's statements lie side by side
    choice.acceptable.sort_by_key(|(disk, statement)| {
        (order.iter().position(|name| *name == disk.name), std::cmp::Reverse(statement.generation))
    });
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Medium;
    use kubedos_image::boot::Seal;
    use kubedos_image::gpt::SectorSize;
    use kubedos_image::guid::Guid;
    use kubedos_image::hex32::{PublicKey, RootHash, Salt};

    fn disk(name: &str) -> Disk {
        let table = kubedos_image::layout::shipped(4096)
            .unwrap()
            .table(SectorSize::B512, Guid::from_bytes([7; 16]), |_| Guid::from_bytes([8; 16]))
            .unwrap();
        Disk { name: name.into(), node: name.into(), medium: Medium::Disk, table, table_note: None }
    }

    fn found<'a>(disk: &'a Disk, number: u32, generation: Option<u64>) -> Found<'a> {
        let id = ClusterId::derive(&PublicKey::new([4; 32]), "lab");
        let seal = Seal { root_hash: RootHash::new([1; 32]), salt: Salt::new([2; 32]), data_blocks: 1 };
        let statement = generation
            .map(|generation| ConfigurationStatement::new("lab".into(), id, generation, seal).unwrap())
            .ok_or_else(|| Refusal::Foreign("other".into()));
        Found { disk, number, statement }
    }

    /// C0: what is attached beside the boot disk does not decide, however new it is.
    #[test]
    fn the_disk_of_the_root_volume_comes_before_a_newer_configuration_elsewhere() {
        let (own, stick) = (disk("vda"), disk("sdb"));
        let choice = choose(vec![
            found(&own, 7, Some(3)),
            found(&own, 18, Some(4)),
            found(&stick, 7, Some(9)),
            found(&stick, 18, None),
        ]);
        let order: Vec<_> =
            choice.acceptable.iter().map(|(disk, s)| (disk.name.as_str(), s.generation)).collect();
        assert_eq!(order, [("vda", 4), ("vda", 3), ("sdb", 9)]);
        assert_eq!(choice.refused, ["sdb partition 18: signed for another cluster, other"]);
    }

    #[test]
    fn another_disk_counts_when_the_own_one_has_none() {
        let (own, stick) = (disk("vda"), disk("sdb"));
        let choice = choose(vec![found(&own, 7, None), found(&stick, 7, Some(2))]);
        assert_eq!(choice.acceptable.iter().map(|(disk, _)| disk.name.as_str()).collect::<Vec<_>>(), ["sdb"]);
    }
}
