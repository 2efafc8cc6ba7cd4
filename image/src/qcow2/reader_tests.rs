//! Tests of the reader with qcow2 files of other programs.

use super::*;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;
use std::io::Write;

/// A cluster of the guest disk in an image of a different tool.
#[derive(Debug, Clone, Copy)]
enum Cluster {
    None,
    ZeroFlag,
    Plain(u8),
    Compressed(u8),
}

/// Builds an image as the format specifies it: header, L1 table, L2 tables, data.
struct Builder {
    version: u32,
    bits: u32,
    zstd: bool,
    clusters: Vec<Cluster>,
}

impl Builder {
    fn content(cluster: Cluster, size: usize) -> Vec<u8> {
        match cluster {
            Cluster::None | Cluster::ZeroFlag => vec![0; size],
            Cluster::Plain(byte) | Cluster::Compressed(byte) => {
                (0..size).map(|at| byte ^ u8::try_from(at / 7 % 50).unwrap()).collect()
            }
        }
    }

    fn compress(&self, bytes: &[u8]) -> Vec<u8> {
        if self.zstd {
            let mut out = vec![0; zstd_safe::compress_bound(bytes.len())];
            let len = zstd_safe::compress(out.as_mut_slice(), bytes, 3).unwrap();
            out.truncate(len);
            return out;
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn guest(&self) -> Vec<u8> {
        self.clusters.iter().flat_map(|cluster| Self::content(*cluster, 1 << self.bits)).collect()
    }

    fn build(&self) -> Vec<u8> {
        let size = 1usize << self.bits;
        let per_table = size / 8;
        let tables = self.clusters.len().div_ceil(per_table);
        let mut l1 = Vec::new();
        let mut l2 = vec![0u64; tables * per_table];
        let data_at = size * (2 + tables);
        let mut data = Vec::new();
        for (number, cluster) in self.clusters.iter().enumerate() {
            let content = Self::content(*cluster, size);
            l2[number] = match cluster {
                Cluster::None => 0,
                // An entry with the zero flag may refer to a preallocated cluster.
                Cluster::ZeroFlag => data_at as u64 | ZERO,
                Cluster::Plain(_) => {
                    data.resize(data.len().next_multiple_of(size), 0);
                    data.extend_from_slice(&content);
                    (data_at + data.len() - size) as u64 | 1 << 63
                }
                Cluster::Compressed(_) => {
                    let offset = data_at + data.len();
                    let bytes = self.compress(&content);
                    data.extend_from_slice(&bytes);
                    let sectors = (offset + bytes.len() - 1) / 512 - offset / 512;
                    COMPRESSED | (sectors as u64) << (62 - (self.bits - 8)) | offset as u64
                }
            };
        }
        l1.extend((0..tables).map(|table| (size * (2 + table)) as u64 | 1 << 63));
        let mut out = Vec::new();
        out.extend_from_slice(b"QFI\xfb");
        for word in [self.version, 0, 0, 0, self.bits] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&((self.clusters.len() * size) as u64).to_be_bytes());
        for word in [0, u32::try_from(tables).unwrap()] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for word in [size as u64, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&[0; 16]);
        if self.version > 2 {
            out.extend_from_slice(&if self.zstd { COMPRESSION } else { 0 }.to_be_bytes());
            out.extend_from_slice(&[0; 16]);
            for word in [4u32, 112] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            out.extend_from_slice(&[u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        }
        out.resize(size, 0);
        for entry in l1 {
            out.extend_from_slice(&entry.to_be_bytes());
        }
        out.resize(2 * size, 0);
        for entry in l2 {
            out.extend_from_slice(&entry.to_be_bytes());
        }
        out.resize(data_at, 0);
        out.extend_from_slice(&data);
        out
    }
}

fn sample(version: u32, bits: u32, zstd: bool) -> Builder {
    let mut clusters = vec![Cluster::Compressed(1), Cluster::None, Cluster::Plain(2), Cluster::Compressed(3)];
    if version > 2 {
        clusters.push(Cluster::ZeroFlag);
    }
    clusters.extend([Cluster::None; 70]);
    clusters.extend([Cluster::Plain(4), Cluster::Compressed(5)]);
    Builder { version, bits, zstd, clusters }
}

fn all(image: &dyn Source) -> Vec<u8> {
    let mut bytes = vec![1; usize::try_from(image.len()).unwrap()];
    image.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Field testing: `qemu-img convert` writes version 2, compressed clusters, and small clusters.
#[test]
fn images_of_other_tools_are_read() {
    for (version, bits, zstd) in [(2, 9, false), (2, 16, false), (3, 9, true), (3, 12, false), (3, 16, true)]
    {
        let sample = sample(version, bits, zstd);
        let bytes = sample.build();
        let image = Image::open(&bytes).unwrap();
        assert!(all(&image) == sample.guest(), "{version} {bits} {zstd}");
        assert!(super::super::check(&bytes).is_err());
        // `next_data` skips only zeroes.
        let mut at = 0;
        let guest = sample.guest();
        while let Some(data) = image.next_data(at) {
            assert!(
                guest[usize::try_from(at).unwrap()..usize::try_from(data.start).unwrap()]
                    .iter()
                    .all(|b| *b == 0)
            );
            at = data.end;
        }
        assert!(guest[usize::try_from(at).unwrap()..].iter().all(|byte| *byte == 0));
        assert!(image.next_data(u64::MAX).is_none());
    }
}

#[test]
fn unsupported_features_and_invalid_headers_have_specific_errors() {
    let good = sample(3, 12, false).build();
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        Image::open(&bad).map(|_| ()).map_err(|error| error.to_string())
    };
    for (at, bytes, expected) in [
        (0, &b"QFJ"[..], "invalid qcow2 header: the magic number"),
        (4, &[0, 0, 0, 1], "it is of version 1"),
        (8, &[0, 0, 0, 0, 0, 0, 2, 0], "it has a backing file, which contains a part of the disk"),
        (20, &[0, 0, 0, 8], "invalid qcow2 header: the cluster size"),
        (20, &[0, 0, 0, 63], "invalid qcow2 header: the cluster size"),
        (24, &[0xff; 8], "unsupported disk size of 18446744073709551615 bytes"),
        (32, &[0, 0, 0, 1], "it is encrypted"),
        (36, &[0, 0, 0, 0], "invalid qcow2 header: the length of the L1 table"),
        (40, &[0xff; 8], "the offset of the L1 table at 18446744073709551615 is invalid"),
        (79, &[1], "it is in use or was not closed"),
        (79, &[2], "it is marked as corrupt"),
        (79, &[4], "its data is in a different file"),
        (79, &[16], "it has extended tables (subclusters)"),
        (79, &[64], "it has unknown features, bits 0x40"),
        (79, &[8], "invalid qcow2 header: the compression type"),
        (104, &[9], "it has the unknown compression type 9"),
        (4096 + 7, &[1], "an entry of the L1 table at 0 is invalid"),
        (4096 + 6, &[0x28], "an entry of the L1 table at 0 is invalid"),
    ] {
        assert_eq!(with(at, bytes), Err(expected.to_owned()), "{at}");
    }
    for len in [0, 3, 71, 80, 4096] {
        assert!(Image::open(&good[..len].to_vec()).is_err(), "{len}");
    }
}

/// Two entries for one table, or data after the end of the file, are errors.
#[test]
fn hostile_tables_are_refused() {
    let mut sample = sample(3, 9, false);
    sample.clusters.extend([Cluster::Plain(1); 64]);
    let mut bytes = sample.build();
    let (first, rest) = bytes[512..].split_at_mut(8);
    rest[..8].copy_from_slice(first);
    assert!(matches!(Image::open(&bytes), Err(Qcow2Error::Damaged("an entry of the L1 table", 1))));
    let good = sample.build();
    for (entry, expected) in [
        (1u64 << 50, "after the end"),
        (COMPRESSED | 1 << 50, "after the end"),
        (2, "unknown bits"),
        (COMPRESSED | 8, "damaged"),
    ] {
        let mut bad = good.clone();
        bad[1024..1032].copy_from_slice(&entry.to_be_bytes());
        let image = Image::open(&bad).unwrap();
        // A cluster that cannot be read is not a hole.
        assert_eq!(image.next_data(0).unwrap().start, 0);
        let error = image.read_exact_at(&mut [0; 10], 3).unwrap_err();
        assert!(error.to_string().contains(expected), "{entry:#x}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A change in the tables gives other bytes or an error.
    #[test]
    fn a_changed_byte_never_panics(changes in proptest::collection::vec((0usize..3072, any::<u8>()), 1..6), zstd: bool) {
        let mut bytes = sample(3, 9, zstd).build();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(image) = Image::open(&bytes) {
            let mut buffer = [0; 4096];
            let (mut at, mut count) = (0, 0);
            while let Some(data) = image.next_data(at) && count < 200 {
                let len = usize::try_from(data.end - data.start).unwrap().min(buffer.len());
                drop(image.read_exact_at(&mut buffer[..len], data.start));
                prop_assert!(data.end > at);
                at = data.end;
                count += 1;
            }
        }
    }
}
