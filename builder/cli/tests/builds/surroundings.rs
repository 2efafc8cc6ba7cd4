//! D2: a build needs no terminal, no home folder and no input. It names a folder that is not writable, and builds at the same time do not
//! disturb each other.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::ran::Ran;
use crate::workshop::{ALL, Bench, NAME, Running, SPEC, Shared, kubedos_build, names, product, project, run};

#[test]
fn an_output_folder_that_cannot_be_written_is_reported() {
    let bench = Bench::new(&ALL);
    fs::write(bench.path("file"), b"mine").unwrap();
    for out in ["file", "file/below", "/proc/nowhere", "/dev/null"] {
        let out = if out.starts_with('/') { out.into() } else { bench.path(out) };
        let ran = Ran::of(&mut bench.image(&["--out", out.to_str().unwrap()]));
        ran.fails(1, &["cannot write to the output folder", out.to_str().unwrap()]);
    }
    assert_eq!(fs::read(bench.path("file")).unwrap(), b"mine");
    // A folder has the name of an output: the build detects it before it replaces any output of the older build.
    Ran::of(&mut bench.image(&[])).succeeds();
    let older = fs::read(bench.path("out/manifest.json")).unwrap();
    let qcow2 = bench.path("out").join(format!("{NAME}.qcow2"));
    fs::remove_file(&qcow2).unwrap();
    fs::create_dir(&qcow2).unwrap();
    Ran::of(&mut bench.image(&[])).fails(1, &[&format!("{NAME}.qcow2")]);
    assert_eq!(fs::read(bench.path("out/manifest.json")).unwrap(), older);
    bench.is_tidy();
}

#[test]
fn two_builds_at_once_write_the_same_image() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    let outs = ["a", "b"].map(|name| bench.path(name));
    let builds = outs.each_ref().map(|out| Running::start(&bench.image(&["--out", out.to_str().unwrap()])));
    for build in builds {
        let (code, output) = build.end();
        assert_eq!(code, Some(0), "{output:#?}");
    }
    for out in &outs {
        let manifest = |folder: &std::path::Path| fs::read_to_string(folder.join("manifest.json")).unwrap();
        assert_eq!(manifest(out), manifest(&product().folder));
        run(&["verify", out.to_str().unwrap()]).succeeds();
    }
    bench.is_tidy();
}

#[test]
fn a_second_build_into_one_folder_is_refused() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    let first = Running::start(&bench.image(&[]));
    assert!(first.prints("root volume"));
    let out = bench.path("out");
    Ran::of(&mut bench.image(&[]))
        .fails(1, &["another build is writing to", out.to_str().unwrap(), "help: wait"]);
    let (code, output) = first.end();
    assert_eq!(code, Some(0), "{output:#?}");
    run(&["verify", out.to_str().unwrap()]).succeeds();
}

#[test]
fn neither_a_home_nor_a_terminal_is_needed() {
    let bench = Bench::new(&ALL);
    let mut image = bench.image(&[]);
    image.env("HOME", "/proc/nonexistent").env_remove("XDG_CACHE_HOME").env("TERM", "xterm-256color");
    let ran = Ran::of(&mut image).succeeds();
    assert!(!ran.err.contains('\x1b'), "{ran:?}");
    // Without a writable home folder, the cache is in the checkout.
    fs::create_dir(bench.path("checkout")).unwrap();
    fs::copy(&product().lock, bench.path("checkout/kubedos.lock")).unwrap();
    let mut fetch = Command::new(env!("CARGO_BIN_EXE_kubedos-build"));
    fetch.env_clear().env("HOME", "/proc/nonexistent").arg("-C").arg(bench.path("checkout"));
    Ran::of(fetch.args(["fetch", "--dry-run", "--set", "boot"])).succeeds();
    assert_eq!(names(&bench.path("checkout/target/kubedos-cache")), ["partial", "sha256", "tools"]);
    let mut explicit = kubedos_build(&["fetch", "--offline", "--cache", "/proc/nonexistent/cache"]);
    Ran::of(&mut explicit).fails(1, &["/proc/nonexistent/cache"]);
}

/// Runs a command with both streams on a terminal, and returns its output.
fn on_a_terminal(command: &mut Command) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let open = || fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let side = open();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(open()))
        .stderr(OwnedFd::from(open()))
        .spawn()
        .unwrap();
    // The command keeps its copies of the streams until it is dropped or gets others.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(side);
    let mut reader = fs::File::from(terminal);
    let mut output = Vec::new();
    // When no process has the terminal open any more, the read returns an error instead of the end.
    drop(reader.read_to_end(&mut output));
    child.wait().unwrap();
    String::from_utf8(output).unwrap()
}

