//! Reads from a mounted volume: the image is in memory, what the file system decompressed is not.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::folder::regular_files;
use crate::peer::Why;

/// How often everything is read anew.
const ROUNDS: usize = 3;
/// How many small reads, and of how many bytes.
const SMALL: (usize, usize) = (2000, 4 << 10);
/// How many large reads, and of how many bytes.
const LARGE: (usize, usize) = (500, 128 << 10);

/// Seconds of each round.
#[derive(Debug, Default, Serialize)]
pub struct Reads {
    /// One read of 4 KiB at a random place, on average.
    pub small: Vec<f64>,
    /// One read of 128 KiB at a random place, on average.
    pub large: Vec<f64>,
    /// Every file from its beginning to its end, by their paths.
    pub whole: Vec<f64>,
}

/// Mounts a volume anew for each kind of read, and reads.
pub fn measure(volume: &Path, file_system: &str, place: &Path) -> Result<Reads, Why> {
    fs::create_dir_all(place).unwrap();
    let mut reads = Reads::default();
    for round in 0..ROUNDS as u64 {
        let at_random = |(count, len)| {
            let mounted = Mounted::new(volume, file_system, place)?;
            Ok::<f64, Why>(random(&mounted.0, count, len, round))
        };
        reads.small.push(at_random(SMALL)?);
        reads.large.push(at_random(LARGE)?);
        let mounted = Mounted::new(volume, file_system, place)?;
        reads.whole.push(whole(&mounted.0));
    }
    Ok(reads)
}

/// A mounted volume, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(volume: &Path, file_system: &str, place: &Path) -> Result<Self, Why> {
        let mut mount = Command::new("mount");
        mount.args(["-t", file_system, "-o", "ro,loop"]).arg(volume).arg(place).stdin(Stdio::null());
        let output = mount.output().map_err(Why::new)?;
        if !output.status.success() {
            return Err(Why::new(String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(Self(place.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} is still mounted", self.0.display());
    }
}

/// Seconds of one read, on average. The same places for each volume of one tree.
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

/// The file, and the multiple of 4096 in it, at a place among all bytes.
fn place(files: &[(PathBuf, u64)], mut at: u64, len: usize) -> (usize, u64) {
    for (number, (_, bytes)) in files.iter().enumerate() {
        if at < *bytes {
            return (number, at.min(bytes - len as u64) / 4096 * 4096);
        }
        at -= bytes;
    }
    unreachable!("a place behind all files")
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
