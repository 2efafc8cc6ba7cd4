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
pub mod ledger;
pub mod libraries;
pub mod rules;
#[cfg(test)]
pub(crate) mod sample;
pub mod tree;
pub mod units;
pub mod unpack;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::Arc;

pub use audit::{Allowed, Finding};
pub use tree::{Kind, Node, Tree};

use crate::deb::Deb;

/// A package whose bytes were checked against the lock.
#[derive(Debug)]
pub struct Package<R> {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The opened package.
    pub deb: Deb<R>,
}

/// What the root volume is made of.
#[derive(Debug)]
pub struct RootInputs<R> {
    /// The packages of the root, the kernel and the boot loader among them, in any order.
    pub packages: Vec<Package<R>>,
    /// The linked `kubedos-init`.
    pub init: Arc<[u8]>,
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
    /// Libraries.
    #[error(transparent)]
    Library(#[from] libraries::MissingLibrary),
    /// The finished tree holds what a sealed volume may not hold.
    #[error("the root volume may not hold:\n{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Audit(Vec<Finding>),
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

    units::keep(&mut tree, &units)?;
    rules::close(&mut tree, &closed)?;
    rules::remove(&mut tree, &data::removals()?)?;
    files::overlay(&mut tree, &origin)?;
    files::write(&mut tree, &inputs.release, &inputs.init, &origin)?;
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
    Ok(Composed { tree, packages, stub, boot_loader })
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
