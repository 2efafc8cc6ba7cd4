//! The policy of the specification, on packets. Written from the sentences of the requirements, by addresses and devices
//! instead of by rules in an order.

use std::net::IpAddr;

use kubedos_wire::firewall::{Hook, Packet, State, Transport, Verdict};
use kubedos_wire::node::{PlanePurpose, Role};
use kubedos_wire::value::Protocol;

use crate::clusters::{Cluster, TestAllow, TestPlane};

pub fn verdict(cluster: &Cluster, hook: Hook, packet: &Packet) -> Verdict {
    let passes = match hook {
        Hook::Input => {
            let device = packet.input.as_deref().unwrap();
            let plane = cluster.planes.iter().position(|plane| plane.name == device);
            match plane {
                _ if device == "lo" => true,
                None => from_underlay(cluster, packet),
                Some(plane) => from_plane(cluster, plane, packet),
            }
        }
        Hook::Forward => false,
        Hook::Output => {
            let device = packet.output.as_deref().unwrap();
            let plane = cluster.planes.iter().position(|plane| plane.name == device);
            match plane {
                _ if device == "lo" => true,
                None => {
                    let owner = owner(cluster, packet.source).or(owner(cluster, packet.destination));
                    owner.is_none() && !is_error(packet)
                }
                Some(plane) => to_plane(cluster, plane, packet),
            }
        }
    };
    if passes { Verdict::Accept } else { Verdict::Drop }
}

/// The plane that an address belongs to.
fn owner(cluster: &Cluster, address: IpAddr) -> Option<usize> {
    cluster.planes.iter().position(|plane| plane.all.has(address))
}

/// N4: only the ports of the planes, DHCP replies, ICMP errors and neighbour discovery; no address of a plane.
fn from_underlay(cluster: &Cluster, packet: &Packet) -> bool {
    if owner(cluster, packet.source).is_some() || owner(cluster, packet.destination).is_some() {
        return false;
    }
    if is_error(packet) {
        return true;
    }
    let v6 = packet.source.is_ipv6();
    match packet.state {
        State::Invalid => false,
        State::Established | State::Related => true,
        State::New | State::Untracked => match packet.transport {
            Transport::Ports { protocol: Protocol::Udp, source, destination } => {
                let plane = cluster.planes.iter().any(|plane| plane.port == destination);
                let dhcp = match (source, destination) {
                    (67, 68) => cluster.dhcpv4 && !v6,
                    (547, 546) => cluster.dhcpv6 && is_link_local(packet.source),
                    _ => false,
                };
                dhcp || (plane && packet.state == State::New && !packet.over_limit)
            }
            Transport::Icmp(number) => v6 && packet.hop_limit == 255 && [135, 136].contains(&number),
            _ => false,
        },
    }
}

/// N3: within the plane, replies, echo and declared services; to another plane's address, only what the policy allows.
fn from_plane(cluster: &Cluster, at: usize, packet: &Packet) -> bool {
    let plane = &cluster.planes[at];
    if packet.state == State::Invalid {
        return false;
    }
    match (owner(cluster, packet.source), owner(cluster, packet.destination)) {
        (Some(source), Some(destination)) if source == at && destination == at => {
            let reply = matches!(packet.state, State::Established | State::Related);
            (reply && plane.owns(packet.destination)) || starts_within(cluster, plane, packet)
        }
        // A client on this plane, to this node's address on the other one.
        (Some(source), Some(to)) if source == at => {
            let ends = plane.members.has(packet.source) && packet.destination == cluster.planes[to].member;
            let request = |allow: &TestAllow| match packet.transport {
                Transport::Ports { protocol, destination, .. } => lists(allow, protocol, destination),
                _ => false,
            };
            ends && entries(cluster, at, to).any(|allow| request(allow) || is_related_error(packet))
        }
        // A server on the other plane replies to this node's address here.
        (Some(from), Some(destination)) if destination == at => {
            let ends = cluster.planes[from].members.has(packet.source) && packet.destination == plane.member;
            ends && entries(cluster, at, from).any(|allow| is_reply(allow, packet))
        }
        _ => false,
    }
}

fn starts_within(cluster: &Cluster, plane: &TestPlane, packet: &Packet) -> bool {
    if packet.destination != plane.member {
        return false;
    }
    let echo = packet.transport == Transport::Icmp(if packet.source.is_ipv4() { 8 } else { 128 });
    let control_plane = cluster.role == Role::ControlPlane;
    if plane.births.has(packet.source) {
        let service = match packet.transport {
            Transport::Ports { protocol: Protocol::Tcp, destination: 7444, .. }
            | Transport::Ports { protocol: Protocol::Udp, destination: 123, .. } => {
                plane.purpose == PlanePurpose::Control
            }
            _ => echo,
        };
        return control_plane && service;
    }
    let listens = cluster.listeners.iter().any(|listener| {
        let here = listener.purpose == plane.purpose && listener.role.is_none_or(|role| role == cluster.role);
        match packet.transport {
            Transport::Ports { protocol, destination, .. } => {
                let ports = listener.ports.first..=listener.ports.last;
                here && protocol == listener.ports.protocol && ports.contains(&destination)
            }
            _ => false,
        }
    });
    plane.members.has(packet.source) && (echo || listens)
}

/// A plane's address leaves by its own device; by another one only in a reply that the policy allows.
fn to_plane(cluster: &Cluster, at: usize, packet: &Packet) -> bool {
    match owner(cluster, packet.source) {
        Some(to) if to != at => {
            let ends = packet.source == cluster.planes[to].member
                && cluster.planes[at].members.has(packet.destination);
            ends && entries(cluster, at, to).any(|allow| is_reply(allow, packet))
        }
        _ => true,
    }
}

fn entries(cluster: &Cluster, from: usize, to: usize) -> impl Iterator<Item = &TestAllow> {
    cluster.allow.iter().filter(move |allow| (allow.from, allow.to) == (from, to))
}

fn is_reply(allow: &TestAllow, packet: &Packet) -> bool {
    match packet.transport {
        Transport::Ports { protocol, source, .. } => {
            packet.state == State::Established && lists(allow, protocol, source)
        }
        _ => is_related_error(packet),
    }
}

fn lists(allow: &TestAllow, protocol: Protocol, port: u16) -> bool {
    allow.ports.iter().any(|text| {
        let (numbers, name) = text.split_once('/').unwrap();
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let wanted = if name == "tcp" { Protocol::Tcp } else { Protocol::Udp };
        wanted == protocol && (first.parse::<u16>().unwrap()..=last.parse().unwrap()).contains(&port)
    })
}

fn is_error(packet: &Packet) -> bool {
    let errors: &[u8] = if packet.source.is_ipv4() { &[3, 11, 12] } else { &[1, 2, 3, 4] };
    matches!(packet.transport, Transport::Icmp(number) if errors.contains(&number))
}

fn is_related_error(packet: &Packet) -> bool {
    is_error(packet) && packet.state == State::Related
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.octets()[0] == 0xfe && v6.octets()[1] & 0xc0 == 0x80)
}
