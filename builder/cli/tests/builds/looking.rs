//! Tests `inspect` and `diff` on the built outputs and on hostile files.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use kubedos_builder::inspect::{self, Trees};
use kubedos_builder::keys::{KeyDir, PublicKeys};
use kubedos_debian::digest::Sha256;
use kubedos_image::iso;
use kubedos_image::layout::{Area, Role, Slot};
use kubedos_wire::hex32::ClusterId;
use kubedos_wire::seal::Volume;
use kubedos_wire::statement::{self, Domain, Seed};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::own::own_lab;
use crate::tampering::{copy, disk, partition};
use crate::workshop::{Bench, SPEC, Shared, product, project, run};

fn document(path: &std::path::Path) -> Value {
    let ran = run(&["inspect", "--json", path.to_str().unwrap()]).succeeds();
    serde_json::from_str(&ran.out).unwrap()
}

/// The report of `inspect` agrees with the manifest.
#[test]
fn inspect_agrees_with_the_manifest() {
    let image = document(&product().file("raw"));
    let manifest = document(&product().folder.join("manifest.json"));
    assert_eq!((&image["kind"], &image["table"]["layout"]), (&"disk".into(), &"shipped".into()));
    assert_eq!(image["cd"], true);
    assert_eq!(image["partitions"].as_array().unwrap().len(), 13);
    let manifest = &manifest["manifest"];
    for volume in manifest["volumes"].as_array().unwrap() {
        let shown = image["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|shown| shown["name"] == volume["name"])
            .unwrap();
        for field in ["root_hash", "salt", "data_blocks"] {
            assert_eq!(shown[field], volume[field]);
        }
        assert_eq!(shown["present"], true);
    }
    for volume in image["volumes"].as_array().unwrap() {
        assert!(volume["tree"]["files"].as_u64() > Some(0), "{volume}");
        assert_eq!(volume["tree"].get("entries"), None);
    }
    let uki = image["programs"].as_array().unwrap().iter().find(|program| !program["uki"].is_null()).unwrap();
    let sections: Vec<&str> =
        uki["sections"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(sections.ends_with(&[".osrel", ".cmdline", ".uname", ".initrd", ".linux"]), "{sections:?}");
    assert_eq!(uki["signature"]["holds"], true);
    assert!(uki["uki"]["cmdline"].as_str().unwrap().contains("lockdown=integrity"));
    let initrd = uki["uki"]["initrd"].as_array().unwrap();
    assert!(
        ["init", "kubedos/verity.toml", "kubedos/cmdline"]
            .iter()
            .all(|path| initrd.iter().any(|entry| entry["path"] == *path))
    );
    let root_hash = image["volumes"][0]["root_hash"].as_str().unwrap();
    assert!(uki["uki"]["boot"]["root_table"].as_str().unwrap().contains(root_hash));
    assert_eq!(image["configuration"]["cluster"], "lab");
    assert_eq!(image["configuration"]["accepted"], true);
    assert_eq!(image["configuration"]["signers"][0]["demo"], true);
    assert_eq!(image["seed"], Value::Null);
    // `inspect` of the UKI file gives the same values.
    let alone = document(&product().file("efi"));
    for field in ["sha256", "authenticode", "sections", "signature", "uki"] {
        assert_eq!(alone[field], uki[field], "{field}");
    }
    // `inspect` of the qcow2 file gives the same report, except for the format.
    let mut wrapped = document(&product().file("qcow2"));
    assert_eq!((&wrapped["wrapper"], &image["wrapper"]), (&"qcow2".into(), &"raw".into()));
    for field in ["file", "bytes", "wrapper"] {
        wrapped[field] = image[field].clone();
    }
    assert_eq!(wrapped, image);
}

/// `--files` lists every path of the volumes. The schema in the payload is the one that the program prints.
#[test]
fn inspect_files_lists_every_path_of_the_volumes() {
    let raw = product().file("raw");
    let ran = run(&["inspect", "--files", "--json", raw.to_str().unwrap()]).succeeds();
    let image: Value = serde_json::from_str(&ran.out).unwrap();
    let tree = |name: &str| {
        let volumes = image["volumes"].as_array().unwrap();
        &volumes.iter().find(|volume| volume["name"] == name).unwrap()["tree"]
    };
    let entry = |volume: &str, path: &str| {
        let mut entries = tree(volume)["entries"].as_array().unwrap().iter();
        entries.find(|entry| entry["path"] == path).unwrap_or_else(|| panic!("no {path} in {volume}"))
    };
    let root = tree("root");
    let of = |kind: &str| {
        let entries = root["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["kind"] == kind && entry.get("same_as").is_none()).count() as u64
    };
    assert_eq!(root["files"].as_u64(), Some(of("file")));
    assert_eq!(root["directories"].as_u64(), Some(of("directory")));
    assert_eq!(root["symlinks"].as_u64(), Some(of("link")));
    assert_eq!(entry("root", "/")["mode"], "0755");
    assert_eq!(entry("root", "bin")["content"], "usr/bin");
    let shadow = entry("root", "etc/gshadow");
    assert_eq!((&shadow["mode"], &shadow["uid"], &shadow["gid"]), (&"0400".into(), &0.into(), &0.into()));
    let printed = run(&["schema"]).succeeds().out;
    let schema = printed.trim_end();
    let shown = entry("payload", "share/clusterspec.schema.json");
    assert_eq!(shown["bytes"].as_u64(), Some(schema.len() as u64));
    assert_eq!(shown["content"], Sha256::of(schema.as_bytes()).to_string());
    let text = run(&["inspect", "--files", raw.to_str().unwrap()]).succeeds().out;
    assert!(text.contains("\nfiles of configuration\n") && text.contains("  bin -> usr/bin\n"), "{text}");
}

/// T5: `inspect` and `verify` show the node of a seed, but not its secrets.
#[test]
fn a_seed_is_shown_without_its_secrets() {
    let bench = Bench::new(&[]);
    let out = bench.path("out");
    run(&["seed", "--spec", SPEC, "--node", "cp-1", "--out", out.to_str().unwrap()]).succeeds();
    let path = out.join("seeds/cp-1.img");
    let volume = fs::read(&path).unwrap();
    let keys = PublicKeys::open(&project().join("keys/demo/public")).unwrap();
    let statement = statement::read(iso::seed::read(&volume).unwrap()).unwrap();
    let seed = Seed::parse(&statement.verify(Domain::Seed, &keys.seed).unwrap()).unwrap();
    let secrets = KeyDir::open(&project().join("keys/demo")).unwrap();
    let secrets = secrets.node_secrets(ClusterId::derive(&keys.identity, "lab"), "cp-1", 1).unwrap();
    assert_eq!(seed.disk_key.expose(), secrets.disk.expose());
    for command in [&["inspect"][..], &["inspect", "--json"], &["verify"], &["verify", "--keys", "keys/demo"]]
    {
        let ran = run(&[command, &[path.to_str().unwrap()]].concat());
        let text = ran.out + &ran.err;
        assert!(text.contains("cp-1"), "{text}");
        for secret in [seed.disk_key.expose(), seed.birth_key.expose()] {
            assert!(!text.contains(&hex::encode(secret)), "{command:?}");
        }
    }
}

/// `--explain` compares a build with the previous one in the same folder, and lists the inputs that changed.
#[test]
fn explain_lists_the_inputs_that_changed_since_the_previous_build() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init"), Shared::Built("volume")]);
    let (keys, spec) = (bench.path("keys"), bench.path("spec.yaml"));
    run(&["keys", "init", "lab", "--keys", keys.to_str().unwrap()]).succeeds();
    let text = own_lab();
    let build = |text: &str| {
        fs::write(&spec, text).unwrap();
        let more = ["--keys", keys.to_str().unwrap(), "--format", "raw", "--explain"];
        crate::ran::Ran::of(&mut bench.image_of(spec.to_str().unwrap(), &more)).succeeds().err
    };
    let has = |output: &str, part: &str, end: &str| {
        assert!(output.lines().any(|line| line.starts_with(part) && line.ends_with(end)), "{part}: {output}");
    };
    let output = build(&text);
    has(&output, "root", "from the store");
    has(&output, "uki", "built: no previous build in this folder");
    let output = build(&text.replacen("sizeGiB: 14", "sizeGiB: 20", 1));
    for part in ["kubedos-init", "root", "payload", "uki"] {
        has(&output, part, "as before");
    }
    has(&output, "configuration", "built, changed: shards/cp-1.toml");
    has(&output, "", "1 of 1 segments compressed");
    has(&build(&text), "configuration", "from the store");
}

/// C1: an edit of the spec changes only the configuration, its statement and the UUIDs of its partitions.
#[test]
fn a_spec_edit_changes_only_the_configuration() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init"), Shared::Built("volume")]);
    let keys = bench.path("keys");
    let keys = keys.to_str().unwrap();
    run(&["keys", "init", "lab", "--keys", keys]).succeeds();
    let text = own_lab();
    let edited = text.replacen("metadata:\n", "metadata:\n  generation: 2\n", 1).replacen(
        "sizeGiB: 14",
        "sizeGiB: 20",
        1,
    );
    let mut images = Vec::new();
    for (name, text) in [("one", &text), ("two", &edited)] {
        let spec = bench.path(&format!("{name}.yaml"));
        fs::write(&spec, text).unwrap();
        let out = bench.path(name);
        let more = ["--keys", keys, "--format", "raw", "--out", out.to_str().unwrap()];
        crate::ran::Ran::of(&mut bench.image_of(spec.to_str().unwrap(), &more)).succeeds();
        images.push(out.join("lab-0.1.0.raw").to_str().unwrap().to_owned());
        run(&["verify", images.last().unwrap(), "--keys", keys]).succeeds();
    }
    let ran = run(&["diff", &images[0], &images[1], "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let parts: Vec<&String> = found["differences"].as_object().unwrap().keys().collect();
    assert_eq!(
        parts,
        [
            "configuration",
            "files of configuration",
            "partition configuration-a",
            "partition configuration-a-hash",
            "partition configuration-a-sig",
            "volume configuration",
        ]
    );
    let generation = &found["differences"]["configuration"][0];
    assert_eq!(
        (&generation["field"], &generation["a"], &generation["b"]),
        (&"generation".into(), &1.into(), &2.into())
    );
    // Only files that contain the generation differ, and only in their bytes.
    let files = found["differences"]["files of configuration"].as_array().unwrap();
    assert!(
        files.iter().any(|file| file["path"] == "cluster.toml" && file["field"] == "content"),
        "{files:?}"
    );
    for file in files {
        assert!(matches!(file["field"].as_str().unwrap(), "content" | "bytes"), "{file}");
        assert!(file["path"].as_str().unwrap().ends_with(".toml"), "{file}");
    }
    // Compared with an image that was built with other keys, the UKI differs in its keys and its signature.
    let ran = run(&["diff", &images[0], product().file("raw").to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("uki.boot.configuration_keys"), "{ran:?}");
}

/// C0: after `keys rotate configuration --drop-old`, `verify` accepts the same configurations as a node, and refuses a statement that the dropped key signed.
#[test]
fn new_images_refuse_statements_of_a_dropped_configuration_key() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init"), Shared::Built("volume")]);
    let keys = bench.path("keys");
    let keys = keys.to_str().unwrap();
    run(&["keys", "init", "lab", "--keys", keys]).succeeds();
    let image = |name: &str| {
        let spec = bench.path("spec.yaml");
        fs::write(&spec, own_lab()).unwrap();
        let out = bench.path(name);
        let more = ["--keys", keys, "--format", "raw", "--out", out.to_str().unwrap()];
        crate::ran::Ran::of(&mut bench.image_of(spec.to_str().unwrap(), &more)).succeeds();
        out.join("lab-0.1.0.raw")
    };
    let before = image("before");
    run(&["keys", "rotate", "lab", "configuration", "--drop-old", "--keys", keys]).succeeds();
    run(&["verify", before.to_str().unwrap(), "--keys", keys])
        .fails(4, &["boot manifest: it accepts configuration keys other than those of lab"]);
    let after = image("after");
    for with in [&["--keys", keys][..], &[]] {
        run(&[&["verify", after.to_str().unwrap()], with].concat()).succeeds();
    }
    let (old, new) = (document(&before), document(&after));
    assert_eq!(old["configuration"]["cluster_id"], new["configuration"]["cluster_id"]);
    assert_eq!(new["configuration"]["accepted"], true);
    let boot = |shown: &Value| {
        let programs = shown["programs"].as_array().unwrap().clone();
        programs.iter().find_map(|program| program["uki"].get("boot").cloned()).unwrap()
    };
    assert_eq!(boot(&old)["identity"], boot(&new)["identity"]);
    assert_ne!(boot(&old)["configuration_keys"], boot(&new)["configuration_keys"]);

    // Put the statement of the dropped key for the same volume into the new image.
    let (from, to) = (disk(&before), disk(&after));
    let role = Role::Volume(Volume::Configuration, Area::Signature, Slot::A);
    let ((start, len), (at, _)) = (partition(&from, role), partition(&to, role));
    let mut statement = vec![0; usize::try_from(len).unwrap()];
    from.source().read_exact_at(&mut statement, start).unwrap();
    File::options().write(true).open(&after).unwrap().write_all_at(&statement, at).unwrap();
    for with in [&["--keys", keys][..], &[]] {
        run(&[&["verify", after.to_str().unwrap()], with].concat())
            .fails(4, &["configuration signature: not signed by a trusted key (trusted keys: 1)"]);
    }
    let shown = document(&after);
    assert_eq!(shown["configuration"]["accepted"], false);
    assert!(shown["configuration"]["refusal"].as_str().unwrap().starts_with("not signed by a trusted key"));
}

/// C0: a seed has the floors and the incarnation of its spec, unless options set others.
#[test]
fn a_seed_has_the_floors_of_its_spec() {
    let bench = Bench::new(&[]);
    let (keys, spec) = (bench.path("keys"), bench.path("spec.yaml"));
    let (keys, spec) = (keys.to_str().unwrap(), spec.to_str().unwrap());
    run(&["keys", "init", "lab", "--keys", keys]).succeeds();
    let text = own_lab();
    let text = text.replacen("metadata:\n", "metadata:\n  generation: 5\n", 1);
    fs::write(spec, text.replacen("- name: cp-1\n", "- name: cp-1\n        incarnation: 3\n", 1)).unwrap();
    let out = bench.path("out");
    let seed = |more: &[&str]| {
        let common = ["seed", "--json", "--spec", spec, "--keys", keys, "--node", "cp-1", "--out"];
        run(&[&common[..], &[out.to_str().unwrap()], more].concat())
    };
    for (more, incarnation, generation, release) in [
        (&[][..], 3, 5, env!("CARGO_PKG_VERSION")),
        (&["--incarnation", "4"], 4, 5, env!("CARGO_PKG_VERSION")),
        (&["--generation-floor", "2", "--minimum-release", "0.0.9"], 3, 2, "0.0.9"),
    ] {
        let printed: Value = serde_json::from_str(&seed(more).succeeds().out).unwrap();
        let shown = document(&out.join("seeds/cp-1.img"));
        for seed in [&printed, &shown["seed"]] {
            assert_eq!(seed["incarnation"], incarnation, "{seed}");
            assert_eq!(
                (&seed["generation_floor"], &seed["minimum_release"]),
                (&generation.into(), &release.into())
            );
        }
    }
    seed(&["--incarnation", "2"]).fails(2, &["the spec expects incarnation 3 of cp-1", "help:"]);
    seed(&["--minimum-release", "0.1"]).fails(2, &["not a release"]);
}

/// C0: an image must not refuse its own configuration, so a spec that demands a newer release is refused before the build.
#[test]
fn a_spec_that_demands_a_newer_release_is_not_built() {
    let bench = Bench::new(&[Shared::Packages, Shared::Built("init")]);
    let (keys, spec) = (bench.path("keys"), bench.path("spec.yaml"));
    run(&["keys", "init", "lab", "--keys", keys.to_str().unwrap()]).succeeds();
    let text = own_lab();
    fs::write(&spec, text.replacen("metadata:\n", "metadata:\n  minimumRelease: 99.0.0\n", 1)).unwrap();
    let more = ["--keys", keys.to_str().unwrap(), "--format", "raw"];
    let ran = crate::ran::Ran::of(&mut bench.image_of(spec.to_str().unwrap(), &more));
    assert!(ran.code != Some(0) && ran.err.contains("metadata.minimumRelease is 99.0.0"), "{ran:?}");
}

#[test]
fn equal_images_are_equal_in_every_format() {
    let (raw, qcow2) = (product().file("raw"), product().file("qcow2"));
    let (raw, qcow2) = (raw.to_str().unwrap(), qcow2.to_str().unwrap());
    run(&["diff", raw, raw]).succeeds();
    let ran = run(&["diff", raw, qcow2]).succeeds();
    assert!(ran.err.contains("are equal"), "{ran:?}");
    let folder = product().folder.to_str().unwrap();
    run(&["diff", folder, folder]).succeeds();
    run(&["diff", raw, product().file("efi").to_str().unwrap()]).fails(2, &["cannot be compared"]);
}

/// `diff` compares the bytes of the partitions, so it finds a difference that no parsed structure shows.
#[test]
fn a_difference_in_unused_bytes_is_found() {
    let bench = Bench::new(&[]);
    let path = bench.path("copy.raw");
    copy(&product().file("raw"), &path);
    let (start, _) = partition(&disk(&path), Role::Volume(Volume::Root, Area::Data, Slot::A));
    File::options().write(true).open(&path).unwrap().write_all_at(&[0xa5], start + 8192 + 3).unwrap();
    let ran = run(&["diff", product().file("raw").to_str().unwrap(), path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out
            .contains("partition root-a\n  content: 1 block of 4096 bytes differs, the first is block 2\n"),
        "{ran:?}"
    );
}

/// Damaged structures give a report or an error, never a panic or unbounded memory use.
#[test]
fn damaged_images_give_a_report_or_an_error() {
    let bench = Bench::new(&[]);
    let path = bench.path("copy.raw");
    copy(&product().file("raw"), &path);
    let built = disk(&path);
    let at = |role| partition(&built, role).0;
    let volume = |volume, area| at(Role::Volume(volume, area, Slot::A));
    let end = fs::metadata(&path).unwrap().len();
    let esp = at(Role::Esp);
    let regions = [
        (0, 1024),
        (1024, 2048),
        (32_768, 10_240),
        (end - 17_408, 17_408),
        (esp, 1024),
        (esp + 16_384, 4096),
        // The directories and the headers of the two programs are at the start of the clusters.
        (esp + 1_060_864, 16_384),
        (volume(Volume::Configuration, Area::Signature), 500),
        (volume(Volume::Root, Area::Hash), 512),
        (volume(Volume::Root, Area::Data) + 1024, 200),
        (volume(Volume::Configuration, Area::Data) + 1024, 3072),
        (at(Role::Seed), 64),
    ];
    drop(built);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut chance = StdRng::seed_from_u64(0x6b75_6265_646f_7321);
    let mut shown = 0;
    for round in 0..200 {
        let (start, len) = regions[round % regions.len()];
        let mut before = vec![0; usize::try_from(len).unwrap()];
        file.read_exact_at(&mut before, start).unwrap();
        let mut after = before.clone();
        for _ in 0..chance.gen_range(1..12) {
            let place = chance.gen_range(0..after.len());
            after[place] = if chance.gen_bool(0.5) {
                chance.r#gen()
            } else {
                [0, 0xff, 0x7f, 0x80][chance.gen_range(0..4)]
            };
        }
        file.write_all_at(&after, start).unwrap();
        if let Ok(report) = inspect::inspect(&path, Trees::Counted) {
            let text = report.to_string();
            assert!(!text.contains('\u{1b}') && text.len() < 1 << 20);
            shown += 1;
        }
        if round < 2 * regions.len() {
            drop(kubedos_builder::verify::verify(&path, None));
        }
        file.write_all_at(&before, start).unwrap();
    }
    assert!(shown > 50, "too few of the damaged images gave a report: {shown}");
}

#[test]
fn truncated_and_foreign_files_give_a_report_or_an_error() {
    let bench = Bench::new(&[]);
    for ending in ["raw", "qcow2", "efi"] {
        let path = bench.path(&format!("cut.{ending}"));
        copy(&product().file(ending), &path);
        let mut length = fs::metadata(&path).unwrap().len();
        let file = File::options().write(true).open(&path).unwrap();
        while length > 0 {
            length = if length > 4096 { length / 3 } else { length.saturating_sub(701) };
            file.set_len(length).unwrap();
            let path = path.to_str().unwrap();
            let code = run(&["inspect", path]).code;
            assert!(matches!(code, Some(0 | 1)), "{ending} of {length}: {code:?}");
            let code = run(&["verify", path]).code;
            assert!(matches!(code, Some(1 | 4)), "{ending} of {length}: {code:?}");
        }
    }
    let file = |name: &str, bytes: &[u8]| {
        let path = bench.path(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, code, expected) in [
        (file("empty", b""), 1, "is not a kubedOS output"),
        (file("text", b"hello"), 1, "is not a kubedOS output"),
        (file("json", b"{\"version\": 1}"), 1, "is not a manifest"),
        (file("deep", "{\"a\":".repeat(100_000).as_bytes()), 1, "is not a manifest"),
        (file("mz", b"MZ"), 1, "ends inside"),
        (file("statement", b"KUBEDST1"), 1, "the statement is truncated"),
        (bench.path("nowhere").to_str().unwrap().to_owned(), 2, "nowhere"),
        (bench.path("").to_str().unwrap().to_owned(), 1, "is a directory"),
        ("/dev/zero".to_owned(), 1, "neither a file nor a block device"),
    ] {
        run(&["inspect", &path]).fails(code, &[expected]);
    }
    // Opening a named pipe would block until there is a writer.
    let pipe = bench.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    run(&["inspect", pipe.to_str().unwrap()]).fails(1, &["neither a file nor a block device"]);
    // A manifest of many gigabytes is not read. A sparse file is enough for the test.
    let large = bench.path("large");
    let large_file = File::create(&large).unwrap();
    large_file.write_all_at(b"{", 0).unwrap();
    large_file.set_len(8 << 30).unwrap();
    run(&["inspect", large.to_str().unwrap()]).fails(1, &["larger than any manifest"]);
}
