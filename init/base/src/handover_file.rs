//! Reads and writes the hand-over and the other files in its folder; `kubedos_wire::handover` defines their content.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kubedos_wire::handover::{Handover, HandoverError};

/// Why a file of the hand-over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandoverFileError {
    /// The file cannot be read or written.
    #[error("failed to {doing} {}", path.display())]
    Access {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Its content cannot be used.
    #[error(transparent)]
    Content(#[from] HandoverError),
}

/// Reads the hand-over.
///
/// # Errors
/// [`HandoverFileError`].
pub fn read(path: &Path) -> Result<Handover, HandoverFileError> {
    let text = fs::read_to_string(path).map_err(access("read", path))?;
    Ok(Handover::parse(&text)?)
}

/// Writes the hand-over, and creates its parent folders.
///
/// # Errors
/// [`HandoverFileError`].
pub fn write(path: &Path, handover: &Handover) -> Result<(), HandoverFileError> {
    let text = handover.emit()?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(access("create", folder))?;
    }
    write_bytes(path, text.as_bytes())
}

/// Writes another file into the folder of the hand-over.
///
/// # Errors
/// [`HandoverFileError::Access`].
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), HandoverFileError> {
    fs::write(path, bytes).map_err(access("write", path))
}

fn access(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HandoverFileError {
    let path = path.to_owned();
    move |source| HandoverFileError::Access { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_over_is_read_as_written_and_the_error_for_an_absent_one_contains_its_path() {
        let handover = kubedos_wire::sample::handover();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubedos/handover.toml");
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("failed to read") && error.contains("handover.toml"), "{error}");
        write(&path, &handover).unwrap();
        assert_eq!(read(&path).unwrap(), handover);
    }
}
