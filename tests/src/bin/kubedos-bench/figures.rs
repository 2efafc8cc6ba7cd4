//! The measured samples, by their line in the tables.
//!
//! [`lines`] defines the tables. The names of the lines are also the keys in `docs/benchmarks.md`, so a renamed line has no committed
//! figure until the page is updated.

use std::collections::BTreeMap;

use kubedos_builder::size::human;
use serde::Serialize;

use crate::ours::{BootTimes, Builds, PlanCost, Sizes};
use crate::peer::{PeerBoot, PeerBuilds, Reason};
use crate::planes::Planes;
use crate::timed::Cost;
use crate::volumes::{Volumes, WayBoots};

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Bits per second.
    Rate,
    /// Bytes of storage or memory.
    Bytes,
}

/// The aim of the project for a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// At most this share of the peer's figure.
    Share(f64),
    /// At most this value.
    Most(f64),
}

/// A line of the tables. `has_peer` is whether the peer is also measured.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub table: &'static str,
    pub name: &'static str,
    pub unit: Unit,
    pub aim: Option<Aim>,
    pub has_peer: bool,
}

const BUILDING: &str = "Building";
const SIZES: &str = "Sizes";
const BOOTING: &str = "Booting";

const EDIT: &str = "a node added → raw image";
const EDIT_PROCESSOR: &str = "a node added → raw image, processor time";
const EDIT_ALL: &str = "a node added → raw image, ISO and qcow2";
const FRESH: &str = "cached packages → raw image";
const FRESH_PROCESSOR: &str = "cached packages → raw image, processor time";
const FRESH_MEMORY: &str = "cached packages → raw image, most memory of one process";
const RECOMPOSED: &str = "root composed anew, its segments kept → raw image";
const INIT: &str = "cached packages, no kubedos-init → raw image";
const UNCHANGED: &str = "nothing changed → raw image";
const UKI: &str = "UKI";
const KERNEL: &str = "kernel, in the UKI";
const INITRD: &str = "initrd, in the UKI";
const ROOT: &str = "root volume";
const VERITY: &str = "root volume's verity";
const SEALED: &str = "UKI + root + verity";
const CONFIGURATION: &str = "configuration volume with verity";
const PAYLOAD: &str = "payload volume with verity";
const RAW: &str = "raw image, holes included";
const ALLOCATED: &str = "raw image, as allocated";
const QCOW2: &str = "qcow2";
const FIRMWARE: &str = "power on → UKI start";
const FIRST: &str = "first boot: UKI start → Baseline, or login";
const SECOND: &str = "second boot: UKI start → Baseline, or login";
const BASIC: &str = "second boot: UKI start → basic.target";
const KERNEL_CLOCK: &str = "second boot: kernel start → Baseline, by the guest's clock";
const AGENT: &str = "agent, resident";
pub const PLANS: [(u32, &str, &str); 3] = [
    (10, "plan of 10 nodes", "plan of 10 nodes, most memory"),
    (1_000, "plan of 1,000 nodes", "plan of 1,000 nodes, most memory"),
    (10_000, "plan of 10,000 nodes", "plan of 10,000 nodes, most memory"),
];

/// Every line, in order.
pub fn lines() -> Vec<Line> {
    let line = |table, name, unit, has_peer| Line { table, name, unit, aim: None, has_peer };
    let build = |name, has_peer| line(BUILDING, name, Unit::Seconds, has_peer);
    let size = |name, has_peer| line(SIZES, name, Unit::Bytes, has_peer);
    let boot = |name, has_peer| line(BOOTING, name, Unit::Seconds, has_peer);
    let mebibytes = |count: u32| f64::from(count << 20);
    let mut lines = vec![
        Line { aim: Some(Aim::Share(0.01)), ..build(EDIT, true) },
        build(EDIT_PROCESSOR, true),
        build(EDIT_ALL, false),
        Line { aim: Some(Aim::Share(0.1)), ..build(FRESH, true) },
        build(FRESH_PROCESSOR, true),
        line(BUILDING, FRESH_MEMORY, Unit::Bytes, true),
        build(RECOMPOSED, false),
        build(INIT, false),
        build(UNCHANGED, false),
        size(UKI, true),
        size(KERNEL, true),
        size(INITRD, true),
        size(ROOT, true),
        size(VERITY, true),
        Line { aim: Some(Aim::Most(mebibytes(80))), ..size(SEALED, true) },
        size(CONFIGURATION, false),
        size(PAYLOAD, false),
        size(RAW, true),
        size(ALLOCATED, true),
        size(QCOW2, false),
        boot(FIRMWARE, true),
        boot(FIRST, true),
        Line { aim: Some(Aim::Share(0.35)), ..boot(SECOND, true) },
        boot(BASIC, true),
        boot(KERNEL_CLOCK, false),
        Line { aim: Some(Aim::Most(mebibytes(12))), ..line("Running", AGENT, Unit::Bytes, false) },
    ];
    for (_, time, memory) in PLANS {
        lines.push(line("Planning", time, Unit::Seconds, false));
        lines.push(line("Planning", memory, Unit::Bytes, false));
    }
    lines
}

