//! A learning Ethernet switch for virtual machines, in one thread, without root.
//!
//! QEMU connects to the unix socket of a port ([`Switch::listen`]) with its `stream` netdev. Tests attach stations of
//! their own with [`Switch::port`]. [`Control`] injects faults, changes links and VLANs, captures frames and reads the
//! counters while the switch runs.
//!
//! Every queue is bounded, so a station that takes no frames loses them and never delays another one. Every dropped
//! frame is counted ([`SwitchStatus`]). Forwarding does not depend on the capture.
//!
//! The switch is no router and has no address of its own. It has no spanning tree, so two ports must not be connected
//! to each other outside of it. `docs/lab.md` has the limits and the format of the capture.

mod capture;
mod control;
mod counters;
mod error;
mod faults;
mod forward;
mod frame;
mod framing;
mod lines;
mod path_mtu;
mod port;
mod ports;
mod queue;
mod shared;
mod sockets;
mod table;
#[cfg(test)]
mod tests;
mod thread;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use capture::CaptureOptions;
pub use control::Control;
pub use counters::{
    CaptureState, CaptureStatus, ConnectionCounters, DroppedIn, DroppedOut, FaultCounters, PortStatus,
    SwitchStatus, Traffic,
};
pub use error::SwitchError;
pub use faults::{CERTAIN, Faults, MAX_DELAY, MAX_DISTANCE, Scope};
pub use frame::{MAX_FRAME, MIN_FRAME, PortMode, VlanId};
pub use framing::{FrameReader, Framed, FramingError, MAX_LENGTH, append_framed};
pub use lines::{MAX_DELAYED_BYTES, MAX_DELAYED_FRAMES, REORDER_HOLD};
pub use path_mtu::PathMtu;
pub use port::Port;
pub use ports::PortId;
pub use queue::{MAX_QUEUED_BYTES, MAX_QUEUED_FRAMES};
pub use table::{AGING, MAX_ADDRESSES};

use forward::Forwarder;
use ports::Kind;
use shared::Shared;
use sockets::SocketPort;

/// The settings of a switch that do not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchOptions {
    /// Selects the frames that faults affect. The same seed and the same frames give the same decisions.
    pub seed: u64,
    /// After this time without a frame from it, a station's address is removed.
    pub aging: Duration,
}

impl Default for SwitchOptions {
    fn default() -> Self {
        Self { seed: 0, aging: AGING }
    }
}

/// A port with a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The id of the port.
    pub id: PortId,
    /// The absolute path of the socket, for [`crate::Nic`]. It may be longer than 108 bytes.
    pub path: PathBuf,
}

/// A running switch. Dropping it closes all connections and removes the sockets.
#[derive(Debug)]
pub struct Switch {
    control: Control,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts a switch without ports.
    ///
    /// # Errors
    /// If the thread or its waker cannot be created.
    pub fn start(options: &SwitchOptions) -> Result<Self, SwitchError> {
        let forwarder = Forwarder::new(options.seed, options.aging);
        let (shared, woken) = Shared::new(forwarder).map_err(SwitchError::Start)?;
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("switch".to_owned())
            .spawn(move || thread::run(&theirs, woken))
            .map_err(SwitchError::Start)?;
        Ok(Self { control: Control { shared }, thread: Some(thread) })
    }

    /// Adds a port with the socket `<folder>/<name>`, to which one client at a time can connect. The port remains when
    /// its client disconnects.
    ///
    /// # Errors
    /// If the name is invalid or in use, or the socket cannot be created.
    pub fn listen(&self, name: &str, folder: &Path) -> Result<Socket, SwitchError> {
        self.control.shared.operate(|state, _| {
            let failed = |source| SwitchError::Socket { path: folder.join(name), source };
            let id = state.forwarder.next_port(name, Kind::Socket)?;
            let socket = SocketPort::bind(id, folder, name).map_err(failed)?;
            let id = state.forwarder.add_port(name, Kind::Socket)?;
            let path = socket.path().to_owned();
            state.new_sockets.push(socket);
            state.forwarder.wake_thread = true;
            Ok(Socket { id, path })
        })
    }

    /// Attaches a station of this process to a new port, or to the port of a [`Port`] that was dropped.
    ///
    /// # Errors
    /// If the name is invalid or in use.
    pub fn port(&self, name: &str) -> Result<Port, SwitchError> {
        let id = self.control.shared.operate(|state, _| state.forwarder.add_port(name, Kind::InProcess))?;
        Ok(Port::attach(&self.control.shared, id))
    }

    /// The handle for faults, links, VLANs, the capture and the counters. Clones of it can be used in other threads.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.control.shared.operate(|state, _| {
            state.stopped = true;
            state.forwarder.wake_thread = true;
        });
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the thread of the switch panicked");
        }
    }
}
