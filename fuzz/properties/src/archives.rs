//! Archives and disk images: cpio, qcow2, the EFI system partition.

use std::collections::BTreeMap;

use kubedos_image::cpio::{self, Archive, Node};
use kubedos_image::esp::{self, ESP_BYTES, EspError};
use kubedos_image::qcow2::{self, Image, Qcow2Error};
use kubedos_image::source::Source;
use kubedos_image::sparse::Runs;

use crate::frugal::{LITTLE, Most, frugal};
use crate::{Seed, Target, sparse};

pub(crate) const TARGETS: [Target; 3] = [
    Target { name: "cpio", property: cpio, seeds: cpio_seeds, mutants: 100_000 },
    Target { name: "qcow2", property: qcow2, seeds: qcow2_seeds, mutants: 5000 },
    Target { name: "esp", property: esp, seeds: esp_seeds, mutants: 2500 },
];

/// Round trip: read an archive, write its entries, and read them again; both lists of entries are equal.
fn cpio(input: &[u8]) {
    let Ok((entries, length)) = frugal(LITTLE, input.len(), || cpio::entries(input)) else { return };
    assert!(length <= input.len());
    let mut archive = Archive::new(entries.first().map_or(0, |entry| entry.mtime));
    let mut kept = BTreeMap::new();
    for entry in &entries {
        archive.add(entry.path, entry.node.clone()).unwrap();
        kept.insert(entry.path, &entry.node);
    }
    let bytes = archive.write().unwrap();
    let (again, length) = cpio::entries(&bytes).unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!(again.iter().map(|entry| (entry.path, &entry.node)).collect::<BTreeMap<_, _>>(), kept);
}

fn cpio_seeds() -> Vec<Seed> {
    let mut archive = Archive::new(1_763_300_000);
    archive.add_file("kubedos/verity.toml", 0o444, b"version = 1\n".as_slice()).unwrap();
    archive.add("dev", Node::Directory { mode: 0o755 }).unwrap();
    archive.add("dev/console", Node::Character { mode: 0o600, major: 5, minor: 1 }).unwrap();
    archive.add("lib", Node::Link("usr/lib".into())).unwrap();
    let whole = archive.write().unwrap();
    let empty = Archive::new(0).write().unwrap();
    vec![("two-in-a-row", [whole.clone(), empty.clone()].concat()), ("whole", whole), ("empty", empty)]
}

/// A sparse image of any tool. An image in the form of kubedOS is readable. If the guest disk is written again, the new image has the same
/// guest disk. For a damaged image, reading ends with an error.
fn qcow2(input: &[u8]) {
    let source = sparse::decode(input);
    // Tables are clusters of 64 KiB. A sparse input may contain only their first bytes.
    let most = Most { factor: 1 << 13, constant: 4 << 20 };
    let is_ours = frugal(most, input.len(), || qcow2::check(&source)).is_ok();
    // The largest L1 table has 32 MiB: its bytes, and its decoded entries.
    let most = Most { factor: 1 << 13, constant: 96 << 20 };
    let image = match frugal(most, input.len(), || Image::open(&source)) {
        Ok(image) => image,
        Err(error) => return assert!(!is_ours, "{error}"),
    };
    let mut at = 0;
    let mut data = 0;
    while let Some(found) = image.next_data(at) {
        assert!(found.start >= at && found.start < found.end && found.end <= image.len());
        (at, data) = (found.end, data + found.end - found.start);
        if data > MOST_DATA {
            return;
        }
    }
    let mut pieces = Vec::new();
    let written = qcow2::write(&image, |at, bytes| {
        pieces.push((at, bytes.to_vec()));
        Ok(())
    });
    let length = match written {
        Ok(length) => length,
        Err(Qcow2Error::Length(_) | Qcow2Error::Io(_)) if !is_ours => return,
        Err(error) => panic!("{error}"),
    };
    let mut again = Runs::new(length);
    for (at, bytes) in pieces {
        again.add_bytes(at, bytes).unwrap();
    }
    qcow2::check(&again).unwrap();
    assert!(sparse::same(&image, &Image::open(&again).unwrap()));
}

/// The maximum number of data bytes of a guest disk that are copied.
const MOST_DATA: u64 = 8 << 20;

fn wrapped(source: &dyn Source) -> (Vec<(u64, Vec<u8>)>, u64) {
    let mut pieces = Vec::new();
    let length = qcow2::write(source, |at, bytes| {
        pieces.push((at, bytes.to_vec()));
        Ok(())
    })
    .unwrap();
    (pieces, length)
}

fn qcow2_seeds() -> Vec<Seed> {
    let seed = |guest: &[(u64, u8)], length| {
        let mut runs = Runs::new(length);
        for (at, byte) in guest {
            runs.add_bytes(*at, vec![*byte; 20]).unwrap();
        }
        let (pieces, length) = wrapped(&runs);
        let mut image = Runs::new(length);
        for (at, bytes) in pieces {
            image.add_bytes(at, bytes).unwrap();
        }
        sparse::encode(&image)
    };
    vec![
        ("empty", seed(&[], 512)),
        ("one-cluster", seed(&[(70_000, 1)], 1 << 20)),
        ("two-tables", seed(&[(0, 1), (65_536, 2), (1 << 29, 3)], (1 << 29) + 4096)),
    ]
}

/// A sparse file system. If the writer accepts the names of the files, a file system that is written with them has the same files.
fn esp(input: &[u8]) {
    let source = sparse::decode(input);
    // The allocation table and the map of used clusters. Each entry of 4 bytes adds a cluster of 2 KiB, which may contain 64 names.
    let most = Most { factor: 1 << 13, constant: 4 << 20 };
    let Ok(listing) = frugal(most, input.len(), || esp::read(&source)) else { return };
    for file in listing.listed() {
        assert_eq!(file.path.matches('/').count(), file.short_path.matches('/').count());
    }
    let Ok(tree) = listing.tree() else { return };
    match tree.write(1) {
        Ok(again) => assert!(esp::read(&again).unwrap().tree().unwrap() == tree),
        Err(error) => assert!(matches!(error, EspError::Full(_)), "{error}"),
    }
}

fn esp_seeds() -> Vec<Seed> {
    let seed = |files: &[(&str, &[u8])]| {
        let mut tree = esp::Tree::new();
        for (path, content) in files {
            tree.add(path, *content).unwrap();
        }
        let runs = tree.write(7).unwrap();
        assert_eq!(runs.len(), ESP_BYTES);
        sparse::encode(&runs)
    };
    vec![
        ("empty", seed(&[])),
        (
            "boot",
            seed(&[
                ("EFI/BOOT/BOOTX64.EFI", b"MZ"),
                ("EFI/Linux/kubedos_0.1.0+3.efi", &[7; 5000]),
                ("loader/loader.conf", b"timeout 0\n"),
                ("loader/entries.srel", b"type1\n"),
            ]),
        ),
    ]
}
