//! Tests of the decisions: each check of `judge` refuses what it is there for, and records have an order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::node::{OperatorRole, Role};
use crate::value::{NodeId, PlaneId};

const SEED: u8 = 1;
const ADMIN: u8 = 2;
const OPERATOR: u8 = 3;
const STRANGER: u8 = 4;
const VOUCHER: u8 = 5;
const NODE: u8 = 6;
const PLANE: u8 = 7;

fn id(number: u32) -> NodeId {
    NodeId::new(number).unwrap()
}

fn plane() -> PlaneId {
    "wg1".parse().unwrap()
}

fn context() -> Context<u8> {
    Context { cluster: 0, lineage: 1, instance: 0 }
}

fn authority() -> AuthoritySet<u8> {
    let seat =
        |number| (id(number), Seat { incarnation: 1, roster_key: 100 + u8::try_from(number).unwrap() });
    AuthoritySet::new(1, 2, [1, 2, 3].map(seat).into()).unwrap()
}

fn member(role: Role, incarnation: u32, node_key: u8, key: u8) -> Record<u8> {
    let keys = PlaneKeys { sequence: 1, key, next: None };
    let planes = BTreeMap::from([(plane(), keys)]);
    let identity = Identity { node_key, request: node_key, endpoint: None, planes };
    Record { role, incarnation, standing: Standing::Member(identity) }
}

fn revoked(incarnation: u32) -> Record<u8> {
    Record { role: Role::Worker, incarnation, standing: Standing::Revoked }
}

/// The knowledge of the control plane 1. Three control planes are members, and the worker 4 is armed.
fn knowledge() -> Knowledge<u8> {
    let control = |number: u32| {
        let key = u8::try_from(number).unwrap();
        (id(number), member(Role::ControlPlane, 1, 50 + key, 60 + key))
    };
    let accepted = Content { nodes: [1, 2, 3].map(control).into(), ..Content::default() };
    let declared = |role: Role| Declared { role, planes: BTreeMap::from([(plane(), true)]), endpoint: None };
    let control = [1, 2, 3].map(|number| (id(number), declared(Role::ControlPlane)));
    let workers = [4, 5].map(|number| (id(number), declared(Role::Worker)));
    Knowledge {
        context: context(),
        authority: authority(),
        accepted_authority: 1,
        own: (id(1), 1),
        memory: Some(1),
        top: 10,
        accepted,
        armed: BTreeMap::from([(id(4), 1)]),
        requests: BTreeMap::new(),
        lost: BTreeSet::new(),
        resting: BTreeSet::new(),
        may_repeat: false,
        declared: control.into_iter().chain(workers).collect(),
        seed_keys: BTreeSet::from([SEED]),
        operators: BTreeMap::from([(ADMIN, OperatorRole::Admin), (OPERATOR, OperatorRole::Operator)]),
        reserved: BTreeSet::from([99]),
    }
}

fn enrolment(number: u32, incarnation: u32) -> Evidence<u8> {
    let grant = Grant { id: id(number), incarnation, role: Role::Worker, voucher_key: Some(VOUCHER) };
    let request = Request {
        context: context(),
        id: id(number),
        incarnation,
        node_key: NODE,
        planes: BTreeMap::from([(plane(), PLANE)]),
        digest: NODE,
    };
    let signers = BTreeSet::from([VOUCHER, NODE]);
    Evidence::Enrolment { grant: Signed { value: grant, by: SEED }, request, signers, approval: None }
}

/// The proposal that the known content gets `record` for a node.
fn proposal(
    knowledge: &Knowledge<u8>,
    number: u32,
    record: Record<u8>,
    evidence: Evidence<u8>,
) -> Proposal<u8> {
    let mut content = knowledge.accepted.clone();
    content.nodes.insert(id(number), record);
    Proposal {
        context: context(),
        authority: 1,
        epoch: knowledge.top + 1,
        content,
        evidence: BTreeMap::from([(id(number), evidence)]),
        revoked_by: BTreeMap::new(),
        floor: None,
    }
}

