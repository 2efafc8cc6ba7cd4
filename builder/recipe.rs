//! The recipe digest: covers everything in this project that decides the bytes of a volume, a UKI or a boot loader, that is the sources of
//! the pipeline and of the formats, the rules of `rootfs/` and `kernel-config/`, and the versions of the crates.
//!
//! It is part of the key of every stored part. A change of the command line or of a test therefore rebuilds no part, and a change of the
//! pipeline rebuilds its outputs. `build.rs` computes the digest when the library is compiled. The hash need not resist attackers: a person
//! who can write the sources can also write the stored parts.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::path::{Path, PathBuf};

/// Files and folders, relative to the project.
pub const SOURCES: [&str; 9] = [
    "Cargo.lock",
    "builder/build.rs",
    "builder/debian/src",
    "builder/recipe.rs",
    "builder/src",
    "image/src",
    "kernel-config",
    "rootfs",
    "spec/wire/src",
];

/// Returns the digest in hexadecimal digits.
pub fn digest(project: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        list(project, Path::new(source), &mut files)?;
    }
    files.sort();
    // Two hashes of 64 bits with different first bytes.
    let mut hashers = [0, 1].map(|first| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(first);
        hasher
    });
    for file in files {
        let content = fs::read(project.join(&file))?;
        for hasher in &mut hashers {
            for part in [file.as_os_str().as_encoded_bytes(), &content] {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        }
    }
    Ok(hashers.map(|hasher| format!("{:016x}", hasher.finish())).concat())
}

/// Lists all files below a path, except tests.
fn list(project: &Path, path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !project.join(path).is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(project.join(path))? {
        let name = entry?.file_name();
        if name != "tests" && name != "tests.rs" {
            list(project, &path.join(name), files)?;
        }
    }
    Ok(())
}
