//! Tests of the real root volume, composed from the locked packages: goldens, independence of the order, and independent tools as oracles.
//! They need the lock's sets in the cache, or a mirror to fetch them from.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kubedos_builder::compose::kernel::index;
use kubedos_builder::compose::{
    Allowed, Composed, KernelFlavour, Kind, Package, RootInputs, Tree, audit, packages, root, sets,
};
use kubedos_builder::erofs::{self, Segments};
use kubedos_builder::store::Store;
use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::cache::{Cache, Place};
use kubedos_debian::fetch::{Fetcher, Silent};
use kubedos_debian::lock::Lock;
use kubedos_debian::mirror::{Mirrors, Wanted};
use kubedos_image::erofs::reader::Volume;

const EPOCH: u64 = 1_763_300_000;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Inputs {
    lock: Lock,
    cache: Cache,
}

impl Inputs {
    fn open(flavour: KernelFlavour) -> Self {
        let lock = Lock::read_alone(&project().join("kubedos.lock")).unwrap();
        let cache = Place::from_environment(None).open().unwrap();
        let mirrors = Mirrors::find(Wanted::from_environment(&project()));
        let wanted: Vec<String> =
            sets(flavour).into_iter().chain(["tools", "oracles"]).map(str::to_owned).collect();
        Fetcher::new(&cache, &mirrors).fetch(&lock.sources(&wanted).unwrap(), &Silent).unwrap();
        Self { lock, cache }
    }

    fn packages(&self, flavour: KernelFlavour) -> Vec<Package<File>> {
        let store = Store::of(&self.cache);
        packages(&self.lock, &self.cache, &store, &sets(flavour)).unwrap()
    }

    fn tool(&self, set: &str, program: &str) -> Command {
        Toolbox::open(&self.cache, &self.lock, set).unwrap().command(program).unwrap()
    }
}

fn compose(packages: Vec<Package<File>>, flavour: KernelFlavour) -> Composed {
    // Any program can be used as the agent here.
    let agent: Arc<[u8]> = fs::read(std::env::current_exe().unwrap()).unwrap().into();
    root(RootInputs { packages, flavour, agent, release: "0.0.0".into(), epoch: EPOCH }).unwrap()
}

/// Compares a text with a golden; with `KUBEDOS_UPDATE_GOLDENS=1` writes the golden instead.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("KUBEDOS_UPDATE_GOLDENS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    let (have, want): (BTreeSet<&str>, BTreeSet<&str>) = (text.lines().collect(), want.lines().collect());
    let new: Vec<_> = have.difference(&want).collect();
    let removed: Vec<_> = want.difference(&have).collect();
    assert!(new.is_empty() && removed.is_empty(), "{name}: new {new:#?}, removed {removed:#?}");
}

/// A12, A4: the paths of the volume, with owners and modes, match the reviewed listing.
#[test]
fn the_cloud_root_matches_the_reviewed_listing() {
    let inputs = Inputs::open(KernelFlavour::Cloud);
    let composed = compose(inputs.packages(KernelFlavour::Cloud), KernelFlavour::Cloud);
    golden("root-cloud.listing", &composed.tree.listing());
    golden("initrd-cloud.toml", &composed.kernel.initrd.table.emit().unwrap());
    let read = |path| String::from_utf8(composed.tree.content(path).unwrap().to_vec()).unwrap();
    golden("passwd", &read("etc/passwd"));
    golden("group", &read("etc/group"));
    assert!(composed.tree.file_bytes() < 80 << 20);
}

/// A12: the audit works on the real tree: it finds each planted fault.
#[test]
fn the_audit_finds_planted_faults_in_the_real_root() {
    let inputs = Inputs::open(KernelFlavour::Cloud);
    let composed = compose(inputs.packages(KernelFlavour::Cloud), KernelFlavour::Cloud);
    let ids = |file| -> BTreeSet<u32> {
        let text = String::from_utf8(composed.tree.content(file).unwrap().to_vec()).unwrap();
        text.lines().map(|line| line.split(':').nth(2).unwrap().parse().unwrap()).collect()
    };
    let allowed =
        Allowed { capabilities: BTreeMap::new(), users: ids("etc/passwd"), groups: ids("etc/group") };
    assert_eq!(audit::audit(&composed.tree, &allowed), []);
    let mut tree = composed.tree.clone();
    let program = tree.get("usr/bin/mount").unwrap().clone();
    tree.add("usr/bin/bash", program.clone()).unwrap();
    tree.replace("usr/bin/mount", program.with_mode(0o4755)).unwrap();
    tree.remove("usr/bin/udevadm");
    let found: BTreeSet<String> =
        audit::audit(&tree, &allowed).into_iter().map(|finding| finding.path).collect();
    for path in ["usr/bin/bash", "usr/bin/mount", "usr/lib/systemd/systemd-udevd"] {
        assert!(found.contains(path), "{path} is not among {found:?}");
    }
}

