//! What rebuilds a kept part: a change of what decides its bytes does, a change of anything else does not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../recipe.rs"]
mod recipe;

use std::fs;
use std::path::Path;

/// The sources of the recipe, and others beside them, one file each.
fn project() -> tempfile::TempDir {
    let project = tempfile::tempdir().unwrap();
    for file in [
        "Cargo.lock",
        "builder/build.rs",
        "builder/cli/src/image.rs",
        "builder/debian/src/lib.rs",
        "builder/recipe.rs",
        "builder/src/compose/mod.rs",
        "builder/src/compose/tests.rs",
        "image/src/lib.rs",
        "init/agent/src/main.rs",
        "kernel-config/cmdline",
        "rootfs/units.toml",
        "spec/src/lib.rs",
        "spec/wire/src/lib.rs",
    ] {
        let path = project.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    project
}

fn changed(file: &str) -> bool {
    let project = project();
    let before = recipe::digest(project.path()).unwrap();
    fs::write(project.path().join(file), "changed").unwrap();
    before != recipe::digest(project.path()).unwrap()
}

#[test]
fn a_change_of_a_stage_or_of_its_rules_rebuilds_what_it_makes() {
    for file in [
        "Cargo.lock",
        "builder/build.rs",
        "builder/src/compose/mod.rs",
        "builder/src/compose/new.rs",
        "builder/debian/src/lib.rs",
        "image/src/lib.rs",
        "kernel-config/cmdline",
        "rootfs/units.toml",
        "spec/wire/src/lib.rs",
    ] {
        assert!(changed(file), "{file}");
    }
}

/// The programs of `init/` have a key of their own, and a spec is an input.
#[test]
fn a_change_of_a_help_text_or_of_a_test_rebuilds_nothing() {
    for file in [
        "builder/cli/src/image.rs",
        "builder/src/compose/tests.rs",
        "init/agent/src/main.rs",
        "spec/src/lib.rs",
    ] {
        assert!(!changed(file), "{file}");
    }
}

#[test]
fn the_library_was_compiled_with_the_digest_of_these_sources() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    assert_eq!(recipe::digest(project).unwrap(), kubedos_builder::image::build::RECIPE);
}
