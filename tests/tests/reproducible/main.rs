//! A4: the same inputs give the same bytes in every output of `image`. An edit changes only the parts that depend on it (C1, A8).
//!
//! Every build here is a run of the real program in a copy of the checkout, with a cache that contains the pinned packages and no build
//! results, except where a test says otherwise. The programs of `init/` are compiled twice: once in the checkout, as `make image` does,
//! and once in a copy with different surroundings.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod binary;
mod compare;
mod copy;
mod package;
mod surroundings;

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use compare::changed;
use copy::Copy;
use kubedos_builder::store::Store;
use kubedos_debian::cache::Cache;
use kubedos_debian::lock::Lock;
use kubedos_tests::{Pins, Product, assemble, kubedos_build, programs, project, succeeds};
use surroundings::Surroundings;

/// The spec of all builds.
const SPEC: &str = "examples/lab.yaml";

/// A copy with the usual surroundings, except for the clock, and the outputs of its build of [`SPEC`]. The programs of `init/` are those
/// that the checkout compiled.
struct First {
    copy: Copy,
    out: PathBuf,
}

impl First {
    fn built() -> &'static Self {
        static FIRST: OnceLock<First> = OnceLock::new();
        FIRST.get_or_init(|| {
            let folder = project().join("target/reproducible");
            if folder.exists() {
                fs::remove_dir_all(&folder).unwrap();
            }
            let mut ordinary = kubedos_build();
            ordinary
                .args(["image", "--format", "raw", "--spec", SPEC, "--lock"])
                .arg(Pins::get().lock_file());
            succeeds(ordinary.arg("--out").arg(folder.join("ordinary")));
            let copy = Copy::make(&folder, Surroundings::usual());
            let cache = copy.cache_with_init("cache");
            let out = copy.image(SPEC, &cache, "out");
            First { copy, out }
        })
    }
}

#[test]
fn two_builds_that_share_only_their_inputs_compare_equal_on_every_output() {
    let folder = tempfile::Builder::new().prefix("kubedos another build ").tempdir().unwrap();
    // If the outputs differ, the folder is kept.
    let folder = folder.keep();
    let other = Copy::make(&folder, Surroundings::other(&folder));
    let cache = other.cache("its cache");
    let others = other.image(SPEC, &cache, "its output");
    compare::folders(&First::built().out, &others);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn stage_1_and_the_agent_are_static_and_built_with_pinned_tools() {
    First::built();
    let programs = programs();
    binary::check(&programs.stage1, "toml", "only the kernel starts it");
    binary::check(&programs.agent, "zbus", "the agent cannot start");
}

#[test]
fn a_spec_edit_does_not_change_uki_root_and_payload() {
    let First { copy, out } = First::built();
    let text = fs::read_to_string(copy.sources().join(SPEC)).unwrap();
    let with_plane = text.replace("10.102.0.0/24", "10.112.0.0/24");
    let worker = with_plane.find("      - name: w-1").unwrap();
    let end = with_plane.find("  networking:").unwrap();
    let another = with_plane[worker..end].trim_end().replace("w-1", "w-2").replace("77.12", "77.13");
    let edited = format!("{}\n{another}\n\n{}", with_plane[..end].trim_end(), &with_plane[end..]);
    assert!(with_plane != text && edited.contains("w-2"));
    fs::write(copy.sources().join("examples/edited.yaml"), edited).unwrap();
    // With a separate cache, so that everything is built again.
    let edited = copy.image("examples/edited.yaml", &copy.cache_with_init("cache of the edit"), "edited");
    assert_eq!(changed(out, &edited), ["configuration-a", "configuration-a-hash", "configuration-a-sig"]);
    compare::files(&Product::open(out).output("efi"), &Product::open(&edited).output("efi"));
}

/// Also checks the explanation of the build after the change: one package is unpacked, and few segments are compressed.
#[test]
fn a_changed_package_changes_only_the_root_volume_and_the_esp() {
    let First { copy, out } = First::built();
    let cache = Cache::at(&copy.cache("cache of the package")).unwrap();
    let store = Store::of(&cache);
    let build = |lock: &Lock, name: &str| {
        let out = out.with_file_name(name);
        let explanation = assemble(SPEC, lock, &cache, &store, Vec::new(), &out);
        let root = explanation.into_iter().find(|part| part.part == "root").unwrap();
        (out, root.work.unwrap())
    };
    let (_, work) = build(Pins::get().lock(), "unchanged");
    assert_eq!((work.unpacked.len(), work.compressed), (work.packages, work.segments));
    let lock = package::change(&cache, "base-files", "usr/share/doc/base-files/copyright");
    let (after, work) = build(&lock, "changed");
    assert_eq!(work.unpacked, ["base-files"]);
    assert!(work.compressed * 10 <= work.segments, "{work}");
    // The ESP contains the UKI, which contains the root hash.
    assert_eq!(changed(out, &after), ["esp", "root-a", "root-a-hash"]);
}
