//! WireGuard devices (generic netlink, `include/uapi/linux/wireguard.h`).
//!
//! The kernel splits a list of peers over several messages, and the addresses of one peer too; [`Wireguard::device`] joins
//! them. [`Wireguard::change_peers`] splits a list of changes into requests that the kernel accepts. Changes of peers
//! are differences: peers that are not in the list keep their sessions.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use super::attributes::{Attribute, Attributes, Malformed, Writer};
use super::transport::{ToKernel, Transport};
use super::{HEADER, LONGEST_REQUEST, Request, Socket};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const WG_CMD_GET_DEVICE: u8 = 0;
const WG_CMD_SET_DEVICE: u8 = 1;
const WGDEVICE_A_IFINDEX: u16 = 1;
const WGDEVICE_A_PRIVATE_KEY: u16 = 3;
const WGDEVICE_A_PUBLIC_KEY: u16 = 4;
const WGDEVICE_A_LISTEN_PORT: u16 = 6;
const WGDEVICE_A_FWMARK: u16 = 7;
const WGDEVICE_A_PEERS: u16 = 8;
const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_PRESHARED_KEY: u16 = 2;
const WGPEER_A_FLAGS: u16 = 3;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
const WGPEER_A_RX_BYTES: u16 = 7;
const WGPEER_A_TX_BYTES: u16 = 8;
const WGPEER_A_ALLOWEDIPS: u16 = 9;
const WGPEER_F_REMOVE_ME: u32 = 1;
const WGPEER_F_REPLACE_ALLOWEDIPS: u32 = 2;
const WGPEER_F_UPDATE_ONLY: u32 = 4;
const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// The longest encoding of a peer without its addresses: header, key, flags, IPv6 endpoint, keepalive, list header.
const PEER: usize = 4 + 36 + 8 + 32 + 8 + 4;
/// The longest encoding of one address: header, family, IPv6 address, prefix.
const ALLOWED: usize = 4 + 8 + 20 + 8;
/// The space for peers in one request: after the header, the command, the device, and the list's header.
const SPACE: usize = LONGEST_REQUEST - HEADER - 4 - 8 - 4;

/// The public key of a peer.
pub type Key = [u8; 32];

/// A range of addresses: the first address and the length of the prefix in bits.
pub type Range = (IpAddr, u8);

/// The state of a device. It does not implement `Debug`, because it contains the private key.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Device {
    /// The private key; all zeroes if none is set.
    pub private_key: Zeroizing<[u8; 32]>,
    /// The public key that the kernel computed; `None` if no private key is set.
    pub public_key: Option<Key>,
    /// The UDP port.
    pub port: u16,
    /// The mark of outgoing packets; 0 for none.
    pub mark: u32,
    /// The peers, in the kernel's order.
    pub peers: Vec<Peer>,
}

/// The state of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its public key.
    pub key: Key,
    /// Whether it has a pre-shared key.
    pub preshared: bool,
    /// The address that packets to it are sent to: the configured one, or the one that its last valid packet came from.
    pub endpoint: Option<SocketAddr>,
    /// The interval of keepalive packets in seconds; 0 for none.
    pub keepalive: u16,
    /// The wall-clock time of the last handshake, since 1970; `None` before the first one.
    pub handshake: Option<Duration>,
    /// The number of received bytes.
    pub received: u64,
    /// The number of sent bytes.
    pub sent: u64,
    /// The ranges of its addresses.
    pub allowed: Vec<Range>,
}

/// One change of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerChange<'a> {
    /// Removes the peer and its sessions.
    Remove(&'a Key),
    /// Adds the peer, or changes an existing one; its sessions survive.
    Set {
        /// Its public key.
        key: &'a Key,
        /// Its endpoint; `None` keeps the current one.
        endpoint: Option<SocketAddr>,
        /// The interval of keepalive packets in seconds, 0 for none; `None` keeps the current one.
        keepalive: Option<u16>,
        /// Its ranges, which replace the current ones; `None` keeps them. A range belongs to one peer of a device: the
        /// kernel takes it away from the peer that has it.
        allowed: Option<&'a [Range]>,
    },
}

