//! The roster as a document: versions, unknown fields, values that occur twice, and the clusters that may have it.

use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::{ClusterId, PublicKey};
use kubedos_wire::node::{ClusterDocument, DEMO_IDENTITY, MAX_BYTES, Roster};
use proptest::prelude::*;

use crate::clusters::{self, CLUSTER, Cluster, Node, small};

pub const ROSTER: &str = include_str!("../golden/roster-v1.toml");

#[test]
fn a_roster_of_version_1_round_trips() {
    let roster = Roster::parse(ROSTER).unwrap();
    assert_eq!(roster.nodes[1].node.as_str(), "w-1");
    assert_eq!(roster.to_toml().unwrap(), ROSTER);
}

#[test]
fn an_unknown_field_is_ignored_and_an_unknown_version_or_kind_is_refused() {
    let newer = ROSTER
        .replacen("generation = 3\n", "generation = 3\nunknown = { a = [1] }\n", 1)
        .replacen("role = \"worker\"\n", "role = \"worker\"\npods = \"10.244.2.0/24\"\n", 1)
        .replacen("member = \"10.101.0.2\"\n", "member = \"10.101.0.2\"\nepoch = 1\n", 1);
    assert_eq!(newer.lines().count(), ROSTER.lines().count() + 3);
    assert_eq!(Roster::parse(&newer).unwrap(), Roster::parse(ROSTER).unwrap());
    let later = "version = 2\nother = \"field\"\n";
    assert!(matches!(Roster::parse(later), Err(DocumentError::Version { found: 2, newest: 1 })));
    assert!(matches!(Roster::parse(&ROSTER.replacen("fixed", "signed", 1)), Err(DocumentError::Form(_))));
    assert!(matches!(Roster::parse(&" ".repeat(MAX_BYTES + 1)), Err(DocumentError::TooLong { .. })));
}

/// A node must not take a name, id, key, address or endpoint of another node, in any spelling.
#[test]
fn a_value_that_occurs_twice_is_refused() {
    let first = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    // The same point with bit 255, which X25519 ignores.
    let top = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Lg=";
    let second = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
    let worker = "role = \"worker\"\n";
    let own_planes = format!("[nodes.planes.wg2]\nkey = \"{second}\"\nmember = \"10.102.0.2\"\n");
    let cases = [
        ("name cp-1", ROSTER.replacen("node = \"w-1\"", "node = \"cp-1\"", 1)),
        ("id 1", ROSTER.replacen("id = 2", "id = 1", 1)),
        ("key xTIB", ROSTER.replacen(second, first, 1)),
        ("key xTIB", ROSTER.replacen(second, top, 1)),
        ("key TrMv", ROSTER.replacen("[operators]", &format!("{own_planes}\n[operators]"), 1)),
        ("address 10.101.0.1", ROSTER.replacen("\"10.101.0.2\"", "\"10.101.0.1\"", 1)),
        ("address ::ffff:10.101.0.1", ROSTER.replacen("\"10.101.0.2\"", "\"::ffff:10.101.0.1\"", 1)),
        ("address 10.101.0.2", ROSTER.replacen("10.101.0.126", "10.101.0.2", 1)),
        ("endpoint 192.0.2.11", ROSTER.replacen(worker, &format!("{worker}endpoint = \"192.0.2.11\"\n"), 1)),
    ];
    for (what, text) in cases {
        assert_ne!(text, ROSTER, "{what}");
        let error = Roster::parse(&text).unwrap_err();
        assert!(matches!(error, DocumentError::Twice { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}

/// The writer refuses what the reader refuses.
#[test]
fn a_roster_that_a_reader_refuses_is_not_written() {
    let mut roster = Roster::parse(ROSTER).unwrap();
    let node = roster.nodes[0].clone();
    roster.nodes.push(node);
    assert!(matches!(roster.to_toml(), Err(DocumentError::Twice { what: "name", .. })));
    let one = Cluster { nodes: vec![Node { id: 1, ..small().nodes[0].clone() }], operators: 0, ..small() };
    let mut large = one.roster();
    let node = large.nodes.remove(0);
    for number in 1..=5000_u32 {
        let mut node = node.clone();
        node.node = format!("node-{number}").parse().unwrap();
        node.id = number.try_into().unwrap();
        node.endpoint = None;
        for (index, plane) in node.planes.values_mut().enumerate() {
            let number = number * 4 + u32::try_from(index).unwrap();
            plane.member = std::net::Ipv4Addr::from(number).into();
            plane.key = clusters::key(&number.to_string());
        }
        large.nodes.push(node);
    }
    assert!(matches!(large.to_toml(), Err(DocumentError::TooLong { .. })));
}

/// The mark alone is not enough, because it is only a value in the document: the id must be one of the demo keys.
#[test]
fn a_cluster_with_other_keys_may_have_no_fixed_roster() {
    let roster = Roster::parse(ROSTER).unwrap();
    let cluster = |demo_keys, cluster_id, name: &str| {
        let cluster = ClusterDocument::parse(CLUSTER).unwrap();
        ClusterDocument { demo_keys, cluster_id, name: name.parse().unwrap(), ..cluster }
    };
    let demo = ClusterId::derive(&DEMO_IDENTITY, "lab-01");
    let own = ClusterId::derive(&PublicKey::new([7; 32]), "lab-01");
    roster.check_demo(&cluster(true, demo, "lab-01")).unwrap();
    for refused in [
        cluster(false, demo, "lab-01"),
        cluster(true, own, "lab-01"),
        cluster(false, own, "lab-01"),
        cluster(true, demo, "lab-02"),
    ] {
        assert!(matches!(roster.check_demo(&refused), Err(DocumentError::NotDemo)), "{refused:?}");
    }
}

proptest! {
    #[test]
    fn a_roster_of_a_cluster_round_trips(cluster in clusters::clusters()) {
        let roster = cluster.roster();
        prop_assert_eq!(Roster::parse(&roster.to_toml().unwrap()).unwrap(), roster);
    }
}
