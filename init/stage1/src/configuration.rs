//! Chooses the configuration volume: by partition type, then by signature, then by device and generation. On the device
//! of the root volume, it chooses the highest generation that a configuration key of the initrd has signed for this
//! cluster. It uses another device only if that device has no acceptable configuration, so that volumes of a USB stick
//! and of its copy on a disk are never mixed. All other statements are reported with the reason (requirement C0).
//!
//! Only [`accept`] decides whether a statement is acceptable. The floors of generations are in the seed and in STATE,
//! which are not open yet: the agent checks them.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, Read as _};

use kubedos_wire::accept::{self, Accepted, Authority, accept};
use kubedos_wire::statement::{ConfigurationStatement, StatementError};

use super::candidates::statements;
use super::devices::{self, DeviceError, Disk};

/// Maximum size of a statement's partition; the bytes after the statement are zero.
const PARTITION: u64 = 1 << 20;

/// Why a statement is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The partition of the statement cannot be found.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The partition of the statement cannot be read.
    #[error("failed to read")]
    Read(#[from] io::Error),
    /// This image does not accept the statement.
    #[error(transparent)]
    Refused(#[from] accept::Refusal),
}

/// A statement on a disk.
#[derive(Debug)]
pub struct Found<'a> {
    /// The disk of its partition.
    pub disk: &'a Disk,
    /// The partition's number.
    pub number: u32,
    /// The accepted statement with its bytes, or why it is refused.
    pub statement: Result<(Accepted, Vec<u8>), Refusal>,
}

/// Reads every statement on the disks, in the order of the disks.
pub fn observe<'a>(ranked: &[&'a Disk], authority: &Authority) -> Vec<Found<'a>> {
    let places =
        ranked.iter().flat_map(|disk| statements(disk).into_iter().map(move |number| (*disk, number)));
    places.map(|(disk, number)| Found { disk, number, statement: read(disk, number, authority) }).collect()
}

fn read(disk: &Disk, number: u32, authority: &Authority) -> Result<(Accepted, Vec<u8>), Refusal> {
    let partition = devices::partition(disk, number)?;
    let mut bytes = Vec::new();
    File::open(&partition.path)?.take(PARTITION).read_to_end(&mut bytes)?;
    let accepted = accept(&bytes, authority)?;
    bytes.truncate(accepted.encoded_len);
    Ok((accepted, bytes))
}

/// An acceptable statement, its disk, and its bytes.
#[derive(Debug)]
pub struct Acceptable<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// Its content.
    pub statement: ConfigurationStatement,
    /// Its signed bytes, for the agent, which checks it again.
    pub bytes: Vec<u8>,
}

/// The statements to open, best first, and the refused ones.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Acceptable statements: in the order of the disks, and on each the highest generation first.
    pub acceptable: Vec<Acceptable<'a>>,
    /// One line for each refused statement.
    pub refused: Vec<String>,
}

/// Sorts the statements. A partition of zeroes is a free slot and is not reported.
pub fn choose(found: Vec<Found<'_>>) -> Choice<'_> {
    let mut choice = Choice { acceptable: Vec::new(), refused: Vec::new() };
    for Found { disk, number, statement } in found {
        match statement {
            Ok((Accepted { statement, .. }, bytes)) => {
                choice.acceptable.push(Acceptable { disk, statement, bytes });
            }
            Err(Refusal::Refused(accept::Refusal::Statement(StatementError::Empty))) => {}
            Err(refusal) => {
                choice.refused.push(format!(
                    "{} partition {number}: {}",
                    disk.name,
                    kubedos_wire::printable::chain(&refusal)
                ));
            }
        }
    }
    let mut order: Vec<&str> = choice.acceptable.iter().map(|found| found.disk.name.as_str()).collect();
    order.dedup(); // statements of the same disk are adjacent
    choice.acceptable.sort_by_key(|found| {
        (order.iter().position(|name| *name == found.disk.name), Reverse(found.statement.generation))
    });
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::gpt::SectorSize;
    use kubedos_image::guid::Guid;
    use kubedos_wire::handover::Medium;
    use kubedos_wire::hex32::{ClusterId, PublicKey, RootHash, Salt};
    use kubedos_wire::release::Release;
    use kubedos_wire::seal::Seal;

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
        let accepted = |generation| {
            let statement =
                ConfigurationStatement::new("lab".into(), id, generation, Release::new(0, 1, 0), seal)
                    .unwrap();
            (Accepted { statement, signer: PublicKey::new([4; 32]), encoded_len: 0 }, Vec::new())
        };
        let statement = generation
            .map(accepted)
            .ok_or_else(|| Refusal::Refused(accept::Refusal::Statement(StatementError::UnknownSigner(1))));
        Found { disk, number, statement }
    }

    /// C0: a newer configuration on another attached disk is not used.
    #[test]
    fn the_disk_of_the_root_volume_precedes_a_newer_configuration_on_another_disk() {
        let (own, stick) = (disk("vda"), disk("sdb"));
        let choice = choose(vec![
            found(&own, 7, Some(3)),
            found(&own, 18, Some(4)),
            found(&stick, 7, Some(9)),
            found(&stick, 18, None),
        ]);
        let order: Vec<_> =
            choice.acceptable.iter().map(|f| (f.disk.name.as_str(), f.statement.generation)).collect();
        assert_eq!(order, [("vda", 4), ("vda", 3), ("sdb", 9)]);
        assert_eq!(choice.refused, ["sdb partition 18: not signed by a trusted key (trusted keys: 1)"]);
    }

    #[test]
    fn another_disk_is_used_if_the_disk_of_the_root_volume_has_no_configuration() {
        let (own, stick) = (disk("vda"), disk("sdb"));
        let choice = choose(vec![found(&own, 7, None), found(&stick, 7, Some(2))]);
        assert_eq!(
            choice.acceptable.iter().map(|found| found.disk.name.as_str()).collect::<Vec<_>>(),
            ["sdb"]
        );
    }
}
