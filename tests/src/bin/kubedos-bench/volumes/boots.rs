//! Boots of the default example whose root volume was written in one way or another.
//!
//! The builder takes a root volume from its store if it hashes to the seal beside it. So each way's volume is put there with a seal of its
//! own, and the image built around it: everything else of it is the product's.

use std::fs;
use std::path::{Path, PathBuf};

use kubedos_builder::image::manifest::Manifest;
use kubedos_builder::store::Store;
use kubedos_image::layout::Volume;
use kubedos_image::verity;
use kubedos_tests::{Pins, Product, Rig, assemble, kubedos_build, succeeds};
use serde::Serialize;

use super::{Bench, Way, Writer, extract_root, peers};
use crate::ours::{BootTimes, boot_pair};
use crate::peer::Why;

const SPEC: &str = "examples/lab.yaml";

/// Pairs of a first and a second boot with a root volume of one way.
#[derive(Debug, Serialize)]
pub struct WayBoots {
    /// The way.
    #[serde(flatten)]
    pub way: Way,
    /// Bytes of the root volume.
    pub bytes: u64,
    /// Each pair on a new disk.
    pub boots: Vec<[BootTimes; 2]>,
}

/// So many pairs of boots with each of the ways, in turn.
///
/// # Errors
/// What the peers lack on this host.
pub fn measure(folder: &Path, ways: &[Way], count: u32) -> Result<Vec<WayBoots>, Why> {
    fs::create_dir_all(folder).unwrap();
    let tree = folder.join("tree");
    extract_root(Product::built(), folder, &tree)?;
    let squashfs = peers::squashfs_tools(&folder.join("squashfs-tools"))?;
    let bench = Bench { folder, tree: &tree, squashfs: &squashfs, runs: 1 };
    let mut around = Around::new(folder);
    let images: Vec<(u64, &'static Product)> = ways
        .iter()
        .enumerate()
        .map(|(number, way)| {
            let volume = folder.join("volume");
            bench.run(&bench.command(*way, &volume, None), &volume);
            around.image(&fs::read(volume).unwrap(), &folder.join(format!("image-{number}")))
        })
        .collect();
    let mut measured: Vec<WayBoots> = ways
        .iter()
        .zip(&images)
        .map(|(way, (bytes, _))| WayBoots { way: *way, bytes: *bytes, boots: Vec::new() })
        .collect();
    for round in 0..count {
        for (number, (way, (_, product))) in measured.iter_mut().zip(&images).enumerate() {
            let rig = Rig::of(product, &format!("bench-volume-{number}-{round}"));
            way.boots.push(boot_pair(&rig));
        }
    }
    Ok(measured)
}

/// A store with everything for the image of the example but its root volume, and the folder of that.
struct Around {
    store: PathBuf,
    root: PathBuf,
    /// The seal that stands in the folder.
    seal: kubedos_image::boot::Seal,
}

impl Around {
    fn new(folder: &Path) -> Self {
        let (store, out) = (folder.join("built"), folder.join("image"));
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        let seal = root_seal(&build(&store, &out));
        let hash = seal.root_hash.to_string();
        let entries = fs::read_dir(store.join("volume")).unwrap().map(|entry| entry.unwrap().path());
        let mut ours = entries.filter(|entry| {
            fs::read_to_string(entry.join("seal.toml")).is_ok_and(|text| text.contains(&hash))
        });
        let root = ours.next().expect("the store keeps root volumes in another way than is known here");
        Self { store, root, seal }
    }

    /// The image around this volume.
    fn image(&mut self, volume: &[u8], out: &Path) -> (u64, &'static Product) {
        let built = verity::build(&volume, &self.seal.salt).unwrap();
        let text = fs::read_to_string(self.root.join("seal.toml")).unwrap();
        let blocks = |blocks: u64| format!("data_blocks = {blocks}\n");
        let text = text
            .replace(&self.seal.root_hash.to_string(), &built.seal.root_hash.to_string())
            .replace(&blocks(self.seal.data_blocks), &blocks(built.seal.data_blocks));
        for (name, bytes) in [("data", volume), ("hash", &built.hash_area), ("seal.toml", text.as_bytes())] {
            fs::write(self.root.join(name), bytes).unwrap();
        }
        self.seal = built.seal;
        let found = root_seal(&build(&self.store, out));
        assert_eq!(found, self.seal, "the builder did not take the volume");
        succeeds(kubedos_build().args(["seed", "--all", "--spec", SPEC, "--out"]).arg(out));
        (volume.len() as u64, Box::leak(Box::new(Product::open(out))))
    }
}

fn build(store: &Path, out: &Path) -> Manifest {
    let pins = Pins::get();
    assemble(SPEC, pins.lock(), pins.cache(), &Store::new(store.to_owned()), Vec::new(), out);
    serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

fn root_seal(manifest: &Manifest) -> kubedos_image::boot::Seal {
    manifest.volumes.iter().find(|entry| entry.name == Volume::Root.name()).unwrap().seal
}

/// The ways whose boots are compared.
pub fn ways() -> Vec<Way> {
    let compared = [
        (Writer::Ours, "lz4hc 9"),
        (Writer::Ours, "zstd 10"),
        (Writer::MkfsErofs, "lz4hc 9"),
        (Writer::MkfsErofs, "zstd 12, dedupe, fragments"),
    ];
    let found = compared.map(|(writer, settings)| {
        super::WAYS.into_iter().find(|way| way.writer == writer && way.settings == settings).unwrap()
    });
    found.into()
}
