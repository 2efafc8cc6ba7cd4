//! Addresses, address ranges, ports, and the numbers from which they are computed.
//!
//! The types support IPv4 and IPv6; planes support only IPv4 in this version (rule `plane-ipv4`).

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::checked;

/// A range of addresses by its network address and prefix length (RFC 4632): no host bit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

fn split_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, digits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let plain = !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    let prefix: u8 = digits.parse().ok().filter(|p: &u8| plain && p.to_string() == digits)?;
    (prefix <= width(address)).then_some((address, prefix))
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(like: IpAddr, number: u128) -> Option<IpAddr> {
    Some(match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).ok()?)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    })
}

impl Cidr {
    /// The default addresses of pods.
    pub const PODS: Self = Self { network: IpAddr::V4(Ipv4Addr::new(10, 244, 0, 0)), prefix: 16 };

    /// The default addresses of services.
    pub const SERVICES: Self = Self { network: IpAddr::V4(Ipv4Addr::new(10, 245, 0, 0)), prefix: 16 };

    /// The link-local addresses of IPv6 (RFC 4291 §2.5.6).
    pub const LINK_LOCAL: Self =
        Self { network: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), prefix: 10 };

    /// The range of `prefix` bits around an address; `None` for a prefix longer than the address.
    pub fn around(address_in: IpAddr, prefix: u8) -> Option<Self> {
        let host_bits = u32::from(width(address_in).checked_sub(prefix)?);
        let number = number(address_in);
        let kept = number.checked_shr(host_bits).unwrap_or(0).checked_shl(host_bits).unwrap_or(0);
        Some(Self { network: address(address_in, kept)?, prefix })
    }

    fn read(text: &str) -> Option<Self> {
        let (address, prefix) = split_prefix(text)?;
        Self::around(address, prefix).filter(|cidr| cidr.network == address)
    }

    /// The first address.
    pub const fn network(&self) -> IpAddr {
        self.network
    }

    /// The length of the prefix in bits.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether these are IPv4 addresses.
    pub const fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }

    const fn host_bits(&self) -> u32 {
        (width(self.network) - self.prefix) as u32
    }

    /// The number of addresses; at most 2^127.
    pub fn size(&self) -> u128 {
        1_u128 << self.host_bits().min(127)
    }

    /// The address at `offset` from the first one; `None` outside the range.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        (offset < self.size()).then(|| address(self.network, number(self.network) + offset)).flatten()
    }

    /// The last address.
    pub fn last(&self) -> IpAddr {
        self.nth(self.size() - 1).unwrap_or(self.network)
    }

    /// Whether the address is in the range.
    pub fn contains(&self, other: IpAddr) -> bool {
        Self::around(other, self.prefix) == Some(*self)
    }

    /// Whether all of `other` is in the range.
    pub fn covers(&self, other: &Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.network)
    }

    /// Whether the two ranges share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The range number `index` of `prefix` bits inside this one; `None` outside of it.
    pub fn subnet(&self, prefix: u8, index: u128) -> Option<Self> {
        let step = u32::from(width(self.network).checked_sub(prefix)?);
        prefix.checked_sub(self.prefix)?;
        let offset = index.checked_shl(step).filter(|o| o.checked_shr(step) == Some(index))?;
        Some(Self { network: self.nth(offset)?, prefix })
    }

    /// The lower and the upper half; `None` for a single address.
    pub fn halves(&self) -> Option<(Self, Self)> {
        let prefix = self.prefix.checked_add(1)?;
        Some((self.subnet(prefix, 0)?, self.subnet(prefix, 1)?))
    }
}

impl Display for Cidr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.network, self.prefix))
    }
}

checked!(
    Cidr,
    "cidr",
    "a network address and a prefix length with no host bit set",
    "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
    "10.101.0.0/24"
);

/// The address of an interface with the prefix length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostAddress {
    /// The address.
    address: IpAddr,
    prefix: u8,
}

impl HostAddress {
    fn read(text: &str) -> Option<Self> {
        let (address, prefix) = split_prefix(text)?;
        let cidr = Cidr::around(address, prefix)?;
        let edges =
            cidr.size() > 2 && cidr.is_ipv4() && (address == cidr.network() || address == cidr.last());
        let usable = prefix > 0
            && !edges
            && !address.is_unspecified()
            && !address.is_multicast()
            && !address.is_loopback();
        usable.then_some(Self { address, prefix })
    }

    /// The address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The network that the address is in.
    pub fn network(&self) -> Cidr {
        Cidr::around(self.address, self.prefix).unwrap_or(Cidr { network: self.address, prefix: self.prefix })
    }
}

impl Display for HostAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.prefix))
    }
}

checked!(
    HostAddress,
    "host-address",
    "a host's address with the prefix length of its network; not the network's own address or its broadcast address",
    "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
    "192.0.2.11/24"
);

/// The address at which peers on the underlay reach a node, without a port (each plane has its own port).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(IpAddr);

impl Endpoint {
    fn read(text: &str) -> Option<Self> {
        text.parse().ok().and_then(Self::new)
    }

    /// The endpoint of an address; `None` for an address that no host can have.
    pub fn new(address: IpAddr) -> Option<Self> {
        let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
        usable.then_some(Self(address))
    }

