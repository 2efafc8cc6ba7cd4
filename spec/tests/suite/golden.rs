//! Compares texts with golden files. `KUBEDOS_UPDATE_GOLDENS=1 cargo test --release -p kubedos-spec --test suite` updates the
//! files; review the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

/// A path in the crate's `tests` folder.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A path of the project.
pub fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Whether the file contains exactly this text. In update mode, the text is written to the file first.
pub fn equals(path: &Path, text: &str) -> bool {
    if std::env::var_os("KUBEDOS_UPDATE_GOLDENS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::read_to_string(path).is_ok_and(|found| found == text)
}

/// Compares one text with its file.
pub fn compare(path: &Path, text: &str) {
    assert!(
        equals(path, text),
        "{} differs; KUBEDOS_UPDATE_GOLDENS=1 updates it. It should be:\n{text}",
        path.display()
    );
}
