//! Exchanges packets that a test composed with other nodes, and reports which packets the firewall of this node accepted and what
//! came back over the planes.
//!
//! Raw sockets get a copy of each packet after the chain `input` (`raw_local_deliver` in the kernel), whether a service listens or
//! not, so they show the verdicts. Packet sockets on the devices of planes send below the chain `output` and see packets before
//! the chain `input`: this node acts as a compromised node without a firewall. For the same purpose, it can widen the addresses of its
//! peers. Services on wildcard addresses listen on the ports that the test names, so that a missing answer is the work of a firewall.
//!
//! The test sends commands as Ethernet frames with the type [`COMMANDS`]. It runs only if a test attached a disk with the serial number
//! [`PACKETS`], which has eight bytes of length, little-endian, then a JSON document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use kubedos_sys::netlink::route::{Link, Rtnetlink};
use kubedos_sys::netlink::wireguard::{PeerChange, Range, Wireguard};
use memchr::memmem;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ipv6V6Only, RcvBufForce};
use nix::sys::socket::{
    AddressFamily, Backlog, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, SockaddrLike,
    bind, listen, recvfrom, sendto, setsockopt, socket,
};
use serde_json::{Value, json};

use kubedos_guest::{block_device, say};

/// The serial number of the disk that a test attaches.
const PACKETS: &str = "kubedos-packets";
/// The type of the frames with commands (IEEE 802, local experiments).
const COMMANDS: u16 = 0x88b5;
/// The type of frames with IPv6.
const IPV6: u16 = 0x86dd;
/// The number that all packets of a test contain, before their own number.
const MAGIC: [u8; 4] = *b"kdos";
/// `PACKET_OUTGOING` of `linux/if_packet.h`.
const OUTGOING: u8 = 4;
/// Packets that are sent before the sockets are read again.
const BURST: usize = 8;
/// What is kept of a packet that came back.
const KEPT: usize = 160;

/// Whether a test attached the disk.
pub fn is_wanted() -> bool {
    block_device(PACKETS).is_ok()
}

