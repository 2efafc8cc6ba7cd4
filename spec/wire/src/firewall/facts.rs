//! The facts that the rules follow from, checked: the shard and the planes of `cluster.toml` agree, and no address belongs
//! to two planes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::rule::{Device, Family, Set};
use crate::node::{Plane, PlanePurpose, Policy, Role, Shard, ShardPlane};
use crate::underlay::dhcp;
use crate::value::{Cidr, PlaneId, PortRange, Protocol};

/// Why there is no table: the documents contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FirewallError {
    /// A plane is in one of the documents only, or with other values.
    #[error("the shard and the cluster document do not agree about the plane {0}")]
    Plane(PlaneId),
    /// The ranges of members and births, or the node's addresses, are not parts of the plane.
    #[error("{1} is not in its range of the plane {0}")]
    Address(PlaneId, IpAddr),
    /// Two planes, or the members and births of one plane, share an address.
    #[error("the address ranges of the planes {0} and {1} overlap")]
    Overlap(PlaneId, PlaneId),
    /// A plane has the name of an underlay interface.
    #[error("the plane {0} has the name of another device")]
    Device(PlaneId),
    /// An entry of the policy does not name two planes of one address family.
    #[error("policy.allow[{index}] from {from} to {to} does not name two planes of one address family")]
    Allow {
        /// The place of the entry.
        index: usize,
        /// The plane of the client.
        from: PlaneId,
        /// The plane of the server.
        to: PlaneId,
    },
}

/// What the rules follow from.
pub(super) struct Facts<'d> {
    pub(super) role: Role,
    pub(super) planes: &'d [OwnPlane<'d>],
    pub(super) allow: Vec<Allow<'d>>,
    /// Whether an interface of the underlay uses DHCP for IPv4, and for IPv6.
    pub(super) dhcp: (bool, bool),
}

/// A plane with the node's addresses on it.
pub(super) struct OwnPlane<'d> {
    pub(super) id: &'d PlaneId,
    pub(super) purpose: PlanePurpose,
    pub(super) cidr: Cidr,
    pub(super) members: Cidr,
    pub(super) births: Cidr,
    pub(super) member: Cidr,
    pub(super) birth: Cidr,
    pub(super) port: u16,
}

/// An entry of the policy, as the server's and the client's rules need it.
pub(super) struct Allow<'d> {
    pub(super) index: usize,
    pub(super) from: &'d OwnPlane<'d>,
    pub(super) to: &'d OwnPlane<'d>,
    /// The ports of each protocol that the entry has.
    pub(super) ports: Vec<(Protocol, Vec<PortRange>)>,
}

impl<'d> OwnPlane<'d> {
    pub(super) fn device(&self) -> Device {
        Device::Plane(self.id.clone())
    }

    pub(super) fn family(&self) -> Family {
        Family::of(&self.cidr)
    }

    /// The addresses that the node has or had on the plane.
    pub(super) fn own(&self) -> Set<Cidr> {
        Set::of([self.member, self.birth])
    }

    fn new(id: &'d PlaneId, plane: &Plane, shard: &ShardPlane) -> Result<Self, FirewallError> {
        if (plane.purpose, plane.cidr, plane.port) != (shard.purpose, shard.cidr, shard.port) {
            return Err(FirewallError::Plane(id.clone()));
        }
        for range in [plane.members, plane.births] {
            if !plane.cidr.covers(&range) {
                return Err(FirewallError::Address(id.clone(), range.network()));
            }
        }
        if plane.members.overlaps(&plane.births) {
            return Err(FirewallError::Overlap(id.clone(), id.clone()));
        }
        let single = |address: IpAddr, range: &Cidr| {
            let single = Cidr::around(address, if address.is_ipv4() { 32 } else { 128 });
            single.filter(|one| range.covers(one)).ok_or_else(|| FirewallError::Address(id.clone(), address))
        };
        Ok(Self {
            id,
            purpose: plane.purpose,
            cidr: plane.cidr,
            members: plane.members,
            births: plane.births,
            member: single(shard.member, &plane.members)?,
            birth: single(shard.birth, &plane.births)?,
            port: plane.port,
        })
    }
}

/// The planes of both documents, checked.
pub(super) fn planes<'d>(
    shard: &Shard,
    planes: &'d BTreeMap<PlaneId, Plane>,
) -> Result<Vec<OwnPlane<'d>>, FirewallError> {
    let names: BTreeSet<&PlaneId> = shard.planes.keys().chain(planes.keys()).collect();
    if let Some(name) = names.iter().find(|name| !planes.contains_key(**name)) {
        return Err(FirewallError::Plane((*name).clone()));
    }
    let mut own: Vec<OwnPlane<'d>> = Vec::new();
    for (id, plane) in planes {
        let node = shard.planes.get(id).ok_or_else(|| FirewallError::Plane(id.clone()))?;
        let used = shard.underlay.interfaces.iter().any(|interface| interface.name.as_str() == id.as_str());
        if used {
            return Err(FirewallError::Device(id.clone()));
        }
        let plane = OwnPlane::new(id, plane, node)?;
        if let Some(other) = own.iter().find(|other| other.cidr.overlaps(&plane.cidr)) {
            return Err(FirewallError::Overlap(other.id.clone(), id.clone()));
        }
        own.push(plane);
    }
    Ok(own)
}

impl<'d> Facts<'d> {
    pub(super) fn new(
        shard: &Shard,
        planes: &'d [OwnPlane<'d>],
        policy: &Policy,
    ) -> Result<Self, FirewallError> {
        let plane = |id: &PlaneId| planes.iter().find(|plane| plane.id == id);
        let mut allow = Vec::new();
        for (index, entry) in policy.allow.iter().enumerate() {
            let pair = plane(&entry.from).zip(plane(&entry.to));
            let (from, to) =
                pair.filter(|(from, to)| from.id != to.id && from.family() == to.family()).ok_or_else(
                    || FirewallError::Allow { index, from: entry.from.clone(), to: entry.to.clone() },
                )?;
            allow.push(Allow { index, from, to, ports: by_protocol(&entry.ports) });
        }
        Ok(Self { role: shard.role, planes, allow, dhcp: dhcp::families(&shard.underlay) })
    }

    /// All devices except those of the planes. Rules for the loopback device come first.
    pub(super) fn underlay(&self) -> Set<Device> {
        Set::except(self.planes.iter().map(OwnPlane::device))
    }
}

/// The port ranges of each protocol in ascending order, joined where they overlap or touch: nft(8) refuses sets with
/// overlapping ranges.
fn by_protocol(ports: &[PortRange]) -> Vec<(Protocol, Vec<PortRange>)> {
    let mut sorted = ports.to_vec();
    sorted.sort_by_key(|range| (range.protocol, range.first, range.last));
    let mut joined: Vec<(Protocol, Vec<PortRange>)> = Vec::new();
    for range in sorted {
        match joined.last_mut().filter(|(protocol, _)| *protocol == range.protocol) {
            Some((_, ranges)) => {
                match ranges.last_mut().filter(|last| range.first <= last.last.saturating_add(1)) {
                    Some(last) => last.last = last.last.max(range.last),
                    None => ranges.push(range),
                }
            }
            None => joined.push((range.protocol, vec![range])),
        }
    }
    joined
}
