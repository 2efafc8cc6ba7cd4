//! Links, addresses and routes (rtnetlink(7)).

use std::io;
use std::net::IpAddr;

use super::attributes::{Attributes, Malformed, Writer};
use super::transport::Transport;
use super::{NLM_F_CREATE, NLM_F_EXCL, Request, Socket};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// A plane is no broadcast domain: duplicate address detection would only delay the address.
const IFA_F_NODAD: u32 = 0x02;
/// The caller adds the routes.
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// The main routing table.
pub const MAIN: u32 = 254;
/// The origin of the agent's routes: `RTPROT_STATIC`.
pub const PROTOCOL: u8 = 4;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind, for example `wireguard`; physical devices have none.
    pub kind: Option<String>,
    /// Its hardware address; empty if it has none.
    pub hardware: Vec<u8>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// An administrator enabled it.
    pub up: bool,
    /// It is connected.
    pub carrier: bool,
}

/// An address with the length of its prefix, on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The number of the device.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of the prefix in bits.
    pub prefix: u8,
}

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The number of the device; 0 if the route has several next hops or none.
    pub link: u32,
    /// The destination; `None` for the default route of the family.
    pub destination: Option<IpAddr>,
    /// The length of the destination's prefix in bits.
    pub prefix: u8,
    /// IPv4; otherwise IPv6.
    pub ipv4: bool,
    /// The source address of packets that do not have one yet.
    pub source: Option<IpAddr>,
    /// Packets go to a router instead of their destination.
    pub gateway: bool,
    /// The routing table.
    pub table: u32,
    /// The origin, `RTPROT_*`.
    pub protocol: u8,
    /// The type, `RTN_*`; 1 is unicast.
    pub kind: u8,
    /// The priority; the lowest one is used.
    pub metric: u32,
}

/// A connection to the kernel's network configuration. Changes need `CAP_NET_ADMIN`.
#[derive(Debug)]
pub struct Rtnetlink(Socket);

