//! Recovery of peers whose handshakes this node refuses because of an old timestamp, without a protocol.
//!
//! A WireGuard responder stores the latest timestamp that it accepted from each peer, and silently refuses every
//! initiation whose timestamp is not later (`replay_attack` in `wg_noise_handshake_consume_initiation`,
//! `drivers/net/wireguard/noise.c`). If the peer's clock was ahead once, it cannot initiate a session until its clock has
//! passed that time. Deleting and adding the peer resets the stored timestamp. [`stale_peers`] selects the peers for it.
//!
//! Why it is safe: a peer is selected only if no session with it can exist. A replayed initiation is then accepted, but
//! the session that follows needs the ephemeral private key of the initiator, and this node does not send data in it
//! before it has received a valid packet in it (`next_keypair`). What a replay does achieve, and why that ends, is in
//! `docs/clock.md`.
//!
//! Not here: netlink. The caller adds a peer again with its keys, allowed addresses, keepalive and configured endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

/// A peer that this node sends keepalives to is selected after this time without a handshake. A session ends 180 seconds
/// after its handshake (`REJECT_AFTER_TIME`), and the kernel tries for 90 seconds to start the next one
/// (`MAX_TIMER_HANDSHAKES` times `REKEY_TIMEOUT`, `drivers/net/wireguard/messages.h`).
pub const SILENCE: Duration = Duration::from_secs(300);

/// A peer without keepalives has no session if there is no traffic, so that it is selected later.
pub const IDLE_SILENCE: Duration = Duration::from_secs(1800);

/// The largest number of peers that one round selects.
pub const BATCH: usize = 64;

/// One peer of a plane, as this node observes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer<I> {
    /// Its identity.
    pub id: I,
    /// The time since the last completed handshake, on the boot-time clock ([`Handshakes`]); `None` if there was none since
    /// the peer was added.
    pub last_handshake_age: Option<Duration>,
    /// The time since this node added the peer.
    pub since_added: Duration,
    /// This node sends keepalives to the peer, so there is always a session unless it is refused or unreachable.
    pub has_keepalive: bool,
}

/// The peers that the caller deletes and adds again, those with the longest silence first. One peer is selected at most
/// once in [`SILENCE`]. The result depends on nothing but the arguments, and not on their order.
pub fn stale_peers<I: Ord + Clone>(peers: &[Peer<I>]) -> Vec<I> {
    let silence =
        |peer: &Peer<I>| peer.last_handshake_age.map_or(peer.since_added, |age| age.min(peer.since_added));
    let is_stale = |peer: &&Peer<I>| silence(peer) >= if peer.has_keepalive { SILENCE } else { IDLE_SILENCE };
    let mut stale: Vec<&Peer<I>> = peers.iter().filter(is_stale).collect();
    stale.sort_by(|a, b| silence(b).cmp(&silence(a)).then_with(|| a.id.cmp(&b.id)));
    stale.into_iter().take(BATCH).map(|peer| peer.id.clone()).collect()
}

/// The ages of handshakes on the boot-time clock.
///
/// The kernel reports the last handshake as a time of the system clock (`walltime_last_handshake`), so a step of the clock
/// makes its age wrong. This type only notices when the reported time changes. Its ages are therefore never larger than
/// the true ones.
#[derive(Debug, Clone, Default)]
pub struct Handshakes<I>(BTreeMap<I, (KernelTime, Duration)>);

/// A time as the kernel reports it: seconds and nanoseconds; both are 0 before the first handshake.
pub type KernelTime = (i64, i64);

impl<I: Ord> Handshakes<I> {
    /// The age of the last handshake with a peer; `None` before the first one. `boot` is `CLOCK_BOOTTIME`.
    pub fn age(&mut self, id: I, reported: KernelTime, boot: Duration) -> Option<Duration> {
        if reported == (0, 0) {
            self.0.remove(&id);
            return None;
        }
        let seen = self.0.entry(id).or_insert((reported, boot));
        if seen.0 != reported {
            *seen = (reported, boot);
        }
        Some(boot.saturating_sub(seen.1))
    }

