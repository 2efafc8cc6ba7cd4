//! Tests of the key directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kubedos_image::efi_signatures::{AuthenticatedVariable, Variable, certificates};
use kubedos_image::pkcs7::Signer;
use kubedos_wire::hex32::ClusterId;
use kubedos_wire::statement::{self, Domain};

use super::{Init, KeyDir, KeyError, PublicKeys, Role, files, plan_init, plan_rotate};

const NOW: u64 = 1_790_000_000;

fn init(path: &Path) -> KeyDir {
    let init = Init { cluster: "lab".into(), now: NOW, demo: false };
    plan_init(path, init).unwrap().apply().unwrap()
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// T1: secrets are readable by their owner only, with any umask; the public half is readable by everybody.
#[test]
fn secrets_are_readable_by_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys/lab");
    let keys = init(&path);
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        let expected = if entry.file_name() == "public" { 0o755 } else { 0o600 };
        assert_eq!(mode(&entry.path()), expected, "{:?}", entry.file_name());
    }
    assert_eq!(mode(&path.join("public/keys.toml")), 0o644);
    assert!(keys.has_root());

    for exposed in [0o710, 0o704, 0o755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        assert!(matches!(KeyDir::open(&path), Err(KeyError::Exposed { .. })), "{exposed:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(path.join("seed-1.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let keys = KeyDir::open(&path).unwrap();
    assert!(matches!(keys.seed_signer(), Err(KeyError::Exposed { mode: 0o640, .. })));
    keys.configuration_signer().unwrap();
}

#[test]
fn without_a_certificate_no_program_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys = init(&folder.path().join("lab"));
    keys.secure_boot_signer().unwrap();
    keys.public.secure_boot.db.clear();
    assert!(matches!(keys.secure_boot_certificate(), Err(KeyError::NoCertificate { .. })));
    assert!(matches!(keys.secure_boot_signer(), Err(KeyError::NoCertificate { .. })));
}

#[test]
fn keys_are_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let planned = |init| plan_init(&path, init);
    let lab = Init { cluster: "lab".into(), now: NOW, demo: false };
    let plan = planned(lab.clone()).unwrap();
    // Another process creates the directory between plan and apply.
    init(&path);
    let before = fs::read(path.join("root-ca.key")).unwrap();
    assert!(matches!(plan.apply(), Err(KeyError::Exists { .. })));
    assert!(matches!(planned(lab.clone()), Err(KeyError::Exists { .. })));
    assert_eq!(fs::read(path.join("root-ca.key")).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary folder is left");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(plan_init(&empty, lab), Err(KeyError::Exists { .. })));
}

/// D2: the plan lists exactly the files that are written.
#[test]
fn a_plan_writes_the_listed_files_when_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let plan = plan_init(&path, Init { cluster: "lab".into(), now: NOW, demo: false }).unwrap();
    assert!(!path.exists());
    let mut planned: Vec<String> = plan
        .files()
        .iter()
        .map(|line| line.strip_prefix("write ").unwrap().split(' ').next().unwrap().to_owned())
        .collect();
    plan.apply().unwrap();
    let names = |at: &Path, prefix: &str| -> Vec<String> {
        fs::read_dir(at)
            .unwrap()
            .map(|entry| format!("{prefix}{}", entry.unwrap().file_name().to_str().unwrap()))
            .filter(|name| name != "public")
            .collect()
    };
    let mut written = names(&path, "");
    written.extend(names(&path.join("public"), "public/"));
    planned.sort();
    written.sort();
    assert_eq!(planned, written);
}

/// T1: image and seed need neither the root CA's key nor the intermediate's.
#[test]
fn the_root_key_may_be_absent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    init(&path);
    for name in ["root-ca.key", "intermediate-ca-1.key", "PK-1.key", "KEK-1.key"] {
        fs::remove_file(path.join(name)).unwrap();
    }
    let keys = KeyDir::open(&path).unwrap();
    assert!(!keys.has_root());
    keys.configuration_signer().unwrap();
    keys.seed_signer().unwrap();
    keys.secure_boot_signer().unwrap();
    keys.node_secrets(keys.public().cluster_id("lab"), "cp-1", 1).unwrap();
    assert!(matches!(plan_rotate(&path, Role::Intermediate, false, NOW), Err(KeyError::NoRoot { .. })));
}

