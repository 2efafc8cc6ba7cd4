//! What a node accepts as its next roster: every reason against it, and the attacks that they stop.

use kubedos_wire::hex32::{ClusterId, Digest, InstanceId};
use kubedos_wire::membership::accept_root::{
    KnownRoster, OfferedRecords, RootContext, RootOffer, RootRefusal, RosterFloors, accept_root,
};
use kubedos_wire::membership::fields::Extension;
use kubedos_wire::membership::records::{
    Epoch, NodeEntry, OperatorEntry, RosterRecord, RosterRoot, SignedRoot, Standing,
};
use kubedos_wire::membership::roster::RosterRecords;
use proptest::prelude::*;

use super::fixture::{
    CLUSTER, CONTROL_PLANES, Genesis, Key, Next, after, authority, decide, enrolment, next, node, one,
    records, signed, started,
};

const TWO: [&str; 2] = ["cp-1", "cp-2"];

fn worker() -> RosterRecord {
    RosterRecord::Node(node("w-1", 4))
}

fn revoked() -> RosterRecord {
    RosterRecord::Node(NodeEntry { standing: Standing::Revoked, ..node("w-1", 4) })
}

/// A root of this roster with other records, which may be lower ones.
fn with_records(known: &KnownRoster, new: &RosterRecords) -> RosterRoot {
    let epoch = Epoch { n: known.epoch().n + 1, ..known.epoch() };
    let count = u32::try_from(new.len()).unwrap();
    RosterRoot { epoch, count, merkle: *new.merkle(), ..known.root().clone() }
}

fn all(root: SignedRoot, records: &RosterRecords) -> RootOffer {
    RootOffer { root, records: OfferedRecords::All(records.clone()), authority: None, genesis: None }
}

#[test]
fn a_node_follows_the_roster_from_the_genesis_on() {
    let first = started();
    assert_eq!((first.epoch().n, first.records().len()), (1, 3));
    let joined = after(&first, [worker()]);
    let gone = after(&joined, [revoked()]);
    let replaced = after(&gone, [RosterRecord::Node(enrolment("w-1", 4, 2).entry(None))]);
    assert_eq!((replaced.epoch().n, replaced.records().len()), (4, 4));
    // A node that was off takes the newest root at once, with the changes or with all records.
    let changes = replaced.records().changes_since(first.records());
    let offer = RootOffer {
        records: OfferedRecords::Changes(changes),
        ..all(replaced.signed_root().clone(), replaced.records())
    };
    assert_eq!(decide(Some(&first), offer), Ok(replaced.clone()));
    let offer = all(replaced.signed_root().clone(), replaced.records());
    assert_eq!(decide(Some(&first), offer), Ok(replaced));
}

/// Attack: a control plane adds a member alone.
#[test]
fn a_root_with_one_signature_is_refused() {
    let known = started();
    for signer in CONTROL_PLANES {
        let refused = decide(Some(&known), next(&known, [worker()]).offer(&[signer]));
        assert_eq!(refused, Err(RootRefusal::Signatures { found: 1, needed: 2 }));
    }
    let mut offer = next(&known, [worker()]).offer(&TWO);
    offer.root.root.generation_floor = 1;
    assert_eq!(decide(Some(&known), offer), Err(RootRefusal::Signatures { found: 0, needed: 2 }));
}

/// Attack: roots of an earlier epoch, and the same one again.
#[test]
fn an_older_root_is_refused() {
    let first = started();
    let second = after(&first, [worker()]);
    let third = after(&second, [revoked()]);
    for old in [&first, &second, &third] {
        let offer = all(old.signed_root().clone(), old.records());
        let refused = Err(RootRefusal::OldEpoch { found: old.epoch().n, least: 4 });
        assert_eq!(decide(Some(&third), offer), refused);
    }
}

/// Attack: two control planes sign roots without the revocation. The node keeps what it knows.
#[test]
fn a_forked_roster_is_reported() {
    let member = after(&started(), [worker()]);
    let known = after(&member, [revoked()]);
    let refused = |new: &RosterRecords| {
        decide(Some(&known), all(signed(with_records(&known, new), &TWO), new)).unwrap_err()
    };
    let expected = RootRefusal::Forked(Box::new(revoked()));
    assert_eq!(refused(member.records()), expected);
    assert_eq!(refused(started().records()), expected);
    assert_eq!(
        expected.to_string(),
        "roster forked: it does not have w-1 (incarnation 1, revoked) as this node knows it"
    );
    // As changes: the member is in the changes, and the Merkle root is that of the lowered records.
    let offer = RootOffer {
        records: OfferedRecords::Changes(RosterRecords::new([worker()]).unwrap()),
        ..all(signed(with_records(&known, member.records()), &TWO), member.records())
    };
    assert_eq!(decide(Some(&known), offer), Err(expected));
}

