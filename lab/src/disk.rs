//! One disk or optical medium of a machine: its file, its attachment and its faults.
//!
//! [`Disk`] is data; the arguments for QEMU's `-blockdev` and `-device` are generated from it. The machine uses the
//! file directly. [`crate::Bench`] creates the copies and overlays.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// How a disk is attached to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attachment {
    /// virtio-blk on PCI.
    Virtio,
    /// A disk on the AHCI controller.
    Sata,
    /// An NVMe controller with one namespace.
    Nvme,
    /// A USB 3 mass storage device.
    Usb,
    /// An optical drive on virtio-scsi.
    ScsiCd,
    /// An optical drive on the AHCI controller.
    AhciCd,
}

impl Attachment {
    /// Whether it is an optical drive.
    pub const fn is_optical(self) -> bool {
        matches!(self, Self::ScsiCd | Self::AhciCd)
    }
}

/// The format of the disk's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The file has the same bytes as the disk.
    Raw,
    /// QEMU's own format, also for an overlay over another file.
    Qcow2,
}

impl Format {
    /// QEMU's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A write that fails with an input/output error. Reads still succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every write fails.
    EveryWrite,
    /// Every write that touches this 512-byte sector fails.
    WriteAt {
        /// The sector, counted from the start of the disk.
        sector: u64,
    },
    /// The first write that touches this 512-byte sector fails, later ones succeed.
    FirstWriteAt {
        /// The sector, counted from the start of the disk.
        sector: u64,
    },
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub(crate) file: PathBuf,
    pub(crate) format: Format,
    pub(crate) attachment: Attachment,
    pub(crate) serial: Option<String>,
    pub(crate) block_size: u32,
    pub(crate) read_only: bool,
    pub(crate) bootable: bool,
    pub(crate) write_log: Option<PathBuf>,
    pub(crate) faults: Vec<Fault>,
}

impl Disk {
    /// Attaches the file as a virtio disk with 512-byte sectors. The machine writes to the file, so it should be a copy
    /// or an overlay ([`crate::Bench::overlay`]).
    pub fn new(file: impl Into<PathBuf>, format: Format) -> Self {
        Self {
            file: file.into(),
            format,
            attachment: Attachment::Virtio,
            serial: None,
            block_size: 512,
            read_only: false,
            bootable: true,
            write_log: None,
            faults: Vec::new(),
        }
    }

    /// Attaches the file as an optical medium, which is read-only.
    pub fn cd(file: impl Into<PathBuf>, attachment: Attachment) -> Self {
        Self { attachment, read_only: true, ..Self::new(file, Format::Raw) }
    }

    /// Sets how the disk is attached.
    #[must_use]
    pub fn attached(mut self, attachment: Attachment) -> Self {
        self.attachment = attachment;
        self
    }

    /// Sets the serial number that the disk reports.
    #[must_use]
    pub fn serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// Sets the logical and physical block size in bytes. AHCI disks support only 512.
    #[must_use]
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Makes the disk read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Excludes the disk from the firmware's boot order.
    #[must_use]
    pub fn not_bootable(mut self) -> Self {
        self.bootable = false;
        self
    }

    /// Logs every write and flush into `log` ([`crate::write_log`]).
    #[must_use]
    pub fn write_log(mut self, log: impl Into<PathBuf>) -> Self {
        self.write_log = Some(log.into());
        self
    }

    /// Makes writes fail.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The nodes of QEMU's block graph, as the argument of `-blockdev`; the device uses the node `name`. Flushes do not
    /// reach the host's disk: a machine's disks are temporary, and a power cut affects the machine, not the host.
    pub(crate) fn block_nodes(&self, name: &str) -> Vec<Value> {
        let mut file = json!({
            "driver": "file", "filename": self.file, "cache": { "no-flush": true }, "read-only": self.read_only,
        });
        if !self.faults.is_empty() {
            let rules: Vec<Value> = self.faults.iter().map(Fault::rule).collect();
            // Sector numbers must be those of the guest, so the fault rules are placed above a format with its own
            // layout.
            let image = match self.format {
                Format::Raw => file,
                Format::Qcow2 => json!({ "driver": "qcow2", "file": file, "cache": { "no-flush": true } }),
            };
            file = json!({ "driver": "blkdebug", "image": image, "inject-error": rules });
        }
        let inner_is_raw = self.format == Format::Raw || !self.faults.is_empty();
        let mut disk = json!({
            "driver": if inner_is_raw { "raw" } else { "qcow2" },
            "file": file,
            "read-only": self.read_only,
        });
        if self.write_log.is_none() {
            // With a write log, flushes must reach the node of the log.
            merge(&mut disk, json!({ "cache": { "no-flush": true } }));
        }
        if let Some(log) = &self.write_log {
            disk = json!({
                "driver": "blklogwrites",
                "file": disk,
                "log": { "driver": "file", "filename": log, "cache": { "no-flush": true } },
            });
        }
        merge(&mut disk, json!({ "node-name": name }));
        vec![disk]
    }

