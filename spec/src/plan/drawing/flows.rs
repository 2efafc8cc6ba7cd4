//! Which connections the firewalls of a plan accept, between groups of senders and receivers.
//!
//! All nodes of one role have the same rules, apart from their own addresses, so one node of each role stands for all. For
//! each rule that accepts packets, a packet is made that fits the rule's protocol and ports, and the whole table decides
//! about it: a rule that an earlier one precedes is not drawn. Between nodes, the table of the sender decides too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kubedos_wire::firewall::{FirewallError, Hook, Match, Packet, Rule, Ruleset, State, Transport, Verdict};
use kubedos_wire::node::{PlanePurpose, Role};
use kubedos_wire::value::{PlaneId, PortRange};

use crate::plan::{ClusterPlan, PlannedNode, PlannedPlane};

/// A group of senders or receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// Any machine on the underlay.
    Underlay,
    /// Nodes before their enrolment.
    Births,
    /// The machines of operators.
    Operators,
    /// Control planes.
    ControlPlanes,
    /// Workers.
    Workers,
}

/// The connections over one network.
#[derive(Debug, Clone)]
pub struct Band<'p> {
    /// The plane; absent for the underlay.
    pub plane: Option<(&'p PlaneId, &'p PlannedPlane)>,
    /// The connections, in the order of their senders and receivers.
    pub rows: Vec<Row>,
}

/// The connections that one group may open to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which group opens the connection.
    pub from: Party,
    /// Which group accepts the connection.
    pub to: Party,
    /// Whether the same holds in the other direction.
    pub both: bool,
    /// What is accepted, in the order of the rules.
    pub services: Vec<Service>,
}

/// One kind of accepted connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The protocol with its ports and its purpose.
    pub label: String,
    /// The name of the rule's counter.
    pub rule: String,
}

/// A node that stands for all nodes of its role.
struct Receiver<'p> {
    party: Party,
    node: &'p PlannedNode,
    rules: Ruleset,
}

/// A sender's address, and its rules if it is a node.
struct Sender {
    party: Party,
    address: IpAddr,
    rules: Option<Ruleset>,
}

pub(super) fn bands(plan: &ClusterPlan) -> Result<Vec<Band<'_>>, FirewallError> {
    let mut receivers = Vec::new();
    for (party, role) in [(Party::ControlPlanes, Role::ControlPlane), (Party::Workers, Role::Worker)] {
        let Some(node) = plan.nodes().iter().find(|node| node.role == role) else { continue };
        let rules = plan.firewalls([node])?;
        receivers.extend(rules.into_iter().map(|rules| Receiver { party, node, rules }));
    }
    let from_underlay = receivers.iter().map(|to| row(Party::Underlay, to.party, over_underlay(plan, to)));
    let mut bands = vec![Band { plane: None, rows: from_underlay.flatten().collect() }];
    for (id, plane) in plan.planes() {
        let mut rows = Vec::new();
        for to in &receivers {
            let senders = senders(plan, id, plane, to)?;
            rows.extend(
                senders.iter().filter_map(|from| row(from.party, to.party, over_plane(plan, id, from, to))),
            );
        }
        bands.push(Band { plane: Some((id, plane)), rows: merged(rows) });
    }
    Ok(bands)
}

fn row(from: Party, to: Party, services: Vec<Service>) -> Option<Row> {
    (!services.is_empty()).then_some(Row { from, to, both: false, services })
}

/// Merges two rows that differ in their direction only.
fn merged(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| (row.from, row.to));
    let mut merged: Vec<Row> = Vec::new();
    for row in rows {
        let opposite = |other: &&mut Row| {
            (other.from, other.to) == (row.to, row.from)
                && other.from != other.to
                && other.services == row.services
        };
        match merged.iter_mut().find(opposite) {
            Some(other) => other.both = true,
            None => merged.push(row),
        }
    }
    merged
}

/// One sender of each group that has addresses on the plane and can have a session with the receiver.
fn senders(
    plan: &ClusterPlan,
    id: &PlaneId,
    plane: &PlannedPlane,
    to: &Receiver<'_>,
) -> Result<Vec<Sender>, FirewallError> {
    let mut senders = Vec::new();
    let birth = plane.birth(to.node.id);
    senders.extend(birth.map(|address| Sender { party: Party::Births, address, rules: None }));
    if plane.purpose == PlanePurpose::Control && to.node.role == Role::ControlPlane {
        let operator = plan.operators().into_values().next();
        senders.extend(operator.map(|address| Sender { party: Party::Operators, address, rules: None }));
    }
    for (party, role) in [(Party::ControlPlanes, Role::ControlPlane), (Party::Workers, Role::Worker)] {
        let peers =
            plan.peers(to.node, id).filter_map(|peer| Some((peer.address, plan.node(peer.node.as_str())?)));
        let Some((address, node)) = peers.into_iter().find(|(_, node)| node.role == role) else { continue };
        senders.push(Sender { party, address, rules: plan.firewalls([node])?.pop() });
    }
    Ok(senders)
}

