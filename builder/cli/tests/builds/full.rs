//! D2: a disk that is full in any phase is an ordinary failure: it names the file, leaves nothing half-written, and is no harm to the
//! next build. A file size limit stands for the full disk: it needs no privilege, and fails the same writes.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::ran::{Ran, limited};
use crate::workshop::{ALL, Bench, NAME, Shared, kubedos_build, product, run};

fn fails(bench: &Bench, command: &Command, kib: u64, says: &[&str]) {
    Ran::of(&mut limited(command, kib)).fails(1, says);
    bench.has_no_output();
    bench.is_quiet();
}

#[test]
fn a_full_disk_in_any_phase_is_named_and_the_next_build_succeeds() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    fails(&bench, &bench.image(&[]), 8 << 10, &["root volume", "File too large"]);
    bench.share(Shared::Built("volume"));
    // Packages that are kept for reading fast are larger than what the signed programs may not be.
    bench.share(Shared::Built("package"));
    fails(&bench, &bench.image(&[]), 10 << 10, &["uki.efi", "File too large"]);
    bench.share(Shared::Built("boot"));
    fails(&bench, &bench.image_of("examples/ha.yaml", &[]), 1, &["configuration volume"]);
    fails(&bench, &bench.image(&[]), 100 << 10, &[&format!("{NAME}.raw"), "File too large"]);
    Ran::of(&mut bench.image(&[])).succeeds();
    bench.is_tidy();
}

/// An older image stays whole when a newer one cannot be written.
#[test]
fn a_full_disk_leaves_the_older_image_as_it_is() {
    let bench = Bench::new(&ALL);
    Ran::of(&mut bench.image(&[])).succeeds();
    Ran::of(&mut limited(&bench.image(&[]), 100 << 10)).fails(1, &["File too large"]);
    let out = bench.path("out");
    Ran::of(&mut kubedos_build(&["verify", out.to_str().unwrap()])).succeeds();
}

#[test]
fn a_full_disk_fails_a_seed_and_keys_and_leaves_neither() {
    let bench = Bench::new(&[]);
    let (out, keys, raw) = (bench.path("out"), bench.path("keys"), product().file("raw"));
    let mut seed = kubedos_build(&["seed", "--spec", crate::workshop::SPEC, "--node", "cp-1"]);
    seed.arg("--out").arg(&out);
    Ran::of(&mut limited(&seed, 1)).fails(1, &["cp-1.img"]);
    Ran::of(&mut limited(seed.arg("--into").arg(&raw), 1024)).fails(1, &["cp-1.raw"]);
    assert!(crate::workshop::names(&out.join("seeds")).iter().all(|name| name == ".lock"));
    let mut init = kubedos_build(&["keys", "init", "mine"]);
    Ran::of(&mut limited(init.arg("--keys").arg(&keys), 0)).fails(1, &["File too large"]);
    assert!(!keys.join("keys.toml").exists() && !keys.join("public/keys.toml").exists());
}

/// Data that cannot be printed is a failure, and no panic; messages that nobody can read are not.
#[test]
fn full_streams() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let image = product().file("raw");
    let image = image.to_str().unwrap();
    for arguments in [
        &["inspect", image][..],
        &["inspect", image, "--json"],
        &["verify", image],
        &["diff", image, "examples/lab.yaml"],
        &["plan", "examples/lab.yaml"],
        &["validate", "examples/lab.yaml", "--json"],
        &["schema"],
        &["keys", "show", "demo"],
        &["lock", "--json"],
        &["fetch", "--dry-run", "--json", "--set", "root"],
    ] {
        let heard = kubedos_build(arguments).stdin(Stdio::null()).stdout(full()).output().unwrap();
        let said = String::from_utf8(heard.stderr).unwrap();
        assert_eq!(heard.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
        let deaf = |arguments: &[&str]| {
            kubedos_build(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full()).status()
        };
        let code = deaf(arguments).unwrap().code();
        assert_eq!(code, run(arguments).code, "{arguments:?}");
    }
}

/// `kubedos-build plan … | head` is no failure.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = kubedos_build(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}
