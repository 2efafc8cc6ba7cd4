//! Echo requests over IPv4 and messages of routers, for the size of packets that a path carries (RFC 792, RFC 1191, RFC 4443).
//!
//! [`parse`] and [`parse_v6`] read bytes that anybody on the network can send; who believes a message must check the random bytes in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

/// The header of IPv4 without options.
pub const IP_HEADER: u16 = 20;
/// The header of IPv6 without extension headers.
pub const IPV6_HEADER: u16 = 40;
/// The header of an echo request, and of UDP.
pub const MESSAGE_HEADER: u16 = 8;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Destination unreachable, with the code for a datagram that is too large and has DF (RFC 1191 §4).
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const UDP: u8 = 17;
/// RFC 4443 §3.2.
const PACKET_TOO_BIG: u8 = 2;

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'b> {
    /// An echo reply.
    Reply {
        /// Who sent it.
        from: Ipv4Addr,
        /// The identifier of the request.
        id: u16,
        /// The number of the request.
        sequence: u16,
        /// The data of the request.
        data: &'b [u8],
    },
    /// A router could not forward a UDP datagram.
    TooLarge(TooLarge<'b>),
}

/// The message of a router that it could not forward a UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge<'b> {
    /// The MTU of the next link.
    pub mtu: u16,
    /// Where the datagram was sent.
    pub to: IpAddr,
    /// What the router quotes of the datagram's data; most routers quote up to 520 bytes, some none.
    pub quoted: &'b [u8],
}

/// Reads a packet with its IPv4 header; `None` if it is neither of the messages, or damaged.
pub fn parse(packet: &[u8]) -> Option<Message<'_>> {
    let (header, message) = ipv4(packet)?;
    if header.protocol != 1 || checksum(&[message]) != 0 {
        return None;
    }
    let (head, data) = message.split_first_chunk::<8>()?;
    let [kind, code, _, _, a, b, c, d] = *head;
    if (kind, code) == (ECHO_REPLY, 0) {
        let (id, sequence) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        return Some(Message::Reply { from: header.source, id, sequence, data });
    }
    if (kind, code) != FRAGMENTATION_NEEDED {
        return None;
    }
    let (inner, datagram) = ipv4(data)?;
    let (_, quoted) = datagram.split_first_chunk::<8>()?;
    let (mtu, to) = (u16::from_be_bytes([c, d]), inner.destination.into());
    (inner.protocol == UDP).then_some(Message::TooLarge(TooLarge { mtu, to, quoted }))
}

/// Reads an ICMPv6 message, which starts with its own header; `None` if it is not "packet too big" about a UDP datagram
/// without extension headers. The kernel has checked its checksum.
pub fn parse_v6(message: &[u8]) -> Option<TooLarge<'_>> {
    let (head, packet) = message.split_first_chunk::<8>()?;
    let [kind, code, _, _, mtu @ ..] = *head;
    let (inner, datagram) = packet.split_first_chunk::<40>()?;
    let (_, quoted) = datagram.split_first_chunk::<8>()?;
    let [first, _, _, _, _, _, protocol, ..] = *inner;
    let to = Ipv6Addr::from(*inner.last_chunk::<16>()?).into();
    let mtu = u16::try_from(u32::from_be_bytes(mtu)).unwrap_or(u16::MAX); // a larger one is not smaller than the datagram
    ((kind, code, first >> 4, protocol) == (PACKET_TOO_BIG, 0, 6, UDP)).then_some(TooLarge {
        mtu,
        to,
        quoted,
    })
}

struct Header {
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

/// The header and the rest; the rest of a quoted packet is shorter than its header says.
fn ipv4(packet: &[u8]) -> Option<(Header, &[u8])> {
    let fixed = packet.first_chunk::<20>()?;
    let [first, .., s0, s1, s2, s3, d0, d1, d2, d3] = *fixed;
    let length = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || length < fixed.len() {
        return None;
    }
    let header = Header {
        protocol: *fixed.get(9)?,
        source: Ipv4Addr::new(s0, s1, s2, s3),
        destination: Ipv4Addr::new(d0, d1, d2, d3),
    };
    Some((header, packet.get(length..)?))
}

/// An echo request with this data.
pub fn echo_request(id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let message = |sum: u16| {
        let words = [sum, id, sequence].map(u16::to_be_bytes);
        [&[ECHO_REQUEST, 0], words.as_flattened(), data].concat()
    };
    message(checksum(&[&message(0)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, message: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend([10, 101, 0, 2, 10, 101, 0, 1]);
        packet.extend(message);
        packet
    }

    fn too_large(mtu: u16, quoted: &[u8]) -> Vec<u8> {
        let mut message = vec![3, 4, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(quoted);
        let sum = checksum(&[&message]).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        packet(1, &message)
    }

    #[test]
    fn a_reply_is_read_with_all_its_data() {
        let mut reply = echo_request(7, 9, b"abc");
        assert_eq!(checksum(&[&reply]), 0);
        reply[0] = ECHO_REPLY;
        reply[2..4].fill(0);
        let sum = checksum(&[&reply]).to_be_bytes();
        reply[2..4].copy_from_slice(&sum);
        let read = packet(1, &reply);
        let from = Ipv4Addr::new(10, 101, 0, 2);
        assert_eq!(parse(&read), Some(Message::Reply { from, id: 7, sequence: 9, data: b"abc" }));
        reply[8] ^= 1;
        assert_eq!(parse(&packet(1, &reply)), None, "the checksum is wrong");
    }

    #[test]
    fn a_router_that_quotes_nothing_of_the_data_is_read_without_quote() {
        for data in [&b""[..], b"nonce"] {
            let quoted = packet(UDP, &[&[0; 8], data].concat());
            let to = Ipv4Addr::new(10, 101, 0, 1);
            let message = too_large(1400, &quoted);
            let wanted = TooLarge { mtu: 1400, to: to.into(), quoted: data };
            assert_eq!(parse(&message), Some(Message::TooLarge(wanted)));
        }
        assert_eq!(parse(&too_large(1400, &packet(6, &[0; 20]))), None, "about TCP");
        assert_eq!(parse(&too_large(1400, &packet(UDP, &[0; 7]))), None, "cut within the header");
    }

    fn too_big(mtu: u32, quoted: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, UDP, 64];
        packet.extend([[0xfd; 16], [0xfe; 16]].concat());
        [&[2, 0, 0, 0][..], &mtu.to_be_bytes(), &packet, &[0; 8], quoted].concat()
    }

    #[test]
    fn a_router_of_ipv6_is_read_with_what_it_quotes() {
        let message = too_big(1400, b"nonce");
        let wanted = TooLarge { mtu: 1400, to: Ipv6Addr::from([0xfe; 16]).into(), quoted: b"nonce" };
        assert_eq!(parse_v6(&message), Some(wanted));
        assert_eq!(parse_v6(&too_big(u32::MAX, b"")).unwrap().mtu, u16::MAX);
        for (at, value) in [(0, 1), (1, 1), (8, 0x45), (14, 6)] {
            let mut changed = message.clone();
            changed[at] = value;
            assert_eq!(parse_v6(&changed), None, "byte {at}");
        }
        assert!((0..56).all(|length| parse_v6(&message[..length]).is_none()));
    }

    #[test]
    fn no_prefix_and_no_changed_byte_of_a_message_panics() {
        let message = too_large(1400, &packet(UDP, &[0; 40]));
        for at in 0..message.len() {
            parse(&message[..at]);
            for bit in 0..8 {
                let mut changed = message.clone();
                changed[at] ^= 1 << bit;
                parse(&changed);
            }
        }
    }
}
