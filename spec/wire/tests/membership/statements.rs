//! The statements: round trips, every bound, and signatures by keys that must not sign.

use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::{ClusterId, Digest, InstanceId};
use kubedos_wire::membership::statements::{
    ArmList, AuthorityStatement, Body, GenesisToken, GrantStatement, OrderStatement, RevokedIncarnation,
    SignedGrant, StatementRefusal, Verb, WithDigest, arm_digest, open,
};
use kubedos_wire::node::{OperatorRole, Role};
use kubedos_wire::statement::{self, Domain, Signer, StatementError};
use kubedos_wire::value::NodeId;

use super::fixture::{
    CLUSTER, CONTROL_PLANES, Key, authority, authority_body, enrolment, name, one, plane_key, stated,
    token_body,
};

const SEED_KEY: &str = "seed key";

fn signed(domain: Domain, text: &str, key: &str) -> Vec<u8> {
    statement::write(domain, text, &[&Key::new(key)]).unwrap()
}

fn read<B: Body>(text: &str) -> Result<WithDigest<B>, StatementRefusal> {
    let key = Key::new("key").public_key();
    open(&signed(B::DOMAIN, text, "key"), &[key], CLUSTER).map(|(body, _)| body)
}

/// Everything that holds for all kinds: a round trip, an unknown field, the version, the cluster, the domain, the key.
fn common<B: Body + Clone + PartialEq + std::fmt::Debug>(body: &B) -> String {
    let (emitted, text) = WithDigest::emit(body.clone()).unwrap();
    assert_eq!(read::<B>(&text).unwrap(), emitted);
    let later = format!("later = 1\n{text}");
    let ignored = read::<B>(&later).unwrap();
    assert_eq!(ignored.body(), body);
    assert_ne!(ignored.digest(), emitted.digest(), "the digest covers the field that was ignored");
    for version in ["version = 0", "version = 2"] {
        let refused = read::<B>(&text.replacen("version = 1", version, 1)).unwrap_err();
        assert!(matches!(refused, StatementRefusal::Document(DocumentError::Version { .. })), "{refused}");
    }
    let foreign = text.replacen(&CLUSTER.to_string(), &ClusterId::new([1; 32]).to_string(), 1);
    assert!(matches!(read::<B>(&foreign), Err(StatementRefusal::Foreign { .. })));
    let keys = [Key::new("key").public_key()];
    let by_other = signed(B::DOMAIN, &text, "another key");
    let refused = open::<B>(&by_other, &keys, CLUSTER).unwrap_err();
    assert_eq!(refused, StatementRefusal::Statement(StatementError::UnknownSigner(1)));
    for domain in
        [Domain::Seed, Domain::Grant, Domain::Authority, Domain::Genesis, Domain::ArmList, Domain::Order]
    {
        let accepted = open::<B>(&signed(domain, &text, "key"), &keys, CLUSTER).is_ok();
        assert_eq!(accepted, domain == B::DOMAIN, "{domain:?}");
    }
    text
}

/// Each replacement makes the text one that is refused, with a message about it.
fn refused<B: Body + std::fmt::Debug>(text: &str, cases: &[(&str, &str, &str)]) {
    for (from, to, message) in cases {
        let bad = text.replacen(from, to, 1);
        assert_ne!(&bad, text, "{from}");
        let refused = read::<B>(&bad).unwrap_err().to_string();
        assert!(refused.contains(message), "{to}: {refused}");
    }
}

