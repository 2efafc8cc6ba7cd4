//! The interfaces of an underlay, checked and resolved: which device each of them is, and what it is part of.
//!
//! The rules of the ClusterSpec refuse the same contradictions earlier and with better messages; a node does not rely on
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{LEAST_MTU, dhcp};
use crate::node::{Bond, Dhcp, Interface, InterfaceMatch, Underlay};
use crate::value::{IfName, MacAddress};

/// The longest `ID_PATH`.
const LONGEST_PATH: usize = 256;

/// Why an underlay has no files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnderlayError {
    /// Two interfaces have one name.
    #[error("two interfaces have the name {0}")]
    Twice(IfName),
    /// The interface is a VLAN and a bond.
    #[error("the interface {0} is a VLAN and a bond")]
    VlanAndBond(IfName),
    /// One of several physical interfaces has no match, or a VLAN or a bond has one.
    #[error(
        "the interface {0} does not identify its device: several physical interfaces each need a match, VLANs and bonds have none"
    )]
    Unidentified(IfName),
    /// A match has no property, or two.
    #[error("the match of the interface {0} is not exactly one of mac and path")]
    Match(IfName),
    /// A path contains a character that no `ID_PATH` has.
    #[error("the path of the interface {0} is not an ID_PATH of udev")]
    Path(IfName),
    /// Two interfaces match one device.
    #[error("the interfaces {0} and {1} match the same device")]
    SameDevice(IfName, IfName),
    /// A VLAN's number is not between 1 and 4094.
    #[error("the VLAN {0} has the number {1}, which is not between 1 and 4094")]
    VlanId(IfName, u16),
    /// A VLAN's link is not a physical interface or a bond.
    #[error("the link {1} of the VLAN {0} is not a physical interface or a bond")]
    VlanLink(IfName, IfName),
    /// Two VLANs of one link have one number.
    #[error("the VLANs {0} and {1} have the same link and number")]
    SameVlan(IfName, IfName),
    /// A bond has no member.
    #[error("the bond {0} has no member")]
    NoMember(IfName),
    /// A member of a bond is not a physical interface, is a member twice, carries a VLAN, or has its own addresses.
    #[error(
        "{1} cannot be a member of the bond {0}: a member is a physical interface in one bond, without addresses and VLANs"
    )]
    Member(IfName, IfName),
    /// A gateway is not in the network of an address of its interface.
    #[error("the gateway of the interface {0} is not in the network of its addresses")]
    Gateway(IfName),
    /// Two interfaces, or one interface twice, have an address.
    #[error("the address {0} is declared twice")]
    Address(IpAddr),
    /// An MTU is below that of the underlay, or below 1280.
    #[error("the MTU {0} is too small")]
    Mtu(u16),
}

/// The device of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device<'u> {
    /// The only Ethernet device of the node.
    Only,
    /// The Ethernet device with this permanent hardware address.
    Mac(MacAddress),
    /// The Ethernet device with this `ID_PATH`.
    Path(&'u str),
    /// A VLAN with this number, created by networkd.
    Vlan(u16),
    /// A bond, created by networkd, with the hardware address of its first member that is matched by one.
    Bond(&'u Bond, Option<MacAddress>),
}

impl Device<'_> {
    /// Whether this is a device of the machine, not one that networkd creates.
    pub const fn is_physical(&self) -> bool {
        matches!(self, Self::Only | Self::Mac(_) | Self::Path(_))
    }
}

/// One interface, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link<'u> {
    /// Its declaration.
    pub interface: &'u Interface,
    /// Its device.
    pub device: Device<'u>,
    /// The bond that it is a member of.
    pub bond: Option<&'u IfName>,
    /// The VLANs that it carries, in the order of the spec.
    pub vlans: Vec<&'u IfName>,
    /// How it uses DHCP.
    pub dhcp: Dhcp,
    /// Its MTU: the declared one, and at least that of its VLANs, or of its bond.
    pub mtu: u16,
}

/// Checks the interfaces and resolves their references. Empty if the spec declares none.
pub fn links(underlay: &Underlay) -> Result<Vec<Link<'_>>, UnderlayError> {
    let all = &underlay.interfaces;
    if underlay.mtu < LEAST_MTU {
        return Err(UnderlayError::Mtu(underlay.mtu));
    }
    let (mut by_name, mut addresses) = (BTreeMap::new(), BTreeSet::new());
    for interface in all {
        if by_name.insert(&interface.name, interface).is_some() {
            return Err(UnderlayError::Twice(interface.name.clone()));
        }
        if let Some(address) = interface.addresses.iter().find(|own| !addresses.insert(own.address())) {
            return Err(UnderlayError::Address(address.address()));
        }
        check_values(underlay, interface)?;
    }
    let bonds = members(all, &by_name)?;
    let vlans = vlans(all, &by_name, &bonds)?;
    let devices = devices(all)?;
    let link = |(interface, device): (_, _)| {
        let interface: &Interface = interface;
        let bond = bonds.get(&interface.name).copied();
        let upward = |link: &Interface| {
            vlans_of(all, &link.name).map(|vlan| mtu(underlay, vlan)).fold(mtu(underlay, link), u16::max)
        };
        Link {
            interface,
            device,
            bond: bond.map(|bond| &bond.name),
            vlans: vlans.get(&interface.name).cloned().unwrap_or_default(),
            dhcp: dhcp::of(all, interface),
            mtu: upward(interface).max(bond.map_or(0, upward)),
        }
    };
    Ok(all.iter().zip(devices).map(link).collect())
}

fn mtu(underlay: &Underlay, interface: &Interface) -> u16 {
    interface.mtu.unwrap_or(underlay.mtu)
}

