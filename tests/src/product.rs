//! The outputs of `make image` (interfaces, "`kubedos-build`"), as the tests use them: read, never written.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_image::gpt::{self, SectorSize, Table};
use kubedos_image::layout::Role;
use kubedos_image::source::FileSource;
use kubedos_lab::{Disk, Format};

/// The built image and what came with it.
#[derive(Debug)]
pub struct Product {
    raw: PathBuf,
    table: Table,
}

impl Product {
    /// What `make image` built, in `out/` or where `KUBEDOS_TEST_IMAGE_DIR` says.
    ///
    /// # Panics
    /// When there is not exactly one image.
    pub fn built() -> &'static Self {
        static BUILT: OnceLock<Product> = OnceLock::new();
        BUILT.get_or_init(|| {
            let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
            let folder = std::env::var_os("KUBEDOS_TEST_IMAGE_DIR")
                .map_or_else(|| repository.join("out"), PathBuf::from);
            Self::open(&folder)
        })
    }

    /// The product in a folder.
    ///
    /// # Panics
    /// When there is not exactly one image.
    pub fn open(folder: &Path) -> Self {
        let found: Vec<PathBuf> = std::fs::read_dir(folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        let mut raw =
            found.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "raw"));
        let (Some(raw), None) = (raw.next(), raw.next()) else {
            panic!("not exactly one image in {}: run `make image`", folder.display());
        };
        let file = File::open(&raw).unwrap();
        let length = file.metadata().unwrap().len();
        let found = gpt::read_from(&FileSource::new(file, length), SectorSize::B512).unwrap();
        assert!(found.is_sound(), "the partition table of {} is not sound: {found:?}", raw.display());
        Self { raw: raw.canonicalize().unwrap(), table: found.table }
    }

    /// The raw image, which is the ISO too.
    pub fn raw(&self) -> &Path {
        &self.raw
    }

    /// Another output of the same name: `qcow2`, `efi`, `iso`, `cdx.json`.
    pub fn output(&self, extension: &str) -> PathBuf {
        self.raw.with_extension(extension)
    }

    /// The folder of the outputs.
    pub fn folder(&self) -> &Path {
        self.raw.parent().unwrap()
    }

    /// The raw image as a disk, to lay an overlay on.
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
    /// When there is none.
    pub fn nodes(&self) -> Vec<String> {
        let seeds = std::fs::read_dir(self.folder().join("seeds")).expect("no seeds: run `make image`");
        let paths = seeds.flatten().map(|entry| entry.path());
        let names =
            paths.filter_map(|path| path.file_name()?.to_str()?.strip_suffix(".img").map(str::to_owned));
        let mut nodes: Vec<String> = names.collect();
        nodes.sort();
        assert!(!nodes.is_empty(), "no seeds: run `make image`");
        nodes
    }

    /// A node's seed.
    pub fn seed(&self, node: &str) -> PathBuf {
        self.folder().join("seeds").join(node).with_extension("img")
    }

    /// The bytes of a partition in the raw image.
    ///
    /// # Panics
    /// When the image has no such partition.
    pub fn partition(&self, role: Role) -> Range<u64> {
        let name = role.to_string();
        let mut named = self.table.partitions().filter(|(_, partition)| partition.name == name);
        let (_, partition) = named.next().unwrap_or_else(|| panic!("no partition {name}"));
        let start = self.table.start_bytes(partition);
        start..start + self.table.len_bytes(partition)
    }
}
