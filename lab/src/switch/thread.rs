//! The thread of a switch: waits for sockets and for the time of delayed frames.
//!
//! A turn first reads from all ports, then writes to all ports, then waits with `poll(2)` until there is something to
//! do. The lock is not held while waiting.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::shared::Shared;
use super::sockets::{BUFFER, Ready, SocketPort};

/// Serves the sockets until the switch is dropped. The status has the error if the thread ends before that.
pub(super) fn run(shared: &Arc<Shared>, woken: UnixStream) {
    let error = match catch_unwind(AssertUnwindSafe(|| serve(shared, woken))) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("failed to wait for sockets: {error}"),
        // The panic has printed its message.
        Err(_) => "the thread panicked".to_owned(),
    };
    shared.operate(|state, _| state.error = Some(error));
}

fn serve(shared: &Shared, mut woken: UnixStream) -> Result<(), Errno> {
    let (mut sockets, mut ready) = (Vec::<SocketPort>::new(), Vec::<Ready>::new());
    let mut buffer = vec![0; BUFFER];
    loop {
        let (turn, _) = shared.operate_in_thread(|state, now| {
            sockets.append(&mut state.new_sockets);
            ready.resize(sockets.len(), Ready::default());
            state.forwarder.advance(now);
            for (socket, ready) in sockets.iter_mut().zip(&ready) {
                socket.receive(&mut state.forwarder, now, *ready, &mut buffer);
            }
            for socket in &mut sockets {
                socket.send(&mut state.forwarder);
            }
            let resumes = sockets.iter().filter_map(SocketPort::resumes);
            let next = resumes.chain(state.forwarder.next_due()).min();
            (!state.stopped).then_some(next)
        });
        let Some(next) = turn else { return Ok(()) };
        let timeout = next.map(|next| next.saturating_sub(shared.now()));
        ready = wait(&sockets, &woken, timeout)?;
        drain(&mut woken, &mut buffer);
    }
}

/// Waits for an event. The result has the state of each socket.
fn wait(sockets: &[SocketPort], woken: &UnixStream, timeout: Option<Duration>) -> Result<Vec<Ready>, Errno> {
    let mut descriptors = vec![PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)];
    for socket in sockets {
        let accept = if socket.may_accept() { PollFlags::IN } else { PollFlags::empty() };
        descriptors.push(PollFd::from_borrowed_fd(socket.listener(), accept));
        if let Some(stream) = socket.stream() {
            let write = if socket.has_output() { PollFlags::OUT } else { PollFlags::empty() };
            descriptors.push(PollFd::from_borrowed_fd(stream, PollFlags::IN | write));
        }
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut descriptors, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let mut events = descriptors.iter().skip(1).map(PollFd::revents);
    let mut next = || events.next().unwrap_or_else(PollFlags::empty);
    let ready = sockets.iter().map(|socket| {
        let accept = !next().is_empty();
        let stream = if socket.stream().is_some() { next() } else { PollFlags::empty() };
        // Errors and the end of the connection are detected by a read. Writes are tried in each turn.
        Ready { accept, read: stream.intersects(!PollFlags::OUT) }
    });
    Ok(ready.collect())
}

/// Empties the waker.
fn drain(woken: &mut UnixStream, buffer: &mut [u8]) {
    while let Ok(1..) | Err(ErrorKind::Interrupted) = woken.read(buffer).map_err(|error| error.kind()) {}
}
