//! Changes copies of the image: a bit in a partition, a file in the ESP, the content of a partition.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Flips one bit of the byte at `offset`.
///
/// # Panics
/// If the file cannot be read or written there.
pub fn flip(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
    file.sync_all().unwrap();
}

/// Writes a file into the FAT file system in the range `volume` of `image`; creates missing folders.
///
/// # Panics
/// If the file cannot be written.
pub fn plant(image: &Path, volume: Range<u64>, path: &str, content: &[u8]) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let fat = fatfs::FileSystem::new(Slice::new(file, volume), fatfs::FsOptions::new()).unwrap();
    let mut folder = fat.root_dir();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_some() {
            folder = folder.create_dir(part).unwrap();
        } else {
            let mut file = folder.create_file(part).unwrap();
            file.truncate().unwrap();
            file.write_all(content).unwrap();
        }
    }
    drop(folder);
    fat.unmount().unwrap();
}

/// The content of a file of the FAT file system in the range `volume` of `image`.
///
/// # Panics
/// If the file does not exist.
pub fn read_esp(image: &Path, volume: Range<u64>, path: &str) -> Vec<u8> {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let fat = fatfs::FileSystem::new(Slice::new(file, volume), fatfs::FsOptions::new()).unwrap();
    let mut content = Vec::new();
    fat.root_dir().open_file(path).unwrap().read_to_end(&mut content).unwrap();
    content
}

/// Copies the bytes `from` of `source` to offset `to` of `target`.
///
/// # Panics
/// If a file cannot be read or written.
pub fn transplant(source: &Path, from: Range<u64>, target: &Path, to: u64) {
    let mut bytes = vec![0; usize::try_from(from.end - from.start).unwrap()];
    File::open(source).unwrap().read_exact_at(&mut bytes, from.start).unwrap();
    File::options().write(true).open(target).unwrap().write_all_at(&bytes, to).unwrap();
}

/// The file name of the only UKI in the ESP in the range `volume` of `image`.
///
/// # Panics
/// If there is not exactly one.
pub fn uki_name(image: &Path, volume: Range<u64>) -> String {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let fat = fatfs::FileSystem::new(Slice::new(file, volume), fatfs::FsOptions::new()).unwrap();
    let folder = fat.root_dir().open_dir("EFI/Linux").unwrap();
    let names: Vec<String> = folder.iter().map(|entry| entry.unwrap().file_name()).collect();
    let mut ukis = names.iter().filter(|name| name.to_lowercase().ends_with(".efi"));
    match (ukis.next(), ukis.next()) {
        (Some(uki), None) => uki.clone(),
        _ => panic!("not exactly one UKI: {names:?}"),
    }
}

/// A byte range of a file that reads, writes and seeks like a separate file.
#[derive(Debug)]
pub struct Slice {
    file: File,
    range: Range<u64>,
    position: u64,
}

impl Slice {
    /// The bytes `range` of `file`.
    pub fn new(file: File, range: Range<u64>) -> Self {
        Self { file, range, position: 0 }
    }

    /// The offset of the next byte in the file, and how many of the `wanted` bytes are inside the range.
    fn here(&self, wanted: usize) -> (u64, usize) {
        let left = (self.range.end - self.range.start).saturating_sub(self.position);
        (self.range.start + self.position, wanted.min(usize::try_from(left).unwrap_or(usize::MAX)))
    }
}

impl Read for Slice {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (at, count) = self.here(buffer.len());
        let count = self.file.read_at(&mut buffer[..count], at)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Slice {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let (at, count) = self.here(buffer.len());
        let count = self.file.write_at(&buffer[..count], at)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Slice {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.range.end - self.range.start;
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => length.checked_add_signed(by),
        };
        self.position = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_file_changes_only_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let file = File::options().read(true).write(true).create_new(true).open(&image).unwrap();
        file.set_len(6 << 20).unwrap();
        let volume = 1 << 20..5 << 20;
        let mut slice = Slice::new(file, volume.clone());
        fatfs::format_volume(&mut slice, fatfs::FormatVolumeOptions::new()).unwrap();
        drop(slice);
        plant(&image, volume.clone(), "loader/credentials/a.cred", b"secret");
        plant(&image, volume.clone(), "loader/other", b"other");

        let bytes = std::fs::read(&image).unwrap();
        assert!(bytes[..1 << 20].iter().chain(&bytes[5 << 20..]).all(|byte| *byte == 0));
        let fat = fatfs::FileSystem::new(
            Slice::new(File::options().read(true).write(true).open(&image).unwrap(), volume),
            fatfs::FsOptions::new(),
        )
        .unwrap();
        let mut content = String::new();
        fat.root_dir().open_file("loader/credentials/a.cred").unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "secret");
    }

    #[test]
    fn a_flip_changes_one_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [0xff; 3]).unwrap();
        flip(&path, 1);
        assert_eq!(std::fs::read(&path).unwrap(), [0xff, 0xef, 0xff]);
        flip(&path, 1);
        assert_eq!(std::fs::read(&path).unwrap(), [0xff; 3]);
    }
}