fn enrol() -> Proposal<u8> {
    proposal(&knowledge(), 4, member(Role::Worker, 1, NODE, PLANE), enrolment(4, 1))
}

#[track_caller]
fn refused(check: Check, knowledge: &Knowledge<u8>, proposal: &Proposal<u8>) {
    assert_eq!(judge(knowledge, proposal).map_err(|refusal| refusal.check), Err(check));
}

/// Changes one thing of a valid enrolment.
#[track_caller]
fn enrolment_is_refused(check: Check, edit: impl FnOnce(&mut Knowledge<u8>, &mut Proposal<u8>)) {
    let (mut knowledge, mut proposal) = (knowledge(), enrol());
    edit(&mut knowledge, &mut proposal);
    refused(check, &knowledge, &proposal);
}

#[test]
fn a_justified_enrolment_is_signed() {
    assert_eq!(judge(&knowledge(), &enrol()), Ok(()));
}

#[test]
fn every_check_refuses_an_enrolment_that_misses_it() {
    enrolment_is_refused(Check::Context, |_, proposal| proposal.context.instance = 9);
    enrolment_is_refused(Check::Context, |_, proposal| proposal.authority = 2);
    enrolment_is_refused(Check::Memory, |knowledge, _| knowledge.memory = None);
    enrolment_is_refused(Check::Memory, |knowledge, _| knowledge.own = (id(1), 2));
    enrolment_is_refused(Check::Memory, |knowledge, _| knowledge.own = (id(5), 1));
    enrolment_is_refused(Check::Epoch, |_, proposal| proposal.epoch = 10);
    enrolment_is_refused(Check::Epoch, |_, proposal| proposal.epoch = 10 + MAX_EPOCH_STEP + 1);
    enrolment_is_refused(Check::Epoch, |_, proposal| proposal.epoch = u64::MAX);
    enrolment_is_refused(Check::Order, |_, proposal| {
        proposal.content.nodes.remove(&id(2));
    });
    enrolment_is_refused(Check::Order, |knowledge, _| {
        knowledge.accepted.nodes.insert(id(4), revoked(1));
    });
    enrolment_is_refused(Check::Armed, |knowledge, _| knowledge.armed.clear());
    enrolment_is_refused(Check::Armed, |knowledge, _| {
        knowledge.armed.insert(id(4), 2);
    });
    enrolment_is_refused(Check::OneRequest, |knowledge, _| {
        knowledge.requests.insert(id(4), (1, 77));
    });
    enrolment_is_refused(Check::Keys, |knowledge, _| {
        knowledge.reserved.insert(PLANE);
    });
    enrolment_is_refused(Check::Declared, |knowledge, _| {
        knowledge.declared.remove(&id(4));
    });
    enrolment_is_refused(Check::Declared, |knowledge, _| {
        knowledge.declared.get_mut(&id(4)).unwrap().endpoint = Some("192.0.2.1".parse().unwrap());
    });
    enrolment_is_refused(Check::Declared, |knowledge, _| {
        knowledge.declared.get_mut(&id(4)).unwrap().planes.clear()
    });
}

fn evidence_is_refused(edit: impl FnOnce(&mut Signed<u8, Grant<u8>>, &mut Request<u8>, &mut BTreeSet<u8>)) {
    enrolment_is_refused(Check::Evidence, |_, proposal| {
        let Some(Evidence::Enrolment { grant, request, signers, .. }) = proposal.evidence.get_mut(&id(4))
        else {
            panic!("no enrolment");
        };
        edit(grant, request, signers);
    });
}

