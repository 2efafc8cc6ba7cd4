//! EROFS, the file system of the sealed volumes.

use std::io;

use kubedos_image::erofs::reader::{Found, Inode, Kind, Piece, Volume};
use kubedos_image::erofs::{
    Attributes, Compression, InodeId, Kind as What, NoCache, Params, Time, Tree, write,
};
use kubedos_image::source::Source;

use crate::frugal::{LITTLE, Most, frugal};
use crate::{Seed, Target, sparse};

/// The corpus also contains volumes of mkfs.erofs.
pub(crate) const TARGETS: [Target; 1] =
    [Target { name: "erofs", property: erofs, seeds: erofs_seeds, mutants: 20_000 }];

/// A walk keeps a path, the name of an entry twice, and a block per level.
const WALK: Most = Most { factor: 1 << 10, constant: 1 << 20 };
/// The attributes of an inode may be as large as the volume, which a sparse input encodes in few bytes.
const XATTRS: Most = Most { factor: 8, constant: 64 << 20 };
/// Two clusters, both compressed and decoded, and the reallocations of their buffers.
const CONTENT: Most = Most { factor: 64, constant: 64 << 20 };

/// The number of bytes that are read of all files, and of one file. A few bytes of input may encode gigabytes.
const BUDGET: u64 = 8 << 20;
const HEAD: u64 = 1 << 20;

/// A sparse volume. The walk over its tree ends, and reads of a file from different offsets give the same bytes. Random changes rarely
/// have a correct checksum, so the volume is read without its checksum.
fn erofs(input: &[u8]) {
    let disk = sparse::decode(input);
    let is_valid = frugal(LITTLE, input.len(), || Volume::open(&disk).is_ok());
    let disk = WithoutChecksum(&disk);
    let Ok(volume) = frugal(LITTLE, input.len(), || Volume::open(&disk)) else {
        assert!(!is_valid);
        return;
    };
    assert!(volume.bytes() <= disk.len());
    let found: Vec<Found> =
        frugal(WALK, input.len(), || volume.walk().map_while(Result::ok).take(4000).collect());
    let mut budget = BUDGET;
    for Found { inode, .. } in &found {
        assert_eq!(volume.inode(inode.nid).ok().as_ref(), Some(inode));
        let xattrs = frugal(XATTRS, input.len(), || volume.xattrs(inode));
        drop(xattrs);
        match inode.kind {
            Kind::Symlink => {
                if let Ok(target) = frugal(CONTENT, input.len(), || volume.link(inode)) {
                    assert_eq!(target.len() as u64, inode.size);
                }
            }
            Kind::File if budget > 0 => content(&volume, inode, input.len(), &mut budget),
            _ => {}
        }
    }
}

/// Reads the beginning of a file, and the same bytes from other offsets on.
fn content(volume: &Volume<'_>, inode: &Inode, length: usize, budget: &mut u64) {
    let head = inode.size.min(HEAD);
    *budget = budget.saturating_sub(head.max(1 << 12));
    let whole = frugal(CONTENT, length, || {
        let mut whole = vec![0; head as usize];
        let mut filled = 0;
        let read = volume.reader().read(inode, 0..head, &mut |piece| {
            filled += match piece {
                Piece::Bytes(bytes) => {
                    let place = whole.get_mut(filled..filled + bytes.len());
                    place.ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(bytes);
                    bytes.len()
                }
                Piece::Zeroes(zeroes) => zeroes as usize,
            };
            Ok(())
        });
        read.map(|()| {
            assert_eq!(filled, whole.len());
            whole
        })
    });
    let extents = frugal(CONTENT, length, || {
        let extents = volume.extents(inode, 0).into_iter().flatten().take(1 << 12).map_while(Result::ok);
        let mut end = 0;
        for extent in extents {
            assert_eq!(extent.start, end);
            assert!(extent.len > 0);
            end = extent.end();
        }
        end
    });
    assert!(extents <= inode.size);
    let Ok(whole) = whole else { return };
    frugal(CONTENT, length, || {
        let mut reader = volume.reader();
        // Backwards, so that no read continues at the end of the previous read.
        for start in [head * 3 / 4, (head / 2 + 1).min(head), head / 3, 0] {
            let mut part = vec![0xaa; 5000];
            // The content after the first part may be damaged.
            let room = part.len().min((head - start) as usize);
            let read = reader.read_at(inode, start, &mut part[..room]).unwrap();
            assert_eq!(read, room);
            assert!(part[..read] == whole[start as usize..start as usize + read]);
        }
    });
    // With holes, a file may have exabytes, so its end is read separately.
    if let Ok(read) = frugal(CONTENT, length, || {
        let mut end = [0; 100];
        volume.read_at(inode, inode.size.saturating_sub(100), &mut end)
    }) {
        assert_eq!(read as u64, inode.size.min(100));
    }
}

/// A volume without the flag of the checksum in its superblock.
struct WithoutChecksum<'a>(&'a dyn Source);

/// The byte with the flag: the first byte of the compatible features. The flag is its lowest bit.
const CHECKSUM_BIT_IN: u64 = 1024 + 8;

impl Source for WithoutChecksum<'_> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)?;
        if let Some(byte) = CHECKSUM_BIT_IN.checked_sub(offset).and_then(|at| buffer.get_mut(at as usize)) {
            *byte &= !1;
        }
        Ok(())
    }
}

/// All forms of content that the writer creates: plain, in clusters of one or more blocks, in the packed inode, after the inode.
fn erofs_seeds() -> Vec<Seed> {
    let attributes = |xattrs: &[(&str, &str)]| Attributes {
        mode: 0o755,
        mtime: Time { seconds: 7, nanos: 0 },
        xattrs: xattrs
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect(),
        ..Attributes::default()
    };
    let text = |words: u32| -> Vec<u8> {
        (0..words)
            .flat_map(|word| format!("{:x} of {words}, ", word.wrapping_mul(0x9e37_79b9) >> 20).into_bytes())
            .collect()
    };
    let seed = |compression, cluster| {
        let mut tree = Tree::new(attributes(&[])).unwrap();
        let inner = tree.add_directory(InodeId::ROOT, b"inner", attributes(&[("user.a", "b")])).unwrap();
        let file = |bytes| What::File(Box::new(bytes));
        tree.add(InodeId::ROOT, b"empty", file(Vec::new()), attributes(&[])).unwrap();
        tree.add(InodeId::ROOT, b"small", file(text(9)), attributes(&[("security.x", "shared")])).unwrap();
        let large =
            tree.add(inner, b"large", file(text(1000)), attributes(&[("security.x", "shared")])).unwrap();
        tree.add(inner, b"zeroes", file(vec![0; 60_000]), attributes(&[])).unwrap();
        tree.add(inner, b"link", What::Symlink(b"large".to_vec()), attributes(&[])).unwrap();
        tree.link(InodeId::ROOT, b"hard", large).unwrap();
        let params = Params {
            uuid: [5; 16],
            epoch: Time { seconds: 7, nanos: 0 },
            compression,
            cluster,
            threads: std::num::NonZeroUsize::MIN,
        };
        let mut volume = Vec::new();
        write(&tree, &params, &NoCache, &mut volume).unwrap();
        sparse::encode(&volume)
    };
    vec![
        ("ours-plain", seed(Compression::None, 4096)),
        ("ours-lz4", seed(Compression::Lz4hc(9), 8192)),
        ("ours-zstd", seed(Compression::Zstd(3), 4096)),
    ]
}