/// The samples of every line that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    ours: BTreeMap<&'static str, Series>,
    peer: BTreeMap<&'static str, Series>,
    /// The reason for each table in which the peer should have figures and has none.
    peer_not_measured: BTreeMap<&'static str, Reason>,
    /// The boots of kubedOS, with the time of each stage.
    pub boots: Vec<[BootTimes; 2]>,
    peer_boots: Vec<[PeerBoot; 2]>,
    /// The cost of configuring planes.
    pub planes: Option<Planes>,
    /// Volumes of one tree, or the reason why there are none.
    pub volumes: Option<Result<Volumes, Reason>>,
    /// Boots from volumes with several settings, or the reason why there are none.
    pub volume_boots: Option<Result<Vec<WayBoots>, Reason>>,
}

impl Figures {
    /// kubedOS's samples of a line.
    pub fn of_ours(&self, line: &str) -> Option<&Series> {
        self.ours.get(line)
    }

    /// The peer's samples of a line.
    pub fn of_peer(&self, line: &str) -> Option<&Series> {
        self.peer.get(line)
    }

    /// The tables in which the peer should have figures and has none, with the reason.
    pub const fn without_peer(&self) -> &BTreeMap<&'static str, Reason> {
        &self.peer_not_measured
    }

    /// Adds a build that compiled the programs of `init/`.
    pub fn init(&mut self, cost: &Cost) {
        self.ours.insert(INIT, Series::of([cost.wall_seconds]));
    }

    /// Adds the builds of kubedOS.
    pub fn builds(&mut self, builds: &Builds) {
        self.ours.insert(EDIT, wall(&builds.edit));
        self.ours.insert(EDIT_PROCESSOR, processor(&builds.edit));
        self.ours.insert(EDIT_ALL, wall(&builds.edit_all));
        self.ours.insert(FRESH, wall(&builds.fresh));
        self.ours.insert(FRESH_PROCESSOR, processor(&builds.fresh));
        self.ours.insert(FRESH_MEMORY, memory(&builds.fresh));
        self.ours.insert(RECOMPOSED, wall(&builds.recomposed));
        self.ours.insert(UNCHANGED, wall(&builds.unchanged));
    }

    /// Adds the sizes of kubedOS's image.
    pub fn sizes(&mut self, sizes: &Sizes) {
        put_sizes(&mut self.ours, sizes);
    }

    /// Adds the boots of kubedOS, as pairs of a first and a second boot.
    pub fn boots(&mut self, boots: &[[BootTimes; 2]]) {
        let each =
            |which: usize, get: fn(&BootTimes) -> f64| Series::of(boots.iter().map(|boot| get(&boot[which])));
        self.ours.insert(FIRMWARE, each(1, |boot| boot.uki_start));
        self.ours.insert(FIRST, each(0, |boot| boot.baseline));
        self.ours.insert(SECOND, each(1, |boot| boot.baseline));
        self.ours.insert(KERNEL_CLOCK, each(1, |boot| boot.baseline_by_kernel));
        self.boots = boots.to_vec();
    }

    /// Adds the resident memory of the agent.
    pub fn agent(&mut self, bytes: u64) {
        self.ours.insert(AGENT, Series::of([float(bytes)]));
    }

    /// Adds the cost of `plan` for one number of nodes.
    pub fn plan(&mut self, plan: &PlanCost) {
        let (_, time, most) = PLANS.into_iter().find(|(nodes, ..)| *nodes == plan.nodes).unwrap();
        self.ours.insert(time, Series::of(plan.costs.iter().map(|cost| cost.wall_seconds)));
        self.ours.insert(most, memory(&plan.costs));
    }

    /// Adds the peer's builds, or the reason why there are none.
    pub fn peer_builds(&mut self, measured: Result<PeerBuilds, Reason>) {
        let builds = match measured {
            Ok(builds) => builds,
            Err(why) => {
                self.peer_not_measured.extend([(BUILDING, why.clone()), (SIZES, why)]);
                return;
            }
        };
        let full = [builds.full];
        self.peer.insert(EDIT, wall(&builds.incremental));
        self.peer.insert(EDIT_PROCESSOR, processor(&builds.incremental));
        self.peer.insert(FRESH, wall(&full));
        self.peer.insert(FRESH_PROCESSOR, processor(&full));
        self.peer.insert(FRESH_MEMORY, memory(&full));
        put_sizes(&mut self.peer, &builds.sizes);
    }

    /// Adds the peer's boots, or the reason why there are none.
    pub fn peer_boots(&mut self, measured: Result<Vec<[PeerBoot; 2]>, Reason>) {
        let boots = match measured {
            Ok(boots) => boots,
            Err(why) => {
                self.peer_not_measured.insert(BOOTING, why);
                return;
            }
        };
        let each =
            |which: usize, get: fn(&PeerBoot) -> f64| Series::of(boots.iter().map(|boot| get(&boot[which])));
        self.peer.insert(FIRMWARE, each(1, |boot| boot.uki_start));
        self.peer.insert(FIRST, each(0, |boot| boot.login));
        self.peer.insert(SECOND, each(1, |boot| boot.login));
        self.peer.insert(BASIC, each(1, |boot| boot.basic_target));
        self.peer_boots = boots;
    }
}