/// A build machine without secrets has only the public half.
#[test]
fn the_public_half_is_sufficient_and_contains_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let keys = init(&path);
    assert_eq!(&PublicKeys::open(&path.join("public")).unwrap(), keys.public());
    for entry in fs::read_dir(path.join("public")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(11).any(|window| window == b"PRIVATE KEY"));
    }
}

#[test]
fn signers_sign_what_the_public_half_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let keys = init(&folder.path().join("lab"));
    for (signer, public, domain) in [
        (keys.configuration_signer().unwrap(), &keys.public().configuration, Domain::Configuration),
        (keys.seed_signer().unwrap(), &keys.public().seed, Domain::Seed),
    ] {
        let bytes = statement::write(domain, "version = 1\n", &[&signer]).unwrap();
        statement::read(&bytes).unwrap().verify(domain, public).unwrap();
    }
    let secure_boot = &keys.public().secure_boot;
    assert_eq!(keys.secure_boot_signer().unwrap().certificate(), secure_boot.db[0]);
    for (variable, auth, signer, listed) in [
        (Variable::Pk, &secure_boot.enrolment.pk, &secure_boot.pk, &secure_boot.pk),
        (Variable::Kek, &secure_boot.enrolment.kek, &secure_boot.pk, &secure_boot.kek),
        (Variable::Db, &secure_boot.enrolment.db, &secure_boot.kek, &secure_boot.db[0]),
    ] {
        let read = AuthenticatedVariable::parse(auth).unwrap();
        read.verify(variable, &[signer]).unwrap();
        let (_, certificate) = certificates(read.list).unwrap()[0];
        assert_eq!(certificate, listed);
    }
}

#[test]
fn a_secret_that_does_not_match_the_public_half_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("lab"), folder.path().join("other"));
    let keys = init(&path);
    init(&other);
    for name in ["configuration-1.key", "seed-1.key", "db-1.key"] {
        fs::copy(other.join(name), path.join(name)).unwrap();
    }
    assert!(matches!(keys.configuration_signer(), Err(KeyError::Pair { .. })));
    assert!(matches!(keys.seed_signer(), Err(KeyError::Pair { .. })));
    assert!(matches!(keys.secure_boot_signer(), Err(KeyError::Pair { .. })));
    for content in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        fs::write(path.join("seed-1.key"), content).unwrap();
        assert!(matches!(keys.seed_signer(), Err(KeyError::Malformed { .. })));
    }
}

/// T5: the secrets of one node do not open a disk of a different node, incarnation or cluster; and a seed can be minted again.
#[test]
fn node_secrets_are_reproducible_and_belong_to_one_incarnation() {
    let folder = tempfile::tempdir().unwrap();
    let keys = init(&folder.path().join("lab"));
    let (ours, theirs) = (keys.public().cluster_id("lab"), ClusterId::new([1; 32]));
    let secrets = |cluster, node: &str, incarnation| {
        let secrets = keys.node_secrets(cluster, node, incarnation).unwrap();
        [*secrets.disk.expose(), *secrets.birth.expose()]
    };
    let first = secrets(ours, "cp-1", 1);
    assert_eq!(first, secrets(ours, "cp-1", 1));
    let mut all = vec![first];
    for (cluster, node, incarnation) in
        [(ours, "cp-1", 2), (ours, "cp-2", 1), (ours, "cp-11", 1), (theirs, "cp-1", 1), (ours, "cp-1", 256)]
    {
        all.push(secrets(cluster, node, incarnation));
    }
    let mut flat: Vec<[u8; 32]> = all.concat();
    assert!(flat.iter().skip(1).step_by(2).all(|birth| birth[0] & 7 == 0 && birth[31] & 0xc0 == 0x40));
    flat.sort_unstable();
    flat.dedup();
    assert_eq!(flat.len(), 12, "all secrets differ");
}

/// The derivation must never change, because existing disks must open. The vectors come from an independent HKDF (RFC 5869).
#[test]
fn the_demo_nodes_keys_are_pinned() {
    let keys = KeyDir::open(&project().join("keys/demo")).unwrap();
    let secrets = keys.node_secrets(ClusterId::new([7; 32]), "cp-1", 3).unwrap();
    assert_eq!(
        hex::encode(secrets.disk.expose()),
        "0113f4ddab1fc949abc0e8dea112969b23cfcbc67a8d1c83011867b525e0fbcc"
    );
    assert_eq!(
        hex::encode(secrets.birth.expose()),
        "906669ab5ef9cb0b3a7e61e0c3d82a7cda05d96c36cb59f643af74d4dd027846"
    );
}

