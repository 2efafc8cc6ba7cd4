//! Documents that programs write for programs, and signed statements.

use kubedos_agent::stages::disks::fake_disks;
use kubedos_agent::stages::disks::node_record::{self, NodeRecord, Verdict};
use kubedos_image::boot::{BootManifest, BootParts};
use kubedos_spec::allocation::Allocation;
use kubedos_wire::document::DocumentError;
use kubedos_wire::handover::Handover;
use kubedos_wire::hex32::{PublicKey, RootHash, Salt, Secret32};
use kubedos_wire::modules::{Module, ModuleTable};
use kubedos_wire::node::{ClusterDocument, Roster, Shard};
use kubedos_wire::record::{MAX_BYTES, Outcome, Record};
use kubedos_wire::release::Release;
use kubedos_wire::seal::Seal;
use kubedos_wire::statement::{self, ConfigurationStatement, Domain, Floors, Seed as NodeSeed};

use crate::frugal::{LITTLE, Most, NOTHING, frugal};
use crate::{Seed, Target, keys};

pub(crate) const TARGETS: [Target; 9] = [
    Target { name: "statement", property: statement, seeds: statement_seeds, mutants: 20_000 },
    Target { name: "statement_body", property: statement_body, seeds: statement_body_seeds, mutants: 20_000 },
    Target { name: "boot_manifest", property: boot_manifest, seeds: boot_manifest_seeds, mutants: 50_000 },
    Target { name: "node_documents", property: node_documents, seeds: node_documents_seeds, mutants: 20_000 },
    Target { name: "allocation", property: allocation, seeds: allocation_seeds, mutants: 50_000 },
    Target { name: "module_table", property: module_table, seeds: module_table_seeds, mutants: 50_000 },
    Target { name: "handover", property: handover, seeds: handover_seeds, mutants: 50_000 },
    Target { name: "node_record", property: node_record, seeds: node_record_seeds, mutants: 50_000 },
    Target { name: "record", property: record, seeds: record_seeds, mutants: 100_000 },
];

/// The limit for a TOML document: the parser keeps an event per character, and a table for each part of a dotted key, which takes two
/// characters.
pub(crate) const TOML: Most = Most { factor: 1024, constant: 64 << 10 };

/// Reading a statement does not allocate. The statement verifies for at most one domain. If its body is signed again, the new statement
/// verifies for the same domain and has the same body.
fn statement(input: &[u8]) {
    let Ok(read) = frugal(NOTHING, 0, || statement::read(input)) else { return };
    let own = &input[..read.encoded_len()];
    assert!(statement::read(own).unwrap().signers().eq(read.signers()));
    assert!((1..=8).contains(&read.signers().count()));
    let keys = keys::trusted();
    let [seed, configuration] =
        [Domain::Seed, Domain::Configuration].map(|domain| read.verify(domain, &keys).ok());
    assert!(seed.is_none() || configuration.is_none());
    if let Some(verified) = seed.or(configuration) {
        let again = keys::signed(verified.domain(), verified.body());
        assert_eq!(
            statement::read(&again).unwrap().verify(verified.domain(), &keys).unwrap().body(),
            verified.body()
        );
    }
}

fn statement_seeds() -> Vec<Seed> {
    let mut padded = keys::signed(Domain::Configuration, "version = 1\n");
    padded.resize(padded.len() + 64, 0);
    vec![("seed", keys::signed(Domain::Seed, "version = 1\n")), ("in-a-partition", padded)]
}

/// The kind (1 byte) and a body, which this function signs. Round trip: read the body, write it, and read it again; both values are equal.
fn statement_body(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let Ok(body) = std::str::from_utf8(body) else { return };
    if body.len() > 65_536 {
        return;
    }
    let domain = if kind % 2 == 0 { Domain::Configuration } else { Domain::Seed };
    let signed = keys::signed(domain, body);
    let verified = statement::read(&signed).unwrap().verify(domain, &keys::trusted()).unwrap();
    assert_eq!(verified.body(), body);
    let again = |body: &str| keys::signed(domain, body);
    let claims = statement::read(&signed).unwrap().claims();
    if let Ok(configuration) = frugal(TOML, body.len(), || ConfigurationStatement::parse(&verified)) {
        assert_eq!(claims.configuration().as_ref(), Ok(&configuration));
        let again = again(&configuration.emit().unwrap());
        let verified = statement::read(&again).unwrap().verify(domain, &keys::trusted()).unwrap();
        assert_eq!(ConfigurationStatement::parse(&verified).unwrap(), configuration);
    }
    if let Ok(seed) = frugal(TOML, body.len(), || NodeSeed::parse(&verified)) {
        let claimed = claims.seed().unwrap();
        assert_eq!((&claimed.node, claimed.incarnation), (&seed.node, seed.incarnation));
        assert_eq!((claimed.has_voucher, &claimed.floors), (seed.voucher.is_some(), &seed.floors));
        let text = seed.emit().unwrap();
        let again = again(&text);
        let verified = statement::read(&again).unwrap().verify(domain, &keys::trusted()).unwrap();
        assert_eq!(NodeSeed::parse(&verified).unwrap().emit().unwrap(), text);
    }
}

