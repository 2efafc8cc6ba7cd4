//! The hardware of a machine as data, and the generator of the emulator's command line.
//!
//! The command line is a pure function of [`Hardware`], the tools and the file names; [`crate::Machine`] writes the
//! files and starts the process. The options are those of QEMU's "Invocation" manual page.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::acceleration::Acceleration;
use crate::disk::{Attachment, Disk};
use crate::nic::Nic;
use crate::tools::{Tools, ToolsError};

/// The firmware of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// OVMF without Secure Boot.
    Uefi,
    /// OVMF's Secure Boot build, with the keys in this variable store.
    SecureBoot {
        /// A variable store for 4 MiB builds (`OVMF_VARS_4M.fd` is an empty one). The machine uses a copy.
        varstore: PathBuf,
    },
    /// SeaBIOS, with its messages on the serial console.
    Bios,
}

/// The hardware of a machine.
#[derive(Debug, Clone)]
pub struct Hardware {
    pub(crate) firmware: Firmware,
    pub(crate) disks: Vec<Disk>,
    pub(crate) nics: Vec<Nic>,
    pub(crate) acceleration: Option<Acceleration>,
    processors: u32,
    memory_mib: u32,
    processor: Option<String>,
    entropy: bool,
    smbios: Vec<String>,
    fw_cfg: Vec<(String, Vec<u8>)>,
    watchdog: bool,
    reboots: bool,
    clock: Option<String>,
    uuid: Option<String>,
    extra: Vec<OsString>,
}

/// The files that the command line of one machine refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MachineFiles {
    /// The machine's copy of the firmware's variables.
    pub(crate) varstore: PathBuf,
    /// The folder with the fw_cfg files, `fw-cfg-0` and so on.
    pub(crate) folder: PathBuf,
}

impl Hardware {
    /// One processor, 1 GiB of memory, no disk, no network. (With several emulated processors, one sometimes never gets
    /// its timer interrupt.)
    pub fn new(firmware: Firmware) -> Self {
        Self {
            firmware,
            disks: Vec::new(),
            nics: Vec::new(),
            acceleration: None,
            processors: 1,
            memory_mib: 1024,
            processor: None,
            entropy: true,
            smbios: Vec::new(),
            fw_cfg: Vec::new(),
            watchdog: false,
            reboots: false,
            clock: None,
            uuid: None,
            extra: Vec::new(),
        }
    }

