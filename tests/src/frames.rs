//! Ethernet frames that a station of a test sends: IP packets, ARP and neighbour discovery.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::packets::{Content, Sent, Shape};

/// A station's hardware address.
pub type Mac = [u8; 6];

/// The address of all stations.
pub const BROADCAST: Mac = [0xff; 6];
/// The type of frames with ARP.
pub const ARP: u16 = 0x0806;
/// The type of frames with IPv4.
pub const IPV4: u16 = 0x0800;
/// The type of frames with IPv6.
pub const IPV6: u16 = 0x86dd;

/// The sender of a frame.
///
/// # Panics
/// If the frame is shorter than its header.
pub fn sender(frame: &[u8]) -> Mac {
    frame[6..12].try_into().unwrap()
}

/// The type of a frame without tag.
///
/// # Panics
/// If the frame is shorter than its header.
pub fn kind(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[12], frame[13]])
}

/// A frame, at least as long as Ethernet requires (60 bytes without its check sequence).
pub fn frame(to: Mac, from: Mac, kind: u16, content: &[u8]) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &kind.to_be_bytes(), content].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An ARP request, or a reply to `to`.
fn arp(to: Mac, operation: u8, from: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend(from.0);
    body.extend(from.1.octets());
    body.extend(target.0);
    body.extend(target.1.octets());
    frame(to, from.0, ARP, &body)
}

/// An ARP request.
pub fn arp_request(from: (Mac, Ipv4Addr), to: Ipv4Addr) -> Vec<u8> {
    arp(BROADCAST, 1, from, ([0; 6], to))
}

/// An ARP reply: the address `from` is at its hardware address.
pub fn arp_reply(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    arp(to.0, 2, from, to)
}

/// A neighbour advertisement (RFC 4861 §4.4) or solicitation (type 135) for an address, with the hardware address as option.
pub fn neighbour(kind: u8, to: (Mac, Ipv6Addr), from: (Mac, Ipv6Addr), target: Ipv6Addr) -> Vec<u8> {
    let (option, flags) = if kind == 135 { (1, 0) } else { (2, 0x60) };
    let mut body = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    body.extend(target.octets());
    body.extend([option, 1]);
    body.extend(from.0);
    let packet = Sent {
        number: 0,
        source: from.1.into(),
        destination: to.1.into(),
        content: Content::Protocol(58),
        shape: Shape::Whole,
        hops: 255,
    };
    frame(to.0, from.0, IPV6, &packet.with_icmpv6(body))
}

/// Whether an IPv6 packet is neighbour discovery or a multicast listener report, which a node sends on its own.
pub fn is_discovery(packet: &[u8]) -> bool {
    // A multicast listener report follows a hop-by-hop header of 8 bytes.
    match packet.get(6) {
        Some(58) => matches!(packet.get(40), Some(135 | 136)),
        Some(0) => packet.get(40) == Some(&58) && packet.get(48) == Some(&143),
        _ => false,
    }
}
