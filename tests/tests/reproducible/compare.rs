//! Compares the outputs of two builds byte for byte, and reports the first difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use kubedos_debian::digest::Sha256;
use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::source::FileSource;
use kubedos_tests::Product;

use kubedos_tests::kubedos_build;

/// Outputs of `image` that may differ between builds.
const NOT_COMPARED: [&str; 2] = ["run.json", "seeds"];

/// Checks that both folders have the same outputs with the same bytes.
pub fn folders(one: &Path, other: &Path) {
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter(|name| !NOT_COMPARED.contains(&name.as_str()) && !name.starts_with('.')).collect()
    };
    assert_eq!(names(one), names(other));
    for kind in [".raw", ".iso", ".qcow2", ".efi", "manifest.json", "SHA256SUMS"] {
        assert!(names(one).iter().any(|name| name.ends_with(kind)), "no {kind} to compare");
    }
    // The lists of digests last: they differ if any other output differs.
    let mut names: Vec<String> = names(one).into_iter().collect();
    names.sort_by_key(|name| ["SHA256SUMS", "manifest.json"].contains(&name.as_str()));
    for name in names {
        files(&one.join(&name), &other.join(&name));
    }
}

/// Checks that both files have the same bytes.
pub fn files(one: &Path, other: &Path) {
    let Some(offset) = first_difference(one, other) else { return };
    let explained = kubedos_build().arg("diff").args([one, other]).output().unwrap();
    panic!(
        "{} and {} differ, first at byte {offset}\n{}{}",
        one.display(),
        other.display(),
        String::from_utf8_lossy(&explained.stdout),
        String::from_utf8_lossy(&explained.stderr)
    );
}

/// The offset of the first difference between two files; a file that ends early differs at its end.
fn first_difference(one: &Path, other: &Path) -> Option<u64> {
    let mut files = [one, other].map(|path| BufReader::with_capacity(1 << 20, File::open(path).unwrap()));
    let mut blocks = [vec![0; 1 << 16], vec![0; 1 << 16]];
    let mut at = 0;
    loop {
        let [one, other] = &mut blocks;
        let lengths = [fill(&mut files[0], one), fill(&mut files[1], other)];
        let (one, other) = (&one[..lengths[0]], &other[..lengths[1]]);
        if one != other {
            let equal = one.iter().zip(other).take_while(|(one, other)| one == other).count();
            return Some(at + u64::try_from(equal).unwrap());
        }
        if one.is_empty() {
            return None;
        }
        at += u64::try_from(one.len()).unwrap();
    }
}

/// Reads until the buffer is full or the file ends; returns the number of bytes.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]).unwrap() {
            0 => break,
            more => length += more,
        }
    }
    length
}

/// The names of the partitions whose bytes differ between two images, sorted.
pub fn changed(one: &Path, other: &Path) -> Vec<String> {
    let (one, other) = (partitions(one), partitions(other));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

/// The digest of each partition of the image in a folder.
fn partitions(folder: &Path) -> BTreeMap<String, Sha256> {
    let raw = Product::open(folder).raw().to_owned();
    let mut file = File::open(&raw).unwrap();
    let length = file.metadata().unwrap().len();
    let table =
        gpt::read_from(&FileSource::new(File::open(&raw).unwrap(), length), SectorSize::B512).unwrap().table;
    let mut digests = BTreeMap::new();
    for (_, partition) in table.partitions() {
        file.seek(SeekFrom::Start(table.start_bytes(partition))).unwrap();
        let (digest, _) = Sha256::of_reader((&mut file).take(table.len_bytes(partition))).unwrap();
        digests.insert(partition.name.clone(), digest);
    }
    assert!(digests.len() > 6, "{digests:?}");
    digests
}