#[test]
fn an_authority_set_is_checked() {
    let text = common(&authority_body(3, &CONTROL_PLANES));
    let key = |node: &str| Key::roster(node).signer().to_string();
    let issuer = authority_body(3, &CONTROL_PLANES).members[0].issuer.to_string();
    let second = authority_body(3, &CONTROL_PLANES).members[1].issuer.to_string();
    let weak = format!("01{}", "00".repeat(31));
    refused::<AuthorityStatement>(
        &text,
        &[
            ("number = 3", "number = 0", "nonzero"),
            ("threshold = 2", "threshold = 1", "`threshold`"),
            ("threshold = 2", "threshold = 4", "`threshold`"),
            ("threshold = 2", "threshold = -1", "invalid"),
            ("incarnation = 1", "incarnation = 0", "nonzero"),
            ("\"cp-2\"", "\"cp-1\"", "the member cp-1 twice"),
            ("\"cp-2\"", "\"CP-2\"", "node-name"),
            (&key("cp-2"), &key("cp-1"), "the roster key"),
            (&key("cp-2"), &weak, "small order"),
            (&second, &issuer, "the issuer"),
            ("roster_key", "rooster_key", "missing field `roster_key`"),
        ],
    );
    // A majority, and not more than all, for every number of members.
    for members in 1..=9_u8 {
        let names: Vec<String> = (1..=members).map(|n| format!("cp-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for threshold in 0..=12 {
            let body = AuthorityStatement { threshold, ..authority_body(1, &names) };
            assert_eq!(body.check().is_ok(), threshold * 2 > members && threshold <= members, "{threshold}");
        }
    }
    let ten: Vec<String> = (0..10).map(|n| format!("cp-{n}")).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    assert_eq!(authority_body(1, &ten).check(), Err(DocumentError::Value("members")));
    let none = AuthorityStatement { members: vec![], threshold: 0, ..authority_body(1, &["cp-1"]) };
    assert!(none.check().is_err() && WithDigest::emit(none).is_err());
}

/// The digest is that of the body: a second signature by another trust key makes no other set.
#[test]
fn the_digest_does_not_depend_on_the_signatures() {
    let set = authority(1, &CONTROL_PLANES);
    let (_, text) = WithDigest::emit(set.body().clone()).unwrap();
    let (old, new) = (Key::new("old trust key"), Key::new("new trust key"));
    let both = statement::write(Domain::Authority, &text, &[&old, &new]).unwrap();
    for key in [old, new] {
        let (read, signer) = open::<AuthorityStatement>(&both, &[key.public_key()], CLUSTER).unwrap();
        assert!(read == set && read.reference() == set.reference() && signer == key.public_key());
    }
}

fn token() -> GenesisToken {
    GenesisToken {
        epoch_floor: 41,
        revoked: [4, 9]
            .map(|id| RevokedIncarnation { id: NodeId::new(id).unwrap(), incarnation: one(2) })
            .into(),
        carry: Some(Digest::new([5; 32])),
        arm: Some(arm_digest(&[Digest::new([6; 32])])),
        ..token_body(2, &authority(1, &CONTROL_PLANES), &CONTROL_PLANES)
    }
}

#[test]
fn a_genesis_token_is_checked() {
    let text = common(&token());
    common(&token_body(1, &authority(1, &CONTROL_PLANES), &["cp-1"]));
    refused::<GenesisToken>(
        &text,
        &[
            ("lineage = 2", "lineage = 0", "nonzero"),
            ("epoch_floor = 41", "epoch_floor = -1", "invalid"),
            ("epoch_floor = 41", "epoch_floor = 9223372036854775807", "`epoch_floor`"),
            ("\"cp-2\"", "\"cp-1\"", "the control plane cp-1 twice"),
            ("id = 4", "id = 9", "`revoked`"),
            ("id = 4", "id = 10", "`revoked`"),
            ("id = 4", "id = 0", "node id"),
            ("sha256 = \"", "sha256 = \"0", "64"),
        ],
    );
    let none = GenesisToken { control_planes: vec![], ..token() };
    assert_eq!(none.check(), Err(DocumentError::Value("control_planes")));
}

/// The digest of arm lists depends on each list and on their order.
#[test]
fn the_arm_digest_covers_all_lists_in_their_order() {
    let [a, b] = [Digest::new([1; 32]), Digest::new([2; 32])];
    let all = [arm_digest(&[]), arm_digest(&[a]), arm_digest(&[b]), arm_digest(&[a, b]), arm_digest(&[b, a])];
    assert_eq!(std::collections::BTreeSet::from(all).len(), 5);
}

fn grant() -> GrantStatement {
    GrantStatement {
        cluster_id: CLUSTER,
        node: name("w-1"),
        id: NodeId::new(4).unwrap(),
        incarnation: one(1),
        role: Role::Worker,
        voucher_key: Some(Key::new("voucher of w-1").signer()),
        births: [("wg1".parse().unwrap(), plane_key("birth"))].into(),
    }
}

fn signed_grant(key: &str) -> SignedGrant {
    let (_, text) = WithDigest::emit(grant()).unwrap();
    SignedGrant::new(signed(Domain::Grant, &text, key)).unwrap()
}

#[test]
fn a_grant_is_checked() {
    let text = common(&grant());
    common(&GrantStatement { voucher_key: None, ..grant() });
    let birth = plane_key("birth").to_string();
    refused::<GrantStatement>(
        &text,
        &[
            ("id = 4", "id = 0", "node id"),
            ("incarnation = 1", "incarnation = 0", "nonzero"),
            ("role = \"worker\"", "role = \"Worker\"", "unknown variant"),
            ("\"w-1\"", "\"../w-1\"", "node-name"),
            ("wg1", "lo", "plane-name"),
            (&format!("wg1 = \"{birth}\""), "", "`births`"),
            (&birth, "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "small order"),
        ],
    );
}

/// Attack: a control plane makes a grant for a machine of its own.
#[test]
fn a_grant_by_another_key_is_refused() {
    let seed_keys = [Key::new(SEED_KEY).public_key()];
    let opened = signed_grant(SEED_KEY).open(&seed_keys, CLUSTER).unwrap();
    assert_eq!(opened.body(), &grant());
    for other in ["roster key of cp-3", "voucher of w-1", "ada"] {
        assert!(signed_grant(other).open(&seed_keys, CLUSTER).is_err(), "{other}");
    }
    assert!(signed_grant(SEED_KEY).open(&seed_keys, ClusterId::new([1; 32])).is_err());
    // A seed is signed by the same key, but it is no grant.
    let (_, text) = WithDigest::emit(grant()).unwrap();
    let as_seed = SignedGrant::new(signed(Domain::Seed, &text, SEED_KEY)).unwrap();
    assert!(as_seed.open(&seed_keys, CLUSTER).is_err());
    assert!(SignedGrant::new(vec![0; 4097]).is_err() && SignedGrant::new(vec![]).is_err());
}

#[test]
fn an_arm_list_is_checked() {
    let list = ArmList { cluster_id: CLUSTER, grants: vec![signed_grant(SEED_KEY); 2] };
    let text = common(&list);
    refused::<ArmList>(&text, &[("[\"", "[\"!", "base64"), ("grants = [", "grants = [\"\",", "base64")]);
    assert!(ArmList { grants: vec![], ..list.clone() }.check().is_err());
    assert!(ArmList { grants: vec![signed_grant(SEED_KEY); 129], ..list.clone() }.check().is_err());
    // A statement has at most 64 KiB, which is fewer than 128 grants of usual size.
    let size = String::from(signed_grant(SEED_KEY)).len();
    let fits = |count: usize| {
        WithDigest::emit(ArmList { grants: vec![signed_grant(SEED_KEY); count], ..list.clone() }).is_ok()
    };
    assert!(fits(64_000 / (size + 4)) && !fits(128), "a grant has {size} bytes");
}

fn verbs() -> Vec<(Verb, OperatorRole, OperatorRole)> {
    use OperatorRole::{Admin, Operator};
    let (node, incarnation, sequence) = (name("w-1"), one(1), 7);
    let fingerprint = Digest::new([3; 32]);
    let grant = || signed_grant(SEED_KEY);
    vec![
        (Verb::Arm { grant: grant(), sequence }, Operator, Operator),
        (Verb::Open { grant: grant(), sequence }, Operator, Operator),
        (Verb::Approve { node: node.clone(), incarnation, fingerprint }, Operator, Operator),
        (Verb::Deny { node: node.clone(), incarnation, fingerprint }, Operator, Operator),
        (Verb::Revoke { node: node.clone(), incarnation }, Admin, Admin),
        (Verb::RevokeOperator { key: Key::new("bob").signer() }, Admin, Admin),
        (Verb::Replace { node: node.clone(), incarnation, grant: grant(), sequence }, Operator, Admin),
        (Verb::Rotate { node: None, plane: "wg2".parse().unwrap() }, Operator, Operator),
        (Verb::Rotate { node: Some(node.clone()), plane: "wg2".parse().unwrap() }, Operator, Operator),
        (Verb::Floor { generation: 12 }, Admin, Admin),
        (Verb::Reboot { node: node.clone(), incarnation }, Operator, Operator),
        (Verb::Drain { node: node.clone(), incarnation }, Operator, Operator),
        (Verb::Reset { node, incarnation }, Admin, Admin),
    ]
}

fn order(verb: Verb) -> OrderStatement {
    OrderStatement {
        cluster_id: CLUSTER,
        instance: InstanceId::new([0x11; 32]),
        operator: "ada".parse().unwrap(),
        serial: 5,
        time: 1_763_300_000,
        verb,
    }
}

/// Every verb has its least role for workers and for control planes, and its time.
#[test]
fn every_order_round_trips_and_has_its_role() {
    let mut texts = std::collections::BTreeSet::new();
    for (verb, for_worker, for_control_plane) in verbs() {
        assert_eq!(verb.least_role(Role::Worker), for_worker, "{verb:?}");
        assert_eq!(verb.least_role(Role::ControlPlane), for_control_plane, "{verb:?}");
        let order = order(verb);
        let is_short = matches!(order.verb, Verb::Reboot { .. } | Verb::Drain { .. } | Verb::Reset { .. });
        let tolerance = if is_short { 120 } else { 86_400 };
        assert!(order.is_current(order.time - tolerance) && order.is_current(order.time + tolerance));
        assert!(
            !order.is_current(order.time - tolerance - 1) && !order.is_current(order.time + tolerance + 1)
        );
        texts.insert(common(&order));
    }
    assert_eq!(texts.len(), 13);
}

#[test]
fn an_order_is_checked() {
    let of = |number: usize| WithDigest::emit(order(verbs().swap_remove(number).0)).unwrap().1;
    refused::<OrderStatement>(
        &of(0),
        &[
            ("serial = 5", "serial = 0", "`serial`"),
            ("serial = 5", "serial = -5", "invalid"),
            ("time = 1763300000", "time = \"now\"", "invalid type"),
            ("operator = \"ada\"", "operator = \"Ada\"", "operator-name"),
            ("verb = \"arm\"", "verb = \"erase\"", "unknown variant `erase`"),
            ("verb = \"arm\"", "verb = \"replace\"", "missing field"),
            ("verb = \"arm\"\n", "", "missing field `verb`"),
            ("sequence = 7", "sequence = 0", "`sequence`"),
            ("grant = \"", "grant = \"*", "base64"),
        ],
    );
    refused::<OrderStatement>(&of(4), &[("incarnation = 1", "incarnation = 0", "nonzero")]);
    refused::<OrderStatement>(&of(9), &[("generation = 12", "generation = -1", "invalid")]);
}

/// Attack: a control plane that relays an order changes a byte of it, or sends it as another operator's.
#[test]
fn a_changed_order_is_refused() {
    let (_, text) = WithDigest::emit(order(verbs().swap_remove(10).0)).unwrap();
    let keys = [Key::new("ada").public_key(), Key::new("bob").public_key()];
    let bytes = signed(Domain::Order, &text, "ada");
    let (read, signer) = open::<OrderStatement>(&bytes, &keys, CLUSTER).unwrap();
    assert_eq!((read.body().operator.as_str(), signer), ("ada", keys[0]));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(open::<OrderStatement>(&changed, &keys, CLUSTER).is_err(), "byte {at}");
    }
}

/// Attack: an approval is used for another request. The request's digest is different for every key and field.
#[test]
fn an_approval_of_another_request_does_not_match() {
    use kubedos_wire::membership::codec::Encoded;
    let request = enrolment("w-1", 4, 1);
    let others = [
        enrolment("w-1", 4, 2),
        enrolment("w-1", 5, 1),
        enrolment("w-2", 4, 1),
        kubedos_wire::membership::records::EnrolmentRequest {
            node_key: Key::new("attacker").signer(),
            ..request.clone()
        },
        kubedos_wire::membership::records::EnrolmentRequest {
            instance: InstanceId::new([0x12; 32]),
            ..request.clone()
        },
    ];
    assert!(others.iter().all(|other| other.digest() != request.digest()));
    let approved = stated(
        order(Verb::Approve { node: name("w-1"), incarnation: one(1), fingerprint: request.digest() }),
        "ada",
    );
    let Verb::Approve { fingerprint, .. } = &approved.body().verb else { unreachable!() };
    assert_eq!(*fingerprint, request.digest());
}