/// Writes a volume as the builder does, with an empty store.
fn write_volume(tree: &Tree, out: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("built"));
    erofs::write(tree, [7; 16], EPOCH, &Segments(&store), &mut File::create(out).unwrap()).unwrap();
}

/// Extracts a volume with fsck.erofs, an independent program that decodes all data.
fn extract(inputs: &Inputs, volume: &Path, out: &Path) {
    let mut fsck = inputs.tool("oracles", "usr/bin/fsck.erofs");
    fsck.arg(format!("--extract={}", out.display())).args(["--no-preserve-owner", "--preserve-perms"]);
    let output = fsck.arg(volume).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A1, A4: the files that fsck.erofs extracts from the largest real root, and the files that our reader reads, equal the composed tree.
#[test]
fn the_real_root_is_read_back_as_composed() {
    let inputs = Inputs::open(KernelFlavour::Metal);
    let composed = compose(inputs.packages(KernelFlavour::Metal), KernelFlavour::Metal);
    let folder = tempfile::tempdir().unwrap();
    let (path, extracted) = (folder.path().join("root.erofs"), folder.path().join("tree"));
    write_volume(&composed.tree, &path);
    extract(&inputs, &path, &extracted);

    let bytes = fs::read(&path).unwrap();
    let volume = Volume::open(&bytes).unwrap();
    let mut read = BTreeMap::new();
    for found in volume.walk() {
        let found = found.unwrap();
        read.insert(String::from_utf8(found.path).unwrap(), found.inode);
    }
    assert_eq!(read.len(), composed.tree.len());
    for (path, node) in composed.tree.iter() {
        let place = extracted.join(path);
        let metadata = fs::symlink_metadata(&place).unwrap_or_else(|error| panic!("{path}: {error}"));
        let inode = &read[path];
        let (target, first) = match &node.kind {
            Kind::Hardlink(first) => (composed.tree.get(first).unwrap(), Some(first)),
            _ => (node, None),
        };
        assert_eq!((inode.uid, inode.gid, inode.mtime), (target.uid, target.gid, EPOCH as i64), "{path}");
        let xattrs: BTreeMap<Vec<u8>, Vec<u8>> =
            target.xattrs.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect();
        assert_eq!(volume.xattrs(inode).unwrap(), xattrs, "{path}");
        if let Some(first) = first {
            assert_eq!(inode.nid, read[first.as_str()].nid, "{path}");
            assert_eq!(metadata.ino(), fs::symlink_metadata(extracted.join(first)).unwrap().ino(), "{path}");
        }
        match &target.kind {
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(place).unwrap().to_str().unwrap(), target, "{path}");
                assert_eq!(volume.link(inode).unwrap(), target.as_bytes(), "{path}");
                continue;
            }
            Kind::File(content) => {
                let mut whole = vec![0; content.len() + 1];
                assert_eq!(volume.reader().read_at(inode, 0, &mut whole).unwrap(), content.len(), "{path}");
                assert!(whole[..content.len()] == content[..], "{path}");
                // Without this, the file may be unreadable for the user who runs the test.
                fs::set_permissions(&place, Permissions::from_mode(metadata.mode() | 0o400)).unwrap();
                assert!(fs::read(&place).unwrap() == content[..], "{path}");
            }
            _ => assert!(metadata.is_dir(), "{path}"),
        }
        assert_eq!((metadata.mode() & 0o7777, u32::from(inode.mode)), (target.mode, target.mode), "{path}");
    }
}

