//! IP packets that a test composes byte by byte: correct, spoofed, fragmented, and with headers that must not confuse a filter.
//!
//! Every packet contains [`MAGIC`] and its own number, so that a node can report which packets it accepted. Formats: RFC 791, RFC 792,
//! RFC 768, RFC 9293, RFC 8200, RFC 4443.

use std::net::IpAddr;

use kubedos_wire::packets::checksum;

/// The number that all packets of a test contain, before their own number.
pub const MAGIC: [u8; 4] = *b"kdos";
/// The source port of packet 0. A reply on TCP names its packet by this port.
pub const FIRST_PORT: u16 = 20_000;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// The first segment of a TCP connection to this port.
    Syn(u16),
    /// A segment in the middle of a TCP connection that does not exist.
    Ack(u16),
    /// A TCP segment with flags that no implementation sends.
    Xmas(u16),
    /// A UDP datagram, to this port.
    Udp(u16),
    /// A UDP datagram with a source and a destination port.
    UdpFrom(u16, u16),
    /// An ICMP echo request.
    Echo,
    /// An ICMP error of this type about a packet that was never sent.
    Error(u8),
    /// An ICMP message of this type with an empty body.
    Icmp(u8),
    /// Another protocol with this number.
    Protocol(u8),
}

/// How a packet is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// In one piece.
    Whole,
    /// In fragments of 16 bytes.
    Fragments,
    /// In fragments of 8 bytes, the last one first: the ports are in another fragment than the flags of TCP.
    Reversed,
    /// Only the fragments after the first one.
    WithoutFirst,
    /// IPv6: after options for the destination with padding.
    Options,
    /// IPv6: after a hop-by-hop header with padding.
    HopByHop,
    /// IPv6: after a hop-by-hop header with an unknown option, which a node reports (RFC 8200 §4.2).
    UnknownOption,
    /// IPv6: after a routing header of type 0 with a segment left (RFC 5095).
    Routing,
    /// IPv4: with a source route.
    SourceRoute,
    /// IPv4: with an option of a wrong length, which a node reports (RFC 1122 §3.2.2.5).
    BadOption,
}

/// One packet of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its number.
    pub number: u16,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// What it carries.
    pub content: Content,
    /// How it is sent.
    pub shape: Shape,
    /// Time to live or hop limit.
    pub hops: u8,
}

impl Sent {
    /// The source port.
    pub fn port(&self) -> u16 {
        match self.content {
            Content::UdpFrom(source, _) => source,
            _ => FIRST_PORT + self.number,
        }
    }

