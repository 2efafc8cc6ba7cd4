//! Whether an interface uses DHCP. The files for networkd, the firewall and the agent's check of links follow this.

use crate::node::{Dhcp, Interface, Underlay};

impl Dhcp {
    /// Whether this includes DHCP for IPv4.
    pub const fn v4(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Both)
    }

    /// Whether this includes DHCP for IPv6.
    pub const fn v6(self) -> bool {
        matches!(self, Self::Ipv6 | Self::Both)
    }
}

/// The mode of a node without interfaces, on every Ethernet device.
pub const WITHOUT_INTERFACES: Dhcp = Dhcp::Ipv4;

/// The mode of one interface of a node: what it declares, otherwise `none` if it has addresses and `ipv4` if not. A member of a bond
/// has no addresses of its own, so its mode is always `none`.
pub fn of(all: &[Interface], interface: &Interface) -> Dhcp {
    let bonds = all.iter().filter_map(|other| other.bond.as_ref());
    let member = bonds.flat_map(|bond| &bond.links).any(|link| *link == interface.name);
    match interface.dhcp {
        _ if member => Dhcp::None,
        Some(dhcp) => dhcp,
        None if interface.addresses.is_empty() => Dhcp::Ipv4,
        None => Dhcp::None,
    }
}

/// Whether any interface uses DHCP for IPv4, and for IPv6.
pub fn families(underlay: &Underlay) -> (bool, bool) {
    if underlay.interfaces.is_empty() {
        return (WITHOUT_INTERFACES.v4(), WITHOUT_INTERFACES.v6());
    }
    let modes = || underlay.interfaces.iter().map(|interface| of(&underlay.interfaces, interface));
    (modes().any(Dhcp::v4), modes().any(Dhcp::v6))
}