#[test]
fn rotation_signs_with_the_new_key_and_accepts_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let before = init(&path).public().clone();
    for role in [Role::Configuration, Role::Seed, Role::Intermediate, Role::SecureBoot] {
        plan_rotate(&path, role, false, NOW).unwrap().apply().unwrap();
    }
    let keys = KeyDir::open(&path).unwrap();
    let after = keys.public();
    assert_eq!(after.configuration[..1], before.configuration[..]);
    assert_eq!(after.seed[..1], before.seed[..]);
    assert_eq!(after.intermediate_ca[..1], before.intermediate_ca[..]);
    assert_eq!(after.secure_boot.db[..1], before.secure_boot.db[..]);
    assert_eq!(after.cluster_id("lab"), before.cluster_id("lab"), "the cluster stays the same");
    assert_eq!(keys.configuration_signer().unwrap().public(), &after.configuration[1]);
    assert_eq!(keys.seed_signer().unwrap().public(), &after.seed[1]);
    assert_eq!(keys.secure_boot_signer().unwrap().certificate(), after.secure_boot.db[1]);
    let (old, new) = (&before.secure_boot.enrolment.db, &after.secure_boot.enrolment.db);
    let (old, new) = (AuthenticatedVariable::parse(old).unwrap(), AuthenticatedVariable::parse(new).unwrap());
    new.verify(Variable::Db, &[&after.secure_boot.kek]).unwrap();
    assert_eq!(certificates(new.list).unwrap().len(), 2);
    assert!(
        new.time[2..] > old.time[2..],
        "the time increases even if the clock does not, because firmware requires a later time"
    );

    for role in [Role::Configuration, Role::Seed, Role::Intermediate, Role::SecureBoot] {
        plan_rotate(&path, role, true, NOW).unwrap().apply().unwrap();
    }
    let last = KeyDir::open(&path).unwrap();
    let lengths = (
        last.public().configuration.len(),
        last.public().seed.len(),
        last.public().intermediate_ca.len(),
        last.public().secure_boot.db.len(),
    );
    assert_eq!(lengths, (1, 1, 1, 1));
    assert_eq!(
        last.public().cluster_id("lab"),
        before.cluster_id("lab"),
        "also when the first key is dropped"
    );
    for name in ["configuration-1.key", "configuration-2.key", "seed-1.key", "db-2.key"] {
        assert!(!path.join(name).exists(), "{name}");
    }
    assert!(path.join("root-ca.key").exists());
}

/// The demo keys are accepted for the examples only, under any name and from any folder.
#[test]
fn demo_keys_are_accepted_for_the_examples_only() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, examples) = (folder.path().join("keys/demo"), folder.path().join("examples"));
    copy(&project().join("keys/demo"), &keys);
    fs::create_dir(&examples).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o755)).unwrap();
    let (example, own) = (examples.join("lab.yaml"), folder.path().join("prod.yaml"));
    fs::write(&example, "").unwrap();
    fs::write(&own, "").unwrap();
    assert!(KeyDir::open_for(&keys, &example, "lab").unwrap().public().demo);
    let refused = KeyDir::open_for(&keys, &own, "lab");
    assert!(matches!(refused, Err(KeyError::DemoKeys { .. })));
    let outside = examples.join("../prod.yaml");
    assert!(matches!(KeyDir::open_for(&keys, &outside, "lab"), Err(KeyError::DemoKeys { .. })));

    // A copy that does not set `demo` is recognised by its keys.
    let hidden = folder.path().join("keys/prod");
    copy(&keys, &hidden);
    for name in ["keys.toml", "public/keys.toml"] {
        let text = fs::read_to_string(hidden.join(name)).unwrap();
        let text = text.replace("demo = true", "demo = false").replace("\"demo\"", "\"prod\"");
        fs::write(hidden.join(name), text).unwrap();
    }
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(KeyDir::open_for(&hidden, &own, "prod"), Err(KeyError::HiddenDemo { .. })));
}