/// What the receiver accepts from the sender on its addresses of all planes, if the packets arrive by this plane.
fn over_plane(plan: &ClusterPlan, id: &PlaneId, from: &Sender, to: &Receiver<'_>) -> Vec<Service> {
    let mut services = Vec::new();
    for (other, plane) in plan.planes() {
        let Some(destination) = plane.member(to.node.id) else { continue };
        let leaves = |packet: &Packet| {
            let packet = Packet { input: None, output: Some(id.to_string()), ..packet.clone() };
            let decide = |rules: &Ruleset| rules.evaluate(Hook::Output, &packet).verdict == Verdict::Accept;
            from.rules.as_ref().is_none_or(decide)
        };
        let accepted = accepted(&to.rules, id.as_str(), from.address, destination, leaves);
        let suffix = if other == id { String::new() } else { format!(" to {other}") };
        services.extend(
            accepted
                .map(|rule| Service { label: format!("{}{suffix}", label(rule)), rule: rule.name.clone() }),
        );
    }
    services
}

/// What the receiver accepts from any machine on the underlay.
fn over_underlay(plan: &ClusterPlan, to: &Receiver<'_>) -> Vec<Service> {
    let outside = |address: &IpAddr| plan.planes().values().all(|plane| !plane.cidr.contains(*address));
    let v4 = [[192, 0, 2], [198, 51, 100], [203, 0, 113], [10, 0, 0]].map(|[a, b, c]| {
        let address = |last| IpAddr::V4(Ipv4Addr::new(a, b, c, last));
        (address(1), address(2))
    });
    let link_local = |last| IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last));
    let v4 = v4.into_iter().find(|(from, to)| outside(from) && outside(to));
    let mut services: Vec<Service> = Vec::new();
    for (source, destination) in v4.into_iter().chain([(link_local(1), link_local(2))]) {
        // No device has an empty name, so this one is not a plane's.
        for rule in accepted(&to.rules, "", source, destination, |_| true) {
            let service = Service { label: label(rule), rule: rule.name.clone() };
            if !services.contains(&service) {
                services.push(service);
            }
        }
    }
    services.sort_by_key(|service| to.rules.rules().position(|rule| rule.name == service.rule));
    services
}

/// The rules of the chain `input` that accept new connections from `source` to `destination` by the device.
fn accepted<'r>(
    rules: &'r Ruleset,
    device: &'r str,
    source: IpAddr,
    destination: IpAddr,
    leaves: impl Fn(&Packet) -> bool + 'r,
) -> impl Iterator<Item = &'r Rule> {
    rules.rules().filter(move |rule| {
        source.is_ipv4() == destination.is_ipv4()
            && transports(rule).into_iter().any(|transport| {
                let packet = Packet {
                    input: Some(device.to_owned()),
                    output: None,
                    source,
                    destination,
                    hop_limit: 255,
                    transport,
                    state: State::New,
                    over_limit: false,
                };
                let decision = rules.evaluate(Hook::Input, &packet);
                decision.verdict == Verdict::Accept
                    && decision.rule.is_some_and(|first| std::ptr::eq(first, *rule))
                    && leaves(&packet)
            })
    })
}

/// Transport headers that fit the rule: the first port of each range, and each type of ICMP messages.
fn transports(rule: &Rule) -> Vec<Transport> {
    let from = source_port(rule);
    let ports = |range: &PortRange| Transport::Ports {
        protocol: range.protocol,
        source: from,
        destination: range.first,
    };
    let headers = rule.matches.iter().find_map(|condition| match condition {
        Match::DestinationPort(ranges) => Some(ranges.iter().map(ports).collect()),
        Match::Icmp(types) => Some(types.iter().map(|icmp| Transport::Icmp(icmp.number)).collect()),
        _ => None,
    });
    headers.unwrap_or_else(|| vec![Transport::Other])
}

fn source_port(rule: &Rule) -> u16 {
    let port = rule.matches.iter().find_map(|condition| match condition {
        Match::SourcePort(ranges) => Some(ranges.first()?.first),
        _ => None,
    });
    port.unwrap_or(49152) // the first dynamic port (RFC 6335 §6)
}

/// The ports of a rule, and the purpose that its comment ends with.
fn label(rule: &Rule) -> String {
    let purpose = rule.comment.rsplit(": ").next().unwrap_or_default();
    let purpose = purpose.strip_suffix(" between members").unwrap_or(purpose); // the arrow says it
    let ports = rule.matches.iter().find_map(|condition| match condition {
        Match::DestinationPort(ranges) => Some(ranges),
        _ => None,
    });
    let Some(ports) = ports else { return purpose.to_owned() };
    let texts: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let texts = texts.join(", ");
    if ["tcp", "udp"].contains(&purpose) { texts } else { format!("{texts} ({purpose})") }
}
