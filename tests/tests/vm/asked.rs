//! T6, A5, A12: properties of a running node, as the probe in a test image reports them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use kubedos_builder::keys::KeyDir;
use kubedos_image::erofs::{self, Compression};
use kubedos_image::layout::{Area, Role, Slot};
use kubedos_image::source::{FileSource, Window};
use kubedos_lab::{Disk, Firmware, Format, Hardware, Patience};
use kubedos_tests::{
    Listing, MODULE_SIGNER, NOISE, Rig, answers, answers_disk, flip, generated, key_directory, kubedos_build,
    listing_of, many, noise, probe_image, project, scratch,
};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::seal::Volume;
use serde_json::Value;

use crate::{readers, secure_boot};

/// A1, A4: the node's kernel reads from volumes of our EROFS writer exactly what was written: content, mode, owner, times, names and
/// attributes.
#[test]
fn the_kernel_reads_generated_trees_as_written() {
    for (name, expected) in &trees().1 {
        let found = asked()["trees"][name].as_object().unwrap_or_else(|| panic!("{name} was not found"));
        assert!(!found.contains_key("error"), "{name}: {found:?}");
        for (path, line) in expected {
            assert_eq!(found.get(path).and_then(Value::as_str), Some(line.as_str()), "{name}: {path}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
    }
}

/// A1, A4: the node's kernel and our reader read the same from the real root, payload and configuration: content, mode, owner, times,
/// names and attributes. Only directories on which something is mounted are missing in the probe's listing.
#[test]
fn the_kernel_reads_the_real_volumes_as_they_are_in_the_image() {
    let mounts = asked()["mounts"].as_array().unwrap();
    let mounted: Vec<&str> =
        mounts.iter().map(|line| line.as_str().unwrap().split_whitespace().nth(4).unwrap()).collect();
    let image = probe_image();
    for (volume, place) in [
        (Volume::Root, "/"),
        (Volume::Payload, "/usr/lib/kubedos/payload"),
        (Volume::Configuration, "/usr/lib/kubedos/configuration"),
    ] {
        let range = image.partition(Role::Volume(volume, Area::Data, Slot::A));
        let file = FileSource::new(File::open(image.raw()).unwrap(), image.length());
        let partition = Window::new(&file, range.start, range.end - range.start).unwrap();
        let expected = listing_of(&erofs::reader::Volume::open(&partition).unwrap());
        let found = asked()["own trees"][place].as_object().unwrap();
        assert!(found.keys().all(|path| expected.contains_key(path)), "{place}: {found:?}");
        for (path, line) in &expected {
            match found.get(path) {
                Some(found) => assert_eq!(found, line, "{place}: {path}"),
                None => {
                    let path = String::from_utf8(hex::decode(path).unwrap()).unwrap();
                    let whole = Path::new(place).join(&path);
                    let is_hidden = mounted.iter().any(|over| *over != place && whole.starts_with(over));
                    assert!(is_hidden, "{place}: {path} is missing");
                }
            }
        }
        assert!(found.len() * 10 > expected.len() * 9, "{place}: {} of {}", found.len(), expected.len());
    }
}

/// Volumes of generated trees with several settings, and their listings.
fn trees() -> &'static (tempfile::TempDir, [(&'static str, Listing); 5]) {
    static TREES: OnceLock<(tempfile::TempDir, [(&'static str, Listing); 5])> = OnceLock::new();
    TREES.get_or_init(|| {
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        let write = [
            ("none", generated as fn(&Path, Compression, u32) -> Listing, Compression::None, 4096),
            ("lz4", generated, Compression::Lz4hc(9), 16 << 10),
            ("zstd", generated, Compression::Zstd(10), 64 << 10),
            ("large", generated, Compression::Zstd(3), 1 << 20),
            ("many", many, Compression::Zstd(10), 64 << 10),
        ];
        let listings = write.map(|(name, tree, compression, cluster)| {
            (name, tree(&folder.path().join(name), compression, cluster))
        });
        (folder, listings)
    })
}

/// The probe's answers on the first boot of an unmodified image. The first caller runs the boot.
fn asked() -> &'static Value {
    static ASKED: OnceLock<Value> = OnceLock::new();
    ASKED.get_or_init(|| {
        let rig = Rig::of(probe_image(), "asked");
        let disk = answers_disk(rig.bench());
        let mut hardware = rig.hardware(rig.disk("disk")).disk(disk.clone());
        let (folder, trees) = trees();
        for (name, _) in trees {
            let tree = Disk::new(folder.path().join(name), Format::Raw);
            hardware = hardware.disk(tree.serial(format!("kubedos-tree-{name}")).not_bootable());
        }
        let machine = rig.boot(&hardware);
        let answers = answers(&machine, &disk);
        let corrupt = machine.finish().into_iter().find(|record| record.outcome == Outcome::Corrupt);
        assert!(corrupt.is_none(), "{corrupt:?}");
        answers
    })
}

/// The parameters of docs/hardening.md with their values: `| \`a\`, \`b\` | value | why |`.
fn documented() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(project().join("docs/hardening.md")).unwrap();
    let section = text.split("## Kernel parameters").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut found = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split(", ") {
            let value = cells[2].trim_matches('`').replace('\u{1}', "|");
            found.insert(name.trim_matches('`').to_owned(), value);
        }
    }
    found
}

