//! The table of kernel modules in the initrd, `kubedos/modules.toml`: the builder writes it, and stage 1 loads the
//! modules that it lists.
//!
//! For the few modules that the boot needs before the root volume is mounted, it contains what `depmod` would write
//! into several files: the file of a module, the modules to load before it, and the devices that need it. Names are the
//! kernel's, with `_` in place of `-`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Path of the table in the initrd.
pub const TABLE_PATH: &str = "kubedos/modules.toml";

/// Folder in the initrd with the files of the modules.
pub const FOLDER: &str = "kubedos/modules";

/// The version that this release writes and supports.
pub const VERSION: u32 = 1;

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleTable {
    /// [`VERSION`].
    pub version: u32,
    /// `uname -r` of the kernel that the modules belong to.
    pub kernel: String,
    /// Names of the modules that every machine loads, in this order.
    pub always: Vec<String>,
    /// Every module in the initrd.
    #[serde(rename = "module", default)]
    pub modules: Vec<Module>,
}

/// One module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its file under [`FOLDER`]; the kernel decompresses `.xz` and `.zst`.
    pub file: String,
    /// The modules to load before it: dependencies, and `pre` soft dependencies that are in the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Patterns of the devices that it supports (`MODULE_DEVICE_TABLE`), as `modinfo -F alias` prints them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// Why a table is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleTableError {
    /// It is not TOML, or does not have the fields of a table.
    #[error("failed to read the module table: {0}")]
    Form(String),
    /// Its version is not supported.
    #[error("module table has version {0}, only version 1 is supported")]
    Version(u32),
    /// Two modules have the same name.
    #[error("module {0} is listed twice")]
    Twice(String),
    /// A needed module is not in the table.
    #[error("module {wants} needs {name}, which is not in the table")]
    Unknown {
        /// The module that needs it, or `always`.
        wants: String,
        /// The missing name.
        name: String,
    },
    /// A module needs itself.
    #[error("module {0} needs itself")]
    Cycle(String),
    /// The file of a module is outside the folder.
    #[error("the file of module {0} is outside the module folder")]
    File(String),
}

impl ModuleTable {
    /// Parses a table; the result has no unknown name and no cycle.
    pub fn parse(text: &str) -> Result<Self, ModuleTableError> {
        let table: Self =
            toml::from_str(text).map_err(|error| ModuleTableError::Form(error.message().into()))?;
        table.check()?;
        Ok(table)
    }

    /// Checks and serializes a table.
    pub fn emit(&self) -> Result<String, ModuleTableError> {
        self.check()?;
        toml::to_string(self).map_err(|error| ModuleTableError::Form(error.to_string()))
    }

    /// The modules to load, each after all that it needs, without duplicates; names in `wanted` that are not in the table
    /// are ignored.
    pub fn order<'a>(&'a self, wanted: impl IntoIterator<Item = &'a str>) -> Vec<&'a Module> {
        let by_name = self.by_name();
        let mut order = Vec::new();
        let mut done = BTreeSet::new();
        for name in wanted {
            // The table has no cycle, so the walk ends; its depth is at most the number of modules.
            visit(name, &by_name, &mut done, &mut order);
        }
        order
    }

    fn by_name(&self) -> BTreeMap<&str, &Module> {
        self.modules.iter().map(|module| (module.name.as_str(), module)).collect()
    }

    fn check(&self) -> Result<(), ModuleTableError> {
        if self.version != VERSION {
            return Err(ModuleTableError::Version(self.version));
        }
        let by_name = self.by_name();
        let mut seen = BTreeSet::new();
        for module in &self.modules {
            if !seen.insert(module.name.as_str()) {
                return Err(ModuleTableError::Twice(module.name.clone()));
            }
            if module.file.starts_with('/')
                || module.file.split('/').any(|part| matches!(part, "" | "." | ".."))
            {
                return Err(ModuleTableError::File(module.name.clone()));
            }
        }
        let wants = self
            .modules
            .iter()
            .flat_map(|module| module.needs.iter().map(|need| (module.name.as_str(), need)));
        for (wants, name) in wants.chain(self.always.iter().map(|name| ("always", name))) {
            if !by_name.contains_key(name.as_str()) {
                return Err(ModuleTableError::Unknown { wants: wants.into(), name: name.clone() });
            }
        }
        self.check_cycles(&by_name)
    }

