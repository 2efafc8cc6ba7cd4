//! Ethernet frames of one type at one device (packet(7)).
//!
//! A socket of this kind sees frames before any filter of the node, and what it sends passes none. So only constant
//! questions are sent with it, and what is read is not trusted.

use std::io;
use std::mem::size_of;
use std::os::fd::OwnedFd;
use std::ptr::from_ref;

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use crate::icmp::arrived;

/// Room for some hundred frames without payload: a flood fills it, and costs no more then.
const BUFFER: usize = 64 << 10;

/// A socket for frames.
#[derive(Debug)]
pub struct Frames(OwnedFd);

/// A device and a type of frames; `sockaddr_ll` without the fields that only the kernel sets.
struct Place(libc::sockaddr_ll);

// SAFETY: the pointer is that of a `sockaddr_ll`, which lives until the closure returns, with its size.
unsafe impl SocketAddrArg for Place {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let length = SocketAddrLen::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0); // 20
        f(from_ref(&self.0).cast(), length)
    }
}

impl Frames {
    /// Opens a socket that sends frames at a device, and receives those of a type (`ETHERTYPE`). With type 0 it receives
    /// nothing. Needs `CAP_NET_RAW`.
    pub fn open(link: u32, kind: u16) -> io::Result<Self> {
        // Until it is bound, the socket would receive frames of all devices; without a type it receives none.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        set_socket_recv_buffer_size(&socket, BUFFER)?;
        let place = Place(libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
            sll_protocol: kind.to_be(),
            sll_ifindex: i32::try_from(link).map_err(io::Error::other)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        });
        bind(&socket, &place)?;
        Ok(Self(socket))
    }

    /// Sends a whole frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(&self.0, frame, SendFlags::empty())?;
        Ok(())
    }

    /// The next frame with its header, if one has arrived. What does not fit into the buffer is cut off.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        arrived(recv(&self.0, &mut *buffer, RecvFlags::empty()), buffer)
    }
}
