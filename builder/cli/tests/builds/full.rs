//! D2: a full disk in any phase is an ordinary failure: the error names the file, no incomplete file is left, and the next build succeeds.
//! The tests use a limit on the file size instead of a full disk. It needs no privilege and makes the same writes fail.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::ran::{Ran, limited};
use crate::workshop::{ALL, Bench, NAME, Shared, kubedos_build, product, run};

fn fails(bench: &Bench, command: &Command, kib: u64, messages: &[&str]) {
    Ran::of(&mut limited(command, kib)).fails(1, messages);
    bench.has_no_output();
    bench.is_quiet();
}

#[test]
fn a_full_disk_in_any_phase_is_reported_and_the_next_build_succeeds() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    fails(&bench, &bench.image(&[]), 8 << 10, &["root volume", "File too large"]);
    bench.share(Shared::Built("volume"));
    // Repacked packages are larger than this limit, which is meant for the signed programs.
    bench.share(Shared::Built("package"));
    fails(&bench, &bench.image(&[]), 10 << 10, &["uki.efi", "File too large"]);
    bench.share(Shared::Built("boot"));
    fails(&bench, &bench.image_of("examples/ha.yaml", &[]), 1, &["configuration volume"]);
    fails(&bench, &bench.image(&[]), 100 << 10, &[&format!("{NAME}.raw"), "File too large"]);
    Ran::of(&mut bench.image(&[])).succeeds();
    bench.is_tidy();
}

/// An older image stays complete if a newer one cannot be written.
#[test]
fn a_full_disk_does_not_change_the_older_image() {
    let bench = Bench::new(&ALL);
    Ran::of(&mut bench.image(&[])).succeeds();
    Ran::of(&mut limited(&bench.image(&[]), 100 << 10)).fails(1, &["File too large"]);
    let out = bench.path("out");
    Ran::of(&mut kubedos_build(&["verify", out.to_str().unwrap()])).succeeds();
}

#[test]
fn a_seed_or_keys_on_a_full_disk_leave_no_file() {
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

/// A write error on stdout is a failure, not a panic. A write error on stderr is ignored.
#[test]
fn a_full_stdout_is_a_failure_and_a_full_stderr_is_not() {
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
        let output = kubedos_build(arguments).stdin(Stdio::null()).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        let with_full_stderr = |arguments: &[&str]| {
            kubedos_build(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(full()).status()
        };
        let code = with_full_stderr(arguments).unwrap().code();
        assert_eq!(code, run(arguments).code, "{arguments:?}");
    }
}

/// `kubedos-build plan … | head` is not a failure.
#[test]
fn a_closed_stdout_is_not_a_failure() {
    let mut child = kubedos_build(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}
