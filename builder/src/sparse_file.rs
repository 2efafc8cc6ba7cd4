//! Files with holes. [`SparseFile`] is a file as a [`Source`]: reading an image of 1 GiB that contains 40 MiB of data reads only these
//! 40 MiB. [`write`] writes any source to a file with holes.
//!
//! Block devices are supported too. Their length is determined by seeking, because their metadata does not contain it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use kubedos_image::source::Source;
use kubedos_image::sparse::for_data;
use rustix::fs::copy_file_range;

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

/// The granularity of holes in bytes, the usual block size of file systems.
pub(crate) const BLOCK: u64 = 4096;

/// Writes a source into an empty file. Holes and whole blocks of zeros become holes. Data that is stored in other files is copied with
/// copy_file_range(2), so that file systems can share the blocks. `seen` receives every written piece, in order.
///
/// # Errors
/// If reading or writing fails.
pub fn write(source: &dyn Source, file: &File, mut seen: impl FnMut(u64, &[u8])) -> io::Result<()> {
    file.set_len(source.len())?;
    let mut can_copy = true;
    for_data(source, BLOCK, |at, bytes| {
        seen(at, bytes);
        if can_copy && let Some(from) = source.in_file(at, bytes.len() as u64) {
            can_copy = copy(from, file, at, bytes.len());
            if can_copy {
                return Ok(());
            }
        }
        file.write_all_at(bytes, at)
    })
}

/// Copies with copy_file_range(2). Returns false if it did not copy everything; the caller then writes the bytes.
fn copy((from, mut offset): (&File, u64), to: &File, mut at: u64, mut len: usize) -> bool {
    while len > 0 {
        match copy_file_range(from, Some(&mut offset), to, Some(&mut at), len) {
            Ok(0) | Err(_) => return false,
            Ok(count) => len = len.saturating_sub(count),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::source::FileSource;
    use kubedos_image::sparse::Runs;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

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

    #[test]
    fn written_images_keep_holes_and_bytes() {
        let mut pieces = Runs::new(16 << 20);
        let mut piece = vec![0; 3 * 4096];
        piece[4096 + 5] = 7;
        pieces.add_bytes(5 << 20, piece).unwrap();
        pieces.add_bytes((16 << 20) - 3, vec![9; 3]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut seen = 0;
        super::write(&pieces, &file, |_, bytes| seen += bytes.len()).unwrap();
        assert_eq!(seen, 2 * 4096);
        let mut written = Vec::new();
        file.read_to_end(&mut written).unwrap();
        let mut expected = vec![0; 16 << 20];
        pieces.read_exact_at(&mut expected, 0).unwrap();
        assert!(written == expected);
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 * 1024);
    }

    /// The source file is on the same file system or on another one: shared, copied or written, the bytes are the same.
    #[test]
    fn data_of_other_files_is_copied_from_them() {
        let bytes: Vec<u8> =
            (0..3_u32 << 18).flat_map(|at| at.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let Ok(mut inner) = tempfile::tempfile_in(folder) else { continue };
            inner.write_all(&bytes).unwrap();
            let inner = FileSource::new(inner, bytes.len() as u64);
            let mut pieces = Runs::new(8 << 20);
            pieces.add_source(1 << 20, &inner).unwrap();
            pieces.add_bytes(5 << 20, vec![7; 9000]).unwrap();
            assert!(pieces.in_file(1 << 20, 3 << 20).is_some());
            assert!(pieces.in_file((1 << 20) + 1, 3 << 20).is_none() && pieces.in_file(0, 1).is_none());
            let mut file = tempfile::tempfile().unwrap();
            super::write(&pieces, &file, |_, _| {}).unwrap();
            let mut written = Vec::new();
            file.read_to_end(&mut written).unwrap();
            let mut expected = vec![0; 8 << 20];
            pieces.read_exact_at(&mut expected, 0).unwrap();
            assert!(written == expected);
        }
    }
}
