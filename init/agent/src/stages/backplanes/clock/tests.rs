//! The state machine against attacks, and its invariants on random clocks, sources and orders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::agreement::{TOLERANCE, majority};
use super::*;

const FLOOR: u64 = 1_763_300_000;
const DAY: Millis = 86_400_000;
const YEAR: Millis = 365 * DAY;

fn settings(control_planes: &[u32], node: u32) -> Settings {
    Settings {
        floor: Wall::from_secs(FLOOR),
        span_days: 3650,
        control_planes: control_planes.iter().copied().collect(),
        node,
    }
}

/// A machine whose clocks the test owns: it applies each action and checks it against the invariants.
struct Machine {
    clock: Clock,
    settings: Settings,
    wall: Wall,
    boot: Duration,
    saved: Vec<Wall>,
    sets: Vec<Wall>,
    /// The kernel refuses to set the clock.
    fixed: bool,
    /// What each control plane said last since the clock was last set.
    heard: BTreeMap<u32, Measurement>,
}

impl Machine {
    fn start(settings: Settings, rtc: Wall) -> Self {
        let boot = Duration::from_secs(4);
        let (clock, actions) = Clock::start(&settings, Reading { wall: rtc, boot });
        let mut machine = Self {
            clock,
            settings,
            wall: rtc,
            boot,
            saved: vec![],
            sets: vec![],
            fixed: false,
            heard: BTreeMap::new(),
        };
        machine.apply(&actions);
        machine
    }

    fn apply(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::SetClock(to) => {
                    assert!(*to >= self.settings.floor.min(LATEST), "below the floor: {to:?}");
                    assert!(*to <= self.clock.ceiling(self.boot), "above the ceiling: {to:?}");
                    self.sets.push(*to);
                    self.heard.clear();
                    if !self.fixed {
                        self.wall = *to;
                    }
                }
                Action::Slew(by) => {
                    assert!(by.abs() <= STEP, "slewed by {by}");
                    assert!(self.has_majority(), "slewed without a majority");
                    self.wall = self.wall.plus(*by);
                }
                Action::Save(time) => {
                    let last = self.saved.last().copied().unwrap_or(self.settings.floor);
                    assert!(time.since(last) >= SAVE_EVERY, "saved too early: {last:?} {time:?}");
                    assert_eq!(*time, self.wall, "only the present time is saved");
                    assert!(self.has_majority(), "saved without a majority");
                    self.saved.push(*time);
                }
            }
        }
    }

    /// A second statement of the rule: enough control planes of which each pair agrees.
    fn has_majority(&self) -> bool {
        let own = self.settings.control_planes.contains(&self.settings.node);
        let mut all: Vec<(Millis, Millis)> = self.heard.values().map(|one| (one.offset, one.bound)).collect();
        all.extend(own.then_some((0, 0)));
        let agree = |a: &(Millis, Millis), b: &(Millis, Millis)| {
            i128::from(a.0).abs_diff(i128::from(b.0)) <= u128::try_from(TOLERANCE + a.1 + b.1).unwrap()
        };
        (0u32..1 << all.len()).any(|subset| {
            let chosen: Vec<_> = all
                .iter()
                .enumerate()
                .filter(|(index, _)| subset & 1 << index != 0)
                .map(|(_, one)| one)
                .collect();
            chosen.len() >= majority(self.settings.control_planes.len())
                && chosen.iter().all(|a| chosen.iter().all(|b| agree(a, b)))
        })
    }

    fn advance(&mut self, by: Duration) {
        self.boot += by;
        self.wall = self.wall.plus(millis(by));
    }

    fn tick(&mut self) -> Vec<Action> {
        self.advance(Duration::from_millis(50));
        let boot = self.boot;
        self.heard.retain(|_, one| boot - one.at <= FRESH);
        let actions = self.clock.tick(Reading { wall: self.wall, boot: self.boot });
        self.apply(&actions);
        actions
    }

    fn measure(&mut self, source: u32, offset: Millis, bound: Millis) {
        self.advance(Duration::from_millis(50));
        let measurement = Measurement { source, offset, bound, at: self.boot };
        let known = self.settings.control_planes.contains(&source) && source != self.settings.node;
        if known && (0..=LARGEST_BOUND).contains(&bound) {
            self.heard.insert(source, measurement);
        }
        self.clock.measured(measurement);
    }

    /// Each control plane reports its own clock; then the machine compares.
    fn round(&mut self, clocks: &[(u32, Wall)]) -> Vec<Action> {
        let begun = self.boot;
        for (source, theirs) in clocks {
            let theirs = theirs.plus(millis(self.boot - begun)); // their clock passes as ours does
            self.measure(*source, theirs.since(self.wall), 20);
        }
        self.tick()
    }
}

