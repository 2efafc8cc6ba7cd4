//! From verified packages to trees: the root volume and the initrd, without running anything of the packages.
//!
//! No maintainer script runs, nothing is mounted, no root is needed: ownership, modes and links are data in a [`tree::Tree`].
//! What the scripts would have done is done here natively; which scripts those are is written down in the [`ledger`].
//! The result is the same for any order of packages, and passes its own [`audit`](audit::audit) or is not given out.

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

/// A package whose bytes were checked against the lock.
#[derive(Debug)]
pub struct Package<R> {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// It had to be unpacked; else it was kept so.
    pub unpacked: bool,
    /// The opened package.
    pub deb: Deb<R>,
}

/// What the root volume is made of.
#[derive(Debug)]
pub struct RootInputs<R> {
    /// The packages of the root, the kernel and the boot loader among them, in any order.
    pub packages: Vec<Package<R>>,
    /// Which kernel it is, and which drivers stay.
    pub flavour: KernelFlavour,
    /// The agent.
    pub agent: Arc<[u8]>,
    /// The release of kubedOS.
    pub release: String,
    /// No file is younger, and the clock never goes below: seconds since 1970.
    pub epoch: u64,
}

/// A composed root and what lies beside it.
#[derive(Debug)]
pub struct Composed {
    /// The root volume.
    pub tree: Tree,
    /// Name and version of every package, sorted.
    pub packages: BTreeMap<String, String>,
    /// The kernel: its release, image, and the modules of the initrd.
    pub kernel: Kernel,
    /// systemd's EFI stub, which becomes the UKI.
    pub stub: Arc<[u8]>,
    /// systemd-boot.
    pub boot_loader: Arc<[u8]>,
}

/// Why no root can be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A rule file is malformed.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// The store of built things failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A package cannot be unpacked.
    #[error("failed to unpack {package}")]
    Unpack {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: Box<unpack::UnpackError>,
    },
    /// Scripts that nobody has reviewed.
    #[error(transparent)]
    Scripts(#[from] ledger::UnknownScripts),
    /// One package given twice.
    #[error("the package {0} is given twice")]
    Twice(String),
    /// A file that no package gave.
    #[error("no package gives /{0}")]
    Missing(&'static str),
    /// The lock has no such set.
    #[error(transparent)]
    Lock(#[from] Box<LockError>),
    /// An input is not in the cache, or does not match its pin.
    #[error(transparent)]
    Cache(#[from] Box<CacheError>),
    /// The files do not make a tree.
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    /// A rule that no longer says what is.
    #[error(transparent)]
    Rule(#[from] rules::RuleError),
    /// Accounts.
    #[error(transparent)]
    Account(#[from] accounts::AccountError),
    /// Units.
    #[error(transparent)]
    Unit(#[from] units::UnitError),
    /// Files of our own.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] Box<kernel::KernelError>),
    /// Libraries.
    #[error(transparent)]
    Library(#[from] libraries::MissingLibrary),
    /// The finished tree holds what a sealed volume may not hold.
    #[error("the root volume may not hold:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Audit(Vec<Finding>),
}

/// Opens packages of the lock's sets, each once: as they were kept in the store for reading fast, else out of the cache. What is not there or does not
/// match its pin is an error.
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

/// The sets of the lock that a root volume is composed of.
pub const fn sets(flavour: KernelFlavour) -> [&'static str; 3] {
    ["root", flavour.set(), "boot"]
}

/// The initrd: `/init`, the modules of stage 1, and what verification needs (`kubedos/verity.toml`, `kubedos/cmdline`).
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

/// Unpacks the packages in the order of their names; no script of theirs may be unknown.
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

/// Programs lose setuid and setgid: nobody but root runs them here.
fn drop_set_ids(tree: &mut Tree) {
    let set: Vec<String> =
        tree.iter().filter(|(_, node)| node.mode & 0o6000 != 0).map(|(path, _)| path.to_owned()).collect();
    for path in set {
        if let Some(node) = tree.get_mut(&path) {
            node.mode &= !0o6000;
        }
    }
}
