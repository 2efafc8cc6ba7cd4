//! `manifest.json` and `SHA256SUMS`: all outputs with size and digest, and the seals of all volumes.
//!
//! Both depend on the outputs only, so two builds of the same inputs write identical files. Clock, host and timings are in `run.json`,
//! which is not compared.

use std::fs::File;
use std::io;

use kubedos_image::source::Source;
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;
use serde::{Deserialize, Serialize};

use crate::sparse_digest;
use crate::sparse_file::SparseFile;

/// The version of the manifest's format.
pub const VERSION: u32 = 1;

/// The name of the digest list.
pub const SUMS: &str = "SHA256SUMS";

/// One output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The file's name in the output folder.
    pub name: String,
    /// The length in bytes, including holes.
    pub size: u64,
    /// SHA-256 of the content, in hexadecimal digits.
    pub sha256: String,
}

/// One sealed volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeEntry {
    /// `root`, `payload` or `configuration`.
    pub name: String,
    /// The root hash, the salt and the number of blocks.
    #[serde(flatten)]
    pub seal: Seal,
}

impl VolumeEntry {
    /// Creates the entry of a volume.
    pub fn new(volume: Volume, seal: Seal) -> Self {
        Self { name: volume.name().to_owned(), seal }
    }
}

/// The description of a build's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`VERSION`].
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// `metadata.artifactVersion`.
    pub artifact_version: String,
    /// The generation of the configuration.
    pub generation: u64,
    /// The release of kubedOS.
    pub release: String,
    /// The time of the newest signed index of the lock, in seconds since 1970.
    pub epoch: u64,
    /// SHA-256 of the lock, in hexadecimal digits.
    pub lock_sha256: String,
    /// True if the published demo keys were used; anybody can sign with them, so the image is not protected.
    pub demo_keys: bool,
    /// Paths in the root volume that do not belong to the release. Only images for tests have them, and `verify` rejects these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additions: Vec<String>,
    /// The sealed volumes.
    pub volumes: Vec<VolumeEntry>,
    /// The other outputs, by name.
    pub outputs: Vec<Output>,
}

impl Manifest {
    /// Encodes the manifest as JSON.
    ///
    /// # Errors
    /// If the encoding fails.
    pub fn emit(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// Returns the lines of `SHA256SUMS`, in the format of `sha256sum --check`.
    pub fn sums(&self) -> String {
        self.outputs.iter().map(|output| format!("{}  {}\n", output.sha256, output.name)).collect()
    }
}

/// Creates the entry of a file; holes count as zeros.
///
/// # Errors
/// If the file cannot be read.
pub fn describe(name: &str, file: &File) -> io::Result<Output> {
    let source = SparseFile::new(file.try_clone()?)?;
    let sha256 = sparse_digest::of(&source)?.to_string();
    Ok(Output { name: name.to_owned(), size: source.len(), sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_written_manifest_is_read_back() {
        for additions in [Vec::new(), vec!["usr/bin/probe".to_owned()]] {
            let manifest = Manifest {
                version: VERSION,
                cluster: "lab".into(),
                artifact_version: "0.1.0".into(),
                generation: 1,
                release: "0.1.0".into(),
                epoch: 7,
                lock_sha256: "00".repeat(32),
                demo_keys: true,
                additions,
                volumes: Vec::new(),
                outputs: vec![Output { name: "a.raw".into(), size: 3, sha256: "11".repeat(32) }],
            };
            assert_eq!(serde_json::from_str::<Manifest>(&manifest.emit().unwrap()).unwrap(), manifest);
        }
    }

    #[test]
    fn holes_count_as_zeros() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(
            describe("a", &file).unwrap().sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        file.set_len(3 << 20).unwrap();
        let mut whole = b"abc".to_vec();
        whole.resize(3 << 20, 0);
        let expected = kubedos_debian::digest::Sha256::of(&whole).to_string();
        let output = describe("a", &file).unwrap();
        assert_eq!((output.size, output.sha256), (3 << 20, expected));
    }
}
