//! The checks of [`super::judge`], one function each.

use std::collections::BTreeSet;

use super::judge::{MAX_CHANGES, MAX_EPOCH_STEP};
use super::{
    Check, Evidence, Grant, Identity, Key, KeyChange, KeyStep, Knowledge, PlaneKeys, Proposal, Record,
    Refusal, Request, Revocation, RevocationCause, Signed, Standing,
};
use crate::node::{OperatorRole, Role};
use crate::value::NodeId;

/// A record that the proposal changes.
struct Change<'p, K> {
    id: NodeId,
    old: Option<&'p Record<K>>,
    new: &'p Record<K>,
}

fn changes<'p, K: Key>(
    knowledge: &'p Knowledge<K>,
    proposal: &'p Proposal<K>,
) -> impl Iterator<Item = Change<'p, K>> {
    proposal.content.nodes.iter().filter_map(|(id, new)| {
        let old = knowledge.accepted.nodes.get(id);
        (old != Some(new)).then_some(Change { id: *id, old, new })
    })
}

impl Check {
    /// Applies one check. Only [`super::judge`] and the model call it.
    ///
    /// # Errors
    /// [`Refusal`] if the check does not hold.
    pub fn apply<K: Key>(self, knowledge: &Knowledge<K>, proposal: &Proposal<K>) -> Result<(), Refusal> {
        let all = |holds: bool| if holds { Ok(()) } else { Err(Refusal { check: self, node: None }) };
        let each = |holds: &dyn Fn(&Change<'_, K>) -> bool| match changes(knowledge, proposal)
            .find(|change| !holds(change))
        {
            Some(change) => Err(Refusal { check: self, node: Some(change.id) }),
            None => Ok(()),
        };
        match self {
            Self::Context => {
                all(knowledge.context == proposal.context
                    && knowledge.authority.number() == proposal.authority)
            }
            Self::Memory => {
                let (id, incarnation) = knowledge.own;
                all(knowledge.authority.has(id, incarnation) && knowledge.memory == Some(incarnation))
            }
            Self::Epoch => all(proposal
                .epoch
                .checked_sub(knowledge.top)
                .is_some_and(|step| (1..=MAX_EPOCH_STEP).contains(&step))),
            Self::Order => all(knowledge.accepted.may_become(&proposal.content)),
            Self::Evidence => {
                each(&|change| has_evidence(knowledge, proposal, change))?;
                all(operators(knowledge, proposal) && floor(knowledge, proposal))
            }
            Self::Armed => each(&|change| is_armed(knowledge, proposal, change)),
            Self::OneRequest => {
                each(&|change| match (&change.new.standing, knowledge.requests.get(&change.id)) {
                    (Standing::Member(identity), Some((incarnation, request))) => {
                        *incarnation != change.new.incarnation || *request == identity.request
                    }
                    (Standing::Member(_) | Standing::Revoked, _) => true,
                })
            }
            Self::Keys => all(keys_are_distinct(knowledge, proposal)),
            Self::Declared => each(&|change| is_declared(knowledge, change)),
            Self::ControlPlanes => each(&|change| {
                !is_member(change.new)
                    || change.new.role == Role::Worker
                    || knowledge.authority.has(change.id, change.new.incarnation)
            }),
            Self::Quorum => all(keeps_quorum(knowledge, proposal)),
            Self::Size => {
                let count = changes(knowledge, proposal).count();
                let others = knowledge.accepted_authority != proposal.authority
                    || knowledge.accepted.revoked_operators != proposal.content.revoked_operators
                    || knowledge.accepted.generation_floor != proposal.content.generation_floor;
                all(count <= MAX_CHANGES && (count > 0 || others || knowledge.may_repeat))
            }
        }
    }
}

fn is_member<K>(record: &Record<K>) -> bool {
    matches!(record.standing, Standing::Member(_))
}

fn has_evidence<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>, change: &Change<'_, K>) -> bool {
    match (proposal.evidence.get(&change.id), &change.new.standing) {
        (Some(Evidence::Enrolment { grant, request, signers, .. }), Standing::Member(identity)) => {
            enrols(knowledge, change, grant, request, signers) && identity.is_of(request)
        }
        (Some(Evidence::Revocation(cause)), Standing::Revoked) => revokes(knowledge, change, cause),
        (Some(Evidence::Keys(signed)), Standing::Member(identity)) => {
            rotates(knowledge, change, identity, signed)
        }
        (_, Standing::Member(_) | Standing::Revoked) => false,
    }
}

/// An incarnation becomes a member: the seed key grants it, the voucher key and the node key have signed exactly these
/// keys, and the previous incarnation is revoked.
fn enrols<K: Key>(
    knowledge: &Knowledge<K>,
    change: &Change<'_, K>,
    grant: &Signed<K, Grant<K>>,
    request: &Request<K>,
    signers: &BTreeSet<K>,
) -> bool {
    let here = (change.id, change.new.incarnation);
    let is_next = change.old.is_none_or(|old| !is_member(old) && old.incarnation < change.new.incarnation);
    let Signed { value: granted, by } = grant;
    is_next
        && knowledge.seed_keys.contains(by)
        && (granted.id, granted.incarnation) == here
        && granted.role == change.new.role
        && request.context == knowledge.context
        && (request.id, request.incarnation) == here
        && signers.contains(&request.node_key)
        && granted.voucher_key.as_ref().is_none_or(|key| signers.contains(key))
}