#[test]
fn two_roots_of_one_epoch_are_reported() {
    let known = after(&started(), [worker()]);
    let other = next(&started(), [RosterRecord::Node(node("w-2", 5))]);
    assert_eq!(decide(Some(&known), other.offer(&["cp-2", "cp-3"])), Err(RootRefusal::TwoRoots { n: 2 }));
    // Without enough signatures it is no contradiction.
    assert!(matches!(decide(Some(&known), other.offer(&["cp-3"])), Err(RootRefusal::Signatures { .. })));
}

/// An operator who was revoked stays revoked.
#[test]
fn a_root_without_the_revoked_operator_is_refused() {
    let operator = OperatorEntry { key: Key::new("ada").signer(), extension: Extension::default() };
    let known = after(&started(), [RosterRecord::Operator(operator.clone())]);
    let without = started().records().clone();
    let refused = decide(Some(&known), all(signed(with_records(&known, &without), &TWO), &without));
    assert_eq!(refused, Err(RootRefusal::Forked(Box::new(RosterRecord::Operator(operator)))));
}

#[test]
fn records_that_are_not_those_of_the_root_are_refused() {
    let known = started();
    let good = next(&known, [worker()]);
    let other = RosterRecords::new([RosterRecord::Node(node("w-2", 5))]).unwrap();
    for records in [
        OfferedRecords::Changes(RosterRecords::default()),
        OfferedRecords::Changes(other.clone()),
        OfferedRecords::All(other),
        OfferedRecords::All(good.changes.clone()),
        OfferedRecords::All(known.records().clone()),
    ] {
        let offer = RootOffer { records, ..good.offer(&TWO) };
        assert_eq!(decide(Some(&known), offer), Err(RootRefusal::Records));
    }
    let count = Next { root: RosterRoot { count: 5, ..good.root.clone() }, ..good.clone() };
    assert_eq!(decide(Some(&known), count.offer(&TWO)), Err(RootRefusal::Records));
    let merkle = Next { root: RosterRoot { merkle: Digest::new([1; 32]), ..good.root.clone() }, ..good };
    assert_eq!(decide(Some(&known), merkle.offer(&TWO)), Err(RootRefusal::Records));
}

#[test]
fn the_generation_floor_only_rises() {
    let known = started();
    let with = |known: &KnownRoster, floor: u64| {
        let mut next = next(known, []);
        next.root.generation_floor = floor;
        decide(Some(known), next.offer(&TWO))
    };
    let raised = with(&known, 7).unwrap();
    assert!(with(&raised, 7).is_ok() && with(&raised, 8).is_ok());
    assert_eq!(with(&raised, 6), Err(RootRefusal::GenerationFloor { own: 7, found: 6 }));
}

#[test]
fn a_root_of_another_cluster_is_refused() {
    let genesis = Genesis::new(1, 0, [1, 2, 3]);
    let context =
        RootContext { cluster_id: ClusterId::new([1; 32]), floors: RosterFloors::default(), known: None };
    let refused = accept_root(context, genesis.offer()).unwrap_err();
    assert!(matches!(refused, RootRefusal::Cluster { found: CLUSTER, .. }));
}

/// Attack: a control plane that was removed signs with an old partner's recorded signature, or alone under its old set.
#[test]
fn a_removed_control_plane_signs_nothing_any_more() {
    let known = after(&started(), [worker()]);
    let new_set = authority(2, &["cp-1", "cp-2", "cp-4"]);
    let mut step = next(&known, []);
    step.root.authority = new_set.reference();
    let offer = RootOffer { authority: Some(new_set.clone()), ..step.offer(&["cp-1", "cp-4"]) };
    let moved = decide(Some(&known), offer.clone()).unwrap();
    assert_eq!(moved.authority(), &new_set);
    // Without the set, or with signatures of the old one, the root is refused.
    let without = RootOffer { authority: None, ..offer };
    assert_eq!(decide(Some(&known), without), Err(RootRefusal::UnknownAuthority { number: 2 }));
    let by_old = RootOffer { authority: Some(new_set.clone()), ..step.offer(&["cp-1", "cp-3"]) };
    assert_eq!(decide(Some(&known), by_old), Err(RootRefusal::Signatures { found: 1, needed: 2 }));
    // After the change, the old set counts nothing.
    let mut old = next(&moved, []);
    old.root.authority = known.root().authority;
    let offer = RootOffer { authority: Some(known.authority().clone()), ..old.offer(&CONTROL_PLANES) };
    assert_eq!(decide(Some(&moved), offer), Err(RootRefusal::OldAuthority { found: 1, least: 2 }));
    assert!(decide(Some(&moved), next(&moved, []).offer(&["cp-2", "cp-4"])).is_ok());
}