#[test]
fn an_rtc_between_floor_and_ceiling_is_believed() {
    let ceiling = Wall::from_secs(FLOOR + 4).plus(3650 * DAY);
    for rtc in [Wall::from_secs(FLOOR), Wall::from_secs(FLOOR).plus(YEAR), ceiling] {
        let machine = Machine::start(settings(&[1, 2, 3], 9), rtc);
        assert_eq!((machine.wall, machine.sets.len()), (rtc, 0));
        assert_eq!(machine.clock.status().to_string(), "from the RTC; 0 of 3 control planes measured");
    }
}

#[test]
fn an_rtc_outside_is_replaced_by_the_floor_and_the_time_since_boot() {
    let start = Wall::from_secs(FLOOR + 4);
    let before = "from the lower bound, because the RTC is";
    for (rtc, text) in [
        (Wall(0), "20408 days behind it"),
        (Wall::from_secs(FLOOR - 1), "1 s behind it"),
        (Wall(-1), "20408 days behind it"),
        (Wall(i64::MIN), "days behind it"),
        (Wall::from_secs(FLOOR + 5).plus(3650 * DAY), "1 s ahead of the upper bound"),
        (Wall::from_secs(4_294_967_296), "25651 days ahead of the upper bound"), // 2106
        (Wall::from_secs(253_402_300_799), "days ahead of the upper bound"),     // 9999
        (Wall(i64::MAX), "days ahead of the upper bound"),
    ] {
        let machine = Machine::start(settings(&[1, 2, 3], 9), rtc);
        assert_eq!(machine.sets, [start], "{rtc:?}");
        let status = machine.clock.status().to_string();
        assert!(status.starts_with(before) && status.contains(text), "{status}");
    }
}

#[test]
fn extreme_settings_do_not_overflow() {
    for (floor, span_days) in [(0, 0), (u64::MAX, u32::MAX), (0, u32::MAX), (LATEST.secs() + 1, 3650)] {
        for rtc in [Wall(i64::MIN), Wall(0), LATEST, Wall(i64::MAX)] {
            let settings = Settings { floor: Wall::from_secs(floor), span_days, ..settings(&[1], 9) };
            let mut machine = Machine::start(settings, rtc);
            machine.tick();
            assert!(machine.wall <= LATEST.plus(60_000) && machine.wall >= Wall(0));
            machine.measure(1, i64::MAX, 0);
            machine.tick();
            machine.measure(1, i64::MIN, 0);
            machine.tick();
            let last = Duration::MAX;
            let actions = machine.clock.tick(Reading { wall: Wall(i64::MIN), boot: last });
            assert!(matches!(actions.as_slice(), [Action::SetClock(to)] if *to <= LATEST));
        }
    }
}

