//! The chain `input`: what may reach this node.
//!
//! The order matters for established connections. Packets of established connections within a plane pass first, by rules
//! that contain the device and both addresses: they are most of the traffic, and every rule costs time. On the underlay, the
//! addresses come before connection tracking, and after it the few services. All other packets of planes pass the policy, the
//! checks of addresses, and the services; so a connection between planes lives only as long as its entry in the policy.

use super::facts::{Allow, Facts, OwnPlane};
use super::rule::{Chain, Device, Family, Hook, IcmpType, Match, Rule, Set, State, Verdict};
use super::{ENROLMENT_PORT, Listener, NEW_FLOWS, TIME_PORT};
use crate::node::{PlanePurpose, Role};
use crate::value::{Cidr, PortRange, Protocol};

const DHCPV4: (u16, u16) = (67, 68); // server and client (RFC 2131 §4.1)
const DHCPV6: (u16, u16) = (547, 546); // RFC 8415 §7.2

/// The rules for ICMP errors on the underlay: the end of their name, the protocol and the family.
pub(super) const ICMP_ERRORS: [(&str, &str, Family); 2] =
    [("icmp-errors", "ICMP", Family::Ipv4), ("icmpv6-errors", "ICMPv6", Family::Ipv6)];

pub(super) fn chain(facts: &Facts<'_>, listeners: &[Listener]) -> Chain {
    let loopback = Match::InputDevice(Set::of([Device::Loopback]));
    let mut rules = vec![Rule::accept("input.loopback", "loopback", vec![loopback])];
    rules.extend(facts.planes.iter().map(established));
    rules.extend(underlay_addresses(facts));
    let invalid = vec![Match::State(vec![State::Invalid])];
    rules.push(Rule::drop("input.invalid", "packets of no connection", invalid));
    rules.extend(underlay_services(facts));
    rules.extend(facts.allow.iter().flat_map(allowed));
    rules.extend(facts.planes.iter().flat_map(addresses));
    rules.extend(facts.planes.iter().flat_map(|plane| births(facts.role, plane)));
    rules.extend(facts.planes.iter().flat_map(|plane| members(facts.role, plane, listeners)));
    rules.push(Rule::drop("input.rest", "everything else on planes", vec![]));
    Chain { hook: Hook::Input, policy: Verdict::Drop, rules }
}

/// Whether a plane's addresses may be used on the underlay (never); then what belongs to known connections, and ICMP errors,
/// which are accepted even if they belong to none.
fn underlay_addresses(facts: &Facts<'_>) -> Vec<Rule> {
    let on_underlay = || Match::InputDevice(facts.underlay());
    let mut rules = Vec::new();
    for plane in facts.planes {
        let (id, range) = (plane.id, Set::of([plane.cidr]));
        rules.push(Rule::drop(
            format!("input.underlay.source.{id}"),
            format!("anti-spoofing: sources in {id} arrive by {id} only"),
            vec![on_underlay(), Match::Source(range.clone())],
        ));
        rules.push(Rule::drop(
            format!("input.underlay.destination.{id}"),
            format!("addresses of {id} are not reached over the underlay"),
            vec![on_underlay(), Match::Destination(range)],
        ));
    }
    rules.push(Rule::accept(
        "input.underlay.established",
        "underlay: replies",
        vec![on_underlay(), replies()],
    ));
    for (name, protocol, family) in ICMP_ERRORS {
        rules.push(Rule::accept(
            format!("input.underlay.{name}"),
            format!("underlay: {protocol} errors"),
            vec![on_underlay(), Match::Icmp(IcmpType::errors(family))],
        ));
    }
    rules
}