fn revokes<K: Key>(knowledge: &Knowledge<K>, change: &Change<'_, K>, cause: &RevocationCause<K>) -> bool {
    let covers = |order: &Revocation| order.id == change.id && change.new.incarnation <= order.incarnation;
    let is_worker = change.new.role == Role::Worker;
    match cause {
        RevocationCause::Order(order) => {
            covers(&order.value) && operator(knowledge, &order.by) >= Some(OperatorRole::Admin)
        }
        RevocationCause::Replacement(order) => {
            covers(&order.value)
                && is_worker
                && operator(knowledge, &order.by) >= Some(OperatorRole::Operator)
        }
        RevocationCause::Lost => {
            let same =
                change.old.is_some_and(|old| is_member(old) && old.incarnation == change.new.incarnation);
            is_worker && same && knowledge.lost.contains(&change.id)
        }
    }
}

fn rotates<K: Key>(
    knowledge: &Knowledge<K>,
    change: &Change<'_, K>,
    new: &Identity<K>,
    signed: &Signed<K, KeyChange<K>>,
) -> bool {
    let Some(Record { incarnation, standing: Standing::Member(old), .. }) = change.old else { return false };
    let step = &signed.value;
    let may_rotate =
        knowledge.declared.get(&change.id).and_then(|node| node.planes.get(&step.plane)).copied();
    let place = (change.id, step.plane.clone());
    let is_known = (step.id, step.incarnation) == (change.id, *incarnation)
        && change.new.incarnation == *incarnation
        && signed.by == old.node_key
        && may_rotate == Some(true);
    let Some(keys) = old.planes.get(&step.plane).filter(|_| is_known) else { return false };
    let changed = match (&step.step, &keys.next) {
        (KeyStep::Announce(next), None) if !knowledge.resting.contains(&place) => {
            (keys.key.clone(), Some(next.clone()))
        }
        (KeyStep::Retire, Some(next)) => (next.clone(), None),
        (KeyStep::Abort, Some(_)) => (keys.key.clone(), None),
        (KeyStep::Announce(_) | KeyStep::Retire | KeyStep::Abort, _) => return false,
    };
    let mut expected = old.clone();
    let (key, next) = changed;
    expected.planes.insert(step.plane.clone(), PlaneKeys { sequence: step.sequence, key, next });
    Some(step.sequence) == keys.sequence.checked_add(1) && expected == *new
}

impl<K: Key> Identity<K> {
    /// Whether the identity has exactly the keys of the request.
    fn is_of(&self, request: &Request<K>) -> bool {
        let first = |keys: &PlaneKeys<K>, key: &K| (keys.sequence, &keys.key, &keys.next) == (1, key, &None);
        self.node_key == request.node_key
            && self.request == request.digest
            && self.planes.keys().eq(request.planes.keys())
            && self.planes.values().zip(request.planes.values()).all(|(keys, key)| first(keys, key))
    }
}

fn is_armed<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>, change: &Change<'_, K>) -> bool {
    match proposal.evidence.get(&change.id) {
        Some(Evidence::Enrolment { grant, request, approval, .. }) => match &grant.value.voucher_key {
            Some(_) => knowledge.armed.get(&change.id) == Some(&change.new.incarnation),
            None => approval.as_ref().is_some_and(|approval| {
                approval.value == request.digest
                    && operator(knowledge, &approval.by) >= Some(OperatorRole::Operator)
            }),
        },
        Some(Evidence::Revocation(_) | Evidence::Keys(_)) | None => true,
    }
}

/// The role of an operator who is not revoked.
fn operator<K: Key>(knowledge: &Knowledge<K>, key: &K) -> Option<OperatorRole> {
    knowledge.operators.get(key).filter(|_| !knowledge.accepted.revoked_operators.contains(key)).copied()
}

fn operators<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>) -> bool {
    let new = proposal.content.revoked_operators.difference(&knowledge.accepted.revoked_operators);
    new.into_iter().all(|key| {
        let by = proposal.revoked_by.get(key).filter(|by| *by != key);
        by.is_some_and(|by| operator(knowledge, by) == Some(OperatorRole::Admin))
    })
}

fn floor<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>) -> bool {
    let floor = proposal.content.generation_floor;
    floor == knowledge.accepted.generation_floor
        || proposal.floor.as_ref().is_some_and(|order| {
            order.value == floor && operator(knowledge, &order.by) == Some(OperatorRole::Admin)
        })
}

fn keys_are_distinct<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>) -> bool {
    let mut seen: BTreeSet<&K> = knowledge.reserved.iter().chain(knowledge.operators.keys()).collect();
    let members = proposal.content.nodes.values().filter_map(|record| match &record.standing {
        Standing::Member(identity) => Some(identity),
        Standing::Revoked => None,
    });
    members.flat_map(Identity::keys).all(|key| seen.insert(key))
}

fn is_declared<K: Key>(knowledge: &Knowledge<K>, change: &Change<'_, K>) -> bool {
    let Some(declared) = knowledge.declared.get(&change.id) else {
        // A member that was removed from the configuration can still be revoked.
        return change.old.is_some() && !is_member(change.new);
    };
    declared.role == change.new.role
        && match &change.new.standing {
            Standing::Member(identity) => {
                declared.planes.keys().eq(identity.planes.keys()) && declared.endpoint == identity.endpoint
            }
            Standing::Revoked => true,
        }
}

fn keeps_quorum<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>) -> bool {
    let ends = |change: &Change<'_, K>| change.new.role == Role::ControlPlane && !is_member(change.new);
    if !changes(knowledge, proposal).any(|change| ends(&change)) {
        return true;
    }
    let remaining = knowledge.authority.members().iter().filter(|(id, seat)| {
        proposal
            .content
            .nodes
            .get(id)
            .is_none_or(|record| is_member(record) || record.incarnation < seat.incarnation)
    });
    remaining.count() >= knowledge.authority.threshold()
}
