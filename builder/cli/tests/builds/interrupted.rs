//! D2: an interrupted build ends with exit code 130. No incomplete file has its final name, no process continues, and the next build writes
//! the same image.

use std::fs;

use rustix::process::Signal;

use crate::ran::{Ran, after};
use crate::workshop::{ALL, Bench, Running, Shared, kubedos_build, names, product, run};

/// Interrupts builds until one is interrupted in this phase. The phase is short, and the machine may be busy.
fn interrupt_in(bench: &Bench, phase: &str, signal: Signal, more: &[&str]) {
    for _ in 0..30 {
        let running = Running::start(&bench.image(more));
        assert!(running.prints(phase), "{phase}: {:#?}", running.end());
        running.signal(signal);
        let (code, lines) = running.end();
        assert_eq!(
            (code, lines.last().map(String::as_str)),
            (Some(130), Some("interrupted")),
            "{phase}: {lines:#?}"
        );
        bench.has_no_output();
        bench.is_quiet();
        let last = lines.iter().rev().find(|line| line.starts_with('['));
        if last.is_some_and(|last| last.contains(phase)) {
            return;
        }
    }
    panic!("no build was interrupted in {phase}");
}

#[test]
fn every_phase_can_be_interrupted_and_the_next_build_writes_the_same_image() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    interrupt_in(&bench, "pinned packages", Signal::INT, &[]);
    for phase in ["root volume", "payload volume", "unified kernel image", "configuration volume", "images"] {
        interrupt_in(&bench, phase, Signal::INT, &[]);
    }
    Ran::of(&mut bench.image(&[])).succeeds();
    let manifest = |folder: &std::path::Path| fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert_eq!(manifest(&bench.path("out")), manifest(&product().folder));
    let out = bench.path("out");
    Ran::of(&mut kubedos_build(&["verify", out.to_str().unwrap()])).succeeds();
}

/// While outputs are renamed, a signal is deferred: either all outputs exist or none.
#[test]
fn outputs_are_published_together() {
    let bench = Bench::new(&ALL);
    Ran::of(&mut bench.image(&[])).succeeds();
    for _ in 0..3 {
        let running = Running::start(&bench.image(&[]));
        assert!(running.prints("publishing"), "{:#?}", running.end());
        running.signal(Signal::INT);
        let (code, lines) = running.end();
        assert!(matches!(code, Some(0 | 130)), "{code:?}: {lines:#?}");
        bench.is_tidy();
        let out = bench.path("out");
        Ran::of(&mut kubedos_build(&["verify", out.to_str().unwrap()])).succeeds();
    }
}

/// The compilers that cargo started are ended too.
#[test]
fn an_interrupt_ends_the_compilation() {
    let bench = Bench::new(&[Shared::Packages, Shared::Tools]);
    let target = bench.path("target");
    // The product may have used init programs from the store, and then the compiler was not fetched.
    run(&["fetch", "--set", "toolchain", "--lock", product().lock.to_str().unwrap()]).succeeds();
    let running = Running::start(&bench.image(&["--init-target", target.to_str().unwrap()]));
    assert!(running.prints("Compiling"), "{:#?}", running.end());
    running.signal(Signal::TERM);
    let (code, lines) = running.end();
    assert_eq!((code, lines.last().map(String::as_str)), (Some(130), Some("interrupted")), "{lines:#?}");
    bench.is_quiet();
    bench.has_no_output();
    assert_eq!(names(&bench.path("cache/built/init")), Vec::<String>::new());
}

/// SIGHUP interrupts a build, unless it was ignored at the start (`nohup`).
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let bench = Bench::new(&ALL);
    interrupt_in(&bench, "images", Signal::HUP, &[]);
    let running = Running::start(&after("trap '' HUP", &bench.image(&[])));
    assert!(running.prints("images"));
    running.signal(Signal::HUP);
    let (code, lines) = running.end();
    assert_eq!(code, Some(0), "{lines:#?}");
}

/// The next build removes the files that a killed build leaves.
#[test]
fn the_next_build_cleans_up_after_a_killed_build() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    let running = Running::start(&bench.image(&[]));
    assert!(running.prints("root volume"));
    let volumes = bench.path("cache/built/volume");
    while names(&volumes).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(Signal::KILL);
    assert_eq!(running.end().0, None);
    assert!(!names(&volumes).is_empty());
    bench.is_quiet();
    Ran::of(&mut bench.image(&[])).succeeds();
    bench.is_tidy();
}
