//! A2, A4, A5: independent programs (oracles) check the real outputs of `kubedos-build image`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use kubedos_image::erofs::reader;
use kubedos_image::layout::{Area, Role, Slot};
use kubedos_tests::{Product, kubedos_build, oracles, project, succeeds, tools};
use kubedos_wire::seal::Volume;
use object::{Object as _, ObjectSection as _};
use serde_json::Value;

const VOLUMES: [Volume; 3] = [Volume::Root, Volume::Payload, Volume::Configuration];

fn oracle(program: &str) -> std::process::Command {
    oracles().command(program).unwrap()
}

/// Extracts a partition of the image into a separate file.
fn extracted(folder: &tempfile::TempDir, role: Role) -> PathBuf {
    let range = Product::built().partition(role);
    let (image, path) = (File::open(Product::built().raw()).unwrap(), folder.path().join(role.to_string()));
    let out = File::create(&path).unwrap();
    out.set_len(range.end - range.start).unwrap();
    let mut block = vec![0; 1 << 20];
    let mut at = range.start;
    while at < range.end {
        let length = block.len().min(usize::try_from(range.end - at).unwrap());
        image.read_exact_at(&mut block[..length], at).unwrap();
        if block[..length].iter().any(|byte| *byte != 0) {
            out.write_all_at(&block[..length], at - range.start).unwrap();
        }
        at += length as u64;
    }
    path
}

fn manifest() -> Value {
    let text = std::fs::read_to_string(Product::built().folder().join("manifest.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn sgdisk_finds_no_problem_in_the_partition_table() {
    let printed = succeeds(oracle("usr/sbin/sgdisk").arg("--verify").arg(Product::built().raw()));
    assert!(printed.contains("No problems found"), "{printed}");
}

/// The raw file is also the ISO: one file with two names, and an El Torito entry for UEFI that points at the ESP.
#[test]
fn xorriso_and_isoinfo_see_a_bootable_cd() {
    let (raw, iso) = (Product::built().raw(), Product::built().output("iso"));
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!(inode(raw.to_owned()), inode(iso.clone()));
    let mut xorriso = oracle("usr/bin/xorriso");
    xorriso.args(["-indev", &format!("stdio:{}", iso.display()), "-report_el_torito", "plain"]);
    let printed = succeeds(&mut xorriso);
    let entry = printed.lines().find(|line| line.starts_with("El Torito boot img :")).unwrap();
    let fields: Vec<&str> = entry.split_whitespace().collect();
    assert!(fields.contains(&"UEFI"), "{entry}");
    let esp = Product::built().partition(Role::Esp).start / 2048;
    assert_eq!(fields.last().unwrap().parse::<u64>().unwrap(), esp, "{entry}");
    let printed = succeeds(oracle("usr/bin/isoinfo").arg("-d").arg("-i").arg(&iso));
    assert!(
        printed.contains("CD-ROM is in ISO 9660 format") && printed.contains("El Torito VD version 1"),
        "{printed}"
    );
}

#[test]
fn fsck_fat_finds_the_esp_clean() {
    let folder = tempfile::tempdir().unwrap();
    let esp = extracted(&folder, Role::Esp);
    succeeds(oracle("usr/sbin/fsck.fat").args(["-n", "-v"]).arg(&esp));
    let printed = succeeds(oracle("usr/bin/mdir").args(["-/", "-b", "-i"]).arg(&esp).arg("::/EFI"));
    assert!(printed.contains("BOOTX64.EFI") && printed.contains(".efi"), "{printed}");
}

#[test]
fn veritysetup_verifies_every_volume_against_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest();
    for volume in VOLUMES {
        let entries = manifest["volumes"].as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["name"] == volume.name()).unwrap();
        let [data, hash] =
            [Area::Data, Area::Hash].map(|area| extracted(&folder, Role::Volume(volume, area, Slot::A)));
        let root_hash = entry["root_hash"].as_str().unwrap();
        succeeds(oracle("usr/sbin/veritysetup").arg("verify").arg(&data).arg(&hash).arg(root_hash));
        // With a changed bit, veritysetup refuses the volume.
        let file = File::options().read(true).write(true).open(&data).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 1100).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 1100).unwrap();
        let mut verify = oracle("usr/sbin/veritysetup");
        let refused = verify.arg("verify").arg(&data).arg(&hash).arg(root_hash).output().unwrap();
        assert!(!refused.status.success(), "{volume:?}");
    }
}

