//! Recovery of peers whose handshakes this node refuses because of an old timestamp, without a protocol.
//!
//! A WireGuard responder stores the latest timestamp that it accepted from each peer, and silently refuses every
//! initiation whose timestamp is not later (`replay_attack` in `wg_noise_handshake_consume_initiation`,
//! `drivers/net/wireguard/noise.c`). If the peer's clock was ahead once, it cannot initiate a session until its clock has
//! passed that time. Deleting and adding the peer resets the stored timestamp. [`stale_peers`] selects the peers for it.
//!
//! Why it is safe: a peer is selected only if no session with it can exist. A replayed initiation is then accepted, but
//! the session that follows needs the ephemeral private key of the initiator, and this node does not send data in it
//! before it has received a valid packet in it (`next_keypair`). `docs/clock.md` says what a replay does achieve.
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

/// Each selection without a handshake in between doubles the time to the next one, at most this often. The first one has
/// already reset the timestamp; a later one matters only if an initiation was accepted and no session followed.
pub const DOUBLINGS: u32 = 4;

/// The largest number of peers that one round selects.
pub const BATCH: usize = 64;

/// One peer of a plane, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer<I> {
    /// Its identity.
    pub id: I,
    /// The time since its last handshake, since this node first saw the peer, or since this node added it again: the
    /// shortest of them.
    pub silence: Duration,
    /// How often this node has added it again since its last handshake.
    pub readded: u32,
    /// This node sends keepalives to the peer, so there is always a session unless it is refused or unreachable.
    pub has_keepalive: bool,
}

impl<I> Peer<I> {
    /// The silence after which the peer is selected.
    fn patience(&self) -> Duration {
        let first = if self.has_keepalive { SILENCE } else { IDLE_SILENCE };
        first.saturating_mul(2_u32.saturating_pow(self.readded.min(DOUBLINGS)))
    }
}

/// The peers that the caller deletes and adds again, those with the longest silence first. The result depends on nothing
/// but the argument, and not on its order.
pub fn stale_peers<I: Ord + Clone>(peers: &[Peer<I>]) -> Vec<I> {
    let mut stale: Vec<&Peer<I>> = peers.iter().filter(|peer| peer.silence >= peer.patience()).collect();
    stale.sort_by(|a, b| b.silence.cmp(&a.silence).then_with(|| a.id.cmp(&b.id)));
    stale.into_iter().take(BATCH).map(|peer| peer.id.clone()).collect()
}

/// What the kernel reports about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<I> {
    /// The identity of the peer.
    pub id: I,
    /// The time of the last handshake on the system clock; `None` before the first one.
    pub handshake: Option<Duration>,
    /// This node sends keepalives to the peer.
    pub has_keepalive: bool,
}

/// The memory of the reconcile loop: when each peer was last heard or added again, on `CLOCK_BOOTTIME`.
///
/// The kernel reports the last handshake as a time of the system clock (`walltime_last_handshake`), so a step of the clock
/// makes its age wrong. This type only notices when the reported time changes, so the silence that it computes is never
/// longer than the true one.
#[derive(Debug, Clone)]
pub struct Sessions<I>(BTreeMap<I, Seen>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    handshake: Option<Duration>,
    since: Duration,
    readded: u32,
}

impl<I> Default for Sessions<I> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<I: Ord + Clone> Sessions<I> {
    /// Notes what the kernel reports about all peers at the time `boot`, and forgets peers that do not exist any more.
    pub fn observe(&mut self, reports: Vec<Report<I>>, boot: Duration) -> Vec<Peer<I>> {
        let mut seen = BTreeMap::new();
        let mut peers = Vec::new();
        for Report { id, handshake, has_keepalive } in reports {
            let new = Seen { handshake, since: boot, readded: 0 };
            let now = match self.0.get(&id) {
                Some(then) if then.handshake == handshake => *then,
                Some(then) if handshake.is_none() => Seen { readded: then.readded, ..new }, // added again
                _ => new,
            };
            let silence = boot.saturating_sub(now.since);
            peers.push(Peer { id: id.clone(), silence, readded: now.readded, has_keepalive });
            seen.insert(id, now);
        }
        self.0 = seen;
        peers
    }

    /// Notes that this node has deleted the peer and added it again.
    pub fn readded(&mut self, id: &I, boot: Duration) {
        if let Some(seen) = self.0.get_mut(id) {
            *seen = Seen { handshake: None, since: boot, readded: seen.readded.saturating_add(1) };
        }
    }

