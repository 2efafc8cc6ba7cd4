//! D2, A8: provokes every exit code of docs/command-line.md. The error names the wrong input.

use std::fs;
use std::path::Path;

use kubedos_debian::cache::Cache;
use kubedos_debian::lock::{Lock, LockedPackage};

use crate::ran::Ran;
use crate::workshop::{Bench, SPEC, Shared, kubedos_build, product, run};

#[test]
fn every_code_is_provoked() {
    run(&["validate", SPEC]).succeeds();
    run(&["inspect", "/etc/passwd"]).fails(1, &["is not a kubedOS output"]);
    run(&["image", "--format", "vhd", "--spec", SPEC]).fails(2, &["vhd"]);
    run(&["image"]).fails(2, &["--spec"]);
    run(&["image", "--spec", "nowhere.yaml"]).fails(2, &["nowhere.yaml"]);
    run(&["nothing"]).fails(2, &["nothing"]);
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.yaml");
    fs::write(&bad, "apiVersion: kubedos.ca/v1alpha1\nkind: Clusters\n").unwrap();
    for command in ["image", "seed"] {
        let more: &[&str] = if command == "seed" { &["--all"] } else { &[] };
        let mut command = kubedos_build(&[command, "--spec", bad.to_str().unwrap()]);
        Ran::of(command.args(more)).fails(3, &["bad.yaml:2:7: "]);
    }
    // Code 4 is tested below and in `tampering`, code 130 in `interrupted`.
    let bench = Bench::new(&[Shared::Built("init")]);
    Ran::of(&mut bench.image(&[])).fails(5, &["is not in the cache", "without --offline"]);
    bench.has_no_output();
}

/// Writes an edited copy of the lock, with its proof.
fn edited(bench: &Bench, from: &str, to: &str) -> std::path::PathBuf {
    let lock = &product().lock;
    let path = bench.path("kubedos.lock");
    let text = fs::read_to_string(lock).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    fs::copy(lock.with_extension("lock.proof"), bench.path("kubedos.lock.proof")).unwrap();
    path
}

fn package(name: &str) -> LockedPackage {
    Lock::read_alone(&product().lock).unwrap().package(name).unwrap().clone()
}

#[test]
fn a_lock_that_was_edited_by_hand_is_refused() {
    let (dbus, udev) = (package("dbus-broker"), package("udev"));
    let shared = [Shared::Packages, Shared::Built("init")];
    for (from, to) in [
        (dbus.sha256.to_string(), udev.sha256.to_string()),
        (format!("version = \"{}\"", dbus.version), "version = \"0\"".to_owned()),
        (dbus.path.clone(), udev.path.clone()),
    ] {
        let bench = Bench::new(&shared);
        let path = edited(&bench, &from, &to);
        let mut image =
            kubedos_build(&["image", "--spec", SPEC, "--offline", "--lock", path.to_str().unwrap()]);
        image.arg("--cache").arg(bench.path("cache")).arg("--out").arg(bench.path("out"));
        Ran::of(&mut image).fails(4, &["changed by hand"]);
        bench.has_no_output();
    }
    let bench = Bench::new(&shared);
    let path = edited(&bench, "version = 1", "version = 1");
    fs::write(bench.path("kubedos.lock.proof"), b"another").unwrap();
    let mut image = kubedos_build(&["image", "--spec", SPEC, "--offline", "--lock", path.to_str().unwrap()]);
    Ran::of(image.arg("--out").arg(bench.path("out"))).fails(4, &["proof"]);
}

/// A file in the cache has wrong content: the error names it, the build stops, and the file is not removed.
#[test]
fn a_wrong_package_in_the_cache_is_reported() {
    let bench = Bench::new(&[
        Shared::OwnPackages,
        Shared::Built("init"),
        Shared::Built("volume"),
        Shared::Built("boot"),
    ]);
    let (wanted, other) = (package("dbus-broker"), package("udev"));
    let cache = Cache::at(&bench.path("cache")).unwrap();
    let path = cache.path(&wanted.sha256);
    let right = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = right.clone();
        bytes[at] ^= 1;
        bytes
    };
    let swapped = fs::read(cache.path(&other.sha256)).unwrap();
    for (what, bytes) in [
        ("truncated", right[..right.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("swapped", swapped),
        ("longer", [right.as_slice(), b"\n"].concat()),
        ("flipped at the start", flipped(0)),
        ("flipped at the end", flipped(right.len() - 1)),
    ] {
        replace(&path, &bytes);
        let named = format!("dbus-broker {} in the cache is damaged", wanted.version);
        let ran = Ran::of(&mut bench.image(&[])).fails(4, &[&named, "--offline"]);
        assert!(!ran.err.contains("udev"), "{what}: only the wrong package is reported: {ran:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what}");
        bench.has_no_output();
    }
    replace(&path, &right);
    Ran::of(&mut bench.image(&["--format", "raw"])).succeeds();
}

/// Replaces a file. It is a hard link to a file of the product, which must not change.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A result in the store is checked before it is used again. A damaged one is detected and rebuilt.
#[test]
fn a_damaged_result_in_the_store_is_rebuilt() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    Ran::of(&mut bench.image(&["--format", "raw"])).succeeds();
    let manifest = fs::read(bench.path("out/manifest.json")).unwrap();
    for (kind, file) in [("volume", "data"), ("boot", "uki.efi")] {
        let entries = bench.path("cache/built").join(kind);
        for key in crate::workshop::names(&entries) {
            let path = entries.join(key).join(file);
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let ran = Ran::of(&mut bench.image(&["--format", "raw", "--explain"])).succeeds();
    let again = "built: its inputs are as before, but it was not in the store";
    for part in ["root", "payload", "uki", "configuration"] {
        let is_explained = |line: &str| line.starts_with(part) && line.ends_with(again);
        assert!(ran.err.lines().any(is_explained), "{part}: {ran:?}");
    }
    assert_eq!(fs::read(bench.path("out/manifest.json")).unwrap(), manifest);
}
