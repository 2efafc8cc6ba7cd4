//! The seam between deciding and acting: what the Disks stage asks of the world, in its own words.
//!
//! [`Real`](super::real::Real) asks the kernel and the programs of the image; [`Replica`](super::replica::Replica) keeps disks in
//! memory, logs every write, and so can be cut off at any of them.

use std::io;

use kubedos_image::guid::Guid;
use kubedos_sys::block::PartitionRequest;
use zeroize::Zeroizing;

use super::luks::Checked;
use super::survey::{Store, Stretch, Survey};

/// The 256-bit key of the node's containers, from its seed. Wiped when dropped.
pub type DiskKey = Zeroizing<[u8; 32]>;

/// What is done to a container. `partition` is the kernel's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerStep {
    /// A new LUKS2 header, marked as unfinished; what was in the partition is lost.
    Format {
        /// Its UUID.
        uuid: Guid,
    },
    /// Opens it with the node's key, by the header that was checked and not by the one on the disk.
    Open {
        /// The checked header.
        header: Checked,
    },
    /// Marks it as finished: from now on it is never formatted unasked.
    Finish,
    /// Closes it, when an earlier attempt left it open.
    Close,
}

/// What is done inside an open container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesystemStep {
    /// A new ext4.
    Make {
        /// Its UUID.
        uuid: Guid,
    },
    /// Mends what a power cut or an error left.
    Check,
    /// Mounts it at its place.
    Mount,
    /// Grows it to the size of its container, while it is mounted.
    Grow,
    /// Mounts memory at its place instead: no disk could be had.
    MountMemory,
}

/// An operation that failed, with its object.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The kernel reported an error.
    #[error("failed to {verb} {object}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        object: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A program of the image failed.
    #[error("{program} on {object} ended with {ended}: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// On what it was run.
        object: String,
        /// Its exit status.
        ended: String,
        /// The last line that it wrote.
        said: String,
    },
    /// The node's key does not open a container.
    #[error("the key of this node's seed does not open {partition}")]
    WrongKey {
        /// The kernel's name of the partition.
        partition: String,
    },
}

/// What the Disks stage asks of the world.
pub trait DiskOps {
    /// Looks at everything; changes nothing.
    fn survey(&mut self) -> Result<Survey, OpsError>;

    /// Reads `len` bytes at `at` of a disk or partition, or of the inside of an open container (`kubedos-state`): from the medium, not
    /// from what was read before.
    fn read(&mut self, device: &str, at: u64, len: usize) -> Result<Vec<u8>, OpsError>;

    /// Writes to a disk or partition. Not on the medium before [`DiskOps::flush`].
    fn write(&mut self, device: &str, at: u64, bytes: &[u8]) -> Result<(), OpsError>;

    /// Returns when everything written to the device is on its medium.
    fn flush(&mut self, device: &str) -> Result<(), OpsError>;

    /// Whether the node's key opens a container with this header. Opens nothing.
    fn opens(&mut self, header: &Checked, key: &DiskKey) -> Result<bool, OpsError>;

    /// Tells the kernel about one partition of a disk that may be in use.
    fn announce(
        &mut self,
        disk: &str,
        request: PartitionRequest,
        number: u32,
        place: Stretch,
    ) -> Result<(), OpsError>;

    /// Acts on a container.
    fn container(
        &mut self,
        store: Store,
        partition: &str,
        step: &ContainerStep,
        key: &DiskKey,
    ) -> Result<(), OpsError>;

    /// Acts inside an open container, or on its mount point.
    fn filesystem(&mut self, store: Store, step: &FilesystemStep) -> Result<(), OpsError>;
}
