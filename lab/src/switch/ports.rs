//! The ports of a switch and their settings.

use serde::Serialize;

use super::counters::{ConnectionCounters, DroppedIn, DroppedOut, FaultCounters, PortStatus, Traffic};
use super::error::SwitchError;
use super::frame::{PortMode, VlanId};
use super::queue::Queue;

/// The maximum length of the name of a port. With it, the path by which a socket is bound has at most 108 bytes.
const MAX_NAME: usize = 64;

/// A port of one switch. Ports are never removed, so the id remains valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortId(pub(super) usize);

/// What is attached to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A socket, which the switch's thread reads and writes.
    Socket,
    /// A [`super::Port`] in this process.
    InProcess,
}

#[derive(Debug)]
pub(super) struct PortState {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) mode: PortMode,
    pub(super) link_up: bool,
    pub(super) attached: bool,
    /// The number of its set of a partition. Frames stay in their set.
    pub(super) set: usize,
    pub(super) queue: Queue,
    pub(super) received: Traffic,
    pub(super) sent: Traffic,
    pub(super) dropped_in: DroppedIn,
    pub(super) dropped_out: DroppedOut,
    pub(super) faults: FaultCounters,
    pub(super) connections: ConnectionCounters,
}

impl PortState {
    pub(super) fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            mode: PortMode::Access(VlanId::DEFAULT),
            link_up: true,
            attached: false,
            set: 0,
            queue: Queue::default(),
            received: Traffic::default(),
            sent: Traffic::default(),
            dropped_in: DroppedIn::default(),
            dropped_out: DroppedOut::default(),
            faults: FaultCounters::default(),
            connections: ConnectionCounters::default(),
        }
    }

    /// Drops the frames that wait for a station that is no longer there.
    pub(super) fn clear_queue(&mut self) {
        self.dropped_out.cleared += u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
        self.queue.clear();
    }

    pub(super) fn status(&self) -> PortStatus {
        PortStatus {
            name: self.name.clone(),
            mode: self.mode,
            link_up: self.link_up,
            attached: self.attached,
            queued: self.queue.len(),
            received: self.received,
            sent: self.sent,
            dropped_in: self.dropped_in,
            dropped_out: self.dropped_out,
            faults: self.faults,
            connections: self.connections,
        }
    }
}

/// Checks the name of a port, which is also the file name of its socket.
pub(super) fn check_name(name: &str) -> Result<(), SwitchError> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let others = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if first && others && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(SwitchError::Name(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_name_is_a_short_file_name() {
        for name in ["a", "cp-1.net0", "0_x", &"n".repeat(64)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\0", &"n".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
