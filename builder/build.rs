//! Generates a table of the files of `rootfs/overlay/`, which is compiled into the program, and computes the digest of the recipe.

mod recipe;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs/overlay");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    walk(&root, &root, &mut files)?;
    files.sort();
    let mut text = String::from(
        "/// The files of `rootfs/overlay/`, by their path in the volume.\npub const OVERLAY: &[(&str, &[u8])] = &[\n",
    );
    for (name, path) in files {
        writeln!(text, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
    }
    text.push_str("];\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo did not set OUT_DIR"))?;
    fs::write(Path::new(&out).join("overlay.rs"), text)?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for source in recipe::SOURCES {
        println!("cargo::rerun-if-changed={}", project.join(source).display());
    }
    println!("cargo::rustc-env=KUBEDOS_RECIPE={}", recipe::digest(&project)?);
    Ok(())
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, files)?;
        } else if let (Ok(name), Ok(full)) = (path.strip_prefix(root), path.canonicalize()) {
            files.push((name.to_string_lossy().into_owned(), full));
        }
    }
    Ok(())
}