/// T6: every documented parameter has its documented value on the node. Parameters that only some kernels have are marked in the document.
#[test]
fn documented_parameters_are_set_on_the_node() {
    let text = std::fs::read_to_string(project().join("docs/hardening.md")).unwrap();
    let documented = documented();
    assert!(documented.len() > 40, "only {} parameters are documented", documented.len());
    for (name, value) in documented {
        match asked()["parameters"][&name].as_str() {
            Some(found) => {
                assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), value, "{name}")
            }
            None => {
                let row = text.lines().find(|line| line.contains(&format!("`{name}`"))).unwrap();
                assert!(row.contains("where the kernel has it"), "the node has no {name}");
            }
        }
    }
}

#[test]
fn the_kernel_is_locked_down() {
    assert_eq!(asked()["lockdown"].as_str().unwrap().trim(), "none [integrity] confidentiality");
}

/// A module is refused without a signature, with a changed byte and with a signature by a different key. It loads with its vendor's signature.
#[test]
fn an_unsigned_module_is_refused() {
    only_the_vendors_module_loads(&asked()["modules"]);
}

/// T6: a certificate in the firmware's `db`, such as a vendor's next to ours, is trusted for boot programs but not for modules.
#[test]
fn a_module_signed_by_a_certificate_of_db_is_refused() {
    let rig = Rig::of(probe_image(), "module_of_db");
    let keys = KeyDir::open(&key_directory(MODULE_SIGNER)).unwrap();
    let certificates: Vec<&[u8]> = keys.public().secure_boot.db.iter().map(Vec::as_slice).collect();
    let varstore = secure_boot::varstore(&rig, &certificates);
    let answers_disk = answers_disk(rig.bench());
    let hardware = Hardware::new(Firmware::SecureBoot { varstore })
        .disk(rig.disk("disk"))
        .disk(probe_image().seed(&probe_image().nodes()[0]))
        .disk(answers_disk.clone());
    let machine = rig.boot(&hardware);
    only_the_vendors_module_loads(&answers(&machine, &answers_disk)["modules"]);
}

fn only_the_vendors_module_loads(modules: &Value) {
    let required_key_not_available = 126; // ENOKEY
    let key_rejected = 129; // EKEYREJECTED
    for module in ["1-unsigned", "3-foreign"] {
        let answer = modules[module].as_i64().unwrap();
        assert!([required_key_not_available, key_rejected].contains(&answer), "{module}: {modules}");
    }
    assert_eq!(modules["2-changed"], key_rejected, "{modules}");
    assert_eq!(modules["4-signed"], 0, "{modules}");
}

