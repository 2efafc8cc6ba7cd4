//! The operations on disks, as a trait. The Disks stage plans in pure functions and acts only through [`DiskOps`].
//!
//! [`Real`](super::real::Real) uses the kernel and the programs of the image.
//! [`FakeDisks`](super::fake_disks::FakeDisks) keeps disks in memory and logs every write, so that a test can cut the
//! power at any of them.

use std::io;

use kubedos_image::guid::Guid;
use kubedos_sys::block::PartitionRequest;
use zeroize::Zeroizing;

use super::luks::Checked;
use super::survey::{ByteRange, Store, Survey};

/// The 256-bit key of the node's containers, from its seed. Zeroized when dropped.
pub type DiskKey = Zeroizing<[u8; 32]>;

/// An operation on a container. `partition` is the kernel's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerStep {
    /// Writes a new LUKS2 header, marked as unfinished; the content of the partition is lost.
    Format {
        /// Its UUID.
        uuid: Guid,
    },
    /// Opens the container with the node's key, using the checked header and not the one on the disk.
    Open {
        /// The checked header.
        header: Checked,
    },
    /// Marks the container as finished: from then on it is formatted only if `allowDestroy` permits it.
    Finish,
    /// Closes the container, if an earlier attempt left it open.
    Close,
}

/// A finished container that should be opened.
#[derive(Debug, Clone)]
pub struct ToOpen {
    /// The store.
    pub store: Store,
    /// The kernel's name of its partition.
    pub partition: String,
    /// The checked header.
    pub header: Checked,
}

/// An operation inside an open container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesystemStep {
    /// Creates an ext4 file system.
    Create {
        /// Its UUID.
        uuid: Guid,
    },
    /// Checks the file system and repairs damage by a power cut or an error.
    Check,
    /// Mounts it at its mount point.
    Mount,
    /// Grows it to the size of its container while it is mounted.
    Grow,
    /// Mounts a tmpfs at the mount point instead, because no disk is usable.
    MountMemory,
}

/// A failed operation, with its object.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The kernel reported an error.
    #[error("failed to {verb} {object}")]
    Io {
        /// The operation.
        verb: &'static str,
        /// Its object.
        object: String,
        /// The error of the kernel.
        #[source]
        source: io::Error,
    },
    /// A program of the image failed.
    #[error("{program} on {object} ended with {ended}: {output}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Its object.
        object: String,
        /// Its exit status.
        ended: String,
        /// The last line that it wrote to stderr.
        output: String,
    },
    /// The node's key does not open the container.
    #[error("the key of this node's seed does not open {partition}")]
    WrongKey {
        /// The kernel's name of the partition.
        partition: String,
    },
}

/// The operations that the Disks stage needs.
pub trait DiskOps {
    /// Observes disks, containers and mounts, without a change.
    fn survey(&mut self) -> Result<Survey, OpsError>;

    /// Reads `len` bytes at offset `at` of a disk, a partition or the mapping of an open container (`kubedos-state`),
    /// from the medium and not from a cache.
    fn read(&mut self, device: &str, at: u64, len: usize) -> Result<Vec<u8>, OpsError>;

    /// Writes to a disk or partition. The data is on the medium only after [`DiskOps::flush`].
    fn write(&mut self, device: &str, at: u64, bytes: &[u8]) -> Result<(), OpsError>;

    /// Returns when everything written to the device is on its medium.
    fn flush(&mut self, device: &str) -> Result<(), OpsError>;

    /// Whether the node's key opens a container with this header. Does not open it.
    fn opens(&mut self, header: &Checked, key: &DiskKey) -> Result<bool, OpsError>;

    /// Announces one partition of a disk to the kernel; the disk may be in use.
    fn announce(
        &mut self,
        disk: &str,
        request: PartitionRequest,
        number: u32,
        place: ByteRange,
    ) -> Result<(), OpsError>;

    /// Performs a step on a container.
    fn container(
        &mut self,
        store: Store,
        partition: &str,
        step: &ContainerStep,
        key: &DiskKey,
    ) -> Result<(), OpsError>;

    /// Performs a step inside an open container, or on its mount point.
    fn filesystem(&mut self, store: Store, step: &FilesystemStep) -> Result<(), OpsError>;

    /// Opens several containers, each with its checked header, and returns one result for each. The containers are independent,
    /// so an implementation may open them in parallel.
    fn open_each(&mut self, wanted: &[ToOpen], key: &DiskKey) -> Vec<Result<(), OpsError>> {
        let open = |ToOpen { store, partition, header }: &ToOpen| {
            self.container(*store, partition, &ContainerStep::Open { header: header.clone() }, key)
        };
        wanted.iter().map(open).collect()
    }

    /// Checks the file systems in several open containers, in parallel if the implementation supports it.
    fn check_each(&mut self, stores: &[Store]) -> Result<(), OpsError> {
        stores.iter().try_for_each(|store| self.filesystem(*store, &FilesystemStep::Check))
    }
}