    /// The address.
    pub const fn address(&self) -> IpAddr {
        self.0
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

checked!(
    Endpoint,
    "endpoint",
    "the IP address of another host, without a port; host names are not resolved",
    "^[0-9a-fA-F.:]+$",
    "192.0.2.11"
);

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    fn read(text: &str) -> Option<Self> {
        let (mut bytes, mut count) = ([0_u8; 6], 0);
        for part in text.split(':') {
            let hex = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            *bytes.get_mut(count)? = u8::from_str_radix(part, 16).ok().filter(|_| hex)?;
            count += 1;
        }
        Self::from_bytes(bytes).filter(|_| count == 6)
    }

    /// The address with these bytes; `None` if it is not that of one machine.
    pub const fn from_bytes(bytes: [u8; 6]) -> Option<Self> {
        match bytes {
            [0, 0, 0, 0, 0, 0] => None,
            [first, ..] if first & 1 == 1 => None,
            _ => Some(Self(bytes)),
        }
    }

    /// The bytes, in the order of transmission.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl Display for MacAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

checked!(
    MacAddress,
    "mac-address",
    "a unicast Ethernet address: six pairs of hexadecimal digits with : between them",
    "^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$",
    "52:54:00:12:34:56"
);

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// One port or a range of ports with its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The first port, from 1.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl PortRange {
    fn read(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/')?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port =
            |digits: &str| digits.parse::<u16>().ok().filter(|port| *port > 0 && port.to_string() == digits);
        let (first, last) = (port(first)?, port(last)?);
        (first <= last).then_some(Self { first, last, protocol })
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        if self.first == self.last {
            write!(f, "{}/{protocol}", self.first)
        } else {
            write!(f, "{}-{}/{protocol}", self.first, self.last)
        }
    }
}

checked!(
    PortRange,
    "port-range",
    "PORT/tcp, PORT/udp or FIRST-LAST/tcp, with ports from 1 to 65535",
    "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?/(tcp|udp)$",
    "2379-2380/tcp"
);

/// A node's number: its addresses, its pod range and its VMID are a base plus this number. From 1; never reused (ADR 0005).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct NodeId(u32);

impl NodeId {
    /// The largest id: WireGuard has a limit of 2^20 peers (`MAX_PEERS_PER_DEVICE` in the kernel's
    /// `drivers/net/wireguard/messages.h`), and a plane needs one address per id in each of its two ranges.
    pub const MAX: u32 = 1 << 20;

    /// The id with the number [`Self::MAX`].
    pub const LAST: Self = Self(Self::MAX);

    /// The id of a number; `None` for 0 and above [`Self::MAX`].
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number > Self::MAX { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for NodeId {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        Self::new(number).ok_or_else(|| format!("a node id is between 1 and {}, not {number}", Self::MAX))
    }
}

impl From<NodeId> for u32 {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

impl Display for NodeId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for NodeId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NodeId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": NodeId::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_and_nonstandard_spellings_are_refused() {
        for bad in [
            "10.0.0.1/24",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/024",
            "10.0.0/24",
            "::1/64",
            "a/8",
            "10.0.0.0/+8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        for good in ["10.0.0.0/24", "0.0.0.0/0", "fd00::/64", "::/0", "10.1.2.3/32"] {
            assert_eq!(cidr(good).to_string(), good);
        }
    }

    #[test]
    fn ranges_are_divided_and_compared_by_their_bits() {
        let plane = cidr("10.101.0.0/24");
        assert_eq!(plane.halves(), Some((cidr("10.101.0.0/25"), cidr("10.101.0.128/25"))));
        assert_eq!(plane.nth(255), Some("10.101.0.255".parse().unwrap()));
        assert_eq!(plane.nth(256), None);
        assert_eq!(cidr("10.244.0.0/16").subnet(24, 7), Some(cidr("10.244.7.0/24")));
        assert_eq!(cidr("10.244.0.0/16").subnet(24, 256), None);
        assert_eq!(cidr("10.244.0.0/16").subnet(12, 0), None);
        assert!(cidr("10.96.0.0/12").overlaps(&plane));
        assert!(!cidr("10.101.1.0/24").overlaps(&plane));
        assert!(!cidr("::/0").overlaps(&cidr("0.0.0.0/0")));
        assert_eq!(cidr("10.0.0.1/32").halves(), None);
        assert_eq!(cidr("fd00::/64").size(), 1 << 64);
    }

    #[test]
    fn addresses_that_no_host_can_have_are_refused() {
        for bad in ["192.0.2.0/24", "192.0.2.255/24", "127.0.0.1/8", "224.0.0.1/4", "0.0.0.0/0", "192.0.2.1"]
        {
            assert!(bad.parse::<HostAddress>().is_err(), "{bad}");
        }
        assert_eq!("192.0.2.11/24".parse::<HostAddress>().unwrap().network(), cidr("192.0.2.0/24"));
        assert!("node.example".parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_port_has_exactly_one_spelling() {
        for good in ["6443/tcp", "2379-2380/tcp", "51820/udp", "1-65535/udp"] {
            assert_eq!(good.parse::<PortRange>().unwrap().to_string(), good);
        }
        for bad in ["0/tcp", "65536/tcp", "10-9/tcp", "80", "80/sctp", "080/tcp", "80-/tcp", "http/tcp"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }
}
