//! Echo requests and DF probes over IPv4, for the size of packets that a path carries (RFC 792, RFC 1191).
//!
//! [`Icmp`] is a raw socket: it sends echo requests and reads echo replies and "fragmentation needed" messages.
//! [`send_unfragmented`] sends one UDP datagram with DF. No port is opened: a raw socket has none. [`parse`] reads bytes
//! that anybody on the network can send; who believes a message must check the nonce in it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover, set_socket_recv_buffer_size};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recv, sendto, socket_with,
};

/// The header of IPv4 without options.
pub const IP_HEADER: u16 = 20;
/// The header of an echo request, and of UDP.
pub const MESSAGE_HEADER: u16 = 8;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// Destination unreachable, with the code for a datagram that is too large and has DF (RFC 1191 §4).
const FRAGMENTATION_NEEDED: (u8, u8) = (3, 4);
const UDP: u8 = 17;
/// Room for replies of a batch; the kernel counts the memory of a packet of 1500 bytes as 2304 bytes.
const BUFFER: usize = 256 << 10;

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
    TooLarge {
        /// The MTU of the next link.
        mtu: u16,
        /// Where the datagram was sent.
        to: Ipv4Addr,
        /// What the router quotes of the datagram's data; most routers quote up to 520 bytes, some none.
        quoted: &'b [u8],
    },
}

/// Reads a packet with its IPv4 header; `None` if it is neither of the messages, or damaged.
pub fn parse(packet: &[u8]) -> Option<Message<'_>> {
    let (header, message) = ipv4(packet)?;
    if header.protocol != 1 || checksum(message) != 0 {
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
    let mtu = u16::from_be_bytes([c, d]);
    (inner.protocol == UDP).then_some(Message::TooLarge { mtu, to: inner.destination, quoted })
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
    message(checksum(&message(0)))
}

/// The Internet checksum (RFC 1071); 0 over a message with a correct checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    let mut sum = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + last;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A raw socket for ICMP.
#[derive(Debug)]
pub struct Icmp(OwnedFd);

impl Icmp {
    /// Opens it. Requests are sent from `source`; without it, messages to all addresses of the node are read.
    pub fn open(source: Option<Ipv4Addr>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::ICMP))?;
        // Requests have DF, and what the kernel believes about the path does not limit them.
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        set_socket_recv_buffer_size(&socket, BUFFER)?;
        if let Some(source) = source {
            bind(&socket, &SocketAddrV4::new(source, 0))?;
        }
        Ok(Self(socket))
    }

    /// Sends an echo request.
    pub fn send(&self, to: Ipv4Addr, request: &[u8]) -> io::Result<()> {
        sendto(&self.0, request, SendFlags::empty(), &SocketAddrV4::new(to, 0))?;
        Ok(())
    }

    /// Reads the next packet into the buffer; `None` after the end of the time.
    pub fn receive<'b>(&self, buffer: &'b mut [u8], end: Instant) -> io::Result<Option<&'b [u8]>> {
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(Duration::from_secs(60));
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match recv(&self.0, &mut *buffer, RecvFlags::TRUNC) {
                Ok((taken, whole)) if taken == whole => return Ok(buffer.get(..taken)),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {} // longer than every message of interest
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Sends one UDP datagram with DF, whatever the kernel believes about the path, from the port `port` to the same port.
pub fn send_unfragmented(to: Ipv4Addr, port: u16, data: &[u8]) -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::UDP))?;
    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    let length = u16::try_from(data.len())
        .ok()
        .and_then(|length| length.checked_add(MESSAGE_HEADER))
        .ok_or(Errno::MSGSIZE)?;
    // A checksum of 0 means that there is none (RFC 768).
    let header = [port, port, length, 0].map(u16::to_be_bytes);
    let datagram = [header.as_flattened(), data].concat();
    sendto(&socket, &datagram, SendFlags::empty(), &SocketAddrV4::new(to, 0))?;
    Ok(())
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
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        packet(1, &message)
    }

    #[test]
    fn a_reply_is_read_with_all_its_data() {
        let mut reply = echo_request(7, 9, b"abc");
        assert_eq!(checksum(&reply), 0);
        reply[0] = ECHO_REPLY;
        reply[2..4].fill(0);
        let sum = checksum(&reply).to_be_bytes();
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
            assert_eq!(parse(&message), Some(Message::TooLarge { mtu: 1400, to, quoted: data }));
        }
        assert_eq!(parse(&too_large(1400, &packet(6, &[0; 20]))), None, "about TCP");
        assert_eq!(parse(&too_large(1400, &packet(UDP, &[0; 7]))), None, "cut within the header");
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
