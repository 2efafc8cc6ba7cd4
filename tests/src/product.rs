//! The outputs of `kubedos-build image` as the tests use them. Tests read them and never change them; they change copies.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_image::gpt::{self, Partition, SectorSize, Table};
use kubedos_image::guid::Guid;
use kubedos_image::layout::Role;
use kubedos_image::source::FileSource;
use kubedos_lab::{Disk, Format};

use crate::assembled::demo_keys;
use crate::pins::{Pins, kubedos_build, project, scratch, succeeds};

/// A built image and the other outputs of its build.
#[derive(Debug)]
pub struct Product {
    raw: PathBuf,
    table: Table,
}

impl Product {
    /// The product that `make image` builds from the default example.
    ///
    /// # Panics
    /// If the build fails.
    pub fn built() -> &'static Self {
        static BUILT: OnceLock<Product> = OnceLock::new();
        BUILT.get_or_init(|| Self::example("lab"))
    }

    /// The image of an example of this project and the seeds of all its nodes, built with `kubedos-build`.
    ///
    /// # Panics
    /// If the build fails.
    pub fn example(name: &str) -> Self {
        Self::of(&project().join("examples").join(name).with_extension("yaml"), name)
    }

    /// The image of a spec that may use the demo keys, and the seeds of all its nodes, in the folder `name`.
    ///
    /// # Panics
    /// If the build fails.
    pub fn of(spec: &Path, name: &str) -> Self {
        let images = scratch().join("images");
        std::fs::create_dir_all(&images).unwrap();
        let one_at_a_time = File::create(images.join(format!("{name}.lock"))).unwrap();
        one_at_a_time.lock().unwrap();
        let (keys, out) = (demo_keys(spec), images.join(name));
        let mut image = kubedos_build();
        image.args(["image", "--spec"]).arg(spec).arg("--keys").arg(&keys);
        image.arg("--lock").arg(Pins::get().lock_file()).arg("--out").arg(&out);
        succeeds(&mut image);
        let mut seed = kubedos_build();
        seed.args(["seed", "--all", "--spec"]).arg(spec).arg("--keys").arg(&keys);
        succeeds(seed.arg("--out").arg(&out));
        Self::open(&out)
    }

    /// The product in a folder.
    ///
    /// # Panics
    /// If there is not exactly one image with a valid partition table.
    pub fn open(folder: &Path) -> Self {
        let found: Vec<PathBuf> = std::fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        let mut raw =
            found.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "raw"));
        let (Some(raw), None) = (raw.next(), raw.next()) else {
            panic!("not exactly one image in {}", folder.display());
        };
        let file = File::open(&raw).unwrap();
        let length = file.metadata().unwrap().len();
        let found = gpt::read_from(&FileSource::new(file, length), SectorSize::B512).unwrap();
        assert!(found.is_consistent(), "the partition table of {} is not valid: {found:?}", raw.display());
        Self { raw: raw.canonicalize().unwrap(), table: found.table }
    }

    /// The raw image, which is also the ISO.
    pub fn raw(&self) -> &Path {
        &self.raw
    }

    /// Another output with the same base name: `qcow2`, `efi`, `iso`, `cdx.json`.
    pub fn output(&self, extension: &str) -> PathBuf {
        self.raw.with_extension(extension)
    }

    /// The folder of the outputs.
    pub fn folder(&self) -> &Path {
        self.raw.parent().unwrap()
    }

    /// The raw image as a disk, for use as the base of an overlay.
    pub fn disk(&self) -> Disk {
        Disk::new(&self.raw, Format::Raw)
    }

    /// The length of the raw image in bytes.
    pub fn length(&self) -> u64 {
        self.table.disk_bytes()
    }

    /// The nodes that have a seed, sorted by name.
    ///
    /// # Panics
    /// If there is none.
    pub fn nodes(&self) -> Vec<String> {
        let seeds = std::fs::read_dir(self.folder().join("seeds")).unwrap();
        let paths = seeds.flatten().map(|entry| entry.path());
        let names =
            paths.filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".img").map(str::to_owned));
        let mut nodes: Vec<String> = names.collect();
        nodes.sort();
        assert!(!nodes.is_empty(), "no seeds");
        nodes
    }

    /// A node's seed.
    pub fn seed_file(&self, node: &str) -> PathBuf {
        self.folder().join("seeds").join(node).with_extension("img")
    }

    /// A node's seed as a substrate attaches it.
    pub fn seed(&self, node: &str) -> Disk {
        Disk::new(self.seed_file(node), Format::Raw).read_only().not_bootable()
    }

    /// The byte range of a partition in the raw image.
    ///
    /// # Panics
    /// If the image has no such partition.
    pub fn partition(&self, role: Role) -> Range<u64> {
        let (_, partition) = self.entry(role);
        let start = self.table.start_bytes(partition);
        start..start + self.table.len_bytes(partition)
    }

    /// Number and UUID of a partition.
    ///
    /// # Panics
    /// If the image has no such partition.
    pub fn name_of(&self, role: Role) -> (u32, Guid) {
        let (number, partition) = self.entry(role);
        (number, partition.uuid)
    }

    fn entry(&self, role: Role) -> (u32, &Partition) {
        let name = role.to_string();
        let mut named = self.table.partitions().filter(|(_, partition)| partition.name == name);
        named.next().unwrap_or_else(|| panic!("no partition {name}"))
    }
}