/// Executes commands until the last one; the answers.
pub fn ask() -> Value {
    match exchange() {
        Ok(answers) => answers,
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn exchange() -> io::Result<Value> {
    let orders = orders()?;
    let mut station = Station::open(&orders)?;
    say("kubedos-probe: listens")?;
    loop {
        let command = station.read()?;
        match command {
            None => sleep(Duration::from_millis(2)),
            Some(b'o') => station.widen(true)?,
            Some(b'c') => station.widen(false)?,
            Some(b'q') => return Ok(station.answers()),
            Some(list) => {
                let list = usize::from(list.wrapping_sub(b'0'));
                let packets = orders.pointer(&format!("/send/{list}")).and_then(Value::as_array);
                station.send(packets.map_or(&[], Vec::as_slice))?;
            }
        }
        if let Some(command) = command {
            say(&format!("kubedos-probe: did {}", char::from(command)))?;
        }
    }
}

fn orders() -> io::Result<Value> {
    let mut disk = File::open(block_device(PACKETS)?)?;
    let mut length = [0; 8];
    disk.read_exact(&mut length)?;
    let mut text = vec![0; usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?];
    disk.read_exact(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

/// The key of a peer and its ranges.
type Narrow = ([u8; 32], Vec<Range>);

/// The open sockets and what they received.
struct Station {
    /// A packet socket for all devices.
    tap: OwnedFd,
    /// The devices of planes, by number.
    planes: BTreeMap<usize, String>,
    /// How the tap sends packets through a plane: for each plane, the addresses for IPv4 and IPv6.
    ways: BTreeMap<(String, bool), LinkAddr>,
    raw: Vec<OwnedFd>,
    udp: Vec<UdpSocket>,
    _tcp: Vec<TcpListener>,
    /// The ranges of each peer before they were widened, by device.
    narrow: BTreeMap<u32, Vec<Narrow>>,
    is_wide: bool,
    accepted: BTreeSet<u32>,
    came_back: BTreeSet<(String, Vec<u8>)>,
}

impl Station {
    fn open(orders: &Value) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK;
        let tap = with_room(socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?)?;
        let planes: Vec<Link> =
            Rtnetlink::open()?.links()?.into_iter().filter(|link| link.name.starts_with("wg")).collect();
        let ways = ways(&tap, &planes)?;
        let planes = planes.into_iter().map(|link| (number_of(&link), link.name)).collect();
        let mut raw = Vec::new();
        for (family, protocol) in [
            (AddressFamily::Inet, SockProtocol::Tcp),
            (AddressFamily::Inet, SockProtocol::Udp),
            (AddressFamily::Inet, SockProtocol::Icmp),
            (AddressFamily::Inet6, SockProtocol::Tcp),
            (AddressFamily::Inet6, SockProtocol::Udp),
            (AddressFamily::Inet6, SockProtocol::IcmpV6),
        ] {
            raw.push(with_room(socket(family, SockType::Raw, SockFlag::SOCK_NONBLOCK, protocol)?)?);
        }
        let ports = |protocol: &str| -> Vec<u16> {
            let listed = orders.pointer(&format!("/listen/{protocol}")).and_then(Value::as_array);
            let listed = listed.into_iter().flatten();
            listed.filter_map(|port| u16::try_from(port.as_u64()?).ok()).collect()
        };
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for port in ports("tcp") {
            tcp.push(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?);
            let six = six(SockType::Stream, port)?;
            listen(&six, Backlog::new(16)?)?;
            tcp.push(TcpListener::from(six));
        }
        for port in ports("udp") {
            udp.push(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?);
            udp.push(UdpSocket::from(six(SockType::Datagram, port)?));
        }
        for socket in &udp {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            tap,
            planes,
            ways,
            raw,
            udp,
            _tcp: tcp,
            narrow: BTreeMap::new(),
            is_wide: false,
            accepted: BTreeSet::new(),
            came_back: BTreeSet::new(),
        })
    }

    /// Reads every socket until it is empty; the last command.
    fn read(&mut self) -> io::Result<Option<u8>> {
        let mut buffer = [0; 2048];
        for socket in &self.raw {
            while let Some((length, _)) = next::<()>(socket, &mut buffer)? {
                self.accepted.extend(number(buffer.get(..length).unwrap_or_default()));
            }
        }
        let mut command = None;
        while let Some((length, from)) = next::<LinkAddr>(&self.tap, &mut buffer)? {
            let Some(from) = from else { continue };
            match self.planes.get(&from.ifindex()) {
                Some(name) if from.pkttype() != OUTGOING && self.came_back.len() < 20_000 => {
                    let packet = buffer.get(..length.min(KEPT)).unwrap_or_default();
                    self.came_back.insert((name.clone(), packet.to_vec()));
                }
                Some(_) => {}
                None if u16::from_be(from.protocol()) == COMMANDS => command = buffer.get(14).copied(),
                None => {}
            }
        }
        for socket in &self.udp {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                // An error is an answer that the firewall of this node refuses to send.
                drop(socket.send_to(buffer.get(..length).unwrap_or_default(), from));
            }
        }
        Ok(command)
    }

    /// Sends packets as they are, each through the device of a plane. Widens the peers again, because the agent narrows them once
    /// a minute.
    fn send(&mut self, packets: &[Value]) -> io::Result<()> {
        if self.is_wide {
            self.widen(true)?;
        }
        for burst in packets.chunks(BURST) {
            for packet in burst {
                let bytes = bytes_of(packet[1].as_str().unwrap_or_default())?;
                let is_six = bytes.first().is_some_and(|first| first >> 4 == 6);
                let way = (packet[0].as_str().unwrap_or_default().to_owned(), is_six);
                let way = self.ways.get(&way).ok_or_else(|| io::Error::other(format!("no way {way:?}")))?;
                match sendto(self.tap.as_raw_fd(), &bytes, way, MsgFlags::empty()) {
                    // No peer has the destination: this packet cannot leave.
                    Ok(_) | Err(Errno::ENOKEY | Errno::EDESTADDRREQ) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            self.read()?;
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Allows every address to the peers with an endpoint, which are nodes, or restores their ranges.
    fn widen(&mut self, wide: bool) -> io::Result<()> {
        self.is_wide = wide;
        let mut wireguard = Wireguard::open()?;
        let all: [Range; 2] =
            [(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)];
        for link in Rtnetlink::open()?.links()?.into_iter().filter(|link| link.name.starts_with("wg")) {
            let peers = wireguard.device(link.index)?.peers;
            let nodes = peers.into_iter().filter(|peer| peer.endpoint.is_some());
            let narrow = self
                .narrow
                .entry(link.index)
                .or_insert_with(|| nodes.map(|peer| (peer.key, peer.allowed)).collect());
            let changes: Vec<PeerChange<'_>> = narrow
                .iter()
                .map(|(key, ranges)| {
                    let allowed = Some(if wide { &all[..] } else { ranges.as_slice() });
                    PeerChange::Set { key, endpoint: None, keepalive: None, allowed }
                })
                .collect();
            wireguard.change_peers(link.index, &changes)?;
        }
        Ok(())
    }

    fn answers(&self) -> Value {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let came_back: Vec<Value> =
            self.came_back.iter().map(|(device, packet)| json!([device, hex(packet)])).collect();
        json!({ "accepted": self.accepted, "came back": came_back })
    }
}

/// The addresses for sending through planes. `LinkAddr` has no constructor, so they are read from packets that this node sends: the
/// tap sees them on the device before WireGuard looks for a peer.
fn ways(tap: &OwnedFd, planes: &[Link]) -> io::Result<BTreeMap<(String, bool), LinkAddr>> {
    const NOBODY: u16 = 9;
    let addresses = Rtnetlink::open()?.addresses()?;
    // A device of a plane has no address of IPv6, so the source is one of the underlay.
    let underlay = addresses.iter().find_map(|own| match own.address {
        IpAddr::V6(six) if !six.is_loopback() && !six.is_unicast_link_local() => Some(six),
        _ => None,
    });
    let underlay = underlay.ok_or_else(|| io::Error::other("the underlay has no address of IPv6"))?;
    let (four, six) = (UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, UdpSocket::bind((underlay, 0))?);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    for link in planes {
        let own = addresses.iter().find(|own| own.link == link.index).map(|own| own.address);
        let Some(IpAddr::V4(own)) = own else { continue };
        let [a, b, c, _] = own.octets();
        // No peer has these destinations, which is an error after the tap has seen the packets.
        drop(four.send_to(&[0], (Ipv4Addr::new(a, b, c, 100), NOBODY)));
        drop(six.send_to(&[0], SocketAddrV6::new(all_nodes, NOBODY, 0, link.index)));
    }
    let (mut buffer, mut found) = ([0; 2048], BTreeMap::new());
    while let Some((_, from)) = next::<LinkAddr>(tap, &mut buffer)? {
        let Some(from) = from else { continue };
        let link = planes.iter().find(|link| number_of(link) == from.ifindex());
        if let Some(link) = link {
            let is_six = u16::from_be(from.protocol()) == IPV6;
            found.insert((link.name.clone(), is_six), from);
        }
    }
    Ok(found)
}

fn with_room(socket: OwnedFd) -> io::Result<OwnedFd> {
    setsockopt(&socket, RcvBufForce, &(8 << 20))?;
    Ok(socket)
}

/// A socket for IPv6 only, so that the same port can be open on `0.0.0.0`.
fn six(kind: SockType, port: u16) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, Ipv6V6Only, &true)?;
    let SocketAddr::V6(address) = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)) else {
        return Err(io::Error::other("not an address of IPv6"));
    };
    bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
    Ok(socket)
}

/// The number of a device, as packet sockets have it.
fn number_of(link: &Link) -> usize {
    usize::try_from(link.index).unwrap_or(usize::MAX)
}

/// The next packet, if there is one, and its sender.
fn next<A: SockaddrLike>(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<A>)>> {
    match recvfrom::<A>(socket.as_raw_fd(), buffer) {
        Ok(received) => Ok(Some(received)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The number of a packet of the test.
fn number(packet: &[u8]) -> Option<u32> {
    let at = memmem::find(packet, &MAGIC)? + MAGIC.len();
    packet.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn bytes_of(hex: &str) -> io::Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    pairs.map(|pair| u8::from_str_radix(pair, 16).map_err(io::Error::other)).collect()
}