/// A1, A4: `fsck.erofs` finds no error in any volume, and extracts the same files as our reader.
#[test]
fn fsck_erofs_finds_every_volume_clean() {
    let folder = tempfile::tempdir().unwrap();
    for volume in VOLUMES {
        let data = extracted(&folder, Role::Volume(volume, Area::Data, Slot::A));
        let tree = folder.path().join(volume.name());
        let mut fsck = oracle("usr/bin/fsck.erofs");
        fsck.arg(format!("--extract={}", tree.display())).args(["--no-preserve-owner", "--preserve-perms"]);
        succeeds(fsck.arg(&data));
        let bytes = std::fs::read(&data).unwrap();
        let volume = reader::Volume::open(&bytes).unwrap();
        let mut files = 0;
        for found in volume.walk() {
            let reader::Found { path, inode } = found.unwrap();
            let place = tree.join(OsStr::from_bytes(&path));
            let metadata = std::fs::symlink_metadata(&place).unwrap();
            if inode.kind == reader::Kind::File {
                let mut content = vec![0; usize::try_from(inode.size).unwrap()];
                volume.read_at(&inode, 0, &mut content).unwrap();
                assert!(std::fs::read(&place).unwrap() == content, "{}", place.display());
                files += 1;
            }
            if inode.kind != reader::Kind::Symlink {
                assert_eq!(
                    metadata.permissions().mode() & 0o7777,
                    u32::from(inode.mode),
                    "{}",
                    place.display()
                );
            }
        }
        assert!(files > 0);
    }
}

