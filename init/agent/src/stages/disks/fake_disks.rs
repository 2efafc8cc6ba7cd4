//! Disks in memory, for tests and dry runs of the real code. Every write and flush is logged, so a test can cut the
//! power at any of them and save the result as a sparse file for other programs.
//!
//! Partition tables have their real bytes. Containers and file systems are reduced to real LUKS2 headers (a digest of
//! the key replaces the key slot) and real ext4 superblocks, without further content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kubedos_image::guid::Guid;
use kubedos_sys::block::PartitionRequest;
use ring::digest;

use super::anchor;
use super::luks::{self, Checked};
use super::node_record::{Machine, NodeRecord, VERSION};
use super::ops::{ContainerStep, DiskKey, DiskOps, FilesystemStep, OpsError};
use super::survey::{ByteRange, Disk, Store, Survey};

const PAGE: usize = 4096;

/// Offset of the digest of the key: the place of the key slot.
const KEY_AREA: u64 = luks::HEAD_BYTES as u64;

/// The bytes of one disk; pages of zeroes are not stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Medium(BTreeMap<u64, Vec<u8>>);

impl Medium {
    /// Reads `len` bytes at offset `at`.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let here = at + bytes.len() as u64;
            let inside = usize::try_from(here % PAGE as u64).unwrap_or_default();
            let take = (PAGE - inside).min(len - bytes.len());
            match self.0.get(&(here / PAGE as u64)).and_then(|page| page.get(inside..inside + take)) {
                Some(part) => bytes.extend_from_slice(part),
                None => bytes.resize(bytes.len() + take, 0),
            }
        }
        bytes
    }

    /// Writes `bytes` at offset `at`.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let here = at + done as u64;
            let inside = usize::try_from(here % PAGE as u64).unwrap_or_default();
            let take = (PAGE - inside).min(rest.len());
            let page = self.0.entry(here / PAGE as u64).or_insert_with(|| vec![0; PAGE]);
            if let (Some(to), Some(from)) = (page.get_mut(inside..inside + take), rest.get(..take)) {
                to.copy_from_slice(from);
            }
            done += take;
        }
    }

    /// Saves the whole disk as a sparse file.
    pub fn save(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(bytes)?;
        self.0.iter().try_for_each(|(page, bytes)| file.write_all_at(bytes, page * PAGE as u64))
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// A write.
    Write {
        /// The disk.
        disk: String,
        /// The offset.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// All earlier writes are on the medium.
    Flush {
        /// The disk.
        disk: String,
    },
}

/// Disks, the kernel's view of them, and the log.
#[derive(Debug, Clone, Default)]
pub struct FakeDisks {
    /// The kernel's view; `announce` changes its partitions.
    pub disks: Vec<Disk>,
    /// The bytes, by disk.
    pub media: BTreeMap<String, Medium>,
    /// Every write and flush so far.
    pub log: Vec<Logged>,
    /// A line for each operation so far.
    pub operations: Vec<String>,
    /// A disk on which every write fails.
    pub failing: Option<String>,
    /// A disk on which every read fails.
    pub unreadable: Option<String>,
    /// Disks that are not ready yet, with the number of reads that still return zeroes.
    pub not_ready: BTreeMap<String, usize>,
    open: BTreeMap<Store, String>,
    mounted: BTreeSet<Store>,
}

impl FakeDisks {
    /// Adds a disk.
    pub fn add(&mut self, disk: Disk, medium: Medium) {
        self.media.insert(disk.name.clone(), medium);
        self.disks.push(disk);
    }

    /// The same machine after a restart: the kernel reads the tables again, no container is open or mounted, and the log is
    /// empty.
    pub fn restarted(
        &self,
        media: BTreeMap<String, Medium>,
        partitions: impl Fn(&Disk, &Medium) -> BTreeMap<u32, ByteRange>,
    ) -> Self {
        let mut next = Self { media, ..Self::default() };
        for disk in &self.disks {
            let medium = next.media.get(&disk.name).cloned().unwrap_or_default();
            next.disks.push(Disk { partitions: partitions(disk, &medium), ..disk.clone() });
        }
        next
    }

    /// The media if the power is cut after the first `entries` of this log, starting from `before`. Unflushed writes for
    /// which `lost` returns true are missing.
    pub fn cut(
        &self,
        before: &BTreeMap<String, Medium>,
        entries: usize,
        lost: impl Fn(usize) -> bool,
    ) -> BTreeMap<String, Medium> {
        let mut media = before.clone();
        for (index, entry) in self.log.iter().enumerate().take(entries) {
            if let Logged::Write { disk, at, bytes } = entry {
                let confirmed = self
                    .log
                    .iter()
                    .take(entries)
                    .skip(index)
                    .any(|later| matches!(later, Logged::Flush { disk: flushed } if flushed == disk));
                if confirmed || !lost(index) {
                    media.entry(disk.clone()).or_default().write(*at, bytes);
                }
            }
        }
        media
    }

    /// The disk of a device name, and the offset on the disk where the device starts.
    fn place(&self, device: &str) -> Result<(String, u64), OpsError> {
        let missing = || OpsError::Io {
            verb: "open",
            object: device.to_owned(),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        for store in Store::ALL {
            if device == store.label() {
                let partition = self.open.get(&store).ok_or_else(missing)?;
                return self.place(partition).map(|(disk, start)| (disk, start + luks::DATA_OFFSET));
            }
        }
        for disk in &self.disks {
            if disk.name == device {
                return Ok((device.to_owned(), 0));
            }
            if let Some((_, place)) =
                disk.partitions.iter().find(|(number, _)| disk.partition(**number) == device)
            {
                return Ok((disk.name.clone(), place.start));
            }
        }
        Err(missing())
    }

    fn len(&self, partition: &str) -> u64 {
        let of = |disk: &Disk| {
            disk.partitions
                .iter()
                .find(|(number, _)| disk.partition(**number) == partition)
                .map(|(_, place)| place.len)
        };
        self.disks.iter().find_map(of).unwrap_or_default()
    }

    /// Updates a header as cryptsetup does: torn first copy, first copy, second copy.
    fn write_header(
        &mut self,
        partition: &str,
        store: Store,
        subsystem: &str,
        sequence: u64,
    ) -> Result<(), OpsError> {
        let area = luks_area_of(store, subsystem, sequence);
        let (first, second) = area.split_at(luks::COPY_BYTES);
        let second = second.get(..luks::COPY_BYTES).unwrap_or_default();
        let mut torn = first.to_vec();
        if let Some(sum) = torn.get_mut(luks::CHECKSUM..luks::CHECKSUM + 64) {
            sum.fill(0);
        }
        self.write(partition, 0, &torn)?;
        self.flush(partition)?;
        self.write(partition, 0, first)?;
        self.flush(partition)?;
        self.write(partition, luks::COPY_BYTES as u64, second)?;
        self.flush(partition)
    }
}

impl DiskOps for FakeDisks {
    fn survey(&mut self) -> Result<Survey, OpsError> {
        let open = self
            .open
            .iter()
            .map(|(store, partition)| (*store, self.len(partition) - luks::DATA_OFFSET))
            .collect();
        Ok(Survey { disks: self.disks.clone(), open, mounted: self.mounted.clone(), undriven: Vec::new() })
    }

    fn read(&mut self, device: &str, at: u64, len: usize) -> Result<Vec<u8>, OpsError> {
        let (disk, start) = self.place(device)?;
        if self.unreadable.as_deref() == Some(disk.as_str()) {
            let source = io::Error::other("Input/output error");
            return Err(OpsError::Io { verb: "read from", object: device.to_owned(), source });
        }
        if let Some(reads) = self.not_ready.get_mut(&disk).filter(|reads| **reads > 0) {
            *reads -= 1;
            return Ok(vec![0; len]);
        }
        Ok(self.media.get(&disk).map(|medium| medium.read(start + at, len)).unwrap_or_default())
    }

    fn write(&mut self, device: &str, at: u64, bytes: &[u8]) -> Result<(), OpsError> {
        let (disk, start) = self.place(device)?;
        if self.failing.as_ref() == Some(&disk) {
            let source = io::Error::other("Input/output error");
            return Err(OpsError::Io { verb: "write to", object: device.to_owned(), source });
        }
        self.media.entry(disk.clone()).or_default().write(start + at, bytes);
        self.log.push(Logged::Write { disk, at: start + at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn flush(&mut self, device: &str) -> Result<(), OpsError> {
        let (disk, _) = self.place(device)?;
        self.log.push(Logged::Flush { disk });
        Ok(())
    }

    fn opens(&mut self, header: &Checked, key: &DiskKey) -> Result<bool, OpsError> {
        let lock = digest::digest(&digest::SHA256, key.as_slice());
        Ok(header.bytes().get(luks::HEAD_BYTES..).is_some_and(|slot| slot.starts_with(lock.as_ref())))
    }

    fn announce(
        &mut self,
        disk: &str,
        request: PartitionRequest,
        number: u32,
        place: ByteRange,
    ) -> Result<(), OpsError> {
        self.operations.push(format!("{request:?} {disk} {number}"));
        let known = self.disks.iter_mut().find(|known| known.name == disk);
        if let Some(known) = known {
            match request {
                PartitionRequest::Remove => known.partitions.remove(&number),
                PartitionRequest::Add | PartitionRequest::Resize => known.partitions.insert(number, place),
            };
        }
        Ok(())
    }

    fn container(
        &mut self,
        store: Store,
        partition: &str,
        step: &ContainerStep,
        key: &DiskKey,
    ) -> Result<(), OpsError> {
        let word = match step {
            ContainerStep::Format { .. } => "Format",
            ContainerStep::Open { .. } => "Open",
            ContainerStep::Finish => "Finish",
            ContainerStep::Close => "Close",
        };
        self.operations.push(format!("{word} {} {partition}", store.name()));
        let lock = digest::digest(&digest::SHA256, key.as_slice());
        match step {
            ContainerStep::Format { .. } => {
                self.write(partition, 0, &vec![0; luks::AREA_BYTES])?;
                self.write(partition, anchor::PLACE, &vec![0; anchor::MAX_BYTES])?; // luksFormat wipes everything up to the start of the data
                self.write_header(partition, store, luks::UNFINISHED, 1)?;
                self.write(partition, KEY_AREA, lock.as_ref())?;
                self.write_header(partition, store, luks::UNFINISHED, 2)
            }
            ContainerStep::Open { header } => {
                if !self.opens(header, key)? {
                    return Err(OpsError::WrongKey { partition: partition.to_owned() });
                }
                self.open.insert(store, partition.to_owned());
                Ok(())
            }
            ContainerStep::Finish => self.write_header(partition, store, luks::FINISHED, 3),
            ContainerStep::Close => {
                self.open.remove(&store);
                Ok(())
            }
        }
    }

    fn filesystem(&mut self, store: Store, step: &FilesystemStep) -> Result<(), OpsError> {
        self.operations.push(format!("{step:?} {}", store.name()));
        let label = store.label();
        let size = self
            .open
            .get(&store)
            .map_or(0, |partition| self.len(partition).saturating_sub(luks::DATA_OFFSET));
        match step {
            FilesystemStep::Create { .. } => {
                self.write(&label, 64 * 1024, &[0xff; PAGE])?; // stands for bitmaps and other metadata
                self.write(&label, 0, &ext4_head(size))?;
                self.flush(&label)
            }
            FilesystemStep::Grow => {
                self.write(&label, 0, &ext4_head(size))?;
                self.flush(&label)
            }
            FilesystemStep::Check => Ok(()),
            FilesystemStep::Mount | FilesystemStep::MountMemory => {
                self.mounted.insert(store);
                Ok(())
            }
        }
    }
}

/// The metadata that the agent's `luksFormat` writes, with fixed salts.
const METADATA: &str = concat!(
    r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"#,
    r#""area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},"#,
    r#""kdf":{"type":"pbkdf2","hash":"sha256","iterations":1000,"salt":"c2FsdA=="}}},"tokens":{},"#,
    r#""segments":{"0":{"type":"crypt","offset":"16777216","size":"dynamic","iv_tweak":"0","#,
    r#""encryption":"aes-xts-plain64","sector_size":512}},"#,
    r#""digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"#,
    r#""salt":"c2FsdA==","digest":"c2FsdA=="}},"config":{"json_size":"12288","keyslots_size":"16744448"}}"#
);

/// The record of a node.
pub fn record() -> NodeRecord {
    NodeRecord {
        version: VERSION,
        node: "cp-1".into(),
        cluster_id: "33".repeat(32),
        incarnation: 2,
        generation_floor: 4,
        release_floor: None,
        clock_floor: 1_763_300_000,
        machine: Machine {
            product_uuid: Some("u-1".into()),
            board_serial: Some("b".into()),
            ..Machine::default()
        },
        unknown: toml::Table::new(),
    }
}

/// The header and the empty key slot of a store's container, as the agent creates them.
pub fn luks_area_of(store: Store, subsystem: &str, sequence: u64) -> Vec<u8> {
    luks_area(&store.label(), subsystem, sequence, METADATA)
}

/// Both copies of a LUKS2 header with this metadata, and an empty key slot.
pub fn luks_area(label: &str, subsystem: &str, sequence: u64, metadata: &str) -> Vec<u8> {
    let mut area = Vec::with_capacity(luks::AREA_BYTES);
    for (index, magic) in luks::MAGIC.into_iter().enumerate() {
        let mut copy = vec![0; luks::COPY_BYTES];
        let uuid = Guid::ZERO.to_string();
        let fields: [(usize, &[u8]); 10] = [
            (0, magic),
            (6, &2u16.to_be_bytes()),
            (luks::HEADER_SIZE, &(luks::COPY_BYTES as u64).to_be_bytes()),
            (luks::SEQUENCE, &sequence.to_be_bytes()),
            (luks::LABEL, label.as_bytes()),
            (luks::CHECKSUM_KIND, b"sha256"),
            (luks::UUID, uuid.as_bytes()),
            (luks::SUBSYSTEM, subsystem.as_bytes()),
            (luks::PLACE, &((index * luks::COPY_BYTES) as u64).to_be_bytes()),
            (luks::BINARY_BYTES, metadata.as_bytes()),
        ];
        for (at, bytes) in fields {
            put(&mut copy, at, bytes);
        }
        let sum = luks::checksum(&copy).unwrap_or_default();
        put(&mut copy, luks::CHECKSUM, &sum);
        area.extend_from_slice(&copy);
    }
    area.resize(luks::AREA_BYTES, 0);
    area
}

/// The start of a cleanly unmounted ext4 file system of `bytes` bytes.
pub fn ext4_head(bytes: u64) -> Vec<u8> {
    let mut head = vec![0; PAGE];
    let blocks = bytes / PAGE as u64;
    let (high, low) = (blocks >> 32, blocks & 0xffff_ffff);
    let fields: [(usize, &[u8]); 6] = [
        (0x4, &low.to_le_bytes()),
        (0x18, &2u32.to_le_bytes()),
        (0x38, &0xef53u16.to_le_bytes()),
        (0x3a, &1u16.to_le_bytes()),
        (0x60, &0x80u32.to_le_bytes()),
        (0x150, &high.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        put(&mut head, 1024 + at, bytes);
    }
    head
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
