//! The faults of a running lab by the names of its nodes, as `lab fault` sets them and `lab status` shows them. No IO.
//!
//! Every fault concerns both directions. Faults of different kinds add up; a fault replaces an earlier one of its kind between
//! the same nodes. The switch checks the values; a state that it refuses is not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kubedos_lab::switch::Faults;
use serde::{Deserialize, Serialize};

use super::error::LabError;

/// A change of the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// No frame passes between the nodes and all others.
    Partition,
    /// Frames are lost.
    Loss {
        /// The probability in parts per million.
        ppm: u32,
    },
    /// Frames are delayed.
    Delay {
        /// The mean delay in milliseconds.
        delay_ms: u64,
        /// The largest difference from it.
        jitter_ms: u64,
    },
    /// Frames are overtaken.
    Reorder {
        /// The probability in parts per million.
        ppm: u32,
        /// The number of frames that overtake one.
        distance: u32,
    },
    /// Frames arrive twice.
    Duplicate {
        /// The probability in parts per million.
        ppm: u32,
    },
    /// All faults end.
    Heal,
}

/// Two different nodes, by their places, the smaller one first.
pub type Pair = (usize, usize);

/// The faults between all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActiveFaults {
    /// One side of the partition; empty without one.
    pub side: BTreeSet<usize>,
    /// The faults between two nodes, in both directions.
    pub pairs: BTreeMap<Pair, Faults>,
}

impl ActiveFaults {
    /// The state after a change. `names` are all nodes, `on` the named ones.
    pub fn after(&self, fault: Fault, on: &[String], names: &[&str]) -> Result<Self, LabError> {
        let place = |node: &String| {
            let known = || names.iter().map(ToString::to_string).collect();
            let no_node = || LabError::NoNode { name: node.clone(), known: known() };
            names.iter().position(|name| name == node).ok_or_else(no_node)
        };
        let on: BTreeSet<usize> = on.iter().map(place).collect::<Result<_, _>>()?;
        let mut next = self.clone();
        match fault {
            Fault::Heal => return Ok(Self::default()),
            Fault::Partition => {
                if on.is_empty() || on.len() == names.len() {
                    return Err(LabError::Fault("a partition needs nodes on both sides"));
                }
                next.side = on;
                return Ok(next);
            }
            Fault::Loss { .. } | Fault::Delay { .. } | Fault::Reorder { .. } | Fault::Duplicate { .. } => {}
        }
        if names.len() < 2 {
            return Err(LabError::Fault("the lab has only one node"));
        }
        let concerned = |pair: &Pair| {
            let of = [pair.0, pair.1].iter().filter(|place| on.contains(*place)).count();
            of >= on.len().min(2)
        };
        for pair in pairs(names.len()).filter(concerned) {
            let faults = next.pairs.entry(pair).or_default();
            set(faults, fault);
            if *faults == (Faults { reorder_distance: faults.reorder_distance, ..Faults::default() }) {
                next.pairs.remove(&pair);
            }
        }
        Ok(next)
    }

    /// The faults of the frames from and to a node, for people.
    pub fn of(&self, node: usize, names: &[&str]) -> Vec<String> {
        let list = |places: &[usize]| -> String {
            if places.len() + 1 == names.len() && places.len() > 1 {
                return "all nodes".to_owned();
            }
            let names: Vec<&str> = places.iter().filter_map(|place| names.get(*place)).copied().collect();
            names.join(", ")
        };
        let mut texts = Vec::new();
        let is_apart = |other: &usize| self.side.contains(&node) != self.side.contains(other);
        let apart: Vec<usize> = (0..names.len()).filter(is_apart).collect();
        if !apart.is_empty() {
            texts.push(format!("partition from {}", list(&apart)));
        }
        let mut with: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for ((one, other), faults) in &self.pairs {
            let peer = if *one == node { other } else { one };
            if *one == node || *other == node {
                with.entry(text(faults)).or_default().push(*peer);
            }
        }
        texts.extend(with.into_iter().map(|(text, peers)| format!("{text} with {}", list(&peers))));
        texts
    }
}

/// Replaces the values of one kind of fault.
const fn set(faults: &mut Faults, fault: Fault) {
    match fault {
        Fault::Loss { ppm } => faults.loss_ppm = ppm,
        Fault::Delay { delay_ms, jitter_ms } => {
            faults.delay = Duration::from_millis(delay_ms);
            faults.jitter = Duration::from_millis(jitter_ms);
        }
        Fault::Reorder { ppm, distance } => {
            faults.reorder_ppm = ppm;
            faults.reorder_distance = distance;
        }
        Fault::Duplicate { ppm } => faults.duplicate_ppm = ppm,
        Fault::Partition | Fault::Heal => {}
    }
}

/// All pairs of nodes.
pub fn pairs(nodes: usize) -> impl Iterator<Item = Pair> {
    (0..nodes).flat_map(move |one| (one + 1..nodes).map(move |other| (one, other)))
}

fn text(faults: &Faults) -> String {
    let mut texts = Vec::new();
    if faults.loss_ppm > 0 {
        texts.push(format!("{} % loss", percent(faults.loss_ppm)));
    }
    match (faults.delay.as_millis(), faults.jitter.as_millis()) {
        (0, _) => {}
        (delay, 0) => texts.push(format!("{delay} ms delay")),
        (delay, jitter) => texts.push(format!("{} to {} ms delay", delay - jitter, delay + jitter)),
    }
    if faults.reorder_ppm > 0 {
        let (part, distance) = (percent(faults.reorder_ppm), faults.reorder_distance);
        texts.push(format!("{part} % overtaken by {distance} frames"));
    }
    if faults.duplicate_ppm > 0 {
        texts.push(format!("{} % twice", percent(faults.duplicate_ppm)));
    }
    texts.join(", ")
}

