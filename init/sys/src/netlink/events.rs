//! Events of the kernel: something changed in links, addresses, routes (rtnetlink(7)) or in nf_tables.
//!
//! The content of an event is not read. Every program may cause events, and the queue may overflow, so the only answer to
//! an event is to read the state itself; events only say when. Lost events ([`Errno::NOBUFS`]) are an event. Groups are
//! those of `include/uapi/linux/rtnetlink.h` and `include/uapi/linux/netfilter/nfnetlink.h`.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt,
};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`.
const ROUTE_GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// `NFNLGRP_NFTABLES` is the group 7.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);

/// The queue of each socket. It holds more events than one change causes; a flood fills it, and costs no more then.
const QUEUE: usize = 64 << 10;

/// The most messages that are discarded at once.
const MOST: usize = 4096;

/// A subscription.
#[derive(Debug)]
pub struct Events([OwnedFd; 2]);

impl Events {
    /// Subscribes; the kernel queues events from now on.
    ///
    /// # Errors
    /// If the kernel refuses, for example because it has no nf_tables.
    pub fn open() -> io::Result<Self> {
        Ok(Self([subscribe(None, ROUTE_GROUPS)?, subscribe(Some(NETFILTER), NFTABLES_GROUP)?]))
    }

    /// Waits until an event is queued or was lost; `false` after the timeout. It leaves the events in the queue.
    ///
    /// # Errors
    /// The error of poll(2).
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let [route, nftables] = &self.0;
        let mut sockets = [route, nftables].map(|socket| PollFd::new(socket, PollFlags::IN));
        match poll(&mut sockets, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Discards the queued events; called before the state is read, so that no later change is missed. A flood ends it after
    /// a limited number.
    ///
    /// # Errors
    /// The error of recv(2).
    pub fn discard(&self) -> io::Result<()> {
        for socket in &self.0 {
            for _ in 0..MOST {
                // A truncated message is removed from the queue as a whole.
                match recv(socket, [0_u8; 16].as_mut_slice(), RecvFlags::TRUNC) {
                    Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// `None` is rtnetlink, which has the number 0.
fn subscribe(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}
