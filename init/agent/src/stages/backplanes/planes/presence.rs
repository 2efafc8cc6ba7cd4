//! Which nodes have no session, for the console: the decision when the loss and the return of sessions are reported.
//!
//! [`Presence::observe`] is pure apart from its memory. At most one report follows from an observation, and the time
//! between reports doubles while changes continue, so peers whose sessions come and go do not fill the log. A report
//! describes the difference to the last one; what changed twice in between is not reported. When changes end, the last
//! report has the state. Every text is bounded, whatever the number of peers.
//!
//! A session is a handshake within 180 seconds (`plan::has_session`). The session of an idle peer may end before its next
//! keepalive starts another one, so a peer is silent [`SLACK`] later; a fault is reported at most that long after it began,
//! plus the interval between two observations. Operators are not reported: they have sessions only while they work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kubedos_wire::planes::{PeerName, WantedPlane};
use kubedos_wire::value::{NodeName, PlaneId};

use super::Observed;
use super::plan::has_session;

/// A peer that has not had a session since the agent started is reported after this time: it may still boot.
pub const GRACE: Duration = Duration::from_secs(90);

/// The time that a peer without a session has to start the next one: the interval of keepalives, and a handshake.
pub const SLACK: Duration = Duration::from_secs(35);

/// The time to the next report after the first one. It doubles up to [`LONGEST_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_secs(45);

/// The longest time between two reports.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// The number of nodes that a report names.
pub const NAMED: usize = 6;

/// What changed since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether a node has no session now.
    pub silent: bool,
    /// Which sessions were lost and which exist again.
    pub note: String,
}

/// The memory of the reconcile loop. The default knows no peer.
#[derive(Debug, Default)]
pub struct Presence {
    peers: BTreeMap<Id, Seen>,
    reported: BTreeSet<Id>,
    last: Option<Duration>,
    pause: Duration,
}

/// A node on a plane.
pub type Id = (NodeName, PlaneId);

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The first observation, since the kernel started.
    first: Duration,
    /// Whether it has had a session since.
    had_session: bool,
}

/// The state of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// It has a session.
    pub session: bool,
    /// The time since its last handshake; `None` before the first one.
    pub age: Option<Duration>,
}

impl Presence {
    /// Forgets everything, because the underlay is missing: then no peer can have a session, and the underlay is reported.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Observes all peers at a time since the kernel started; returns what to report.
    pub fn observe(&mut self, states: &BTreeMap<Id, State>, boot: Duration) -> Option<Report> {
        self.peers.retain(|id, _| states.contains_key(id));
        self.reported.retain(|id| states.contains_key(id));
        let mut silent = BTreeSet::new();
        for (id, state) in states {
            let seen = self.peers.entry(id.clone()).or_insert(Seen { first: boot, had_session: false });
            seen.had_session |= state.session;
            let waits = !seen.had_session && boot.saturating_sub(seen.first) < GRACE;
            if !state.session && !waits {
                silent.insert(id.clone());
            }
        }
        let since = self.last.map_or(Duration::MAX, |last| boot.saturating_sub(last));
        if silent == self.reported {
            if since >= LONGEST_PAUSE {
                self.pause = Duration::ZERO;
            }
            return None;
        }
        if since < self.pause {
            return None;
        }
        let lost: Vec<&Id> = silent.difference(&self.reported).collect();
        let back: Vec<&Id> = self.reported.difference(&silent).collect();
        let note = note(states, &silent, &lost, &back);
        self.last = Some(boot);
        self.pause = self.pause.saturating_mul(2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let report = Report { silent: !silent.is_empty(), note };
        self.reported = silent;
        Some(report)
    }
}

/// The states of all nodes that are peers.
pub fn states<'w>(want: impl IntoIterator<Item = &'w WantedPlane>, have: &Observed) -> BTreeMap<Id, State> {
    let mut states = BTreeMap::new();
    for plane in want {
        let peers: BTreeMap<_, _> = have.peers(&plane.id).iter().map(|peer| (peer.key, peer)).collect();
        for wanted in &plane.peers {
            let PeerName::Node(node) = &wanted.name else { continue };
            let peer = peers.get(wanted.key.bytes());
            let state = State {
                session: peer.is_some_and(|peer| has_session(peer, have.now.saturating_sub(SLACK))),
                age: peer.and_then(|peer| peer.handshake).map(|handshake| have.now.saturating_sub(handshake)),
            };
            states.insert((node.clone(), plane.id.clone()), state);
        }
    }
    states
}