/// Parts per million as percent, without zeroes at the end.
fn percent(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a number of percent as parts per million: 0 to 100, with at most four digits after the point.
pub fn ppm(text: &str) -> Result<u32, String> {
    let wrong = || "a number from 0 to 100 with at most four decimals is needed".to_owned();
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 3) || !digits(decimals, 4) {
        return Err(wrong());
    }
    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let ppm = number(whole)? * 10_000 + number(&format!("{decimals:0<4}"))?;
    if ppm <= 1_000_000 { Ok(ppm) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["cp-1", "w-1", "w-2"];

    fn after(faults: &[(Fault, &[&str])]) -> ActiveFaults {
        faults.iter().fold(ActiveFaults::default(), |state, (fault, on)| {
            let on: Vec<String> = on.iter().map(ToString::to_string).collect();
            state.after(*fault, &on, &NAMES).unwrap()
        })
    }

    fn shown(state: &ActiveFaults) -> [Vec<String>; 3] {
        [0, 1, 2].map(|node| state.of(node, &NAMES))
    }

    #[test]
    fn faults_concern_the_named_nodes_and_add_up() {
        let loss = Fault::Loss { ppm: 200_000 };
        let delay = Fault::Delay { delay_ms: 200, jitter_ms: 50 };
        assert_eq!(
            shown(&after(&[(loss, &[])])),
            [0, 1, 2].map(|_| vec!["20 % loss with all nodes".to_owned()])
        );
        assert_eq!(
            shown(&after(&[(loss, &["w-1"])])),
            [
                vec!["20 % loss with w-1".to_owned()],
                vec!["20 % loss with all nodes".to_owned()],
                vec!["20 % loss with w-1".to_owned()]
            ]
        );
        assert_eq!(
            shown(&after(&[
                (loss, &["w-1", "w-2"]),
                (delay, &["w-2", "w-1"]),
                (Fault::Partition, &["cp-1"])
            ])),
            [
                vec!["partition from all nodes".to_owned()],
                vec!["partition from cp-1".to_owned(), "20 % loss, 150 to 250 ms delay with w-2".to_owned()],
                vec!["partition from cp-1".to_owned(), "20 % loss, 150 to 250 ms delay with w-1".to_owned()],
            ]
        );
        let reorder = Fault::Reorder { ppm: 5_000, distance: 3 };
        let twice = Fault::Duplicate { ppm: 1 };
        assert_eq!(
            after(&[(reorder, &[]), (twice, &[])]).of(0, &NAMES),
            ["0.5 % overtaken by 3 frames, 0.0001 % twice with all nodes"]
        );
    }

    #[test]
    fn zero_and_heal_end_faults() {
        let delay = Fault::Delay { delay_ms: 200, jitter_ms: 0 };
        let reorder = Fault::Reorder { ppm: 10, distance: 3 };
        let none: [Vec<String>; 3] = [vec![], vec![], vec![]];
        let zero = [
            (Fault::Delay { delay_ms: 0, jitter_ms: 0 }, &[][..]),
            (Fault::Reorder { ppm: 0, distance: 3 }, &[]),
        ];
        assert_eq!(shown(&after(&[(delay, &[]), (reorder, &[]), zero[0], zero[1]])), none);
        let healed = after(&[(delay, &[]), (Fault::Partition, &["w-1"]), (Fault::Heal, &[])]);
        assert_eq!(healed, ActiveFaults::default());
    }

    #[test]
    fn unknown_nodes_and_a_partition_without_another_side_are_refused() {
        let state = ActiveFaults::default();
        let names = |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
        for (fault, on) in
            [(Fault::Partition, "w-9"), (Fault::Loss { ppm: 1 }, ""), (Fault::Heal, "\u{1b}[2J")]
        {
            let error = state.after(fault, &names(&["cp-1", on]), &NAMES).unwrap_err();
            assert!(matches!(error, LabError::NoNode { .. }), "{error}");
        }
        for on in [&[][..], &NAMES] {
            assert!(matches!(state.after(Fault::Partition, &names(on), &NAMES), Err(LabError::Fault(_))));
        }
        assert!(matches!(state.after(Fault::Loss { ppm: 1 }, &[], &["cp-1"]), Err(LabError::Fault(_))));
    }

    #[test]
    fn percent_that_is_no_probability_is_refused() {
        for (text, expected) in [
            ("0", 0),
            ("20", 200_000),
            ("0.5", 5_000),
            ("100", 1_000_000),
            ("99.9999", 999_999),
            ("07.1", 71_000),
        ] {
            assert_eq!(ppm(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "-1",
            "101",
            "100.0001",
            "1.",
            ".5",
            "1.00001",
            "1e2",
            "NaN",
            "20%",
            " 20",
            "1.2.3",
            "٢",
            "4294967296",
        ] {
            assert!(ppm(text).is_err(), "{text}");
        }
    }

    /// What `status` shows is what was set, for every value.
    #[test]
    fn percent_is_read_as_it_is_shown() {
        for value in 0..=1_000_000 {
            assert_eq!(ppm(&percent(value)), Ok(value));
        }
    }
}
