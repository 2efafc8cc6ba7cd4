//! Opens a volume: tries every candidate in order until one verifies and mounts, and reports the refused ones.

use kubedos_sys::dm::DeviceMapper;
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;

use super::candidates::Candidate;
use super::devices::{self, DeviceError, Disk};
use super::mounts::{Mount, MountError};
use super::verity::{self, VerityError};
use kubedos_wire::printable::chain;

/// A mounted volume.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The disk of the volume.
    pub disk: &'a Disk,
    /// The location of the volume, and the candidates that were refused before, for the record.
    pub note: String,
}

/// No candidate could be opened as the volume.
#[derive(Debug, thiserror::Error)]
#[error("no usable volume {volume}: {}", if refused.is_empty() { "no partition has its UUID".into() } else { refused.join("; ") })]
pub struct OpenError {
    /// The volume's name.
    pub volume: &'static str,
    refused: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Verity(#[from] VerityError),
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// Opens and mounts the first candidate that is the volume.
pub fn open<'a>(
    mapper: &DeviceMapper,
    volume: Volume,
    seal: &Seal,
    candidates: &[Candidate<'a>],
    mount: &Mount,
) -> Result<Opened<'a>, OpenError> {
    let mut refused = Vec::new();
    for candidate in candidates {
        match attempt(mapper, volume, seal, candidate, mount) {
            Ok(()) => return Ok(Opened { disk: candidate.disk, note: note(candidate, &refused) }),
            Err(refusal) => {
                refused.push(format!(
                    "{} partition {}: {}",
                    candidate.disk.name,
                    candidate.data,
                    chain(&refusal)
                ));
            }
        }
    }
    Err(OpenError { volume: volume.name(), refused })
}

fn attempt(
    mapper: &DeviceMapper,
    volume: Volume,
    seal: &Seal,
    candidate: &Candidate<'_>,
    mount: &Mount,
) -> Result<(), Refusal> {
    let data = devices::partition(candidate.disk, candidate.data)?;
    let hash = devices::partition(candidate.disk, candidate.hash)?;
    let device = verity::open(mapper, volume, seal, &data, &hash)?;
    mount.mount(Some(&device)).inspect_err(|_| verity::close(mapper, volume))?;
    Ok(())
}

fn note(candidate: &Candidate<'_>, refused: &[String]) -> String {
    let chosen = format!("{} partition {}", candidate.disk.name, candidate.data);
    if refused.is_empty() { chosen } else { format!("{chosen}; refused: {}", refused.join("; ")) }
}