fn note(states: &BTreeMap<Id, State>, silent: &BTreeSet<Id>, lost: &[&Id], back: &[&Id]) -> String {
    let mut texts = Vec::new();
    if !lost.is_empty() {
        texts.push(format!("no session with {}", nodes(states, lost, true)));
    }
    if !back.is_empty() {
        texts.push(format!("again sessions with {}", nodes(states, back, false)));
    }
    let others: BTreeSet<&NodeName> = silent.iter().filter(|id| !lost.contains(id)).map(|id| &id.0).collect();
    if !others.is_empty() {
        texts.push(format!("still none with {} other nodes", others.len()));
    }
    texts.join("; ")
}

/// The nodes with their planes: `w-1 on all planes, last handshake 190 s ago, w-2 on wg1, no handshake yet, and 3 more nodes`.
fn nodes(states: &BTreeMap<Id, State>, ids: &[&Id], with_age: bool) -> String {
    let mut planes: BTreeMap<&NodeName, Vec<&PlaneId>> = BTreeMap::new();
    for (node, plane) in ids {
        planes.entry(node).or_default().push(plane);
    }
    let of_node = |(node, on): (&&NodeName, &Vec<&PlaneId>)| {
        let all = states.keys().filter(|id| id.0 == **node).count();
        let names: Vec<&str> = on.iter().map(|plane| plane.as_str()).collect();
        let on = if names.len() == all && all > 1 { "all planes".to_owned() } else { names.join(" ") };
        let ages = ids.iter().filter(|id| id.0 == **node).filter_map(|id| states.get(*id));
        let age = ages.filter_map(|state| state.age).min();
        let age = match age {
            _ if !with_age => String::new(),
            Some(age) => format!(", last handshake {} s ago", age.as_secs()),
            None => ", no handshake yet".to_owned(),
        };
        format!("{node} on {on}{age}")
    };
    let mut texts: Vec<String> = planes.iter().take(NAMED).map(of_node).collect();
    if let more @ 1.. = planes.len().saturating_sub(NAMED) {
        texts.push(format!("and {more} more nodes"));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use kubedos_wire::record::{MAX_BYTES, Outcome, Record};
    use proptest::prelude::*;

    use super::*;

    /// Its session ends with its last key, and its next keepalive starts another one.
    #[test]
    fn an_idle_peer_has_time_to_start_the_next_session() {
        use super::super::tests::{NOW, up};
        let (wants, mut state) = up();
        for (age, session) in [(0, true), (179, true), (214, true), (215, false), (3600, false)] {
            for device in state.devices.values_mut() {
                device
                    .peers
                    .iter_mut()
                    .for_each(|peer| peer.handshake = Some(NOW - Duration::from_secs(age)));
            }
            let states = states(wants.iter().map(|want| &want.plane), &state);
            assert!(!states.is_empty() && states.values().all(|state| state.session == session), "{age}");
        }
    }

    fn id(node: u32, plane: &str) -> Id {
        (format!("w-{node}").parse().unwrap(), plane.parse().unwrap())
    }

    fn state(session: bool) -> State {
        State { session, age: Some(Duration::from_secs(if session { 10 } else { 190 })) }
    }

    /// All nodes on three planes; those in the list have no session.
    fn cluster(nodes: u32, silent: &[(u32, &str)]) -> BTreeMap<Id, State> {
        let ids = (1..=nodes).flat_map(|node| ["wg1", "wg2", "wg3"].map(|plane| (node, plane)));
        ids.map(|(node, plane)| (id(node, plane), state(!silent.contains(&(node, plane))))).collect()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lost_node_is_reported_once_and_its_return_once() {
        let mut presence = Presence::default();
        let all = cluster(2, &[]);
        assert_eq!(presence.observe(&all, at(20)), None);
        let lost = cluster(2, &[(1, "wg1"), (1, "wg2"), (1, "wg3"), (2, "wg2")]);
        let report = presence.observe(&lost, at(300)).unwrap();
        assert_eq!(
            (report.silent, &*report.note),
            (
                true,
                "no session with w-1 on all planes, last handshake 190 s ago, w-2 on wg2, last handshake 190 s ago"
            )
        );
        assert_eq!(presence.observe(&lost, at(360)), None);
        let report = presence.observe(&all, at(420)).unwrap();
        assert_eq!(
            (report.silent, &*report.note),
            (false, "again sessions with w-1 on all planes, w-2 on wg2")
        );
        assert_eq!(presence.observe(&all, at(480)), None);
    }

    #[test]
    fn a_node_that_may_still_boot_is_not_reported() {
        let mut presence = Presence::default();
        let mut never = cluster(1, &[(1, "wg1"), (1, "wg2"), (1, "wg3")]);
        never.values_mut().for_each(|state| state.age = None);
        assert_eq!(presence.observe(&never, at(20)), None);
        assert_eq!(presence.observe(&never, at(100)), None);
        let report = presence.observe(&never, at(111)).unwrap();
        assert_eq!(report.note, "no session with w-1 on all planes, no handshake yet");
        presence.forget();
        assert_eq!(
            presence.observe(&never, at(120)),
            None,
            "the underlay was missing, so the node has time again"
        );
    }

    /// Attack: 1,000 nodes lose all sessions at once.
    #[test]
    fn three_thousand_lost_sessions_are_one_record() {
        let ids: Vec<(u32, &str)> =
            (1..=1000).flat_map(|node| ["wg1", "wg2", "wg3"].map(|plane| (node, plane))).collect();
        let mut presence = Presence::default();
        let _none = presence.observe(&cluster(1000, &[]), at(0));
        let silent: BTreeMap<Id, State> =
            cluster(1000, &[]).into_keys().map(|id| (id, state(false))).collect();
        assert_eq!(silent.len(), ids.len());
        let report = presence.observe(&silent, at(200)).unwrap();
        assert!(report.note.ends_with(", and 994 more nodes"), "{}", report.note);
        let mut record = Record::new(u64::MAX, 1e9, "Backplanes", Outcome::Waiting);
        record.note = Some(report.note.clone());
        record.on = Some("peers".into());
        let line = record.line();
        assert!(line.len() <= MAX_BYTES && !line.contains('…'), "{line}");
        assert_eq!(presence.observe(&silent, at(260)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the peers do, there are few reports; and when they stop, the last report has the state.
        #[test]
        fn reports_are_bounded_and_complete(
            changes in proptest::collection::vec(0_u16..512, 300),
            repeats in 1_usize..30,
            end in 0_u16..512,
        ) {
            let ids: Vec<Id> = cluster(3, &[]).into_keys().collect();
            let of = |bits: u16| -> BTreeMap<Id, State> {
                ids.iter().cloned().enumerate().map(|(bit, id)| (id, state(bits >> bit & 1 == 0))).collect()
            };
            let mut presence = Presence::default();
            let (mut minutes, mut reports, mut silent) = (0_u64, 0_u64, false);
            // Each state lasts some minutes, so that there are also quiet times.
            let states = changes.iter().flat_map(|bits| std::iter::repeat_n(*bits, repeats)).take(600);
            for bits in states {
                if let Some(report) = presence.observe(&of(bits), at(minutes * 60)) {
                    reports += 1;
                    silent = report.silent;
                }
                minutes += 1;
            }
            prop_assert!(reports <= minutes / 5 + 6, "{reports} reports in {minutes} minutes");
            for _ in 0..20 {
                if let Some(report) = presence.observe(&of(end), at(minutes * 60)) {
                    silent = report.silent;
                }
                minutes += 1;
            }
            prop_assert_eq!(silent, end != 0);
            prop_assert_eq!(presence.reported.len(), usize::try_from(end.count_ones()).unwrap());
        }
    }
}
