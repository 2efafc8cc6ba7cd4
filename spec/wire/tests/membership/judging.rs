//! From bytes to the decision of a control plane: real records and statements with real signatures, judged by
//! [`kubedos_wire::membership::judge`]; and its agreement with `accept` about roots.

use std::collections::{BTreeMap, BTreeSet};

use kubedos_wire::membership::accept_root::{KnownRoster, OfferedRecords, RootOffer};
use kubedos_wire::membership::fields::{Extension, SharingValue};
use kubedos_wire::membership::proposal_form::{FormRefusal, check_form};
use kubedos_wire::membership::records::{
    EnrolmentRequest, KeyStep, NodeEntry, OperatorEntry, PlaneKeyChange, RecordKey, RosterRecord, Standing,
};
use kubedos_wire::membership::roster::RosterRecords;
use kubedos_wire::membership::signature::{Signable, Signature};
use kubedos_wire::membership::statements::{GrantStatement, SignedGrant, WithDigest};
use kubedos_wire::membership::verified::{Bytes, context};
use kubedos_wire::membership::{Check, Declared, Evidence, Knowledge, Known, Proposal, Root, accept, judge};
use kubedos_wire::node::Role;
use kubedos_wire::statement::{self, Domain, Signer};
use kubedos_wire::value::{NodeId, NodeName};
use proptest::prelude::*;

use super::fixture::{
    CLUSTER, CONTROL_PLANES, Key, after, decide, enrolment, name, next, node, one, plane_key, signed, started,
};

const SEED_KEY: &str = "seed key";

fn id_of(name: &NodeName) -> Option<NodeId> {
    let number = |name: &str| match name {
        "cp-1" => 1,
        "cp-2" => 2,
        "cp-3" => 3,
        "w-1" => 4,
        _ => 0,
    };
    NodeId::new(number(name.as_str()))
}

fn name_of(id: NodeId) -> Option<NodeName> {
    ["cp-1", "cp-2", "cp-3", "w-1"].into_iter().map(name).find(|name| id_of(name) == Some(id))
}

/// What `cp-1` knows.
fn knowledge(known: &KnownRoster) -> Knowledge<Bytes> {
    let root = known.root();
    let declared = |id: u32, role: Role| {
        let planes = ["wg1", "wg2", "wg3"].map(|plane| (plane.parse().unwrap(), true)).into();
        let endpoint = (role == Role::Worker).then(|| format!("192.0.2.{id}").parse().unwrap());
        (NodeId::new(id).unwrap(), Declared { role, planes, endpoint })
    };
    let control_planes = (1..=3).map(|id| declared(id, Role::ControlPlane));
    Knowledge {
        context: context(CLUSTER, root.epoch.lineage.get(), root.instance),
        authority: known.authority().body().set(id_of).unwrap(),
        accepted_authority: root.authority.number.get(),
        own: (NodeId::new(1).unwrap(), 1),
        memory: Some(1),
        top: root.epoch.n,
        accepted: known.records().content(root.generation_floor),
        armed: [(NodeId::new(4).unwrap(), 1)].into(),
        requests: BTreeMap::new(),
        lost: BTreeSet::new(),
        resting: BTreeSet::new(),
        may_repeat: false,
        declared: control_planes.chain([declared(4, Role::Worker)]).collect(),
        seed_keys: [*Key::new(SEED_KEY).public_key().as_bytes()].into(),
        operators: BTreeMap::new(),
        reserved: BTreeSet::new(),
    }
}

fn grant(key: &str) -> SignedGrant {
    let grant = GrantStatement {
        cluster_id: CLUSTER,
        node: name("w-1"),
        id: NodeId::new(4).unwrap(),
        incarnation: one(1),
        role: Role::Worker,
        voucher_key: Some(Key::new("voucher").signer()),
        births: [("wg1".parse().unwrap(), plane_key("birth"))].into(),
    };
    let (_, text) = WithDigest::emit(grant).unwrap();
    SignedGrant::new(statement::write(Domain::Grant, &text, &[&Key::new(key)]).unwrap()).unwrap()
}

fn proposal(known: &KnownRoster, changes: RosterRecord, evidence: Evidence<Bytes>) -> Proposal<Bytes> {
    let id = changes.node().unwrap().id;
    let step = next(known, [changes]);
    let content = known.records().merge(&step.changes).unwrap().content(step.root.generation_floor);
    Proposal {
        context: context(CLUSTER, step.root.epoch.lineage.get(), step.root.instance),
        authority: step.root.authority.number.get(),
        epoch: step.root.epoch.n,
        content,
        evidence: [(id, evidence)].into(),
        revoked_by: BTreeMap::new(),
        floor: None,
    }
}

fn request(known: &KnownRoster) -> EnrolmentRequest {
    EnrolmentRequest { instance: known.root().instance, ..enrolment("w-1", 4, 1) }
}

