//! Kernel modules by need: what every machine loads, and what the devices ask for by their modalias. A device that appears may ask
//! for more (a controller, then its disk), so this is called again whenever something appeared.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use kubedos_spec::modules::{FOLDER, Module, ModuleTable, ModuleTableError, TABLE_PATH};

/// Why a module is missing.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The table cannot be read.
    #[error("failed to read {TABLE_PATH} in the initrd")]
    Read(#[source] io::Error),
    /// The table is wrong.
    #[error("failed to use {TABLE_PATH} in the initrd")]
    Table(#[source] ModuleTableError),
    /// A module that every machine needs did not load.
    #[error("failed to load kernel module {0}")]
    Load(String, #[source] io::Error),
}

/// Loads modules and remembers what it has tried.
#[derive(Debug)]
pub struct Loader {
    table: ModuleTable,
    tried: BTreeSet<String>,
    failed: Vec<String>,
}

impl Loader {
    /// Reads the table and loads what every machine needs.
    pub fn start() -> Result<Self, ModulesError> {
        let text = fs::read_to_string(Path::new("/").join(TABLE_PATH)).map_err(ModulesError::Read)?;
        let table = ModuleTable::parse(&text).map_err(ModulesError::Table)?;
        let mut loader = Self { table, tried: BTreeSet::new(), failed: Vec::new() };
        for name in loader.table.always.clone() {
            loader.require(&name)?;
        }
        Ok(loader)
    }

    /// Loads one module by name, with all it needs; an error if any of them fails.
    pub fn require(&mut self, name: &str) -> Result<(), ModulesError> {
        for module in untried(self.table.order([name]), &self.tried) {
            load(&module).map_err(|error| ModulesError::Load(module.name.clone(), error))?;
            self.tried.insert(module.name);
        }
        Ok(())
    }

    /// Loads what the devices that are present ask for, until nothing new is asked for. A driver that refuses its device is
    /// remembered for the report, no more: the volumes may be elsewhere.
    pub fn load_by_need(&mut self) {
        loop {
            let wanted = choose(&self.table, &modaliases());
            let modules = untried(self.table.order(wanted.iter().map(String::as_str)), &self.tried);
            if modules.is_empty() {
                return;
            }
            for module in modules {
                if let Err(error) = load(&module) {
                    self.failed.push(format!("{} ({error})", module.name));
                }
                self.tried.insert(module.name);
            }
        }
    }

    /// One line about what was loaded, for the record.
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

fn load(module: &Module) -> io::Result<()> {
    let file = File::open(Path::new("/").join(FOLDER).join(&module.file))?;
    let compressed = module.file.ends_with(".xz") || module.file.ends_with(".zst");
    kubedos_sys::module::load(&file, compressed, c"").map(drop)
}

/// What the devices call themselves: `/sys/bus/*/devices/*/modalias`, and the processor's features. What cannot be read has vanished
/// again, or has no alias.
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

/// The modules one of whose patterns matches one of the devices.
fn choose(table: &ModuleTable, devices: &BTreeSet<String>) -> Vec<String> {
    let wants = |module: &&Module| {
        module.aliases.iter().any(|pattern| devices.iter().any(|device| matches(pattern, device)))
    };
    table.modules.iter().filter(wants).map(|module| module.name.clone()).collect()
}

/// A module alias as `depmod` and udev read it: `*` any text, `?` one character, `[a-f0]` one of a set.
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
            // Give the last star one character more.
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
}

/// Whether the pattern's first element takes the character, and how long that element is.
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
    fn patterns_match_as_depmod_means_them() {
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
    fn a_hostile_device_name_does_not_take_for_ever() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(&pattern, &"a".repeat(5000)));
    }

    #[test]
    fn only_what_a_device_asks_for_is_chosen() {
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
