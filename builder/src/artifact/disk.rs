//! A disk image: its partitions and their content.

use std::io;

use kubedos_image::esp::{self, EspError};
use kubedos_image::gpt::{Found, Partition};
use kubedos_image::layout::{Area, Recognised, Role, Slot, recognise};
use kubedos_image::qcow2;
use kubedos_image::source::{Source, Window};
use kubedos_image::verity;
use kubedos_image::width::to_usize;
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;
use kubedos_wire::statement;

use crate::sparse_file::SparseFile;

/// The format of the file that contains the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wrapper {
    /// The disk's bytes themselves.
    Raw,
    /// A qcow2 file.
    Qcow2,
}

/// The errors of reading a part of a disk.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The partition does not exist.
    #[error("there is no partition {0}")]
    Missing(String),
    /// The partition is outside the file.
    #[error("partition {0} reaches past the end of the file")]
    Beyond(String),
    /// The volume is longer than its partition.
    #[error("partition {0} is shorter than its volume")]
    Short(String),
    /// The EFI system partition is invalid.
    #[error("the EFI system partition cannot be read")]
    Esp(#[from] EspError),
    /// The file cannot be read.
    #[error("cannot read partition {0}")]
    Io(String, #[source] io::Error),
}

enum Content {
    Raw(SparseFile),
    Qcow2(qcow2::Image<SparseFile>),
}

/// A disk image with a usable partition table.
#[expect(missing_debug_implementations, reason = "an image is too large to print")]
pub struct Disk {
    content: Content,
    found: Found,
    recognised: Option<Recognised>,
}

impl Disk {
    pub(super) fn raw(file: SparseFile, found: Found) -> Self {
        Self { content: Content::Raw(file), recognised: recognise(&found.table), found }
    }

    pub(super) fn qcow2(image: qcow2::Image<SparseFile>, found: Found) -> Self {
        Self { content: Content::Qcow2(image), recognised: recognise(&found.table), found }
    }

    /// The format of the file.
    pub fn wrapper(&self) -> Wrapper {
        match self.content {
            Content::Raw(_) => Wrapper::Raw,
            Content::Qcow2(_) => Wrapper::Qcow2,
        }
    }

    /// Checks that a qcow2 file has the form that the builder writes; `None` for other files.
    ///
    /// # Errors
    /// The difference. Other tools write the same disk in a different form.
    pub fn wrapped_by_us(&self) -> Option<Result<(), qcow2::Qcow2Error>> {
        match &self.content {
            Content::Raw(_) => None,
            Content::Qcow2(image) => Some(qcow2::check(image.file()).map(drop)),
        }
    }

    /// The bytes of the disk.
    pub fn source(&self) -> &dyn Source {
        match &self.content {
            Content::Raw(file) => file,
            Content::Qcow2(image) => image,
        }
    }

    /// The partition table and the state of its copies.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// The layout, if the partition table has a layout of kubedOS.
    pub fn recognised(&self) -> Option<&Recognised> {
        self.recognised.as_ref()
    }

    /// The bytes of a partition.
    ///
    /// # Errors
    /// [`PartError::Beyond`].
    pub fn window(&self, partition: &Partition) -> Result<Window<'_>, PartError> {
        let table = &self.found.table;
        Window::new(self.source(), table.start_bytes(partition), table.len_bytes(partition))
            .ok_or_else(|| PartError::Beyond(partition.name.clone()))
    }

    /// The bytes of the first partition with this role's type and name.
    ///
    /// # Errors
    /// [`PartError::Missing`] or [`PartError::Beyond`].
    pub fn part(&self, role: Role) -> Result<Window<'_>, PartError> {
        let name = role.to_string();
        let mut all = self.found.table.of_type(role.type_guid());
        match all.find(|(_, partition)| partition.name == name) {
            Some((_, partition)) => self.window(partition),
            None => Err(PartError::Missing(name)),
        }
    }

    /// The files of the EFI system partition, including files that the builder did not write.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn esp(&self) -> Result<esp::Listing, PartError> {
        Ok(esp::read(&self.part(Role::Esp)?)?)
    }

    /// The bytes of a slot's configuration statement, including the zeros after it.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn statement(&self, slot: Slot) -> Result<Vec<u8>, PartError> {
        let role = Role::Volume(Volume::Configuration, Area::Signature, slot);
        self.head(role, statement::MAX_LEN as u64)
    }

    /// The bytes of the seed partition.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn seed(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, PartError> {
        self.head(Role::Seed, kubedos_image::layout::SEED_SIZE).map(zeroize::Zeroizing::new)
    }

    /// The data and the hash area of a volume, with the lengths from its seal. They are found as on a node: by the partition UUIDs that are
    /// derived from the root hash.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn volume(&self, volume: Volume, seal: &Seal) -> Result<[Window<'_>; 2], PartError> {
        let table = &self.found.table;
        let area = |area, length| {
            let name = || Role::Volume(volume, area, Slot::A).to_string();
            let mut named = table.with_uuid(area.partition_uuid(volume, &seal.root_hash));
            let (_, partition) = named
                .next()
                .ok_or_else(|| PartError::Missing(format!("{} with its root hash's UUID", name())))?;
            if table.len_bytes(partition) < length {
                return Err(PartError::Short(partition.name.clone()));
            }
            Window::new(self.source(), table.start_bytes(partition), length)
                .ok_or_else(|| PartError::Beyond(partition.name.clone()))
        };
        let hash_bytes = verity::hash_area_bytes(seal.data_blocks);
        Ok([area(Area::Data, seal.data_bytes())?, area(Area::Hash, hash_bytes)?])
    }

    fn head(&self, role: Role, most: u64) -> Result<Vec<u8>, PartError> {
        let part = self.part(role)?;
        let mut bytes = vec![0; to_usize(part.len().min(most))];
        part.read_exact_at(&mut bytes, 0).map_err(|source| PartError::Io(role.to_string(), source))?;
        Ok(bytes)
    }
}
