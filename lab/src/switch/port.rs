//! A port in this process, with which a test attaches a station of its own to the switch.

use std::sync::Arc;
use std::time::Duration;

use super::ports::PortId;
use super::shared::Shared;

/// A station in this process. When it is dropped, the port remains without a station.
#[derive(Debug)]
pub struct Port {
    shared: Arc<Shared>,
    id: PortId,
}

impl Port {
    pub(super) fn attach(shared: &Arc<Shared>, id: PortId) -> Self {
        shared.operate(|state, _| state.forwarder.set_attached(id, true));
        Self { shared: Arc::clone(shared), id }
    }

    /// The id of the port.
    pub fn id(&self) -> PortId {
        self.id
    }

    /// Sends a frame, without checksum and padding. When the call returns, the frame is in the queues of its receivers,
    /// unless a fault delays it. As on a real network there is no error: dropped frames are counted. A switch that was
    /// dropped ignores the frame.
    pub fn send(&self, frame: &[u8]) {
        self.shared.operate(|state, now| {
            if !state.stopped {
                state.forwarder.receive(now, self.id, frame);
            }
        });
    }

    /// Takes the next frame; waits for it at most `timeout`, and not at all after the switch was dropped.
    pub fn receive(&self, timeout: Duration) -> Option<Vec<u8>> {
        self.shared.wait_for_frame(self.id, timeout)
    }

    /// Takes the next frame if there is one.
    pub fn try_receive(&self) -> Option<Vec<u8>> {
        self.receive(Duration::ZERO)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.operate(|state, _| state.forwarder.set_attached(self.id, false));
    }
}
