//! An attacker's system: one program that prints a mark on the console, in an ext4 file system on a disk and in an initrd.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kubedos_image::cpio::{Archive, Node};
use kubedos_lab::{Bench, Disk};
use kubedos_tests::{oracles, succeeds};

/// The mark that the program prints.
pub const MARK: &str = "a foreign program runs";

/// All paths that the kernel may start as PID 1, and the paths in the rows of the table in `docs/boot.md`.
const NAMES: [&str; 6] = ["init", "sbin/init", "etc/init", "bin/init", "bin/sh", "usr/lib/systemd/systemd"];

/// An ELF file for x86-64 with one segment: it writes [`MARK`] to its first three descriptors and waits. The kernel opens `/dev/console` for
/// all three descriptors of PID 1.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let text = format!("\r\n{MARK}\r\n");
    let mut code = Vec::new();
    for descriptor in 0..3_u8 {
        // mov eax, 1 (write); mov edi, descriptor; mov esi, text; mov edx, length; syscall
        code.extend([0xb8, 1, 0, 0, 0, 0xbf, descriptor, 0, 0, 0, 0xbe]);
        code.extend((u32::try_from(BASE + HEADERS).unwrap() + CODE).to_le_bytes());
        code.push(0xba);
        code.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        code.extend([0x0f, 0x05]);
    }
    // mov eax, 34 (pause); syscall; back to the mov
    code.extend([0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7]);
    const CODE: u32 = 3 * 22 + 9;
    assert_eq!(code.len(), CODE as usize);
    code.extend(text.as_bytes());

    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // Executable, x86-64, version 1; entry, offsets of program and section headers; flags; sizes and numbers of headers.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend([BASE + HEADERS, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    file.extend([0; 4]);
    file.extend([64_u16, 56, 1, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // PT_LOAD, read and execute; offset, addresses, sizes, alignment.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    file.extend([0, BASE, BASE, size, size, 0x1000].iter().flat_map(|word| word.to_le_bytes()));
    file.extend(code);
    file
}

/// A file with a bootable ext4 root file system.
pub fn root(bench: &Bench, name: &str) -> Disk {
    let folder = bench.path(&format!("{name}.tree"));
    for empty in ["dev", "proc", "sys", "run", "tmp"] {
        std::fs::create_dir_all(folder.join(empty)).unwrap();
    }
    for name in NAMES {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, program()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let disk = bench.blank(name, 32 << 20).unwrap();
    make_ext4(&folder, disk.file());
    disk.not_bootable()
}

fn make_ext4(folder: &Path, file: &Path) {
    let mut make = oracles().command("usr/sbin/mke2fs").unwrap();
    succeeds(make.args(["-q", "-t", "ext4", "-F", "-d"]).arg(folder).arg(file));
}

/// An initrd whose `/init` is the program.
pub fn initrd() -> Vec<u8> {
    let mut archive = Archive::new(0);
    let content = program();
    archive.add("init", Node::File { mode: 0o755, content: content.as_slice().into() }).unwrap();
    archive.write().unwrap()
}
