//! Reads one kernel module: its `.modinfo` section and its symbol table.
//!
//! `.modinfo` contains `key=value` strings, each terminated by a zero byte (`include/linux/moduleinfo` in the kernel: `MODULE_INFO`).
//! Exported symbols appear as `__crc_NAME` in the symbol table, or in `__ksymtab_strings` if the kernel has no symbol versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _};

/// A kernel module.
#[derive(Debug, Clone)]
pub struct Module {
    /// The kernel's name of the module, with `_` instead of `-`.
    pub name: String,
    /// The uncompressed path below the kernel's module folder: `kernel/drivers/md/dm-verity.ko`.
    pub path: String,
    /// The module file with the signature at its end.
    pub bytes: Arc<[u8]>,
    /// The position in `modules.order`. Of several matching modules, the one with the lowest position is used.
    pub priority: usize,
    /// The package that contains the module.
    pub origin: Arc<str>,
    /// The modules that must be loaded before it.
    pub depends: Vec<String>,
    /// The aliases: patterns of devices, and other names.
    pub aliases: Vec<String>,
    /// Soft dependencies, as written.
    pub softdeps: Vec<String>,
    /// The modules that the soft dependencies of the kind `pre` resolve to.
    pub soft: Vec<String>,
    /// Weak dependencies, as written.
    pub weakdeps: Vec<String>,
    /// The exported symbols.
    pub exports: BTreeSet<String>,
}

/// `KSYM_NAME_LEN` of the kernel, in bytes: the kernel does not load a module with a longer symbol name.
const LONGEST_SYMBOL: usize = 512;

/// Converts the name of a file or option to the kernel's name of the module.
pub fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the module's name from its path.
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split_once(".ko").map_or(file, |(stem, _)| stem))
}

/// Returns key and value of each entry of a `.modinfo` section.
pub fn entries(section: &[u8]) -> impl Iterator<Item = (String, String)> {
    section.split(|byte| *byte == 0).filter_map(|entry| {
        let entry = String::from_utf8_lossy(entry);
        entry.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
    })
}

impl Module {
    /// Reads a module. Returns `None` if the file is not an object file with a `.modinfo` section, or a symbol or section is unreadable.
    pub fn read(path: String, bytes: Arc<[u8]>, priority: usize, origin: Arc<str>) -> Option<Self> {
        let file = ElfFile64::<LittleEndian>::parse(&*bytes).ok()?;
        // An unreadable section or symbol makes the module invalid; ignoring it would silently drop dependencies or exports.
        let section = |name: &str| file.section_by_name(name).map(|section| section.data().ok());
        let names: Vec<&str> =
            file.symbols().map(|symbol| symbol.name().ok()).collect::<Option<Vec<&str>>>()?;
        let mut module = Self {
            name: name_of(&path),
            path,
            bytes: Arc::clone(&bytes),
            priority,
            origin,
            depends: Vec::new(),
            aliases: Vec::new(),
            softdeps: Vec::new(),
            soft: Vec::new(),
            weakdeps: Vec::new(),
            exports: names
                .iter()
                .filter_map(|name| name.strip_prefix("__crc_").map(str::to_owned))
                .filter(|name| name.len() < LONGEST_SYMBOL)
                .collect(),
        };
        if module.exports.is_empty() {
            let strings = section("__ksymtab_strings").unwrap_or(Some(&[]))?;
            let names = strings.split(|byte| *byte == 0).filter(|name| !name.is_empty());
            module.exports = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        }
        for (key, value) in entries(section(".modinfo")??) {
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

    /// The modules to load before this one: dependencies, and soft dependencies of the kind `pre` after [`resolve_soft`].
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.depends.iter().chain(&self.soft).map(String::as_str)
    }

    /// Whether the module provides this plain alias on every processor. A module for some processors also has a `cpu:` alias.
    fn provides(&self, alias: &str) -> bool {
        self.aliases.iter().any(|own| own == alias) && !self.aliases.iter().any(|own| own.starts_with("cpu:"))
    }
}

/// Resolves soft dependencies. They name modules or aliases, such as `crc32c`, without which `libcrc32c` does not load.
pub fn resolve_soft(modules: &mut BTreeMap<String, Module>) {
    let soft = modules.values().flat_map(|module| &module.softdeps).flat_map(|text| pre(text));
    let wanted: BTreeSet<String> = soft.map(str::to_owned).collect();
    let mut meant: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in wanted {
        let by_name = modules.get(&normal(&name)).into_iter();
        let by_alias = modules.values().filter(|module| module.provides(&name));
        let found = by_name.chain(by_alias).map(|module| module.name.clone()).collect();
        meant.insert(name, found);
    }
    for module in modules.values_mut() {
        let names = module.softdeps.iter().flat_map(|text| pre(text)).filter_map(|name| meant.get(name));
        module.soft = names.flatten().filter(|name| **name != module.name).cloned().collect();
        module.soft.sort();
        module.soft.dedup();
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
    fn a_soft_dependency_on_an_alias_means_the_module_for_every_processor() {
        let module = |name: &str, aliases: &[&str], softdeps: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let module = Module {
                name: name.into(),
                path: format!("kernel/{name}.ko"),
                bytes: Arc::from(*b""),
                priority: 0,
                origin: Arc::from("p"),
                depends: vec!["base".into()],
                aliases: owned(aliases),
                softdeps: owned(softdeps),
                soft: Vec::new(),
                weakdeps: Vec::new(),
                exports: BTreeSet::new(),
            };
            (module.name.clone(), module)
        };
        let mut modules = BTreeMap::from([
            module("libcrc32c", &[], &["pre: crc32c gone post: late"]),
            module("crc32c_generic", &["crypto-crc32c", "crc32c"], &[]),
            module("crc32c_intel", &["crc32c", "cpu:type:x86,ven*fam*mod*:feature:*0094*"], &[]),
            module("late", &[], &["pre: crc32c-intel"]),
        ]);
        resolve_soft(&mut modules);
        let needs = |name: &str| modules.get(name).unwrap().needs().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(needs("libcrc32c"), ["base", "crc32c_generic"]);
        assert_eq!(needs("late"), ["base", "crc32c_intel"]);
        assert_eq!(needs("crc32c_intel"), ["base"]);
    }

    #[test]
    fn a_file_that_is_not_a_module_is_refused() {
        let by: Arc<str> = Arc::from("p");
        assert!(Module::read("x.ko".into(), Arc::from(*b"no"), 0, Arc::clone(&by)).is_none());
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(Module::read("x.ko".into(), program.into(), 0, by).is_none());
    }
}
