//! Tests of every property with the committed corpus, the current seeds of the writers, and mutations of both. They need no libFuzzer and
//! run with the toolchain of the project.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kubedos_properties::{Target, corpus, mutation, project, target, targets};

/// The random seed of all mutations. Another number tries other mutations; add an input that fails to the corpus.
const SEED: u64 = 1;

/// Tries an input. If the property does not hold for it, the input is printed and stored in a file.
fn check(target: &Target, name: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target.check(input))).is_err() {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", target.name));
        fs::write(&path, input).unwrap();
        let start: String = input.escape_ascii().take(400).map(char::from).collect();
        panic!(
            "the property of {} does not hold for {name} (seed {SEED}); its message is above, its {} bytes are in {}: {start}",
            target.name,
            input.len(),
            path.display()
        );
    }
}

fn check_all(name: &str) {
    let target = target(name);
    let mut inputs = Vec::new();
    for (name, bytes) in (target.seeds)() {
        check(target, name, &bytes);
        inputs.push(bytes);
    }
    let mut committed: Vec<_> =
        fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    committed.sort();
    for path in committed {
        let bytes = fs::read(&path).unwrap();
        check(target, &path.file_name().unwrap().to_string_lossy(), &bytes);
        inputs.push(bytes);
    }
    for input in [&[][..], &[0; 64], &[0xff; 64]] {
        check(target, "constant", input);
    }
    for (number, input) in mutation::mutants(SEED, &inputs, target.mutants).enumerate() {
        check(target, &format!("mutant-{number}"), &input);
    }
}

macro_rules! properties {
    ($($name:ident)*) => {
        mod the_property_holds_of {
            $(
                #[test]
                fn $name() {
                    super::check_all(stringify!($name));
                }
            )*
        }

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

properties! {
    gpt seed_volume verity erofs
    cpio qcow2 esp
    pe pkcs7 efi_signatures varstore
    statement statement_body boot_manifest node_documents allocation module_table handover node_record record
    control packages relations versions release inrelease apt_sources deb lock lock_proof
    module_index elf
    yaml cluster_spec
    seed disk_table partition_head anchor kernel_texts write_log chronyd_reply
    frame_stream netlink_answers icmp link_facts
    membership_record membership_statement
}

/// Every target has a test in this file, a folder of inputs, and a program for libFuzzer, and no other tests, folders or programs exist.
#[test]
fn every_target_has_a_test_a_corpus_and_a_program() {
    let named: BTreeSet<String> = targets().map(|target| target.name.to_owned()).collect();
    assert_eq!(TESTED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), named);
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(project().join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names("fuzz/corpus"), named);
    assert_eq!(names("fuzz/fuzz_targets"), named);
    let manifest = fs::read_to_string(project().join("fuzz/Cargo.toml")).unwrap();
    for name in &named {
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        let program = fs::read_to_string(project().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("target(\"{name}\")")), "{name}");
        assert!(
            program.contains("|input: &[u8]| TARGET.check(input)"),
            "{name}: `make test` does not compile the programs"
        );
    }
}

#[test]
fn the_corpus_is_small() {
    let files = targets().flat_map(|target| fs::read_dir(corpus(target.name)).unwrap());
    let bytes: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn mutations_are_the_same_each_time() {
    let corpus = [b"one".to_vec(), b"two and 2".to_vec()];
    let all = || mutation::mutants(SEED, &corpus, 200).collect::<Vec<_>>();
    assert_eq!(all(), all());
    assert!(all().iter().collect::<BTreeSet<_>>().len() > 100);
}
