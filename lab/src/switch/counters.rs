//! The state and the counters of a switch as plain data, for tests and for output as JSON.
//!
//! "In" and "received" mean from the station into the switch, "out" and "sent" mean from the switch to the station.
//! Faults are counted at the port to which the frame was on its way. Every frame on its way to a port is counted once:
//! as sent, as dropped, or by the fault that dropped it, unless it still waits in the switch.

use std::path::PathBuf;

use serde::Serialize;

use super::frame::PortMode;

/// The state of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchStatus {
    /// The ports, in the order in which they were added.
    pub ports: Vec<PortStatus>,
    /// The number of learned addresses.
    pub addresses: usize,
    /// The sum of the fault counters of all ports.
    pub faults: FaultCounters,
    /// The last capture, also after its end.
    pub capture: Option<CaptureStatus>,
    /// Why the switch's thread ended. The sockets then transmit no frames.
    pub error: Option<String>,
}

/// The state of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortStatus {
    /// The name.
    pub name: String,
    /// The VLANs.
    pub mode: PortMode,
    /// Whether the link is up.
    pub link_up: bool,
    /// Whether a station is attached.
    pub attached: bool,
    /// The number of frames that wait for the station.
    pub queued: usize,
    /// Valid frames from the station.
    pub received: Traffic,
    /// Frames that were put into the port's queue.
    pub sent: Traffic,
    /// Frames from the station that were dropped.
    pub dropped_in: DroppedIn,
    /// Frames to the station that were dropped.
    pub dropped_out: DroppedOut,
    /// Frames to the station that a fault changed or dropped.
    pub faults: FaultCounters,
    /// The connections of the port's socket.
    pub connections: ConnectionCounters,
}

/// Frames and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The number of frames.
    pub frames: u64,
    /// The sum of their lengths.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, length: usize) {
        self.frames += 1;
        self.bytes += u64::try_from(length).unwrap_or(u64::MAX);
    }
}

/// Frames that did not enter the switch, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DroppedIn {
    /// Shorter than [`super::MIN_FRAME`], or with an incomplete tag.
    pub runt: u64,
    /// Longer than [`super::MAX_FRAME`].
    pub oversized: u64,
    /// The mode of the port does not permit the tag, or its absence.
    pub vlan: u64,
    /// The link was down.
    pub link_down: u64,
    /// The destination is at the same port.
    pub filtered: u64,
    /// Not dropped, but the source was not learned, because the table was full.
    pub not_learned: u64,
}

/// Frames that did not leave the switch, by reason. See [`FaultCounters`] for injected faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DroppedOut {
    /// The queue of the port was full.
    pub queue_full: u64,
    /// No station was attached.
    pub detached: u64,
    /// The link was down.
    pub link_down: u64,
    /// The port left the VLAN while the frame was delayed.
    pub vlan: u64,
    /// The tag made the frame too long.
    pub oversized: u64,
    /// Counted as sent, but still in the queue when the station or the link was removed.
    pub cleared: u64,
}

/// Effects of faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FaultCounters {
    /// Frames dropped by loss.
    pub lost: u64,
    /// Frames dropped by a partition.
    pub partitioned: u64,
    /// Frames that were delayed.
    pub delayed: u64,
    /// Frames that were held back, so that later ones overtake them.
    pub reordered: u64,
    /// Additional copies.
    pub duplicated: u64,
    /// Frames dropped because too many frames to the port were delayed.
    pub overflowed: u64,
    /// Frames dropped because of the MTU of the path.
    pub too_large: u64,
}

impl FaultCounters {
    pub(super) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.partitioned += other.partitioned;
        self.delayed += other.delayed;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.overflowed += other.overflowed;
        self.too_large += other.too_large;
    }
}

/// What happened on the socket of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionCounters {
    /// Accepted connections.
    pub accepted: u64,
    /// Connections that were closed at once, because the port had one or its link was down.
    pub refused: u64,
    /// Connections that ended in the middle of a frame, which was dropped.
    pub cut_frames: u64,
    /// Connections that were closed because of an impossible length.
    pub framing_errors: u64,
    /// Failed attempts to accept a connection, for example because the process has too many open files.
    pub accept_errors: u64,
}

/// The state of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaptureStatus {
    /// The file.
    pub file: PathBuf,
    /// The length of the file.
    pub bytes: u64,
    /// The number of frames in the file.
    pub frames: u64,
    /// The number of frames that were not written, because the capture had stopped.
    pub omitted: u64,
    /// Whether frames are written.
    pub state: CaptureState,
}

/// Whether a capture continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureState {
    /// Frames are written.
    Running,
    /// The caller stopped it.
    Stopped,
    /// The next frame would have made the file longer than its limit.
    LimitReached,
    /// The file could not be written; the cause.
    Failed(String),
}
