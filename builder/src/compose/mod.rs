//! Composition: builds the trees of the root volume and the initrd from verified packages.
//!
//! No program or script of a package runs, no file system is mounted, and no root privileges are needed. Ownership, modes
//! and links are data in a [`tree::Tree`]. This module itself performs the steps of the scripts; the [`ledger`] lists each reviewed script.
//!
//! Invariants: the result does not depend on the order of the packages, and [`root`] returns a tree only if it passes
//! [`audit`](audit::audit).

pub mod accounts;
pub mod audit;
pub mod data;
pub mod elf;
pub mod files;
pub mod kernel;
pub mod ledger;
pub mod libraries;
mod repacked;
pub mod rules;
pub mod tree;
pub mod units;
pub mod unpack;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;

pub use audit::{Allowed, Finding};
pub use kernel::initrd::InitrdModules;
pub use kernel::{Kernel, KernelFlavour};
use kubedos_image::ordered::{ordered, threads};
pub use tree::{Kind, Node, Tree};

use crate::store::{Store, StoreError};
use kubedos_debian::cache::{Cache, CacheError};
use kubedos_debian::deb::Deb;
use kubedos_debian::lock::{Lock, LockError, LockedPackage};

/// A package whose digest matched the lock.
#[derive(Debug)]
pub struct Package<R> {
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// True if this call unpacked the package; false if the store already contained the repacked copy.
    pub unpacked: bool,
    /// The opened package.
    pub deb: Deb<R>,
}

/// The inputs of the root volume.
#[derive(Debug)]
pub struct RootInputs<R> {
    /// The packages of the root, the kernel and the boot loader, in any order.
    pub packages: Vec<Package<R>>,
    /// The kernel flavour; it selects the kernel package and the drivers to keep.
    pub flavour: KernelFlavour,
    /// The bytes of the agent's program.
    pub agent: Arc<[u8]>,
    /// The release of kubedOS.
    pub release: String,
    /// The upper bound for file times and the lower bound for the clock, in seconds since 1970.
    pub epoch: u64,
}

/// A composed root volume and the files that a build needs in addition to it.
#[derive(Debug)]
pub struct Composed {
    /// The root volume.
    pub tree: Tree,
    /// Package versions by package name.
    pub packages: BTreeMap<String, String>,
    /// The kernel: its release, image, and the modules of the initrd.
    pub kernel: Kernel,
    /// systemd's EFI stub, the base of the UKI.
    pub stub: Arc<[u8]>,
    /// systemd-boot.
    pub boot_loader: Arc<[u8]>,
}

