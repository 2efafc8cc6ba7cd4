//! Inodes, and the data that follows each of them. The order is: first all lengths, then all offsets, then the bytes. Lengths and bytes are
//! derived from the same [`Body`].

use std::collections::{BTreeMap, HashMap};

use super::area::Area;
use super::directory::{self, Target};
use super::files::Storage;
use super::packed::Packed;
use super::xattr::{Shared, count_of};
use super::{Params, WriteError};
use crate::erofs::format::{
    ADVISE_BIG_PCLUSTER, ADVISE_COMPACTED_2B, ADVISE_FRAGMENT, Algorithm, BLOCK, CompactInode, ExtendedInode,
    FORMAT_EXTENDED, FORMAT_LAYOUT_SHIFT, Layout, MAP_HEADER_LEN, MODE_FILE, MapHeader, SLOT, WHOLE_FRAGMENT,
    file_type,
};
use crate::erofs::index::{self, Entry, Extent, Form, Stored};
use crate::erofs::tree::{Attributes, Inode, InodeId, Kind, Node, Time, Tree};
use crate::width::halves;
use zerocopy::IntoBytes;

/// The metadata of a volume, ready to be written at a block.
pub(super) struct Metadata {
    /// The inodes and the shared attributes. Inode numbers count from the start.
    pub(super) bytes: Vec<u8>,
    pub(super) root_nid: u16,
    pub(super) packed_nid: u64,
    /// The number of inodes without the packed inode.
    pub(super) inodes: u64,
    /// The start of the shared attributes in `bytes`, in blocks.
    pub(super) xattr_block: u32,
    pub(super) has_chunks: bool,
}

/// The data after an inode and its attributes.
enum Body {
    /// No data. The number is a block address or a device number.
    Nothing(u32),
    /// The end of the content, which does not cross a block boundary.
    Tail { block: u32, bytes: Tail },
    /// A map header and an index.
    Index { entries: Vec<Entry>, form: Form, fragment: Option<u64>, blocks: u32 },
    /// A map header with the offset of the file in the packed inode.
    Fragment(u64),
    /// The addresses of chunks.
    Chunks { bits: u8, blocks: Vec<u32> },
}

enum Tail {
    /// The bytes.
    Known(Vec<u8>),
    /// The length of the end of a directory. Its bytes are known when all inodes have their numbers.
    Directory(usize),
}

impl Tail {
    fn len(&self) -> usize {
        match self {
            Self::Known(bytes) => bytes.len(),
            Self::Directory(len) => *len,
        }
    }
}

struct Planned {
    mode: u16,
    links: u32,
    size: u64,
    attributes: Attributes,
    xattrs: Vec<u8>,
    extended: bool,
    body: Body,
    /// The offset from the start of the metadata.
    at: usize,
}

impl Planned {
    /// The length of the structure and the attributes.
    fn head_len(&self) -> usize {
        (if self.extended { 64 } else { 32 }) + self.xattrs.len()
    }

    fn len(&self) -> usize {
        let head = self.head_len();
        match &self.body {
            Body::Nothing(_) => head,
            Body::Tail { bytes, .. } => head + bytes.len(),
            Body::Fragment(_) => index_start(head),
            Body::Index { entries, form, .. } => {
                let start = index_start(head);
                start + index::index_len(*form, start as u64, entries.len())
            }
            Body::Chunks { blocks, .. } => head + blocks.len() * 4,
        }
    }

    fn nid(&self) -> u64 {
        (self.at / SLOT) as u64
    }
}

/// The offset of the index from the start of its inode, which is a multiple of 32. `head` is the length of structure and attributes.
const fn index_start(head: usize) -> usize {
    map_header_start(head) + MAP_HEADER_LEN
}

const fn map_header_start(head: usize) -> usize {
    head.next_multiple_of(8)
}

