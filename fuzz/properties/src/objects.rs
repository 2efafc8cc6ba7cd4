//! The content of files of packages: kmod indices, programs, kernel modules.

use std::sync::Arc;

use kubedos_builder::compose::elf;
use kubedos_builder::compose::kernel::index::{self, Index};
use kubedos_builder::compose::kernel::module::Module;

use crate::frugal::{Most, frugal};
use crate::{Seed, Target};

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "module_index", property: module_index, seeds: module_index_seeds, mutants: 100_000 },
    Target { name: "elf", property: elf, seeds: elf_seeds, mutants: 50_000 },
];

/// Round trip: read an index, write it, and read it again; both indexes are equal. The values keep the order of the file.
fn module_index(input: &[u8]) {
    // Each key has its own copy of a long shared prefix, but takes only some bytes of the file.
    let most = Most { factor: 128, constant: 4 << 10 };
    let Some(keys) = frugal(most, input.len(), || index::decode(input)) else { return };
    let mut again = Index::default();
    for (key, values) in &keys {
        for (priority, value) in values.iter().enumerate() {
            again.insert(key, value, priority);
        }
    }
    assert_eq!(index::decode(&again.encode().unwrap()), Some(keys));
}

fn module_index_seeds() -> Vec<Seed> {
    let mut index = Index::default();
    for (at, key) in ["virtio:d00000002v*", "virtio:d00000008v*", "dm_mod", "dm", ""].into_iter().enumerate()
    {
        index.insert(key, "value", at);
        index.insert(key, "other", 9);
    }
    vec![("five-keys", index.encode().unwrap()), ("empty", Index::default().encode().unwrap())]
}

/// An object file, read as a program and as a kernel module. The names in the result are in the file.
fn elf(input: &[u8]) {
    // A name may be as long as a path or a kernel symbol, and many entries may share one name.
    let most = Most { factor: 64, constant: 16 << 20 };
    if let Some(program) = frugal(most, input.len(), || elf::read(input)) {
        for name in program.needed.iter().chain(&program.interpreter).filter(|name| !name.is_empty()) {
            assert!(input.windows(name.len()).any(|window| window == name.as_bytes()));
        }
    }
    let (bytes, origin): (Arc<[u8]>, Arc<str>) = (input.into(), "fuzz".into());
    let module = frugal(most, input.len(), || Module::read("kernel/x.ko".into(), bytes, 0, origin));
    if let Some(module) = module {
        assert_eq!(module.name, "x");
        assert!(module.needs().all(|need| !need.is_empty()));
    }
}

/// A program with the tables `.dynstr` and `.dynamic` and their segments, and a module with `.modinfo`, `.symtab` and their strings.
fn elf_seeds() -> Vec<Seed> {
    vec![("program", program()), ("module", module())]
}

fn header(kind: u16, segments: u16, sections: u16, sections_at: u64) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    out.extend([kind, 62].map(u16::to_le_bytes).concat());
    out.extend(1_u32.to_le_bytes());
    out.extend([0, if segments > 0 { 64 } else { 0 }, sections_at].map(u64::to_le_bytes).concat());
    out.extend(0_u32.to_le_bytes());
    out.extend([64, 56, segments, 64, sections, sections.saturating_sub(1)].map(u16::to_le_bytes).concat());
    out
}

fn program() -> Vec<u8> {
    let strings = b"\0libc.so.6\0/opt/lib:/lib\0/lib64/ld.so\0";
    let at = 64 + 3 * 56;
    let dynamic_at = at + strings.len() as u64;
    let entries: [(u64, u64); 5] = [(1, 1), (29, 11), (5, at), (10, strings.len() as u64), (0, 0)];
    let dynamic: Vec<u8> =
        entries.iter().flat_map(|(tag, value)| [*tag, *value]).flat_map(u64::to_le_bytes).collect();
    let end = dynamic_at + dynamic.len() as u64;
    let mut out = header(3, 3, 0, 0);
    for (kind, from, size) in [(1_u32, 0, end), (2, dynamic_at, dynamic.len() as u64), (3, at + 25, 13)] {
        out.extend([kind, 4].map(u32::to_le_bytes).concat());
        out.extend([from, from, from, size, size, 8].map(u64::to_le_bytes).concat());
    }
    out.extend_from_slice(strings);
    out.extend(dynamic);
    out
}

fn module() -> Vec<u8> {
    let info = b"license=GPL\0depends=a,b-c\0alias=pci:v*d-x\0softdep=pre: d post: e\0weakdep=f\0";
    let strings = b"\0__crc_symbol\0";
    let symbol: Vec<u8> = [&1_u32.to_le_bytes()[..], &[0x10, 0, 0xf1, 0xff], &[0; 16]].concat();
    let symbols = [vec![0; 24], symbol].concat();
    let names = b"\0.modinfo\0.symtab\0.strtab\0.shstrtab\0";
    let mut body = Vec::new();
    let mut place = |bytes: &[u8]| {
        let at = 64 + body.len() as u64;
        body.extend_from_slice(bytes);
        (at, bytes.len() as u64)
    };
    let places = [place(info), place(&symbols), place(strings), place(names)];
    let kinds: [(u32, u32, u32, u64); 4] = [(1, 1, 0, 0), (10, 2, 3, 24), (18, 3, 0, 0), (26, 3, 0, 0)];
    let mut out = header(1, 0, 5, 64 + body.len() as u64);
    out.extend(body);
    out.extend([0; 64]);
    for ((name, kind, link, entry), (at, size)) in kinds.into_iter().zip(places) {
        out.extend([name, kind].map(u32::to_le_bytes).concat());
        out.extend([0, 0, at, size].map(u64::to_le_bytes).concat());
        out.extend([link, 1].map(u32::to_le_bytes).concat());
        out.extend([1, entry].map(u64::to_le_bytes).concat());
    }
    out
}