/// A4: the order of the packages changes neither the tree nor the bytes of the volume, and fsck.erofs accepts the volume.
#[test]
fn the_volume_does_not_depend_on_the_order_of_packages() {
    let inputs = Inputs::open(KernelFlavour::Cloud);
    let folder = tempfile::tempdir().unwrap();
    let write = |composed: &Composed, name: &str| {
        let out = folder.path().join(name);
        write_volume(&composed.tree, &out);
        fs::read(out).unwrap()
    };
    let one = compose(inputs.packages(KernelFlavour::Cloud), KernelFlavour::Cloud);
    let first = write(&one, "one.erofs");
    let mut shuffled = inputs.packages(KernelFlavour::Cloud);
    shuffled.reverse();
    shuffled.rotate_left(7);
    let two = compose(shuffled, KernelFlavour::Cloud);
    assert!(one.tree == two.tree && one.packages == two.packages && one.kernel.initrd == two.kernel.initrd);
    assert!(first == write(&two, "two.erofs"), "the two volumes differ");
    let fsck =
        inputs.tool("tools", "usr/bin/fsck.erofs").arg(folder.path().join("one.erofs")).output().unwrap();
    assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
}

/// systemd's own checker accepts the units that fsck.erofs extracts from the root.
#[test]
fn systemd_accepts_the_units_of_the_root() {
    let inputs = Inputs::open(KernelFlavour::Cloud);
    let composed = compose(inputs.packages(KernelFlavour::Cloud), KernelFlavour::Cloud);
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("root.erofs");
    write_volume(&composed.tree, &volume);
    let out = folder.path().join("out");
    extract(&inputs, &volume, &out);
    let units: Vec<&str> = composed
        .tree
        .iter()
        .filter(|(path, node)| {
            matches!(node.kind, Kind::File(_)) && path.starts_with("usr/lib/systemd/system/")
        })
        .filter_map(|(path, _)| path.strip_prefix("usr/lib/systemd/system/"))
        .filter(|unit| !unit.contains('/') && !unit.contains('@'))
        .collect();
    let complaints = || {
        let mut verify = inputs.tool("oracles", "usr/bin/systemd-analyze");
        verify.arg(format!("--root={}", out.display()));
        verify.args(["--man=no", "--recursive-errors=yes", "--generators=no", "verify"]);
        verify.args(&units);
        let ran = verify.output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    assert_eq!(complaints(), (true, String::new()));
    let unit = out.join("usr/lib/systemd/system/systemd-logind.service");
    let text = fs::read_to_string(&unit).unwrap().replace("/usr/lib/systemd/systemd-logind", "/usr/bin/gone");
    fs::write(&unit, text).unwrap();
    let (is_valid, output) = complaints();
    assert!(
        !is_valid && output.contains("/usr/bin/gone"),
        "the checker does not report a broken unit: {output}"
    );
}

/// The index files match those of depmod: the same keys, the same values, and dependencies in a valid order of loading.
#[test]
fn modules_are_indexed_as_depmod_would() {
    for flavour in [KernelFlavour::Cloud, KernelFlavour::Metal] {
        let inputs = Inputs::open(flavour);
        let composed = compose(inputs.packages(flavour), flavour);
        let release = &composed.kernel.release;
        let folder = tempfile::tempdir().unwrap();
        let modules = folder.path().join("lib/modules").join(release);
        lay_out(&composed.tree, &format!("usr/lib/modules/{release}"), &modules);
        lay_out_lists(inputs.packages(flavour), release, &modules);
        let mut depmod = inputs.tool("oracles", "usr/sbin/depmod");
        let ran = depmod.arg("-b").arg(folder.path()).arg(release).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        for name in
            ["modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin", "modules.builtin.alias.bin"]
        {
            assert_eq!(ours(&composed.tree, release, name), theirs(&modules, name), "{name}");
        }
        let sorted = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        for name in ["modules.softdep", "modules.devname", "modules.weakdep"] {
            let path = format!("usr/lib/modules/{release}/{name}");
            let ours = String::from_utf8(composed.tree.content(&path).unwrap().to_vec()).unwrap();
            assert_eq!(sorted(&ours), sorted(&fs::read_to_string(modules.join(name)).unwrap()), "{name}");
        }
        dependencies_agree(
            &ours(&composed.tree, release, "modules.dep.bin"),
            &theirs(&modules, "modules.dep.bin"),
        );
    }
}

/// A5: `docs/boot.md` lists every built-in driver and file system that could also be a module, in three columns: cloud kernel
/// only, generic kernel only, both.
#[test]
fn the_documented_built_ins_match_the_kernels() {
    let [cloud, generic] = [KernelFlavour::Cloud, KernelFlavour::Metal].map(built_ins);
    let page = fs::read_to_string(project().join("docs/boot.md")).unwrap();
    for (row, folder) in [("file systems", "kernel/fs/"), ("drivers", "kernel/drivers/")] {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {row} | "))).unwrap();
        let documented: Vec<BTreeSet<String>> = row.trim_end_matches(" |").split(" | ").map(names).collect();
        let [cloud, generic] = [&cloud, &generic].map(|paths| {
            let inside = paths.iter().filter(|path| path.starts_with(folder));
            let name =
                |path: &String| path.rsplit('/').next().unwrap().trim_end_matches(".ko").replace('-', "_");
            inside.map(name).collect::<BTreeSet<String>>()
        });
        assert!(cloud.len() > 5 && generic.len() > 5, "{cloud:?} {generic:?}");
        let expected = [&cloud - &generic, &generic - &cloud, &cloud & &generic];
        assert_eq!(documented, expected, "{folder}");
    }
}

/// Returns the names in a table cell: `` `a`, `b` ``.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split(", ").filter_map(|name| name.strip_prefix('`')?.strip_suffix('`')).map(str::to_owned).collect()
}

