//! Tests which changes rebuild a stored part: changes of sources that decide its bytes do, others do not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../recipe.rs"]
mod recipe;

use std::fs;
use std::path::Path;

/// Creates a project with the sources of the recipe and other files, one file each.
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
fn a_change_of_a_source_or_rule_rebuilds_its_parts() {
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

/// The programs of `init/` have their own key, and a spec is an input of the build.
#[test]
fn a_change_of_a_help_text_or_of_a_test_rebuilds_no_part() {
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
