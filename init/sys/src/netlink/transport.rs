//! The way of datagrams to and from the kernel: a netlink socket, or a replacement that records datagrams or plays recorded
//! ones. Everything above this module is the same code in all cases.

use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, recvfrom, sendto,
    socket_with, sockopt,
};

/// The send buffer for transactions; the kernel grants at most `net.core.wmem_max`, doubled.
const SEND_BUFFER: usize = 1 << 20;
/// How long the kernel may take for an answer.
const TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Sends and receives datagrams.
pub trait Transport: Debug + Send {
    /// Sends one datagram to the kernel.
    ///
    /// # Errors
    /// The kernel's error.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer`.
    ///
    /// # Errors
    /// The kernel's error, or `TimedOut` if no datagram comes.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received>;
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its length, which may exceed the buffer; the rest is then lost.
    pub length: usize,
    /// The port of its sender; the kernel has 0.
    pub sender: u32,
}

/// A netlink socket.
#[derive(Debug)]
pub struct ToKernel(OwnedFd);

impl ToKernel {
    /// Opens a socket of a protocol; `None` is rtnetlink.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER)?;
        Ok(Self(fd))
    }

    /// Opens a socket of generic netlink.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn generic() -> io::Result<Self> {
        Self::open(Some(rustix::net::netlink::GENERIC))
    }
}

impl Transport for ToKernel {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let sent = sendto(&self.0, datagram, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        if sent == datagram.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&TIMEOUT)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match recvfrom(&self.0, &mut *buffer, RecvFlags::TRUNC) {
                Ok((_, length, sender)) => return Ok(Received { length, sender: port(sender)? }),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The port in the address of a sender. The kernel gives an address for each datagram of a netlink socket.
fn port(sender: Option<SocketAddrAny>) -> io::Result<u32> {
    let missing = || io::Error::new(io::ErrorKind::InvalidData, "a netlink datagram has no sender");
    let sender = SocketAddrNetlink::try_from(sender.ok_or_else(missing)?)?;
    Ok(sender.pid())
}