    /// Adds a disk; the firmware tries the disks in the order in which they were added.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Adds a network card; the cards have the order in which they were added.
    #[must_use]
    pub fn network(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Sets the number of processors.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Sets the size of the memory.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Sets the processor model in QEMU's syntax: `kvm64,-cx16`. The default is the best model that works on the host.
    /// Under emulation the model must not have cx16.
    #[must_use]
    pub fn processor(mut self, model: impl Into<String>) -> Self {
        self.processor = Some(model.into());
        self
    }

    /// Removes the device that provides randomness.
    #[must_use]
    pub fn without_entropy(mut self) -> Self {
        self.entropy = false;
        self
    }

    /// Adds an SMBIOS OEM string (type 11), as the hypervisor passes them to systemd-stub and systemd.
    #[must_use]
    pub fn smbios_string(mut self, text: impl Into<String>) -> Self {
        self.smbios.push(text.into());
        self
    }

    /// Adds a fw_cfg file, such as `opt/io.systemd.credentials/…`.
    #[must_use]
    pub fn fw_cfg(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.fw_cfg.push((name.into(), content.into()));
        self
    }

    /// Adds an i6300ESB watchdog that resets the machine.
    #[must_use]
    pub fn watchdog(mut self) -> Self {
        self.watchdog = true;
        self
    }

    /// Lets the guest restart. By default, a restart of the guest ends the machine.
    #[must_use]
    pub fn reboots(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// Sets the machine's clock at the start, in UTC: `2031-05-01T00:00:00`.
    #[must_use]
    pub fn clock(mut self, start: impl Into<String>) -> Self {
        self.clock = Some(start.into());
        self
    }

    /// Sets the machine's UUID (SMBIOS type 1): `3b0c5a9e-…`. By default, the machine has no UUID.
    #[must_use]
    pub fn uuid(mut self, uuid: impl Into<String>) -> Self {
        self.uuid = Some(uuid.into());
        self
    }

    /// Sets how instructions are executed; the default is the result of probing the host.
    #[must_use]
    pub fn acceleration(mut self, acceleration: Acceleration) -> Self {
        self.acceleration = Some(acceleration);
        self
    }

    /// Adds an argument for the emulator, for options that are not modelled here.
    #[must_use]
    pub fn extra(mut self, word: impl Into<OsString>) -> Self {
        self.extra.push(word.into());
        self
    }

    /// The variable store to copy for the machine; `None` for a BIOS.
    pub(crate) fn varstore_template(&self, tools: &Tools) -> Result<Option<PathBuf>, ToolsError> {
        Ok(match &self.firmware {
            Firmware::Uefi => Some(tools.file("usr/share/OVMF/OVMF_VARS_4M.fd")?),
            Firmware::SecureBoot { varstore } => Some(varstore.clone()),
            Firmware::Bios => None,
        })
    }

    /// The content of the fw_cfg files, which are written as `fw-cfg-0` and so on.
    pub(crate) fn fw_cfg_contents(&self) -> impl Iterator<Item = (String, &[u8])> {
        self.fw_cfg
            .iter()
            .enumerate()
            .map(|(number, (_, content))| (format!("fw-cfg-{number}"), content.as_slice()))
    }

    /// The emulator's command line without the program name. Relative paths are relative to the machine's folder.
    pub(crate) fn arguments(
        &self,
        tools: &Tools,
        acceleration: Acceleration,
        files: &MachineFiles,
    ) -> Result<Vec<OsString>, ToolsError> {
        let mut words = Words::default();
        words.add(&["-no-user-config", "-nodefaults", "-display", "none"]);
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            words.pair("-L", tools.file(folder)?);
        }
        words.add(&acceleration.arguments());
        if let Some(model) = &self.processor {
            words.pair("-cpu", model.as_str()); // the last option wins
        }
        words.pair("-smp", self.processors.to_string());
        words.pair("-m", self.memory_mib.to_string());
        self.firmware_words(tools, files, &mut words)?;
        words.add(&["-chardev", "stdio,id=console,signal=off,logfile=console.log"]);
        words.add(&["-serial", "chardev:console"]);
        words.add(&["-chardev", "socket,id=qmp,path=qmp,server=on,wait=off"]);
        words.add(&["-mon", "chardev=qmp,mode=control"]);
        if self.entropy {
            words.add(&["-device", "virtio-rng-pci"]);
        }
        if !self.reboots {
            words.add(&["-no-reboot"]);
        }
        if self.watchdog {
            words.add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        if let Some(clock) = &self.clock {
            words.pair("-rtc", format!("base={clock}"));
        }
        if let Some(uuid) = &self.uuid {
            words.pair("-uuid", uuid.as_str());
        }
        for text in &self.smbios {
            words.pair("-smbios", format!("type=11,value={}", escaped(text)));
        }
        for (number, (name, _)) in self.fw_cfg.iter().enumerate() {
            let file = files.folder.join(format!("fw-cfg-{number}"));
            words
                .pair("-fw_cfg", format!("name={},file={}", escaped(name), escaped(&file.to_string_lossy())));
        }
        self.disk_words(&mut words);
        for (index, nic) in self.nics.iter().enumerate() {
            let [netdev, device] = nic.options(index);
            words.pair("-netdev", netdev);
            words.pair("-device", device);
        }
        words.0.extend(self.extra.iter().cloned());
        Ok(words.0)
    }

    fn firmware_words(
        &self,
        tools: &Tools,
        files: &MachineFiles,
        words: &mut Words,
    ) -> Result<(), ToolsError> {
        let code = match &self.firmware {
            Firmware::Bios => {
                // SeaBIOS writes to the serial port if there are no graphics.
                words.add(&["-machine", "q35,smm=off,graphics=off"]);
                return Ok(());
            }
            Firmware::Uefi => {
                words.add(&["-machine", "q35,smm=off,pflash0=firmware,pflash1=variables"]);
                "usr/share/OVMF/OVMF_CODE_4M.fd"
            }
            Firmware::SecureBoot { .. } => {
                words.add(&["-machine", "q35,smm=on,pflash0=firmware,pflash1=variables"]);
                // Only code in system management mode may write the variables.
                words.add(&["-global", "driver=cfi.pflash01,property=secure,value=on"]);
                "usr/share/OVMF/OVMF_CODE_4M.secboot.fd"
            }
        };
        let pflash = |name: &str, file: &Path, read_only: bool| {
            json!({
                "driver": "raw", "node-name": name, "read-only": read_only,
                "file": { "driver": "file", "filename": file, "read-only": read_only },
            })
        };
        words.pair("-blockdev", pflash("firmware", &tools.file(code)?, true).to_string());
        words.pair("-blockdev", pflash("variables", &files.varstore, false).to_string());
        Ok(())
    }

    fn disk_words(&self, words: &mut Words) {
        if self.disks.iter().any(|disk| disk.attachment == Attachment::Usb) {
            words.add(&["-device", "qemu-xhci,id=usb"]);
        }
        if self.disks.iter().any(|disk| disk.attachment == Attachment::ScsiCd) {
            words.add(&["-device", "virtio-scsi-pci,id=scsi"]);
        }
        let mut ahci_ports = 0..;
        for (index, disk) in self.disks.iter().enumerate() {
            let name = node_name(index);
            for node in disk.block_nodes(&name) {
                words.pair("-blockdev", node.to_string());
            }
            let bus = match disk.attachment {
                Attachment::Virtio | Attachment::Nvme => None,
                Attachment::Usb => Some("usb.0".to_owned()),
                Attachment::ScsiCd => Some("scsi.0".to_owned()),
                Attachment::Sata | Attachment::AhciCd => {
                    ahci_ports.next().map(|port: u32| format!("ide.{port}"))
                }
            };
            let boot_index = disk.bootable.then_some(index);
            words.pair("-device", disk.device(&name, bus.as_deref(), boot_index).to_string());
        }
    }
}

/// The name of the block node of disk number `index`, from 0.
pub(crate) fn node_name(index: usize) -> String {
    format!("disk{index}")
}

/// Escapes commas: QEMU's option syntax ends a value at a comma and reads two commas as one.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

#[derive(Default)]
struct Words(Vec<OsString>);

impl Words {
    fn add(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    fn fake_tools(folder: &Path) -> Tools {
        for file in [
            "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            "usr/share/OVMF/OVMF_CODE_4M.fd",
            "usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
            "usr/share/qemu/x",
            "usr/share/seabios/x",
        ] {
            let file = folder.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        Tools::new(folder).unwrap()
    }

    fn words(hardware: &Hardware) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let files = MachineFiles { varstore: "/m/vars".into(), folder: "/m".into() };
        let words = hardware.arguments(&fake_tools(folder.path()), Acceleration::Software, &files).unwrap();
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn the_default_machine_has_no_cx16_and_no_network() {
        let words = words(&Hardware::new(Firmware::Uefi));
        assert!(words.contains(&"max,-cx16,-la57".to_owned()));
        assert!(words.contains(&"-nodefaults".to_owned()));
        assert!(!words.iter().any(|word| word.contains("net") || word == "-nic"));
    }

    #[test]
    fn a_named_processor_replaces_the_default_one() {
        let words = words(&Hardware::new(Firmware::Uefi).processor("kvm64,-cx16").without_entropy());
        let last = words.iter().rposition(|word| word == "-cpu").unwrap();
        assert_eq!(words[last + 1], "kvm64,-cx16");
        assert!(!words.contains(&"virtio-rng-pci".to_owned()));
    }

    #[test]
    fn the_boot_order_is_the_order_of_the_disks() {
        let hardware = Hardware::new(Firmware::Uefi)
            .disk(Disk::new("/a", Format::Raw).not_bootable())
            .disk(Disk::new("/b", Format::Raw).attached(Attachment::Sata))
            .disk(Disk::cd("/c", Attachment::AhciCd))
            .disk(Disk::new("/d", Format::Raw).attached(Attachment::Usb));
        let words = words(&hardware);
        let devices: Vec<serde_json::Value> = words
            .windows(2)
            .filter(|pair| pair[0] == "-device")
            .filter_map(|pair| serde_json::from_str(&pair[1]).ok())
            .collect();
        let seen: Vec<_> = devices.iter().map(|d| (d["bootindex"].as_u64(), d["bus"].as_str())).collect();
        assert_eq!(
            seen,
            [(None, None), (Some(1), Some("ide.0")), (Some(2), Some("ide.1")), (Some(3), Some("usb.0"))]
        );
        assert!(words.contains(&"qemu-xhci,id=usb".to_owned()));
    }

    #[test]
    fn each_network_card_has_a_netdev_and_connects_within_the_folder_of_the_machine() {
        let mac = |text: &str| kubedos_wire::value::MacAddress::try_from(text.to_owned()).unwrap();
        let hardware = Hardware::new(Firmware::Uefi)
            .network(Nic::new("/lab/cp-1", mac("52:54:00:00:00:01")))
            .network(Nic::new(format!("/{}/cp-1,b", "deep/".repeat(60)), mac("52:54:00:00:00:02")));
        let words = words(&hardware);
        let first = words.iter().position(|word| word == "-netdev").unwrap();
        assert_eq!(
            words[first..],
            [
                "-netdev",
                "stream,id=net0,server=off,addr.type=unix,addr.path=net0,reconnect-ms=200",
                "-device",
                "virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01,romfile=",
                "-netdev",
                "stream,id=net1,server=off,addr.type=unix,addr.path=net1,reconnect-ms=200",
                "-device",
                "virtio-net-pci,id=nic1,netdev=net1,mac=52:54:00:00:00:02,romfile=",
            ]
        );
    }

    #[test]
    fn a_comma_in_a_string_stays_in_the_string() {
        let hardware = Hardware::new(Firmware::Uefi).smbios_string("a=b,c").fw_cfg("opt/x", "y");
        let words = words(&hardware);
        assert!(words.contains(&"type=11,value=a=b,,c".to_owned()));
        assert!(words.contains(&"name=opt/x,file=/m/fw-cfg-0".to_owned()));
    }

    #[test]
    fn secure_boot_uses_its_own_build_and_protects_the_variables() {
        let words = words(&Hardware::new(Firmware::SecureBoot { varstore: "/keys".into() }));
        assert!(words.iter().any(|word| word.contains("OVMF_CODE_4M.secboot.fd")));
        assert!(words.contains(&"driver=cfi.pflash01,property=secure,value=on".to_owned()));
        assert!(words.iter().any(|word| word.contains("/m/vars")));
    }
}