    /// Starts again: the silence from before does not count, for example because the node had no network.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn peer(id: u32, silence: u64, readded: u32, has_keepalive: bool) -> Peer<u32> {
        Peer { id, silence: seconds(silence), readded, has_keepalive }
    }

    fn report(id: u32, handshake: Option<u64>) -> Report<u32> {
        Report { id, handshake: handshake.map(seconds), has_keepalive: true }
    }

    #[test]
    fn only_peers_without_a_possible_session_are_selected() {
        for (silence, readded, keepalive, selected) in [
            (0, 0, true, false),
            (180, 0, true, false),
            (299, 0, true, false),
            (300, 0, true, true),
            (599, 1, true, false),
            (600, 1, true, true),
            (4799, u32::MAX, true, false),
            (4800, u32::MAX, true, true),
            (1799, 0, false, false),
            (1800, 0, false, true),
        ] {
            let peers = [peer(1, silence, readded, keepalive)];
            assert_eq!(stale_peers(&peers).len(), usize::from(selected), "{peers:?}");
        }
    }

    /// A handshake in the year 2096, then a clock that goes back: only changes count, not the reported times.
    #[test]
    fn a_step_of_the_clock_does_not_make_a_handshake_old() {
        let mut sessions = Sessions::default();
        let mut silence = |handshake, boot| {
            sessions.observe(vec![report(1, handshake)], seconds(boot)).remove(0).silence.as_secs()
        };
        assert_eq!(silence(None, 1000), 0, "seen for the first time");
        assert_eq!(silence(Some(4_000_000_000), 1020), 0);
        assert_eq!(silence(Some(4_000_000_000), 1060), 40);
        assert_eq!(silence(Some(1_763_300_000), 1070), 0);
        assert_eq!(silence(None, 1080), 0, "added again");
        assert_eq!(silence(None, 1090), 10);
    }

    #[test]
    fn a_peer_that_is_added_again_waits_longer_until_it_has_a_handshake() {
        let mut sessions = Sessions::default();
        let (mut readded, mut handshake) = (Vec::new(), None);
        for boot in (0..20_000).step_by(60) {
            if boot == 15_000 {
                handshake = Some(7);
            }
            for id in stale_peers(&sessions.observe(vec![report(1, handshake)], seconds(boot))) {
                sessions.readded(&id, seconds(boot));
                readded.push(boot);
                handshake = None;
            }
        }
        assert_eq!(readded, [300, 900, 2100, 4500, 9300, 14_100, 15_300, 15_900, 17_100, 19_500]);
    }

    #[test]
    fn peers_that_are_gone_or_come_back_start_again() {
        let mut sessions = Sessions::default();
        sessions.observe(vec![report(1, None), report(2, None)], seconds(0));
        sessions.observe(vec![report(2, None)], seconds(200));
        let peers = sessions.observe(vec![report(1, None), report(2, None)], seconds(400));
        assert_eq!(stale_peers(&peers), [2]);
        sessions.forget();
        let peers = sessions.observe(vec![report(1, None), report(2, None)], seconds(900));
        assert_eq!(stale_peers(&peers), Vec::<u32>::new());
    }

    /// What happens to a peer in a minute: it may have a handshake at any time, true or wrong.
    fn minute() -> impl Strategy<Value = Option<u64>> {
        prop_oneof![6 => Just(None), 1 => any::<u32>().prop_map(|time| Some(u64::from(time)))]
    }

    proptest! {
        /// A session that may still exist is never touched, whatever the system clock says about its handshake.
        #[test]
        fn a_live_session_is_never_touched(
            minutes in proptest::collection::vec(proptest::collection::vec(minute(), 5), 1..120),
            turn in 0usize..5,
        ) {
            let mut sessions = Sessions::default();
            let mut reported = [None; 5];
            let mut last = [None; 5];
            for (now, minute) in (0..).step_by(60).zip(&minutes) {
                for (index, handshake) in minute.iter().enumerate() {
                    if handshake.is_some() && *handshake != reported[index] {
                        (reported[index], last[index]) = (*handshake, Some(now));
                    }
                }
                let mut reports: Vec<_> = (0u32..).zip(reported).map(|(id, time)| report(id, time)).collect();
                reports.rotate_left(turn);
                let mut peers = sessions.observe(reports, seconds(now));
                let selected = stale_peers(&peers);
                peers.reverse();
                prop_assert_eq!(&stale_peers(&peers), &selected, "the order has no influence");
                for id in selected {
                    let index = usize::try_from(id).unwrap();
                    prop_assert!(last[index].is_none_or(|last| now - last > 180));
                    sessions.readded(&id, seconds(now));
                    reported[index] = None;
                }
            }
        }

        /// However many peers are silent, each is added again in turn, and no round selects more than the limit.
        #[test]
        fn every_silent_peer_gets_its_turn(count in 1u32..400) {
            let mut sessions = Sessions::default();
            let mut turns = BTreeSet::new();
            let rounds = u64::from(count).div_ceil(BATCH.try_into().unwrap());
            for now in (0..SILENCE.as_secs() + 60 * rounds).step_by(60) {
                let reports = (0..count).map(|id| report(id, None)).collect();
                let selected = stale_peers(&sessions.observe(reports, seconds(now)));
                prop_assert!(selected.len() <= BATCH);
                for id in selected {
                    sessions.readded(&id, seconds(now));
                    prop_assert!(turns.insert(id), "{} is selected twice", id);
                }
            }
            prop_assert_eq!(turns.len(), usize::try_from(count).unwrap());
        }
    }
}
