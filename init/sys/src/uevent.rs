//! Device events from the kernel (`NETLINK_KOBJECT_UEVENT`, group 1: messages of the kernel, not of udev).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

const KERNEL_GROUP: u32 = 1;
/// `UEVENT_BUFFER_SIZE` of the kernel is 2048 bytes, without the path in the header.
const LONGEST: usize = 8192;

/// A subscription.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

/// One event: its variables, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uevent(Vec<(String, String)>);

impl Uevent {
    /// The value of a variable.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Parses a message: `action@path`, then `KEY=value` strings, each terminated by a NUL.
    pub fn parse(message: &[u8]) -> Self {
        let texts = message.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
        Self(
            texts
                .filter_map(|text| text.split_once('='))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        )
    }
}

impl Uevents {
    /// Subscribes; the kernel queues events from now on.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
        Ok(Self(socket))
    }

    /// Waits for one event from the kernel; `None` after the timeout. Messages of other processes are dropped: only the
    /// kernel sends from port 0.
    pub fn next(&self, timeout: Option<Duration>) -> io::Result<Option<Uevent>> {
        let mut buffer = vec![0_u8; LONGEST];
        loop {
            let timespec = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timespec.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let (length, sender) = match recvfrom(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _, sender)) => (length, sender),
                // Events were lost because the queue was full. The caller finds the devices when it reads /sys next.
                Err(rustix::io::Errno::NOBUFS) => return Ok(Some(Uevent::default())),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let from_kernel = sender
                .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                .is_some_and(|sender| sender.pid() == 0);
            if from_kernel {
                return Ok(Some(Uevent::parse(buffer.get(..length).unwrap_or_default())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_verity_event_are_parsed() {
        let event = Uevent::parse(
            b"change@/devices/virtual/block/dm-0\0ACTION=change\0DEVNAME=dm-0\0DM_VERITY_ERR_BLOCK_NR=1,17\0\xff\xfe=x\0",
        );
        assert_eq!(event.get("DEVNAME"), Some("dm-0"));
        assert_eq!(event.get("DM_VERITY_ERR_BLOCK_NR"), Some("1,17"));
        assert_eq!(event.get("SUBSYSTEM"), None);
    }

    #[test]
    fn the_timeout_gives_no_event() {
        let events = Uevents::open().unwrap();
        // The host may send real events meanwhile; each must parse.
        while let Some(event) = events.next(Some(Duration::from_millis(5))).unwrap() {
            assert!(event.get("ACTION").is_some());
        }
    }
}