    /// Forgets the peers that do not exist any more.
    pub fn retain(&mut self, exists: impl Fn(&I) -> bool) {
        self.0.retain(|id, _| exists(id));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn peer(id: u32, age: Option<u64>, added: u64, has_keepalive: bool) -> Peer<u32> {
        Peer { id, last_handshake_age: age.map(seconds), since_added: seconds(added), has_keepalive }
    }

    #[test]
    fn only_peers_without_a_possible_session_are_selected() {
        for (age, added, keepalive, selected) in [
            (Some(0), 9999, true, false),
            (Some(180), 9999, true, false),
            (Some(299), 9999, true, false),
            (Some(300), 9999, true, true),
            (None, 299, true, false),
            (None, 300, true, true),
            (Some(9999), 10, true, false), // selected a moment ago
            (Some(1799), 9999, false, false),
            (None, 1800, false, true),
        ] {
            let peers = [peer(1, age, added, keepalive)];
            assert_eq!(stale_peers(&peers).len(), usize::from(selected), "{peers:?}");
        }
    }

    #[test]
    fn a_step_of_the_clock_does_not_make_a_handshake_old() {
        let mut handshakes = Handshakes::default();
        assert_eq!(handshakes.age(1, (0, 0), seconds(10)), None);
        assert_eq!(
            handshakes.age(1, (4_000_000_000, 5), seconds(20)),
            Some(seconds(0)),
            "made in the year 2096"
        );
        assert_eq!(handshakes.age(1, (4_000_000_000, 5), seconds(60)), Some(seconds(40)));
        assert_eq!(
            handshakes.age(1, (1_763_300_000, 5), seconds(70)),
            Some(seconds(0)),
            "the clock was set back"
        );
        assert_eq!(handshakes.age(1, (0, 0), seconds(80)), None, "added again");
        assert_eq!(handshakes.age(1, (1_763_300_000, 5), seconds(90)), Some(seconds(0)));
    }

    fn any_peer() -> impl Strategy<Value = (Option<u64>, u64, bool)> {
        (proptest::option::of(0u64..4000), 0u64..4000, any::<bool>())
    }

    proptest! {
        #[test]
        fn the_order_has_no_influence_and_a_live_session_is_never_touched(
            peers in proptest::collection::vec(any_peer(), 0..200),
            turn in any::<prop::sample::Index>(),
        ) {
            let mut peers: Vec<Peer<u32>> =
                (0u32..).zip(&peers).map(|(id, (age, added, keepalive))| peer(id, *age, *added, *keepalive)).collect();
            let selected = stale_peers(&peers);
            prop_assert!(selected.len() <= BATCH);
            for id in &selected {
                let age = peers[usize::try_from(*id).unwrap()].last_handshake_age;
                prop_assert!(age.is_none_or(|age| age > seconds(180)));
            }
            if !peers.is_empty() {
                let turn = turn.index(peers.len());
                peers.rotate_left(turn);
            }
            prop_assert_eq!(stale_peers(&peers), selected);
        }

        /// However many peers are silent, each is added again, and not more often than the limit allows.
        #[test]
        fn every_silent_peer_gets_its_turn(count in 1u32..400) {
            let mut added: BTreeMap<u32, u64> = (0..count).map(|id| (id, 0)).collect();
            let mut turns: BTreeMap<u32, u32> = BTreeMap::new();
            let rounds = 40u64;
            for now in (0..=rounds * 60).step_by(60) {
                let peers: Vec<Peer<u32>> = added.iter().map(|(id, at)| peer(*id, None, now - at, true)).collect();
                for id in stale_peers(&peers) {
                    prop_assert!(now - added[&id] >= SILENCE.as_secs());
                    added.insert(id, now);
                    *turns.entry(id).or_default() += 1;
                }
            }
            prop_assert_eq!(turns.len(), added.len());
            let (least, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
            prop_assert!(most - least <= 1);
        }
    }
}
