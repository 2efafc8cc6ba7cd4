//! Loads kernel modules on demand: those that every machine needs, and those that match the modalias of a device. A new
//! device may need another module (a controller, then its disk), so the loader runs again whenever a device appears.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use kubedos_wire::modules::{FOLDER, Module, ModuleTable, ModuleTableError, TABLE_PATH};

/// Why a module is missing.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The table cannot be read.
    #[error("failed to read {TABLE_PATH} in the initrd")]
    Read(#[source] io::Error),
    /// The table is not valid.
    #[error("failed to use {TABLE_PATH} in the initrd")]
    Table(#[source] ModuleTableError),
    /// A module that every machine needs did not load.
    #[error("failed to load kernel module {0}")]
    Load(String, #[source] io::Error),
}

/// The driver of AHCI controllers.
const SATA: &str = "ahci";

/// Loads modules and records which ones it has tried.
#[derive(Debug)]
pub struct Loader {
    table: ModuleTable,
    tried: BTreeSet<String>,
    failed: Vec<String>,
}

impl Loader {
    /// Reads the table, and loads the modules that match the devices and those that every machine needs.
    ///
    /// The SATA driver is loaded first and probes in the background, because it waits half a second for the links of its
    /// ports. The kernel waits for it when the last module for all machines is loaded. Other drivers probe one after the
    /// other, so that disks get their names in a fixed order.
    pub fn start() -> Result<Self, ModulesError> {
        let text = fs::read_to_string(Path::new("/").join(TABLE_PATH)).map_err(ModulesError::Read)?;
        let table = ModuleTable::parse(&text).map_err(ModulesError::Table)?;
        let mut loader = Self { table, tried: BTreeSet::new(), failed: Vec::new() };
        loader.load_in_background(SATA);
        let always = loader.table.always.clone();
        let always = untried(loader.table.order(always.iter().map(String::as_str)), &loader.tried);
        for (left, module) in (0..always.len()).rev().zip(always) {
            let probe = if left == 0 { Probe::AndWait } else { Probe::InBackground };
            loader.require_module(module, probe)?;
        }
        Ok(loader)
    }

    /// Loads a driver with all its dependencies if a device matches it. A module that fails is tried again with the others.
    fn load_in_background(&mut self, driver: &str) {
        if !choose(&self.table, &modaliases()).iter().any(|name| name == driver) {
            return;
        }
        for module in untried(self.table.order([driver]), &self.tried) {
            if load(&module, Probe::InBackground).is_ok() {
                self.tried.insert(module.name);
            }
        }
    }

    /// Loads a module by name with all its dependencies; fails if one of them fails.
    pub fn require(&mut self, name: &str) -> Result<(), ModulesError> {
        untried(self.table.order([name]), &self.tried)
            .into_iter()
            .try_for_each(|module| self.require_module(module, Probe::AndWait))
    }

    fn require_module(&mut self, module: Module, probe: Probe) -> Result<(), ModulesError> {
        load(&module, probe).map_err(|error| ModulesError::Load(module.name.clone(), error))?;
        self.tried.insert(module.name);
        Ok(())
    }

    /// Loads the modules that match the present devices, until no further module matches. A driver that rejects its
    /// device is only noted for the report, because the volumes may be elsewhere.
    pub fn load_by_need(&mut self) {
        loop {
            let wanted = choose(&self.table, &modaliases());
            let modules = untried(self.table.order(wanted.iter().map(String::as_str)), &self.tried);
            if modules.is_empty() {
                return;
            }
            for module in modules {
                if let Err(error) = load(&module, Probe::AndWait) {
                    self.failed.push(format!("{} ({error})", module.name));
                }
                self.tried.insert(module.name);
            }
        }
    }

    /// A summary of the loaded modules, for the record.
    pub fn report(&self) -> String {
        let failed = if self.failed.is_empty() {
            String::new()
        } else {
            format!("; refused: {}", self.failed.join(", "))
        };
        format!("{} of {} modules{failed}", self.tried.len() - self.failed.len(), self.table.modules.len())
    }
}

fn untried(order: Vec<&Module>, tried: &BTreeSet<String>) -> Vec<Module> {
    order.into_iter().filter(|module| !tried.contains(&module.name)).cloned().collect()
}

/// Whether loading a driver waits until this driver and all earlier ones have probed their devices (`kernel/module/main.c`,
/// `do_init_module`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Does not wait: `async_probe`, a parameter of every module.
    InBackground,
    /// Waits, which is the kernel's default.
    AndWait,
}

fn load(module: &Module, probe: Probe) -> io::Result<()> {
    let file = File::open(Path::new("/").join(FOLDER).join(&module.file))?;
    let compressed = module.file.ends_with(".xz") || module.file.ends_with(".zst");
    let parameters = match probe {
        Probe::InBackground => c"async_probe",
        Probe::AndWait => c"",
    };
    kubedos_sys::module::load(&file, compressed, parameters).map(drop)
}

/// The modaliases of all devices, `/sys/bus/*/devices/*/modalias`, and the processor's features. A file that cannot be
/// read belongs to a device that was removed or has no alias.
fn modaliases() -> BTreeSet<String> {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let devices =
        folders(Path::new("/sys/bus")).flat_map(|bus| folders(&bus.join("devices")).collect::<Vec<_>>());
    let paths = devices.chain([Path::new("/sys/devices/system/cpu").to_owned()]);
    paths
        .filter_map(|device| fs::read_to_string(device.join("modalias")).ok())
        .map(|text| text.trim_end().to_owned())
        .collect()
}

/// The modules with a pattern that matches one of the devices.
fn choose(table: &ModuleTable, devices: &BTreeSet<String>) -> Vec<String> {
    let wants = |module: &&Module| {
        module.aliases.iter().any(|pattern| devices.iter().any(|device| matches(pattern, device)))
    };
    table.modules.iter().filter(wants).map(|module| module.name.clone()).collect()
}

/// Matches a module alias as `depmod` and udev do: `*` any text, `?` one character, `[a-f0]` one of a set.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if p == pattern.len() && t == text.len() {
            return true;
        } else if let Some(width) = text.get(t).and_then(|c| one(pattern.get(p..).unwrap_or_default(), *c)) {
            p += width;
            t += 1;
        } else if let Some((at, taken)) = star.filter(|(_, taken)| *taken < text.len()) {
            // Let the last star match one more character.
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
}

