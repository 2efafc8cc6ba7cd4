//! Checks from the bytes of a program of `init/` how it was built: statically linked, with the pinned libc, compilers and linker, and
//! without paths of this host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, elf};

use kubedos_tests::{Pins, project};

/// Checks `binary`. `part` is a crate whose remapped source path the binary must contain. `refuses` is the message with which the program
/// ends outside of a node.
pub fn check(binary: &[u8], part: &str, refuses: &str) {
    let header = elf::FileHeader64::<Endianness>::parse(binary).unwrap();
    let endian = header.endian().unwrap();
    assert_eq!(header.e_type(endian), elf::ET_DYN, "not a position-independent program");
    let segments = header.program_headers(endian, binary).unwrap();
    assert!(
        segments.iter().all(|segment| segment.p_type(endian) != elf::PT_INTERP),
        "the program needs a loader"
    );

    let version = |name: &str| Pins::get().lock().package(name).unwrap().version.as_str().to_owned();
    let libc = format!("GNU C Library (Debian GLIBC {}) stable release", version("libc6-dev"));
    // Only a program that links the code that prints the version of libc contains this text.
    assert!(contains(binary, &libc) || !contains(binary, "GNU C Library"), "not linked with {libc}");

    let file = object::File::parse(binary).unwrap();
    let comment = file.section_by_name(".comment").unwrap().data().unwrap().to_vec();
    let comment = String::from_utf8(comment).unwrap();
    let clang = version("clang-19");
    let clang =
        clang.split_once(':').map_or(clang.as_str(), |(_, upstream)| upstream).split('-').next().unwrap();
    let gcc = version("libgcc-14-dev");
    let toolchain = fs::read_to_string(project().join("rust-toolchain.toml")).unwrap();
    let rust = toolchain.split('"').nth(1).unwrap();
    let pinned = [
        format!("rustc version {rust} "),
        format!("Debian clang version {clang} "),
        format!("GCC: (Debian {gcc}) "),
        "Linker: LLD ".to_owned(),
    ];
    for maker in comment.split('\0').filter(|maker| !maker.is_empty()) {
        assert!(pinned.iter().any(|pinned| maker.starts_with(pinned)), "built with {maker:?}");
    }
    assert!(pinned.iter().all(|pinned| comment.contains(pinned)), "{comment:?}");

    let folders = [Some(project().to_owned()), std::env::home_dir().map(|home| home.join(".cargo"))];
    for folder in folders.into_iter().flatten() {
        assert!(!contains(binary, folder.to_str().unwrap()), "the program contains {}", folder.display());
    }
    assert!(contains(binary, &format!("/crates/{part}-")), "the paths of crates are not remapped");
    assert!(!contains(binary, "registry/src"), "the paths of crates are not remapped");

    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, binary).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&program).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(refuses), "{output:?}");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
