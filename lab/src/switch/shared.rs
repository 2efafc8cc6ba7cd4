//! The state that the handles of a switch share with its thread.
//!
//! A handle changes the state directly, under the lock. So a setting applies to every frame after the call, and a frame
//! of an in-process port is in the queues of its receivers when the call returns, unless it is delayed. The thread is
//! needed only for sockets and delayed frames; the handle wakes it for them.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::forward::Forwarder;
use super::ports::PortId;
use super::sockets::SocketPort;

#[derive(Debug)]
pub(super) struct State {
    pub(super) forwarder: Forwarder,
    /// Ports that the thread does not serve yet.
    pub(super) new_sockets: Vec<SocketPort>,
    /// Whether the switch was dropped.
    pub(super) stopped: bool,
    /// Why the thread ended.
    pub(super) error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    waker: UnixStream,
    start: Instant,
    /// The time of `start`, since 1970.
    pub(super) epoch: Duration,
}

impl Shared {
    /// The state, and the end of the waker that the thread reads.
    pub(super) fn new(forwarder: Forwarder) -> io::Result<(Self, UnixStream)> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let state = State { forwarder, new_sockets: Vec::new(), stopped: false, error: None };
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let shared =
            Self { state: Mutex::new(state), arrived: Condvar::new(), waker, start: Instant::now(), epoch };
        Ok((shared, woken))
    }

    /// Changes the state on behalf of a handle. The operation gets the time since the start of the switch.
    pub(super) fn operate<T>(&self, operation: impl FnOnce(&mut State, Duration) -> T) -> T {
        let (result, wake_thread) = self.operate_in_thread(operation);
        if wake_thread {
            self.wake_thread();
        }
        result
    }

    /// Changes the state. The second value is whether the thread has something to do.
    pub(super) fn operate_in_thread<T>(
        &self,
        operation: impl FnOnce(&mut State, Duration) -> T,
    ) -> (T, bool) {
        let mut state = self.lock();
        // Read under the lock, so that later operations have later times.
        let now = self.start.elapsed();
        let result = operation(&mut state, now);
        let wake_thread = std::mem::take(&mut state.forwarder.wake_thread);
        if std::mem::take(&mut state.forwarder.wake_receivers) || state.stopped {
            self.arrived.notify_all();
        }
        (result, wake_thread)
    }

    /// Takes the next frame for an in-process port; waits for it at most `timeout`.
    pub(super) fn wait_for_frame(&self, id: PortId, timeout: Duration) -> Option<Vec<u8>> {
        let empty = |state: &mut State| {
            !state.stopped && state.forwarder.port(id).is_ok_and(|port| port.queue.is_empty())
        };
        let (mut state, _) = self
            .arrived
            .wait_timeout_while(self.lock(), timeout, empty)
            .unwrap_or_else(PoisonError::into_inner);
        let frame = state.forwarder.port_mut(id).ok()?.queue.pop()?;
        Some(frame.to_vec())
    }

    /// The time since the start of the switch.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wake_thread(&self) {
        // It fails if the waker is full, which also wakes the thread, or if the thread has ended.
        drop((&self.waker).write(&[0]));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state inconsistent when it panics: counters may be too low.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
