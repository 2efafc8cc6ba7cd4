//! What a state means in the types of the product: authority sets, contents, proposals with the best evidence that the
//! attacker has, and the knowledge of a control plane. Keys are small numbers.

use std::collections::{BTreeMap, BTreeSet};

use kubedos_wire::membership::{
    AuthoritySet, Content, Context, Declared, Evidence, Grant, Identity, Knowledge, Proposal, Record,
    Request, Revocation, RevocationCause, Seat, Signed, Standing,
};
use kubedos_wire::node::{OperatorRole, Role};
use kubedos_wire::value::NodeId;

use super::{Plane, Root, Roster, Set, State, Without, Worker};

const SEED_KEY: u8 = 1;
const OPERATOR: u8 = 2;
const ATTACKER: u8 = 3;
const VOUCHERS: [u8; 2] = [10, 11];

pub(super) const C: usize = 2;

/// The subject is the node 4; A, B and C are the nodes 1 to 3.
pub(super) fn node(number: usize) -> NodeId {
    u32::try_from(number + 1).ok().and_then(NodeId::new).unwrap_or(NodeId::LAST)
}

pub(super) fn subject() -> NodeId {
    node(3)
}

pub(super) const fn context() -> Context<u8> {
    Context { cluster: 0, lineage: 1, instance: 0 }
}

/// The incarnation and the node key of a record.
const fn identity(worker: Worker) -> Option<(u32, u8)> {
    match worker {
        Worker::First => Some((1, 20)),
        Worker::FirstAgain => Some((1, 21)),
        Worker::FirstStolen => Some((1, 22)),
        Worker::Second => Some((2, 23)),
        Worker::SecondStolen => Some((2, 24)),
        Worker::Absent | Worker::Revoked => None,
    }
}

pub(super) fn content(worker: Worker) -> Content<u8> {
    let record = match (worker, identity(worker)) {
        (Worker::Absent, _) => None,
        (_, Some((incarnation, key))) => {
            let identity = Identity { node_key: key, request: key, endpoint: None, planes: BTreeMap::new() };
            Some(Record { role: Role::Worker, incarnation, standing: Standing::Member(identity) })
        }
        (_, None) => Some(Record { role: Role::Worker, incarnation: 1, standing: Standing::Revoked }),
    };
    Content { nodes: record.map(|record| (subject(), record)).into_iter().collect(), ..Content::default() }
}

impl State {
    pub(super) fn set(&self, number: u8) -> Option<Set> {
        let [second, third] = self.sets;
        match number {
            1 => Some(Set { incarnations: [1, 1], with_c: true }),
            2 => second,
            3 => third,
            _ => None,
        }
    }

    /// Whether somebody honest shows this control plane a root that contradicts its own.
    pub(super) fn has_fork(&self, own: &Plane) -> bool {
        let others = self.planes.iter().filter(|plane| plane.memory).map(|plane| plane.root);
        let observer = self.observer.online.then_some(self.observer.root);
        let contradicts = |root: Root| root.epoch >= own.root.epoch && root.worker != own.root.worker;
        others.chain(observer).any(contradicts)
    }

    pub(super) fn newest_set(&self) -> u8 {
        (1..=3).rev().find(|number| self.set(*number).is_some()).unwrap_or(1)
    }

    pub(super) fn authority(&self, number: u8) -> Option<AuthoritySet<u8>> {
        let set = self.set(number)?;
        let honest = (0..).zip(set.incarnations).map(|(plane, incarnation)| {
            let roster_key = if plane == 0 { 100 + incarnation } else { 110 + incarnation };
            (node(plane), Seat { incarnation: incarnation.into(), roster_key })
        });
        let attacker = (node(C), Seat { incarnation: 1, roster_key: ATTACKER });
        let members: BTreeMap<NodeId, Seat<u8>> = honest.chain(set.with_c.then_some(attacker)).collect();
        let threshold = members.len() / 2 + 1;
        AuthoritySet::new(number.into(), threshold, members).ok()
    }
}

impl Roster {
    /// The best evidence for a record that the attacker can put together.
    fn evidence(&self, state: &State, worker: Worker) -> Option<Evidence<u8>> {
        let [armed, revoke, replaced] = state.orders;
        let Some((incarnation, key)) = identity(worker) else {
            let unchecked = self.without == Some(Without::RevocationOrder);
            let by = if revoke || replaced || unchecked { OPERATOR } else { ATTACKER };
            let value = Revocation { id: subject(), incarnation: 1 };
            let order = RevocationCause::Order(Signed { value, by });
            return (worker == Worker::Revoked).then_some(Evidence::Revocation(order));
        };
        let [first, again, second] = state.requests;
        let secret = self.without == Some(Without::SecretVoucher);
        let has_voucher = match worker {
            Worker::First => first,
            Worker::FirstAgain => again,
            Worker::Second => second,
            Worker::FirstStolen => secret && armed,
            Worker::SecondStolen => secret && replaced,
            Worker::Absent | Worker::Revoked => false,
        };
        let [first_voucher, second_voucher] = VOUCHERS;
        let voucher = if incarnation == 1 { first_voucher } else { second_voucher };
        // Without the voucher, the attacker has at most a grant of its own.
        let (voucher_key, by) = if has_voucher { (voucher, SEED_KEY) } else { (ATTACKER, ATTACKER) };
        let value = Grant { id: subject(), incarnation, role: Role::Worker, voucher_key: Some(voucher_key) };
        let request = Request {
            context: context(),
            id: subject(),
            incarnation,
            node_key: key,
            planes: BTreeMap::new(),
            digest: key,
        };
        let signers = BTreeSet::from([key, voucher_key]);
        Some(Evidence::Enrolment { grant: Signed { value, by }, request, signers, approval: None })
    }

    pub(super) fn proposal(&self, state: &State, root: Root) -> Proposal<u8> {
        Proposal {
            context: context(),
            authority: root.set.into(),
            epoch: root.epoch.into(),
            content: content(root.worker),
            evidence: self.evidence(state, root.worker).map(|one| (subject(), one)).into_iter().collect(),
            revoked_by: std::collections::BTreeMap::new(),
            floor: None,
        }
    }

    pub(super) fn knowledge(state: &State, plane: usize, own: &Plane) -> Option<Knowledge<u8>> {
        let armed = (1..).zip(own.armed).filter(|(_, armed)| *armed).map(|(number, _): (u32, _)| number);
        let request = own.request.and_then(identity);
        let declared = Declared { role: Role::Worker, planes: BTreeMap::new(), endpoint: None };
        Some(Knowledge {
            context: context(),
            authority: state.authority(own.set)?,
            accepted_authority: own.root.set.into(),
            own: (node(plane), own.incarnation.into()),
            memory: own.memory.then_some(own.incarnation.into()),
            top: own.top.into(),
            accepted: content(own.root.worker),
            armed: armed.max().map(|incarnation| (subject(), incarnation)).into_iter().collect(),
            requests: request.map(|request| (subject(), request)).into_iter().collect(),
            lost: BTreeSet::new(),
            resting: BTreeSet::new(),
            may_repeat: state.has_fork(own),
            declared: BTreeMap::from([(subject(), declared)]),
            seed_keys: BTreeSet::from([SEED_KEY]),
            operators: BTreeMap::from([(OPERATOR, OperatorRole::Admin)]),
            reserved: BTreeSet::new(),
        })
    }
}
