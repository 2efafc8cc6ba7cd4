//! What composition must know of an ELF file: its interpreter and the libraries it needs.

use object::LittleEndian as Le;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, FileHeader64, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};

/// A program or a library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    /// The loader that the kernel starts for it.
    pub interpreter: Option<String>,
    /// Libraries by name, in the file's order.
    pub needed: Vec<String>,
    /// Folders in which it looks first.
    pub run_path: Vec<String>,
}

/// Is it ELF at all?
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(&object::elf::ELFMAG)
}

/// Reads an x86-64 file; none if it is not one or its tables do not hold.
pub fn read(bytes: &[u8]) -> Option<Elf> {
    let header = FileHeader64::<Le>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0)?;
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
    }
    Some(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

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
