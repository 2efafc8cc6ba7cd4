//! Which configuration volume is used: found by partition type, then by signature, then by device and generation. On the device of the root
//! volume the highest generation wins that a configuration key of the initrd has signed for this cluster; other devices count only when it
//! has none, so that a stick and the disk it was copied to never mix. Whatever else was found is named with the reason (requirement C0).
//!
//! Whether a statement is acceptable is decided by [`accept`] alone. The floors below which a generation is refused lie in the seed and in
//! STATE, which are not open yet: the agent checks them.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, Read as _};

use kubedos_image::accept::{self, Accepted, Authority, accept};
use kubedos_image::statement::{ConfigurationStatement, StatementError};

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
    /// This image does not accept it.
    #[error(transparent)]
    Refused(#[from] accept::Refusal),
}

/// A statement as it was found.
#[derive(Debug)]
pub struct Found<'a> {
    /// Where its partition lies.
    pub disk: &'a Disk,
    /// The partition's number.
    pub number: u32,
    /// What is accepted, with its own bytes; or why it does not count.
    pub statement: Result<(Accepted, Vec<u8>), Refusal>,
}

/// Reads every statement on the disks, in their order.
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

/// An acceptable statement, where it lies, and its bytes.
#[derive(Debug)]
pub struct Acceptable<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// What it says.
    pub statement: ConfigurationStatement,
    /// As it was signed, for the agent, which judges it again.
    pub bytes: Vec<u8>,
}

/// What to open, best first, and what was refused.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Acceptable statements: in the order of the disks, and on each the highest generation first.
    pub acceptable: Vec<Acceptable<'a>>,
    /// One line for each of the others.
    pub refused: Vec<String>,
}

/// Sorts what was found. A partition that holds only zeroes is a free slot and not worth a word.
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
                    crate::console::chain(&refusal)
                ));
            }
        }
    }
    let mut order: Vec<&str> = choice.acceptable.iter().map(|found| found.disk.name.as_str()).collect();
    order.dedup(); // a disk's statements lie side by side
    choice.acceptable.sort_by_key(|found| {
        (order.iter().position(|name| *name == found.disk.name), Reverse(found.statement.generation))
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
    use kubedos_image::hex32::{ClusterId, PublicKey, RootHash, Salt};
    use kubedos_image::release::Release;

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
            choice.acceptable.iter().map(|f| (f.disk.name.as_str(), f.statement.generation)).collect();
        assert_eq!(order, [("vda", 4), ("vda", 3), ("sdb", 9)]);
        assert_eq!(
            choice.refused,
            ["sdb partition 18: not signed by any of the 1 keys that are trusted here"]
        );
    }

    #[test]
    fn another_disk_counts_when_the_own_one_has_none() {
        let (own, stick) = (disk("vda"), disk("sdb"));
        let choice = choose(vec![found(&own, 7, None), found(&stick, 7, Some(2))]);
        assert_eq!(
            choice.acceptable.iter().map(|found| found.disk.name.as_str()).collect::<Vec<_>>(),
            ["sdb"]
        );
    }
}