/// Of two authority sets with one number, a node keeps the one that it has.
#[test]
fn a_second_set_with_the_same_number_is_refused() {
    let known = started();
    let other = authority(1, &["cp-1", "cp-2", "cp-9"]);
    let mut step = next(&known, []);
    step.root.authority = other.reference();
    let offer = RootOffer { authority: Some(other), ..step.offer(&["cp-1", "cp-9"]) };
    assert_eq!(decide(Some(&known), offer), Err(RootRefusal::UnknownAuthority { number: 1 }));
}

#[test]
fn a_blank_node_needs_the_genesis_proof_and_the_authority_set() {
    let genesis = Genesis::new(1, 0, [1, 2, 3]);
    let refused = |change: fn(&mut RootOffer)| {
        let mut offer = genesis.offer();
        change(&mut offer);
        decide(None, offer).unwrap_err()
    };
    assert!(decide(None, genesis.offer()).is_ok());
    assert_eq!(refused(|offer| offer.genesis = None), RootRefusal::NoGenesis { lineage: 1 });
    assert_eq!(refused(|offer| offer.authority = None), RootRefusal::UnknownAuthority { number: 1 });
    let other = Genesis::new(1, 0, [1, 2, 9]).proof(&CONTROL_PLANES).unwrap();
    let offer = RootOffer { genesis: Some(other), ..genesis.offer() };
    assert_eq!(decide(None, offer), Err(RootRefusal::NoGenesis { lineage: 1 }));
    // It takes a later root of the lineage, under a later authority set, directly.
    let moved = after(&after(&started(), [worker()]), [revoked()]);
    let offer = RootOffer {
        genesis: Some(moved.genesis().clone()),
        authority: Some(moved.authority().clone()),
        ..all(moved.signed_root().clone(), moved.records())
    };
    assert_eq!(decide(None, offer), Ok(moved));
}

#[test]
fn roots_below_the_floors_of_the_seed_are_refused() {
    let known = after(&started(), [worker()]);
    let with = |lineage: u32, epoch: u64, authority: u32| {
        let floors = RosterFloors { lineage, epoch, authority };
        let offer = RootOffer {
            genesis: Some(known.genesis().clone()),
            authority: Some(known.authority().clone()),
            ..all(known.signed_root().clone(), known.records())
        };
        accept_root(RootContext { cluster_id: CLUSTER, floors, known: None }, offer).map(drop)
    };
    assert_eq!(with(1, 2, 1), Ok(()));
    assert_eq!(with(0, 9, 0), Ok(()), "the epoch counts within the lowest lineage");
    assert_eq!(with(2, 0, 0), Err(RootRefusal::OldLineage { found: 1, least: 2 }));
    assert_eq!(with(1, 3, 0), Err(RootRefusal::OldEpoch { found: 2, least: 3 }));
    assert_eq!(with(0, 0, 2), Err(RootRefusal::OldAuthority { found: 1, least: 2 }));
}

/// Attack: all disks of the control planes are wiped while the token is still attached. No member follows the second life.
#[test]
fn a_second_genesis_of_one_lineage_is_refused() {
    let known = started();
    let second = Genesis::new(1, 0, [7, 8, 9]);
    let refused = decide(Some(&known), second.offer()).unwrap_err();
    let expected =
        RootRefusal::SecondGenesis { lineage: 1, own: known.root().instance, other: second.root.instance };
    assert_eq!(refused, expected);
    // Nobody can stop a node with it who does not have the signatures.
    let mut forged = next(&known, []);
    forged.root.instance = InstanceId::new([1; 32]);
    assert!(matches!(decide(Some(&known), forged.offer(&["cp-3"])), Err(RootRefusal::Signatures { .. })));
}