/// The check that fails for a record with a request that these keys have signed; `None` if the root is signed.
fn judged(known: &KnownRoster, entry: NodeEntry, request: &EnrolmentRequest, by: [&str; 2]) -> Option<Check> {
    let signatures: Vec<Signature> =
        by.into_iter().map(|key| request.sign(&Key::new(key)).unwrap()).collect();
    let grant = grant(SEED_KEY).verify(&[Key::new(SEED_KEY).public_key()], CLUSTER).unwrap();
    let signers = request.signers(Some(Key::new("voucher").signer()), &signatures);
    let evidence = Evidence::Enrolment { grant, request: request.request(1), signers, approval: None };
    judge(&knowledge(known), &proposal(known, RosterRecord::Node(entry), evidence))
        .err()
        .map(|refusal| refusal.check)
}

const NODE_KEY: &str = "node key of w-1.1";

#[test]
fn a_request_with_both_signatures_is_judged_from_its_bytes() {
    let known = started();
    let request = request(&known);
    let endpoint = Some("192.0.2.4".parse().unwrap());
    assert_eq!(judged(&known, request.entry(endpoint), &request, ["voucher", NODE_KEY]), None);
    assert_eq!(judged(&known, request.entry(None), &request, ["voucher", NODE_KEY]), Some(Check::Declared));
}

#[test]
fn enrolment_with_a_wrong_voucher_is_refused() {
    let known = started();
    let request = request(&known);
    let entry = request.entry(Some("192.0.2.4".parse().unwrap()));
    for by in [["other", NODE_KEY], ["voucher", "other"], ["voucher", "voucher"], [NODE_KEY, NODE_KEY]] {
        assert_eq!(judged(&known, entry.clone(), &request, by), Some(Check::Evidence), "{by:?}");
    }
    // A request for other keys than those of the record.
    let other = EnrolmentRequest { node_key: Key::new("other").signer(), ..request.clone() };
    assert_eq!(judged(&known, entry, &other, ["voucher", "other"]), Some(Check::Evidence));
    // A grant that a control plane made itself does not get this far.
    assert!(grant("roster key of cp-3").verify(&[Key::new(SEED_KEY).public_key()], CLUSTER).is_err());
}

#[test]
fn a_voucher_of_another_node_is_refused() {
    let known = started();
    for (request, what) in [
        (EnrolmentRequest { instance: known.root().instance, ..enrolment("w-1", 4, 2) }, "incarnation"),
        (EnrolmentRequest { instance: known.root().instance, ..enrolment("w-1", 5, 1) }, "id"),
        (EnrolmentRequest { role: Role::ControlPlane, ..request(&known) }, "role"),
        (
            EnrolmentRequest { instance: kubedos_wire::hex32::InstanceId::new([1; 32]), ..request(&known) },
            "life",
        ),
    ] {
        let node_key = format!("node key of w-1.{}", request.incarnation);
        let entry = request.entry(Some("192.0.2.4".parse().unwrap()));
        let check = judged(&known, entry, &request, ["voucher", &node_key]);
        assert_eq!(check, Some(Check::Evidence), "{what}");
    }
}

#[test]
fn a_key_change_is_judged_from_its_bytes() {
    let entry = node("w-1", 4);
    let known = after(&started(), [RosterRecord::Node(entry.clone())]);
    let change = PlaneKeyChange {
        cluster_id: CLUSTER,
        instance: known.root().instance,
        id: entry.id,
        incarnation: one(1),
        plane: "wg2".parse().unwrap(),
        sequence: 2,
        step: KeyStep::Announce(plane_key("next")),
        extension: Extension::default(),
    };
    let mut announced = entry.clone();
    if let Standing::Member(keys) = &mut announced.standing {
        let plane = keys.planes.plane_mut(&change.plane).unwrap();
        (plane.sequence, plane.next) = (2, Some(plane_key("next")));
    }
    let node_key = entry.member().unwrap().node_key;
    let check = |change: &PlaneKeyChange, key: &str| {
        let signature = change.sign(&Key::new(key)).unwrap();
        let signed = change.verify(&node_key, &signature)?;
        let proposal = proposal(&known, RosterRecord::Node(announced.clone()), Evidence::Keys(signed));
        Some(judge(&knowledge(&known), &proposal).err().map(|refusal| refusal.check))
    };
    assert_eq!(check(&change, NODE_KEY), Some(None));
    assert_eq!(check(&change, "other"), None, "not signed by the node key");
    let other = PlaneKeyChange { step: KeyStep::Announce(plane_key("other")), ..change.clone() };
    assert_eq!(check(&other, NODE_KEY), Some(Some(Check::Evidence)));
    let repeated = PlaneKeyChange { sequence: 1, ..change };
    assert_eq!(check(&repeated, NODE_KEY), Some(Some(Check::Evidence)));
}