#[test]
fn evidence_for_something_else_is_refused() {
    evidence_is_refused(|grant, _, _| grant.by = STRANGER);
    evidence_is_refused(|grant, _, _| grant.value.id = id(5));
    evidence_is_refused(|grant, _, _| grant.value.incarnation = 2);
    evidence_is_refused(|grant, _, _| grant.value.role = Role::ControlPlane);
    evidence_is_refused(|grant, _, _| grant.value.voucher_key = Some(STRANGER));
    evidence_is_refused(|_, request, _| request.context.instance = 9);
    evidence_is_refused(|_, request, _| request.id = id(5));
    evidence_is_refused(|_, request, _| request.incarnation = 2);
    evidence_is_refused(|_, request, _| request.node_key = STRANGER);
    evidence_is_refused(|_, request, _| request.digest = STRANGER);
    evidence_is_refused(|_, request, _| request.planes.values_mut().for_each(|key| *key = STRANGER));
    evidence_is_refused(|_, _, signers| assert!(signers.remove(&VOUCHER)));
    evidence_is_refused(|_, _, signers| assert!(signers.remove(&NODE)));
    enrolment_is_refused(Check::Evidence, |_, proposal| proposal.evidence.clear());
}

#[test]
fn a_worker_does_not_become_a_control_plane() {
    let knowledge = knowledge();
    let record = member(Role::ControlPlane, 1, NODE, PLANE);
    refused(Check::Evidence, &knowledge, &proposal(&knowledge, 4, record, enrolment(4, 1)));
}

/// Even with a grant by a seed key: the trust key decides who is a control plane.
#[test]
fn a_control_plane_outside_of_the_authority_set_is_refused() {
    let mut knowledge = knowledge();
    knowledge.declared.get_mut(&id(4)).unwrap().role = Role::ControlPlane;
    let mut evidence = enrolment(4, 1);
    let Evidence::Enrolment { grant, .. } = &mut evidence else { panic!("no enrolment") };
    grant.value.role = Role::ControlPlane;
    let record = member(Role::ControlPlane, 1, NODE, PLANE);
    refused(Check::ControlPlanes, &knowledge, &proposal(&knowledge, 4, record, evidence));
}

#[test]
fn an_approval_is_for_one_request() {
    let (knowledge, mut proposal) = (knowledge(), enrol());
    let approve = |proposal: &mut Proposal<u8>, order: Option<Signed<u8, u8>>| {
        let Some(Evidence::Enrolment { grant, approval, .. }) = proposal.evidence.get_mut(&id(4)) else {
            panic!("no enrolment");
        };
        grant.value.voucher_key = None;
        *approval = order;
    };
    approve(&mut proposal, None);
    refused(Check::Armed, &knowledge, &proposal);
    for (value, by) in [(77, OPERATOR), (NODE, STRANGER)] {
        approve(&mut proposal, Some(Signed { value, by }));
        refused(Check::Armed, &knowledge, &proposal);
    }
    approve(&mut proposal, Some(Signed { value: NODE, by: OPERATOR }));
    assert_eq!(judge(&knowledge, &proposal), Ok(()));
}

fn order(number: u32, incarnation: u32, by: u8) -> RevocationCause<u8> {
    RevocationCause::Order(Signed { value: Revocation { id: id(number), incarnation }, by })
}

#[test]
fn a_revocation_needs_the_order_of_an_administrator() {
    let mut knowledge = knowledge();
    knowledge.accepted.nodes.insert(id(4), member(Role::Worker, 2, NODE, PLANE));
    let judge_cause = |knowledge: &Knowledge<u8>, cause| {
        judge(knowledge, &proposal(knowledge, 4, revoked(2), Evidence::Revocation(cause)))
    };
    assert_eq!(judge_cause(&knowledge, order(4, 2, ADMIN)), Ok(()));
    for cause in [order(4, 2, OPERATOR), order(4, 1, ADMIN), order(5, 2, ADMIN), order(4, 2, STRANGER)] {
        assert_eq!(judge_cause(&knowledge, cause).unwrap_err().check, Check::Evidence);
    }
    assert_eq!(judge_cause(&knowledge, RevocationCause::Lost).unwrap_err().check, Check::Evidence);
    knowledge.lost.insert(id(4));
    assert_eq!(judge_cause(&knowledge, RevocationCause::Lost), Ok(()));
    knowledge.accepted.revoked_operators.insert(ADMIN);
    assert_eq!(judge_cause(&knowledge, order(4, 2, ADMIN)).unwrap_err().check, Check::Evidence);
}