/// Plans all inodes, allocates the blocks of directories in `area`, and encodes the metadata.
#[expect(clippy::expect_used, reason = "the order of a tree begins with its root directory")]
pub(super) fn write(
    tree: &Tree<'_>,
    order: &[InodeId],
    params: &Params,
    mut storage: HashMap<InodeId, Storage>,
    packed: &Packed,
    area: &mut Area<'_>,
) -> Result<Metadata, WriteError> {
    let shared = Shared::of(order.iter().map(|id| &tree.inode(*id).attributes.xattrs));
    let has_chunks = storage.values().any(|stored| matches!(stored, Storage::Chunks { .. }));
    let mut planned = Vec::with_capacity(order.len() + 1);
    for &id in order {
        planned.push(plan(tree.inode(id), params, &shared, storage.remove(&id), area)?);
    }
    let inodes = planned.len() as u64;
    if packed.len > 0 {
        planned.push(plan_packed(params, packed));
    }
    let len = place(&mut planned);
    let nids: HashMap<InodeId, Target> = order
        .iter()
        .zip(&planned)
        .map(|(id, planned)| (*id, Target { nid: planned.nid(), file_type: file_type(planned.mode) }))
        .collect();
    let mut bytes = vec![0; len];
    // The packed inode, if there is one, follows the inodes of the tree.
    let ids = order.iter().map(Some).chain([None]);
    for ((number, planned), id) in (1_u32..).zip(&planned).zip(ids) {
        let directory = id.and_then(|id| directory_data(tree, *id, &nids));
        if let (Some(data), Body::Nothing(block) | Body::Tail { block, .. }) = (&directory, &planned.body) {
            area.write_over(*block, whole_blocks(data, planned))?;
        }
        let encoded = encode(planned, number, params, directory.as_deref());
        let (_, place) = bytes.split_at_mut(planned.at);
        let (place, _) = place.split_at_mut(encoded.len());
        place.copy_from_slice(&encoded);
    }
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let xattr_block = u32::try_from(bytes.len() / BLOCK).map_err(|_| WriteError::TooLarge)?;
    bytes.extend_from_slice(&shared.bytes);
    let root = planned.first().expect("the root directory is the first inode");
    let last = planned.last().expect("the root directory is an inode");
    Ok(Metadata {
        bytes,
        root_nid: u16::try_from(root.nid()).map_err(|_| WriteError::TooLarge)?,
        packed_nid: if packed.len > 0 { last.nid() } else { 0 },
        inodes,
        xattr_block,
        has_chunks,
    })
}

/// Assigns an offset to each inode, and returns the total length. A tail does not cross a block boundary. No inode has the number 0,
/// because many programs interpret it as "no inode".
fn place(planned: &mut [Planned]) -> usize {
    let mut at = SLOT;
    for planned in planned {
        at = at.next_multiple_of(SLOT);
        if let Body::Tail { bytes, .. } = &planned.body {
            let head = planned.head_len();
            let crosses = |at: usize| (at + head) / BLOCK != (at + head + bytes.len() - 1) / BLOCK;
            if crosses(at) {
                at = at.next_multiple_of(BLOCK);
            }
            // After many attributes, the tail may still cross a block boundary. It is shorter than a block by more than a slot, so the
            // loop ends.
            while crosses(at) {
                at += SLOT;
            }
        }
        planned.at = at;
        at += planned.len();
    }
    at
}

#[expect(clippy::expect_used, reason = "`files::write` stores the data of every file of the order")]
fn plan(
    inode: &Inode<'_>,
    params: &Params,
    shared: &Shared<'_>,
    storage: Option<Storage>,
    area: &mut Area<'_>,
) -> Result<Planned, WriteError> {
    let xattrs = shared.body(&inode.attributes.xattrs).map_err(|_| WriteError::TooManyXattrs)?;
    let size = match &inode.node {
        Node::Directory { entries, .. } => directory::data_len(names(entries)),
        Node::Other(Kind::File(source)) => source.len(),
        Node::Other(Kind::Symlink(target)) => target.len() as u64,
        Node::Other(_) => 0,
    };
    let extended = is_extended(&inode.attributes, inode.links, size, params.epoch);
    let mut planned = Planned {
        mode: inode.mode(),
        links: inode.links,
        size,
        attributes: inode.attributes.clone(),
        xattrs,
        extended,
        body: Body::Nothing(0),
        at: 0,
    };
    let head = planned.head_len();
    planned.body = match &inode.node {
        Node::Directory { .. } => {
            // Allocate the blocks now. The bytes are written later.
            let len = usize::try_from(size).map_err(|_| WriteError::TooLarge)?;
            let tail = len % BLOCK;
            let is_inline = tail > 0 && head + tail <= BLOCK;
            let blocks = if is_inline { len / BLOCK } else { len.div_ceil(BLOCK) };
            let block = area.append(&vec![0; blocks * BLOCK])?;
            let block = if blocks == 0 { 0 } else { block };
            if is_inline { Body::Tail { block, bytes: Tail::Directory(tail) } } else { Body::Nothing(block) }
        }
        Node::Other(Kind::Symlink(target)) if head + target.len() <= BLOCK => {
            Body::Tail { block: 0, bytes: Tail::Known(target.clone()) }
        }
        Node::Other(Kind::Symlink(target)) => Body::Nothing(area.append(target)?),
        Node::Other(Kind::Character(device) | Kind::Block(device)) => Body::Nothing(device.encode()),
        Node::Other(Kind::Fifo | Kind::Socket) => Body::Nothing(0),
        Node::Other(Kind::File(source)) => match storage.expect("every file is stored") {
            Storage::Flat { block, tail: 0 } => Body::Nothing(block),
            Storage::Flat { block, tail } => {
                let mut bytes = vec![0; tail];
                source.read_exact_at(&mut bytes, size - tail as u64).map_err(WriteError::Source)?;
                Body::Tail { block, bytes: Tail::Known(bytes) }
            }
            Storage::Fragment(offset) => Body::Fragment(offset),
            Storage::Extents { extents, fragment } => index_body(&extents, fragment, head),
            Storage::Chunks { bits, blocks } => Body::Chunks { bits, blocks },
        },
    };
    Ok(planned)
}