    /// The device, as the argument of `-device`. `bus` is the port for attachments that need one.
    pub(crate) fn device(&self, name: &str, bus: Option<&str>, boot_index: Option<usize>) -> Value {
        let driver = match self.attachment {
            Attachment::Virtio => "virtio-blk-pci",
            Attachment::Sata => "ide-hd",
            Attachment::Nvme => "nvme",
            Attachment::Usb => "usb-storage",
            Attachment::ScsiCd => "scsi-cd",
            Attachment::AhciCd => "ide-cd",
        };
        let mut device = json!({ "driver": driver, "id": format!("{name}-device"), "drive": name });
        if let Some(serial) = &self.serial {
            merge(&mut device, json!({ "serial": serial }));
        } else if self.attachment == Attachment::Nvme {
            // QEMU's NVMe device requires a serial number.
            merge(&mut device, json!({ "serial": name }));
        }
        if self.block_size != 512 {
            merge(
                &mut device,
                json!({ "logical_block_size": self.block_size, "physical_block_size": self.block_size }),
            );
        }
        if !self.attachment.is_optical() && self.attachment != Attachment::Nvme && !self.read_only {
            // Report an error to the guest instead of stopping the machine.
            merge(&mut device, json!({ "werror": "report" }));
        }
        if let Some(bus) = bus {
            merge(&mut device, json!({ "bus": bus }));
        }
        if let Some(index) = boot_index {
            merge(&mut device, json!({ "bootindex": index }));
        }
        device
    }
}

impl Fault {
    /// The rule for QEMU's blkdebug driver.
    fn rule(&self) -> Value {
        let mut rule = json!({ "event": "none", "iotype": "write", "errno": 5 });
        match self {
            Self::EveryWrite => {}
            Self::WriteAt { sector } => merge(&mut rule, json!({ "sector": sector })),
            Self::FirstWriteAt { sector } => merge(&mut rule, json!({ "sector": sector, "once": true })),
        }
        rule
    }
}

/// Copies the members of one object into another.
fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_write_log_is_above_the_format_and_receives_flushes() {
        let disk = Disk::new("/d.qcow2", Format::Qcow2).write_log("/d.log");
        let [node] = disk.block_nodes("d0").try_into().unwrap();
        assert_eq!(node["driver"], "blklogwrites");
        assert_eq!(node["node-name"], "d0");
        assert_eq!(node["log"]["filename"], "/d.log");
        assert_eq!(node["file"]["driver"], "qcow2");
        assert!(node.get("cache").is_none(), "a flush that is dropped here would not be logged");
    }

    #[test]
    fn faults_use_guest_sectors_in_every_format() {
        for format in [Format::Raw, Format::Qcow2] {
            let disk = Disk::new("/d", format).fault(Fault::WriteAt { sector: 9 });
            let [node] = disk.block_nodes("d0").try_into().unwrap();
            assert_eq!(node["driver"], "raw");
            assert_eq!(node["file"]["driver"], "blkdebug");
            assert_eq!(node["file"]["inject-error"][0]["sector"], 9);
        }
        let disk = Disk::new("/d", Format::Qcow2).fault(Fault::EveryWrite);
        let [node] = disk.block_nodes("d0").try_into().unwrap();
        assert_eq!(node["file"]["image"]["driver"], "qcow2");
        assert!(node["file"]["inject-error"][0].get("sector").is_none());
    }

    #[test]
    fn a_device_has_the_requested_properties() {
        let disk = Disk::new("/d", Format::Raw).serial("abc").block_size(4096);
        let device = disk.device("d0", None, Some(3));
        assert_eq!(device["driver"], "virtio-blk-pci");
        assert_eq!(device["serial"], "abc");
        assert_eq!(device["logical_block_size"], 4096);
        assert_eq!(device["bootindex"], 3);
        let cd = Disk::cd("/d", Attachment::AhciCd).device("d1", Some("ide.1"), None);
        assert_eq!(cd["driver"], "ide-cd");
        assert_eq!(cd["bus"], "ide.1");
        assert!(cd.get("werror").is_none());
    }
}
