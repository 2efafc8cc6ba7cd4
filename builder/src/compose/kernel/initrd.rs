//! The kernel modules of stage 1: the module files, and the table ([`ModuleTable`]) that lists what stage 1 loads and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubedos_wire::modules::{FOLDER, ModuleTable, TABLE_PATH, VERSION};

use super::module::{Module, normal};
use super::{KernelError, Rules};
use crate::compose::data::InInitrd;

/// The module part of the initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdModules {
    /// The order and the time of loading of each module.
    pub table: ModuleTable,
    /// The module files by their path in the initrd, sorted.
    pub files: BTreeMap<String, Arc<[u8]>>,
}

impl InitrdModules {
    /// Selects the modules that the rules list for the initrd, and their dependencies.
    pub fn of(
        release: &str,
        rules: &Rules<'_>,
        modules: &BTreeMap<String, Module>,
    ) -> Result<Self, KernelError> {
        let mut always = Vec::new();
        let mut by_device = BTreeSet::new();
        let mut todo = Vec::new();
        for group in &rules.groups {
            for name in
                group.modules.iter().map(|name| normal(name)).filter(|name| modules.contains_key(name))
            {
                match group.initrd {
                    InInitrd::No => continue,
                    InInitrd::Always => always.push(name.clone()),
                    InInitrd::ByDevice => {
                        by_device.insert(name.clone());
                    }
                    InInitrd::OnDemand => {}
                }
                todo.push(name);
            }
        }
        let on_every_machine = with_needs(modules, always.clone());
        let bound = |name: &&String| modules.get(*name).is_some_and(is_for_some_processors);
        if let Some(name) = on_every_machine.iter().find(bound) {
            return Err(KernelError::Processors(name.clone()));
        }
        let names = with_needs(modules, todo);
        let chosen = || names.iter().filter_map(|name| modules.get(name));
        let entry = |module: &Module| kubedos_wire::modules::Module {
            name: module.name.clone(),
            file: format!("{}.ko", module.name),
            needs: module.needs().filter(|need| names.contains(*need)).map(str::to_owned).collect(),
            aliases: if by_device.contains(&module.name) { module.aliases.clone() } else { Vec::new() },
        };
        let table = ModuleTable {
            version: VERSION,
            kernel: release.to_owned(),
            always,
            modules: chosen().map(entry).collect(),
        };
        let mut files: BTreeMap<String, Arc<[u8]>> = chosen()
            .map(|module| (format!("{FOLDER}/{}.ko", module.name), Arc::clone(&module.bytes)))
            .collect();
        files.insert(TABLE_PATH.to_owned(), table.emit()?.into_bytes().into());
        Ok(Self { table, files })
    }
}

/// Returns the modules and all their dependencies.
fn with_needs(modules: &BTreeMap<String, Module>, mut todo: Vec<String>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if let Some(module) = modules.get(&name)
            && names.insert(name)
        {
            todo.extend(module.needs().filter(|need| modules.contains_key(*need)).map(str::to_owned));
        }
    }
    names
}

/// Whether the module's device aliases name processors or processor features. Such a module refuses to load on other processors.
fn is_for_some_processors(module: &Module) -> bool {
    module.aliases.iter().any(|alias| alias.starts_with("cpu:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::data::{KernelOptions, ModuleGroup};

    fn module(name: &str, alias: &str) -> (String, Module) {
        let module = Module {
            name: name.into(),
            path: format!("kernel/{name}.ko"),
            bytes: Arc::from(&b""[..]),
            priority: 0,
            origin: Arc::from("kernel"),
            depends: Vec::new(),
            aliases: vec![alias.into()],
            softdeps: Vec::new(),
            soft: Vec::new(),
            weakdeps: Vec::new(),
            exports: BTreeSet::new(),
        };
        (name.into(), module)
    }

    /// P2: stage 1 halts if a module from the list for every machine does not load, so none of these may need a processor feature.
    #[test]
    fn a_module_for_some_processors_is_loaded_by_device_only() {
        let modules = BTreeMap::from([
            module("sha256_ssse3", "cpu:type:x86,ven*fam*mod*:feature:*0089*"),
            module("dm_verity", "dm-verity"),
            (
                "erofs".into(),
                Module { depends: vec!["sha256_ssse3".into()], ..module("erofs", "fs-erofs").1 },
            ),
        ]);
        let options = KernelOptions { version: 1, option: Vec::new() };
        let take = |initrd, name: &str| {
            let group = ModuleGroup { initrd, modules: vec![name.into()], ..ModuleGroup::default() };
            InitrdModules::of("6", &Rules { options: &options, groups: vec![&group] }, &modules)
        };
        assert_eq!(take(InInitrd::Always, "dm_verity").unwrap().table.always, ["dm_verity"]);
        for name in ["sha256-ssse3", "erofs"] {
            let error = take(InInitrd::Always, name).unwrap_err().to_string();
            assert!(
                error.starts_with("kernel module sha256_ssse3 is for some processors only"),
                "{name}: {error}"
            );
        }
        let table = take(InInitrd::ByDevice, "sha256_ssse3").unwrap().table;
        assert!(table.always.is_empty() && table.modules[0].aliases.len() == 1, "{table:?}");
    }
}
