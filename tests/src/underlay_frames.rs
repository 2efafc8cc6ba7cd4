//! Frames of an underlay: those of a capture, and those that servers, routers and outsiders of the tests send. Headers are composed by
//! `frames.rs` and `packets.rs`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use kubedos_wire::packets::checksum;

use crate::frames::{ARP, IPV4, IPV6, frame, kind};
pub use crate::frames::{Mac, arp_reply, arp_request, neighbour, sender};
use crate::packets::Sent;

const VLAN: u16 = 0x8100;

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
    Other(u16),
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

/// The frame without its 802.1Q tag, and the number of the VLAN in the tag.
///
/// # Panics
/// If the frame is shorter than its headers.
pub fn without_tag(frame: &[u8]) -> (Vec<u8>, Option<u16>) {
    if kind(frame) != VLAN {
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
    match kind(frame) {
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

/// The address that an ARP request asks for; `None` for every other frame.
///
/// # Panics
/// If the frame is shorter than its headers.
pub fn asked(frame: &[u8]) -> Option<Ipv4Addr> {
    let request = kind(frame) == ARP && frame[21] == 1;
    request.then(|| <[u8; 4]>::try_from(&frame[38..42]).unwrap().into())
}

/// The IPv6 address that a neighbour solicitation asks for; `None` for every other frame.
///
/// # Panics
/// If the frame is shorter than its headers.
pub fn solicited(frame: &[u8]) -> Option<Ipv6Addr> {
    let solicitation = kind(frame) == IPV6 && frame[20] == 58 && frame[54] == 135;
    solicitation.then(|| <[u8; 16]>::try_from(&frame[62..78]).unwrap().into())
}

/// An ICMP echo request.
pub fn echo(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1];
    message.extend(b"abcdefgh");
    let sum = checksum(&[&message]);
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
    let sum = checksum(&[&pseudo, &segment]);
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
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(from, victim, 1, &message)
}

/// The same over IPv6.
pub fn too_big(from: (Mac, Ipv6Addr), victim: (Mac, Ipv6Addr), to: Ipv6Addr, port: u16, mtu: u16) -> Vec<u8> {
    let datagram = [port, port, 1448, 0].map(u16::to_be_bytes).concat();
    let quoted = Sent::carrying(victim.1.into(), to.into(), 17, &[datagram, vec![4; 512]].concat());
    let message = |sum: u16| {
        let words = [[0, 0], mtu.to_be_bytes()].concat();
        [&[2, 0], &sum.to_be_bytes(), words.as_slice(), &quoted].concat()
    };
    let unsummed = message(0);
    let length = u16::try_from(unsummed.len()).unwrap().to_be_bytes();
    let pseudo = [&from.1.octets()[..], &victim.1.octets(), &[0, 0], &length, &[0, 0, 0, 58]].concat();
    let packet =
        Sent::carrying(from.1.into(), victim.1.into(), 58, &message(checksum(&[&pseudo, &unsummed])));
    frame(victim.0, from.0, IPV6, &packet)
}

fn number(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(frame[at..at + 2].try_into().unwrap())
}

fn ipv4(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr), protocol: u8, payload: &[u8]) -> Vec<u8> {
    frame(to.0, from.0, IPV4, &Sent::carrying(from.1.into(), to.1.into(), protocol, payload))
}