/// Recovery: a token for the next lineage, with the known records and a higher epoch.
#[test]
fn a_new_lineage_must_have_everything_that_the_node_knows() {
    let member = after(&started(), [worker()]);
    let known = after(&member, [revoked()]);
    // The control planes of the new lineage are the next incarnations of the old ones.
    let lineage = |epoch_floor: u64, carried: Vec<RosterRecord>| {
        let mut genesis = Genesis::new(2, epoch_floor, [4, 5, 6]);
        let control_planes: Vec<NodeEntry> = genesis
            .records
            .iter()
            .filter_map(|record| record.node().cloned())
            .map(|entry| NodeEntry { incarnation: one(2), ..entry })
            .collect();
        let mut base = records(control_planes);
        base = base.merge(&RosterRecords::new(carried).unwrap()).unwrap();
        genesis.root.count = u32::try_from(base.len()).unwrap();
        genesis.root.merkle = *base.merkle();
        genesis.records = base;
        genesis
    };
    let recovered = lineage(3, vec![revoked()]);
    let moved = decide(Some(&known), recovered.offer()).unwrap();
    assert_eq!((moved.epoch().lineage, moved.epoch().n), (one(2), 4));
    // The proof of a lower lineage is not accepted any more.
    let back = decide(Some(&moved), Genesis::new(1, 9, [1, 2, 3]).offer());
    assert_eq!(back, Err(RootRefusal::OldLineage { found: 1, least: 2 }));
    // A token with a lower epoch, one that forgets the revocation, and none at all.
    let refused = |genesis: &Genesis| decide(Some(&known), genesis.offer()).unwrap_err();
    assert_eq!(refused(&lineage(2, vec![revoked()])), RootRefusal::OldEpoch { found: 3, least: 4 });
    let forgets = refused(&lineage(3, vec![]));
    assert_eq!(forgets, RootRefusal::Forgotten(Box::new(revoked())));
    assert_eq!(
        forgets.to_string(),
        "the new lineage does not have w-1 (incarnation 1, revoked) as this node knows it"
    );
    assert_eq!(refused(&lineage(3, vec![worker()])), RootRefusal::Forgotten(Box::new(revoked())));
    let without = RootOffer { genesis: None, ..recovered.offer() };
    assert_eq!(decide(Some(&known), without), Err(RootRefusal::NoGenesis { lineage: 2 }));
    // The same incarnation with other keys is a double enrolment.
    let same = Genesis::new(2, 3, [4, 5, 6]);
    assert!(
        matches!(refused(&same), RootRefusal::Forgotten(record) if record.node().unwrap().node.as_str() == "cp-1")
    );
}

proptest! {
    /// For all combinations: a root is accepted exactly if every condition holds.
    #[test]
    fn a_root_is_accepted_exactly_if_every_condition_holds(
        signers in proptest::sample::subsequence(CONTROL_PLANES.to_vec(), 0..=3),
        n in 1..5_u64,
        known_state in 0..3_u8,
        offered_state in 0..3_u8,
        (known_floor, floor) in (0..2_u64, 0..2_u64),
        as_changes: bool,
        damaged in proptest::bool::weighted(0.1),
    ) {
        let state = |state: u8| match state {
            0 => vec![],
            1 => vec![worker()],
            _ => vec![revoked()],
        };
        let base = started();
        let known = {
            let mut step = next(&base, state(known_state));
            step.root.generation_floor = known_floor;
            decide(Some(&base), step.offer(&TWO)).unwrap()
        };
        let offered = base.records().merge(&RosterRecords::new(state(offered_state)).unwrap()).unwrap();
        let mut root = with_records(&known, &offered);
        root.epoch.n = n;
        root.generation_floor = floor;
        if damaged {
            root.count += 1;
        }
        let records = if as_changes {
            OfferedRecords::Changes(offered.changes_since(known.records()))
        } else {
            OfferedRecords::All(offered)
        };
        let offer = RootOffer { root: signed(root, &signers), records, authority: None, genesis: None };
        // A missing record cannot be expressed as a change.
        let expressible = !(as_changes && known_state > 0 && offered_state == 0);
        let expected = signers.len() >= 2
            && n > 2
            && known_state <= offered_state
            && known_floor <= floor
            && expressible
            && !damaged;
        let decided = decide(Some(&known), offer);
        prop_assert_eq!(decided.is_ok(), expected, "{:?}", decided.err());
    }
}
