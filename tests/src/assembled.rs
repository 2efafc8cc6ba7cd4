//! Builds images that the command line refuses: with additional files, or with a lock that has no proof.
//!
//! The library builds them, with the stage 1 and agent of the product.

use std::path::{Path, PathBuf};

use kubedos_builder::compose::Node;
use kubedos_builder::image::build::{self, Formats, Inputs};
use kubedos_builder::image::explain::Explained;
use kubedos_builder::image::phase::{Timeline, Unwatched};
use kubedos_builder::init_build::{self, Programs, Recipe};
use kubedos_builder::keys::KeyDir;
use kubedos_builder::output::OutputDir;
use kubedos_builder::spec_file;
use kubedos_builder::store::Store;
use kubedos_debian::cache::Cache;
use kubedos_debian::lock::Lock;

use crate::Product;
use crate::pins::{Pins, project};

/// Builds the raw image and the UKI of a spec of the checkout or of [`crate::test_cluster`]; returns how each part was built.
///
/// # Panics
/// If the build fails.
pub fn assemble(
    spec: impl AsRef<Path>,
    lock: &Lock,
    cache: &Cache,
    store: &Store,
    additions: Vec<(String, Node)>,
    out: &Path,
) -> Vec<Explained> {
    let spec = project().join(spec);
    let keys = demo_keys(&spec);
    let plan = spec_file::load(&spec).unwrap().plan().unwrap();
    let inputs = Inputs {
        plan: &plan,
        lock,
        lock_sha256: [0; 32],
        cache,
        keys: &KeyDir::open_for(&keys, &spec, "lab").unwrap(),
        programs: programs(),
        additions,
        store,
        timeline: &Timeline::new(&Unwatched),
    };
    let out = OutputDir::lock(out).unwrap();
    build::build_image(&inputs, Formats { iso: false, qcow2: false }, &out).unwrap().explanation
}

/// The demo keys that a spec in a folder `examples` may use.
pub(crate) fn demo_keys(spec: &Path) -> PathBuf {
    spec.parent().and_then(Path::parent).unwrap().join("keys/demo")
}

/// Stage 1 and the agent of the product, from the store of its build.
///
/// # Panics
/// If they are not in the store.
pub fn programs() -> Programs {
    Product::built();
    let pins = Pins::get();
    let recipe = Recipe::read(project(), &pins.lock().set(init_build::SET).unwrap()).unwrap();
    recipe.kept(&Store::of(pins.cache())).unwrap().expect("the product's build keeps its programs")
}