/// A connection to the kernel's WireGuard. All requests need `CAP_NET_ADMIN`.
#[derive(Debug)]
pub struct Wireguard {
    socket: Socket,
    family: u16,
}

impl Wireguard {
    /// Opens the connection.
    ///
    /// # Errors
    /// If the kernel has no WireGuard: the module is not loaded.
    pub fn open() -> io::Result<Self> {
        Self::over(Box::new(ToKernel::generic()?))
    }

    /// Opens the connection over another transport.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn over(transport: Box<dyn Transport>) -> io::Result<Self> {
        let mut socket = Socket::over(transport);
        let mut request = Writer::after(&[CTRL_CMD_GETFAMILY, 1, 0, 0]);
        request.text(CTRL_ATTR_FAMILY_NAME, "wireguard");
        let mut family = None;
        let request = Request { kind: GENL_ID_CTRL, flags: super::NLM_F_ACK, payload: &request.0 };
        let sequence = socket.post(request)?;
        socket.receive(sequence, super::NLMSG_ERROR, |message| {
            if message.kind != GENL_ID_CTRL {
                return Ok(());
            }
            for attribute in Attributes(message.payload.get(4..).unwrap_or_default()) {
                let attribute = attribute?;
                if attribute.number == CTRL_ATTR_FAMILY_ID {
                    family = Some(attribute.u16()?);
                }
            }
            Ok(())
        })?;
        let family = family.ok_or(Malformed("generic netlink family"))?;
        Ok(Self { socket, family })
    }

    /// The state of a device.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist, or is not a WireGuard device.
    pub fn device(&mut self, link: u32) -> io::Result<Device> {
        let request = command(WG_CMD_GET_DEVICE, link);
        let request = Request { kind: self.family, flags: 0, payload: &request.0 };
        let device = self.socket.dump(request, Device::empty, |device, _, answer| device.read(answer));
        self.socket.forget();
        let mut device = device?;
        device.each_peer_once();
        Ok(device)
    }

    /// Sets the private key.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist.
    pub fn set_private_key(&mut self, link: u32, key: &[u8; 32]) -> io::Result<()> {
        let mut request = command(WG_CMD_SET_DEVICE, link);
        request.bytes(WGDEVICE_A_PRIVATE_KEY, key);
        self.set(request)
    }

    /// Sets the UDP port.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist, or the port is in use.
    pub fn set_port(&mut self, link: u32, port: u16) -> io::Result<()> {
        let mut request = command(WG_CMD_SET_DEVICE, link);
        request.u16(WGDEVICE_A_LISTEN_PORT, port);
        self.set(request)
    }

    /// Sets the mark of outgoing packets.
    ///
    /// # Errors
    /// The kernel's error: the device does not exist.
    pub fn set_mark(&mut self, link: u32, mark: u32) -> io::Result<()> {
        let mut request = command(WG_CMD_SET_DEVICE, link);
        request.u32(WGDEVICE_A_FWMARK, mark);
        self.set(request)
    }

    /// Changes peers in the order of the list, in as few requests as possible.
    ///
    /// # Errors
    /// The kernel's error. The requests before the refused one are in effect.
    pub fn change_peers(&mut self, link: u32, changes: &[PeerChange<'_>]) -> io::Result<()> {
        for request in requests(link, changes) {
            self.set(request)?;
        }
        Ok(())
    }

    fn set(&mut self, mut request: Writer) -> io::Result<()> {
        let result = self.socket.request(Request { kind: self.family, flags: 0, payload: &request.0 });
        request.0.zeroize();
        result
    }
}

fn command(command: u8, link: u32) -> Writer {
    let mut request = Writer::after(&[command, 1, 0, 0]);
    request.u32(WGDEVICE_A_IFINDEX, link);
    request
}