fn statement_body_seeds() -> Vec<Seed> {
    let seal = Seal { root_hash: RootHash::new([1; 32]), salt: Salt::new([2; 32]), data_blocks: 5 };
    let cluster_id = keys::cluster_id("lab");
    let configuration =
        ConfigurationStatement::new("lab".into(), cluster_id, 3, Release::new(0, 1, 0), seal).unwrap();
    let configuration = configuration.emit().unwrap();
    let mut seed = NodeSeed {
        cluster: "lab".into(),
        cluster_id,
        node: "cp-1".into(),
        incarnation: 1,
        floors: Some(Floors { generation: 3, release: Release::new(0, 1, 0) }),
        disk_key: Secret32::new([7; 32]),
        birth_key: Secret32::new([8; 32]),
        voucher: Some(String::from("voucher").into()),
    };
    let of = |kind: u8, body: &str| [&[kind], body.as_bytes()].concat();
    let with_floors = of(1, &seed.emit().unwrap());
    seed.floors = None;
    let without_floors = of(1, &seed.emit().unwrap());
    vec![
        ("configuration", of(0, &configuration)),
        ("seed", with_floors),
        ("seed-of-version-1", without_floors),
    ]
}

/// Round trip: read a manifest, write it, and read it again; both manifests are equal.
fn boot_manifest(input: &[u8]) {
    let Ok(manifest) = frugal(TOML, input.len(), || BootManifest::parse(input)) else { return };
    assert_eq!(BootManifest::parse(manifest.emit().unwrap().as_bytes()), Ok(manifest));
}

fn boot_manifest_seeds() -> Vec<Seed> {
    vec![("two-keys", boot_manifest_text().into_bytes())]
}

pub(crate) fn boot_manifest_text() -> String {
    let seal =
        |data_blocks| Seal { root_hash: RootHash::new([1; 32]), salt: Salt::new([2; 32]), data_blocks };
    let keys = [PublicKey::new([3; 32]), PublicKey::new([4; 32])];
    let manifest = BootManifest::new(BootParts {
        release: Release::new(0, 1, 0),
        epoch: 1_763_300_000,
        identity: PublicKey::new([5; 32]),
        root: seal(15_000),
        payload: seal(1),
        configuration_keys: &keys,
    });
    manifest.unwrap().emit().unwrap()
}

/// Round trip: read a shard, a cluster document or a roster, write it, and read it again; both documents are equal.
fn node_documents(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(shard) = frugal(TOML, input.len(), || Shard::parse(text)) {
        assert_eq!(Shard::parse(&shard.to_toml().unwrap()).unwrap(), shard);
    }
    if let Ok(cluster) = frugal(TOML, input.len(), || ClusterDocument::parse(text)) {
        assert_eq!(ClusterDocument::parse(&cluster.to_toml().unwrap()).unwrap(), cluster);
    }
    if let Ok(roster) = frugal(TOML, input.len(), || Roster::parse(text)) {
        match roster.to_toml() {
            Ok(text) => assert_eq!(Roster::parse(&text).unwrap(), roster),
            Err(error) => assert!(matches!(error, DocumentError::TooLong { .. }), "{error}"),
        }
    }
}

fn node_documents_seeds() -> Vec<Seed> {
    let plan = crate::specs::plan_of(&crate::specs::example("lab"));
    let (_, shard) = plan.shards().next().unwrap();
    let cluster = plan.cluster_document(&crate::specs::trust());
    vec![
        ("shard", shard.to_toml().unwrap().into_bytes()),
        ("cluster", cluster.to_toml().unwrap().into_bytes()),
        ("roster", include_bytes!("../../../spec/wire/tests/golden/roster-v1.toml").to_vec()),
    ]
}

/// Round trip: read an allocation file, write it, and read it again; both allocations are equal.
fn allocation(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(allocation) = frugal(TOML, input.len(), || Allocation::parse(text)) else { return };
    assert_eq!(Allocation::parse(&allocation.to_toml().unwrap()).unwrap(), allocation);
}

fn allocation_seeds() -> Vec<Seed> {
    let text = "version = 1\ncluster = \"lab\"\n\n[nodes]\ncp-1 = 1\nw-1 = 2\n\n[retired]\nw-2 = 3\n\n[operators]\ndemo = 1\n";
    vec![("one-retired", Allocation::parse(text).unwrap().to_toml().unwrap().into_bytes())]
}