/// Colours and updated lines are used only where `NO_COLOR` and `TERM` permit them.
#[test]
fn a_terminal_gets_only_what_it_supports() {
    let bench = Bench::new(&ALL);
    let image = product().file("raw");
    let colors = |text: &str| text.contains("\x1b[3") || text.contains("\x1b[1;3");
    for (term, no_color, colored, moves) in
        [("xterm", "", true, true), ("xterm", "1", false, true), ("dumb", "", false, false)]
    {
        let with = |mut command: Command| on_a_terminal(command.env("TERM", term).env("NO_COLOR", no_color));
        let output = with(kubedos_build(&["verify", image.to_str().unwrap()]));
        assert!(output.contains("ok") && output.contains("whole image"), "{output}");
        assert_eq!(colors(&output), colored, "TERM={term} NO_COLOR={no_color}: {output}");
        let output = with(bench.image(&["--format", "raw"]));
        assert!(output.contains("done in"), "{output}");
        assert_eq!(output.contains("\x1b["), moves || colored, "TERM={term} NO_COLOR={no_color}: {output}");
        assert!(no_color.is_empty() || !colors(&output), "{output}");
    }
}

/// `-C DIR` has the same effect as a start in `DIR`.
#[test]
fn paths_are_relative_to_the_folder_of_the_c_option() {
    let from_elsewhere = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubedos-build"));
        Ran::of(command.current_dir("/").arg("-C").arg(project()).args(arguments))
    };
    for arguments in [
        &["validate", SPEC][..],
        &["plan", SPEC],
        &["keys", "show", "demo"],
        &["lock"],
        &["image", "--spec", SPEC, "--dry-run"],
        &["seed", "--spec", SPEC, "--all", "--dry-run"],
        &["fetch", "--dry-run", "--set", "root"],
    ] {
        let here = run(arguments);
        let there = from_elsewhere(arguments);
        assert_eq!((there.code, &there.out), (here.code, &here.out), "{arguments:?}: {there:?}");
    }
    let mut nowhere = kubedos_build(&["-C", "/nowhere", "schema"]);
    Ran::of(&mut nowhere).fails(2, &["/nowhere"]);
}

/// Every command that prints data prints one JSON document, or one per line.
#[test]
fn every_command_prints_json() {
    let bench = Bench::new(&ALL);
    let (raw, folder) = (product().file("raw"), product().folder.clone());
    let (raw, folder, out) = (raw.to_str().unwrap(), folder.to_str().unwrap(), bench.path("json"));
    let out = out.to_str().unwrap();
    let lock = product().lock.to_str().unwrap();
    let mut runs: Vec<Ran> = [
        &["validate", SPEC, "--json"][..],
        &["plan", SPEC, "--json"],
        &["schema", "--json"],
        &["keys", "show", "demo", "--json"],
        &["lock", "--json", "--lock", lock],
        &["fetch", "--json", "--dry-run", "--set", "root", "--lock", lock],
        &["seed", "--json", "--all", "--spec", SPEC, "--out", out],
        &["image", "--json", "--dry-run", "--spec", SPEC, "--lock", lock],
        &["inspect", "--json", raw],
        &["verify", "--json", folder],
        &["diff", "--json", raw, raw],
    ]
    .into_iter()
    .map(run)
    .collect();
    runs.push(Ran::of(&mut bench.image(&["--json"])));
    for ran in runs {
        let ran = ran.succeeds();
        let documents: Vec<serde_json::Value> =
            serde_json::Deserializer::from_str(&ran.out).into_iter().map(Result::unwrap).collect();
        assert!(!documents.is_empty(), "{ran:?}");
        assert!(documents.iter().all(serde_json::Value::is_object), "{ran:?}");
    }
    assert_eq!(names(&bench.path("json/seeds")), [".lock", "cp-1.img", "w-1.img"]);
}

/// A4: the clock, the host and the durations are in `run.json` and in no other output.
#[test]
fn the_run_record_is_next_to_the_outputs_and_in_no_list() {
    let folder = &product().folder;
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    let phases: Vec<&str> =
        record["phases"].as_array().unwrap().iter().map(|span| span["phase"].as_str().unwrap()).collect();
    assert_eq!(phases, ["fetch", "init", "root", "payload", "uki", "configuration", "write", "publish"]);
    assert_eq!(record["kubedos_build"], env!("CARGO_PKG_VERSION"));
    for field in ["started", "ended", "host", "parts"] {
        assert!(!record[field].is_null(), "{record:#}");
    }
    for list in ["manifest.json", "SHA256SUMS"] {
        assert!(!fs::read_to_string(folder.join(list)).unwrap().contains("run.json"));
    }
}
