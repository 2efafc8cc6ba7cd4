//! Measures reads from a mounted volume. The file with the volume is in the page cache; the decompressed content of its files is not.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::folder::regular_files;
use crate::peer::Reason;

/// The number of rounds. Each round mounts the volume again.
const ROUNDS: usize = 3;
/// The number of small reads, and their size in bytes.
const SMALL: (usize, usize) = (2000, 4 << 10);
/// The number of large reads, and their size in bytes.
const LARGE: (usize, usize) = (500, 128 << 10);

/// The times of each round in seconds.
#[derive(Debug, Default, Serialize)]
pub struct Reads {
    /// The average time of a read of 4 KiB at a random offset.
    pub small: Vec<f64>,
    /// The average time of a read of 128 KiB at a random offset.
    pub large: Vec<f64>,
    /// The time to read all files completely, in the order of their paths.
    pub whole: Vec<f64>,
}

/// Measures all kinds of reads. Mounts the volume again for each kind, so that its files are not cached.
pub fn measure(volume: &Path, file_system: &str, place: &Path) -> Result<Reads, Reason> {
    fs::create_dir_all(place).unwrap();
    let mut reads = Reads::default();
    for round in 0..ROUNDS as u64 {
        let at_random = |(count, len)| {
            let mounted = Mounted::new(volume, file_system, place)?;
            Ok::<f64, Reason>(random(&mounted.0, count, len, round))
        };
        reads.small.push(at_random(SMALL)?);
        reads.large.push(at_random(LARGE)?);
        let mounted = Mounted::new(volume, file_system, place)?;
        reads.whole.push(whole(&mounted.0));
    }
    Ok(reads)
}

/// A mounted volume. Dropping it unmounts the volume.
struct Mounted(PathBuf);

impl Mounted {
    fn new(volume: &Path, file_system: &str, place: &Path) -> Result<Self, Reason> {
        let mut mount = Command::new("mount");
        mount.args(["-t", file_system, "-o", "ro,loop"]).arg(volume).arg(place).stdin(Stdio::null());
        let output = mount.output().map_err(Reason::new)?;
        if !output.status.success() {
            return Err(Reason::new(String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(Self(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "failed to unmount {}", self.0.display());
    }
}

/// The average time of one read in seconds. The offsets are the same for each volume of one tree.
fn random(mounted: &Path, count: usize, len: usize, seed: u64) -> f64 {
    let mut files = regular_files(mounted);
    files.sort();
    files.retain(|(_, bytes)| *bytes >= len as u64);
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let mut random = StdRng::seed_from_u64(seed);
    let places: Vec<(usize, u64)> =
        (0..count).map(|_| place(&files, random.gen_range(0..total), len)).collect();
    let open: Vec<Option<File>> = files
        .iter()
        .enumerate()
        .map(|(at, (path, _))| places.iter().any(|(file, _)| *file == at).then(|| File::open(path).unwrap()))
        .collect();
    let mut buffer = vec![0; len];
    let start = Instant::now();
    for (file, at) in &places {
        open[*file].as_ref().unwrap().read_exact_at(&mut buffer, *at).unwrap();
    }
    let count = u32::try_from(count).unwrap();
    start.elapsed().as_secs_f64() / f64::from(count)
}

/// The index of the file, and an offset in it that is a multiple of 4096, for the offset `at` in the concatenation of all files.
fn place(files: &[(PathBuf, u64)], mut at: u64, len: usize) -> (usize, u64) {
    for (number, (_, bytes)) in files.iter().enumerate() {
        if at < *bytes {
            return (number, at.min(bytes - len as u64) / 4096 * 4096);
        }
        at -= bytes;
    }
    unreachable!("an offset after the last file")
}

fn whole(mounted: &Path) -> f64 {
    let start = Instant::now();
    let mut files = regular_files(mounted);
    files.sort();
    let mut buffer = vec![0; 128 << 10];
    for (path, _) in files {
        let mut file = File::open(path).unwrap();
        while std::io::Read::read(&mut file, &mut buffer).unwrap() > 0 {}
    }
    start.elapsed().as_secs_f64()
}