/// Plans the packed inode, which has no name.
fn plan_packed(params: &Params, packed: &Packed) -> Planned {
    let attributes = Attributes { mtime: params.epoch, ..Attributes::default() };
    let extended = is_extended(&attributes, 1, packed.len, params.epoch);
    let mut planned = Planned {
        mode: MODE_FILE,
        links: 1,
        size: packed.len,
        attributes,
        xattrs: Vec::new(),
        extended,
        body: Body::Nothing(0),
        at: 0,
    };
    planned.body = index_body(&packed.extents, None, planned.head_len());
    planned
}

fn index_body(extents: &[Extent], fragment: Option<u64>, head: usize) -> Body {
    let entries = index::entries(extents);
    // Only the full form can store an offset of more than 32 bits.
    let far = fragment.is_some_and(|offset| u32::try_from(offset).is_err());
    let form = if far { Form::Full } else { index::form(index_start(head) as u64, &entries) };
    let blocks = extents.iter().map(|extent| extent.stored.blocks()).fold(0_u32, u32::wrapping_add);
    debug_assert!(extents.iter().all(|extent| extent.stored != Stored::Fragment || fragment.is_some()));
    Body::Index { entries, form, fragment, blocks }
}

fn is_extended(attributes: &Attributes, links: u32, size: u64, epoch: Time) -> bool {
    u16::try_from(attributes.uid).is_err()
        || u16::try_from(attributes.gid).is_err()
        || u16::try_from(links).is_err()
        || u32::try_from(size).is_err()
        || attributes.mtime != epoch
}

/// The lengths of the names of a directory in order, including `.` and `..`.
fn names(entries: &BTreeMap<Vec<u8>, InodeId>) -> impl Iterator<Item = usize> {
    let own: [&[u8]; 2] = [b".", b".."];
    let mut names: Vec<&[u8]> = entries.keys().map(Vec::as_slice).chain(own).collect();
    names.sort_unstable();
    names.into_iter().map(<[u8]>::len)
}

/// The content of an inode, if it is a directory. `nids` contains the numbers of all inodes of the tree.
fn directory_data(tree: &Tree<'_>, id: InodeId, nids: &HashMap<InodeId, Target>) -> Option<Vec<u8>> {
    let Node::Directory { parent, entries } = &tree.inode(id).node else { return None };
    let mut all: BTreeMap<&[u8], Target> = BTreeMap::new();
    for (name, id) in entries {
        all.insert(name, nids[id]);
    }
    all.insert(b".", nids[&id]);
    all.insert(b"..", nids[parent]);
    Some(directory::encode(&all))
}

/// The part of the content of a directory that is not stored after its inode.
fn whole_blocks<'d>(data: &'d [u8], planned: &Planned) -> &'d [u8] {
    let tail = if let Body::Tail { bytes, .. } = &planned.body { bytes.len() } else { 0 };
    let (blocks, _) = data.split_at(data.len() - tail);
    blocks
}

