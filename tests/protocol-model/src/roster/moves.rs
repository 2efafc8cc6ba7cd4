//! The steps from a state.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use kubedos_wire::membership::{self, Check, Condition, Known};
use kubedos_wire::value::NodeId;

use super::facts::{C, content, context, node};
use super::{Observer, Plane, Root, Roster, Set, State, Step, Without, Worker};

/// Steps with whether honest parties do them, and the state after them.
struct Steps<'s> {
    from: &'s State,
    all: Vec<(Step, bool, State)>,
}

/// Sets one entry of an array.
fn put<T>(array: &mut [T], place: usize, value: T) {
    if let Some(entry) = array.get_mut(place) {
        *entry = value;
    }
}

impl Steps<'_> {
    fn add(&mut self, step: Step, is_honest: bool, edit: impl FnOnce(&mut State)) {
        let mut after = self.from.clone();
        edit(&mut after);
        self.all.push((step, is_honest, after));
    }

    fn plane(&mut self, step: Step, is_honest: bool, plane: usize, edit: impl FnOnce(&mut Plane)) {
        self.add(step, is_honest, |after| {
            if let Some(own) = after.planes.get_mut(plane) {
                edit(own);
                own.knew = own.knew.max(own.root.worker.rank());
            }
        });
    }
}

impl Roster {
    /// The place of a root among the bits of signed roots.
    pub(super) fn bit(&self, root: Root) -> u128 {
        let worker = Worker::ALL.iter().position(|one| *one == root.worker).unwrap_or(0);
        let row = usize::from(root.set - 1) * usize::from(self.epochs - 1) + usize::from(root.epoch - 2);
        1 << (row * Worker::ALL.len() + worker)
    }

    /// All roots that somebody honest has signed.
    pub(super) fn roots(&self, state: &State) -> Vec<Root> {
        let [a, b] = state.signed;
        let mut roots = Vec::new();
        for set in 1..=state.newest_set() {
            for epoch in 2..=self.epochs {
                let all = Worker::ALL.map(|worker| Root { set, epoch, worker });
                let is_known = |root: &Root| self.is_alone(true) || (a | b) & self.bit(*root) != 0;
                roots.extend(all.into_iter().filter(is_known));
            }
        }
        roots
    }

    fn signers(&self, state: &State, root: Root, with_attacker: bool) -> BTreeSet<NodeId> {
        let honest = state.signed.iter().enumerate().filter(|(_, signed)| **signed & self.bit(root) != 0);
        let mut signers: BTreeSet<NodeId> = honest.map(|(plane, _)| node(plane)).collect();
        signers.extend(with_attacker.then_some(node(C)));
        signers
    }

    /// Whether C's signature is enough.
    fn is_alone(&self, with_attacker: bool) -> bool {
        with_attacker && self.without == Some(Without::OneSignature)
    }

    /// Whether enough control planes have signed, if C helps or does not.
    pub(super) fn is_valid(&self, state: &State, root: Root, with_attacker: bool) -> bool {
        let bit = self.bit(root);
        let key = (state.set(root.set), state.signed.map(|signed| signed & bit != 0), with_attacker);
        if self.is_alone(with_attacker) {
            return true;
        }
        let decide = || {
            let authority = state.authority(root.set);
            authority.is_some_and(|set| set.is_quorum(&self.signers(state, root, with_attacker)))
        };
        *self.decisions.valid.borrow_mut().entry(key).or_insert_with(decide)
    }

    /// Whether honest parties have all signatures of the root: their own, or those that one of them has seen.
    fn is_public(&self, state: &State, root: Root) -> bool {
        let seen = state.planes.iter().any(|plane| plane.memory && plane.root == root);
        seen || state.observer.root == root || self.is_valid(state, root, false)
    }

    /// Whether a party that knows `own` and the authority set `set` accepts the root.
    fn accepts(&self, state: &State, set: u8, own: Root, root: Root) -> bool {
        let bit = self.bit(root);
        let key = (set, own, root, state.sets, state.signed.map(|signed| signed & bit != 0));
        let decide = || self.decide_accept(state, set, own, root);
        *self.decisions.accepts.borrow_mut().entry(key).or_insert_with(decide)
    }

    fn decide_accept(&self, state: &State, set: u8, own: Root, root: Root) -> bool {
        let replaced = self.without == Some(Without::AuthorityNumber);
        let Some(authority) = state.authority(if replaced { root.set } else { set.max(root.set) }) else {
            return false;
        };
        let (epoch, content_known) = (own.epoch.into(), content(own.worker));
        let known = Known { context: context(), authority, epoch, content: content_known };
        let offered = membership::Root {
            context: context(),
            authority: root.set.into(),
            epoch: root.epoch.into(),
            content: content(root.worker),
            signers: self.signers(state, root, true),
        };
        let left_out = |condition: &Condition| {
            self.without == Some(Without::Condition(*condition))
                || *condition == Condition::Signatures && self.is_alone(true)
        };
        let mut conditions = Condition::ALL.into_iter().filter(|condition| !left_out(condition));
        conditions.all(|condition| condition.holds(&known, &offered))
    }

