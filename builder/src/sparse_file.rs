//! A file as a [`Source`] with holes: reading an image of 1 GiB that contains 40 MiB of data reads only these 40 MiB.
//!
//! Block devices are supported too. Their length is determined by seeking, because their metadata does not contain it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use kubedos_image::source::Source;

/// An open regular file or block device.
#[derive(Debug)]
pub struct SparseFile {
    file: File,
    len: u64,
}

impl SparseFile {
    /// Opens a file for reading. Pipes and sockets are refused, because reading them could block.
    ///
    /// # Errors
    /// If it cannot be opened, or is neither a file nor a block device.
    pub fn open(path: &Path) -> io::Result<Self> {
        let kind = std::fs::metadata(path)?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::other("neither a file nor a block device"));
        }
        Self::new(File::open(path)?)
    }

    /// Wraps an open file with its current length.
    ///
    /// # Errors
    /// If the length cannot be determined.
    pub fn new(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, len })
    }
}

impl Source for SparseFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.len => self.file.read_exact_at(buffer, offset),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end")),
        }
    }

    /// Queries the file system. If it does not report holes, everything is data.
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        use rustix::fs::{SeekFrom, seek};
        if offset >= self.len {
            return None;
        }
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start.max(offset),
            Err(rustix::io::Errno::NXIO) => return None,
            Err(_) => return Some(offset..self.len),
        };
        let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.len).min(self.len);
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn holes_are_skipped_and_read_as_zeros() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.seek(SeekFrom::Start(5 << 20)).unwrap();
        file.write_all(&[7; 4096]).unwrap();
        let source = SparseFile::new(file).unwrap();
        let data = source.next_data(0).unwrap();
        assert!(data.contains(&(5 << 20)) && data.end - data.start < 1 << 20, "{data:?}");
        assert_eq!(source.next_data(data.end), None);
        let mut buffer = [1; 2];
        source.read_exact_at(&mut buffer, (5 << 20) - 1).unwrap();
        assert_eq!(buffer, [0, 7]);
        assert!(source.read_exact_at(&mut buffer, (8 << 20) - 1).is_err());
        assert!(source.read_exact_at(&mut buffer, u64::MAX).is_err());
    }

    #[test]
    fn pipes_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SparseFile::open(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert!(SparseFile::open(Path::new("/dev/zero")).is_err());
    }
}
