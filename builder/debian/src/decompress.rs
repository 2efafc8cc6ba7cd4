//! Decompression with bounds on output and memory.
//!
//! A few bytes of input can expand to terabytes, or can demand gigabytes of memory for the decoder.

use std::io::{self, BufRead, Read, Take};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// The memory limit of the xz decoder. `xz -9`, the highest level in Debian's archive, needs 65 MiB (xz(1)); a header can demand up to
/// 4 GiB.
const DECODER_BYTES: u64 = 128 << 20;

/// Decodes an xz file, which may consist of several streams.
pub fn xz<R: BufRead>(packed: R) -> io::Result<XzDecoder<R>> {
    Ok(XzDecoder::new_stream(packed, Stream::new_stream_decoder(DECODER_BYTES, CONCATENATED)?))
}

/// Reads a whole stream. Fails if it is longer than `most` bytes.
pub fn whole(stream: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Bounded::new(stream, most).read_to_end(&mut out)?;
    Ok(out)
}

/// A stream that returns an error after `most` bytes. [`Read::take`] would report the end of the stream instead.
#[derive(Debug)]
pub struct Bounded<R> {
    inner: Take<R>,
    most: u64,
}

impl<R: Read> Bounded<R> {
    /// Limits a stream to `most` bytes.
    pub fn new(stream: R, most: u64) -> Self {
        Self { inner: stream.take(most.saturating_add(1)), most }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.inner.limit() == 0 {
            let message = format!("the data unpacks to more than {} bytes", self.most);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_stream_longer_than_its_bound_is_an_error() {
        assert_eq!(whole(&b"abc"[..], 3).unwrap(), b"abc");
        let error = whole(&b"abcd"[..], 3).unwrap_err();
        assert_eq!(error.to_string(), "the data unpacks to more than 3 bytes");
        assert_eq!(whole(&b""[..], 0).unwrap(), b"");
        assert_eq!(whole(io::repeat(0), 1 << 16).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    /// A stream header that declares a dictionary of 1 GiB, without content after it.
    #[test]
    fn an_xz_stream_that_asks_for_gigabytes_is_refused() {
        // An encoder with such a dictionary would need that memory itself. The test therefore patches the size in the header of a small
        // stream and recomputes the checksum.
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(b"x").unwrap();
        let mut packed = encoder.finish().unwrap();
        assert_eq!(whole(xz(packed.as_slice()).unwrap(), 9).unwrap(), b"x");
        let header = 12..12 + (usize::from(packed[12]) + 1) * 4 - 4;
        let dictionary = header.clone().find(|at| packed[*at..].starts_with(&[0x21, 1])).unwrap() + 2;
        packed[dictionary] = 36; // 2 << (36 / 2 + 11)
        let mut sum = flate2::Crc::new();
        sum.update(&packed[header.clone()]);
        packed[header.end..header.end + 4].copy_from_slice(&sum.sum().to_le_bytes());
        let error = whole(xz(packed.as_slice()).unwrap(), 9).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }
}