#[test]
fn the_quorum_cannot_be_revoked() {
    let mut knowledge = knowledge();
    let gone = |number: u32| (id(number), Record { role: Role::ControlPlane, ..revoked(1) });
    let one = proposal(&knowledge, 3, gone(3).1, Evidence::Revocation(order(3, 1, ADMIN)));
    assert_eq!(judge(&knowledge, &one), Ok(()));
    knowledge.accepted.nodes.extend([gone(3)]);
    let two = proposal(&knowledge, 2, gone(2).1, Evidence::Revocation(order(2, 1, ADMIN)));
    refused(Check::Quorum, &knowledge, &two);
}

fn rotation(by: u8, sequence: u32, step: KeyStep<u8>) -> Evidence<u8> {
    let value = KeyChange { id: id(4), incarnation: 1, plane: plane(), sequence, step };
    Evidence::Keys(Signed { value, by })
}

fn with_keys(sequence: u32, key: u8, next: Option<u8>) -> Record<u8> {
    let mut record = member(Role::Worker, 1, NODE, PLANE);
    let Standing::Member(identity) = &mut record.standing else { panic!("not a member") };
    identity.planes.insert(plane(), PlaneKeys { sequence, key, next });
    record
}

#[test]
fn a_rotation_is_announced_and_retired_by_the_node_itself() {
    let mut knowledge = knowledge();
    knowledge.accepted.nodes.insert(id(4), member(Role::Worker, 1, NODE, PLANE));
    let announced = with_keys(2, PLANE, Some(8));
    let announce = |by| proposal(&knowledge, 4, announced.clone(), rotation(by, 2, KeyStep::Announce(8)));
    assert_eq!(judge(&knowledge, &announce(NODE)), Ok(()));
    refused(Check::Evidence, &knowledge, &announce(STRANGER));
    // The key of a control plane, and one of an operator's machine.
    for key in [61, 99] {
        let record = with_keys(2, PLANE, Some(key));
        refused(
            Check::Keys,
            &knowledge,
            &proposal(&knowledge, 4, record, rotation(NODE, 2, KeyStep::Announce(key))),
        );
    }
    let mut resting = knowledge.clone();
    resting.resting.insert((id(4), plane()));
    refused(Check::Evidence, &resting, &announce(NODE));
    let mut fixed = knowledge.clone();
    fixed.declared.get_mut(&id(4)).unwrap().planes.insert(plane(), false);
    refused(Check::Evidence, &fixed, &announce(NODE));

    knowledge.accepted.nodes.insert(id(4), announced);
    let retire = |record| proposal(&knowledge, 4, record, rotation(NODE, 3, KeyStep::Retire));
    assert_eq!(judge(&knowledge, &retire(with_keys(3, 8, None))), Ok(()));
    refused(Check::Evidence, &knowledge, &retire(with_keys(3, 9, None)));
    refused(Check::Evidence, &knowledge, &retire(with_keys(4, 8, None)));
    let abort = proposal(&knowledge, 4, with_keys(3, PLANE, None), rotation(NODE, 3, KeyStep::Abort));
    assert_eq!(judge(&knowledge, &abort), Ok(()));
}

#[test]
fn a_replacement_needs_the_previous_incarnation_revoked() {
    let mut knowledge = knowledge();
    knowledge.armed.insert(id(4), 2);
    let next = member(Role::Worker, 2, NODE, PLANE);
    knowledge.accepted.nodes.insert(id(4), member(Role::Worker, 1, 70, 71));
    refused(Check::Evidence, &knowledge, &proposal(&knowledge, 4, next.clone(), enrolment(4, 2)));
    knowledge.accepted.nodes.insert(id(4), revoked(1));
    assert_eq!(judge(&knowledge, &proposal(&knowledge, 4, next, enrolment(4, 2))), Ok(()));
}

