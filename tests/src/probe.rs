//! The probe image: the default example with the program of `tests/probe` as a unit, and the answers of that program.
//!
//! The additions are recorded in the boot manifest and the manifest, so `kubedos-build verify` refuses the image as a product.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use kubedos_builder::compose::Node;
use kubedos_builder::store::Store;
use kubedos_image::cpio;
use kubedos_image::pe::Pe;
use kubedos_lab::{Bench, Disk, Machine, Patience};
use kubedos_wire::hex32::sha256;
use serde_json::Value;

use crate::Product;
use crate::assembled::{assemble, demo_keys};
use crate::clusters::test_cluster;
use crate::outside::node_tools;
use crate::pins::{Pins, cargo, kubedos_build, oracles, project, scratch, succeeds};
use crate::variant::key_directory;

/// The probe reads hundreds of megabytes; with an emulated processor this takes minutes.
const ANSWERING: Patience = Patience::seconds(900);

/// The default example with the probe.
///
/// # Panics
/// If the build fails.
pub fn probe_image() -> &'static Product {
    static PROBE: OnceLock<Product> = OnceLock::new();
    PROBE.get_or_init(|| with_probe(&project().join("examples/lab.yaml"), "probe"))
}

/// The image of a cluster of the tests ([`test_cluster`]) with the probe.
///
/// # Panics
/// If the build fails.
pub fn probe_image_of(cluster: &str) -> Product {
    with_probe(&test_cluster(cluster), &format!("probe-{cluster}"))
}

fn with_probe(spec: &Path, name: &str) -> Product {
    let out = scratch().join("images").join(name);
    let (lock, cache) = (Pins::get().lock(), Pins::get().cache());
    assemble(spec, lock, cache, &Store::of(cache), additions(), &out);
    let mut seed = kubedos_build();
    seed.args(["seed", "--all", "--spec"]).arg(spec).arg("--keys").arg(demo_keys(spec));
    succeeds(seed.arg("--out").arg(&out));
    Product::open(&out)
}

/// The content of the first file in an image's initrd whose path ends with `end`.
///
/// # Panics
/// If there is none.
pub fn initrd_file(product: &Product, end: &str) -> Vec<u8> {
    let uki = std::fs::read(product.output("efi")).unwrap();
    let initrd = Pe::parse(&uki).unwrap().section(".initrd").unwrap().to_vec();
    let (entries, _) = cpio::entries(&initrd).unwrap();
    let entry = entries.into_iter().find(|entry| entry.path.ends_with(end));
    match entry.unwrap_or_else(|| panic!("no {end} in the initrd")).node {
        cpio::Node::File { content, .. } => content.to_vec(),
        other => panic!("{end} is {other:?}"),
    }
}

/// The probe, its unit, and modules for it to load: one without a signature, one with a changed byte, one with a signature by a different
/// key, and the unmodified one.
fn additions() -> Vec<(String, Node)> {
    let origin: Arc<str> = Arc::from("probe");
    let file = |content: Vec<u8>| Node::file(content, &origin);
    let unit = "[Unit]\nDescription=Answers what the tests ask\nAfter=kubedos-agent.service\n\
                [Service]\nExecStart=/usr/bin/kubedos-probe\n";
    // A module that is not loaded on a machine without a CD.
    let signed = initrd_file(Product::built(), "/loop.ko");
    let unsigned = without_signature(&signed).to_vec();
    let foreign = signed_by(&unsigned, MODULE_SIGNER);
    let mut changed = signed.clone();
    changed[signed.len() / 2] ^= 1;
    let units = "usr/lib/systemd/system";
    let tools = node_tools().into_iter().map(|(path, content)| {
        (format!("usr/lib/kubedos-probe/tools/{path}"), file(content).with_mode(0o755))
    });
    let mut additions: Vec<(String, Node)> = tools.collect();
    additions.extend([
        ("usr/bin/kubedos-probe".into(), file(static_program("kubedos-probe")).with_mode(0o755)),
        (format!("{units}/kubedos-probe.service"), file(unit.into())),
        (
            format!("{units}/multi-user.target.wants/kubedos-probe.service"),
            Node::symlink("../kubedos-probe.service", &origin),
        ),
        ("usr/share/kubedos-probe/noise".into(), file(noise(NOISE))),
        ("usr/lib/kubedos-probe/32-bit".into(), file(program_of_32_bits()).with_mode(0o755)),
        ("usr/lib/kubedos-probe/modules/1-unsigned".into(), file(unsigned)),
        ("usr/lib/kubedos-probe/modules/2-changed".into(), file(changed)),
        ("usr/lib/kubedos-probe/modules/3-foreign".into(), file(foreign)),
        ("usr/lib/kubedos-probe/modules/4-signed".into(), file(signed)),
    ]);
    additions
}