/// The kernel refuses to set the clock, or something moves it all the time: each comparison tries again.
#[test]
fn a_clock_that_cannot_be_set_or_jumps_without_end_is_set_each_time() {
    let mut machine = Machine::start(settings(&[1, 2, 3], 9), Wall(0));
    (machine.wall, machine.fixed) = (Wall(0), true); // as if the first one had failed as well
    for _ in 0..3 {
        assert!(matches!(machine.tick().as_slice(), [Action::SetClock(_)]));
    }
    machine.fixed = false;
    machine.tick();
    assert!(machine.wall >= Wall::from_secs(FLOOR));

    let mut machine = Machine::start(settings(&[1, 2, 3], 9), Wall(0));
    for round in 0..100 {
        machine.wall = machine.wall.plus(if round % 2 == 0 { YEAR } else { -3 * YEAR });
        machine.tick();
        machine.advance(Duration::from_millis(200));
    }
    let status = machine.clock.status().to_string();
    assert!(status.ends_with("; jumped 100 times, last back by 1095 days"), "{status}");
}

/// A single control plane is a majority by itself, but its time comes from its RTC.
#[test]
fn the_time_of_the_rtc_alone_is_never_saved() {
    for (node, measured, saved) in [(1, false, false), (9, true, true)] {
        let mut machine = Machine::start(settings(&[1], node), Wall::from_secs(FLOOR).plus(9 * YEAR));
        for _ in 0..20 {
            machine.advance(Duration::from_secs(60));
            if measured {
                machine.measure(1, 0, 20);
            }
            machine.tick();
        }
        assert_eq!(machine.clock.status().opinion, Opinion::Agreed { by: 1 });
        assert_eq!(!machine.saved.is_empty(), saved, "node {node}");
    }
}

#[test]
fn a_jump_is_corrected_and_measurements_from_before_are_discarded() {
    let now = Wall::from_secs(FLOOR).plus(YEAR);
    let mut machine = Machine::start(settings(&[1, 2, 3], 9), now);
    machine.measure(1, 0, 20);
    machine.wall = machine.wall.plus(5 * YEAR); // during the measurement of the second
    machine.measure(2, -5 * YEAR, 20);
    machine.measure(3, -5 * YEAR, 20);
    let expected = machine.wall.plus(-5 * YEAR + 50);
    assert_eq!(machine.tick(), [Action::SetClock(expected)]);
    let late = Measurement { source: 1, offset: -5 * YEAR, bound: 20, at: machine.boot };
    machine.clock.measured(late);
    machine.clock.measured(Measurement { source: 2, ..late });
    assert_eq!(machine.tick(), []);
    assert_eq!(machine.clock.status().heard, 0);
    assert_eq!(machine.wall, expected.plus(50));
    machine.wall = machine.wall.plus(1000); // a leap second
    assert_eq!(machine.tick(), []);
}

/// A difference that is too small for a step is slewed once for each measurement, and not at all within the error.
#[test]
fn small_differences_are_slewed() {
    let mut machine = Machine::start(settings(&[1], 9), Wall::from_secs(FLOOR).plus(YEAR));
    machine.measure(1, 300, 20);
    assert_eq!(machine.tick(), [Action::Slew(300)]);
    assert_eq!(machine.tick(), [], "the same measurement");
    machine.measure(1, 15, 20);
    assert_eq!(machine.tick(), [], "within the error");
    machine.measure(1, -21, 20);
    assert_eq!(machine.tick(), [Action::Slew(-21)]);
    assert_eq!(machine.sets, []);
}

#[test]
fn a_node_without_rtc_follows_the_majority_and_saves_later() {
    let true_time = Wall::from_secs(FLOOR).plus(3 * YEAR);
    let mut machine = Machine::start(settings(&[1, 2, 3], 9), Wall(0));
    machine.tick();
    assert_eq!(machine.round(&[(1, true_time)]), [], "one of three is not a majority");
    let actions = machine.round(&[(1, true_time), (2, true_time)]);
    assert!(matches!(actions.as_slice(), [Action::SetClock(_)]), "{actions:?}");
    assert!(machine.wall.since(true_time).abs() < 1000);
    for _ in 0..12 {
        machine.advance(Duration::from_secs(60));
        let theirs = machine.wall;
        machine.round(&[(1, theirs), (2, theirs), (3, theirs)]);
    }
    let status = machine.clock.status().to_string();
    assert_eq!(status, "from the control planes; agreed by 3 of 3 control planes");
    assert_eq!(machine.saved.len(), 2, "after 5 and 10 minutes");
}

