//! Outside programs that only tests use, from their own lock (`tests/tools/`): tshark on the host, and `ip`, `nft` and `wg` for the
//! test image.
//!
//! They are pinned, fetched and unpacked like the packages of the product, and never part of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::lock::Lock;

use crate::pins::{Pins, kubedos_build, project, scratch, succeeds};

/// The programs of the test image and their paths in the packages.
const NODE: [(&str, &str); 3] = [("ip", "usr/bin/ip"), ("nft", "usr/sbin/nft"), ("wg", "usr/bin/wg")];

/// The unpacked programs of a set of `tests/tools/tools.lock`. A package that the mirror no longer has is replaced by its successor in
/// a separate lock, as for the product; the output of the test then has the difference.
///
/// # Panics
/// If a package is neither in the cache nor on the mirror.
pub fn outside(set: &str) -> Toolbox {
    static LOCK: OnceLock<Lock> = OnceLock::new();
    let lock = LOCK.get_or_init(|| {
        let folder = project().join("tests/tools");
        let (committed, out) = (folder.join("tools.lock"), scratch().join("tools-lock"));
        let mut fetch = kubedos_build();
        fetch.args(["fetch", "--relock-missing", "--packages"]).arg(folder.join("packages.toml"));
        succeeds(fetch.arg("--lock").arg(&committed).arg("--out").arg(&out));
        let used = out.join("kubedos.lock");
        Lock::read_alone(if used.exists() { &used } else { &committed }).unwrap()
    });
    Toolbox::open(Pins::get().cache(), lock, set).unwrap()
}

/// The files of the programs for the test image: the programs, their libraries and the loader, by name. They are read from the tree by
/// the loader itself, which lists what it would load.
pub(crate) fn node_tools() -> BTreeMap<String, Vec<u8>> {
    let tools = outside("node");
    let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (name, path) in NODE {
        let (loader, arguments) = tools.invocation(path).unwrap();
        let listed = succeeds(Command::new(&loader).arg("--list").args(&arguments));
        let libraries = listed.lines().filter_map(|line| {
            let path = line.split_once("=>").map_or(line, |(_, path)| path).split_whitespace().next()?;
            path.starts_with('/').then(|| PathBuf::from(path))
        });
        let loader = PathBuf::from(loader);
        for file in libraries.chain([loader]) {
            assert!(file.starts_with(tools.root()), "{name} would use {} of the host", file.display());
            paths.insert(file.file_name().unwrap().to_str().unwrap().to_owned(), file);
        }
        paths.insert(name.to_owned(), tools.path(path).unwrap());
    }
    paths.into_iter().map(|(name, path)| (name, read(&path))).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