/// T6: each documented audit rule is in force, the rules are locked, and their events are in the journal.
#[test]
fn audit_rules_are_locked_and_their_events_are_recorded() {
    let audit = &asked()["audit"];
    let text = std::fs::read_to_string(project().join("docs/hardening.md")).unwrap();
    let section = text.split("## Audit strategy").nth(1).unwrap().split("\n## ").next().unwrap();
    let documented: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(documented.len() >= 5, "{section}");
    assert_eq!(audit["keys"], serde_json::json!(documented), "{audit}");
    let not_permitted = 1; // EPERM
    assert_eq!(audit["locked"], true, "{audit}");
    assert_eq!(
        (&audit["added"], &audit["removed"]),
        (&not_permitted.into(), &not_permitted.into()),
        "{audit}"
    );
    for key in documented {
        assert_eq!(audit["recorded"][key], true, "{key}: {audit}");
    }
    let no_such_process = 3; // ESRCH
    let provoked = serde_json::json!({
        "kubedos-kernel": 0, "kubedos-clock": 0, "kubedos-trace": no_such_process, "kubedos-state": 0,
    });
    assert_eq!(audit["provoked"], provoked);
}

/// T6: the kernel does not run 32-bit programs.
#[test]
fn a_32_bit_program_does_not_start() {
    let exec_format_error = 8; // ENOEXEC
    assert_eq!(asked()["programs"]["32-bit"], exec_format_error);
}

