//! Enrolment with three honest control planes: the voucher makes one member, or the operator is told.
//!
//! The worker may lose STATE, control planes restart (which changes nothing: what they need is in STATE), etcd may lose the
//! entry of the enrolment (a restored snapshot), answers get lost, and any two control planes may be the quorum. The rule
//! under test is that a signer remembers the request that it has signed: two quorums share a control plane.
//!
//! Forbidden: two valid roots with two requests of one incarnation.

use crate::checker::Model;

/// The model, with what is changed for a mutant.
#[derive(Debug, Clone, Default)]
pub struct Enrolment {
    /// Whether signers do not remember the request that they have signed.
    pub forgets_request: bool,
    /// How often etcd may lose its entry.
    pub restores: u8,
}

/// A request of the first incarnation: with the first keys, or with those after the worker lost STATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// The first keys.
    First,
    /// The second keys.
    Second,
}

/// A control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Signer {
    /// The request that it has signed.
    bound: Option<Request>,
    /// Which requests it has signed at all, as bits.
    signed: [bool; 2],
    /// The request in the root that it has accepted.
    accepted: Option<Request>,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    signers: [Signer; 3],
    /// The entry in etcd: a request.
    entry: Option<Request>,
    /// The request in the worker's STATE.
    holds: Option<Request>,
    lost_state: bool,
    /// Whether the worker has been told that another request was recorded.
    refused: bool,
    /// Whether the worker has seen its record in a valid root.
    member: bool,
    restores: u8,
}

/// A step.
#[derive(Debug)]
pub enum Step {
    /// The worker writes its keys and the request.
    Create,
    /// A control plane gets the request, and runs the transaction.
    Record,
    /// A control plane signs the request of the entry.
    Sign(usize),
    /// A control plane accepts a valid root.
    Accept(usize, Request),
    /// The worker sees a valid root with its keys.
    Join,
    /// The worker loses STATE.
    LoseState,
    /// etcd loses the entry.
    Restore,
}

const fn place(request: Request) -> usize {
    match request {
        Request::First => 0,
        Request::Second => 1,
    }
}

impl State {
    fn is_valid(&self, request: Request) -> bool {
        self.signers.iter().filter(|signer| signer.signed.get(place(request)) == Some(&true)).count() >= 2
    }

    fn with(&self, edit: impl FnOnce(&mut Self)) -> Self {
        let mut after = self.clone();
        edit(&mut after);
        after.signers.sort_unstable(); // the control planes are equal
        after
    }
}

impl Model for Enrolment {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        State {
            signers: [Signer::default(); 3],
            entry: None,
            holds: None,
            lost_state: false,
            refused: false,
            member: false,
            restores: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<(Step, bool, State)> {
        let mut steps = Vec::new();
        match state.holds {
            None => {
                let request = if state.lost_state { Request::Second } else { Request::First };
                steps.push((Step::Create, true, state.with(|after| after.holds = Some(request))));
            }
            Some(request) => {
                let accepted = state.signers.iter().find_map(|signer| signer.accepted);
                let recorded = state.entry.or(accepted);
                let after = state.with(|after| match recorded {
                    Some(recorded) => after.refused |= recorded != request,
                    None => after.entry = Some(request),
                });
                steps.push((Step::Record, true, after));
                if state.is_valid(request) && !state.member {
                    steps.push((Step::Join, true, state.with(|after| after.member = true)));
                }
                if !state.lost_state {
                    let after = state.with(|after| {
                        after.holds = None;
                        after.lost_state = true;
                        after.member = false;
                        after.refused = false;
                    });
                    steps.push((Step::LoseState, false, after));
                }
            }
        }
        for (number, signer) in state.signers.iter().enumerate() {
            let edit = |change: &dyn Fn(&mut Signer)| {
                state.with(|after| after.signers.iter_mut().skip(number).take(1).for_each(change))
            };
            let open = state.entry.filter(|request| {
                let free = self.forgets_request || signer.bound.is_none_or(|bound| bound == *request);
                free && signer.accepted.is_none()
            });
            if let Some(request) = open {
                let after = edit(&|signer| {
                    signer.bound = Some(request);
                    signer.signed.iter_mut().skip(place(request)).take(1).for_each(|signed| *signed = true);
                });
                steps.push((Step::Sign(number), true, after));
            }
            for request in [Request::First, Request::Second] {
                if signer.accepted.is_none() && state.is_valid(request) {
                    let after = edit(&|signer| signer.accepted = Some(request));
                    steps.push((Step::Accept(number, request), true, after));
                }
            }
        }
        if state.restores < self.restores && state.entry.is_some() {
            let after = state.with(|after| {
                after.entry = None;
                after.restores += 1;
            });
            steps.push((Step::Restore, false, after));
        }
        steps
    }

    fn forbidden(&self, _before: &State, after: &State) -> Option<&'static str> {
        let two = after.is_valid(Request::First) && after.is_valid(Request::Second);
        two.then_some("two members by one voucher")
    }

    /// The worker is a member; or it knows that another request was recorded; or so many control planes have signed another
    /// request that its own cannot become valid, which each of them reports. In the last two cases an operator replaces it.
    fn is_good(&self, state: &State) -> bool {
        let is_other = |request: Request| state.holds.is_some_and(|held| held != request);
        let refuses = |signer: &&Signer| signer.bound.or(signer.accepted).is_some_and(is_other);
        state.member || state.refused || state.signers.iter().filter(refuses).count() >= 2
    }
}