#[test]
fn one_control_plane_in_year_9999_moves_nobody() {
    let year_9999 = Wall::from_secs(253_402_300_799);
    for count in 2u32..=5 {
        let all: Vec<u32> = (1..=count).collect();
        let mut machine = Machine::start(settings(&all, 9), Wall::from_secs(FLOOR).plus(YEAR));
        for _ in 0..20 {
            let now = machine.wall;
            let clocks: Vec<(u32, Wall)> =
                all.iter().map(|source| (*source, if *source == 1 { year_9999 } else { now })).collect();
            machine.round(&clocks);
        }
        assert_eq!(machine.sets, [], "{count} control planes");
    }
    let mut machine = Machine::start(settings(&[1], 9), Wall::from_secs(FLOOR).plus(YEAR));
    machine.round(&[(1, year_9999)]);
    assert_eq!((machine.sets.len(), machine.saved.len()), (0, 0), "the only one stays below the ceiling");
    let status = machine.clock.status().to_string();
    assert!(status.ends_with("days would be above the upper bound, the clock is kept"), "{status}");
}

#[test]
fn a_majority_that_is_years_ahead_stops_at_the_ceiling_and_one_that_is_behind_at_the_floor() {
    for offset in [20 * YEAR, -2 * YEAR] {
        let mut machine = Machine::start(settings(&[1, 2, 3], 9), Wall::from_secs(FLOOR).plus(YEAR));
        let theirs = machine.wall.plus(offset);
        machine.round(&[(1, theirs), (2, theirs), (3, theirs)]);
        assert_eq!(machine.sets, []);
    }
}

#[test]
fn two_that_disagree_move_nothing_and_the_console_says_it() {
    let mut machine = Machine::start(settings(&[1, 2], 9), Wall::from_secs(FLOOR).plus(YEAR));
    let now = machine.wall;
    machine.round(&[(1, now), (2, now.plus(2 * YEAR))]);
    assert_eq!(machine.sets, []);
    assert_eq!(
        machine.clock.status().to_string(),
        "from the RTC; control planes disagree (2 of 2 measured), the clock is kept"
    );
}

/// A control plane that reports an error bound of years would agree with everything.
#[test]
fn useless_measurements_are_no_votes() {
    let mut machine = Machine::start(settings(&[1, 2, 3], 1), Wall::from_secs(FLOOR).plus(YEAR));
    machine.measure(2, 0, LARGEST_BOUND + 1);
    machine.measure(3, 0, -1);
    machine.measure(1, 0, 20); // the node itself
    machine.measure(7, 0, 20); // not a control plane
    machine.tick();
    assert_eq!(machine.clock.status().heard, 1);
    machine.measure(2, 0, LARGEST_BOUND);
    machine.tick();
    assert_eq!(machine.clock.status().opinion, Opinion::Agreed { by: 2 });
    machine.advance(FRESH + Duration::from_secs(1));
    machine.tick();
    assert_eq!(machine.clock.status().opinion, Opinion::Waiting, "the measurement is too old");
}

/// The batteries of all RTCs are empty after years without power: all nodes start from floors that are minutes apart. The
/// node with the latest floor joins the others when their time has passed its floor.
#[test]
fn control_planes_with_empty_batteries_converge() {
    let mut nodes: Vec<Machine> = [1u32, 2, 3]
        .into_iter()
        .map(|node| {
            let floor = Wall::from_secs(FLOOR + 140 * u64::from(node));
            Machine::start(Settings { floor, ..settings(&[1, 2, 3], node) }, Wall(0))
        })
        .collect();
    for _ in 0..6 {
        nodes.iter_mut().for_each(|machine| machine.advance(Duration::from_secs(60)));
        for index in 0..nodes.len() {
            let clocks: Vec<(u32, Wall)> =
                [1u32, 2, 3].into_iter().zip(&nodes).map(|(node, machine)| (node, machine.wall)).collect();
            nodes[index].round(&clocks);
        }
    }
    let walls: Vec<Millis> = nodes.iter().map(|machine| machine.wall.0).collect();
    let (first, last) = (walls.iter().min().unwrap(), walls.iter().max().unwrap());
    assert!(last - first < 2 * STEP, "{walls:?}");
}

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Jump(Millis),
    Measure(u32, Millis, Millis),
    Tick,
}