    fn signs(&self, state: &State, plane: usize, own: &Plane, root: Root) -> bool {
        let key = (
            plane,
            Plane { knew: 0, ..*own },
            state.orders,
            state.requests,
            state.sets,
            root,
            state.has_fork(own),
        );
        let decide = || self.decide_sign(state, plane, own, root);
        *self.decisions.signs.borrow_mut().entry(key).or_insert_with(decide)
    }

    fn decide_sign(&self, state: &State, plane: usize, own: &Plane, root: Root) -> bool {
        let Some(knowledge) = Self::knowledge(state, plane, own) else { return false };
        let proposal = self.proposal(state, root);
        let left_out = |check: &Check| match self.without {
            Some(Without::Check(without)) => without == *check,
            Some(Without::Memory) => *check == Check::Memory,
            _ => false,
        };
        let mut checks = Check::ALL.into_iter().filter(|check| !left_out(check));
        // The seat must be the one of the set, or the signature counts for nothing.
        knowledge.authority.has(node(plane), own.incarnation.into())
            && checks.all(|check| check.apply(&knowledge, &proposal).is_ok())
    }

    pub(super) fn all_steps(&self, state: &State) -> Vec<(Step, bool, State)> {
        let mut steps = Steps { from: state, all: Vec::new() };
        self.operator(state, &mut steps);
        for (plane, own) in state.planes.iter().enumerate() {
            self.control_plane(state, plane, own, &mut steps);
            Self::new_incarnation(state, plane, own, &mut steps);
        }
        if state.observer.online {
            self.online(state, state.observer, &mut steps);
        } else {
            self.quarantine(state, state.observer, &mut steps);
        }
        steps.all
    }

    fn operator(&self, state: &State, steps: &mut Steps<'_>) {
        for (order, _) in state
            .orders
            .iter()
            .enumerate()
            .filter(|(order, given)| !**given && (*order < 2 || !self.until_revoked))
        {
            steps.add(Step::Order(order), true, |after| put(&mut after.orders, order, true));
        }
        let [first, again, second] = state.requests;
        let [_, _, replaced] = state.orders;
        let may =
            [!first && !replaced, self.worker_loses && first && !again && !replaced, replaced && !second];
        for (request, _) in may.into_iter().enumerate().filter(|(_, may)| *may) {
            steps.add(Step::Request(request), request != 1, |after| put(&mut after.requests, request, true));
        }
        let issued = state.sets.iter().flatten().count();
        if issued >= usize::from(self.sets) {
            return;
        }
        // An operator replaces control planes that lost their disk, removes C, or both.
        let Some(present) = state.set(state.newest_set()) else { return };
        let mut incarnations = present.incarnations;
        for (incarnation, plane) in incarnations.iter_mut().zip(&state.planes) {
            if !plane.memory && *incarnation == plane.incarnation && *incarnation < 2 {
                *incarnation += 1;
            }
        }
        for with_c in [true, false] {
            let set = Set { incarnations, with_c };
            if set != present && (present.with_c || !with_c) {
                steps.add(Step::Issue(set), true, |after| put(&mut after.sets, issued, Some(set)));
            }
        }
    }

    fn control_plane(&self, state: &State, plane: usize, own: &Plane, steps: &mut Steps<'_>) {
        if own.memory && state.disks_lost < self.disks {
            steps.add(Step::LoseDisk(plane), false, |after| {
                after.disks_lost += 1;
                let root = Root { set: 1, epoch: 1, worker: Worker::Absent };
                let blank = Plane { memory: false, root, top: 1, armed: [false; 2], request: None, ..*own };
                put(&mut after.planes, plane, blank);
            });
        }
        if !own.memory && self.without != Some(Without::Memory) {
            return;
        }
        let [first, _, second] = state.orders;
        for (incarnation, (armed, order)) in own.armed.into_iter().zip([first, second]).enumerate() {
            if order && !armed {
                let arm = |own: &mut Plane| put(&mut own.armed, incarnation, true);
                steps.plane(Step::Arm(plane, incarnation), true, plane, arm);
            }
            if armed && self.expiry {
                let expire = |own: &mut Plane| put(&mut own.armed, incarnation, false);
                steps.plane(Step::Expire(plane, incarnation), false, plane, expire);
            }
        }
        let newest = state.newest_set();
        if own.set < newest {
            steps.plane(Step::Learn(plane), true, plane, |own| own.set = newest);
        }
        self.sign(state, plane, own, steps);
        for root in self.roots(state) {
            if !self.is_valid(state, root, true) {
                continue;
            }
            let is_honest = self.is_public(state, root);
            if self.accepts(state, own.set, own.root, root) {
                steps.plane(Step::Accept(plane, root), is_honest, plane, |own| {
                    own.set = own.set.max(root.set);
                    own.top = own.top.max(root.epoch);
                    own.root = root;
                });
            } else if root.epoch > own.top {
                steps.plane(Step::See(plane, root), is_honest, plane, |own| own.top = root.epoch);
            }
        }
    }

