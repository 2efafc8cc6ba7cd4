//! Tests of ValidateShard with folders instead of the configuration volume and the attached devices.

use super::*;
use std::fs;
use std::path::Path;

use kubedos_image::boot::{BootManifest, BootParts};
use kubedos_wire::hex32::{ClusterId, PublicKey, RootHash, Salt};
use kubedos_wire::node::DEMO_IDENTITY;
use kubedos_wire::release::Release;
use kubedos_wire::seal::Seal;
use kubedos_wire::statement::{self, ConfigurationStatement, Domain};

use crate::seed::media::tests::{boot_disk, device};
use crate::seed::tests::{GOOD, Key, Minted};

const CLUSTER: &str = include_str!("../../../../../spec/wire/tests/golden/cluster-v1.toml");
const SHARD: &str = include_str!("../../../../../spec/wire/tests/golden/shard-v2.toml");
const ROSTER: &str = include_str!("../../../../../spec/wire/tests/golden/roster-v1.toml");
const SEAL: Seal = Seal { root_hash: RootHash::new([1; 32]), salt: Salt::new([2; 32]), data_blocks: 12 };

/// A machine in a folder: the files from stage 1, the configuration volume, and devices. Generation 3, cp-1 with
/// incarnation 2.
struct Scene {
    root: tempfile::TempDir,
    handover: Handover,
}

/// The matching seed: the cluster's id derives from the identity.
fn good() -> Minted {
    Minted { incarnation: 2, floor: 3, cluster: *id().as_bytes(), ..GOOD }
}

fn id() -> ClusterId {
    ClusterId::derive(&Key::new(8).public(), "lab-01")
}

impl Scene {
    fn new() -> Self {
        Self::with_identity(Key::new(8).public(), false)
    }