/// The length of the probe's file of [`noise`].
pub const NOISE: usize = 256 << 10;

/// Incompressible content, which a volume therefore stores unchanged. The same on each call.
pub fn noise(len: usize) -> Vec<u8> {
    let block = |number: u32| sha256(&[b"noise", &number.to_le_bytes()]);
    (0..).flat_map(block).take(len).collect()
}

/// A module's object file. After it follow the signature, twelve bytes that end with the signature's length, big-endian, and a marker
/// (`include/linux/module_signature.h`).
fn without_signature(module: &[u8]) -> &[u8] {
    let signed = module.strip_suffix(b"~Module signature appended~\n").expect("the module has no signature");
    let (signed, length) = signed.split_last_chunk::<4>().unwrap();
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
    &signed[..signed.len() - 8 - length]
}

/// The key directory whose `db` key signs the foreign module.
pub const MODULE_SIGNER: &str = "second";

/// Signs a module as the kernel's `scripts/sign-file` does: a detached PKCS #7 message without attributes or certificates, then
/// `struct module_signature`.
fn signed_by(module: &[u8], keys: &str) -> Vec<u8> {
    const PKCS7: u8 = 2;
    let (keys, folder) = (key_directory(keys), tempfile::tempdir().unwrap());
    let (content, signature) = (folder.path().join("module"), folder.path().join("signature"));
    std::fs::write(&content, module).unwrap();
    let mut sign = oracles().command("usr/bin/openssl").unwrap();
    sign.args(["cms", "-sign", "-binary", "-noattr", "-nocerts", "-md", "sha256", "-outform", "DER"]);
    sign.arg("-signer").arg(keys.join("public/db-1.crt")).arg("-inkey").arg(keys.join("db-1.key"));
    succeeds(sign.arg("-in").arg(&content).arg("-out").arg(&signature));
    let signature = std::fs::read(signature).unwrap();
    let length = u32::try_from(signature.len()).unwrap().to_be_bytes();
    [module, &signature, &[0, 0, PKCS7, 0, 0, 0, 0, 0], &length, b"~Module signature appended~\n"].concat()
}

/// An ELF file for i386 with one segment: `mov eax, 1; xor ebx, ebx; int 0x80`, which is `exit(0)`.
fn program_of_32_bits() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let code = [0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80];
    let size = HEADERS + 9;
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |words: &[u16]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    // Executable, i386; version, entry, offset of the program headers, offset of the section headers, flags; sizes and numbers of headers.
    file.extend(halves(&[2, 3]));
    file.extend(words(&[1, BASE + HEADERS, 52, 0, 0]));
    file.extend(halves(&[52, 32, 1, 40, 0, 0]));
    // PT_LOAD: offset, addresses, sizes, read and execute, alignment.
    file.extend(words(&[1, 0, BASE, BASE, size, size, 5, 0x1000]));
    file.extend(code);
    file
}

/// A program of the workspace, linked statically, because the node has no libraries.
///
/// # Panics
/// If it does not compile.
pub fn static_program(package: &str) -> Vec<u8> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let folder = project().join("target/probe");
    let mut cargo = cargo();
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.args(["build", "--release", "--locked", "--quiet", "--package", package]);
    succeeds(cargo.args(["--target", TARGET, "--target-dir"]).arg(&folder));
    std::fs::read(folder.join(TARGET).join("release").join(package)).unwrap()
}

/// A disk for the answers of one machine. The caller adds it to the machine's hardware.
///
/// # Panics
/// If it cannot be created.
pub fn answers_disk(bench: &Bench) -> Disk {
    bench.blank("answers", 64 << 20).unwrap().serial("kubedos-answers").not_bootable()
}

/// Waits for the probe's answers on `disk`; returns them.
///
/// # Panics
/// If the probe does not answer.
pub fn answers(machine: &Machine, disk: &Disk) -> Value {
    let is_ready = |line: &str| line.contains("kubedos-probe: answered");
    machine.wait_for_line("the probe's answers", ANSWERING, is_ready).unwrap();
    let bytes = std::fs::read(disk.file()).unwrap();
    let (length, text) = bytes.split_first_chunk::<8>().unwrap();
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    serde_json::from_slice(&text[..length]).unwrap()
}