#[expect(
    clippy::expect_used,
    reason = "only a directory is planned with an end whose bytes are not known yet"
)]
fn encode(planned: &Planned, number: u32, params: &Params, directory: Option<&[u8]>) -> Vec<u8> {
    let (layout, data) = match &planned.body {
        Body::Nothing(data) => (Layout::Plain, *data),
        Body::Tail { block, .. } => (Layout::Inline, *block),
        Body::Fragment(_) => (Layout::CompressedCompact, 0),
        Body::Index { form: Form::Compact, blocks, .. } => (Layout::CompressedCompact, *blocks),
        Body::Index { form: Form::Full, blocks, .. } => (Layout::CompressedFull, *blocks),
        Body::Chunks { bits, .. } => (Layout::Chunked, u32::from(*bits)),
    };
    let mut out = Vec::with_capacity(planned.len());
    encode_inode(planned, layout, data, number, &mut out);
    out.extend_from_slice(&planned.xattrs);
    match &planned.body {
        Body::Nothing(_) => {}
        Body::Tail { bytes: Tail::Known(bytes), .. } => out.extend_from_slice(bytes),
        Body::Tail { bytes: Tail::Directory(len), .. } => {
            let data = directory.expect("a directory has data");
            let (_, tail) = data.split_at(data.len() - len);
            out.extend_from_slice(tail);
        }
        Body::Fragment(offset) => {
            out.resize(map_header_start(out.len()), 0);
            out.extend_from_slice(&(offset | WHOLE_FRAGMENT).to_le_bytes());
        }
        Body::Index { entries, form, fragment, .. } => {
            out.resize(map_header_start(out.len()), 0);
            out.extend_from_slice(map_header(*form, *fragment, params).as_bytes());
            let start = out.len() as u64;
            out.extend_from_slice(&index::encode(*form, start, entries));
        }
        Body::Chunks { blocks, .. } => {
            blocks.iter().for_each(|block| out.extend_from_slice(&block.to_le_bytes()));
        }
    }
    debug_assert_eq!(out.len(), planned.len());
    out
}

fn map_header(form: Form, fragment: Option<u64>, params: &Params) -> MapHeader {
    let mut advise = ADVISE_BIG_PCLUSTER;
    if form == Form::Compact {
        advise |= ADVISE_COMPACTED_2B;
    }
    let low = fragment.map_or(0, |offset| {
        advise |= ADVISE_FRAGMENT;
        // The upper half is in the index.
        let [low, _] = halves(offset);
        low
    });
    MapHeader {
        fragment_or_inline: low.into(),
        advise: advise.into(),
        algorithms: params.algorithm().map_or(0, Algorithm::number),
        cluster_bits: 0,
    }
}

#[expect(
    clippy::expect_used,
    reason = "`Shared::body` has counted the attributes, and an inode with larger values is extended (`is_extended`)"
)]
fn encode_inode(planned: &Planned, layout: Layout, data: u32, number: u32, out: &mut Vec<u8>) {
    let attributes = &planned.attributes;
    let format = layout.number() << FORMAT_LAYOUT_SHIFT | if planned.extended { FORMAT_EXTENDED } else { 0 };
    let xattr_count =
        count_of(planned.xattrs.len()).expect("the attributes were counted when they were encoded");
    if planned.extended {
        let inode = ExtendedInode {
            format: format.into(),
            xattr_count: xattr_count.into(),
            mode: planned.mode.into(),
            reserved: 0.into(),
            size: planned.size.into(),
            data: data.into(),
            number: number.into(),
            uid: attributes.uid.into(),
            gid: attributes.gid.into(),
            mtime: attributes.mtime.seconds.into(),
            mtime_nanos: attributes.mtime.nanos.into(),
            links: planned.links.into(),
            reserved2: [0; 16],
        };
        out.extend_from_slice(inode.as_bytes());
        return;
    }
    let short = |value: u32| u16::try_from(value).expect("a compact inode has numbers of 16 bits");
    let inode = CompactInode {
        format: format.into(),
        xattr_count: xattr_count.into(),
        mode: planned.mode.into(),
        links: short(planned.links).into(),
        size: u32::try_from(planned.size).expect("a compact inode has a size of 32 bits").into(),
        reserved: 0.into(),
        data: data.into(),
        number: number.into(),
        uid: short(attributes.uid).into(),
        gid: short(attributes.gid).into(),
        reserved2: 0.into(),
    };
    out.extend_from_slice(inode.as_bytes());
}