/// An index that declares demo keys makes no other secret readable by everybody.
#[test]
fn only_published_secrets_may_be_readable_by_others() {
    let demo = project().join("keys/demo");
    for entry in fs::read_dir(&demo).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "key") {
            let digest = kubedos_debian::digest::Sha256::of(&fs::read(&path).unwrap()).to_string();
            assert!(files::PUBLISHED.contains(&digest.as_str()), "{}", path.display());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let cluster = init(&path).public().cluster_id("lab");
    for name in ["keys.toml", "public/keys.toml"] {
        let text = fs::read_to_string(path.join(name)).unwrap();
        fs::write(path.join(name), text.replace("demo = false", "demo = true")).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let open = || KeyDir::open(&path).unwrap();
    open().configuration_signer().unwrap();
    open().node_secrets(cluster, "cp-1", 1).unwrap();
    for name in ["configuration-1.key", "seed-1.key", "db-1.key", "node-master-1.key"] {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert!(matches!(open().configuration_signer(), Err(KeyError::Exposed { mode: 0o644, .. })));
    assert!(matches!(open().seed_signer(), Err(KeyError::Exposed { .. })));
    assert!(matches!(open().secure_boot_signer(), Err(KeyError::Exposed { .. })));
    assert!(matches!(open().node_secrets(cluster, "cp-1", 1), Err(KeyError::Exposed { .. })));
}

/// A key directory that contains a part of the demo keys: each part is recognised by its bytes.
#[test]
fn a_directory_with_a_part_of_the_demo_keys_is_refused() {
    let demo = project().join("keys/demo");
    for (own, published) in [
        ("public/root-ca.crt", "public/root-ca.crt"),
        ("public/intermediate-ca-1.crt", "public/intermediate-ca-1.crt"),
        ("public/db-1.crt", "public/db-1.crt"),
        ("public/KEK-1.crt", "public/KEK-1.crt"),
        ("public/PK-1.crt", "public/PK-1.crt"),
        ("public/db-1.crt", "public/PK-1.crt"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lab");
        init(&path);
        fs::copy(demo.join(published), path.join(own)).unwrap();
        assert!(matches!(KeyDir::open(&path), Err(KeyError::HiddenDemo { .. })), "{published} as {own}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    let keys = init(&path);
    let cluster = keys.public().cluster_id("lab");
    keys.node_secrets(cluster, "cp-1", 1).unwrap();
    fs::write(path.join("node-master-1.key"), fs::read(demo.join("node-master-1.key")).unwrap()).unwrap();
    assert!(matches!(keys.node_secrets(cluster, "cp-1", 1), Err(KeyError::HiddenDemo { .. })));
}

#[test]
fn keys_for_a_different_cluster_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    init(&path);
    let spec = folder.path().join("spec.yaml");
    KeyDir::open_for(&path, &spec, "lab").unwrap();
    assert!(matches!(KeyDir::open_for(&path, &spec, "prod"), Err(KeyError::OtherCluster { .. })));
}

/// ADR 0003: an index with an unknown field or version is rejected, and it cannot refer to files outside its folder.
#[test]
fn an_unknown_index_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab");
    init(&path);
    for (name, from, to) in [
        ("public/keys.toml", "version = 1", "version = 2"),
        ("public/keys.toml", "demo = false", "demo = false\nextra = 1"),
        ("public/keys.toml", "root-ca.crt", "../root-ca.key"),
        ("public/keys.toml", "db = [\"db-1.crt\"]", "db = []"),
        ("public/keys.toml", "db = [\"db-1.crt\"]", "db = [\"root-ca.crt\"]"),
        ("keys.toml", "version = 1", "version = 2"),
        ("keys.toml", "cluster = \"lab\"", "cluster = \"prod\""),
        ("keys.toml", "seed-1.key", "/etc/passwd"),
        ("keys.toml", "seed = ", "sead = "),
    ] {
        let file = path.join(name);
        let good = fs::read_to_string(&file).unwrap();
        assert!(good.contains(from), "{from}");
        fs::write(&file, good.replace(from, to)).unwrap();
        assert!(KeyDir::open(&path).is_err(), "{name}: {to}");
        fs::write(&file, good).unwrap();
    }
    KeyDir::open(&path).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