    /// A machine whose image has this identity.
    fn with_identity(identity: PublicKey, demo_keys: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let id = ClusterId::derive(&identity, "lab-01");
        let handover = Handover { cluster_id: id.to_string(), ..handover() };
        let scene = Self { handover, root };
        boot_disk(scene.root.path(), "vda", &[]);
        let manifest = BootManifest::new(BootParts {
            release: Release::new(0, 1, 0),
            epoch: 1,
            identity,
            root: SEAL,
            payload: SEAL,
            configuration_keys: &[Key::new(9).public()],
        });
        scene.write("verity.toml", manifest.unwrap().emit().unwrap());
        scene.sign(3, 9, id);
        let mut cluster = ClusterDocument::parse(CLUSTER).unwrap();
        cluster.cluster_id = id;
        cluster.seed_keys = vec![Key::new(1).public()];
        cluster.demo_keys = demo_keys;
        scene.write("cluster.toml", cluster.to_toml().unwrap());
        fs::create_dir(scene.path("shards")).unwrap();
        scene.write("shards/cp-1.toml", SHARD);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Replaces the statement.
    fn sign(&self, generation: u64, signer: u8, id: ClusterId) {
        let release = Release::new(0, 1, 0);
        let statement = ConfigurationStatement::new("lab-01".into(), id, generation, release, SEAL).unwrap();
        let body = statement.emit().unwrap();
        let signed = statement::write(Domain::Configuration, &body, &[&Key::new(signer)]).unwrap();
        self.write("configuration.kst", signed);
    }

    fn attach(&self, name: &str, seed: Minted) {
        let bytes = seed.on(name).bytes.unwrap();
        let file = device(self.root.path(), name, bytes.len() as u64);
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    }

    fn attempt(&self) -> Result<Step<Identity>, ShardError> {
        let root: &Path = self.root.path();
        let places = Places {
            root: root.into(),
            configuration: root.into(),
            handed_over: HandedOver {
                manifest: self.path("verity.toml"),
                statement: self.path("configuration.kst"),
            },
        };
        attempt(&places, &self.handover, &UnenrolledKey::new().unwrap())
    }

    fn refusal(&self) -> String {
        kubedos_wire::printable::chain(&self.attempt().err().unwrap())
    }
}

fn handover() -> Handover {
    Handover {
        configuration_hash: SEAL.root_hash.to_string(),
        cluster: "lab-01".into(),
        cluster_id: id().to_string(),
        generation: 3,
        epoch: 1,
        ..kubedos_wire::sample::handover()
    }
}

fn unchanged(step: Step<Identity>) -> (Identity, String) {
    match step {
        Step::Unchanged { output, note } => (output, note.unwrap()),
        _ => panic!("not unchanged"),
    }
}

#[test]
fn the_seed_of_the_expected_incarnation_determines_the_node() {
    let scene = Scene::new();
    scene.attach("vdb", good());
    let (identity, note) = unchanged(scene.attempt().unwrap());
    assert_eq!((identity.shard.node.as_str(), identity.seed.incarnation), ("cp-1", 2));
    assert_eq!(note, "seed on vdb, incarnation 2");
    let scene = Scene::new();
    scene.attach("vdb", Minted { incarnation: 3, ..good() });
    let (_, note) = unchanged(scene.attempt().unwrap());
    assert_eq!(note, "seed on vdb, incarnation 3, later than incarnation 2, which the configuration expects");
}

/// C0: a boot below a floor halts in ValidateShard, before the stage Disks reads any disk.
#[test]
fn a_boot_below_a_floor_halts() {
    for (seed, says) in [
        (Minted { incarnation: 1, ..good() }, "expects incarnation 2"),
        (Minted { floor: 4, ..good() }, "has generation 3, below the floor 4 of the seed"),
    ] {
        let scene = Scene::new();
        scene.attach("vdb", seed);
        let error = scene.attempt().err().unwrap();
        assert_eq!(error.class(), Class::Halt);
        assert!(scene.refusal().contains(says), "{}", scene.refusal());
    }
}

/// C0: the agent checks the configuration again that stage 1 has opened: hand-over, statement and volume must agree.
#[test]
fn a_configuration_that_the_image_does_not_accept_halts() {
    type Change = fn(&mut Scene);
    let changes: [(&str, Change); 8] = [
        ("not signed by a trusted key (trusted keys: 1)", |scene| scene.sign(3, 8, id())),
        ("signed for a different cluster", |scene| scene.sign(3, 9, ClusterId::new([3; 32]))),
        ("the statement is empty (only zero bytes)", |scene| scene.write("configuration.kst", [])),
        ("generation is 3 in the hand-over, but 4 in the signed statement", |scene| scene.sign(4, 9, id())),
        ("configuration root hash is 22 in the hand-over, but 01", |scene| {
            scene.handover.configuration_hash = "22".into();
        }),
        ("cluster id is 22 in the hand-over, but ", |scene| scene.handover.cluster_id = "22".into()),
        ("generation is 9 in cluster.toml, but 3 in the signed statement", |scene| {
            let text = fs::read_to_string(scene.path("cluster.toml")).unwrap();
            scene.write("cluster.toml", text.replacen("generation = 3", "generation = 9", 1));
        }),
        ("the boot manifest cannot be used", |scene| scene.write("verity.toml", "version = 3\n")),
    ];
    for (says, change) in changes {
        let mut scene = Scene::new();
        scene.attach("vdb", good());
        change(&mut scene);
        assert!(scene.refusal().contains(says), "{}", scene.refusal());
        assert_eq!(scene.attempt().err().unwrap().class(), Class::Halt, "{says}");
    }
}

/// A configuration without a roster is complete; with the demo keys it may have one.
#[test]
fn a_roster_is_read_in_a_cluster_with_the_demo_keys() {
    let scene = Scene::new();
    scene.attach("vdb", good());
    assert!(unchanged(scene.attempt().unwrap()).0.roster.is_none());
    let scene = Scene::with_identity(DEMO_IDENTITY, true);
    let cluster = *ClusterId::derive(&DEMO_IDENTITY, "lab-01").as_bytes();
    scene.attach("vdb", Minted { cluster, ..good() });
    assert!(unchanged(scene.attempt().unwrap()).0.roster.is_none());
    scene.write("roster.toml", ROSTER);
    let (identity, _) = unchanged(scene.attempt().unwrap());
    assert_eq!(identity.roster.unwrap().nodes.len(), 2);
}

/// A signed configuration with a fixed roster does not work outside the demo: everybody can compute the private keys. The mark
/// of `cluster.toml` does not help, because the cluster's id must be one of the demo keys.
#[test]
fn a_fixed_roster_without_the_demo_keys_halts() {
    for (identity, marked) in
        [(Key::new(8).public(), false), (Key::new(8).public(), true), (DEMO_IDENTITY, false)]
    {
        let scene = Scene::with_identity(identity, marked);
        let cluster = *ClusterId::derive(&identity, "lab-01").as_bytes();
        scene.attach("vdb", Minted { cluster, ..good() });
        unchanged(scene.attempt().unwrap());
        scene.write("roster.toml", ROSTER);
        let says = "roster.toml cannot be used: a fixed roster is allowed only with the published demo keys";
        assert!(scene.refusal().contains(says), "{}", scene.refusal());
        assert_eq!(scene.attempt().err().unwrap().class(), Class::Halt);
    }
}

/// Only a missing roster is no error.
#[test]
fn a_roster_that_cannot_be_used_halts() {
    for (says, text) in [
        ("document has an invalid form", "version = 1\n".to_owned()),
        ("document has version 2", ROSTER.replacen("version = 1", "version = 2", 1)),
        ("the document has the id 1 twice", ROSTER.replacen("id = 2", "id = 1", 1)),
        (
            "generation is 4 in roster.toml, but 3 in cluster.toml",
            ROSTER.replacen("generation = 3", "generation = 4", 1),
        ),
    ] {
        let scene = Scene::with_identity(DEMO_IDENTITY, true);
        scene.write("roster.toml", text);
        assert!(scene.refusal().contains(says), "{}", scene.refusal());
        assert_eq!(scene.attempt().err().unwrap().class(), Class::Halt);
    }
    let scene = Scene::with_identity(DEMO_IDENTITY, true);
    fs::create_dir(scene.path("roster.toml")).unwrap();
    assert!(scene.refusal().contains("failed to read"), "{}", scene.refusal());
}

/// Without a usable seed the node waits and reports why it skips each candidate; the text fits into one record.
#[test]
fn a_node_with_only_bad_seeds_waits_and_reports_them() {
    let scene = Scene::new();
    let note = |scene: &Scene| match scene.attempt().unwrap() {
        Step::Waiting { on, note } if on == "seed" => note.unwrap(),
        _ => panic!("not waiting"),
    };
    let start = "no seed on any device; attach a seed from `kubedos-build seed` (fingerprint of the key of this node: ";
    assert!(note(&scene).starts_with(start), "{}", note(&scene));
    for name in ["vdb", "vdc", "vdd", "vde", "vdf"] {
        scene.attach(name, Minted { signer: 2, ..good() });
    }
    let text = note(&scene);
    assert!(
        text.starts_with("no usable seed; attach a seed from `kubedos-build seed` (fingerprint of "),
        "{text}"
    );
    assert!(text.contains("; skipped: vdb is not a signed seed of this cluster: "), "{text}");
    assert!(text.ends_with("; and 2 more") && text.len() < 700, "{text}");
    scene.attach("sr0", good());
    let (_, text) = unchanged(scene.attempt().unwrap());
    assert!(text.starts_with("seed on sr0, incarnation 2; skipped: vdb "), "{text}");
}
