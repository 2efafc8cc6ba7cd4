//! Reads the interpreter and the needed libraries of an ELF file, for composition.
//!
//! It reads x86-64 files only and does not validate them beyond these fields. All lists and names are bounded, because the files are
//! untrusted input.

use object::LittleEndian as Le;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, FileHeader64, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

/// The dynamic linking information of a program or library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// The path of the dynamic loader (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// The needed libraries (`DT_NEEDED`) in file order.
    pub needed: Vec<String>,
    /// The library folders that the loader searches first (`DT_RPATH`, `DT_RUNPATH`).
    pub run_path: Vec<String>,
}

/// The longest accepted name or folder list, in bytes (`PATH_MAX`).
const LONGEST: usize = 4096;
/// The most entries in a dynamic section, and the most folders in a list. A program of the distribution has dozens. Entries can share
/// one name, so without a bound a small file could make the reader allocate much memory.
const MOST_ENTRIES: usize = 1024;

/// Whether the bytes start with the ELF magic.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(&object::elf::ELFMAG)
}

/// Reads an x86-64 file. Returns `None` for other files, and for tables that are out of bounds or too long.
pub fn read(bytes: &[u8]) -> Option<Elf> {
    let header = FileHeader64::<Le>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().take(LONGEST).position(|byte| *byte == 0)?;
        String::from_utf8(bytes.get(..end)?.to_vec()).ok()
    };
    let mut elf = Elf::default();
    for segment in segments.iter().filter(|segment| segment.p_type(endian) == PT_INTERP) {
        elf.interpreter = Some(text(segment.data(endian, bytes).ok()?)?);
    }
    let Some(dynamic) = segments.iter().find(|segment| segment.p_type(endian) == PT_DYNAMIC) else {
        return Some(elf);
    };
    let entries = dynamic.dynamic(endian, bytes).ok()??;
    let value =
        |tag| entries.iter().find(|entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian));
    let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else { return Some(elf) };
    if entries.len() > MOST_ENTRIES {
        return None;
    }
    let strings = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .find_map(|segment| segment.data_range(endian, bytes, address, size).ok().flatten())?;
    for entry in entries {
        let string = || strings.get(usize::try_from(entry.d_val(endian)).ok()?..).and_then(text);
        match entry.d_tag(endian) {
            DT_NEEDED => elf.needed.push(string()?),
            DT_RPATH | DT_RUNPATH => elf.run_path.extend(string()?.split(':').map(str::to_owned)),
            _ => {}
        }
        if elf.run_path.len() > MOST_ENTRIES {
            return None;
        }
    }
    Some(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a file with `entries` needed libraries that share one name of `length` letters.
    fn sharing(entries: usize, length: usize) -> Vec<u8> {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let strings = 64 + 2 * 56;
        let dynamic = (strings + length as u64 + 2).next_multiple_of(8);
        let size = (entries as u64 + 3) * 16;
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        out.extend([3_u16, 62, 1, 0].iter().flat_map(|half| half.to_le_bytes()));
        out.extend(words(&[0, 64, 0]));
        out.extend([0_u16, 0, 64, 56, 2, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        for (kind, at, size) in [(1, 0, dynamic + size), (2, dynamic, size)] {
            out.extend(words(&[kind | 4 << 32, at, at, at, size, size, 8]));
        }
        out.push(0);
        out.resize(out.len() + length, b'n');
        out.resize(usize::try_from(dynamic).unwrap(), 0);
        out.extend(words(&[5, strings, 10, length as u64 + 2]));
        out.extend(words(&[1, 1]).repeat(entries));
        out.extend(words(&[0, 0]));
        out
    }

    /// A megabyte of entries that share a name of one megabyte would need 32 GB of memory.
    #[test]
    fn overlong_names_and_lists_are_refused() {
        assert_eq!(read(&sharing(3, LONGEST - 1)).unwrap().needed.len(), 3);
        assert_eq!(read(&sharing(3, LONGEST)), None);
        assert_eq!(read(&sharing(MOST_ENTRIES - 3, 5)).unwrap().needed.len(), MOST_ENTRIES - 3);
        assert_eq!(read(&sharing(MOST_ENTRIES, 5)), None);
    }

    #[test]
    fn this_program_needs_a_loader_and_a_c_library() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = read(&bytes).unwrap();
        assert!(elf.interpreter.is_some_and(|path| path.starts_with("/lib64/ld-linux")));
        assert!(elf.needed.iter().any(|name| name == "libc.so.6"), "{:?}", elf.needed);
        for cut in [0, 4, 63, 64, 200, 1000] {
            read(&bytes[..cut]); // must not panic
        }
    }
}