/// The requests for a list of changes. The ranges of one peer may be continued in the next request, which then adds to
/// them instead of replacing them.
fn requests(link: u32, changes: &[PeerChange<'_>]) -> Vec<Writer> {
    let mut requests = Vec::new();
    let mut peers = Writer::default();
    let flush = |peers: &mut Writer, requests: &mut Vec<Writer>| {
        if !peers.0.is_empty() {
            let mut request = command(WG_CMD_SET_DEVICE, link);
            let list = std::mem::take(&mut peers.0);
            request.nest(WGDEVICE_A_PEERS, |request| request.0.extend(list));
            requests.push(request);
        }
    };
    for change in changes {
        match change {
            PeerChange::Remove(key) => {
                if peers.0.len() + PEER > SPACE {
                    flush(&mut peers, &mut requests);
                }
                peers.nest(0, |peer| {
                    peer.bytes(WGPEER_A_PUBLIC_KEY, *key);
                    peer.u32(WGPEER_A_FLAGS, WGPEER_F_REMOVE_ME);
                });
            }
            PeerChange::Set { key, endpoint, keepalive, allowed } => {
                let mut rest = allowed.unwrap_or_default();
                let mut first = true;
                while first || !rest.is_empty() {
                    if peers.0.len() + PEER + ALLOWED > SPACE {
                        flush(&mut peers, &mut requests);
                    }
                    let fitting = ((SPACE - peers.0.len() - PEER) / ALLOWED).min(rest.len());
                    let (now, later) = rest.split_at_checked(fitting).unwrap_or((rest, &[]));
                    peers.nest(0, |peer| {
                        peer.bytes(WGPEER_A_PUBLIC_KEY, *key);
                        let flags = match (first, allowed) {
                            (true, Some(_)) => WGPEER_F_REPLACE_ALLOWEDIPS,
                            (true, None) => 0,
                            (false, _) => WGPEER_F_UPDATE_ONLY,
                        };
                        peer.u32(WGPEER_A_FLAGS, flags);
                        if first {
                            if let Some(endpoint) = endpoint {
                                peer.bytes(WGPEER_A_ENDPOINT, &write_endpoint(endpoint));
                            }
                            if let Some(keepalive) = keepalive {
                                peer.u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, *keepalive);
                            }
                        }
                        write_ranges(peer, now);
                    });
                    (rest, first) = (later, false);
                }
            }
        }
    }
    flush(&mut peers, &mut requests);
    requests
}

