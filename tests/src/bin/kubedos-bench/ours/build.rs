//! Builds of kubedOS and the sizes of their outputs.
//!
//! The builds have their own store, so that the benchmark can empty it, and share the fetched packages with the user's cache. They do not
//! use the network.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kubedos_builder::image::manifest::Manifest;
use kubedos_image::pe::Pe;
use kubedos_image::verity::hash_area_bytes;
use kubedos_tests::{Pins, key_directory, own_example, project};
use kubedos_wire::seal::Volume;

use crate::kubedos_build;
use crate::timed::{Cost, cost};

/// The last line of the last node in the example.
const LAST_NODE: &str = "              addresses: [\"192.168.77.12/24\"]\n";

/// The costs of the builds, by what the cache contains.
#[derive(Debug)]
pub struct Builds {
    /// With fetched packages and compiled programs of `init/` only.
    pub fresh: Vec<Cost>,
    /// Also with unpacked packages and compressed segments.
    pub recomposed: Vec<Cost>,
    /// With everything.
    pub unchanged: Vec<Cost>,
    /// With everything, after one node was added to the spec.
    pub edit: Vec<Cost>,
    /// As `edit`, in every format.
    pub edit_all: Vec<Cost>,
}

/// Sizes in bytes.
#[derive(Debug)]
pub struct Sizes {
    /// The unified kernel image.
    pub uki: u64,
    /// The kernel in it.
    pub kernel: u64,
    /// The initrd in it.
    pub initrd: u64,
    /// The root file system.
    pub root: u64,
    /// The hash tree and the superblock of the root file system.
    pub verity: u64,
    /// The configuration volume with its verity.
    pub configuration: Option<u64>,
    /// The payload volume with its verity.
    pub payload: Option<u64>,
    /// The image's length.
    pub raw: u64,
    /// The space that the image uses on the host's disk.
    pub allocated: u64,
    /// The image as qcow2.
    pub qcow2: Option<u64>,
}

/// A folder to build in.
#[derive(Debug)]
pub struct Ours {
    folder: PathBuf,
    /// The number of nodes added to the example so far.
    added: Cell<u32>,
}

impl Ours {
    /// Creates the folder with a cache that shares the packages and the unpacked tools with the user's cache.
    pub fn new(folder: &Path) -> Self {
        let cache = folder.join("cache");
        fs::create_dir_all(&cache).unwrap();
        let shared = Pins::get().cache().root().canonicalize().unwrap();
        for name in ["sha256", "tools"] {
            if !cache.join(name).exists() {
                symlink(shared.join(name), cache.join(name)).unwrap();
            }
        }
        Self { folder: folder.to_owned(), added: Cell::new(0) }
    }

    /// A build with an empty store, which compiles the programs of `init/` and all their dependencies.
    pub fn init(&self) -> Cost {
        empty(&self.folder.join("cache/built"));
        empty(&self.folder.join("init"));
        self.write_spec();
        self.build("raw")
    }

    /// Runs each kind of build `runs` times. A first build is not measured; it compiles the programs of `init/` and fills the page cache.
    pub fn builds(&self, runs: u32) -> Builds {
        self.write_spec();
        self.build("raw");
        let without = |kinds: &[&str]| {
            for kind in kinds {
                empty(&self.folder.join("cache/built").join(kind));
            }
            self.build("raw")
        };
        let edit = |formats| {
            self.added.set(self.added.get() + 1);
            self.write_spec();
            self.build(formats)
        };
        Builds {
            fresh: (0..runs).map(|_| without(&["boot", "volume", "package", "segment"])).collect(),
            recomposed: (0..runs).map(|_| without(&["boot", "volume"])).collect(),
            unchanged: (0..runs).map(|_| self.build("raw")).collect(),
            edit: (0..runs).map(|_| edit("raw")).collect(),
            edit_all: (0..runs).map(|_| edit("raw,iso,qcow2")).collect(),
        }
    }

    /// The sizes of the outputs of the last build, which must have every format.
    pub fn sizes(&self) -> Sizes {
        let out = self.folder.join("out");
        let manifest: Manifest =
            serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
        let output = |ending: &str| {
            let found = manifest.outputs.iter().find(|output| output.name.ends_with(ending));
            out.join(&found.unwrap_or_else(|| panic!("no {ending} in {}", out.display())).name)
        };
        let volume = |volume: Volume| {
            let found = manifest.volumes.iter().find(|entry| entry.name == volume.name()).unwrap();
            (found.seal.data_blocks * 4096, hash_area_bytes(found.seal.data_blocks))
        };
        let with_verity = |of: Volume| {
            let (data, hash) = volume(of);
            data + hash
        };
        let (root, verity) = volume(Volume::Root);
        let raw = fs::metadata(output(".raw")).unwrap();
        let uki = fs::read(output(".efi")).unwrap();
        let (kernel, initrd) = uki_parts(&uki);
        Sizes {
            uki: uki.len() as u64,
            kernel,
            initrd,
            root,
            verity,
            configuration: Some(with_verity(Volume::Configuration)),
            payload: Some(with_verity(Volume::Payload)),
            raw: raw.len(),
            allocated: raw.blocks() * 512,
            qcow2: Some(fs::metadata(output(".qcow2")).unwrap().len()),
        }
    }

    fn write_spec(&self) {
        fs::write(self.folder.join("cluster.yaml"), example_with(self.added.get())).unwrap();
    }

    fn build(&self, formats: &str) -> Cost {
        let mut command = Command::new(kubedos_build());
        command.current_dir(project()).args(["image", "--offline", "--format", formats]);
        let keys = key_directory("bench");
        for (option, value) in [
            ("--spec", self.folder.join("cluster.yaml").as_path()),
            ("--out", &self.folder.join("out")),
            ("--cache", &self.folder.join("cache")),
            ("--init-target", &self.folder.join("init")),
            ("--keys", &keys),
            ("--lock", Pins::get().lock_file()),
        ] {
            command.arg(option).arg(value);
        }
        cost(&command, &self.folder.join("build.log")).unwrap_or_else(|failed| panic!("{failed}"))
    }
}

/// The default example with `added` more workers.
pub fn example_with(added: u32) -> String {
    let example = own_example();
    let (before, after) =
        example.split_once(LAST_NODE).expect("examples/lab.yaml does not end with the expected node");
    let node = |number: u32| {
        format!(
            "      - name: w-{number}
        role: worker
        domain: host-b
        disks:
          - sizeGiB: 14
        underlay:
          interfaces:
            - name: uplink
              addresses: [\"192.168.77.{}/24\"]
",
            number + 11
        )
    };
    let nodes: String = (2..2 + added).map(node).collect();
    format!("{before}{LAST_NODE}{nodes}{after}")
}

/// The sizes of the kernel and the initrd in a UKI.
pub fn uki_parts(uki: &[u8]) -> (u64, u64) {
    let uki = Pe::parse(uki).unwrap();
    let section = |name: &str| uki.section(name).map_or(0, |bytes| bytes.len() as u64);
    (section(".linux"), section(".initrd"))
}

fn empty(folder: &Path) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
}