    fn sign(&self, state: &State, plane: usize, own: &Plane, steps: &mut Steps<'_>) {
        let last = own.top.saturating_add(1 + self.skip).min(self.epochs);
        for epoch in own.top + 1..=last {
            for worker in Worker::ALL {
                let root = Root { set: own.set, epoch, worker };
                if !self.signs(state, plane, own, root) {
                    continue;
                }
                let is_member = !matches!(worker, Worker::Absent | Worker::Revoked);
                steps.add(Step::Sign(plane, root), true, |after| {
                    if let Some(own) = after.planes.get_mut(plane) {
                        own.top = epoch;
                        own.request = if is_member { Some(worker) } else { own.request };
                    }
                    if let Some(signed) = after.signed.get_mut(plane) {
                        *signed |= self.bit(root);
                    }
                });
            }
        }
    }

    /// A control plane whose disk was lost gets the seed of its next incarnation, and its memory from proofs of a quorum of
    /// the others, or of all others if there are fewer.
    fn new_incarnation(state: &State, plane: usize, own: &Plane, steps: &mut Steps<'_>) {
        let newest = state.newest_set();
        let (Some(set), Some(authority)) = (state.set(newest), state.authority(newest)) else { return };
        let wanted = set.incarnations.get(plane).copied().unwrap_or(1);
        if own.memory || wanted == 1 {
            return;
        }
        if own.incarnation < wanted {
            steps.plane(Step::Reseed(plane), true, plane, |own| {
                own.incarnation = wanted;
                own.set = newest;
            });
            return;
        }
        let Some(other) = state.planes.get(1 - plane).filter(|other| other.memory) else { return };
        let others = 1 + usize::from(set.with_c);
        let needs_c = others.min(authority.threshold()) > 1;
        steps.plane(Step::Remember(plane), !needs_c, plane, |own| {
            own.memory = true;
            own.set = newest;
            own.root = other.root;
            own.top = own.top.max(other.top);
        });
    }

    fn online(&self, state: &State, own: Observer, steps: &mut Steps<'_>) {
        for root in self.roots(state) {
            if self.accepts(state, own.set, own.root, root) {
                steps.add(Step::Observe(root), self.is_public(state, root), |after| {
                    let set = own.set.max(root.set);
                    after.observer = Observer { set, root, ..own };
                });
            }
        }
        if state.restarts >= self.restarts {
            return;
        }
        let blank = Root { set: 1, epoch: 1, worker: Worker::Absent };
        let floor = state.planes.iter().map(|plane| plane.knew).min().unwrap_or(0);
        for loses in [false, true] {
            if loses && !self.observer_loses {
                continue;
            }
            let (set, root) = if loses { (1, blank) } else { (own.set, own.root) };
            steps.add(Step::Restart(loses), false, |after| {
                after.restarts += 1;
                after.observer = Observer { online: false, set, root, proofs: [false; 3], floor };
            });
        }
    }

    fn quarantine(&self, state: &State, own: Observer, steps: &mut Steps<'_>) {
        let Some(authority) = state.authority(own.set) else { return };
        let has_proof = |plane: usize| own.proofs.get(plane) == Some(&true);
        for (plane, other) in state.planes.iter().enumerate().filter(|(plane, _)| !has_proof(*plane)) {
            let works = other.memory || self.without == Some(Without::Memory);
            if works && authority.has(node(plane), other.incarnation.into()) {
                steps.add(Step::Prove(plane), true, |after| {
                    if let Some(root) = merge(own.root, other.root) {
                        after.observer.root = root;
                        put(&mut after.observer.proofs, plane, true);
                    }
                    // A newer authority set: its members have to answer.
                    if other.set > own.set {
                        after.observer.set = other.set;
                        after.observer.proofs = [false; 3];
                    }
                });
            }
            if self.without == Some(Without::Nonce) {
                steps.add(Step::Replay(plane), false, |after| put(&mut after.observer.proofs, plane, true));
            }
        }
        if authority.has(node(C), 1) && !has_proof(C) {
            steps.add(Step::Prove(C), false, |after| put(&mut after.observer.proofs, C, true));
        }
        let provers: BTreeSet<NodeId> = (0..=C).filter(|plane| has_proof(*plane)).map(node).collect();
        let one = self.without == Some(Without::ProofThreshold) && !provers.is_empty();
        if one || authority.is_quorum(&provers) {
            steps.add(Step::Leave, true, |after| {
                after.observer.online = true;
                after.observer.proofs = [false; 3];
            });
        }
    }
}

/// The observer takes every root of the proofs: the higher one, if they do not contradict each other.
fn merge(own: Root, other: Root) -> Option<Root> {
    let worker = match own.worker.rank().cmp(&other.worker.rank()) {
        Ordering::Less => other.worker,
        Ordering::Greater => own.worker,
        Ordering::Equal if own.worker == other.worker => own.worker,
        Ordering::Equal => return None,
    };
    Some(Root { set: own.set.max(other.set), epoch: own.epoch.max(other.epoch), worker })
}
