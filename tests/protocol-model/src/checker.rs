//! Searches all reachable states of a model, breadth first.
//!
//! It reports the shortest trace to a forbidden step, and the states from which no sequence of *honest* steps leads to a
//! good state. The second is stronger than "a good state is always reachable": the attacker does not have to help.
//! ADR 0069 has the reasons for a checker of our own.

use std::fmt::Debug;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};

/// A transition system.
pub trait Model {
    /// A state. Symmetric states should be equal.
    type State: Clone + Eq + Hash + Debug;
    /// The name of a step, for traces.
    type Step: Debug;

    /// The first state.
    fn initial(&self) -> Self::State;

    /// All steps from a state: the name, whether honest parties can do it without the attacker, and the next state.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Step, bool, Self::State)>;

    /// Why a step is forbidden.
    fn forbidden(&self, before: &Self::State, after: &Self::State) -> Option<&'static str>;

    /// Whether honest parties have what they want.
    fn is_good(&self, state: &Self::State) -> bool;

    /// Whether the model's bounds make this state unable to continue, so that it says nothing about liveness.
    fn is_at_bound(&self, _state: &Self::State) -> bool {
        false
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Report {
    /// The number of different states.
    pub states: usize,
    /// The number of steps between them.
    pub steps: usize,
    /// The length of the longest shortest path.
    pub depth: usize,
    /// The number of good states.
    pub good: usize,
    /// The shortest trace to a forbidden step.
    pub violation: Option<Trace>,
    /// The shortest trace to a state that honest parties cannot leave towards a good one.
    pub stuck: Option<Trace>,
}

/// A path from the first state.
#[derive(Debug)]
pub struct Trace {
    /// What is wrong at its end.
    pub reason: &'static str,
    /// The steps, one text each.
    pub steps: Vec<String>,
    /// The last state.
    pub end: String,
}

impl Trace {
    /// The trace as lines, for the output of a test.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} after {} steps:\n", self.reason, self.steps.len());
        for (number, step) in (1..).zip(&self.steps) {
            text.push_str(&format!("{number:3}  {step}\n"));
        }
        text.push_str(&self.end);
        text
    }
}

/// The states that were found, with the state that each was reached from.
struct Found<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    /// Open addressing: the place of a state, plus one.
    table: Vec<u32>,
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl<S: Eq + Hash> Found<S> {
    fn new() -> Self {
        Self {
            states: Vec::new(),
            parents: Vec::new(),
            table: vec![0; 1 << 16],
            hasher: BuildHasherDefault::new(),
        }
    }

    /// The number of a state, and whether it is new.
    fn number(&mut self, state: S, parent: u32) -> (u32, bool) {
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        let slot = self.slot(&state);
        match self.table.get(slot).copied().unwrap_or(0).checked_sub(1) {
            Some(number) => (number, false),
            None => {
                let number = u32::try_from(self.states.len()).unwrap_or(u32::MAX - 1);
                self.states.push(state);
                self.parents.push(parent);
                if let Some(entry) = self.table.get_mut(slot) {
                    *entry = number + 1;
                }
                (number, true)
            }
        }
    }

    /// The slot of the state, or the free slot where it belongs.
    fn slot(&self, state: &S) -> usize {
        let mask = self.table.len() - 1;
        let hash = self.hasher.hash_one(state);
        let mut slot = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & mask;
        loop {
            let Some(number) = self.table.get(slot).and_then(|entry| entry.checked_sub(1)) else {
                return slot;
            };
            if self.states.get(usize::try_from(number).unwrap_or(usize::MAX)) == Some(state) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 4];
        for number in 0..self.states.len() {
            let Some(state) = self.states.get(number) else { continue };
            let slot = self.slot(state);
            if let Some(entry) = self.table.get_mut(slot) {
                *entry = u32::try_from(number + 1).unwrap_or(u32::MAX);
            }
        }
    }

    fn get(&self, number: u32) -> Option<&S> {
        self.states.get(usize::try_from(number).ok()?)
    }

    /// The numbers from the first state to this one.
    fn path(&self, mut number: u32) -> Vec<u32> {
        let mut path = vec![number];
        while number != 0 {
            let Some(parent) = usize::try_from(number).ok().and_then(|place| self.parents.get(place)) else {
                break;
            };
            number = *parent;
            path.push(number);
        }
        path.reverse();
        path
    }
}

/// Searches all states of a model, and stops at the first forbidden step.
pub fn search<M: Model>(model: &M) -> Report {
    let mut found = Found::new();
    found.number(model.initial(), 0);
    let mut honest: Vec<(u32, u32)> = Vec::new();
    let (mut steps, mut depth, mut layer_end) = (0, 0, 1);
    let mut next = 0;
    while let Some(state) = found.states.get(next).cloned() {
        if next == layer_end {
            depth += 1;
            layer_end = found.states.len();
        }
        let from = u32::try_from(next).unwrap_or(u32::MAX);
        for (step, is_honest, after) in model.steps(&state) {
            steps += 1;
            if let Some(reason) = model.forbidden(&state, &after) {
                let mut trace = trace(model, &found, from, reason);
                trace.steps.push(format!("{step:?}"));
                trace.end = format!("{after:?}");
                let (states, good) = (found.states.len(), 0);
                return Report { states, steps, depth, good, violation: Some(trace), stuck: None };
            }
            let (to, _) = found.number(after, from);
            if is_honest && to != from {
                honest.push((from, to));
            }
        }
        next += 1;
    }
    let (good, stuck) = unable(model, &found, &honest);
    let stuck = stuck.map(|number| trace(model, &found, number, "no honest step leads to a good state"));
    Report { states: found.states.len(), steps, depth, good, violation: None, stuck }
}

/// The number of good states, and the first state from which no honest path leads to a good one.
fn unable<M: Model>(model: &M, found: &Found<M::State>, honest: &[(u32, u32)]) -> (usize, Option<u32>) {
    let place = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    // The predecessors of each state, as ranges of one list.
    let mut starts = vec![0_usize; found.states.len() + 1];
    for (_, to) in honest {
        if let Some(start) = starts.get_mut(place(*to) + 1) {
            *start += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut filled = starts.clone();
    let mut predecessors = vec![0_u32; honest.len()];
    for (from, to) in honest {
        let Some(next) = filled.get_mut(place(*to)) else { continue };
        if let Some(entry) = predecessors.get_mut(*next) {
            *entry = *from;
        }
        *next += 1;
    }
    let mut able: Vec<bool> = found.states.iter().map(|state| model.is_good(state)).collect();
    let good = able.iter().filter(|able| **able).count();
    for (able, state) in able.iter_mut().zip(&found.states) {
        *able |= model.is_at_bound(state);
    }
    let mut queue: Vec<u32> =
        (0..).zip(&able).filter(|(_, able)| **able).map(|(number, _): (u32, _)| number).collect();
    while let Some(number) = queue.pop() {
        let range = starts.get(place(number)).zip(starts.get(place(number) + 1));
        let Some(before) = range.and_then(|(first, last)| predecessors.get(*first..*last)) else { continue };
        for number in before {
            if let Some(entry) = able.get_mut(place(*number)).filter(|able| !**able) {
                *entry = true;
                queue.push(*number);
            }
        }
    }
    let stuck = (0..).zip(&able).find(|(_, able)| !**able).map(|(number, _): (u32, _)| number);
    (good, stuck)
}

fn trace<M: Model>(model: &M, found: &Found<M::State>, number: u32, reason: &'static str) -> Trace {
    let path = found.path(number);
    let mut steps = Vec::new();
    for pair in path.windows(2) {
        let [from, to] = pair else { continue };
        let (Some(from), Some(to)) = (found.get(*from), found.get(*to)) else { continue };
        let step = model.steps(from).into_iter().find(|(_, _, after)| after == to);
        steps.push(step.map_or_else(|| "?".to_owned(), |(step, _, _)| format!("{step:?}")));
    }
    Trace { reason, steps, end: found.get(number).map(|state| format!("{state:?}")).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up; from 3 the attacker can go to 10, which nobody leaves.
    struct Count {
        trap: bool,
        limit: u32,
    }

    impl Model for Count {
        type State = u32;
        type Step = &'static str;

        fn initial(&self) -> u32 {
            0
        }

        fn steps(&self, state: &u32) -> Vec<(&'static str, bool, u32)> {
            let mut steps = Vec::new();
            if *state < 5 {
                steps.push(("up", true, state + 1));
            }
            if self.trap && *state == 3 {
                steps.push(("trap", false, 10));
            }
            steps
        }

        fn forbidden(&self, _before: &u32, after: &u32) -> Option<&'static str> {
            (*after > self.limit).then_some("above the limit")
        }

        fn is_good(&self, state: &u32) -> bool {
            *state == 5
        }
    }

    #[test]
    fn all_states_are_found_and_a_good_one_is_reached() {
        let report = search(&Count { trap: false, limit: 99 });
        assert_eq!((report.states, report.steps, report.depth, report.good), (6, 5, 5, 1));
        assert!(report.violation.is_none() && report.stuck.is_none());
    }

    #[test]
    fn a_forbidden_step_has_the_shortest_trace() {
        let report = search(&Count { trap: true, limit: 4 });
        assert_eq!(report.violation.unwrap().steps, ["\"up\"", "\"up\"", "\"up\"", "\"trap\""]);
    }

    #[test]
    fn a_trap_is_found() {
        let report = search(&Count { trap: true, limit: 99 });
        assert_eq!(report.stuck.unwrap().end, "10");
    }

    #[test]
    fn the_table_grows() {
        let mut found = Found::new();
        for round in 0..2 {
            for state in 0..200_000_u32 {
                assert_eq!(found.number(state, 0), (state, round == 0));
            }
        }
    }
}