fn underlay_services(facts: &Facts<'_>) -> Vec<Rule> {
    let on_underlay = || Match::InputDevice(facts.underlay());
    let accept = |name: &str, comment: &str, matches: Vec<Match>| {
        Rule::accept(format!("input.underlay.{name}"), comment, [vec![on_underlay()], matches].concat())
    };
    let mut rules = Vec::new();
    for plane in facts.planes {
        let port = || vec![on_underlay(), destination_port(Protocol::Udp, plane.port)];
        let name = format!("input.underlay.port.{}", plane.id);
        let new = [port(), vec![Match::State(vec![State::New])]].concat();
        let rule = Rule::accept(&name, format!("plane {} port", plane.id), new);
        rules.push(Rule { limit: Some(NEW_FLOWS), ..rule });
        let comment = format!("plane {} port, above the limit", plane.id);
        rules.push(Rule::drop(format!("{name}.limit"), comment, port()));
    }
    let (v4, v6) = facts.dhcp;
    let from_server = |(server, client): (u16, u16)| {
        vec![
            Match::SourcePort(vec![port_range(Protocol::Udp, server)]),
            destination_port(Protocol::Udp, client),
        ]
    };
    if v4 {
        let matches = [vec![Match::Family(Family::Ipv4)], from_server(DHCPV4)].concat();
        rules.push(accept("dhcpv4", "underlay: replies of DHCP servers", matches));
    }
    if v6 {
        let matches = [vec![Match::Source(Set::of([Cidr::LINK_LOCAL]))], from_server(DHCPV6)].concat();
        rules.push(accept("dhcpv6", "underlay: replies of DHCPv6 servers", matches));
    }
    let neighbours = vec![Match::HopLimit(255), Match::Icmp(IcmpType::NEIGHBOURS.to_vec())];
    rules.push(accept("neighbours", "underlay: neighbour discovery from the link", neighbours));
    for (name, protocol, family) in [("echo", "ICMP", Family::Ipv4), ("echo-v6", "ICMPv6", Family::Ipv6)] {
        rules.push(Rule::drop(
            format!("input.underlay.{name}"),
            format!("underlay: no answer to {protocol} echo"),
            vec![on_underlay(), Match::Icmp(vec![IcmpType::echo(family)])],
        ));
    }
    rules.push(Rule::drop("input.underlay.rest", "underlay: everything else", vec![on_underlay()]));
    rules
}

/// Packets of established connections whose addresses are both right for the plane.
fn established(plane: &OwnPlane<'_>) -> Rule {
    let from_plane =
        vec![arrives_by(plane), Match::Source(Set::of([plane.cidr])), Match::Destination(plane.own())];
    Rule::accept(
        format!("input.plane.{}.established", plane.id),
        format!("plane {}: replies", plane.id),
        [from_plane, vec![replies()]].concat(),
    )
}

/// An entry of the policy, on the server: packets to its address on the other plane; and on the client: replies from
/// there. Both arrive by the client's plane.
fn allowed(allow: &Allow<'_>) -> Vec<Rule> {
    let (from, to) = (allow.from, allow.to);
    let entry = format!("policy.allow[{}] {} to {}", allow.index, from.id, to.id);
    let name = format!("input.allow.{}", allow.index);
    let between = |source: Cidr, destination: Cidr| {
        vec![arrives_by(from), Match::Source(Set::of([source])), Match::Destination(Set::of([destination]))]
    };
    let to_server = || between(from.members, to.member);
    let to_client = || between(to.members, from.member);
    let mut rules = Vec::new();
    for (protocol, ports) in &allow.ports {
        let protocol = protocol_name(*protocol);
        rules.push(Rule::accept(
            format!("{name}.{protocol}"),
            format!("{entry}: {protocol}"),
            [to_server(), vec![Match::DestinationPort(ports.clone())]].concat(),
        ));
        let reply = vec![Match::SourcePort(ports.clone()), Match::State(vec![State::Established])];
        rules.push(Rule::accept(
            format!("{name}.{protocol}.reply"),
            format!("{entry}: replies, {protocol}"),
            [to_client(), reply].concat(),
        ));
    }
    for (side, matches) in [("server", to_server()), ("client", to_client())] {
        rules.push(Rule::accept(
            format!("{name}.{side}-errors"),
            format!("{entry}: ICMP errors to the {side}"),
            [matches, related_errors(from.family())].concat(),
        ));
    }
    rules
}

