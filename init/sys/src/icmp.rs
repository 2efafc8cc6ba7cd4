//! Raw sockets for ICMP, UDP datagrams with DF, and the path MTU of the kernel.
//!
//! [`Icmp`] sends echo requests over IPv4 and reads all ICMP messages; [`Icmp6`] reads all ICMPv6 messages.
//! [`send_unfragmented`] sends one UDP datagram with DF. No port is opened: a raw socket has none. What is read comes from
//! the network and is not checked here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ipv6_mtu, set_ip_mtu_discover, set_ipv6_mtu_discover,
    set_socket_recv_buffer_size,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, recv, sendto,
    socket_with,
};

/// The length of the header of UDP.
const UDP_HEADER: u16 = 8;
/// Room for replies of a batch; the kernel counts the memory of a packet of 1500 bytes as 2304 bytes.
const BUFFER: usize = 256 << 10;

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
        while is_readable(&self.0, end)? {
            match recv(&self.0, &mut *buffer, RecvFlags::TRUNC) {
                Ok((taken, whole)) if taken == whole => return Ok(buffer.get(..taken)),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {} // longer than every message of interest
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

/// Waits, at most a minute, until something has arrived; `false` after the end of the time.
fn is_readable(socket: &OwnedFd, end: Instant) -> io::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now()).min(Duration::from_secs(60));
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends one UDP datagram that no router fragments, whatever the kernel believes about the path, from the port `port` of
/// this node to the same port. It has no checksum: over IPv6, its receiver drops it.
pub fn send_unfragmented(to: IpAddr, port: u16, data: &[u8]) -> io::Result<()> {
    let (family, to) = match to {
        IpAddr::V4(to) => (AddressFamily::INET, SocketAddr::from((to, 0))),
        IpAddr::V6(to) => (AddressFamily::INET6, SocketAddr::from((to, 0))),
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::UDP))?;
    if to.is_ipv4() {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    } else {
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
    }
    let length = u16::try_from(data.len())
        .ok()
        .and_then(|length| length.checked_add(UDP_HEADER))
        .ok_or(Errno::MSGSIZE)?;
    // A checksum of 0 means that there is none (RFC 768).
    let header = [port, port, length, 0].map(u16::to_be_bytes);
    let datagram = [header.as_flattened(), data].concat();
    sendto(&socket, &datagram, SendFlags::empty(), &to)?;
    Ok(())
}

/// A raw socket that reads ICMPv6 messages to all addresses of the node, also to multicast addresses.
#[derive(Debug)]
pub struct Icmp6(OwnedFd);

impl Icmp6 {
    /// Opens it. The kernel drops messages with a wrong checksum.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::INET6, SocketType::RAW, flags, Some(ipproto::ICMPV6))
            .map(Self)
            .map_err(Into::into)
    }

    /// The next message without the header of IPv6, if one has arrived.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        arrived(recv(&self.0, &mut *buffer, RecvFlags::empty()), buffer)
    }

    /// Waits until a message has arrived; `false` after the end of the time.
    pub fn wait(&self, end: Instant) -> io::Result<bool> {
        is_readable(&self.0, end)
    }
}

/// What a socket that does not wait has received.
pub(crate) fn arrived(
    received: rustix::io::Result<(usize, usize)>,
    buffer: &[u8],
) -> io::Result<Option<&[u8]>> {
    match received {
        Ok((length, _)) => Ok(buffer.get(..length)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The largest packet that the kernel sends to this address without fragmentation: the MTU of the device, or what a router
/// has reported, whether that is true or not.
pub fn path_mtu(to: Ipv6Addr) -> io::Result<u32> {
    let socket =
        socket_with(AddressFamily::INET6, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMPV6))?;
    connect(&socket, &SocketAddrV6::new(to, 0, 0, 0))?; // sends nothing
    Ok(ipv6_mtu(&socket)?)
}