/// Attack: a control plane hides bytes in fields that `judge` does not see.
#[test]
fn bytes_that_nobody_judges_are_refused() {
    let entry = node("w-1", 4);
    let operator = OperatorEntry { key: Key::new("ada").signer(), extension: Extension::default() };
    let known =
        after(&started(), [RosterRecord::Node(entry.clone()), RosterRecord::Operator(operator.clone())]);
    let set = known.authority().reference();
    let check = |record: RosterRecord| {
        let step = next(&known, [record]);
        let records = known.records().merge(&step.changes).unwrap();
        check_form(&known, set, name_of, (&step.root, &records))
    };
    let secret = || Extension::new(vec![7]).unwrap();
    let key = RecordKey::Node(entry.id);
    let extended = NodeEntry { extension: secret(), ..entry.clone() };
    assert_eq!(check(RosterRecord::Node(extended.clone())), Err(FormRefusal::Field(key)));
    let revoked = NodeEntry { standing: Standing::Revoked, ..entry.clone() };
    assert_eq!(check(RosterRecord::Node(revoked.clone())), Ok(()));
    let both = NodeEntry { extension: secret(), ..revoked };
    assert_eq!(check(RosterRecord::Node(both)), Err(FormRefusal::Field(key)));
    let renamed = NodeEntry { node: name("w-2"), ..entry.clone() };
    assert_eq!(check(RosterRecord::Node(renamed)), Err(FormRefusal::Name(entry.id)));
    let unknown = node("w-9", 9);
    assert_eq!(check(RosterRecord::Node(unknown.clone())), Err(FormRefusal::Name(unknown.id)));
    let mut shared = entry.clone();
    if let Standing::Member(keys) = &mut shared.standing {
        keys.planes.plane_mut(&"wg3".parse().unwrap()).unwrap().psk = SharingValue::new(vec![1]).unwrap();
    }
    assert_eq!(check(RosterRecord::Node(shared)), Err(FormRefusal::Field(key)));
    let hidden = RosterRecord::Operator(OperatorEntry { extension: secret(), ..operator });
    assert_eq!(check(hidden.clone()), Err(FormRefusal::Field(hidden.key())));
    let next_incarnation = NodeEntry { extension: secret(), ..enrolment("w-1", 4, 2).entry(None) };
    assert_eq!(check(RosterRecord::Node(next_incarnation)), Err(FormRefusal::Field(key)));

    let step = next(&known, []);
    let mut root = step.root.clone();
    root.extension = secret();
    assert_eq!(check_form(&known, set, name_of, (&root, known.records())), Err(FormRefusal::Root));
    root = step.root.clone();
    root.count += 1;
    assert_eq!(check_form(&known, set, name_of, (&root, known.records())), Err(FormRefusal::Records));
    root = step.root;
    root.authority.digest = kubedos_wire::hex32::Digest::new([1; 32]);
    assert_eq!(check_form(&known, set, name_of, (&root, known.records())), Err(FormRefusal::Authority));
}

proptest! {
    /// The decision that the model checks (`accept`) and the one of the product (`accept_root`) agree about every root of
    /// the known lineage and authority set.
    #[test]
    fn the_product_accepts_what_the_model_accepts(
        signers in proptest::sample::subsequence(CONTROL_PLANES.to_vec(), 0..=3),
        n in 1..5_u64,
        (known_state, offered_state) in (0..4_u8, 0..4_u8),
        (known_floor, floor) in (0..2_u64, 0..2_u64),
        other_life: bool,
    ) {
        let state = |state: u8| {
            let entry = node("w-1", 4);
            let revoked = NodeEntry { standing: Standing::Revoked, ..entry.clone() };
            let entries = [None, Some(entry), Some(revoked), Some(enrolment("w-1", 4, 2).entry(None))];
            entries.into_iter().nth(state.into()).flatten().map(RosterRecord::Node)
        };
        let base = started();
        let mut step = next(&base, state(known_state));
        step.root.generation_floor = known_floor;
        let known = decide(Some(&base), step.offer(&["cp-1", "cp-2"])).unwrap();

        let records = base.records().merge(&RosterRecords::new(state(offered_state)).unwrap()).unwrap();
        let mut root = next(&known, []).root;
        (root.epoch.n, root.generation_floor) = (n, floor);
        (root.count, root.merkle) = (u32::try_from(records.len()).unwrap(), *records.merkle());
        if other_life {
            root.instance = kubedos_wire::hex32::InstanceId::new([1; 32]);
        }
        let side = |root: &kubedos_wire::membership::records::RosterRoot| {
            context(root.cluster_id, root.epoch.lineage.get(), root.instance)
        };
        let signed_root = signed(root.clone(), &signers);
        let set = known.authority().body();
        let counted = set.signers(&root, &signed_root.signatures);
        let model = accept(
            &Known {
                context: side(known.root()),
                authority: set.set(id_of).unwrap(),
                epoch: known.epoch().n,
                content: known.records().content(known_floor),
            },
            &Root {
                context: side(&root),
                authority: root.authority.number.get(),
                epoch: n,
                content: records.content(floor),
                signers: counted.into_iter().filter_map(id_of).collect(),
            },
        );
        let records = OfferedRecords::All(records);
        let offer = RootOffer { root: signed_root, records, authority: None, genesis: None };
        let product = decide(Some(&known), offer);
        prop_assert_eq!(model.is_ok(), product.is_ok(), "{:?} {:?}", model, product.err());
    }
}
