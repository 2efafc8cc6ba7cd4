//! The roster after genesis: enrolment, revocation, replacement, lost disks, new authority sets, and nodes that were off.
//!
//! Three control planes: A and B are honest, C belongs to the attacker. The subject is the record of one worker; the
//! observer is an honest member that must never be deceived about it. The attacker proposes any content with any epoch to
//! any control plane, completes every root with C's signature, shows any valid root to anybody, answers nonces, and decides
//! who gets which message. Honest parties decide with `judge` and `accept` of the product.
//!
//! Not here: plane keys (unit tests of `kubedos_wire::membership`), and the threshold of sets with more than three members.

mod facts;
mod moves;

use std::cell::RefCell;
use std::collections::HashMap;

use crate::checker::Model;

use kubedos_wire::membership::{Check, Condition};

/// A check that a mutant leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// A check of `judge`.
    Check(Check),
    /// A condition of `accept`.
    Condition(Condition),
    /// A control plane whose disk was lost goes on with an empty memory.
    Memory,
    /// One proof is enough for a node that was off.
    ProofThreshold,
    /// Proofs have no nonce.
    Nonce,
    /// The verifier of a voucher knows its secret.
    SecretVoucher,
    /// Nodes accept roots of replaced authority sets.
    AuthorityNumber,
    /// One signature is enough.
    OneSignature,
    /// A control plane may revoke.
    RevocationOrder,
}

/// The model and its bounds.
#[derive(Debug, Clone)]
pub struct Roster {
    /// The highest epoch.
    pub epochs: u8,
    /// How many epochs a proposal may skip.
    pub skip: u8,
    /// How many disks of honest control planes may be lost.
    pub disks: u8,
    /// How many authority sets the operator may issue.
    pub sets: u8,
    /// How often the observer restarts.
    pub restarts: u8,
    /// Whether the observer may lose STATE when it restarts.
    pub observer_loses: bool,
    /// Whether the worker may lose STATE.
    pub worker_loses: bool,
    /// Whether armings expire.
    pub expiry: bool,
    /// Whether the story ends with the revocation, without a second incarnation.
    pub until_revoked: bool,
    /// What is left out.
    pub without: Option<Without>,
    /// Decisions of the product that were asked before.
    pub decisions: Decisions,
}

type SignKey = (usize, Plane, [bool; 3], [bool; 3], [Option<Set>; 2], Root, bool);
type AcceptKey = (u8, Root, Root, [Option<Set>; 2], [bool; 2]);
type ValidKey = (Option<Set>, [bool; 2], bool);

/// Decisions by what they depend on.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
    signs: RefCell<HashMap<SignKey, bool>>,
    accepts: RefCell<HashMap<AcceptKey, bool>>,
    valid: RefCell<HashMap<ValidKey, bool>>,
}

impl Default for Roster {
    fn default() -> Self {
        Self {
            epochs: 5,
            skip: 0,
            disks: 0,
            sets: 0,
            restarts: 0,
            observer_loses: false,
            worker_loses: false,
            expiry: false,
            until_revoked: false,
            without: None,
            decisions: Decisions::default(),
        }
    }
}

/// The record of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    /// No record.
    Absent,
    /// Member, first incarnation.
    First,
    /// Member, first incarnation, with the keys after it lost its STATE.
    FirstAgain,
    /// Member, first incarnation, with keys of the attacker.
    FirstStolen,
    /// First incarnation revoked.
    Revoked,
    /// Member, second incarnation.
    Second,
    /// Member, second incarnation, with keys of the attacker.
    SecondStolen,
}

impl Worker {
    const ALL: [Self; 7] = [
        Self::Absent,
        Self::First,
        Self::FirstAgain,
        Self::FirstStolen,
        Self::Revoked,
        Self::Second,
        Self::SecondStolen,
    ];

    /// The height in the order of records.
    const fn rank(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::First | Self::FirstAgain | Self::FirstStolen => 1,
            Self::Revoked => 2,
            Self::Second | Self::SecondStolen => 3,
        }
    }
}

/// A root: the number of the authority set, the epoch, and the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Root {
    set: u8,
    epoch: u8,
    worker: Worker,
}

/// An honest control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Plane {
    incarnation: u8,
    /// Whether it has a memory for its incarnation.
    memory: bool,
    /// The newest authority set that it knows.
    set: u8,
    /// The accepted root.
    root: Root,
    /// The highest epoch that it has signed or seen.
    top: u8,
    /// Whether the first and the second incarnation of the worker are armed.
    armed: [bool; 2],
    /// The request that it has signed for the newest incarnation of the worker.
    request: Option<Worker>,
    /// The highest rank that this seat ever knew. Only properties read it.
    knew: u8,
}

/// The honest member that watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Observer {
    /// Whether it is beyond quarantine.
    online: bool,
    set: u8,
    root: Root,
    /// Who has answered its nonce: A, B, C.
    proofs: [bool; 3],
    /// What every honest control plane knew when it drew the nonce.
    floor: u8,
}

