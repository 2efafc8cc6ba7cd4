//! Frames of an IPv4 underlay: those of a capture, and those that servers, routers and outsiders of the tests send.
//!
//! Not here: the packets of the probe matrix (`packets.rs`).

use std::net::Ipv4Addr;
use std::path::Path;

/// A station's hardware address.
pub type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN: [u8; 2] = [0x81, 0x00];

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// ARP; whether it is a reply.
    Arp(bool),
    /// UDP over IPv4 or IPv6, with the source and the destination port.
    Udp(u16, u16),
    /// Another protocol over IPv4, with its number.
    Ipv4(u8),
    /// ICMPv6, with its type.
    Icmpv6(u8),
    /// Another protocol over IPv6, with its number.
    Ipv6(u8),
    /// Another type of frame.
    Other([u8; 2]),
}

/// The frames of a pcapng file, in order.
///
/// # Panics
/// If the file cannot be read or is not pcapng of the lab's switch.
pub fn captured(file: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut frames) = (0, Vec::new());
    while at < bytes.len() {
        let length = usize::try_from(number(at + 4)).unwrap();
        if number(at) == 6 {
            let size = usize::try_from(number(at + 20)).unwrap();
            frames.push(bytes[at + 28..at + 28 + size].to_vec());
        }
        at += length;
    }
    frames
}

/// The sender of a frame.
///
/// # Panics
/// If the frame is shorter than its header.
pub fn sender(frame: &[u8]) -> Mac {
    frame[6..12].try_into().unwrap()
}

/// The frame without its 802.1Q tag, and the number of the VLAN in the tag.
///
/// # Panics
/// If the frame is shorter than its headers.
pub fn without_tag(frame: &[u8]) -> (Vec<u8>, Option<u16>) {
    if frame[12..14] != VLAN {
        return (frame.to_vec(), None);
    }
    let vlan = u16::from_be_bytes(frame[14..16].try_into().unwrap()) & 0xfff;
    ([&frame[..12], &frame[16..]].concat(), Some(vlan))
}

/// What a frame without a tag carries.
///
/// # Panics
/// If the frame is shorter than its headers.
pub fn content(frame: &[u8]) -> Content {
    let kind: [u8; 2] = frame[12..14].try_into().unwrap();
    match kind {
        ARP => Content::Arp(frame[21] == 2),
        IPV4 => {
            let header = 14 + usize::from(frame[14] & 0xf) * 4;
            match frame[23] {
                17 => Content::Udp(number(frame, header), number(frame, header + 2)),
                protocol => Content::Ipv4(protocol),
            }
        }
        IPV6 => {
            // A hop-by-hop header, as MLD has one (RFC 3810 §5), starts with the next protocol and its length in units of 8 bytes.
            let (protocol, at) = match frame[20] {
                0 => (frame[54], 54 + 8 + usize::from(frame[55]) * 8),
                protocol => (protocol, 54),
            };
            match protocol {
                17 => Content::Udp(number(frame, at), number(frame, at + 2)),
                58 => Content::Icmpv6(frame[at]),
                protocol => Content::Ipv6(protocol),
            }
        }
        kind => Content::Other(kind),
    }
}

/// An ARP request.
pub fn arp_request(from: (Mac, Ipv4Addr), to: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, from.0, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(from.0);
    frame.extend(from.1.octets());
    frame.extend([0; 6]);
    frame.extend(to.octets());
    padded(frame)
}

/// An ARP reply.
pub fn arp_reply(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut frame = ethernet(to.0, from.0, ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(from.0);
    frame.extend(from.1.octets());
    frame.extend(to.0);
    frame.extend(to.1.octets());
    padded(frame)
}

/// The address that an ARP request asks for; `None` for every other frame.
///
/// # Panics
/// If the frame is shorter than its headers.
pub fn asked(frame: &[u8]) -> Option<Ipv4Addr> {
    let request = frame[12..14] == ARP && frame[21] == 1;
    request.then(|| <[u8; 4]>::try_from(&frame[38..42]).unwrap().into())
}

/// An ICMP echo request.
pub fn echo(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1];
    message.extend(b"abcdefgh");
    let sum = checksum(&message, 0);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, to, 1, &message)
}

/// A UDP datagram.
///
/// # Panics
/// If the payload is longer than a datagram.
pub fn udp(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), port: u16, payload: &[u8]) -> Vec<u8> {
    udp_from(40_000, from, to, port, payload)
}

/// A UDP datagram with a given source port.
///
/// # Panics
/// If the payload is longer than a datagram.
pub fn udp_from(
    source: u16,
    from: (Mac, Ipv4Addr),
    to: (Mac, Ipv4Addr),
    port: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut message = [source, port, length, 0].map(u16::to_be_bytes).concat();
    message.extend(payload);
    ipv4(from, to, 17, &message) // a checksum of 0 means that there is none
}

/// The first segment of a TCP connection.
pub fn syn(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), port: u16) -> Vec<u8> {
    let mut segment = [40_000_u16, port].map(u16::to_be_bytes).concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [from.1.octets().to_vec(), to.1.octets().to_vec(), vec![0, 6, 0, 20]].concat();
    let sum = checksum(&segment, partial(&pseudo));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, to, 6, &segment)
}

/// The message of a router that a datagram from `victim` to `to` is too large. It quotes the headers of the datagram.
pub fn too_large(
    from: (Mac, Ipv4Addr),
    victim: (Mac, Ipv4Addr),
    to: Ipv4Addr,
    port: u16,
    mtu: u16,
) -> Vec<u8> {
    let datagram = udp_from(port, victim, ([0; 6], to), port, &[4; 1464]);
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(&datagram[14..14 + 548]);
    let sum = checksum(&message, 0);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, victim, 1, &message)
}

fn number(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(frame[at..at + 2].try_into().unwrap())
}

fn ethernet(to: Mac, from: Mac, kind: [u8; 2]) -> Vec<u8> {
    [to.as_slice(), &from, &kind].concat()
}

fn ipv4(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    header.extend(from.1.octets());
    header.extend(to.1.octets());
    let sum = checksum(&header, 0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    padded([ethernet(to.0, from.0, IPV4), header, payload.to_vec()].concat())
}

/// The smallest frame has 60 bytes without its check sequence.
fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(60), 0);
    frame
}

fn partial(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + partial(bytes);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap()
}