    /// Removes, in rounds, every module whose needs are all removed; the remaining modules depend on a cycle.
    fn check_cycles(&self, by_name: &BTreeMap<&str, &Module>) -> Result<(), ModuleTableError> {
        let mut left = by_name.clone();
        loop {
            let free: Vec<&str> = left
                .iter()
                .filter(|(_, module)| !module.needs.iter().any(|need| left.contains_key(need.as_str())))
                .map(|(name, _)| *name)
                .collect();
            if free.is_empty() {
                return left
                    .keys()
                    .next()
                    .map_or(Ok(()), |name| Err(ModuleTableError::Cycle((*name).into())));
            }
            for name in free {
                left.remove(name);
            }
        }
    }
}

fn visit<'a>(
    name: &'a str,
    by_name: &BTreeMap<&str, &'a Module>,
    done: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a Module>,
) {
    if let Some(module) = by_name.get(name)
        && done.insert(&module.name)
    {
        for need in &module.needs {
            visit(need, by_name, done, order);
        }
        order.push(module);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
version = 1
kernel = "6.12.0"
always = ["dm_verity", "erofs"]
[[module]]
name = "dm_mod"
file = "kernel/drivers/md/dm-mod.ko.xz"
[[module]]
name = "dm_bufio"
file = "kernel/drivers/md/dm-bufio.ko.xz"
[[module]]
name = "dm_verity"
file = "kernel/drivers/md/dm-verity.ko.xz"
needs = ["dm_mod", "dm_bufio"]
[[module]]
name = "erofs"
file = "kernel/fs/erofs/erofs.ko.xz"
[[module]]
name = "virtio_blk"
file = "kernel/drivers/block/virtio_blk.ko.xz"
aliases = ["virtio:d00000002v*"]
"#;

    #[test]
    fn a_needed_module_comes_first_and_occurs_once() {
        let table = ModuleTable::parse(TABLE).unwrap();
        let order = table.order(["dm_verity", "erofs", "dm_mod", "absent"]);
        let names: Vec<_> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["dm_mod", "dm_bufio", "dm_verity", "erofs"]);
        assert_eq!(ModuleTable::parse(&table.emit().unwrap()).unwrap(), table);
    }

    #[test]
    fn an_inconsistent_table_is_refused() {
        type Expect = fn(&ModuleTableError) -> bool;
        let cases: [(&str, &str, Expect); 8] = [
            ("version = 1", "version = 2", |e| matches!(e, ModuleTableError::Version(2))),
            ("version = 1", "", |e| matches!(e, ModuleTableError::Form(_))),
            (
                "\"erofs\"]",
                "\"zfs\"]",
                |e| matches!(e, ModuleTableError::Unknown { wants, .. } if wants == "always"),
            ),
            ("\"dm_bufio\"]", "\"dm_bufioo\"]", |e| matches!(e, ModuleTableError::Unknown { .. })),
            ("name = \"dm_bufio\"", "name = \"dm_mod\"", |e| matches!(e, ModuleTableError::Twice(_))),
            ("dm-bufio.ko.xz\"", "dm-bufio.ko.xz\"\nneeds = [\"dm_verity\"]", |e| {
                matches!(e, ModuleTableError::Cycle(_))
            }),
            ("kernel/fs", "kernel/../fs", |e| matches!(e, ModuleTableError::File(_))),
            ("\"kernel/fs", "\"/kernel/fs", |e| matches!(e, ModuleTableError::File(_))),
        ];
        for (from, to, expected) in cases {
            let text = TABLE.replacen(from, to, 1);
            assert_ne!(text, TABLE, "{from}");
            let error = ModuleTable::parse(&text).unwrap_err();
            assert!(expected(&error), "{from} -> {to}: {error}");
        }
    }
}
