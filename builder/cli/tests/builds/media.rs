//! A5, T5: media in use. An undamaged image verifies on a larger stick, on the disk of a node, or on a stick that other systems have
//! mounted. Added content that can take part in a boot is refused. Text from a medium is escaped before it is printed.

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kubedos_builder::artifact::MANIFEST;
use kubedos_image::gpt::{Partition, SectorSize, Table};
use kubedos_image::guid::Guid;
use kubedos_image::layout::{self, Area, Role, Slot};
use kubedos_wire::printable::is_printable;
use kubedos_wire::seal::Volume;
use serde_json::Value;

use crate::ran::Ran;
use crate::tampering::{copy, disk, partition};
use crate::workshop::{Bench, product, run};

type FileSystem<'a> = fatfs::FileSystem<Cursor<&'a mut Vec<u8>>>;

const MIB: u64 = 1 << 20;

/// Copies the image and changes the copy.
fn changed(bench: &Bench, change: impl FnOnce(&Path)) -> PathBuf {
    let path = bench.path("copy.raw");
    copy(&product().file("raw"), &path);
    change(&path);
    path
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn grow(path: &Path, bytes: u64) -> u64 {
    let new = length(path) + bytes;
    open(path).set_len(new).unwrap();
    new
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    open(path).write_all_at(bytes, at).unwrap();
}

fn write_table(path: &Path, table: &Table) {
    table.extents().for_each(|extent| write(path, extent.offset, &extent.bytes));
}

/// Changes the partition table and writes it.
fn retable(path: &Path, change: impl FnOnce(&mut Table)) {
    let mut table = disk(path).found().table.clone();
    change(&mut table);
    write_table(path, &table);
}

/// Enlarges the medium and adds a partition in the new space.
fn add_partition(path: &Path, name: &str, type_guid: Guid) {
    let end = length(path);
    let new = grow(path, 64 * MIB);
    let mut table = disk(path).found().table.resized(new).unwrap();
    let partition = Partition {
        type_guid,
        uuid: Guid::from_random([9; 16]),
        first_lba: (end + MIB) / 512,
        last_lba: (end + 9 * MIB) / 512,
        attributes: 0,
        name: name.to_owned(),
    };
    table.set(14, partition).unwrap();
    write_table(path, &table);
}

/// The start and the length of the first EFI system partition in bytes.
fn esp_of(path: &Path) -> (u64, u64) {
    let disk = disk(path);
    let table = &disk.found().table;
    let (_, esp) = table.of_type(Role::Esp.type_guid()).next().unwrap();
    (table.start_bytes(esp), table.len_bytes(esp))
}

/// Changes the EFI system partition with an independent implementation of FAT.
fn mounted(path: &Path, change: impl FnOnce(&FileSystem<'_>)) {
    let (start, length) = esp_of(path);
    let mut before = vec![0; usize::try_from(length).unwrap()];
    let file = open(path);
    file.read_exact_at(&mut before, start).unwrap();
    let mut bytes = before.clone();
    {
        let file_system = fatfs::FileSystem::new(Cursor::new(&mut bytes), fatfs::FsOptions::new()).unwrap();
        change(&file_system);
    }
    for (number, (old, new)) in before.chunks(4096).zip(bytes.chunks(4096)).enumerate() {
        if old != new {
            file.write_all_at(new, start + number as u64 * 4096).unwrap();
        }
    }
}

fn put(file_system: &FileSystem<'_>, path: &str, content: &[u8]) {
    let root = file_system.root_dir();
    let mut folder = String::new();
    for part in path.split('/').collect::<Vec<_>>().split_last().unwrap().1 {
        folder = if folder.is_empty() { (*part).to_owned() } else { format!("{folder}/{part}") };
        drop(root.create_dir(&folder));
    }
    root.create_file(path).unwrap().write_all(content).unwrap();
}

fn verify(path: &Path) -> Ran {
    run(&["verify", path.to_str().unwrap()])
}

/// Checks that the output has no character that a terminal interprets or hides.
fn is_plain(ran: &Ran) {
    for text in [&ran.out, &ran.err] {
        let odd = text.chars().find(|c| !is_printable(*c) && *c != '\n');
        assert_eq!(odd, None, "{text:?}");
    }
}

fn larger(path: &Path) {
    grow(path, 64 * MIB);
}

fn larger_by_a_part_of_a_sector(path: &Path) {
    grow(path, 4096 + 100);
}

fn stale_table(path: &Path) {
    let new = grow(path, 64 * MIB);
    let stale = Table::new(SectorSize::B512, new, Guid::from_random([3; 16])).unwrap();
    let end = stale.extents().filter(|extent| extent.offset > MIB);
    end.for_each(|extent| write(path, extent.offset, &extent.bytes));
}

fn second_copy_missing(path: &Path) {
    let end = length(path);
    grow(path, 64 * MIB);
    write(path, end - 33 * 512, &[0; 33 * 512]);
}

/// Windows, macOS and Linux leave files on every stick that they mount.
fn left_by_others(path: &Path) {
    mounted(path, |esp| {
        for name in [
            "System Volume Information/WPSettings.dat",
            "System Volume Information/IndexerVolumeGuid",
            ".fseventsd/fseventsd-uuid",
            ".Trashes/501/x",
            "._.Trashes",
            "EFI/._BOOT",
        ] {
            put(esp, name, b"\0\0\x01");
        }
    });
}

fn a_removed_file(path: &Path) {
    mounted(path, |esp| {
        put(esp, "notes.txt", b"a note");
        esp.root_dir().remove("notes.txt").unwrap();
    });
}

fn relabelled(path: &Path) {
    let (esp, _) = esp_of(path);
    write(path, esp + 71, b"MY STICK   ");
    write(path, esp + 65, &[1]);
}

fn attributes(path: &Path) {
    retable(path, |table| {
        let mut esp = table.get(1).unwrap().clone();
        esp.attributes = 4;
        table.set(1, esp).unwrap();
        table.set_disk_guid(Guid::from_random([8; 16]));
    });
}

/// A change of a medium.
type Change<'a> = &'a dyn Fn(&Path);

/// Each case is a normal change of an undamaged medium. The verdict reports it, and no check fails.
#[test]
fn an_undamaged_medium_in_use_verifies() {
    let bench = Bench::new(&[]);
    let cases: [(&str, Change<'_>, &str); 14] = [
        ("larger", &larger, "the medium has"),
        ("larger by a part of a sector", &larger_by_a_part_of_a_sector, "the medium has"),
        (
            "larger with old data after the image",
            &|path| {
                let end = length(path);
                grow(path, 64 * MIB);
                write(path, end + 5000, b"old data of the medium");
            },
            "the medium has",
        ),
        (
            "table moved by sgdisk -e",
            &|path| {
                let new = grow(path, 64 * MIB);
                let table = disk(path).found().table.resized(new).unwrap();
                write_table(path, &table);
            },
            "sgdisk -e",
        ),
        ("old table at the end", &stale_table, "an older table"),
        ("second copy missing", &second_copy_missing, "the first copy is valid, the second is missing"),
        ("boot flag in sector 0", &|path| write(path, 446, &[0x80]), "numbers of the protective MBR"),
        ("disk signature", &|path| write(path, 440, b"sign"), "numbers of the protective MBR"),
        ("attributes and GUID", &attributes, "attributes of partitions"),
        (
            "a data partition after the image",
            &|path| add_partition(path, "photos", Guid::from_u128(0xebd0_a0a2_b9e5_4433_87c0_68b6_b726_99c7)),
            "partition 14 `photos`",
        ),
        ("left by other systems", &left_by_others, "was left by Windows"),
        (
            "a removed file",
            &a_removed_file,
            "another system wrote to it, as happens when a stick is plugged in",
        ),
        ("another label", &relabelled, "another system wrote to it, as happens when a stick is plugged in"),
        (
            "a file of the user",
            &|path| mounted(path, |esp| put(esp, "Größe/ein Brief.txt", b"x")),
            "takes no part in the boot",
        ),
    ];
    for (name, change, expected) in cases {
        let path = changed(&bench, change);
        let ran = verify(&path).succeeds();
        assert!(ran.out.contains(expected) && !ran.out.contains("FAIL"), "{name}: {ran:#?}");
        assert!(ran.err.contains("the sealed parts verify"), "{name}: {ran:#?}");
        let json = run(&["verify", "--json", path.to_str().unwrap()]).succeeds();
        let document: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(document["verdict"], "sealed", "{name}");
        // Damage in a sealed part is still detected on such a medium.
        let (root, _) =
            partition(&disk(&product().file("raw")), Role::Volume(Volume::Root, Area::Data, Slot::A));
        let mut byte = [0];
        open(&path).read_exact_at(&mut byte, root + 5000).unwrap();
        write(&path, root + 5000, &[byte[0] ^ 1]);
        verify(&path).fails(4, &["root: data block 1 does not verify"]);
    }
}

/// The disk of a node has second slots, STATE and DATA. Later the disk was enlarged, and Windows wrote files to its ESP.
#[test]
fn an_adopted_disk_verifies() {
    let bench = Bench::new(&[]);
    let size = 12 << 30;
    let path = changed(&bench, |path| {
        let shipped = disk(path).found().table.clone();
        open(path).set_len(size).unwrap();
        let layout = layout::adopted(size).unwrap();
        let guid = |role: Role| match role {
            Role::State => Guid::from_random([1; 16]),
            Role::Data => Guid::from_random([2; 16]),
            Role::Volume(_, _, Slot::B) => Guid::ZERO,
            role => shipped.partitions().find(|(_, p)| p.name == role.to_string()).unwrap().1.uuid,
        };
        write_table(path, &layout.table(SectorSize::B512, Guid::from_random([4; 16]), guid).unwrap());
        write(path, layout.place(Role::State).unwrap().start, b"LUKS\xba\xbe and encrypted data");
    });
    for grown in [false, true] {
        if grown {
            grow(&path, 1 << 30);
            left_by_others(&path);
        }
        let ran = verify(&path).succeeds();
        assert!(ran.out.contains("a disk that a node has adopted"), "{ran:#?}");
        assert!(ran.err.contains("the sealed parts verify"), "{ran:#?}");
        run(&["inspect", path.to_str().unwrap()]).succeeds();
    }
    write(&path, esp_of(&path).0 + 2_000_000, &[1, 2, 3, 4]);
    verify(&path).fails(4, &["signature"]);
}

/// Content that the firmware, the boot loader or the stub would read or start is never a normal difference.
#[test]
fn bootable_content_is_refused() {
    let bench = Bench::new(&[]);
    let program: &[u8] = b"MZ a foreign program";
    let file = |name: &'static str, content: &'static [u8]| {
        move |path: &Path| {
            left_by_others(path);
            mounted(path, |esp| put(esp, name, content));
        }
    };
    let esp = |path: &Path| esp_of(path).0;
    let cases: [(Change<'_>, &str); 14] = [
        (
            &file("EFI/tool/shellx64.efi", b"x"),
            "EFI/tool/shellx64.efi is not from the builder, and is an EFI program",
        ),
        (&file("holiday.jpg", program), "holiday.jpg is not from the builder, and is an EFI program"),
        (&file("System Volume Information/x.EFI", b""), "is an EFI program"),
        (
            &file("startup.nsh", b"fs0:\\x"),
            "startup.nsh is not from the builder, and is a script for an EFI shell",
        ),
        (&file("loader/entries/a b.conf", b"linux /x"), "is read by the boot loader"),
        (&file("LOADER/credentials/x.cred", b"x"), "is read by the boot loader"),
        (
            &file("EFI/Linux/kubedos_0.1.0.efi.extra.d/x.cred", b"x"),
            "is in a folder from which programs are booted",
        ),
        (&file("efi/boot/grub.cfg", b"x"), "is in a folder from which programs are booted"),
        (
            &|path| write(path, 0, &[0xeb, 0x58]),
            "sector 0 contains BIOS code other than the builder's, which only prints a message",
        ),
        (&|path| add_partition(path, "esp", Role::Esp.type_guid()), "is a second EFI system partition"),
        (
            &|path| write(path, esp(path) + 90, &[0xeb]),
            "byte 90 of the file system differs, in an area that no operating system writes",
        ),
        (
            &|path| write(path, esp(path) + 32 * 512 + 4 * 120_000, &[3]),
            "its two allocation tables differ: the firmware decides which one is used",
        ),
        (
            &|path| {
                left_by_others(path);
                write(path, 19 * 2048 + 40, &[7]);
            },
            "cd descriptors",
        ),
        (
            &|path| {
                grow(path, 64 * MIB);
                write(path, 200 << 10, b"GRUB");
            },
            "byte 204800, in no partition",
        ),
    ];
    for (change, expected) in cases {
        let ran = verify(&changed(&bench, change));
        assert_eq!(ran.code, Some(4), "{expected}: {ran:#?}");
        let failed = |line: &str| line.starts_with("FAIL") && line.contains(expected);
        assert!(ran.out.lines().any(failed), "{expected}: {ran:#?}");
        // All other checks succeeded.
        for part in ["root ", "payload ", "configuration signature", "uki signature"] {
            let holds = |line: &str| line.starts_with("ok") && line.contains(part);
            assert!(ran.out.lines().any(holds), "{part} of {expected}: {ran:#?}");
        }
    }
}

#[test]
fn a_disk_with_a_foreign_system_is_not_a_kubedos_disk() {
    let bench = Bench::new(&[]);
    let path = bench.path("other.raw");
    File::create(&path).unwrap().set_len(64 * MIB).unwrap();
    let mut table = Table::new(SectorSize::B512, 64 * MIB, Guid::from_random([1; 16])).unwrap();
    let partition = Partition {
        type_guid: Role::Esp.type_guid(),
        uuid: Guid::from_random([2; 16]),
        first_lba: 2048,
        last_lba: 4095,
        attributes: 0,
        name: "EFI \u{1b}[2K\rok".to_owned(),
    };
    table.set(1, partition).unwrap();
    write_table(&path, &table);
    let ran = verify(&path).fails(1, &["is not a disk of kubedOS"]);
    is_plain(&ran);
}

/// An attacker who can write a medium can choose names in its tables and file systems. A name must not overwrite the line of the check that
/// reports it.
#[test]
fn hostile_names_are_escaped() {
    const HOSTILE: &str = "x\u{1b}[2K\rok  \u{9b}1A\u{202e}\u{200b}\u{7f}";
    let bench = Bench::new(&[]);
    let path = changed(&bench, |path| {
        add_partition(path, HOSTILE, Guid::from_u128(0xebd0_a0a2_b9e5_4433_87c0_68b6_b726_99c7));
        retable(path, |table| {
            let mut seed = table.get(2).unwrap().clone();
            seed.name = format!("s\nok  root  all{HOSTILE}");
            table.set(2, seed).unwrap();
        });
        mounted(path, |esp| put(esp, "EFI/Linux/\u{202e}a\u{9b}2Kb\u{200b}.efi", b"MZ"));
    });
    let (path, original) = (path.to_str().unwrap(), product().file("raw"));
    let original = original.to_str().unwrap();
    let ran = run(&["verify", path]);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    is_plain(&ran);
    assert!(ran.out.contains(r"x\u{1b}[2K\rok  \u{9b}1A\u{202e}\u{200b}\u{7f}"), "{ran:#?}");
    assert!(ran.out.contains(r"EFI/Linux/\u{202e}a\u{9b}2Kb\u{200b}.efi"), "{ran:#?}");
    let ran = run(&["inspect", path]);
    is_plain(&ran);
    assert!(ran.out.contains(r"s\nok  root  allx\u{1b}[2K\r"), "{ran:#?}");
    for arguments in [&["inspect", "--json", path][..], &["verify", "--json", path]] {
        let ran = run(arguments);
        is_plain(&ran);
        let document: Value = serde_json::from_str(&ran.out).unwrap();
        assert!(document.to_string().contains("\u{202e}a\u{9b}2Kb\u{200b}"), "{document}");
    }
    is_plain(&run(&["diff", original, path]));
    is_plain(&run(&["diff", "--json", original, path]));
    // A name on the command line is untrusted too, because it can come from a shell pattern.
    for name in [HOSTILE, "--\u{1b}[2K"] {
        let odd = bench.path(name);
        fs::write(&odd, b"hello").unwrap();
        for arguments in [&["inspect", odd.to_str().unwrap()][..], &["verify", name], &["frobnicate", name]] {
            let ran = run(arguments);
            assert!(ran.code != Some(0));
            is_plain(&ran);
        }
    }
}

/// A manifest is untrusted too.
#[test]
fn a_hostile_manifest_is_escaped() {
    let bench = Bench::new(&[]);
    let text = fs::read_to_string(product().folder.join(MANIFEST)).unwrap();
    let path = bench.path(MANIFEST);
    fs::write(&path, text.replace("\"lab\"", r#""\u001b[2K\rlab\nvolumes\u202e""#)).unwrap();
    let ran = run(&["inspect", path.to_str().unwrap()]).succeeds();
    is_plain(&ran);
    assert!(ran.out.contains(r"\u{1b}[2K\rlab\nvolumes\u{202e}"), "{ran:#?}");
    is_plain(&run(&["verify", path.to_str().unwrap()]));
}

/// From field tests: the output of `inspect`, also with `--files`, fits a terminal with 100 columns.
#[test]
fn inspect_output_fits_100_columns() {
    let raw = product().file("raw");
    for arguments in [
        vec!["inspect", raw.to_str().unwrap()],
        vec!["inspect", "--files", raw.to_str().unwrap()],
        vec!["inspect", product().folder.to_str().unwrap()],
    ] {
        let ran = run(&arguments).succeeds();
        let wide = ran.out.lines().find(|line| line.chars().count() > 100);
        assert_eq!(wide, None, "{arguments:?}");
    }
}

/// From field tests: a folder of outputs is read through its manifest. For any other folder or file, the error names the file to pass instead.
#[test]
fn an_unknown_file_or_folder_is_described() {
    let bench = Bench::new(&[]);
    let folder = product().folder.to_str().unwrap();
    let ran = run(&["inspect", folder]).succeeds();
    assert!(ran.out.contains("manifest.json: manifest"), "{ran:#?}");
    run(&["diff", folder, folder]).succeeds();
    let other = bench.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.raw"), b"").unwrap();
    let path = |name: &str, bytes: &[u8]| {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, expected) in [
        (other.to_str().unwrap().to_owned(), "other/a.raw"),
        (path("empty.raw", b""), "it is empty"),
        (path("notes.txt", b"hello"), "it is text"),
        (path("lab.raw.zst", b"\x28\xb5\x2f\xfdxxxx"), "compressed by zstd"),
        (path("lab.vmdk", b"KDMV\x01\0\0\0"), "qemu-img convert -O raw"),
        (path("noise", &[0xa5; 70_000]), "no partition table"),
    ] {
        for command in ["inspect", "verify"] {
            run(&[command, &path]).fails(1, &[expected]);
        }
        run(&["diff", &path, &path]).fails(1, &[expected]);
    }
}
