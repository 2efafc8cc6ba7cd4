//! The modules of stage 1: a table of what to load and when, and the files, in the form that stage 1 reads ([`ModuleTable`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kubedos_spec::modules::{FOLDER, ModuleTable, TABLE_PATH, VERSION};

use super::module::{Module, normal};
use super::{KernelError, Rules};
use crate::compose::data::InInitrd;

/// What the initrd holds of the kernel's modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitrdModules {
    /// What is loaded, when, and after what.
    pub table: ModuleTable,
    /// The files, by their path in the initrd, sorted.
    pub files: BTreeMap<String, Arc<[u8]>>,
}

impl InitrdModules {
    /// Picks what the rules want in the initrd, with all that it needs.
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
        let mut names = BTreeSet::new();
        while let Some(name) = todo.pop() {
            if let Some(module) = modules.get(&name)
                && names.insert(name)
            {
                todo.extend(module.needs().filter(|need| modules.contains_key(*need)).map(str::to_owned));
            }
        }
        let chosen = || names.iter().filter_map(|name| modules.get(name));
        let entry = |module: &Module| kubedos_spec::modules::Module {
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