#[test]
fn an_operator_is_revoked_by_another_administrator() {
    let knowledge = knowledge();
    let with = |by: Option<u8>, key: u8| {
        let mut proposal = enrol();
        proposal.content.revoked_operators.insert(key);
        proposal.revoked_by.extend(by.map(|by| (key, by)));
        judge(&knowledge, &proposal).map_err(|refusal| refusal.check)
    };
    assert_eq!(with(Some(ADMIN), OPERATOR), Ok(()));
    for (by, key) in
        [(None, OPERATOR), (Some(OPERATOR), ADMIN), (Some(ADMIN), ADMIN), (Some(STRANGER), ADMIN)]
    {
        assert_eq!(with(by, key), Err(Check::Evidence));
    }
}

#[test]
fn one_root_changes_something_and_not_too_much() {
    let mut knowledge = knowledge();
    let mut nothing = enrol();
    nothing.content = knowledge.accepted.clone();
    refused(Check::Size, &knowledge, &nothing);
    assert_eq!(judge(&Knowledge { may_repeat: true, ..knowledge.clone() }, &nothing), Ok(()));
    knowledge.accepted_authority = 0;
    assert_eq!(judge(&knowledge, &nothing), Ok(()));
}

#[test]
fn a_set_without_majority_or_with_one_key_twice_is_refused() {
    let seat = |roster_key| Seat { incarnation: 1, roster_key };
    let members = |keys: &[u8]| (1..).zip(keys).map(|(number, key)| (id(number), seat(*key))).collect();
    assert!(AuthoritySet::new(1, 2, members(&[1, 2, 3])).is_ok());
    assert!(AuthoritySet::new(1, 1, members(&[1])).is_ok());
    assert_eq!(AuthoritySet::<u8>::new(0, 2, members(&[1, 2, 3])), Err(AuthorityError::Number));
    assert_eq!(AuthoritySet::<u8>::new(1, 2, members(&[1, 2, 1])), Err(AuthorityError::SameKey));
    for (threshold, keys) in
        [(1, &[1, 2][..]), (1, &[1, 2, 3]), (2, &[1, 2, 3, 4]), (4, &[1, 2, 3]), (0, &[])]
    {
        let set = AuthoritySet::<u8>::new(1, threshold, members(keys));
        assert!(matches!(set, Err(AuthorityError::Threshold { .. })), "{threshold} {keys:?}");
    }
}

#[test]
fn one_member_signing_twice_counts_once() {
    let set = authority();
    assert!(!set.is_quorum(&BTreeSet::from([id(1)])));
    assert!(!set.is_quorum(&BTreeSet::from([id(1), id(7), id(8)])));
    assert!(set.is_quorum(&BTreeSet::from([id(1), id(3)])));
}

fn any_record() -> impl Strategy<Value = Record<u8>> {
    let keys = (1..3_u32, 0..2_u8, proptest::option::of(0..2_u8));
    let standing = proptest::option::of((0..2_u8, 0..2_u8, keys));
    (1..3_u32, standing).prop_map(|(incarnation, standing)| {
        let standing = match standing {
            Some((node_key, request, (sequence, key, next))) => {
                let planes = BTreeMap::from([(plane(), PlaneKeys { sequence, key, next })]);
                Standing::Member(Identity { node_key, request, endpoint: None, planes })
            }
            None => Standing::Revoked,
        };
        Record { role: Role::Worker, incarnation, standing }
    })
}

proptest! {
    /// The records have a partial order: no cycle of changes takes anything back.
    #[test]
    fn records_have_an_order(a in any_record(), b in any_record(), c in any_record()) {
        prop_assert!(a.may_become(&a));
        if a.may_become(&b) && b.may_become(&a) {
            prop_assert_eq!(&a, &b);
        }
        if a.may_become(&b) && b.may_become(&c) {
            prop_assert!(a.may_become(&c));
        }
    }

    #[test]
    fn a_revoked_incarnation_stays_revoked(new in any_record()) {
        let old = revoked(1);
        if old.may_become(&new) && new.incarnation == 1 {
            prop_assert_eq!(new.standing, Standing::Revoked);
        }
    }
}
