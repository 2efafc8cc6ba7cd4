//! Images that differ from the default example in one thing: another key directory, another generation, other nodes, other disks.
//!
//! The demo keys serve the examples only, so variants have keys of the tests' own. Root and payload are those of every image.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubedos_lab::{Disk, Format};

use crate::Product;
use crate::pins::{Pins, kubedos_build, project, scratch, succeeds};

/// How an image is to differ.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name among the tests' images.
    pub name: &'static str,
    /// Which of the tests' own key directories.
    pub keys: &'static str,
    /// Texts of `examples/lab.yaml` and what stands there instead.
    pub edits: Vec<(&'static str, String)>,
}

impl Variant {
    /// The default example with the first of the tests' own keys.
    pub fn new(name: &'static str) -> Self {
        Self { name, keys: "first", edits: Vec::new() }
    }

    /// With other keys: another cluster, in all but its name.
    #[must_use]
    pub fn keys(self, keys: &'static str) -> Self {
        Self { keys, ..self }
    }

    /// With this text instead of that one, which must be there.
    #[must_use]
    pub fn edit(mut self, from: &'static str, to: impl Into<String>) -> Self {
        self.edits.push((from, to.into()));
        self
    }

    /// Of this generation.
    #[must_use]
    pub fn generation(self, generation: u64) -> Self {
        self.edit("  artifactVersion:", format!("  generation: {generation}\n  artifactVersion:"))
    }

    /// Mints the seed of a node of it once more, with these arguments beside those of [`Self::build`], which comes first.
    ///
    /// # Panics
    /// When it cannot be minted.
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

    /// Builds it, with a seed for every node. Built before, it is only looked at.
    ///
    /// # Panics
    /// When it does not build.
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

/// A key directory in which the configuration key was replaced and the first one dropped, as it was before that and as it is since.
///
/// # Panics
/// When it cannot be made.
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

/// The default example as a cluster of its own has it: the published key of the demo operator is refused outside the demo keys.
///
/// # Panics
/// When it cannot be read, or has another operator.
pub fn own_example() -> String {
    let text = std::fs::read_to_string(project().join("examples/lab.yaml")).unwrap();
    let demo = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
    assert!(text.contains(demo), "examples/lab.yaml has another operator");
    text.replace(demo, "/sC7IdAPKKrByEx9BScM3rPg9skm4PXb6SwJow+502I=")
}

/// One of the tests' own key directories, made when it is first asked for.
///
/// # Panics
/// When it cannot be made.
pub fn key_directory(name: &str) -> PathBuf {
    let keys = scratch().join("keys").join(name);
    if !keys.exists() {
        std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
        succeeds(kubedos_build().args(["keys", "init", "lab", "--keys"]).arg(&keys));
    }
    keys
}