    /// The bytes of the packet or its fragments.
    ///
    /// # Panics
    /// If the addresses are of two families, or the family has no such shape.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        let (protocol, transport) = self.transport();
        match self.shape {
            Shape::Whole => vec![self.packet(protocol, &transport, &[])],
            Shape::Fragments => self.fragments(protocol, &transport, 16),
            Shape::Reversed => self.fragments(protocol, &transport, 8).into_iter().rev().collect(),
            Shape::WithoutFirst => self.fragments(protocol, &transport, 16).split_off(1),
            // PadN (1) with four bytes.
            Shape::Options => self.after(60, &[protocol, 0, 1, 4, 0, 0, 0, 0], &transport),
            Shape::HopByHop => self.after(0, &[protocol, 0, 1, 4, 0, 0, 0, 0], &transport),
            // The two highest bits of 0x9e are 10: discard, and send an error.
            Shape::UnknownOption => self.after(0, &[protocol, 0, 0x9e, 4, 0, 0, 0, 0], &transport),
            Shape::Routing => {
                let mut header = vec![protocol, 2, 0, 1, 0, 0, 0, 0];
                header.extend(octets(self.source));
                self.after(43, &header, &transport)
            }
            Shape::SourceRoute => {
                // Loose source route (131) over the source address, then padding.
                let route = [&[131, 7, 4], octets(self.source).as_slice(), &[0]].concat();
                vec![self.packet(protocol, &transport, &route)]
            }
            // A record route (7) that is longer than the header.
            Shape::BadOption => vec![self.packet(protocol, &transport, &[7, 39, 4, 0])],
        }
    }

    /// A packet of one piece with a payload that is complete.
    pub(crate) fn carrying(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let content = Content::Protocol(protocol);
        let sent = Self { number: 1, source, destination, content, shape: Shape::Whole, hops: 64 };
        sent.packet(protocol, payload, &[])
    }

    /// An IPv6 packet with an ICMPv6 message, whose checksum is computed.
    pub(crate) fn with_icmpv6(&self, mut message: Vec<u8>) -> Vec<u8> {
        let sum = checksum(&[&self.pseudo(58, message.len()), &message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(58, &message, &[])
    }

    fn after(&self, kind: u8, header: &[u8], transport: &[u8]) -> Vec<Vec<u8>> {
        assert!(self.source.is_ipv6(), "{self:?}");
        vec![self.packet(kind, &[header, transport].concat(), &[])]
    }

    fn marked(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &u32::from(self.number).to_be_bytes(), &[0x5a; 24]].concat()
    }

    /// The number of the protocol and its bytes, with checksums.
    fn transport(&self) -> (u8, Vec<u8>) {
        let six = self.source.is_ipv6();
        let icmp = |kind: u8, body: Vec<u8>| (if six { 58 } else { 1 }, [vec![kind, 0, 0, 0], body].concat());
        let (protocol, mut bytes) = match self.content {
            Content::Syn(port) => (6, self.segment(port, 0x02)),
            Content::Ack(port) => (6, self.segment(port, 0x10)),
            Content::Xmas(port) => (6, self.segment(port, 0x29)),
            Content::Udp(port) | Content::UdpFrom(_, port) => (17, self.datagram(port)),
            Content::Echo => icmp(if six { 128 } else { 8 }, [vec![0, 1, 0, 1], self.marked()].concat()),
            Content::Error(kind) => {
                // About a datagram from the destination to the source.
                let back = Self { source: self.destination, destination: self.source, ..*self };
                let quoted = back.packet(17, &back.datagram(9), &[]);
                icmp(kind, [vec![0, 0, 5, 0], quoted].concat())
            }
            Content::Icmp(kind) => icmp(kind, [vec![0; 4], octets(self.destination), self.marked()].concat()),
            Content::Protocol(number) => (number, self.marked()),
        };
        let at = match protocol {
            6 => Some(16),
            17 => Some(6),
            1 | 58 => Some(2),
            _ => None,
        };
        if let Some(at) = at {
            let pseudo = if protocol == 1 { Vec::new() } else { self.pseudo(protocol, bytes.len()) };
            let sum = checksum(&[&pseudo, &bytes]);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        (protocol, bytes)
    }

    fn segment(&self, port: u16, flags: u8) -> Vec<u8> {
        let mut segment = [self.port(), port].map(u16::to_be_bytes).concat();
        segment.extend(MAGIC);
        segment.extend(u32::from(self.number).to_be_bytes());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment
    }

    fn datagram(&self, port: u16) -> Vec<u8> {
        let payload = self.marked();
        let length = u16::try_from(8 + payload.len()).unwrap();
        [[self.port(), port, length, 0].map(u16::to_be_bytes).concat(), payload].concat()
    }

    /// The header that checksums include (RFC 9293 §3.1, RFC 8200 §8.1; its length has 32 bits for both families, which gives the
    /// same sum).
    fn pseudo(&self, protocol: u8, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        [&octets(self.source)[..], &octets(self.destination), &length, &[0, 0, 0, protocol]].concat()
    }

    fn packet(&self, protocol: u8, payload: &[u8], options: &[u8]) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.v4(protocol, payload, options, 0),
            (IpAddr::V6(_), IpAddr::V6(_)) => {
                let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
                let header = vec![0x60, 0, 0, 0, length[0], length[1], protocol, self.hops];
                [header, octets(self.source), octets(self.destination), payload.to_vec()].concat()
            }
            _ => panic!("two address families: {self:?}"),
        }
    }

    /// `fragment` is the word with the flags and the offset.
    fn v4(&self, protocol: u8, payload: &[u8], options: &[u8], fragment: u16) -> Vec<u8> {
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        let length = u16::try_from(usize::from(words) * 4 + payload.len()).unwrap();
        let mut header = vec![0x40 | words, 0];
        header.extend([length, self.number, fragment].map(u16::to_be_bytes).concat());
        header.extend([self.hops, protocol, 0, 0]);
        header.extend(octets(self.source));
        header.extend(octets(self.destination));
        header.extend(options);
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, payload.to_vec()].concat()
    }

    fn fragments(&self, protocol: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        let count = payload.chunks(size).count();
        let pieces = payload.chunks(size).enumerate();
        pieces
            .map(|(place, piece)| {
                let (at, more) = (u16::try_from(place * size).unwrap(), place + 1 < count);
                if self.source.is_ipv4() {
                    return self.v4(protocol, piece, &[], (at / 8) | if more { 0x2000 } else { 0 });
                }
                let word = (at | u16::from(more)).to_be_bytes();
                let mut header = vec![protocol, 0, word[0], word[1]];
                header.extend(u32::from(self.number).to_be_bytes());
                self.packet(44, &[header, piece.to_vec()].concat(), &[])
            })
            .collect()
    }
}

/// What a packet is that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// A TCP segment that accepts a connection, and the number of the packet that it answers.
    Opened(u16),
    /// A TCP segment that refuses a connection.
    Reset(u16),
    /// A UDP datagram or an ICMP echo reply with the payload of the packet.
    Echoed(u16),
    /// An ICMP error, with its type; of IPv6 if true.
    Error(bool, u8),
}

/// What an IP packet answers; `None` if it is no answer.
pub fn answer(packet: &[u8]) -> Option<Answer> {
    let six = packet.first()? >> 4 == 6;
    let (protocol, start) =
        if six { (*packet.get(6)?, 40) } else { (*packet.get(9)?, usize::from(packet.first()? & 0xf) * 4) };
    let transport = packet.get(start..)?;
    let number = || {
        let at = transport.windows(4).position(|window| window == MAGIC)? + 4;
        u16::try_from(u32::from_be_bytes(transport.get(at..at + 4)?.try_into().ok()?)).ok()
    };
    let kind = *transport.first()?;
    match protocol {
        6 => {
            let port = u16::from_be_bytes(transport.get(2..4)?.try_into().ok()?);
            let number = port.checked_sub(FIRST_PORT)?;
            match transport.get(13)? & 0x16 {
                0x12 => Some(Answer::Opened(number)),
                flags if flags & 0x04 != 0 => Some(Answer::Reset(number)),
                _ => None,
            }
        }
        17 => number().map(Answer::Echoed),
        1 if kind == 0 => number().map(Answer::Echoed),
        58 if kind == 129 => number().map(Answer::Echoed),
        1 if [3, 11, 12].contains(&kind) => Some(Answer::Error(false, kind)),
        58 if (1..=4).contains(&kind) => Some(Answer::Error(true, kind)),
        _ => None,
    }
}

/// The bytes of an address.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