fn write_ranges(peer: &mut Writer, ranges: &[Range]) {
    if ranges.is_empty() {
        return;
    }
    peer.nest(WGPEER_A_ALLOWEDIPS, |list| {
        for (address, prefix) in ranges {
            list.nest(0, |range| {
                range.u16(WGALLOWEDIP_A_FAMILY, if address.is_ipv4() { AF_INET } else { AF_INET6 });
                range.address(WGALLOWEDIP_A_IPADDR, *address).u8(WGALLOWEDIP_A_CIDR_MASK, *prefix);
            });
        }
    });
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn write_endpoint(endpoint: &SocketAddr) -> Vec<u8> {
    match endpoint {
        SocketAddr::V4(v4) => {
            let head = [AF_INET.to_ne_bytes(), v4.port().to_be_bytes()].concat();
            [head, v4.ip().octets().to_vec(), vec![0; 8]].concat()
        }
        SocketAddr::V6(v6) => {
            let head = [AF_INET6.to_ne_bytes(), v6.port().to_be_bytes()].concat();
            let (flow, scope) = (v6.flowinfo().to_ne_bytes(), v6.scope_id().to_ne_bytes());
            [head, flow.to_vec(), v6.ip().octets().to_vec(), scope.to_vec()].concat()
        }
    }
}

fn read_endpoint(attribute: &Attribute<'_>) -> Result<SocketAddr, Malformed> {
    let malformed = Malformed("endpoint");
    let (family, rest) = attribute.value.split_first_chunk().ok_or(malformed)?;
    let (port, rest) = rest.split_first_chunk().ok_or(malformed)?;
    let port = u16::from_be_bytes(*port);
    match (u16::from_ne_bytes(*family), rest.len()) {
        (AF_INET, 12) => {
            let address: &[u8; 4] = rest.first_chunk().ok_or(malformed)?;
            Ok(SocketAddrV4::new(Ipv4Addr::from(*address), port).into())
        }
        (AF_INET6, 24) => {
            let (flow, rest) = rest.split_first_chunk().ok_or(malformed)?;
            let (address, scope) = rest.split_first_chunk::<16>().ok_or(malformed)?;
            let scope = scope.first_chunk().ok_or(malformed)?;
            let (flow, scope) = (u32::from_ne_bytes(*flow), u32::from_ne_bytes(*scope));
            Ok(SocketAddrV6::new(Ipv6Addr::from(*address), port, flow, scope).into())
        }
        _ => Err(malformed),
    }
}

impl Device {
    fn empty() -> Self {
        Self { private_key: Zeroizing::new([0; 32]), public_key: None, port: 0, mark: 0, peers: Vec::new() }
    }

    /// Adds one message of a dump.
    fn read(&mut self, answer: &[u8]) -> Result<(), Malformed> {
        let (_, attributes) = answer.split_at_checked(4).ok_or(Malformed("WireGuard device"))?;
        for attribute in Attributes(attributes) {
            let attribute = attribute?;
            match attribute.number {
                WGDEVICE_A_PRIVATE_KEY => self.private_key = Zeroizing::new(attribute.key()?),
                WGDEVICE_A_PUBLIC_KEY => self.public_key = Some(attribute.key()?),
                WGDEVICE_A_LISTEN_PORT => self.port = attribute.u16()?,
                WGDEVICE_A_FWMARK => self.mark = attribute.u32()?,
                WGDEVICE_A_PEERS => {
                    for peer in attribute.nested() {
                        self.read_peer(peer?.nested())?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps the last entry of each peer: a peer that is removed and added again during a dump may be listed twice.
    fn each_peer_once(&mut self) {
        let mut seen = BTreeSet::new();
        let last: Vec<bool> = self.peers.iter().rev().map(|peer| seen.insert(peer.key)).collect();
        if seen.len() < self.peers.len() {
            let mut last = last.into_iter().rev();
            self.peers.retain(|_| last.next().unwrap_or(true));
        }
    }

    /// Adds one peer. A peer whose addresses did not fit into the message before comes again, with the rest of them.
    fn read_peer(&mut self, attributes: Attributes<'_>) -> Result<(), Malformed> {
        let mut key = None;
        let (mut peer, mut continued) = (Peer::default(), true);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.number {
                WGPEER_A_PUBLIC_KEY => key = Some(attribute.key()?),
                WGPEER_A_ALLOWEDIPS => {
                    for range in attribute.nested() {
                        peer.allowed.push(read_range(range?.nested())?);
                    }
                    continue;
                }
                WGPEER_A_PRESHARED_KEY => peer.preshared = attribute.key()? != [0; 32],
                WGPEER_A_ENDPOINT => peer.endpoint = Some(read_endpoint(&attribute)?),
                WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL => peer.keepalive = attribute.u16()?,
                WGPEER_A_LAST_HANDSHAKE_TIME => peer.handshake = read_time(&attribute)?,
                WGPEER_A_RX_BYTES => peer.received = attribute.u64()?,
                WGPEER_A_TX_BYTES => peer.sent = attribute.u64()?,
                _ => {}
            }
            continued &= attribute.number == WGPEER_A_PUBLIC_KEY;
        }
        peer.key = key.ok_or(Malformed("WireGuard peer"))?;
        match self.peers.last_mut().filter(|last| continued && last.key == peer.key) {
            Some(last) => last.allowed.extend(peer.allowed),
            None => self.peers.push(peer),
        }
        Ok(())
    }
}

/// `struct __kernel_timespec`; zero before the first handshake.
fn read_time(attribute: &Attribute<'_>) -> Result<Option<Duration>, Malformed> {
    let malformed = Malformed("time of a handshake");
    let (seconds, nanoseconds) = attribute.value.split_first_chunk().ok_or(malformed)?;
    let nanoseconds: [u8; 8] = nanoseconds.try_into().map_err(|_| malformed)?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).map_err(|_| malformed)?;
    let nanoseconds = u32::try_from(i64::from_ne_bytes(nanoseconds)).map_err(|_| malformed)?;
    if nanoseconds >= 1_000_000_000 {
        return Err(malformed);
    }
    Ok((seconds != 0 || nanoseconds != 0).then(|| Duration::new(seconds, nanoseconds)))
}

fn read_range(attributes: Attributes<'_>) -> Result<Range, Malformed> {
    let (mut address, mut prefix) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.number {
            WGALLOWEDIP_A_IPADDR => address = Some(attribute.address()?),
            WGALLOWEDIP_A_CIDR_MASK => prefix = Some(attribute.u8()?),
            _ => {}
        }
    }
    address.zip(prefix).ok_or(Malformed("range of addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel has after these requests, by the rules of `drivers/net/wireguard/netlink.c`.
    fn apply(requests: &[Writer]) -> Vec<Peer> {
        let mut peers: Vec<Peer> = Vec::new();
        for request in requests {
            assert!(request.0.len() + HEADER <= LONGEST_REQUEST, "{}", request.0.len());
            for attribute in Attributes(&request.0[4..]).map(Result::unwrap) {
                if attribute.number != WGDEVICE_A_PEERS {
                    continue;
                }
                for encoded in attribute.nested().map(Result::unwrap) {
                    let mut flags = 0;
                    for field in encoded.nested().map(Result::unwrap) {
                        if field.number == WGPEER_A_FLAGS {
                            flags = field.u32().unwrap();
                        }
                    }
                    let mut device = Device::empty();
                    device.read_peer(encoded.nested()).unwrap();
                    let peer = device.peers.remove(0);
                    let known = peers.iter_mut().find(|known| known.key == peer.key);
                    if flags & WGPEER_F_REMOVE_ME != 0 {
                        peers.retain(|known| known.key != peer.key);
                        continue;
                    }
                    let known = match known {
                        Some(known) => known,
                        None => {
                            assert_eq!(
                                flags & WGPEER_F_UPDATE_ONLY,
                                0,
                                "a continuation of a peer that exists"
                            );
                            peers.push(Peer { key: peer.key, ..Peer::default() });
                            peers.last_mut().unwrap()
                        }
                    };
                    if flags & WGPEER_F_REPLACE_ALLOWEDIPS != 0 {
                        known.allowed.clear();
                    }
                    known.allowed.extend(peer.allowed);
                    known.endpoint = peer.endpoint.or(known.endpoint);
                    known.keepalive = peer.keepalive.max(known.keepalive);
                }
            }
        }
        peers
    }

    fn key(number: usize) -> Key {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    /// 1,000 peers, and one of them with more ranges than one request can contain.
    #[test]
    fn a_long_list_is_split_and_loses_nothing() {
        let keys: Vec<Key> = (0..1000).map(key).collect();
        let ranges = |number: usize| -> Vec<Range> {
            let count = if number == 500 { 3000 } else { number % 3 };
            (0..count)
                .map(|at| {
                    let bits = u32::try_from(number * 10_000 + at).unwrap();
                    if at % 2 == 0 {
                        (Ipv4Addr::from(bits).into(), 32)
                    } else {
                        (Ipv6Addr::from(u128::from(bits)).into(), 128)
                    }
                })
                .collect()
        };
        let all: Vec<Vec<Range>> = (0..1000).map(ranges).collect();
        let endpoint = |number: usize| -> SocketAddr {
            if number.is_multiple_of(2) { "192.0.2.1:51820" } else { "[2001:db8::1]:51820" }.parse().unwrap()
        };
        let mut changes: Vec<PeerChange<'_>> = keys
            .iter()
            .zip(&all)
            .enumerate()
            .map(|(number, (key, allowed))| PeerChange::Set {
                key,
                endpoint: Some(endpoint(number)),
                keepalive: Some(25),
                allowed: Some(allowed),
            })
            .collect();
        changes.push(PeerChange::Remove(&keys[3]));
        let peers = apply(&requests(9, &changes));
        assert_eq!(peers.len(), 999);
        for peer in peers {
            let number = keys.iter().position(|key| *key == peer.key).unwrap();
            assert_eq!((peer.endpoint, peer.keepalive), (Some(endpoint(number)), 25));
            assert_eq!(peer.allowed, all[number], "{number}");
        }
    }

    #[test]
    fn no_change_gives_no_request() {
        assert!(requests(1, &[]).is_empty());
    }

    fn answer(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::after(&[0, 1, 0, 0]);
        fill(&mut writer);
        writer.0
    }

    /// The kernel continues a peer in the next message with its key and addresses only.
    #[test]
    fn a_split_dump_is_joined() {
        let range = |last: u8| [(IpAddr::from([10, 0, 0, last]), 32)];
        let first = answer(|writer| {
            writer.u16(WGDEVICE_A_LISTEN_PORT, 51820).nest(WGDEVICE_A_PEERS, |peers| {
                for number in [1, 2] {
                    peers.nest(0, |peer| {
                        peer.bytes(WGPEER_A_PUBLIC_KEY, &key(number))
                            .u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 25);
                        write_ranges(peer, &range(u8::try_from(number).unwrap()));
                    });
                }
            });
        });
        let second = answer(|writer| {
            writer.nest(WGDEVICE_A_PEERS, |peers| {
                peers.nest(0, |peer| {
                    peer.bytes(WGPEER_A_PUBLIC_KEY, &key(2));
                    write_ranges(peer, &range(9));
                });
                peers.nest(0, |peer| {
                    peer.bytes(WGPEER_A_PUBLIC_KEY, &key(3)).u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 0);
                });
            });
        });
        let mut device = Device::empty();
        device.read(&first).unwrap();
        device.read(&second).unwrap();
        let allowed: Vec<_> = device.peers.iter().map(|peer| peer.allowed.clone()).collect();
        assert_eq!(allowed, [range(1).to_vec(), [range(2), range(9)].concat(), vec![]]);
        assert_eq!((device.port, device.peers[1].keepalive), (51820, 25));
    }

    /// No cut of an answer looks like a shorter list of peers.
    #[test]
    fn a_cut_answer_is_an_error() {
        let whole = answer(|writer| {
            writer.nest(WGDEVICE_A_PEERS, |peers| {
                peers.nest(0, |peer| {
                    peer.bytes(WGPEER_A_PUBLIC_KEY, &key(1));
                    write_ranges(peer, &[([10, 0, 0, 1].into(), 32)]);
                });
            });
        });
        for length in 5..whole.len() {
            assert!(Device::empty().read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn endpoints_are_read_as_they_were_written() {
        for text in ["192.0.2.1:51820", "[2001:db8::1%3]:1", "[::]:0"] {
            let endpoint: SocketAddr = text.parse().unwrap();
            let value = write_endpoint(&endpoint);
            assert_eq!(read_endpoint(&Attribute { number: 4, value: &value }), Ok(endpoint));
            assert!(read_endpoint(&Attribute { number: 4, value: &value[1..] }).is_err());
        }
    }

    #[test]
    fn a_time_that_does_not_exist_is_an_error() {
        let time = |seconds: i64, nanoseconds: i64| {
            let value = [seconds.to_ne_bytes(), nanoseconds.to_ne_bytes()].concat();
            read_time(&Attribute { number: 6, value: &value })
        };
        assert_eq!(time(0, 0), Ok(None));
        assert_eq!(time(5, 7), Ok(Some(Duration::new(5, 7))));
        for (seconds, nanoseconds) in [(-1, 0), (0, -1), (1, 1_000_000_000), (i64::MIN, i64::MIN)] {
            assert!(time(seconds, nanoseconds).is_err());
        }
    }
}