/// The wall clock time of each run.
pub fn wall(costs: &[Cost]) -> Series {
    Series::of(costs.iter().map(|cost| cost.wall_seconds))
}

/// The user and system time of each run.
pub fn processor(costs: &[Cost]) -> Series {
    Series::of(costs.iter().map(|cost| cost.processor_seconds))
}

/// The peak memory of each run.
pub fn memory(costs: &[Cost]) -> Series {
    Series::of(costs.iter().map(|cost| float(cost.peak_bytes)))
}

fn put_sizes(to: &mut BTreeMap<&'static str, Series>, sizes: &Sizes) {
    let sealed = sizes.uki + sizes.root + sizes.verity;
    let always = [
        (UKI, sizes.uki),
        (KERNEL, sizes.kernel),
        (INITRD, sizes.initrd),
        (ROOT, sizes.root),
        (VERITY, sizes.verity),
        (SEALED, sealed),
        (RAW, sizes.raw),
        (ALLOCATED, sizes.allocated),
    ];
    let ours = [(CONFIGURATION, sizes.configuration), (PAYLOAD, sizes.payload), (QCOW2, sizes.qcow2)];
    let some = ours.into_iter().filter_map(|(name, bytes)| Some((name, bytes?)));
    to.extend(always.into_iter().chain(some).map(|(name, bytes)| (name, Series::of([float(bytes)]))));
}

/// Exact, because the measured sizes are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "sizes of files and processes")]
pub const fn float(bytes: u64) -> f64 {
    bytes as f64
}

/// The samples of one figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series(Vec<f64>);

impl Series {
    /// Sorts the samples; there must be at least one.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Self {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        assert!(!samples.is_empty(), "no samples");
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The median. For an even number of samples, the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let count = self.0.len();
        (self.0[(count - 1) / 2] + self.0[count / 2]) / 2.0
    }

    /// The median, with the smallest and largest sample if they differ from it.
    pub fn show(&self, unit: Unit) -> String {
        let [median, least, most] =
            [self.median(), self.0[0], self.0[self.0.len() - 1]].map(|value| unit.show(value));
        if least == median && most == median { median } else { format!("{median} ({least} – {most})") }
    }
}

impl Unit {
    /// The value as text: a time with three digits, a size with one decimal.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 9.995 => format!("{value:.2} s"),
            Self::Seconds if value < 99.95 => format!("{value:.1} s"),
            Self::Seconds => format!("{value:.0} s"),
            Self::Milliseconds if value.abs() < 99.95 => format!("{value:.1} ms"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Rate => format!("{:.1} Mbit/s", value / 1e6),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            Self::Bytes => human(value as u64),
        }
    }

    /// Parses the output of [`Self::show`]; `None` for another unit.
    pub fn parse(self, text: &str) -> Option<f64> {
        let (number, unit) = text.rsplit_once(' ')?;
        let factor = match (self, unit) {
            (Self::Seconds, "s") | (Self::Milliseconds, "ms") | (Self::Bytes, "B") => 1.0,
            (Self::Rate, "Mbit/s") => 1e6,
            (Self::Bytes, "KiB") => f64::from(1 << 10),
            (Self::Bytes, "MiB") => f64::from(1 << 20),
            (Self::Bytes, "GiB") => f64::from(1 << 30),
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_shows_its_median_and_its_range() {
        let shown = |samples: &[f64]| Series::of(samples.iter().copied()).show(Unit::Seconds);
        assert_eq!(shown(&[3.0, 1.0, 2.0]), "2.00 s (1.00 s – 3.00 s)");
        assert_eq!(shown(&[1.0, 2.0]), "1.50 s (1.00 s – 2.00 s)");
        assert_eq!(shown(&[1.001, 1.002]), "1.00 s");
    }

    #[test]
    fn shown_values_can_be_parsed() {
        for (value, text) in [(0.25, "0.25 s"), (9.99, "9.99 s"), (64.7, "64.7 s"), (346.0, "346 s")] {
            assert_eq!(Unit::Seconds.show(value), text);
            assert_eq!(Unit::Seconds.parse(text), Some(value));
        }
        assert_eq!(Unit::Bytes.show(19.5 * 1048576.0), "19.5 MiB");
        assert_eq!(Unit::Bytes.parse("19.5 MiB"), Some(19.5 * 1048576.0));
        assert_eq!(Unit::Rate.show(123_456_789.0), "123.5 Mbit/s");
        assert_eq!(Unit::Rate.parse("123.5 Mbit/s"), Some(123_500_000.0));
        assert_eq!(Unit::Bytes.parse("19.5 s"), None);
        assert_eq!(Unit::Seconds.parse("fast"), None);
    }

    #[test]
    fn every_line_has_a_unique_name() {
        let lines = lines();
        let names: std::collections::BTreeSet<_> = lines.iter().map(|line| line.name).collect();
        assert_eq!(names.len(), lines.len());
    }
}
