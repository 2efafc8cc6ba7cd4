//! Which configuration volume is used: found by partition type, then by signature, then by generation. The highest generation that a
//! configuration key of the initrd has signed for this cluster wins; whatever else was found is named with the reason (requirement C0).
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
    /// Acceptable statements: the highest generation first, then in the order of the disks.
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
    choice.acceptable.sort_by_key(|(_, statement)| std::cmp::Reverse(statement.generation)); // stable: disks keep their order
    choice
}
