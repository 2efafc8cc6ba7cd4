//! Tests of versions, unknown fields and round trips of both documents (ADR 0003).

use super::*;

const SHARD_1: &str = include_str!("../../tests/golden/shard-v1.toml");
const SHARD: &str = include_str!("../../tests/golden/shard-v2.toml");
const CLUSTER: &str = include_str!("../../tests/golden/cluster-v1.toml");

#[test]
fn a_shard_of_version_2_round_trips() {
    let shard = Shard::parse(SHARD).unwrap();
    assert_eq!(shard.node.as_str(), "cp-1");
    assert_eq!(shard.system_disk().unwrap().rule.as_ref().unwrap().serial.as_deref(), Some("S3Z1NB0K"));
    assert_eq!(shard.to_toml().unwrap(), SHARD);
}

/// A shard of an earlier release expects the first incarnation; all other fields are the same.
#[test]
fn a_shard_of_version_1_expects_the_first_incarnation() {
    let shard = Shard::parse(SHARD_1).unwrap();
    assert_eq!(shard, Shard { version: 1, incarnation: 1, ..Shard::parse(SHARD).unwrap() });
    assert_eq!(Shard::parse(&format!("incarnation = 9\n{SHARD_1}")).unwrap(), shard);
    for bad in ["incarnation = 0", "incarnation = -1", "incarnation = 4294967296", "# incarnation"] {
        assert!(Shard::parse(&SHARD.replacen("incarnation = 2", bad, 1)).is_err(), "{bad}");
    }
}

#[test]
fn a_cluster_document_of_version_1_round_trips() {
    let cluster = ClusterDocument::parse(CLUSTER).unwrap();
    assert_eq!(cluster.control_planes[0].node.as_str(), "cp-1");
    assert_eq!(cluster.to_toml().unwrap(), CLUSTER);
}

#[test]
fn an_unknown_field_is_ignored_and_an_unknown_version_is_refused() {
    let newer = SHARD
        .replacen("version = 2\n", "version = 2\nunknown = { a = [1] }\n", 1)
        .replacen("minSizeGiB = 60\n", "minSizeGiB = 60\nmodel = \"x\"\n", 1)
        .replacen("[underlay.interfaces.match]\n", "[underlay.interfaces.match]\ndriver = \"x\"\n", 1);
    assert_eq!(newer.lines().count(), SHARD.lines().count() + 3);
    assert_eq!(Shard::parse(&newer).unwrap(), Shard::parse(SHARD).unwrap());
    let other = CLUSTER.replacen("version = 1\n", "version = 2\n", 1);
    assert!(matches!(ClusterDocument::parse(&other), Err(DocumentError::Version { found: 2, newest: 1 })));
    assert!(matches!(
        Shard::parse("version = 7\nother = \"field\"\n"),
        Err(DocumentError::Version { found: 7, newest: 2 })
    ));
    assert!(matches!(Shard::parse("node = \"cp-1\"\n"), Err(DocumentError::Form(_))));
}

#[test]
fn hostile_documents_are_refused() {
    let error = Shard::parse(&" ".repeat(MAX_BYTES + 1)).unwrap_err();
    assert_eq!(error, DocumentError::TooLong { length: MAX_BYTES + 1, most: MAX_BYTES });
    for (from, to) in
        [("node = \"cp-1\"", "node = \"../cp-1\""), ("id = 1", "id = 0"), ("port = 51820", "port = 651820")]
    {
        let bad = SHARD.replacen(from, to, 1);
        assert_ne!(bad, SHARD, "{from}");
        assert!(Shard::parse(&bad).is_err(), "{to}");
    }
}