/// Which addresses a plane's device may carry; what the policy allows has passed before.
fn addresses(plane: &OwnPlane<'_>) -> [Rule; 3] {
    let id = plane.id;
    let Set { values, .. } = plane.own();
    [
        Rule::drop(
            format!("input.plane.{id}.family"),
            format!("plane {id}: another address family"),
            vec![arrives_by(plane), Match::Family(plane.family().other())],
        ),
        Rule::drop(
            format!("input.plane.{id}.source"),
            format!("anti-spoofing: {id} carries sources in {id} only"),
            vec![arrives_by(plane), Match::Source(Set::except([plane.cidr]))],
        ),
        Rule::drop(
            format!("input.plane.{id}.destination"),
            format!("default deny from {id} to other planes"),
            vec![arrives_by(plane), Match::Destination(Set::except(values))],
        ),
    ]
}

/// Nodes that are not enrolled reach enrolment, time and ICMP echo on control planes, and nothing else.
fn births(role: Role, plane: &OwnPlane<'_>) -> Vec<Rule> {
    let id = plane.id;
    let from_births = || vec![arrives_by(plane), Match::Source(Set::of([plane.births]))];
    let accept = |service: &str, matches: Vec<Match>| {
        Rule::accept(
            format!("input.births.{id}.{service}"),
            format!("births of {id}: {service}"),
            [from_births(), vec![to_member(plane)], matches].concat(),
        )
    };
    let mut rules = Vec::new();
    if role == Role::ControlPlane {
        if plane.purpose == PlanePurpose::Control {
            rules.push(accept("enrolment", vec![destination_port(Protocol::Tcp, ENROLMENT_PORT)]));
            rules.push(accept("time", vec![destination_port(Protocol::Udp, TIME_PORT)]));
        }
        rules.push(accept("echo", vec![Match::Icmp(vec![IcmpType::echo(plane.family())])]));
    }
    rules.push(Rule::drop(
        format!("input.births.{id}.rest"),
        format!("births of {id}: everything else"),
        from_births(),
    ));
    rules
}

fn members(role: Role, plane: &OwnPlane<'_>, listeners: &[Listener]) -> Vec<Rule> {
    let from_members = || vec![arrives_by(plane), Match::Source(Set::of([plane.members])), to_member(plane)];
    let echo = Match::Icmp(vec![IcmpType::echo(plane.family())]);
    let mut rules = vec![Rule::accept(
        format!("input.plane.{}.echo", plane.id),
        format!("plane {}: echo between members", plane.id),
        [from_members(), vec![echo]].concat(),
    )];
    let here = |listener: &&Listener| {
        listener.purpose == plane.purpose && listener.role.is_none_or(|wanted| wanted == role)
    };
    rules.extend(listeners.iter().filter(here).map(|listener| {
        Rule::accept(
            format!("input.listener.{}", listener.name),
            format!("plane {}: listener {}", plane.id, listener.name),
            [from_members(), vec![Match::DestinationPort(vec![listener.ports])]].concat(),
        )
    }));
    rules
}

fn arrives_by(plane: &OwnPlane<'_>) -> Match {
    Match::InputDevice(Set::of([plane.device()]))
}

fn to_member(plane: &OwnPlane<'_>) -> Match {
    Match::Destination(Set::of([plane.member]))
}

fn replies() -> Match {
    Match::State(vec![State::Established, State::Related])
}

/// ICMP errors about a connection that connection tracking knows.
pub(super) fn related_errors(family: Family) -> Vec<Match> {
    vec![Match::Icmp(IcmpType::errors(family)), Match::State(vec![State::Related])]
}

fn port_range(protocol: Protocol, port: u16) -> PortRange {
    PortRange { first: port, last: port, protocol }
}

fn destination_port(protocol: Protocol, port: u16) -> Match {
    Match::DestinationPort(vec![port_range(protocol, port)])
}

pub(super) const fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}
