//! The meaning of a table: its verdict on one packet.
//!
//! The packet carries what the kernel would look up: its state in connection tracking, and whether the limit of new
//! connections is used up. Packets are whole, because connection tracking reassembles fragments before the chains see
//! them (`nf_defrag_ipv4`); a fragment without its transport header is [`Transport::Other`].

use std::net::IpAddr;

use super::Ruleset;
use super::rule::{Family, Hook, IcmpType, Match, Rule, Set, State, Verdict};
use crate::value::{Cidr, PortRange, Protocol};

/// The parts of a packet that rules read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The device that it arrived on; `None` for packets from this node.
    pub input: Option<String>,
    /// The device that it leaves by; `None` for packets to this node.
    pub output: Option<String>,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// The hop limit, in IPv4 the time to live.
    pub hop_limit: u8,
    /// The transport header.
    pub transport: Transport,
    /// The state in connection tracking.
    pub state: State,
    /// Whether the packet finds every limit used up.
    pub over_limit: bool,
}

/// The transport header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP or UDP.
    Ports {
        /// TCP or UDP.
        protocol: Protocol,
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
    },
    /// The type of an ICMP message; in IPv6 of an ICMPv6 message.
    Icmp(u8),
    /// No header that rules read: another protocol, or a fragment.
    Other,
}

/// What a chain decides about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'r> {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that applies; `None` if the chain's policy decides.
    pub rule: Option<&'r Rule>,
}

impl Ruleset {
    /// The decision of the chain at `hook`; without a chain there, packets pass.
    pub fn evaluate(&self, hook: Hook, packet: &Packet) -> Decision<'_> {
        let Some(chain) = self.chains.iter().find(|chain| chain.hook == hook) else {
            return Decision { verdict: Verdict::Accept, rule: None };
        };
        let rule = chain.rules.iter().find(|rule| rule.applies(packet));
        Decision { verdict: rule.map_or(chain.policy, |rule| rule.verdict), rule }
    }
}

impl Rule {
    /// Whether all conditions hold and the limit is not used up.
    pub fn applies(&self, packet: &Packet) -> bool {
        self.matches.iter().all(|condition| condition.holds(packet))
            && !(self.limit.is_some() && packet.over_limit)
    }
}

impl Match {
    /// Whether the packet fulfils the condition. Like in the kernel, a header that the packet does not have fulfils
    /// neither a condition nor its negation.
    pub fn holds(&self, packet: &Packet) -> bool {
        let named = |device: &Option<String>, wanted: &str| device.as_deref() == Some(wanted);
        match self {
            Self::InputDevice(set) => set.meets(|device| named(&packet.input, device.name())),
            Self::OutputDevice(set) => set.meets(|device| named(&packet.output, device.name())),
            Self::Source(set) => set.has(packet.source),
            Self::Destination(set) => set.has(packet.destination),
            Self::Family(family) => *family == packet.family(),
            Self::SourcePort(ranges) => match packet.transport {
                Transport::Ports { protocol, source, .. } => within(ranges, protocol, source),
                _ => false,
            },
            Self::DestinationPort(ranges) => match packet.transport {
                Transport::Ports { protocol, destination, .. } => within(ranges, protocol, destination),
                _ => false,
            },
            Self::Icmp(types) => {
                let is = |icmp: &IcmpType, number| icmp.family == packet.family() && icmp.number == number;
                matches!(packet.transport, Transport::Icmp(number) if types.iter().any(|icmp| is(icmp, number)))
            }
            Self::HopLimit(hops) => packet.family() == Family::Ipv6 && packet.hop_limit == *hops,
            Self::State(states) => states.contains(&packet.state),
        }
    }
}

impl<T> Set<T> {
    fn meets(&self, is: impl Fn(&T) -> bool) -> bool {
        self.values.iter().any(is) != self.negated
    }
}

impl Set<Cidr> {
    fn has(&self, address: IpAddr) -> bool {
        let same_family = self.values.iter().any(|range| range.is_ipv4() == address.is_ipv4());
        same_family && self.meets(|range| range.contains(address))
    }
}

impl Packet {
    /// The address family.
    pub const fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

fn within(ranges: &[PortRange], protocol: Protocol, port: u16) -> bool {
    ranges.iter().any(|range| range.protocol == protocol && (range.first..=range.last).contains(&port))
}
