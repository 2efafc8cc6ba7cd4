//! Boots of the default example with root volumes that were written with different settings.
//!
//! The builder takes the root volume from its store if the store has it. The benchmark therefore replaces the volume and its seal in the
//! store and builds the image again. Everything else in the image is as in the product.

use std::fs;
use std::path::Path;

use kubedos_builder::cache_key::CacheKey;
use kubedos_builder::image::manifest::Manifest;
use kubedos_builder::store::{Store, StoreError};
use kubedos_image::verity;
use kubedos_tests::{Pins, Product, Rig, assemble, kubedos_build, succeeds};
use kubedos_wire::seal::Volume;
use serde::Serialize;

use super::{Bench, Way, Writer, extract_root, peers};
use crate::ours::{BootTimes, boot_pair};
use crate::peer::Reason;

const SPEC: &str = "examples/lab.yaml";
/// The kind of volumes in the store, and the file of an entry that contains the seal.
const KIND: &str = "volume";
const SEAL: &str = "seal.toml";

/// The boots with the root volume of one way.
#[derive(Debug, Serialize)]
pub struct WayBoots {
    /// The writer and its settings.
    #[serde(flatten)]
    pub way: Way,
    /// The size of the root volume in bytes.
    pub bytes: u64,
    /// Pairs of a first and a second boot, each pair on a new disk.
    pub boots: Vec<[BootTimes; 2]>,
}

/// Measures `count` pairs of boots with each way. The ways alternate, so that a change of the host's load affects all of them.
///
/// # Errors
/// If a program of the peers cannot be fetched, or the tree cannot be extracted.
pub fn measure(folder: &Path, ways: &[Way], count: u32) -> Result<Vec<WayBoots>, Reason> {
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

/// A store with everything for the image of the example, and the key of its root volume.
struct Around {
    store: Store,
    root: CacheKey,
    /// The seal of the root volume that is in the store.
    seal: kubedos_wire::seal::Seal,
}

impl Around {
    fn new(folder: &Path) -> Self {
        let (place, out) = (folder.join("built"), folder.join("image"));
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        let store = Store::new(place.clone());
        let seal = root_seal(&build(&store, &out));
        let hash = seal.root_hash.to_string();
        let mut entries = fs::read_dir(place.join(KIND)).unwrap().map(|entry| entry.unwrap());
        let root = entries
            .find(|entry| fs::read_to_string(entry.path().join(SEAL)).is_ok_and(|text| text.contains(&hash)));
        let root = root.expect("the store has no root volume with this root hash");
        let mut digest = [0; 32];
        hex::decode_to_slice(root.file_name().as_encoded_bytes(), &mut digest).unwrap();
        Self { store, root: CacheKey::from(digest), seal }
    }

    /// Builds the image with this root volume; returns the volume's size and the image.
    fn image(&mut self, volume: &[u8], out: &Path) -> (u64, &'static Product) {
        let built = verity::build(&volume, &self.seal.salt).unwrap();
        let place = self.store.find(KIND, &self.root).unwrap();
        let text = fs::read_to_string(place.join(SEAL)).unwrap();
        let blocks = |blocks: u64| format!("data_blocks = {blocks}\n");
        let text = text
            .replace(&self.seal.root_hash.to_string(), &built.seal.root_hash.to_string())
            .replace(&blocks(self.seal.data_blocks), &blocks(built.seal.data_blocks));
        fs::remove_dir_all(place).unwrap();
        let fill = |folder: &Path| -> Result<(), StoreError> {
            fs::write(folder.join("data"), volume).unwrap();
            fs::write(folder.join("hash"), &built.hash_area).unwrap();
            fs::write(folder.join(SEAL), text).unwrap();
            Ok(())
        };
        self.store.insert(KIND, &self.root, fill).unwrap();
        self.seal = built.seal;
        let found = root_seal(&build(&self.store, out));
        assert_eq!(found, self.seal, "the builder did not use the volume of the store");
        succeeds(kubedos_build().args(["seed", "--all", "--spec", SPEC, "--out"]).arg(out));
        (volume.len() as u64, Box::leak(Box::new(Product::open(out))))
    }
}

fn build(store: &Store, out: &Path) -> Manifest {
    let pins = Pins::get();
    assemble(SPEC, pins.lock(), pins.cache(), store, Vec::new(), out);
    serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap()
}

fn root_seal(manifest: &Manifest) -> kubedos_wire::seal::Seal {
    manifest.volumes.iter().find(|entry| entry.name == Volume::Root.name()).unwrap().seal
}

/// The ways whose boots are compared.
pub fn ways() -> Vec<Way> {
    let compared = [
        (Writer::Ours, "lz4hc 9"),
        (Writer::Ours, "zstd 10"),
        (Writer::Ours, "zstd 10, clusters of 16 KiB"),
        (Writer::Ours, "zstd 10, clusters of 128 KiB"),
        (Writer::Ours, "zstd 14"),
        (Writer::MkfsErofs, "lz4hc 9"),
        (Writer::MkfsErofs, "zstd 12, dedupe, fragments"),
    ];
    let found = compared.map(|(writer, settings)| {
        super::WAYS.into_iter().find(|way| way.writer == writer && way.settings == settings).unwrap()
    });
    found.into()
}
