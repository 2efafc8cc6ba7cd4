//! Byte sources: objects with a length and positioned reads. Readers of large objects (a partition table on a disk, a volume, an image)
//! therefore need no seek position and can be shared between threads.
//!
//! This module opens no file; [`FileSource`] wraps an open file whose size the caller knows.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of a known length that several threads can read at any offset.
pub trait Source: Sync {
    /// The number of bytes.
    fn len(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on. Returns an error if the source ends before the buffer is full.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// The next range at or after `offset` that may contain non-zero bytes; `None` if only zeroes follow.
    /// A source without information about holes returns the whole rest.
    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        (offset < self.len()).then(|| offset..self.len())
    }

    /// The file that contains the `len` bytes from `offset` on in one piece, and their offset in it; `None` if there is no such file, or
    /// if it is not known. With it, a copy can be done by the file system, which may share the blocks.
    fn in_file(&self, _offset: u64, _len: u64) -> Option<(&File, u64)> {
        None
    }

    /// Whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end")
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| past_the_end())?;
        let end = start.checked_add(buffer.len()).ok_or_else(past_the_end)?;
        buffer.copy_from_slice(self.get(start..end).ok_or_else(past_the_end)?);
        Ok(())
    }
}

impl<T: Source + ?Sized> Source for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        (**self).next_data(offset)
    }

    fn in_file(&self, offset: u64, len: u64) -> Option<(&File, u64)> {
        (**self).in_file(offset, len)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        Source::len(self.as_slice())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, offset)
    }
}

/// An open file or block device whose size the caller knows.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// The first `len` bytes of `file`. The caller gives the length, because the metadata of a block device does not contain its size.
    pub fn new(file: File, len: u64) -> Self {
        Self { file, len }
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).ok_or_else(past_the_end)?;
        if end > self.len {
            return Err(past_the_end());
        }
        self.file.read_exact_at(buffer, offset)
    }

    fn in_file(&self, offset: u64, len: u64) -> Option<(&File, u64)> {
        (offset.checked_add(len)? <= self.len).then_some((&self.file, offset))
    }
}

/// A range of a source, as a source.
#[expect(missing_debug_implementations, reason = "the inner source need not be printable")]
pub struct Window<'a> {
    inner: &'a dyn Source,
    start: u64,
    len: u64,
}

impl<'a> Window<'a> {
    /// The `len` bytes of `inner` from `start` on; `None` if `inner` ends before them.
    pub fn new(inner: &'a dyn Source, start: u64, len: u64) -> Option<Self> {
        (start.checked_add(len)? <= inner.len()).then_some(Self { inner, start, len })
    }
}

impl Source for Window<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).ok_or_else(past_the_end)?;
        if end > self.len {
            return Err(past_the_end());
        }
        self.inner.read_exact_at(buffer, self.start.checked_add(offset).ok_or_else(past_the_end)?)
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let inner = self.inner.next_data(self.start.checked_add(offset)?)?;
        let start = inner.start.saturating_sub(self.start).max(offset);
        let end = inner.end.saturating_sub(self.start).min(self.len);
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_past_the_end_are_errors() {
        let bytes = vec![1u8, 2, 3];
        let mut buffer = [0; 2];
        bytes.read_exact_at(&mut buffer, 1).unwrap();
        assert_eq!(buffer, [2, 3]);
        for offset in [2, 3, u64::MAX] {
            assert_eq!(
                bytes.read_exact_at(&mut buffer, offset).unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof
            );
        }
    }

    #[test]
    fn a_file_ends_at_the_length_that_the_caller_gave() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abcdef").unwrap();
        let source = FileSource::new(file, 4);
        let mut buffer = [0; 2];
        source.read_exact_at(&mut buffer, 2).unwrap();
        assert_eq!(&buffer, b"cd");
        assert!(source.read_exact_at(&mut buffer, 3).is_err());
        assert!(source.read_exact_at(&mut buffer, u64::MAX).is_err());
    }

    #[test]
    fn a_window_does_not_read_outside_its_bounds() {
        let bytes = b"abcdef".to_vec();
        assert!(Window::new(&bytes, 4, 3).is_none());
        assert!(Window::new(&bytes, u64::MAX, 2).is_none());
        let window = Window::new(&bytes, 2, 3).unwrap();
        let mut buffer = [0; 2];
        window.read_exact_at(&mut buffer, 1).unwrap();
        assert_eq!(&buffer, b"de");
        assert!(window.read_exact_at(&mut buffer, 2).is_err());
        assert_eq!(window.next_data(1), Some(1..3));
        assert_eq!(window.next_data(3), None);
    }
}
