//! The handle with which faults, links, VLANs and the capture are changed while the switch runs.
//!
//! A change applies to every frame that enters after the call. Partitions, links and VLANs also apply to frames that are
//! delayed in the switch. After the switch was dropped, changes have no effect.

use std::sync::Arc;

use super::capture::CaptureOptions;
use super::counters::SwitchStatus;
use super::error::SwitchError;
use super::faults::{Faults, Scope};
use super::frame::PortMode;
use super::path_mtu::PathMtu;
use super::ports::PortId;
use super::shared::Shared;

/// A handle of a switch.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Arc<Shared>,
}

impl Control {
    /// Sets the faults between two ports or between all ports, and restarts the sequence of decisions.
    ///
    /// # Errors
    /// If a setting is out of range or a port does not exist.
    pub fn set_faults(&self, scope: Scope, faults: Faults) -> Result<(), SwitchError> {
        self.shared.operate(|state, _| state.forwarder.set_faults(scope, faults))
    }

    /// Sets the MTU of the path from one port to another, or removes it. Frames in the other direction are not affected.
    ///
    /// # Errors
    /// If a port does not exist.
    pub fn set_path_mtu(&self, from: PortId, to: PortId, limit: Option<PathMtu>) -> Result<(), SwitchError> {
        self.shared.operate(|state, _| state.forwarder.set_path_mtu((from, to), limit))
    }

    /// Removes all faults, but not the MTU of paths. Partitions, links and frames that are already delayed are not changed.
    pub fn clear_faults(&self) {
        self.shared.operate(|state, _| state.forwarder.clear_faults());
    }

    /// Drops frames between ports of different sets. The ports that are in no set form one more set. It replaces an
    /// earlier partition. A port in several sets belongs to the first one.
    ///
    /// # Errors
    /// If a port does not exist.
    pub fn partition(&self, sets: &[&[PortId]]) -> Result<(), SwitchError> {
        self.shared.operate(|state, _| state.forwarder.partition(sets))
    }

    /// Ends the partition.
    pub fn heal(&self) {
        // An empty list of sets contains no unknown port, so this cannot fail.
        drop(self.partition(&[]));
    }

    /// Sets whether the link of a port is up. While it is down, frames from and to the port are dropped, its connection
    /// is closed and new connections are refused. A guest does not notice this: for its carrier there is
    /// [`crate::Machine::set_link`].
    ///
    /// # Errors
    /// If the port does not exist.
    pub fn set_link(&self, port: PortId, up: bool) -> Result<(), SwitchError> {
        self.shared.operate(|state, _| state.forwarder.set_link(port, up))
    }

    /// Sets which VLANs a port carries. The default is access to VLAN 1.
    ///
    /// # Errors
    /// If the port does not exist.
    pub fn set_mode(&self, port: PortId, mode: PortMode) -> Result<(), SwitchError> {
        self.shared.operate(|state, _| state.forwarder.set_mode(port, mode))
    }

    /// Starts a capture of all ports. It ends an earlier one.
    ///
    /// # Errors
    /// If the file cannot be created. Later failures only end the capture; [`Self::status`] reports them.
    pub fn start_capture(&self, options: &CaptureOptions) -> Result<(), SwitchError> {
        self.shared.operate(|state, _| state.forwarder.start_capture(options, self.shared.epoch))
    }

    /// Ends the capture. The file is complete at any time, so this only fixes its last frame.
    pub fn stop_capture(&self) {
        self.shared.operate(|state, _| state.forwarder.stop_capture());
    }

    /// The state and the counters of all ports.
    pub fn status(&self) -> SwitchStatus {
        self.shared.operate(|state, now| state.forwarder.status(now, state.error.clone()))
    }
}
