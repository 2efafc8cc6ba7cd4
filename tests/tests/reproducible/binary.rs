//! What a program of `init/` is made of, read from its own bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, elf};

use kubedos_tests::{Pins, project};

/// A static program of the pinned libc, compilers and linker; with no folder of this host in it, but a crate that it is made of; that
/// runs, and prints this text where it must not work.
pub fn check(binary: &[u8], part: &str, refuses: &str) {
    let header = elf::FileHeader64::<Endianness>::parse(binary).unwrap();
    let endian = header.endian().unwrap();
    assert_eq!(header.e_type(endian), elf::ET_DYN, "a fixed address");
    let segments = header.program_headers(endian, binary).unwrap();
    assert!(segments.iter().all(|segment| segment.p_type(endian) != elf::PT_INTERP), "it asks for a loader");

    let version = |name: &str| Pins::get().lock().package(name).unwrap().version.as_str().to_owned();
    let libc = format!("GNU C Library (Debian GLIBC {}) stable release", version("libc6-dev"));
    // Only a program that can print the version of its libc holds it.
    assert!(holds(binary, &libc) || !holds(binary, "GNU C Library"), "not of {libc}");

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
        assert!(pinned.iter().any(|pinned| maker.starts_with(pinned)), "made by {maker:?}");
    }
    assert!(pinned.iter().all(|pinned| comment.contains(pinned)), "{comment:?}");

    let folders = [Some(project().to_owned()), std::env::home_dir().map(|home| home.join(".cargo"))];
    for folder in folders.into_iter().flatten() {
        assert!(!holds(binary, folder.to_str().unwrap()), "it names {}", folder.display());
    }
    assert!(holds(binary, &format!("/crates/{part}-")), "crates have another name");
    assert!(!holds(binary, "registry/src"), "crates have another name");

    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, binary).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(&program).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(refuses), "{output:?}");
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
