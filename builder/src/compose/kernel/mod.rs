//! The packaged kernel: checks its configuration, keeps a list of modules with their dependencies, and generates their indices.
//!
//! Modules are stored decompressed: EROFS compresses them again, and the signature at the end of each module stays valid. The indices are
//! those of depmod(8). There are two kernels: the cloud kernel for virtual machines, and the generic kernel with a declared list of drivers
//! for bare metal.

pub mod depmod;
pub mod index;
pub mod initrd;
pub mod module;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use kubedos_debian::decompress;

use super::data::{KernelOptions, ModuleGroup, Modules};
use super::tree::{Kind, Node, Tree, TreeError};
use initrd::InitrdModules;
use module::Module;

/// The kernel package and the drivers to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFlavour {
    /// Virtual machines and clouds.
    Cloud,
    /// Bare metal.
    Metal,
}

impl KernelFlavour {
    /// The set of the lock that contains the kernel package.
    pub const fn set(self) -> &'static str {
        match self {
            Self::Cloud => "kernel-cloud",
            Self::Metal => "kernel-generic",
        }
    }
}

/// The errors of the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The packages contain no kernel, or more than one.
    #[error("the packages contain {0} kernels in /boot instead of one")]
    Count(usize),
    /// The kernel package lacks a file.
    #[error("the kernel package does not contain /{0}")]
    Missing(String),
    /// A required option has a different value.
    #[error(
        "kernel {release} has {name} = {value}, but kernel-config/required.toml requires {wanted}: {why}"
    )]
    Option {
        /// The kernel's release.
        release: String,
        /// The option's name.
        name: String,
        /// The option's value.
        value: String,
        /// The accepted values.
        wanted: String,
        /// The reason.
        why: String,
    },
    /// The kernel contains a listed module neither as a file nor built in.
    #[error("kernel {release} has no module {name}, which kernel-config lists")]
    NoModule {
        /// The kernel's release.
        release: String,
        /// The module's name.
        name: String,
    },
    /// A module for some processors only is in a group that every machine loads.
    #[error(
        "kernel module {0} is for some processors only, so kernel-config must list it as by-device, not as always"
    )]
    Processors(String),
    /// A module that cannot be read.
    #[error("failed to read the kernel module /{path}")]
    Read {
        /// The module's path.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An index of the modules exceeds its format.
    #[error("failed to index the modules")]
    Index(#[from] index::TooLarge),
    /// The module table for stage 1 is invalid.
    #[error("the module table of the initrd is invalid")]
    Table(#[from] kubedos_wire::modules::ModuleTableError),
    /// The file does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A kernel that was extracted from the packages.
#[derive(Debug)]
pub struct Kernel {
    /// The release, as `uname -r` prints it.
    pub release: String,
    /// The bzImage.
    pub image: Arc<[u8]>,
    /// The modules that stage 1 loads.
    pub initrd: InitrdModules,
}

/// The requirements on the kernel: options, and groups of modules.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Options that must be set.
    pub options: &'a KernelOptions,
    /// The groups of modules for the flavour.
    pub groups: Vec<&'a ModuleGroup>,
}

impl<'a> Rules<'a> {
    /// The rules of a flavour.
    pub fn of(
        flavour: KernelFlavour,
        options: &'a KernelOptions,
        modules: &'a Modules,
        metal: &'a Modules,
    ) -> Self {
        let metal = if flavour == KernelFlavour::Metal { metal.group.as_slice() } else { &[] };
        Self { options, groups: modules.group.iter().chain(metal).collect() }
    }
}

/// Extracts the kernel from the tree: removes `/boot`, prunes the modules and writes their indices.
pub fn take(tree: &mut Tree, rules: &Rules<'_>, origin: &Arc<str>) -> Result<Kernel, KernelError> {
    let releases: Vec<String> = tree
        .below("boot")
        .filter_map(|(path, _)| path.strip_prefix("boot/vmlinuz-"))
        .map(str::to_owned)
        .collect();
    let [release] = releases.as_slice() else { return Err(KernelError::Count(releases.len())) };
    let file = |path: String| tree.content(&path).cloned().ok_or(KernelError::Missing(path));
    let image = file(format!("boot/vmlinuz-{release}"))?;
    check_options(release, &file(format!("boot/config-{release}"))?, rules.options)?;

    let folder = format!("usr/lib/modules/{release}");
    let order = file(format!("{folder}/modules.order"))?;
    let builtin = file(format!("{folder}/modules.builtin"))?;
    let builtin_info = file(format!("{folder}/modules.builtin.modinfo"))?;
    let modules = read_modules(tree, &folder, &order)?;
    let builtin_names = depmod::builtin_names(&builtin);
    let wanted = choose(release, rules, &modules, &builtin_names)?;
    let kept: BTreeMap<String, Module> =
        modules.into_iter().filter(|(name, _)| wanted.contains(name)).collect();

    tree.remove("boot");
    tree.remove(&folder);
    for module in kept.values() {
        tree.add(
            &format!("{folder}/{}", module.path),
            Node::file(Arc::clone(&module.bytes), &module.origin),
        )?;
    }
    for (name, bytes) in depmod::files(&kept, &builtin, &builtin_info)? {
        tree.add(&format!("{folder}/{name}"), Node::file(bytes, origin))?;
    }
    let initrd = InitrdModules::of(release, rules, &kept)?;
    Ok(Kernel { release: release.clone(), image, initrd })
}

fn check_options(release: &str, config: &[u8], options: &KernelOptions) -> Result<(), KernelError> {
    let text = String::from_utf8_lossy(config);
    let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    for option in &options.option {
        let value = values.get(option.name.as_str()).copied().unwrap_or("n");
        if !option.is.iter().any(|wanted| wanted == value) {
            return Err(KernelError::Option {
                release: release.to_owned(),
                name: option.name.clone(),
                value: value.to_owned(),
                wanted: option.is.join(" or "),
                why: option.why.clone(),
            });
        }
    }
    Ok(())
}

/// Reads and decompresses all modules of the kernel. The keys are the modules' names.
fn read_modules(tree: &Tree, folder: &str, order: &[u8]) -> Result<BTreeMap<String, Module>, KernelError> {
    let order = String::from_utf8_lossy(order);
    let place: BTreeMap<&str, usize> = order.lines().enumerate().map(|(at, path)| (path, at)).collect();
    let mut modules = BTreeMap::new();
    for (path, node) in tree.below(folder) {
        let (Kind::File(bytes), Some(stem)) =
            (&node.kind, path.strip_suffix(".ko.xz").or(path.strip_suffix(".ko")))
        else {
            continue;
        };
        let bad = |source| KernelError::Read { path: path.to_owned(), source };
        let bytes = if path.ends_with(".xz") { unxz(bytes).map_err(bad)?.into() } else { Arc::clone(bytes) };
        let inner = format!("{}.ko", stem.strip_prefix(folder).unwrap_or(stem).trim_start_matches('/'));
        let priority = place.get(inner.as_str()).copied().unwrap_or(usize::MAX);
        let module = Module::read(inner, bytes, priority, Arc::clone(&node.origin));
        let module = module.ok_or_else(|| bad(io::Error::other("not a module of this architecture")))?;
        modules.insert(module.name.clone(), module);
    }
    module::resolve_soft(&mut modules);
    Ok(modules)
}

fn unxz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    /// The limit for a decompressed module in bytes; the largest modules of distribution kernels have tens of MB.
    const LARGEST: u64 = 512 << 20;
    decompress::whole(decompress::xz(bytes)?, LARGEST)
}

/// Returns the names of the listed modules and of all their dependencies.
fn choose(
    release: &str,
    rules: &Rules<'_>,
    modules: &BTreeMap<String, Module>,
    builtin: &BTreeSet<String>,
) -> Result<BTreeSet<String>, KernelError> {
    let mut wanted = BTreeSet::new();
    let mut todo: Vec<String> = Vec::new();
    for name in rules.groups.iter().flat_map(|group| &group.modules) {
        let name = module::normal(name);
        if modules.contains_key(&name) {
            todo.push(name);
        } else if !builtin.contains(&name) {
            return Err(KernelError::NoModule { release: release.to_owned(), name });
        }
    }
    while let Some(name) = todo.pop() {
        if let Some(module) = modules.get(&name)
            && wanted.insert(name)
        {
            todo.extend(module.needs().filter(|need| modules.contains_key(*need)).map(str::to_owned));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::data;

    #[test]
    fn a_missing_option_is_reported_with_its_reason() {
        let options = data::kernel_options().unwrap();
        let all: String = options.option.iter().map(|o| format!("{}={}\n", o.name, o.is[0])).collect();
        check_options("6.12", all.as_bytes(), &options).unwrap();
        for option in &options.option {
            let (other, shown) = if option.is.iter().any(|value| value == "n") {
                (format!("{}=y\n", option.name), "= y")
            } else {
                (format!("# {} is not set\n", option.name), "= n")
            };
            let changed = all.replace(&format!("{}={}\n", option.name, option.is[0]), &other);
            let text = check_options("6.12", changed.as_bytes(), &options).unwrap_err().to_string();
            assert!(
                text.contains(&option.name) && text.contains(&option.why) && text.contains(shown),
                "{text}"
            );
        }
    }

    #[test]
    fn a_listed_module_that_does_not_exist_is_reported() {
        let group = ModuleGroup { modules: vec!["dm-verity".into()], ..ModuleGroup::default() };
        let options = KernelOptions { version: 1, option: Vec::new() };
        let rules = Rules { options: &options, groups: vec![&group] };
        let none = BTreeMap::new();
        let builtin = BTreeSet::from(["dm_verity".to_owned()]);
        assert_eq!(choose("6", &rules, &none, &builtin).unwrap(), BTreeSet::new());
        let text = choose("6", &rules, &none, &BTreeSet::new()).unwrap_err().to_string();
        assert!(text.contains("no module dm_verity"), "{text}");
    }
}