fn time() -> impl Strategy<Value = Millis> {
    prop_oneof![any::<i64>(), -20 * YEAR..20 * YEAR, -2 * TOLERANCE..2 * TOLERANCE, -3000i64..3000]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0u64..400_000).prop_map(Event::Pass),
        1 => time().prop_map(Event::Jump),
        6 => (0u32..7, prop_oneof![3 => Just(0), 1 => time()], prop_oneof![3 => Just(10), 1 => time()])
            .prop_map(|(source, offset, bound)| Event::Measure(source, offset, bound)),
        5 => Just(Event::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// `Machine::apply` checks the bounds of the clock, and the majority and order of saved times, at each action.
    #[test]
    fn invariants_hold_on_random_clocks_sources_and_orders(
        rtc in time(),
        count in 1u32..6,
        node in 0u32..7,
        span_days in prop_oneof![Just(0u32), 1u32..4000, Just(u32::MAX)],
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let all: Vec<u32> = (0..count).collect();
        let settings = Settings { span_days, ..settings(&all, node) };
        let mut machine = Machine::start(settings, Wall::from_secs(FLOOR).plus(rtc));
        for event in events {
            match event {
                Event::Pass(by) => machine.advance(Duration::from_millis(by)),
                Event::Jump(by) => machine.wall = machine.wall.plus(by),
                Event::Measure(source, offset, bound) => machine.measure(source, offset, bound),
                Event::Tick => {
                    machine.tick();
                }
            }
        }
    }

    /// The honest control planes have the right time, and up to half of all control planes lie or do not answer.
    #[test]
    fn a_node_follows_honest_control_planes_and_never_half_of_liars(
        rtc in -12 * YEAR..30 * YEAR,
        right in 0..3649 * DAY,
        count in 1u32..6,
        lies in proptest::collection::vec((time(), -10i64..LARGEST_BOUND), 60),
        silent in any::<u32>(),
    ) {
        let all: BTreeSet<u32> = (1..=count).collect();
        let settings = Settings { control_planes: all.clone(), ..settings(&[], 9) };
        let mut machine = Machine::start(settings, Wall::from_secs(FLOOR).plus(rtc));
        machine.tick();
        let liars = (count - 1) / 2;
        let mut truth = Wall::from_secs(FLOOR).plus(right);
        let mut lies = lies.into_iter().cycle();
        // First the honest ones answer alone, then the liars join, then some of the honest ones become silent.
        for phase in 0..3u32 {
            for _ in 0..4 {
                for source in 1..=count {
                    let lying = source <= liars;
                    if (lying && phase == 0) || (!lying && phase == 2 && silent & 1 << source != 0) {
                        continue;
                    }
                    let before = machine.wall;
                    let (offset, bound) = match lying {
                        true => lies.next().unwrap(),
                        false => (truth.since(machine.wall), 0),
                    };
                    machine.measure(source, offset, bound);
                    truth = truth.plus(machine.wall.since(before));
                }
                let (before, boot) = (machine.wall, machine.boot);
                machine.tick();
                truth = truth.plus(millis(machine.boot - boot));
                let moved = machine.wall.since(before) - 50;
                prop_assert!(phase == 0 || moved == 0, "moved by {moved} in phase {phase}");
            }
            prop_assert!(machine.wall.since(truth).abs() <= STEP, "{} off in phase {phase}", machine.wall.since(truth));
        }
        prop_assert!(machine.sets.len() <= 2, "the start, and one step");
    }
}
