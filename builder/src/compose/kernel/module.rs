//! One kernel module: what its `.modinfo` section and its symbol table say.
//!
//! `.modinfo` holds `key=value` strings, each ended by a zero byte (`include/linux/moduleinfo` in the kernel: `MODULE_INFO`). Exported
//! symbols show as `__crc_NAME` in the symbol table, or without versions in `__ksymtab_strings`.

use std::collections::BTreeSet;
use std::sync::Arc;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// A module.
#[derive(Debug, Clone)]
pub struct Module {
    /// The kernel's name for it, with `_` for `-`.
    pub name: String,
    /// Its path under the folder of the kernel's modules, uncompressed: `kernel/drivers/md/dm-verity.ko`.
    pub path: String,
    /// The file, with its signature at the end.
    pub bytes: Arc<[u8]>,
    /// Its place in `modules.order`: when several modules fit, the first is taken.
    pub priority: usize,
    /// The package.
    pub origin: Arc<str>,
    /// What must be loaded before it.
    pub depends: Vec<String>,
    /// Patterns of devices and other names that it answers to.
    pub aliases: Vec<String>,
    /// Soft dependencies, as written.
    pub softdeps: Vec<String>,
    /// Weak dependencies, as written.
    pub weakdeps: Vec<String>,
    /// Symbols that it gives to others.
    pub exports: BTreeSet<String>,
}

/// The kernel's name of a module, from a file's or an option's.
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name, from its path.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split_once(".ko").map_or(file, |(stem, _)| stem))
}

/// `key` and `value` of each entry of a `.modinfo` section.
pub fn entries(section: &[u8]) -> impl Iterator<Item = (String, String)> {
    section.split(|byte| *byte == 0).filter_map(|entry| {
        let entry = String::from_utf8_lossy(entry);
        entry.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
    })
}

impl Module {
    /// Reads a module; none if it is not an object file with a `.modinfo` section.
    pub fn read(path: String, bytes: Arc<[u8]>, priority: usize, origin: Arc<str>) -> Option<Self> {
        let file = object::File::parse(&*bytes).ok()?;
        let section = |name: &str| file.section_by_name(name).and_then(|section| section.data().ok());
        let mut module = Self {
            name: name_of(&path),
            path,
            bytes: Arc::clone(&bytes),
            priority,
            origin,
            depends: Vec::new(),
            aliases: Vec::new(),
            softdeps: Vec::new(),
            weakdeps: Vec::new(),
            exports: file
                .symbols()
                .filter_map(|symbol| symbol.name().ok()?.strip_prefix("__crc_").map(str::to_owned))
                .collect(),
        };
        if module.exports.is_empty() {
            let strings = section("__ksymtab_strings").unwrap_or_default();
            let names = strings.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            module.exports = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        }
        for (key, value) in entries(section(".modinfo")?) {
            match key.as_str() {
                "depends" => {
                    module.depends = value.split(',').filter(|name| !name.is_empty()).map(normal).collect()
                }
                "alias" => module.aliases.push(value),
                "softdep" => module.softdeps.push(value),
                "weakdep" => module.weakdeps.push(value),
                _ => {}
            }
        }
        Some(module)
    }

    /// What should be loaded before it: dependencies, and soft ones of the kind `pre`.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let soft = self.softdeps.iter().flat_map(|text| pre(text));
        self.depends.iter().map(String::as_str).chain(soft)
    }
}

/// The names after `pre:` in a soft dependency (modprobe.d(5)).
fn pre(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_pre = false;
    for word in text.split_whitespace() {
        match word {
            "pre:" => is_pre = true,
            "post:" => is_pre = false,
            name if is_pre => names.push(name),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_paths_and_soft_dependencies_from_their_kind() {
        assert_eq!(name_of("kernel/drivers/md/dm-verity.ko.xz"), "dm_verity");
        assert_eq!(pre("pre: a b post: c pre: d"), ["a", "b", "d"]);
        let entries: Vec<_> = entries(b"license=GPL\0depends=a,b\0\0junk\0").collect();
        assert_eq!(entries, [("license".into(), "GPL".into()), ("depends".into(), "a,b".into())]);
    }

    #[test]
    fn what_is_not_a_module_is_refused() {
        let by: Arc<str> = Arc::from("p");
        assert!(Module::read("x.ko".into(), Arc::from(*b"no"), 0, Arc::clone(&by)).is_none());
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(Module::read("x.ko".into(), program.into(), 0, by).is_none());
    }
}