/// Returns the lines of `modules.builtin`.
fn built_ins(flavour: KernelFlavour) -> Vec<String> {
    let mut lines = Vec::new();
    for mut package in Inputs::open(flavour).packages(flavour) {
        let visited: Result<(), kubedos_debian::deb::DebError> = package.deb.visit(|entry, content| {
            if entry.path.ends_with("/modules.builtin") {
                let mut text = String::new();
                std::io::Read::read_to_string(content, &mut text).unwrap();
                lines.extend(text.lines().map(str::to_owned));
            }
            Ok(())
        });
        visited.unwrap();
    }
    lines
}

type Keys = BTreeMap<String, BTreeSet<String>>;

fn ours(tree: &Tree, release: &str, name: &str) -> Keys {
    keys(tree.content(&format!("usr/lib/modules/{release}/{name}")).unwrap())
}

fn theirs(modules: &Path, name: &str) -> Keys {
    keys(&fs::read(modules.join(name)).unwrap())
}

fn keys(bytes: &[u8]) -> Keys {
    index::decode(bytes)
        .unwrap()
        .into_iter()
        .map(|(key, values)| (key, values.into_iter().collect()))
        .collect()
}

fn dependencies_agree(ours: &Keys, theirs: &Keys) {
    let split = |value: &str| -> (String, Vec<String>) {
        let (path, rest) = value.split_once(':').unwrap();
        (path.to_owned(), rest.split_whitespace().map(str::to_owned).collect())
    };
    let read = |keys: &Keys| -> BTreeMap<String, (String, Vec<String>)> {
        keys.iter().map(|(key, values)| (key.clone(), split(values.first().unwrap()))).collect()
    };
    let (ours, theirs) = (read(ours), read(theirs));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    let direct: BTreeMap<&String, BTreeSet<&String>> =
        theirs.values().map(|(path, needs)| (path, needs.iter().collect())).collect();
    for (name, (path, needs)) in &ours {
        let (their_path, their_needs) = &theirs[name];
        assert_eq!(path, their_path);
        assert_eq!(
            needs.iter().collect::<BTreeSet<_>>(),
            their_needs.iter().collect::<BTreeSet<_>>(),
            "{name}"
        );
        // They are loaded from the last to the first, so every module must come before its own dependencies.
        for (at, need) in needs.iter().enumerate() {
            for deeper in &direct[need] {
                assert!(needs[at..].contains(*deeper), "{name}: {deeper} comes before {need}");
            }
        }
    }
}

fn lay_out(tree: &Tree, from: &str, to: &Path) {
    for (path, node) in tree.below(from) {
        if let (Kind::File(content), true) = (&node.kind, path.ends_with(".ko")) {
            let at = to.join(path.strip_prefix(from).unwrap().trim_start_matches('/'));
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, content).unwrap();
        }
    }
}

/// Writes the lists of the kernel package that depmod reads and the volume does not contain.
fn lay_out_lists(packages: Vec<Package<File>>, release: &str, to: &Path) {
    for mut package in packages.into_iter().filter(|package| package.name == format!("linux-image-{release}"))
    {
        let visited: Result<(), kubedos_debian::deb::DebError> = package.deb.visit(|entry, content| {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            if ["modules.order", "modules.builtin", "modules.builtin.modinfo"].contains(&name) {
                std::io::copy(content, &mut File::create(to.join(name)).unwrap()).unwrap();
            }
            Ok(())
        });
        visited.unwrap();
    }
}