impl Rtnetlink {
    /// Opens the connection.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn open() -> io::Result<Self> {
        Socket::open(None).map(Self)
    }

    /// A connection over another transport.
    pub fn over(transport: Box<dyn Transport>) -> Self {
        Self(Socket::over(transport))
    }

    /// Lists all devices.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut request = Writer::after(&link_header(0, 0, 0));
        request.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        let request = Request { kind: RTM_GETLINK, flags: 0, payload: &request.0 };
        self.0.dump(request, Vec::new, |links, _, answer| {
            links.push(read_link(answer)?);
            Ok(())
        })
    }

    /// Lists the addresses of all devices.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let request = Request { kind: RTM_GETADDR, flags: 0, payload: &[0; 8] };
        self.0.dump(request, Vec::new, |addresses, _, answer| {
            addresses.extend(read_address(answer)?);
            Ok(())
        })
    }

    /// Lists the routes of all tables.
    ///
    /// # Errors
    /// The kernel's error, or an answer that is not understood.
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let request = Request { kind: RTM_GETROUTE, flags: 0, payload: &[0; 12] };
        self.0.dump(request, Vec::new, |routes, _, answer| {
            routes.extend(read_route(answer)?);
            Ok(())
        })
    }

    /// Creates a device of this kind, which stays disabled. The kernel loads the module of the kind.
    ///
    /// # Errors
    /// The kernel's error: the name is in use, or the kernel has no such kind.
    pub fn create_link(&mut self, name: &str, kind: &str, mtu: u32) -> io::Result<()> {
        let mut request = Writer::after(&link_header(0, 0, 0));
        request.text(IFLA_IFNAME, name).u32(IFLA_MTU, mtu).nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, kind);
        });
        self.change(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &request.0)
    }

    /// Deletes a device.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist, or cannot be deleted.
    pub fn delete_link(&mut self, link: u32) -> io::Result<()> {
        self.change(RTM_DELLINK, 0, &link_header(link, 0, 0))
    }

    /// Sets the MTU of a device.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist, or does not support the value.
    pub fn set_mtu(&mut self, link: u32, mtu: u32) -> io::Result<()> {
        let mut request = Writer::after(&link_header(link, 0, 0));
        request.u32(IFLA_MTU, mtu);
        self.change(RTM_NEWLINK, 0, &request.0)
    }

    /// Enables a device.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist, or its port is in use.
    pub fn enable(&mut self, link: u32) -> io::Result<()> {
        self.change(RTM_NEWLINK, 0, &link_header(link, IFF_UP, IFF_UP))
    }

    /// Adds an address.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist, or has the address.
    pub fn add_address(&mut self, address: &Address) -> io::Result<()> {
        self.change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &write_address(address))
    }

    /// Removes an address.
    ///
    /// # Errors
    /// The kernel's error: the device does not have the address.
    pub fn remove_address(&mut self, address: &Address) -> io::Result<()> {
        self.change(RTM_DELADDR, 0, &write_address(address))
    }

    /// Adds a route without a gateway.
    ///
    /// # Errors
    /// The kernel's error: the device is disabled, or the route exists.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        self.change(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &write_route(route))
    }

    /// Removes a route.
    ///
    /// # Errors
    /// The kernel's error: the route does not exist.
    pub fn remove_route(&mut self, route: &Route) -> io::Result<()> {
        self.change(RTM_DELROUTE, 0, &write_route(route))
    }

    fn change(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<()> {
        self.0.request(Request { kind, flags, payload })
    }
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, mask: u32) -> Vec<u8> {
    [0, index, flags, mask].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

const fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// `struct ifaddrmsg` and its attributes.
fn write_address(address: &Address) -> Vec<u8> {
    let mut header = vec![family(address.address), address.prefix, 0, RT_SCOPE_UNIVERSE];
    header.extend(address.link.to_ne_bytes());
    let mut request = Writer::after(&header);
    request.address(IFA_LOCAL, address.address).address(IFA_ADDRESS, address.address);
    request.u32(IFA_FLAGS, IFA_F_NODAD | IFA_F_NOPREFIXROUTE);
    request.0
}

/// `struct rtmsg` and its attributes.
fn write_route(route: &Route) -> Vec<u8> {
    let scope = if route.ipv4 && !route.gateway { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
    let family = if route.ipv4 { AF_INET } else { AF_INET6 };
    let table = u8::try_from(route.table).unwrap_or(0); // RTA_TABLE has the number if it does not fit
    let mut header = vec![family, route.prefix, 0, 0, table, route.protocol, scope, route.kind];
    header.extend([0; 4]);
    let mut request = Writer::after(&header);
    if let Some(destination) = route.destination {
        request.address(RTA_DST, destination);
    }
    if let Some(source) = route.source {
        request.address(RTA_PREFSRC, source);
    }
    if route.link != 0 {
        request.u32(RTA_OIF, route.link);
    }
    if route.metric != 0 {
        request.u32(RTA_PRIORITY, route.metric);
    }
    request.u32(RTA_TABLE, route.table);
    request.0
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).ok_or(Malformed("header"))
}

fn read_link(answer: &[u8]) -> Result<Link, Malformed> {
    let (header, attributes) = answer.split_at_checked(16).ok_or(Malformed("link"))?;
    let flags = word(header, 8)?;
    let mut link = Link {
        index: word(header, 4)?,
        name: String::new(),
        kind: None,
        hardware: Vec::new(),
        mtu: 0,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
    };
    for attribute in Attributes(attributes) {
        let attribute = attribute?;
        match attribute.number {
            IFLA_IFNAME => attribute.text()?.clone_into(&mut link.name),
            IFLA_MTU => link.mtu = attribute.u32()?,
            IFLA_ADDRESS => attribute.value.clone_into(&mut link.hardware),
            IFLA_LINKINFO => {
                for info in attribute.nested() {
                    let info = info?;
                    if info.number == IFLA_INFO_KIND {
                        link.kind = Some(info.text()?.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    if link.name.is_empty() { Err(Malformed("link")) } else { Ok(link) }
}

/// `None` for an address of another family than IPv4 and IPv6.
fn read_address(answer: &[u8]) -> Result<Option<Address>, Malformed> {
    let (header, attributes) = answer.split_at_checked(8).ok_or(Malformed("address"))?;
    let [family, prefix, ..] = header else { return Err(Malformed("address")) };
    if ![AF_INET, AF_INET6].contains(family) {
        return Ok(None);
    }
    let (mut local, mut address) = (None, None);
    for attribute in Attributes(attributes) {
        let attribute = attribute?;
        match attribute.number {
            IFA_LOCAL => local = Some(attribute.address()?),
            IFA_ADDRESS => address = Some(attribute.address()?),
            _ => {}
        }
    }
    // Of a point-to-point device, IFA_ADDRESS is the address of the other end.
    let address = local.or(address).ok_or(Malformed("address"))?;
    Ok(Some(Address { link: word(header, 4)?, address, prefix: *prefix }))
}

/// `None` for a route of another family than IPv4 and IPv6.
fn read_route(answer: &[u8]) -> Result<Option<Route>, Malformed> {
    let (header, attributes) = answer.split_at_checked(12).ok_or(Malformed("route"))?;
    let [family, prefix, _, _, table, protocol, _, kind, ..] = header else { return Err(Malformed("route")) };
    if ![AF_INET, AF_INET6].contains(family) {
        return Ok(None);
    }
    let mut route = Route {
        link: 0,
        destination: None,
        prefix: *prefix,
        ipv4: *family == AF_INET,
        source: None,
        gateway: false,
        table: u32::from(*table),
        protocol: *protocol,
        kind: *kind,
        metric: 0,
    };
    for attribute in Attributes(attributes) {
        let attribute = attribute?;
        match attribute.number {
            RTA_DST => route.destination = Some(attribute.address()?),
            RTA_OIF => route.link = attribute.u32()?,
            RTA_PREFSRC => route.source = Some(attribute.address()?),
            RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH => route.gateway = true,
            RTA_TABLE => route.table = attribute.u32()?,
            RTA_PRIORITY => route.metric = attribute.u32()?,
            _ => {}
        }
    }
    Ok(Some(route))
}

impl Route {
    /// A route of this crate's origin to a range that is reached directly through a device.
    pub const fn through(link: u32, destination: IpAddr, prefix: u8, source: IpAddr) -> Self {
        let ipv4 = destination.is_ipv4();
        Self {
            link,
            destination: Some(destination),
            prefix,
            ipv4,
            source: Some(source),
            gateway: false,
            table: MAIN,
            protocol: PROTOCOL,
            kind: RTN_UNICAST,
            metric: if ipv4 { 0 } else { 1024 }, // the kernel's default metric of IPv6 routes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for text in ["10.101.0.1", "fd00::1"] {
            let address = Address { link: 7, address: text.parse().unwrap(), prefix: 32 };
            assert_eq!(read_address(&write_address(&address)), Ok(Some(address)));
        }
    }

    #[test]
    fn a_route_is_read_as_it_was_written() {
        for (to, from) in [("10.101.0.0", "10.101.0.1"), ("fd00::", "fd00::1")] {
            let route = Route::through(7, to.parse().unwrap(), 24, from.parse().unwrap());
            assert_eq!(read_route(&write_route(&route)), Ok(Some(route)));
        }
    }

    /// The loopback device exists in every network namespace, and the kernel knows routes to its addresses.
    #[test]
    fn the_kernel_lists_its_devices_addresses_and_routes() {
        let mut kernel = Rtnetlink::open().unwrap();
        let links = kernel.links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").expect("lo");
        assert_eq!((loopback.index, loopback.mtu), (1, 65536));
        for address in kernel.addresses().unwrap() {
            assert!(links.iter().any(|link| link.index == address.link), "{address:?}");
        }
        for route in kernel.routes().unwrap() {
            assert!(route.destination.is_none_or(|to| to.is_ipv4() == route.ipv4), "{route:?}");
        }
    }

    #[test]
    fn a_missing_device_is_an_error() {
        let mut kernel = Rtnetlink::open().unwrap();
        let error = kernel.set_mtu(i32::MAX.unsigned_abs(), 1400).unwrap_err();
        assert!(
            [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound].contains(&error.kind())
                || error.raw_os_error() == Some(19),
            "{error:?}"
        );
    }
}