fn mount_options(point: &str) -> Vec<String> {
    let mounts = asked()["mounts"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let mut fields = mounts.map(|line| line.split(' ').collect::<Vec<_>>());
    let found = fields.rfind(|fields| fields[4] == point);
    found.unwrap_or_else(|| panic!("{point} is not a mount point"))[5].split(',').map(str::to_owned).collect()
}

/// A5: sealed volumes are read-only. Of the writable file systems, only DATA allows programs to run.
#[test]
fn only_data_is_writable_and_executable() {
    for sealed in ["/", "/usr/lib/kubedos/payload", "/usr/lib/kubedos/configuration"] {
        assert!(mount_options(sealed).contains(&"ro".to_owned()), "{sealed}: {:?}", mount_options(sealed));
    }
    for line in asked()["mounts"].as_array().unwrap() {
        let fields: Vec<&str> = line.as_str().unwrap().split(' ').collect();
        let (point, options) = (fields[4], fields[5].split(',').collect::<Vec<_>>());
        println!("{point} {}", fields[5]);
        if options.contains(&"ro") {
            continue;
        }
        let has = |option: &str| options.contains(&option);
        let has_devices = ["/dev", "/dev/pts"].contains(&point);
        assert!(has("nosuid") && (has("nodev") || has_devices), "{line}");
        assert!(has("noexec") || point == "/var/lib/kubedos/data", "{line}");
    }
    let data = mount_options("/var/lib/kubedos/data");
    assert!(["nodev", "nosuid"].iter().all(|option| data.contains(&(*option).to_owned())), "{data:?}");
}

/// N5: the open sockets are those of the planes, which belong to the kernel, and chronyd's on the address of `wg1`.
#[test]
fn only_declared_sockets_are_open() {
    readers::only_declared_sockets(&asked()["sockets"], kubedos_wire::node::Role::ControlPlane);
}

#[test]
fn no_swap_foreign_unit_or_credential_exists() {
    assert_eq!(asked()["swaps"].as_array().unwrap().len(), 1, "{}", asked()["swaps"]);
    assert_eq!(asked()["units"], Value::Array(vec![]));
    let system = asked()["credentials"].as_array().unwrap();
    assert!(!system.iter().any(|name| name == "@system"), "{system:?}");
}

/// A12: only the expected programs run.
#[test]
fn only_known_programs_run() {
    let known = [
        "/usr/lib/systemd/systemd",
        "/usr/lib/systemd/systemd-executor",
        "/usr/lib/systemd/systemd-journald",
        "/usr/lib/systemd/systemd-logind",
        "/usr/lib/systemd/systemd-networkd",
        "/usr/bin/udevadm",
        "/usr/bin/dbus-broker",
        "/usr/bin/dbus-broker-launch",
        "/usr/sbin/chronyd",
        "/usr/lib/kubedos/kubedos-agent",
        "/usr/bin/kubedos-probe",
    ];
    for process in asked()["processes"].as_array().unwrap() {
        println!("{} {}", process["name"], process["program"]);
        if let Some(program) = process["program"].as_str() {
            assert!(known.contains(&program), "{process}");
        }
    }
}

/// A5: every block of every sealed volume verifies and every file can be read.
#[test]
fn a_full_read_of_an_unmodified_node_finds_no_error() {
    let volumes = asked()["volumes"].as_object().unwrap();
    for volume in [Volume::Root, Volume::Payload, Volume::Configuration] {
        let (_, read) = volumes.iter().find(|(name, _)| name.contains(volume.name())).unwrap();
        assert_eq!(read["refused"], Value::Array(vec![]), "{volume:?}");
        assert!(read["bytes"].as_u64().unwrap() > 0);
    }
    assert_eq!(asked()["files"]["refused"], Value::Array(vec![]));
    assert!(asked()["files"]["files"].as_u64().unwrap() > 300);
}

/// The agent uses at most 12 MiB of memory.
#[test]
fn the_agent_uses_at_most_twelve_mebibytes() {
    let processes = asked()["processes"].as_array().unwrap();
    let agent = processes
        .iter()
        .find(|process| process["name"].as_str().is_some_and(|n| n.starts_with("kubedos-agent")));
    let agent = agent.unwrap_or_else(|| panic!("{processes:#?}"));
    println!("agent: {agent}");
    assert!(agent["resident_kib"].as_u64().unwrap() <= 12 << 10, "{agent}");
}

/// A12: an image with the probe is not a product. Its boot manifest, which the UKI's signature covers, and its manifest record this.
#[test]
fn verify_refuses_an_image_with_the_probe() {
    for path in [probe_image().folder(), probe_image().raw()] {
        let output = kubedos_build().arg("verify").arg(path).output().unwrap();
        let printed =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{printed}");
        assert!(
            printed.contains("the root volume contains additions of a test, so this is not a product"),
            "{printed}"
        );
    }
}

/// A5: a tampered data block never reaches a reader, and a full read reports the volume.
#[test]
fn a_tampered_data_block_is_never_read_and_its_volume_is_reported() {
    let rig = Rig::of(probe_image(), "a_tampered_data_block");
    let copy = rig.copy("image");
    let root = probe_image().partition(Role::Volume(Volume::Root, Area::Data, Slot::A));
    flip(&copy, root.start + place_of_noise(&copy, root.start, root.end));
    let disk = answers_disk(rig.bench());
    let image = rig.overlay("disk", &Disk::new(copy, Format::Raw));
    let machine = rig.boot(&rig.hardware(image).disk(disk.clone()));
    let answers = answers(&machine, &disk);
    let input_output_error = 5;
    let refused = answers["files"]["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0]["path"].as_str().unwrap().ends_with("noise"), "{refused:?}");
    assert_eq!(refused[0]["errno"], input_output_error);
    let corrupt = |record: &Record| {
        record.outcome == Outcome::Corrupt && record.volume.as_deref() == Some(Volume::Root.name())
    };
    machine.wait_for("the corrupt volume's name", Patience::STEP, corrupt).unwrap();
}

/// The offset of the probe's incompressible file in the root volume, which stores it unchanged.
fn place_of_noise(image: &std::path::Path, start: u64, end: u64) -> u64 {
    let file = std::fs::File::open(image).unwrap();
    let noise = noise(NOISE);
    // From the middle of the file, because its last bytes may be stored in a block with other data.
    let piece = &noise[noise.len() / 2..][..64];
    let mut volume = vec![0; usize::try_from(end - start).unwrap()];
    file.read_exact_at(&mut volume, start).unwrap();
    let at = volume.windows(piece.len()).position(|window| window == piece);
    u64::try_from(at.expect("the file is stored compressed")).unwrap()
}