/// Round trip: read a module table, write it, and read it again; both tables are equal.
/// In the load order, each module comes after the modules that it needs.
fn module_table(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(table) = frugal(TOML, input.len(), || ModuleTable::parse(text)) else { return };
    assert_eq!(ModuleTable::parse(&table.emit().unwrap()).as_ref(), Ok(&table));
    let order = table.order(table.modules.iter().map(|module| module.name.as_str()));
    assert_eq!(order.len(), table.modules.len());
    for (at, module) in order.iter().enumerate() {
        let before = |need: &String| order[..at].iter().any(|earlier| earlier.name == *need);
        assert!(module.needs.iter().all(before), "{} comes too early", module.name);
    }
}

fn module_table_seeds() -> Vec<Seed> {
    let module = |name: &str, needs: &[&str]| Module {
        name: name.into(),
        file: format!("{name}.ko.xz"),
        needs: needs.iter().map(|need| (*need).into()).collect(),
        aliases: vec![format!("virtio:d{name}v*")],
    };
    let table = ModuleTable {
        version: 1,
        kernel: "6.12".into(),
        always: vec!["dm_verity".into()],
        modules: vec![module("dm_verity", &["dm_mod"]), module("dm_mod", &[])],
    };
    vec![("two-modules", table.emit().unwrap().into_bytes())]
}

/// Round trip: read a hand-over, write it, and read it again; both hand-overs are equal.
fn handover(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(handover) = frugal(TOML, input.len(), || Handover::parse(text)) else { return };
    assert_eq!(Handover::parse(&handover.emit().unwrap()).unwrap(), handover);
}

fn handover_seeds() -> Vec<Seed> {
    let handover = Handover {
        boot_partuuid: Some("c12a7328-f81f-11d2-ba4b-00a0c93ec93b".into()),
        ..kubedos_wire::sample::handover()
    };
    vec![("from-disk", handover.emit().unwrap().into_bytes())]
}

/// Round trip: read a record, write it, read the result, and write it again; both texts are equal. Merging the record a second time with
/// the same record has no effect, unknown fields are kept, and floors never decrease.
fn node_record(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(then) = frugal(TOML, input.len(), || NodeRecord::parse(text)) else { return };
    let written = then.emit().unwrap();
    assert_eq!(NodeRecord::parse(&written).unwrap().emit().unwrap(), written);
    let is_current = then.version == node_record::VERSION && then == then.clone(); // a NaN in an unknown field is not equal to itself
    assert!(!is_current || node_record::judge(Some(&then), &then) == Verdict::Same);
    let now = fake_disks::record();
    let merged = node_record::merged(&then, &now);
    assert!(merged.generation_floor >= then.generation_floor && merged.clock_floor >= then.clock_floor);
    assert_eq!(node_record::merged(&merged, &now).emit().unwrap(), merged.emit().unwrap());
    assert_eq!(merged.unknown.len(), then.unknown.len());
}

fn node_record_seeds() -> Vec<Seed> {
    let whole = fake_disks::record().emit().unwrap();
    let newer = format!("roster_epoch = 9\n{whole}tpm = \"t\"\n\n[later]\ny = true\n");
    let version_1 = whole.replace("version = 2", "version = 1");
    vec![
        ("whole", whole.into_bytes()),
        ("unknown-fields", newer.into_bytes()),
        ("version-1", version_1.into_bytes()),
    ]
}

/// If a console line contains a record, then the line written from this record is within the kernel's limit, contains the same record, and
/// is written again with the same bytes.
fn record(input: &[u8]) {
    let line = String::from_utf8_lossy(input);
    let Some(found) = frugal(LITTLE, line.len(), || Record::find(&line)) else { return };
    let line = found.line();
    assert!(line.len() <= MAX_BYTES, "{} bytes: {line}", line.len());
    let again = Record::find(&line).unwrap_or_else(|| panic!("no record in {line}"));
    assert_eq!((again.n, &again.stage, again.outcome), (found.n, &found.stage, found.outcome));
    assert_eq!(again.line(), line);
}

fn record_seeds() -> Vec<Seed> {
    let mut record = Record::new(17, 12.345, "Disks", Outcome::Done);
    let short = format!("[   12.3] <6>{}\r", record.line());
    record.node = Some("cp-1".into());
    record.took_ms = Some(812);
    record.on = Some("a seed".into());
    record.error = Some("ü\n\"".repeat(10));
    record.attempt = Some(2);
    record.volume = Some("root".into());
    record.note = Some("a note".into());
    let whole = record.line();
    record.note = Some("n".repeat(2000));
    let long = format!("kubedos: {}", record.line().trim_start_matches("kubedos: "));
    vec![("short", short.into_bytes()), ("whole", whole.into_bytes()), ("cut", long.into_bytes())]
}
