//! Images that differ from the default example in one property: key directory, generation, nodes or disks.
//!
//! The demo keys are accepted for the examples only, so variants use key directories of the tests. Root and payload are the same as in
//! the default example.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubedos_lab::{Disk, Format};

use crate::Product;
use crate::pins::{Pins, kubedos_build, project, scratch, succeeds};

/// The differences between an image and the default example.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The name of its folder.
    pub name: &'static str,
    /// The name of its key directory ([`key_directory`]).
    pub keys: &'static str,
    /// Texts of `examples/lab.yaml` and their replacements.
    pub edits: Vec<(&'static str, String)>,
}

impl Variant {
    /// The default example with the key directory `first`.
    pub fn new(name: &'static str) -> Self {
        Self { name, keys: "first", edits: Vec::new() }
    }

    /// Uses another key directory. The result is another cluster with the same name.
    #[must_use]
    pub fn keys(self, keys: &'static str) -> Self {
        Self { keys, ..self }
    }

    /// Replaces the first occurrence of `from`, which must exist.
    #[must_use]
    pub fn edit(mut self, from: &'static str, to: impl Into<String>) -> Self {
        self.edits.push((from, to.into()));
        self
    }

    /// Sets the generation.
    #[must_use]
    pub fn generation(self, generation: u64) -> Self {
        self.edit("  artifactVersion:", format!("  generation: {generation}\n  artifactVersion:"))
    }

    /// Mints the seed of a node again, with additional arguments. Call [`Self::build`] first.
    ///
    /// # Panics
    /// If it cannot be minted.
    pub fn mint(&self, node: &str, arguments: &[&str], out: &Path) -> Disk {
        let (spec, keys) = (self.folder().join("cluster.yaml"), key_directory(self.keys));
        let mut seed = kubedos_build();
        seed.args(["seed", "--node", node, "--spec"]).arg(spec).arg("--keys").arg(keys);
        succeeds(seed.args(arguments).arg("--out").arg(out));
        let file = out.join("seeds").join(node).with_extension("img");
        Disk::new(file, Format::Raw).read_only().not_bootable()
    }

    fn folder(&self) -> PathBuf {
        scratch().join("images").join(self.name)
    }

    /// Builds the image and a seed for every node.
    ///
    /// # Panics
    /// If the build fails.
    pub fn build(&self) -> Product {
        let images = scratch().join("images");
        std::fs::create_dir_all(&images).unwrap();
        let one_at_a_time = File::create(images.join("variants.lock")).unwrap();
        one_at_a_time.lock().unwrap();
        let keys = key_directory(self.keys);
        let out = self.folder();
        std::fs::create_dir_all(&out).unwrap();
        let mut text = own_example();
        for (from, to) in &self.edits {
            assert!(text.contains(from), "examples/lab.yaml has no {from:?}");
            text = text.replacen(from, to, 1);
        }
        let spec = out.join("cluster.yaml");
        std::fs::write(&spec, text).unwrap();
        let mut image = kubedos_build();
        image.args(["image", "--format", "raw", "--spec"]).arg(&spec).arg("--keys").arg(&keys);
        succeeds(image.arg("--lock").arg(Pins::get().lock_file()).arg("--out").arg(&out));
        let mut seed = kubedos_build();
        succeeds(
            seed.args(["seed", "--all", "--spec"]).arg(&spec).arg("--keys").arg(&keys).arg("--out").arg(&out),
        );
        Product::open(&out)
    }
}

/// The default example with replaced texts, with the demo keys and so with the fixed roster. The demo keys are accepted for the
/// examples next to them only, so the example and the keys are copied into one folder.
///
/// # Panics
/// If a text does not occur, or the build fails.
pub fn edited(name: &str, edits: &[(&str, &str)]) -> Product {
    Product::built(); // builds stage 1 and the agent once for all
    let place = scratch().join("edited").join(name);
    std::fs::create_dir_all(place.join("examples")).unwrap();
    let one_at_a_time = File::create(place.join("lock")).unwrap();
    one_at_a_time.lock().unwrap();
    let (from, keys) = (project().join("examples"), place.join("keys/demo"));
    if !keys.exists() {
        std::fs::create_dir_all(place.join("keys")).unwrap();
        succeeds(Command::new("cp").arg("-a").arg(project().join("keys/demo")).arg(&keys));
    }
    let mut text = std::fs::read_to_string(from.join("lab.yaml")).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "examples/lab.yaml does not contain {from}");
        text = text.replacen(from, to, 1);
    }
    let (spec, out) = (place.join("examples/lab.yaml"), place.join("image"));
    std::fs::write(&spec, text).unwrap();
    std::fs::copy(from.join("lab.alloc.toml"), spec.with_extension("alloc.toml")).unwrap();
    let mut image = kubedos_build();
    image.args(["image", "--format", "raw", "--spec"]).arg(&spec).arg("--keys").arg(&keys);
    succeeds(image.arg("--lock").arg(Pins::get().lock_file()).arg("--out").arg(&out));
    let mut seed = kubedos_build();
    seed.args(["seed", "--all", "--spec"]).arg(&spec).arg("--keys").arg(&keys);
    succeeds(seed.arg("--out").arg(&out));
    Product::open(&out)
}

/// The names of a key directory before and after its configuration key was rotated and the old key dropped.
///
/// # Panics
/// If it cannot be created.
pub fn rotated_keys() -> (&'static str, &'static str) {
    const NAMES: (&str, &str) = ("before-drop", "after-drop");
    let keys = scratch().join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    let one_at_a_time = File::create(keys.join("rotated.lock")).unwrap();
    one_at_a_time.lock().unwrap();
    let before = key_directory(NAMES.0);
    let after = scratch().join("keys").join(NAMES.1);
    if !after.exists() {
        let unfinished = after.with_extension("unfinished");
        succeeds(Command::new("cp").arg("-a").arg(&before).arg(&unfinished));
        let mut rotate = kubedos_build();
        rotate.args(["keys", "rotate", "lab", "configuration", "--drop-old", "--keys"]).arg(&unfinished);
        succeeds(&mut rotate);
        std::fs::rename(&unfinished, &after).unwrap();
    }
    NAMES
}

/// The default example with another operator key, because the published key of the demo operator is accepted with the demo keys only.
///
/// # Panics
/// If the example cannot be read or has another operator.
pub fn own_example() -> String {
    let text = std::fs::read_to_string(project().join("examples/lab.yaml")).unwrap();
    let demo = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    assert!(text.contains(demo), "examples/lab.yaml has another operator");
    text.replace(demo, "/sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=")
}

/// A key directory of the tests. Creates it on the first call.
///
/// # Panics
/// If it cannot be created.
pub fn key_directory(name: &str) -> PathBuf {
    let keys = scratch().join("keys").join(name);
    if !keys.exists() {
        std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
        succeeds(kubedos_build().args(["keys", "init", "lab", "--keys"]).arg(&keys));
    }
    keys
}
