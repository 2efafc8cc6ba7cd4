//! Recognizes other file types that people pass instead of a raw image, by their first bytes, so that the error can name the type and the
//! remedy.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

/// The type of a file that is not a raw image of kubedOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder.
    Folder,
    /// A block or character device.
    Device,
    /// A pipe or socket.
    Stream,
    /// An empty file, or one that is too short for a disk.
    Short,
    /// A disk image in a different container format, with the name of the format in `qemu-img`.
    Container(&'static str),
    /// A compressed file, with the command that decompresses it.
    Compressed(&'static str),
    /// An EFI program, such as the `.efi` next to the image.
    Program,
    /// A CD image without a partition table. A seed file is one.
    Cd,
    /// The output file itself.
    Target,
}

/// Offset and magic of the GPT header, and of the volume descriptor of a CD.
const GPT: (u64, &[u8]) = (512, b"EFI PART");
const CD: (u64, &[u8]) = (32 << 10, b"\x01CD001");

impl Form {
    /// Determines the type from the metadata of a path, without opening it.
    ///
    /// # Errors
    /// If the path does not exist.
    pub(super) fn of_place(path: &Path) -> io::Result<Option<Self>> {
        let kind = fs::metadata(path)?.file_type();
        Ok(match kind {
            kind if kind.is_dir() => Some(Self::Folder),
            kind if kind.is_block_device() || kind.is_char_device() => Some(Self::Device),
            kind if !kind.is_file() => Some(Self::Stream),
            _ => None,
        })
    }

    /// Determines the type from the content; `None` if the file has a partition table and no other signature.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn of_content(file: &File, length: u64) -> io::Result<Option<Self>> {
        let starts = |(at, with): (u64, &[u8])| -> io::Result<bool> {
            let mut bytes = vec![0; with.len()];
            if length < at.saturating_add(with.len() as u64) {
                return Ok(false);
            }
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes == with)
        };
        let signs: [(u64, &[u8], Self); 11] = [
            (0, b"QFI\xfb", Self::Container("qcow2")),
            (0, b"KDMV", Self::Container("vmdk")),
            (0, b"# Disk DescriptorFile", Self::Container("vmdk")),
            (0, b"vhdxfile", Self::Container("vhdx")),
            (0, b"conectix", Self::Container("vpc")),
            (0x40, b"\x7f\x10\xda\xbe", Self::Container("vdi")),
            (0, b"QED\0", Self::Container("qed")),
            (0, b"\x1f\x8b", Self::Compressed("gzip -d")),
            (0, b"\xfd7zXZ\0", Self::Compressed("xz -d")),
            (0, b"\x28\xb5\x2f\xfd", Self::Compressed("zstd -d")),
            (0, b"BZh", Self::Compressed("bzip2 -d")),
        ];
        for (at, with, form) in signs {
            if starts((at, with))? {
                return Ok(Some(form));
            }
        }
        if starts(GPT)? {
            return Ok(None);
        }
        if starts((0, b"MZ"))? {
            return Ok(Some(Self::Program));
        }
        if starts(CD)? {
            return Ok(Some(Self::Cd));
        }
        Ok((length < 1 << 20).then_some(Self::Short))
    }

    /// Returns the remedy: how to get a raw image from this file.
    pub fn remedy(self, path: &Path) -> String {
        let raw = path.with_extension("raw");
        let has_raw = raw != path && raw.is_file();
        match self {
            _ if has_raw => format!("the raw image is next to it: --into {}", raw.display()),
            Self::Container(format) => format!(
                "convert it to a raw image: kubedos-build tool usr/bin/qemu-img convert -f {format} -O raw {} {}",
                path.display(),
                raw.display()
            ),
            Self::Compressed(program) => format!("decompress it first: {program} {}", path.display()),
            Self::Folder => "specify the .raw file in it".to_owned(),
            Self::Device | Self::Stream => {
                "--into reads an image file and writes a copy; write that copy to the device".to_owned()
            }
            Self::Target => "choose another --out: the image is not overwritten".to_owned(),
            Self::Short | Self::Program | Self::Cd => "specify the .raw file that `image` wrote".to_owned(),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("is a folder"),
            Self::Device => f.write_str("is a device"),
            Self::Stream => f.write_str("is a pipe or socket"),
            Self::Short => f.write_str("is too short for a disk"),
            Self::Container(format) => write!(f, "is a {format} file"),
            Self::Compressed(_) => f.write_str("is a compressed file"),
            Self::Program => f.write_str("is an EFI program"),
            Self::Cd => f.write_str("is a CD image without a partition table"),
            Self::Target => f.write_str("is the output file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_file_types_are_reported_and_raw_images_are_accepted() {
        let of = |bytes: &[u8]| {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(bytes, 0).unwrap();
            Form::of_content(&file, bytes.len() as u64).unwrap()
        };
        let at = |offset: usize, sign: &[u8]| {
            let mut bytes = vec![0; 2 << 20];
            bytes[offset..offset + sign.len()].copy_from_slice(sign);
            bytes
        };
        for (bytes, form) in [
            (at(0, b"QFI\xfb\0\0\0\x02"), Some(Form::Container("qcow2"))),
            (at(0, b"QFI\xfb\0\0\0\x03"), Some(Form::Container("qcow2"))),
            (at(0x40, b"\x7f\x10\xda\xbe"), Some(Form::Container("vdi"))),
            (at(0, b"\x28\xb5\x2f\xfd"), Some(Form::Compressed("zstd -d"))),
            (at(0, b"MZ"), Some(Form::Program)),
            (at(32 << 10, b"\x01CD001"), Some(Form::Cd)),
            (at(512, b"EFI PART"), None),
            (at(0, b""), None),
            (Vec::new(), Some(Form::Short)),
            (b"QFI\xfb".to_vec(), Some(Form::Container("qcow2"))),
        ] {
            assert_eq!(of(&bytes), form);
        }
        assert_eq!(Form::of_place(Path::new("/dev/null")).unwrap(), Some(Form::Device));
        assert_eq!(Form::of_place(&std::env::temp_dir()).unwrap(), Some(Form::Folder));
    }
}
