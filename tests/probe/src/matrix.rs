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
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_sys::netlink::wireguard::{PeerChange, Range, Wireguard};
use memchr::memmem;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::{Ipv6V6Only, RcvBufForce};
use nix::sys::socket::{
    AddressFamily, Backlog, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, SockaddrLike,
    bind, listen, recvfrom, send, setsockopt, socket,
};
use serde_json::{Value, json};

use crate::{block_device, say};

/// The serial number of the disk that a test attaches.
const PACKETS: &str = "kubedos-packets";
/// The type of the frames with commands (IEEE 802, local experiments).
const COMMANDS: u16 = 0x88b5;
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
                station.send(orders["send"][list].as_array().map_or(&[], Vec::as_slice))?;
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

/// The open sockets and what they received.
struct Station {
    underlay: OwnedFd,
    planes: BTreeMap<String, OwnedFd>,
    raw: Vec<OwnedFd>,
    udp: Vec<UdpSocket>,
    _tcp: Vec<TcpListener>,
    /// The ranges of each peer before they were widened, by device.
    narrow: BTreeMap<u32, Vec<([u8; 32], Vec<Range>)>>,
    accepted: BTreeSet<u32>,
    came_back: BTreeSet<(String, Vec<u8>)>,
}

impl Station {
    fn open(orders: &Value) -> io::Result<Self> {
        let links: BTreeMap<String, LinkAddr> = getifaddrs()?
            .filter_map(|one| Some((one.interface_name, *one.address?.as_link_addr()?)))
            .filter(|(name, _)| name != "lo")
            .collect();
        let (mut underlay, mut planes) = (None, BTreeMap::new());
        for (name, link) in links {
            let tap = tap(&link)?;
            if name.starts_with("wg") {
                planes.insert(name, tap);
            } else {
                underlay = Some(tap);
            }
        }
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
            let listed = orders["listen"][protocol].as_array().into_iter().flatten();
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
            underlay: underlay.ok_or_else(|| io::Error::other("no device of the underlay"))?,
            planes,
            raw,
            udp,
            _tcp: tcp,
            narrow: BTreeMap::new(),
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
        for (name, socket) in &self.planes {
            while let Some((length, from)) = next::<LinkAddr>(socket, &mut buffer)? {
                let is_incoming = from.is_some_and(|from| from.pkttype() != OUTGOING);
                if is_incoming && self.came_back.len() < 20_000 {
                    let packet = buffer.get(..length.min(KEPT)).unwrap_or_default();
                    self.came_back.insert((name.clone(), packet.to_vec()));
                }
            }
        }
        for socket in &self.udp {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                // An error is an answer that the firewall of this node refuses to send.
                drop(socket.send_to(buffer.get(..length).unwrap_or_default(), from));
            }
        }
        let mut command = None;
        while let Some((length, from)) = next::<LinkAddr>(&self.underlay, &mut buffer)? {
            let is_command = from.is_some_and(|from| u16::from_be(from.protocol()) == COMMANDS);
            if is_command && length > 14 {
                command = buffer.get(14).copied();
            }
        }
        Ok(command)
    }

    /// Sends packets as they are, each through the device of a plane. Widens the peers again, because the agent narrows them once
    /// a minute.
    fn send(&mut self, packets: &[Value]) -> io::Result<()> {
        for burst in packets.chunks(BURST) {
            for packet in burst {
                let device = packet[0].as_str().and_then(|name| self.planes.get(name));
                let device = device.ok_or_else(|| io::Error::other(format!("no plane {}", packet[0])))?;
                let bytes = bytes_of(packet[1].as_str().unwrap_or_default())?;
                match send(device.as_raw_fd(), &bytes, MsgFlags::empty()) {
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

/// A packet socket on a device that has every packet, without link header for devices that have none. `LinkAddr` has no constructor,
/// so the address is the one that the kernel lists for the device.
fn tap(link: &LinkAddr) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK;
    let tap = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
    bind(tap.as_raw_fd(), link)?;
    with_room(tap)
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
