//! Tests with generated packages. The real sets are tested with the real lock in `builder/cli/tests/toolbox.rs`.

use super::*;
use kubedos_debian::cache::Pin;
use kubedos_debian::deb::ar;
use kubedos_debian::digest::Sha256;

enum Item<'a> {
    File(&'a [u8], u32),
    Link(&'a str),
}
use Item::{File, Link};

fn deb(entries: &[(&str, Item<'_>)]) -> Vec<u8> {
    let tar = |entries: &[(&str, Item<'_>)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, item) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mode(0o777);
            match item {
                File(content, mode) => {
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    builder.append_data(&mut header, path, *content).unwrap();
                }
                Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    builder.append_link(&mut header, path, target).unwrap();
                }
            }
        }
        builder.into_inner().unwrap()
    };
    let mut out = ar::MAGIC.to_vec();
    let control = tar(&[("control", File(b"Package: a\nVersion: 1\n", 0o644))]);
    for (name, bytes) in
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar", control), ("data.tar", tar(entries))]
    {
        out.extend(ar::header(name, bytes.len() as u64));
        out.extend(bytes);
    }
    out
}

fn lock_of(cache: &Cache, packages: &[(&str, Vec<u8>)]) -> Lock {
    let mut text = format!(
        "version = 1\narchitecture = \"amd64\"\nproof = \"{0}\"\n[[archive]]\nsuite = \"trixie\"\nmirror = \"debian\"\n\
         date = \"2026-01-01T00:00:00Z\"\ninrelease = \"{0}\"\nsigner = \"{1}\"\nindices = []\n",
        Sha256::of(b""),
        "A".repeat(40)
    );
    for (name, bytes) in packages {
        let pin = Pin { name: format!("{name} 1"), size: bytes.len() as u64, sha256: Sha256::of(bytes) };
        let partial = cache.root().join("partial").join(name);
        fs::write(&partial, bytes).unwrap();
        cache.adopt(&fs::File::open(&partial).unwrap(), &partial, &pin).unwrap();
        text += &format!(
            "[[package]]\nname = \"{name}\"\nversion = \"1\"\narchitecture = \"amd64\"\nsets = [\"s\"]\nsuite = \"trixie\"\n\
             component = \"main\"\npath = \"pool/{name}.deb\"\nsize = {}\nsha256 = \"{}\"\nsource = \"{name}\"\nsource_version = \"1\"\n",
            pin.size, pin.sha256
        );
    }
    Lock::parse(&text).unwrap()
}

fn open(packages: &[(&str, Vec<u8>)]) -> (tempfile::TempDir, Result<Toolbox, ToolboxError>) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let lock = lock_of(&cache, packages);
    let toolbox = Toolbox::open(&cache, &lock, "s");
    (folder, toolbox)
}

#[test]
fn a_set_is_unpacked_without_privileges() {
    use std::os::unix::fs::PermissionsExt;
    let one = deb(&[("usr/bin/su", File(b"x", 0o4755)), ("usr/lib/link", Link("/usr/bin/su"))]);
    let two = deb(&[("usr/share/OVMF/CODE.fd", File(b"code", 0o600))]);
    let (_folder, toolbox) = open(&[("a", one), ("b", two)]);
    let toolbox = toolbox.unwrap();
    let mode = |path: &str| fs::metadata(toolbox.path(path).unwrap()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("usr/bin/su"), 0o755, "no set-user-id bit");
    assert_eq!(mode("usr/share/OVMF/CODE.fd"), 0o644);
    assert_eq!(
        fs::read(toolbox.path("usr/lib/link").unwrap()).unwrap(),
        b"x",
        "absolute links become relative"
    );
    assert!(matches!(toolbox.path("usr/bin/nothing"), Err(ToolboxError::NotThere { .. })));
    assert!(matches!(toolbox.command("usr/bin/su"), Err(ToolboxError::NotAProgram { .. })));
}

#[test]
fn a_link_out_of_the_tree_is_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let up = format!("../../../../../../../../../../../../{}", target.trim_start_matches('/'));
    for link in [target, up.as_str()] {
        let evil = deb(&[("usr/evil", Link(link)), ("usr/evil/file", File(b"x", 0o644))]);
        let (_folder, toolbox) = open(&[("a", evil)]);
        let error = toolbox.unwrap_err();
        assert!(matches!(error, ToolboxError::Unpack { source: UnpackError::Through { .. }, .. }), "{error}");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_failed_unpacking_leaves_no_tree() {
    let clash = || deb(&[("usr/same", File(b"x", 0o644))]);
    let (folder, toolbox) = open(&[("a", clash()), ("b", clash())]);
    let error = toolbox.expect_err("two packages with one file");
    assert!(matches!(error, ToolboxError::Unpack { source: UnpackError::Io { .. }, .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path().join("tools")).unwrap().count(), 0);
}

#[test]
fn concurrent_opens_create_one_tree() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let lock = lock_of(&cache, &[("a", deb(&[("usr/x", File(b"x", 0o644))]))]);
    let roots: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Toolbox::open(&cache, &lock, "s").unwrap().root)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
    assert_eq!(fs::read_dir(folder.path().join("tools")).unwrap().count(), 1, "no temporary folder is left");
}

#[test]
fn a_damaged_package_is_reported_and_not_unpacked() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let lock = lock_of(&cache, &[("a", deb(&[("usr/x", File(b"x", 0o644))]))]);
    let path = cache.path(&lock.packages[0].sha256);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[700] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = Toolbox::open(&cache, &lock, "s").unwrap_err().to_string();
    assert!(error.starts_with("a 1 in the cache is damaged"), "{error}");
}