/// Who is in an authority set: the incarnations of A and B, and whether C is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Set {
    incarnations: [u8; 2],
    with_c: bool,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    planes: [Plane; 2],
    observer: Observer,
    /// The sets after the first one.
    sets: [Option<Set>; 2],
    /// The roots that A and B have signed, as bits.
    signed: [u128; 2],
    /// Orders of the operator: arm the first, revoke, replace.
    orders: [bool; 3],
    /// Requests that the worker has signed: first, first again, second.
    requests: [bool; 3],
    disks_lost: u8,
    restarts: u8,
    /// What the step to this state did that is forbidden.
    bad: Option<&'static str>,
}

/// A step.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// The operator signs an order.
    Order(usize),
    /// The order to arm an incarnation reaches a control plane.
    Arm(usize, usize),
    /// An arming expires.
    Expire(usize, usize),
    /// The worker signs a request.
    Request(usize),
    /// A control plane signs a root.
    Sign(usize, Root),
    /// A control plane accepts a root.
    Accept(usize, Root),
    /// A control plane sees a valid root that it does not accept, and remembers its epoch.
    See(usize, Root),
    /// A control plane loses its disk.
    LoseDisk(usize),
    /// The trust key signs an authority set.
    Issue(Set),
    /// A control plane learns the newest set.
    Learn(usize),
    /// A control plane starts with the seed of its next incarnation.
    Reseed(usize),
    /// A new incarnation gets its memory from the others.
    Remember(usize),
    /// The observer accepts a root.
    Observe(Root),
    /// The observer restarts, with or without its STATE.
    Restart(bool),
    /// A control plane answers the observer's nonce.
    Prove(usize),
    /// The attacker repeats an old answer of a control plane.
    Replay(usize),
    /// The observer leaves quarantine.
    Leave,
}

impl Model for Roster {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        let root = Root { set: 1, epoch: 1, worker: Worker::Absent };
        let plane = Plane {
            incarnation: 1,
            memory: true,
            set: 1,
            root,
            top: 1,
            armed: [false; 2],
            request: None,
            knew: 0,
        };
        State {
            planes: [plane; 2],
            observer: Observer { online: true, set: 1, root, proofs: [false; 3], floor: 0 },
            sets: [None; 2],
            signed: [0; 2],
            orders: [false; 3],
            requests: [false; 3],
            disks_lost: 0,
            restarts: 0,
            bad: None,
        }
    }

    fn steps(&self, state: &State) -> Vec<(Step, bool, State)> {
        let mut steps = self.all_steps(state);
        for (_, _, after) in &mut steps {
            let is_same = after.signed == state.signed && self.without != Some(Without::OneSignature);
            let added = if is_same { None } else { self.added(after) };
            let known = || ignores_what_all_know(state, after, &self.roots(after), |root| self.bit(root));
            after.bad = added.or_else(known).or_else(|| taken_back(state, after));
            // The shortcuts are proven for the protocol, not for its mutants.
            if self.without.is_none() {
                self.forget(after);
            }
            after.make_canonical();
        }
        steps
    }

    fn forbidden(&self, _before: &State, after: &State) -> Option<&'static str> {
        after.bad
    }

    /// Everybody knows the end of the story: the second incarnation is a member, or the first one is revoked.
    fn is_good(&self, state: &State) -> bool {
        let observer = &state.observer;
        let end = if self.until_revoked { Worker::Revoked } else { Worker::Second };
        let knows = |plane: &Plane| plane.memory && plane.root.worker == end;
        observer.online && observer.root.worker == end && state.planes.iter().all(knows)
    }

    /// Epochs are only compared. A state near the highest one has the future of the same state further below.
    fn is_at_bound(&self, state: &State) -> bool {
        let top = state.planes.iter().map(|plane| plane.top).chain([state.observer.root.epoch]).max();
        let used_up = state.sets.iter().flatten().count() >= usize::from(self.sets);
        top >= Some(self.epochs) || state.planes.iter().any(|plane| !plane.memory) && used_up
    }
}

impl Roster {
    /// Whether a valid root has a member without an order of the operator, or with keys of the attacker.
    fn added(&self, state: &State) -> Option<&'static str> {
        let valid: Vec<Worker> = self
            .roots(state)
            .into_iter()
            .filter(|root| self.is_valid(state, *root, true))
            .map(|root| root.worker)
            .collect();
        let valid = |worker: Worker| valid.contains(&worker);
        let [armed_first, _, armed_second] = state.orders;
        if valid(Worker::FirstStolen) || valid(Worker::SecondStolen) {
            return Some("the attacker added a member");
        }
        let unarmed = !armed_first && (valid(Worker::First) || valid(Worker::FirstAgain));
        if unarmed || !armed_second && valid(Worker::Second) {
            return Some("a node became a member before it was armed");
        }
        let [_, revoke, replace] = state.orders;
        // Without evidence, both is possible; the mutant is about additions.
        let only_additions = self.without == Some(Without::Check(Check::Evidence));
        if !revoke && !replace && !only_additions && valid(Worker::Revoked) {
            return Some("a node was revoked without an order");
        }
        None
    }
}