/// If the first element of the pattern matches the character: the length of that element.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['[', rest @ ..] => {
            let end = rest.iter().position(|c| *c == ']')?;
            let set = rest.get(..end)?;
            let listed = set.contains(&character)
                || set
                    .windows(3)
                    .any(|w| matches!(w, [low, '-', high] if (*low..=*high).contains(&character)));
            listed.then_some(end + 2)
        }
        [literal, ..] if *literal == character => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_depmod() {
        let cases = [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000008v00001AF4", false),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc05i01", false),
            ("scsi:t-0x05*", "scsi:t-0x05", true),
            (
                "cpu:type:x86,ven*fam*mod*:feature:*00B9*",
                "cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,00B9,0120",
                true,
            ),
            (
                "usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",
                "usb:v46F4p0001d0000dc00dsc00dp00ic08isc06ip50in00",
                true,
            ),
            ("usb:v0000p0000d[0-9a-c]*", "usb:v0000p0000db1", true),
            ("usb:v0000p0000d[0-9a-c]*", "usb:v0000p0000dd1", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[bc", "ab", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxcxxb", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn a_hostile_device_name_is_matched_in_a_short_time() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }

    #[test]
    fn only_modules_that_match_a_device_are_chosen() {
        let module = |name: &str, aliases: &[&str]| Module {
            name: name.into(),
            file: format!("{name}.ko.xz"),
            needs: vec![],
            aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
        };
        let table = ModuleTable {
            version: 1,
            kernel: "6.12".into(),
            always: vec![],
            modules: vec![
                module("sr_mod", &["scsi:t-0x05*", "scsi:t-0x04*"]),
                module("sd_mod", &["scsi:t-0x00*"]),
                module("loop", &[]),
            ],
        };
        let devices = BTreeSet::from(["scsi:t-0x05".to_owned(), "acpi:PNP0501:".to_owned()]);
        assert_eq!(choose(&table, &devices), ["sr_mod"]);
    }
}
