//! The inodes of a volume, in the compact and the extended form.

use zerocopy::FromBytes;

use super::super::format::{
    CompactInode, ExtendedInode, FORMAT_ALL, FORMAT_EXTENDED, FORMAT_LAYOUT_MASK, FORMAT_LAYOUT_SHIFT,
    Layout, MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE, MODE_SOCKET, MODE_SYMLINK,
    MODE_TYPE, SLOT, XATTR_HEADER_LEN, XATTR_UNIT, file_type,
};
use super::error::{ErofsError, Part, Place};
use super::volume::Volume;

/// The kind of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// An inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// The number: its offset in units of 32 bytes.
    pub nid: u64,
    /// The kind.
    pub kind: Kind,
    /// Permissions, set-id and sticky bits: the lower 12 bits of the mode.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last modification, in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of this second.
    pub mtime_nanos: u32,
    /// Number of names.
    pub links: u32,
    /// Size of the content, of the entries of a directory, or of the target of a link, in bytes.
    pub size: u64,
    pub(super) layout: Layout,
    /// A block address, a number of compressed blocks, or a chunk format. It depends on the layout.
    pub(super) data: u32,
    /// The offset in the volume, in bytes.
    pub(super) at: u64,
    /// The length of the structure, in bytes.
    pub(super) head_len: u64,
    /// The length of the attributes after the structure, in bytes.
    pub(super) xattr_len: u64,
}

impl Inode {
    /// Whether the content is compressed.
    pub fn is_compressed(&self) -> bool {
        matches!(self.layout, Layout::CompressedFull | Layout::CompressedCompact)
    }

    /// The offset of the data after structure and attributes, in bytes.
    pub(super) fn data_start(&self) -> u64 {
        self.at.saturating_add(self.head_len).saturating_add(self.xattr_len)
    }

    pub(super) fn place(&self, part: Part, at: u64) -> Place {
        Place { nid: self.nid, part, at }
    }

    /// The type in its directory entries.
    pub(super) fn file_type(&self) -> u8 {
        file_type(match self.kind {
            Kind::File => MODE_FILE,
            Kind::Directory => MODE_DIRECTORY,
            Kind::Symlink => MODE_SYMLINK,
            Kind::Character { .. } => MODE_CHARACTER,
            Kind::Block { .. } => MODE_BLOCK,
            Kind::Fifo => MODE_FIFO,
            Kind::Socket => MODE_SOCKET,
        })
    }
}

pub(super) fn read(volume: &Volume<'_>, nid: u64) -> Result<Inode, ErofsError> {
    let at = nid.checked_mul(SLOT as u64).and_then(|offset| offset.checked_add(volume.sb.meta));
    let place = Place { nid, part: Part::Inode, at: at.unwrap_or(u64::MAX) };
    let at = at.ok_or_else(|| place.damaged("it is past the end of the volume"))?;
    let mut bytes = [0; size_of::<ExtendedInode>()];
    let (compact, _) = bytes.split_at_mut(size_of::<CompactInode>());
    volume.fill(compact, at, place)?;
    let compact = CompactInode::read_from_bytes(compact).map_err(|_| place.damaged("it is too short"))?;
    let format = compact.format.get();
    if format & !FORMAT_ALL != 0 {
        return Err(place.damaged(format!("its format is {format:#x}")));
    }
    let layout = Layout::from_number(format >> FORMAT_LAYOUT_SHIFT & FORMAT_LAYOUT_MASK);
    let layout = layout.ok_or_else(|| place.damaged(format!("its format is {format:#x}")))?;
    let xattr_len = match u64::from(compact.xattr_count.get()) {
        0 => 0,
        count => XATTR_HEADER_LEN as u64 + (count - 1) * XATTR_UNIT as u64,
    };
    let mode = compact.mode.get();
    let (permissions, data) = (mode & !MODE_TYPE, compact.data.get());
    let kind = kind(mode, data).ok_or_else(|| place.damaged(format!("its mode is {mode:o}")))?;
    let inode = if format & FORMAT_EXTENDED == 0 {
        Inode {
            nid,
            kind,
            mode: permissions,
            uid: compact.uid.get().into(),
            gid: compact.gid.get().into(),
            mtime: volume.sb.epoch,
            mtime_nanos: volume.sb.epoch_nanos,
            links: compact.links.get().into(),
            size: compact.size.get().into(),
            layout,
            data,
            at,
            head_len: size_of::<CompactInode>() as u64,
            xattr_len,
        }
    } else {
        volume.fill(&mut bytes, at, place)?;
        let extended =
            ExtendedInode::read_from_bytes(&bytes).map_err(|_| place.damaged("it is too short"))?;
        let data = extended.data.get();
        Inode {
            nid,
            kind: self::kind(mode, data).ok_or_else(|| place.damaged(format!("its mode is {mode:o}")))?,
            mode: permissions,
            uid: extended.uid.get(),
            gid: extended.gid.get(),
            mtime: extended.mtime.get().cast_signed(),
            mtime_nanos: extended.mtime_nanos.get(),
            links: extended.links.get(),
            size: extended.size.get(),
            layout,
            data,
            at,
            head_len: size_of::<ExtendedInode>() as u64,
            xattr_len,
        }
    };
    if inode.size > i64::MAX.cast_unsigned() {
        return Err(place.damaged("its size is larger than 2^63 bytes"));
    }
    if inode.mtime_nanos >= 1_000_000_000 {
        return Err(place.damaged("its time has more than 999999999 nanoseconds"));
    }
    if inode.data_start() > volume.sb.len {
        return Err(place.damaged("it ends past the end of the volume"));
    }
    Ok(inode)
}

/// The kind for a mode; `None` for an unknown file type.
fn kind(mode: u16, data: u32) -> Option<Kind> {
    let (major, minor) = device(data);
    Some(match mode & MODE_TYPE {
        MODE_FILE => Kind::File,
        MODE_DIRECTORY => Kind::Directory,
        MODE_SYMLINK => Kind::Symlink,
        MODE_CHARACTER => Kind::Character { major, minor },
        MODE_BLOCK => Kind::Block { major, minor },
        MODE_FIFO => Kind::Fifo,
        MODE_SOCKET => Kind::Socket,
        _ => return None,
    })
}

/// `new_decode_dev`: 12 bits of major number between 8 lower and 12 upper bits of minor number.
const fn device(number: u32) -> (u32, u32) {
    ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_those_of_stat() {
        for (number, expected) in
            [(0x0103, (1, 3)), (0x0800 | 17, (8, 17)), (0xfff0_0100, (1, 0xf_ff00)), (0xfff00, (0xfff, 0))]
        {
            assert_eq!(device(number), expected, "{number:#x}");
        }
    }
}