/// Whether a control plane signed a root that is lower than what every honest control plane knows.
fn ignores_what_all_know(
    before: &State,
    after: &State,
    roots: &[Root],
    bit: impl Fn(Root) -> u128,
) -> Option<&'static str> {
    let ranks = before.planes.iter().filter(|plane| plane.memory).map(|plane| plane.root.worker.rank());
    let known = ranks.min().unwrap_or(0);
    let is_new = |root: &Root| {
        before.signed.iter().zip(&after.signed).any(|(old, new)| (new & !old) & bit(*root) != 0)
    };
    let lower = roots.iter().any(|root| root.worker.rank() < known && is_new(root));
    lower.then_some("a root was signed without a revocation that every control plane knew")
}

/// Whether an honest party took something back.
fn taken_back(before: &State, after: &State) -> Option<&'static str> {
    let (old, new) = (&before.observer, &after.observer);
    let restarted = before.restarts != after.restarts;
    let is_lower =
        |old: Worker, new: Worker| new.rank() < old.rank() || new.rank() == old.rank() && new != old;
    if new.online && old.online {
        if is_lower(old.root.worker, new.root.worker) {
            return Some("the observer took a record back");
        }
        if new.root.epoch < old.root.epoch {
            return Some("the observer accepted a lower epoch");
        }
        if new.root.set < old.root.set {
            return Some("the observer accepted a root of a replaced authority set");
        }
    }
    if !old.online && new.online && !restarted && new.root.worker.rank() < new.floor {
        return Some("the observer left quarantine with an old roster");
    }
    // The two control planes may have changed places.
    let ranks = |state: &State| {
        let mut ranks = state.planes.map(|plane| if plane.memory { plane.root.worker.rank() } else { 0 });
        ranks.sort_unstable();
        ranks
    };
    let lost = before.disks_lost != after.disks_lost;
    let lower = ranks(before).iter().zip(ranks(after)).any(|(old, new)| new < *old);
    (lower && !lost).then_some("a control plane took a record back")
}

impl Roster {
    /// Leaves out what has no influence on any later step: signatures of roots that no honest party can ever accept, and
    /// the absolute value of epochs, which are only compared.
    fn forget(&self, state: &mut State) {
        let knows = |plane: &&Plane| plane.memory;
        let planes: Vec<Root> = state.planes.iter().filter(knows).map(|plane| plane.root).collect();
        // After quarantine, an observer has at least the root of an honest control plane.
        let observer = state.observer.online.then_some(state.observer.root);
        let parties: Vec<Root> = planes.into_iter().chain(observer).collect();
        let Some(lowest) = parties.iter().map(|root| root.epoch).min() else { return };
        let can_accept = |root: Root| {
            parties.iter().any(|own| {
                let (old, new) = (own.worker.rank(), root.worker.rank());
                root.epoch > own.epoch && (old < new || own.worker == root.worker)
            })
        };
        let live: Vec<Root> = self.roots(state).into_iter().filter(|root| can_accept(*root)).collect();
        let down = lowest.saturating_sub(1);
        let lower = |epoch: u8| epoch.saturating_sub(down).max(1);
        let mut signed = [0; 2];
        for (new, old) in signed.iter_mut().zip(state.signed) {
            for root in live.iter().filter(|root| old & self.bit(**root) != 0) {
                *new |= self.bit(Root { epoch: lower(root.epoch), ..*root });
            }
        }
        state.signed = signed;
        for plane in &mut state.planes {
            plane.top = lower(plane.top);
            plane.root.epoch = lower(plane.root.epoch);
            plane.knew = if self.restarts > state.restarts { plane.knew } else { 0 };
        }
        state.observer.root.epoch = lower(state.observer.root.epoch);
    }
}

impl State {
    /// A and B are equal: of a state and its mirror image, one is used.
    fn make_canonical(&mut self) {
        let mirrored = |set: &Option<Set>| {
            set.map(|Set { incarnations: [a, b], with_c }| Set { incarnations: [b, a], with_c })
        };
        let [a, b] = self.planes;
        let [signed_a, signed_b] = self.signed;
        let [proof_a, proof_b, proof_c] = self.observer.proofs;
        if (a, signed_a, proof_a) <= (b, signed_b, proof_b) {
            return;
        }
        self.planes = [b, a];
        self.signed = [signed_b, signed_a];
        self.observer.proofs = [proof_b, proof_a, proof_c];
        let [second, third] = &self.sets;
        self.sets = [mirrored(second), mirrored(third)];
    }
}
