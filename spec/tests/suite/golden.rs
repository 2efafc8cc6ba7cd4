//! Texts that are kept and compared. `KUBEDOS_UPDATE_GOLDENS=1 cargo test --release -p kubedos-spec --test suite` writes them anew; read the
//! difference before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

/// A path below the crate's folder of tests.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A path of the project.
pub fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Whether the file holds the text; when goldens are updated, it is made so.
pub fn holds(path: &Path, text: &str) -> bool {
    if std::env::var_os("KUBEDOS_UPDATE_GOLDENS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::read_to_string(path).is_ok_and(|held| held == text)
}

/// Compares one text with its file.
pub fn compare(path: &Path, text: &str) {
    assert!(
        holds(path, text),
        "{} differs; KUBEDOS_UPDATE_GOLDENS=1 writes it anew. It should be:\n{text}",
        path.display()
    );
}