/// The errors of composition.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A rule file is malformed.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// The build store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package cannot be unpacked.
    #[error("failed to unpack {package}")]
    Unpack {
        /// The package.
        package: String,
        /// The cause.
        #[source]
        source: Box<unpack::UnpackError>,
    },
    /// Some maintainer scripts are not in the ledger.
    #[error(transparent)]
    Scripts(#[from] ledger::UnknownScripts),
    /// The list of packages contains a package twice.
    #[error("the package {0} is listed twice")]
    Twice(String),
    /// No package contains the file.
    #[error("no package contains /{0}")]
    Missing(&'static str),
    /// The lock has no such set.
    #[error(transparent)]
    Lock(#[from] Box<LockError>),
    /// An input is missing from the cache or does not match its pin.
    #[error(transparent)]
    Cache(#[from] Box<CacheError>),
    /// The files do not form a valid tree.
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    /// A rule has no match in the tree.
    #[error(transparent)]
    Rule(#[from] rules::RuleError),
    /// The accounts cannot be written.
    #[error(transparent)]
    Account(#[from] accounts::AccountError),
    /// The units cannot be enabled.
    #[error(transparent)]
    Unit(#[from] units::UnitError),
    /// A generated or overlay file cannot be written.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// The kernel does not meet the rules.
    #[error(transparent)]
    Kernel(#[from] Box<kernel::KernelError>),
    /// A library is missing.
    #[error(transparent)]
    Library(#[from] libraries::MissingLibrary),
    /// The finished tree contains something that the audit forbids.
    #[error("the root volume contains forbidden files:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Audit(Vec<Finding>),
}

/// Opens the packages of the given sets of the lock, each package once. The store's repacked copy is preferred because it is faster to
/// read; otherwise the package comes from the cache. A package that is missing or does not match its pin is an error.
pub fn packages(
    lock: &Lock,
    cache: &Cache,
    store: &Store,
    sets: &[&str],
) -> Result<Vec<Package<File>>, ComposeError> {
    let mut chosen: BTreeMap<&str, &LockedPackage> = BTreeMap::new();
    for set in sets {
        chosen.extend(
            lock.set(set).map_err(Box::new)?.into_iter().map(|package| (package.name.as_str(), package)),
        );
    }
    let chosen: Vec<&LockedPackage> = chosen.into_values().collect();
    let mut opened = Vec::with_capacity(chosen.len());
    let open = |package: &&LockedPackage| repacked::open(package, cache, store);
    ordered(threads(), &chosen, open, |_, package| {
        opened.push(package?);
        Ok::<_, ComposeError>(())
    })?;
    Ok(opened)
}

/// The sets of the lock that the root volume consists of.
pub const fn sets(flavour: KernelFlavour) -> [&'static str; 3] {
    ["root", flavour.set(), "boot"]
}

/// Builds the initrd: `/init`, the modules for stage 1, and the files for verification (`kubedos/verity.toml`, `kubedos/cmdline`).
pub fn initrd(
    stage1: &Arc<[u8]>,
    modules: &InitrdModules,
    files: &[(&str, Arc<[u8]>)],
    epoch: u64,
) -> Result<Tree, tree::TreeError> {
    let origin: Arc<str> = Arc::from("kubedos");
    let mut tree = Tree::new(epoch);
    tree.add("init", Node::file(Arc::clone(stage1), &origin).with_mode(0o755))?;
    for folder in ["dev", "proc", "run", "sys", "sysroot"] {
        tree.add(folder, Node::new(Kind::Directory, &origin))?;
    }
    for (path, bytes) in modules
        .files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes))
        .chain(files.iter().map(|(p, b)| (*p, b)))
    {
        tree.add(path, Node::file(Arc::clone(bytes), &origin))?;
    }
    tree.check()?;
    Ok(tree)
}

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const BOOT_LOADER: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";

/// Composes the root volume.
pub fn root<R: Read + Seek>(inputs: RootInputs<R>) -> Result<Composed, ComposeError> {
    let origin: Arc<str> = Arc::from("kubedos");
    let ids = data::ids()?;
    let closed = data::closed()?;
    let units = data::units()?;

    let mut tree = Tree::new(inputs.epoch);
    let packages = unpack_all(inputs.packages, &mut tree)?;
    tree.check()?;
    files::check_usr_merge(&tree)?;
    let stub = take(&tree, STUB)?;
    let boot_loader = take(&tree, BOOT_LOADER)?;

    let (options, modules, metal) = (data::kernel_options()?, data::modules()?, data::drivers_metal()?);
    let rules = kernel::Rules::of(inputs.flavour, &options, &modules, &metal);
    let kernel = kernel::take(&mut tree, &rules, &origin).map_err(Box::new)?;

    units::keep(&mut tree, &units)?;
    rules::close(&mut tree, &closed)?;
    rules::remove(&mut tree, &data::removals()?)?;
    files::overlay(&mut tree, &origin)?;
    files::write(&mut tree, &inputs.release, &inputs.agent, &origin)?;
    units::enable(&mut tree, &units, &origin)?;
    let accounts = accounts::Accounts::of(&tree, &ids)?;
    accounts.write(&mut tree, &origin)?;
    drop_set_ids(&mut tree);
    libraries::prune(&mut tree, &closed.dlopen)?;
    tree.check()?;

    let allowed = Allowed {
        capabilities: closed
            .capabilities
            .iter()
            .map(|(path, capability)| (path.as_str(), capability))
            .collect(),
        users: accounts.user_ids(),
        groups: accounts.group_ids(),
    };
    let findings = audit::audit(&tree, &allowed);
    if !findings.is_empty() {
        return Err(ComposeError::Audit(findings));
    }
    Ok(Composed { tree, packages, kernel, stub, boot_loader })
}

/// Unpacks the packages in the order of their names, after checking all their scripts against the ledger.
fn unpack_all<R: Read + Seek>(
    mut packages: Vec<Package<R>>,
    tree: &mut Tree,
) -> Result<BTreeMap<String, String>, ComposeError> {
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    let ledger = data::ledger()?;
    let mut scripts = Vec::new();
    let mut names = BTreeMap::new();
    for package in &mut packages {
        scripts.extend(ledger::scripts(&package.name, &package.version, package.deb.control_files()));
        if names.insert(package.name.clone(), package.version.clone()).is_some() {
            return Err(ComposeError::Twice(package.name.clone()));
        }
    }
    ledger.check(&scripts)?;
    for package in &mut packages {
        unpack::unpack(&package.name, &mut package.deb, tree).map_err(|source| ComposeError::Unpack {
            package: package.name.clone(),
            source: Box::new(source),
        })?;
    }
    Ok(names)
}

fn take(tree: &Tree, path: &'static str) -> Result<Arc<[u8]>, ComposeError> {
    tree.content(path).cloned().ok_or(ComposeError::Missing(path))
}

/// Clears setuid and setgid on all programs: only root runs programs on a node.
fn drop_set_ids(tree: &mut Tree) {
    let set: Vec<String> =
        tree.iter().filter(|(_, node)| node.mode & 0o6000 != 0).map(|(path, _)| path.to_owned()).collect();
    for path in set {
        if let Some(node) = tree.get_mut(&path) {
            node.mode &= !0o6000;
        }
    }
}
