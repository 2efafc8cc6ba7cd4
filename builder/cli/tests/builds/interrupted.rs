//! D2: whenever a build is interrupted, it ends with 130, nothing half-written stands under its final name, nothing goes on running,
//! and the next build makes the same image.

use std::fs;

use rustix::process::Signal;

use crate::ran::{Ran, after};
use crate::workshop::{ALL, Bench, Running, Shared, kubedos_build, names, product, run};

/// Interrupts builds until one was caught in this phase; it is short, and the machine may be busy with other things.
fn caught_in(bench: &Bench, phase: &str, signal: Signal, more: &[&str]) {
    for _ in 0..30 {
        let running = Running::start(&bench.image(more));
        assert!(running.says(phase), "{phase}: {:#?}", running.end());
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(
            (code, said.last().map(String::as_str)),
            (Some(130), Some("interrupted")),
            "{phase}: {said:#?}"
        );
        bench.has_no_output();
        bench.is_quiet();
        let last = said.iter().rev().find(|line| line.starts_with('['));
        if last.is_some_and(|last| last.contains(phase)) {
            return;
        }
    }
    panic!("no build was caught in {phase}");
}

#[test]
fn every_phase_can_be_interrupted_and_the_next_build_makes_the_same_image() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    caught_in(&bench, "pinned packages", Signal::INT, &[]);
    for phase in ["root volume", "payload volume", "unified kernel image", "configuration volume", "images"] {
        caught_in(&bench, phase, Signal::INT, &[]);
    }
    Ran::of(&mut bench.image(&[])).succeeds();
    let manifest = |folder: &std::path::Path| fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert_eq!(manifest(&bench.path("out")), manifest(&product().folder));
    let out = bench.path("out");
    Ran::of(&mut kubedos_build(&["verify", out.to_str().unwrap()])).succeeds();
}

/// While outputs get their names a signal waits: there is a whole set, or none.
#[test]
fn outputs_get_their_names_together() {
    let bench = Bench::new(&ALL);
    Ran::of(&mut bench.image(&[])).succeeds();
    for _ in 0..3 {
        let running = Running::start(&bench.image(&[]));
        assert!(running.says("publishing"), "{:#?}", running.end());
        running.signal(Signal::INT);
        let (code, said) = running.end();
        assert!(matches!(code, Some(0 | 130)), "{code:?}: {said:#?}");
        bench.is_tidy();
        let out = bench.path("out");
        Ran::of(&mut kubedos_build(&["verify", out.to_str().unwrap()])).succeeds();
    }
}

/// The compilers that cargo started end with it.
#[test]
fn a_compilation_is_ended() {
    let bench = Bench::new(&[Shared::Packages, Shared::Tools]);
    let target = bench.path("target");
    // The product's init may have been kept from an earlier build, which needs no compiler.
    run(&["fetch", "--set", "toolchain", "--lock", product().lock.to_str().unwrap()]).succeeds();
    let running = Running::start(&bench.image(&["--init-target", target.to_str().unwrap()]));
    assert!(running.says("Compiling"), "{:#?}", running.end());
    running.signal(Signal::TERM);
    let (code, said) = running.end();
    assert_eq!((code, said.last().map(String::as_str)), (Some(130), Some("interrupted")), "{said:#?}");
    bench.is_quiet();
    bench.has_no_output();
    assert_eq!(names(&bench.path("cache/built/init")), Vec::<String>::new());
}

/// A closed terminal interrupts, unless the build was told not to mind (`nohup`).
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let bench = Bench::new(&ALL);
    caught_in(&bench, "images", Signal::HUP, &[]);
    let running = Running::start(&after("trap '' HUP", &bench.image(&[])));
    assert!(running.says("images"));
    running.signal(Signal::HUP);
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said:#?}");
}

/// What a killed build leaves is removed by the next one.
#[test]
fn a_killed_build_is_tidied_up_after() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    let running = Running::start(&bench.image(&[]));
    assert!(running.says("root volume"));
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
