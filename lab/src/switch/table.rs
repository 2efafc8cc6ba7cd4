//! The addresses that the switch learned: the port of each station, per VLAN.
//!
//! An address that was not the source of a frame for the aging time is removed (IEEE 802.1Q, 8.8.3). The table has
//! at most [`MAX_ADDRESSES`] entries, so that a station that invents addresses cannot fill the memory. When it is full,
//! new addresses are not learned, and frames to them are flooded.

use std::collections::HashMap;
use std::time::Duration;

use super::frame::{Address, VlanId};
use super::ports::PortId;

/// The maximum number of learned addresses.
pub const MAX_ADDRESSES: usize = 4096;

/// The default aging time (IEEE 802.1Q, 8.8.3).
pub const AGING: Duration = Duration::from_secs(300);

/// How often a full table looks for entries that are too old. A search reads the whole table.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct AddressTable {
    entries: HashMap<(VlanId, Address), Entry>,
    aging: Duration,
    searched: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    port: PortId,
    seen: Duration,
}

impl AddressTable {
    pub(super) fn new(aging: Duration) -> Self {
        Self { entries: HashMap::new(), aging, searched: None }
    }

    /// Records the port of a station. Returns whether the table had space.
    pub(super) fn learn(&mut self, now: Duration, vlan: VlanId, address: Address, port: PortId) -> bool {
        if let Some(entry) = self.entries.get_mut(&(vlan, address)) {
            *entry = Entry { port, seen: now };
            return true;
        }
        if self.entries.len() >= MAX_ADDRESSES
            && self.searched.is_none_or(|at| now.saturating_sub(at) >= SEARCH_INTERVAL)
        {
            self.searched = Some(now);
            let aging = self.aging;
            self.entries.retain(|_, entry| now.saturating_sub(entry.seen) < aging);
        }
        if self.entries.len() >= MAX_ADDRESSES {
            return false;
        }
        self.entries.insert((vlan, address), Entry { port, seen: now });
        true
    }

    /// The port of a station; `None` if it is not known, or no longer.
    pub(super) fn find(&self, now: Duration, vlan: VlanId, address: Address) -> Option<PortId> {
        let entry = self.entries.get(&(vlan, address))?;
        (now.saturating_sub(entry.seen) < self.aging).then_some(entry.port)
    }

    /// Removes the addresses of a port, whose cable was removed or whose VLAN changed.
    pub(super) fn forget(&mut self, port: PortId) {
        self.entries.retain(|_, entry| entry.port != port);
    }

    /// The number of addresses that are not too old.
    pub(super) fn len(&self, now: Duration) -> usize {
        self.entries.values().filter(|entry| now.saturating_sub(entry.seen) < self.aging).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLAN: VlanId = VlanId::DEFAULT;

    fn address(number: usize) -> Address {
        let [a, b, c, d] = u32::try_from(number).unwrap().to_be_bytes();
        [2, 0, a, b, c, d]
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_ages_moves_and_is_per_vlan() {
        let mut table = AddressTable::new(seconds(300));
        table.learn(seconds(0), VLAN, address(1), PortId(1));
        assert_eq!(table.find(seconds(299), VLAN, address(1)), Some(PortId(1)));
        assert_eq!(table.find(seconds(300), VLAN, address(1)), None);
        assert_eq!((table.len(seconds(299)), table.len(seconds(300))), (1, 0));
        table.learn(seconds(300), VLAN, address(1), PortId(2));
        assert_eq!(table.find(seconds(300), VLAN, address(1)), Some(PortId(2)));
        assert_eq!(table.find(seconds(300), VlanId::new(2).unwrap(), address(1)), None);
        table.forget(PortId(2));
        assert_eq!(table.find(seconds(300), VLAN, address(1)), None);
    }

    #[test]
    fn a_full_table_keeps_its_addresses_and_learns_again_when_they_age() {
        let mut table = AddressTable::new(seconds(300));
        for number in 0..MAX_ADDRESSES {
            assert!(table.learn(seconds(0), VLAN, address(number), PortId(1)));
        }
        assert!(!table.learn(seconds(10), VLAN, address(MAX_ADDRESSES), PortId(2)));
        assert!(table.learn(seconds(10), VLAN, address(0), PortId(3)), "a known address is not a new one");
        assert!(table.learn(seconds(301), VLAN, address(MAX_ADDRESSES), PortId(2)));
        assert_eq!(table.len(seconds(301)), 2);
    }
}
