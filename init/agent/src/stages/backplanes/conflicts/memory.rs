//! What is known about the node's addresses: when to ask, who else claims them, and when that is reported. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::time::Duration;

use kubedos_wire::packets::claims::Claim;
use kubedos_wire::printable;
use kubedos_wire::value::MacAddress;

/// How often a new address is asked for, once in a second: a single question may be lost.
pub const FIRST: u32 = 3;

/// The time between two questions for an address without a conflict.
pub const EVERY: Duration = Duration::from_secs(300);

/// The time between two questions while there is a conflict.
pub const DURING: Duration = Duration::from_secs(10);

/// A conflict has ended if nobody has claimed the address for this time: three questions were not answered.
pub const GONE: Duration = Duration::from_secs(35);

/// The time to the next report after the first one. It doubles up to [`LONGEST_PAUSE`] while conflicts come and go.
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest time between two reports.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(900);

/// After this time without a change, the next report follows at once, and its successors fast again.
pub const QUIET: Duration = Duration::from_secs(1800);

/// An address of the node on a device of the underlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The number of the device.
    pub link: u32,
    /// The name of the device.
    pub device: String,
    /// The hardware address of the device.
    pub mac: MacAddress,
    /// The address.
    pub address: IpAddr,
}

/// Another machine uses an address of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// The device of this node that has it.
    pub device: String,
    /// The hardware address of the other machine.
    pub mac: MacAddress,
}

impl Display for Conflict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { address, device, mac } = self;
        let device = printable::name(device);
        write!(
            f,
            "{address} of {device} is also used by {mac}; give that machine or this node another address"
        )
    }
}

#[derive(Debug)]
struct State {
    own: Own,
    asked: u32,
    ask_at: Duration,
    claimed: Option<(MacAddress, Duration)>,
}

impl State {
    fn conflict(&self, now: Duration) -> Option<Conflict> {
        let (mac, at) = self.claimed?;
        let Own { address, device, .. } = &self.own;
        (now.saturating_sub(at) < GONE).then(|| Conflict { address: *address, device: device.clone(), mac })
    }
}

/// The memory of the watch. All times are those since the kernel started.
#[derive(Debug, Default)]
pub struct Conflicts {
    states: BTreeMap<(u32, IpAddr), State>,
    /// The hardware addresses of the node's own devices.
    macs: BTreeSet<MacAddress>,
    /// The addresses with a reported conflict.
    reported: BTreeSet<(u32, IpAddr)>,
    last: Option<Duration>,
    pause: Duration,
}

impl Conflicts {
    /// Replaces the list of addresses. What is known about those that stay is kept.
    pub fn set_own(&mut self, own: Vec<Own>, macs: BTreeSet<MacAddress>, now: Duration) {
        self.macs = macs;
        let mut before = std::mem::take(&mut self.states);
        for own in own {
            let key = (own.link, own.address);
            let state = match before.remove(&key) {
                Some(known) => State { own, ..known },
                None => State { own, asked: 0, ask_at: now, claimed: None },
            };
            self.states.insert(key, state);
        }
    }

    /// The addresses that are to be asked for now.
    pub fn due(&mut self, now: Duration) -> Vec<Own> {
        let mut due = Vec::new();
        for state in self.states.values_mut().filter(|state| state.ask_at <= now) {
            state.asked = state.asked.saturating_add(1);
            let pause = match state.conflict(now) {
                _ if state.asked < FIRST => Duration::from_secs(1),
                Some(_) => DURING,
                None => EVERY,
            };
            state.ask_at = now.saturating_add(pause);
            due.push(state.own.clone());
        }
        due
    }

    /// Another machine claims an address on a device; `None` if the device is not known.
    pub fn claim(&mut self, link: Option<u32>, claim: Claim, now: Duration) {
        if self.macs.contains(&claim.mac) {
            return; // a question or an answer of this node, over another device or a loop in the network
        }
        let of_it = |own: &Own| own.address == claim.address && link.is_none_or(|link| link == own.link);
        for state in self.states.values_mut().filter(|state| of_it(&state.own)) {
            state.claimed = Some((claim.mac, now));
            state.ask_at = state.ask_at.min(now.saturating_add(DURING));
        }
    }

    /// The present conflicts.
    pub fn present(&self, now: Duration) -> Vec<Conflict> {
        self.states.values().filter_map(|state| state.conflict(now)).collect()
    }

    /// What changed since the last report, as text for a record, if it is time for one.
    pub fn report(&mut self, now: Duration) -> Option<String> {
        self.reported.retain(|key| self.states.contains_key(key));
        let since = self.last.map(|last| now.saturating_sub(last));
        if since.is_some_and(|since| since < self.pause) {
            return None;
        }
        let mut texts = Vec::new();
        for (key, state) in &self.states {
            match state.conflict(now) {
                Some(conflict) if self.reported.insert(*key) => texts.push(conflict.to_string()),
                None if self.reported.remove(key) => {
                    texts.push(format!("{} is no longer used by another machine", state.own.address));
                }
                _ => {}
            }
        }
        if texts.is_empty() {
            return None;
        }
        let goes_on = since.is_some_and(|since| since < QUIET);
        self.pause = if goes_on { self.pause.saturating_mul(2).min(LONGEST_PAUSE) } else { FIRST_PAUSE };
        self.last = Some(now);
        Some(format!("address conflict: {}", texts.join(", ")))
    }
}