/// N1, N5: no volume has a program that configures or shows the network: only the test image has `ip`, `nft` and `wg`.
#[test]
fn no_volume_has_a_program_that_configures_the_network() {
    const PROGRAMS: [&str; 12] = [
        "arp",
        "bridge",
        "ebtables",
        "ifconfig",
        "ip",
        "ip6tables",
        "iptables",
        "nft",
        "route",
        "tc",
        "wg",
        "wg-quick",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut programs = Vec::new();
    for volume in VOLUMES {
        let data = extracted(&folder, Role::Volume(volume, Area::Data, Slot::A));
        let bytes = std::fs::read(&data).unwrap();
        for found in reader::Volume::open(&bytes).unwrap().walk() {
            let reader::Found { path, inode } = found.unwrap();
            let is_program = inode.kind == reader::Kind::File && inode.mode & 0o111 != 0;
            if is_program || inode.kind == reader::Kind::Symlink {
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
                programs.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    assert!(programs.iter().any(|name| name == "systemd-networkd"), "{programs:?}");
    let foreign: Vec<&String> = programs.iter().filter(|name| PROGRAMS.contains(&name.as_str())).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// An independent parser reads the PE file, and an independent verifier accepts the signatures of both boot programs.
#[test]
fn the_boot_programs_parse_and_are_signed() {
    let folder = tempfile::tempdir().unwrap();
    let efi = Product::built().output("efi");
    let bytes = std::fs::read(&efi).unwrap();
    let program = object::File::parse(bytes.as_slice()).unwrap();
    let sections: Vec<&str> = program.sections().map(|section| section.name().unwrap()).collect();
    for name in [".osrel", ".cmdline", ".uname", ".initrd", ".linux"] {
        assert!(sections.contains(&name), "{sections:?}");
    }
    let command_line = program.section_by_name(".cmdline").unwrap().data().unwrap();
    let baked = std::fs::read_to_string(project().join("kernel-config/cmdline")).unwrap();
    let words: Vec<&str> = baked.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(words.last(), Some(&"--"));
    assert_eq!(String::from_utf8_lossy(command_line), words.join(" "));

    let esp = extracted(&folder, Role::Esp);
    let loader = folder.path().join("boot.efi");
    succeeds(oracle("usr/bin/mcopy").arg("-i").arg(&esp).arg("::/EFI/BOOT/BOOTX64.EFI").arg(&loader));
    let certificate = project().join("keys/demo/public/db-1.crt");
    for program in [&efi, &loader] {
        let printed = succeeds(oracle("usr/bin/sbverify").arg("--cert").arg(&certificate).arg(program));
        assert!(printed.contains("Signature verification OK"), "{printed}");
    }
}

/// `qemu-img` finds no error in the qcow2 file, and its content equals the raw image.
#[test]
fn qemu_img_finds_the_qcow2_equal_to_the_raw_image() {
    let (raw, qcow2) = (Product::built().raw(), Product::built().output("qcow2"));
    let image = || tools().command("usr/bin/qemu-img").unwrap();
    succeeds(image().args(["check", "-q", "-f", "qcow2"]).arg(&qcow2));
    let printed = succeeds(image().args(["compare", "-f", "raw", "-F", "qcow2"]).arg(raw).arg(&qcow2));
    assert!(printed.contains("Images are identical"), "{printed}");
}

/// A5, field testing: the outputs of `qemu-img convert` with usual options can be read, equal the raw image, and verify.
#[test]
fn converted_images_are_read_and_verify() {
    let raw = Product::built().raw();
    let folder = tempfile::tempdir_in(Product::built().folder()).unwrap();
    for options in [
        &["-o", "compat=0.10"][..],
        &["-c"],
        &["-c", "-o", "compat=0.10,cluster_size=4k"],
        &["-c", "-o", "compression_type=zstd,cluster_size=1M"],
        &["-o", "cluster_size=2M,preallocation=metadata"],
        &["-o", "lazy_refcounts=on,refcount_bits=1"],
    ] {
        let path = folder.path().join("converted.qcow2");
        let mut convert = tools().command("usr/bin/qemu-img").unwrap();
        succeeds(convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).arg(raw).arg(&path));
        succeeds(kubedos_build().arg("diff").arg(raw).arg(&path));
        let printed = succeeds(kubedos_build().arg("verify").arg(&path));
        assert!(printed.contains("another tool wrote the file"), "{options:?}: {printed}");
        succeeds(kubedos_build().arg("inspect").arg(&path));
    }
}

/// The error for an unsupported qcow2 file contains the command that converts it to a supported file.
#[test]
fn images_that_cannot_be_read_are_refused_with_the_command_that_converts_them() {
    let raw = Product::built().raw();
    let folder = tempfile::tempdir_in(Product::built().folder()).unwrap();
    let path = |name: &str| folder.path().join(name);
    let qemu_img = || tools().command("usr/bin/qemu-img").unwrap();
    let mut extended = qemu_img();
    extended.args(["convert", "-f", "raw", "-O", "qcow2", "-o", "extended_l2=on"]);
    succeeds(extended.arg(raw).arg(path("extended")));
    let mut overlay = qemu_img();
    overlay.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(raw);
    succeeds(overlay.arg(path("overlay")));
    let mut external = qemu_img();
    external.args(["convert", "-f", "raw", "-O", "qcow2", "-o"]);
    external.arg(format!("data_file={}", path("data").display()));
    succeeds(external.arg(raw).arg(path("external")));
    for (name, cause) in [
        ("extended", "it has extended tables"),
        ("overlay", "it has a backing file"),
        ("external", "its data is in a different file"),
    ] {
        for command in ["verify", "inspect"] {
            let refused = kubedos_build().arg(command).arg(path(name)).output().unwrap();
            let printed = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(1), "{printed}");
            let help = format!("qemu-img convert -O raw '{}' disk.raw", path(name).display());
            assert!(printed.contains(cause) && printed.contains(&help), "{printed}");
        }
        let converted = path("disk.raw");
        succeeds(qemu_img().args(["convert", "-O", "raw"]).arg(path(name)).arg(&converted));
        succeeds(kubedos_build().arg("verify").arg(&converted));
    }
}

/// A5, field testing: `sgdisk -e` moves the second copy of the table to the end of a larger medium.
#[test]
fn a_partition_table_moved_by_sgdisk_verifies() {
    let folder = tempfile::tempdir_in(Product::built().folder()).unwrap();
    let path = folder.path().join("stick.raw");
    let mut convert = tools().command("usr/bin/qemu-img").unwrap();
    succeeds(convert.args(["convert", "-f", "raw", "-O", "raw"]).arg(Product::built().raw()).arg(&path));
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(Product::built().length() + (2 << 30)).unwrap();
    succeeds(kubedos_build().arg("verify").arg(&path));
    succeeds(oracle("usr/sbin/sgdisk").arg("-e").arg(&path));
    let printed = succeeds(kubedos_build().arg("verify").arg(&path));
    assert!(printed.contains("as `sgdisk -e` writes it") && !printed.contains("FAIL"), "{printed}");
    succeeds(kubedos_build().arg("inspect").arg(&path));
}

/// The digests in `SHA256SUMS` and `manifest.json` match the files.
#[test]
fn the_sums_match_the_files() {
    let folder = Product::built().folder();
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let manifest = manifest();
    let outputs = manifest["outputs"].as_array().unwrap();
    assert_eq!(sums.lines().count(), outputs.len());
    for output in outputs {
        let (name, expected) = (output["name"].as_str().unwrap(), output["sha256"].as_str().unwrap());
        let printed =
            succeeds(oracle("usr/bin/openssl").args(["dgst", "-sha256", "-r"]).arg(folder.join(name)));
        assert_eq!(printed.split_whitespace().next().unwrap(), expected, "{name}");
        assert!(sums.contains(&format!("{expected}  {name}\n")), "{name}");
    }
}
