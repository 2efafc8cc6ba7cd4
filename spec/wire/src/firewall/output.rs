//! The chain `output`: what may leave this node.
//!
//! It accepts by default, and packets within a plane first, because they are most of the traffic. It only keeps the addresses of planes where they belong: none of them leaves by the underlay,
//! even if a route is missing, and the address of one plane leaves by another plane only in replies that the policy
//! allows. No ICMP error leaves by the underlay: the kernel answers some malformed packets with one before the chain
//! `input` sees them (`ip_options_compile`, `ip6_parse_tlv`), and no service of the underlay needs errors from this node.

use super::facts::{Allow, Facts, OwnPlane};
use super::input::{ICMP_ERRORS, protocol_name, related_errors};
use super::rule::{Chain, Device, Hook, IcmpType, Match, Rule, Set, State, Verdict};

pub(super) fn chain(facts: &Facts<'_>) -> Chain {
    let loopback = Match::OutputDevice(Set::of([Device::Loopback]));
    let mut rules = vec![Rule::accept("output.loopback", "loopback", vec![loopback])];
    rules.extend(facts.planes.iter().map(own));
    for plane in facts.planes {
        let (id, range) = (plane.id, Set::of([plane.cidr]));
        rules.push(Rule::drop(
            format!("output.underlay.source.{id}"),
            format!("sources in {id} do not leave by the underlay"),
            vec![Match::OutputDevice(facts.underlay()), Match::Source(range.clone())],
        ));
        rules.push(Rule::drop(
            format!("output.underlay.destination.{id}"),
            format!("addresses of {id} are not reached over the underlay"),
            vec![Match::OutputDevice(facts.underlay()), Match::Destination(range)],
        ));
    }
    for (name, protocol, family) in ICMP_ERRORS {
        rules.push(Rule::drop(
            format!("output.underlay.{name}"),
            format!("underlay: senders get no {protocol} errors"),
            vec![Match::OutputDevice(facts.underlay()), Match::Icmp(IcmpType::errors(family))],
        ));
    }
    rules.extend(facts.allow.iter().flat_map(replies));
    rules.extend(facts.planes.iter().map(source));
    Chain { hook: Hook::Output, policy: Verdict::Accept, rules }
}

/// An entry of the policy, on the server: its replies leave by the client's plane.
fn replies(allow: &Allow<'_>) -> Vec<Rule> {
    let (from, to) = (allow.from, allow.to);
    let entry = format!("policy.allow[{}] {} to {}", allow.index, from.id, to.id);
    let name = format!("output.allow.{}", allow.index);
    let to_client = || {
        vec![
            Match::OutputDevice(Set::of([from.device()])),
            Match::Source(Set::of([to.member])),
            Match::Destination(Set::of([from.members])),
        ]
    };
    let mut rules = Vec::new();
    for (protocol, ports) in &allow.ports {
        let protocol = protocol_name(*protocol);
        let reply = vec![Match::SourcePort(ports.clone()), Match::State(vec![State::Established])];
        rules.push(Rule::accept(
            format!("{name}.{protocol}.reply"),
            format!("{entry}: replies, {protocol}"),
            [to_client(), reply].concat(),
        ));
    }
    rules.push(Rule::accept(
        format!("{name}.errors"),
        format!("{entry}: ICMP errors to the client"),
        [to_client(), related_errors(from.family())].concat(),
    ));
    rules
}

/// Most of the traffic, which no later rule would drop.
fn own(plane: &OwnPlane<'_>) -> Rule {
    Rule::accept(
        format!("output.plane.{}.own", plane.id),
        format!("sources in {0} leave by {0}", plane.id),
        vec![Match::OutputDevice(Set::of([plane.device()])), Match::Source(Set::of([plane.cidr]))],
    )
}

fn source(plane: &OwnPlane<'_>) -> Rule {
    Rule::drop(
        format!("output.plane.{}.source", plane.id),
        format!("sources in {0} leave by {0} only", plane.id),
        vec![Match::OutputDevice(Set::except([plane.device()])), Match::Source(Set::of([plane.cidr]))],
    )
}
