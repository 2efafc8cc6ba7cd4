//! Rules as data: a closed set of matches, an optional limit, and a verdict.
//!
//! A rule applies to a packet if all of its matches hold. Every match has one rendering (`text.rs`) and one meaning
//! (`evaluate.rs`).

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::value::{Cidr, PlaneId, PortRange};

/// Where a chain is attached in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Packets to this node.
    Input,
    /// Packets from one device to another.
    Forward,
    /// Packets from this node.
    Output,
}

/// A base chain of type `filter` with the priority `filter` (0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The hook, which is also the chain's name.
    pub hook: Hook,
    /// The verdict on packets that no rule applies to.
    pub policy: Verdict,
    /// The rules; the first one that applies decides.
    pub rules: Vec<Rule>,
}

/// The verdict on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The packet passes.
    Accept,
    /// The packet is discarded without a reply.
    Drop,
}

/// One rule. It counts the packets that it applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The name of its counter, unique in the table and stable while the spec entry behind it has the same place.
    pub name: String,
    /// The entry of the spec or the sentence of the policy behind it, unique in the chain.
    pub comment: String,
    /// The conditions; all must hold.
    pub matches: Vec<Match>,
    /// How often the rule applies at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The verdict.
    pub verdict: Verdict,
}

impl Rule {
    pub(super) fn accept(name: impl Into<String>, comment: impl Into<String>, matches: Vec<Match>) -> Self {
        let (name, comment) = (name.into(), comment.into());
        Self { name, comment, matches, limit: None, verdict: Verdict::Accept }
    }

    pub(super) fn drop(name: impl Into<String>, comment: impl Into<String>, matches: Vec<Match>) -> Self {
        Self { verdict: Verdict::Drop, ..Self::accept(name, comment, matches) }
    }
}

/// A token bucket (`net/netfilter/nft_limit.c`), shared by all packets that reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// Packets per second.
    pub per_second: u32,
    /// The size of the bucket: packets that may pass at once.
    pub burst: u32,
}

/// A condition on a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Match {
    /// The device that the packet arrived on, by name.
    InputDevice(Set<Device>),
    /// The device that the packet leaves by, by name.
    OutputDevice(Set<Device>),
    /// The source address; packets of the other family never match.
    Source(Set<Cidr>),
    /// The destination address; packets of the other family never match.
    Destination(Set<Cidr>),
    /// The address family.
    Family(Family),
    /// The source port: one of these ranges, all of one protocol.
    SourcePort(Vec<PortRange>),
    /// The destination port: one of these ranges, all of one protocol.
    DestinationPort(Vec<PortRange>),
    /// The type of an ICMP or ICMPv6 message: one of these, all of one family.
    Icmp(Vec<IcmpType>),
    /// The hop limit of an IPv6 packet.
    HopLimit(u8),
    /// The state in connection tracking: one of these.
    State(Vec<State>),
}

/// One of several values, or none of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Set<T> {
    /// Whether the values are excluded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub negated: bool,
    /// The values; at least one. Addresses are of one family.
    pub values: Vec<T>,
}

impl<T> Set<T> {
    pub(super) fn of(values: impl IntoIterator<Item = T>) -> Self {
        Self { negated: false, values: values.into_iter().collect() }
    }

    pub(super) fn except(values: impl IntoIterator<Item = T>) -> Self {
        Self { negated: true, values: values.into_iter().collect() }
    }
}

/// A network device that rules name. All others belong to the underlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The loopback device.
    Loopback,
    /// The WireGuard device of a plane, which has the plane's name.
    Plane(PlaneId),
}

impl Device {
    /// The name of the device in the kernel.
    pub fn name(&self) -> &str {
        match self {
            Self::Loopback => "lo",
            Self::Plane(plane) => plane.as_str(),
        }
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of a range.
    pub const fn of(cidr: &Cidr) -> Self {
        if cidr.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The other family.
    pub const fn other(self) -> Self {
        match self {
            Self::Ipv4 => Self::Ipv6,
            Self::Ipv6 => Self::Ipv4,
        }
    }
}

/// A type of ICMP (RFC 792) or ICMPv6 (RFC 4443, RFC 4861) messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IcmpType {
    /// ICMP or ICMPv6.
    pub family: Family,
    /// The number in the header.
    pub number: u8,
    /// The name in nft(8).
    pub name: &'static str,
}

const fn v4(number: u8, name: &'static str) -> IcmpType {
    IcmpType { family: Family::Ipv4, number, name }
}

const fn v6(number: u8, name: &'static str) -> IcmpType {
    IcmpType { family: Family::Ipv6, number, name }
}

impl IcmpType {
    /// Solicitations and advertisements of neighbours. Not router discovery and redirects: the hardening baseline refuses
    /// both.
    pub const NEIGHBOURS: [Self; 2] = [v6(135, "nd-neighbor-solicit"), v6(136, "nd-neighbor-advert")];

    /// The errors that path MTU discovery and connection failures need (RFC 1122 §3.2.2, RFC 4890 §4.4.1). In IPv4,
    /// `destination-unreachable` includes "fragmentation needed".
    pub fn errors(family: Family) -> Vec<Self> {
        match family {
            Family::Ipv4 => {
                vec![v4(3, "destination-unreachable"), v4(11, "time-exceeded"), v4(12, "parameter-problem")]
            }
            Family::Ipv6 => vec![
                v6(1, "destination-unreachable"),
                v6(2, "packet-too-big"),
                v6(3, "time-exceeded"),
                v6(4, "parameter-problem"),
            ],
        }
    }

    /// Echo requests.
    pub const fn echo(family: Family) -> Self {
        match family {
            Family::Ipv4 => v4(8, "echo-request"),
            Family::Ipv6 => v6(128, "echo-request"),
        }
    }
}

/// The state of a packet in connection tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The connection has no reply yet.
    New,
    /// The connection has packets in both directions.
    Established,
    /// An ICMP error about a known connection.
    Related,
    /// The packet belongs to no connection and cannot start one.
    Invalid,
    /// The packet is not tracked, such as neighbour discovery.
    Untracked,
}