fn vlans_of<'u>(all: &'u [Interface], link: &IfName) -> impl Iterator<Item = &'u Interface> {
    all.iter().filter(move |other| other.vlan.as_ref().is_some_and(|vlan| vlan.link == *link))
}

const fn physical(interface: &Interface) -> bool {
    interface.vlan.is_none() && interface.bond.is_none()
}

fn check_values(underlay: &Underlay, interface: &Interface) -> Result<(), UnderlayError> {
    let name = || interface.name.clone();
    if interface.vlan.is_some() && interface.bond.is_some() {
        return Err(UnderlayError::VlanAndBond(name()));
    }
    if let Some(mtu) = interface.mtu.filter(|mtu| *mtu < underlay.mtu) {
        return Err(UnderlayError::Mtu(mtu));
    }
    if let Some(gateway) = interface.gateway {
        let own = interface.addresses.iter().any(|own| own.address() == gateway.address());
        let near = interface.addresses.iter().any(|own| own.network().contains(gateway.address()));
        if own || !near {
            return Err(UnderlayError::Gateway(name()));
        }
    }
    Ok(())
}

/// The bond of each member.
fn members<'u>(
    all: &'u [Interface],
    by_name: &BTreeMap<&IfName, &'u Interface>,
) -> Result<BTreeMap<&'u IfName, &'u Interface>, UnderlayError> {
    let mut bonds = BTreeMap::new();
    for bond in all {
        let Some(links) = bond.bond.as_ref().map(|bond| &bond.links) else { continue };
        if links.is_empty() {
            return Err(UnderlayError::NoMember(bond.name.clone()));
        }
        for link in links {
            let plain = |member: &&&Interface| {
                physical(member)
                    && member.addresses.is_empty()
                    && member.gateway.is_none()
                    && member.dhcp.is_none_or(|dhcp| dhcp == Dhcp::None)
                    && vlans_of(all, link).next().is_none()
            };
            if by_name.get(link).filter(plain).is_none() || bonds.insert(link, bond).is_some() {
                return Err(UnderlayError::Member(bond.name.clone(), link.clone()));
            }
        }
    }
    Ok(bonds)
}

/// The VLANs of each link.
fn vlans<'u>(
    all: &'u [Interface],
    by_name: &BTreeMap<&IfName, &'u Interface>,
    bonds: &BTreeMap<&IfName, &Interface>,
) -> Result<BTreeMap<&'u IfName, Vec<&'u IfName>>, UnderlayError> {
    let (mut vlans, mut numbers) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
    for interface in all {
        let Some(vlan) = &interface.vlan else { continue };
        if !(1..=4094).contains(&vlan.id) {
            return Err(UnderlayError::VlanId(interface.name.clone(), vlan.id));
        }
        let carries = |link: &&&Interface| link.vlan.is_none() && !bonds.contains_key(&link.name);
        if by_name.get(&vlan.link).filter(carries).is_none() {
            return Err(UnderlayError::VlanLink(interface.name.clone(), vlan.link.clone()));
        }
        if let Some(first) = numbers.insert((&vlan.link, vlan.id), &interface.name) {
            return Err(UnderlayError::SameVlan(first.clone(), interface.name.clone()));
        }
        vlans.entry(&vlan.link).or_default().push(&interface.name);
    }
    Ok(vlans)
}

/// The device of each interface, in their order.
fn devices(all: &[Interface]) -> Result<Vec<Device<'_>>, UnderlayError> {
    let alone = all.iter().filter(|interface| physical(interface)).count() == 1;
    let mut taken: Vec<(Device<'_>, &IfName)> = Vec::new();
    let mut devices = Vec::new();
    for interface in all {
        let device = match (&interface.vlan, &interface.bond, &interface.device) {
            (Some(vlan), _, None) => Device::Vlan(vlan.id),
            (None, Some(bond), None) => Device::Bond(bond, first_mac(all, bond)),
            (None, None, Some(device)) => by_match(&interface.name, device)?,
            (None, None, None) if alone => Device::Only,
            _ => return Err(UnderlayError::Unidentified(interface.name.clone())),
        };
        if device.is_physical() {
            if let Some((_, first)) = taken.iter().find(|(other, _)| *other == device) {
                return Err(UnderlayError::SameDevice((*first).clone(), interface.name.clone()));
            }
            taken.push((device, &interface.name));
        }
        devices.push(device);
    }
    Ok(devices)
}

fn by_match<'u>(name: &IfName, device: &'u InterfaceMatch) -> Result<Device<'u>, UnderlayError> {
    match (device.mac, &device.path) {
        (Some(mac), None) => Ok(Device::Mac(mac)),
        (None, Some(path)) if valid_path(path) => Ok(Device::Path(path)),
        (None, Some(_)) => Err(UnderlayError::Path(name.clone())),
        _ => Err(UnderlayError::Match(name.clone())),
    }
}

fn first_mac(all: &[Interface], bond: &Bond) -> Option<MacAddress> {
    let member = |link: &IfName| all.iter().find(|interface| interface.name == *link);
    bond.links.iter().filter_map(member).find_map(|member| member.device.as_ref()?.mac)
}

/// Whether a text can be an `ID_PATH` as udev's `path_id` composes them: names of buses, and addresses on them.
///
/// networkd reads a path as a list of shell patterns (`fnmatch`, with escapes and quotes). Of the characters that are
/// accepted here, none separates words, quotes, escapes, negates, or is part of a pattern.
pub fn valid_path(path: &str) -> bool {
    (1..=LONGEST_PATH).contains(&path.len())
        && path.starts_with(|first: char| first.is_ascii_alphanumeric())
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b":._-@+".contains(&b))
}
