//! Peers whose packets arrive from two places in turn: two machines have one seed, so they have the same keys, and each of them
//! takes the sessions from the other one.
//!
//! WireGuard follows the last valid packet of a peer, so the peer's endpoint moves to and fro. A machine that moves, or a NAT
//! that gives it another port, does not return to an earlier endpoint again and again. [`Twins::observe`] is pure apart from
//! its memory, which has one entry for each peer. Machines that have the same address are found by the underlay.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use kubedos_wire::planes::{PeerName, WantedPlane};
use kubedos_wire::value::NodeName;

use super::Observed;

/// So many returns to the endpoint before the last one, within [`WINDOW`], are not a coincidence.
const RETURNS: usize = 3;
/// Rounds without events are a minute apart.
const WINDOW: Duration = Duration::from_secs(600);
/// A node is reported again after this time.
const AGAIN: Duration = Duration::from_secs(3600);
/// The number of nodes that a report names.
const NAMED: usize = 3;

/// The memory of the reconcile loop. The default knows no peer.
#[derive(Debug, Default)]
pub struct Twins {
    peers: BTreeMap<Id, Seen>,
    reported: BTreeMap<NodeName, Duration>,
}

/// A node, and the name of a plane.
pub type Id = (NodeName, String);

#[derive(Debug, Clone)]
struct Seen {
    now: SocketAddr,
    before: Option<SocketAddr>,
    returns: Vec<Duration>,
}

impl Twins {
    /// Observes the endpoints of all nodes at a time since the kernel started; returns what to report.
    pub fn observe(&mut self, endpoints: &BTreeMap<Id, SocketAddr>, boot: Duration) -> Option<String> {
        self.peers.retain(|id, _| endpoints.contains_key(id));
        self.reported.retain(|_, at| boot.saturating_sub(*at) < AGAIN);
        let mut found: BTreeMap<&NodeName, [SocketAddr; 2]> = BTreeMap::new();
        for (id, endpoint) in endpoints {
            let fresh = Seen { now: *endpoint, before: None, returns: Vec::new() };
            let seen = self.peers.entry(id.clone()).or_insert(fresh);
            if seen.now != *endpoint {
                if seen.before == Some(*endpoint) {
                    seen.returns.push(boot);
                }
                seen.before = Some(seen.now);
                seen.now = *endpoint;
            }
            seen.returns.retain(|at| boot.saturating_sub(*at) < WINDOW);
            if let (Some(before), true) = (seen.before, seen.returns.len() >= RETURNS) {
                seen.returns.clear();
                let mut both = [before, seen.now];
                both.sort();
                found.entry(&id.0).or_insert(both);
            }
        }
        found.retain(|node, _| !self.reported.contains_key(*node));
        self.reported.extend(found.keys().map(|node| ((*node).clone(), boot)));
        (!found.is_empty()).then(|| note(&found))
    }
}

fn note(found: &BTreeMap<&NodeName, [SocketAddr; 2]>) -> String {
    let node = |(node, [first, second]): (&&NodeName, &[SocketAddr; 2])| {
        format!("packets of {node} arrive from {first} and {second} in turn")
    };
    let mut texts: Vec<String> = found.iter().take(NAMED).map(node).collect();
    if let more @ 1.. = found.len().saturating_sub(NAMED) {
        texts.push(format!("the same for {more} more nodes"));
    }
    format!("{}: two machines have one seed; switch one of them off", texts.join(", "))
}

/// The endpoints of all nodes that are peers. Operators may have several machines.
pub fn endpoints<'w>(
    want: impl IntoIterator<Item = &'w WantedPlane>,
    have: &Observed,
) -> BTreeMap<Id, SocketAddr> {
    let mut endpoints = BTreeMap::new();
    for plane in want {
        let nodes: BTreeMap<&[u8; 32], &NodeName> = plane
            .peers
            .iter()
            .filter_map(|peer| match &peer.name {
                PeerName::Node(node) => Some((peer.key.bytes(), node)),
                PeerName::Operator(_) => None,
            })
            .collect();
        for peer in have.peers(&plane.id) {
            if let (Some(node), Some(endpoint)) = (nodes.get(&peer.key), peer.endpoint) {
                endpoints.insert(((*node).clone(), plane.id.to_string()), endpoint);
            }
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    //! Two machines are found; a machine that moves, or a NAT that changes its port, is not.

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], port))
    }

    /// Observes the endpoints of one node a minute apart; returns the reports.
    fn observe(endpoints: &[SocketAddr]) -> Vec<String> {
        let mut twins = Twins::default();
        let rounds = endpoints.iter().zip(0_u64..).filter_map(|(endpoint, round)| {
            let all = [(("w-1".parse().unwrap(), "wg1".into()), *endpoint)].into();
            twins.observe(&all, Duration::from_secs(60 * round))
        });
        rounds.collect()
    }

    #[test]
    fn two_machines_with_one_seed_are_reported_once_in_an_hour() {
        let turns: Vec<SocketAddr> = (0..30).map(|round| at(11 + round % 2, 51820)).collect();
        assert_eq!(
            observe(&turns),
            [
                "packets of w-1 arrive from 192.0.2.11:51820 and 192.0.2.12:51820 in turn: two machines have one seed; \
              switch one of them off"
            ]
        );
        let hours: Vec<SocketAddr> = (0..150).map(|round| at(11 + round % 2, 51820)).collect();
        assert_eq!(observe(&hours).len(), 3);
    }

    #[test]
    fn a_machine_that_moves_and_returns_once_is_not_reported() {
        let moves = [at(11, 1), at(12, 1), at(11, 1), at(12, 1), at(12, 1)];
        assert_eq!(observe(&moves), Vec::<String>::new());
        // Once in an hour it moves to the other network and back.
        let slow: Vec<SocketAddr> = (0..600).map(|round| at(11 + u8::from(round / 60 % 2 == 1), 1)).collect();
        assert_eq!(observe(&slow), Vec::<String>::new());
    }

    #[test]
    fn a_report_is_bounded() {
        let mut twins = Twins::default();
        let mut longest = 0;
        for round in 0..10_u8 {
            let all = (0..1000).map(|node| {
                let id = (format!("{}-{node}", "n".repeat(58)).parse().unwrap(), "wg1".to_owned());
                (id, at(11 + round % 2, 51820))
            });
            let report = twins.observe(&all.collect(), Duration::from_secs(60 * u64::from(round)));
            longest = longest.max(report.map_or(0, |report| report.len()));
        }
        assert!((300..600).contains(&longest), "{longest}");
    }

    proptest! {
        /// Without a return to the endpoint before the last one there is no report.
        #[test]
        fn a_port_that_changes_is_not_reported(ports in proptest::collection::vec(1_u16..60_000, 1..100)) {
            let unique: BTreeSet<u16> = ports.into_iter().collect();
            let endpoints: Vec<SocketAddr> = unique.into_iter().map(|port| at(11, port)).collect();
            prop_assert_eq!(observe(&endpoints), Vec::<String>::new());
        }
    }
}
