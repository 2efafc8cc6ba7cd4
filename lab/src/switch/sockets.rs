//! The sockets of ports, to which QEMU connects.
//!
//! A port has at most one connection. A second client is refused: its connection is accepted and closed. So a machine
//! cannot take the port of a running one by mistake, and the port of an ended machine is free as soon as the kernel has
//! closed its socket. The port and its socket remain when a client disconnects.
//!
//! All sockets are non-blocking. A turn of the switch's thread reads and writes a bounded amount per port.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::forward::Forwarder;
use super::framing::{FrameReader, Framed, append_framed};
use super::ports::PortId;

/// The size of the thread's read buffer, and from which size on a connection takes no more frames from its queue.
pub(super) const BUFFER: usize = 64 << 10;
/// The maximum number of reads of a port in one turn.
const READS: usize = 4;
/// The maximum number of writes of a port in one turn.
const WRITES: usize = 16;
/// The pause after a failed attempt to accept a connection. The kernel reports the connection again immediately.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port with a socket.
#[derive(Debug)]
pub(super) struct SocketPort {
    pub(super) id: PortId,
    path: PathBuf,
    listener: UnixListener,
    paused_until: Option<Duration>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    reader: FrameReader,
    /// Whether the last read found no more bytes.
    drained: bool,
    out: Vec<u8>,
    written: usize,
    /// Whether the peer still reads. The end of the connection is detected by a read, because the peer may have sent
    /// frames before it ended.
    writable: bool,
}

/// What `poll` reported for a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ready {
    /// A client connects.
    pub(super) accept: bool,
    /// The connection has bytes or has ended.
    pub(super) read: bool,
}

impl SocketPort {
    /// Creates the socket `path`. Its folder may be deeper than the 108 bytes of a socket's path: the socket is bound
    /// through the folder's descriptor. A socket that no process listens to is replaced.
    pub(super) fn bind(id: PortId, folder: &Path, name: &str) -> io::Result<Self> {
        let folder = folder.canonicalize()?;
        let path = folder.join(name);
        let directory = File::open(&folder)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        let listener = match UnixListener::bind(&short) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_abandoned(&path, &short) => {
                std::fs::remove_file(&path)?;
                UnixListener::bind(&short)?
            }
            result => result?,
        };
        listener.set_nonblocking(true)?;
        Ok(Self { id, path, listener, paused_until: None, connection: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(super) fn stream(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(|connection| connection.stream.as_fd())
    }

    /// When the next client may be accepted after a failed attempt.
    pub(super) fn resumes(&self) -> Option<Duration> {
        self.paused_until
    }

    /// Whether to wait for the next client.
    pub(super) fn may_accept(&self) -> bool {
        self.paused_until.is_none()
    }

    /// Whether to wait until the connection accepts more bytes.
    pub(super) fn has_output(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.written < connection.out.len())
    }

    /// Reads frames, closes the connection if the link is down, and accepts the next connection.
    pub(super) fn receive(
        &mut self,
        forwarder: &mut Forwarder,
        now: Duration,
        ready: Ready,
        buffer: &mut [u8],
    ) {
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let link_down = forwarder.port(self.id).is_ok_and(|port| !port.link_up);
        if ready.read || ready.accept || link_down {
            self.read(forwarder, now, buffer);
        }
        if link_down {
            self.close_between_frames(forwarder);
        }
        // The client of an unread connection may have disconnected, so that there is space for the next one.
        if ready.accept && self.connection.as_ref().is_none_or(|connection| connection.drained) {
            self.accept(forwarder, now, link_down);
        }
    }

    /// Writes frames from the port's queue.
    pub(super) fn send(&mut self, forwarder: &mut Forwarder) {
        let (Some(connection), Ok(port)) = (&mut self.connection, forwarder.port_mut(self.id)) else {
            return;
        };
        for _ in 0..WRITES {
            if !connection.writable {
                return;
            }
            if connection.written == connection.out.len() {
                connection.out.clear();
                connection.written = 0;
                while connection.out.len() < BUFFER
                    && let Some(frame) = port.queue.pop()
                {
                    append_framed(&mut connection.out, &frame);
                }
            }
            let Some(bytes @ [_, ..]) = connection.out.get(connection.written..) else { return };
            match connection.stream.write(bytes) {
                Ok(count) => connection.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    connection.writable = false;
                    connection.written = connection.out.len();
                }
            }
        }
    }

    fn read(&mut self, forwarder: &mut Forwarder, now: Duration, buffer: &mut [u8]) {
        let (id, Some(connection)) = (self.id, &mut self.connection) else { return };
        connection.drained = false;
        for _ in 0..READS {
            let count = match connection.stream.read(buffer) {
                Ok(count @ 1..) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    connection.drained = true;
                    return;
                }
                Ok(0) | Err(_) => {
                    let cut = !connection.reader.is_between_frames();
                    self.disconnect(forwarder);
                    if let Ok(port) = forwarder.port_mut(id) {
                        port.connections.cut_frames += u64::from(cut);
                    }
                    return;
                }
            };
            let result =
                connection.reader.push(buffer.get(..count).unwrap_or_default(), |framed| match framed {
                    Framed::Frame(frame) => forwarder.receive(now, id, frame),
                    Framed::Oversized(_) => forwarder.receive_oversized(id),
                });
            if result.is_err() {
                self.disconnect(forwarder);
                if let Ok(port) = forwarder.port_mut(id) {
                    port.connections.framing_errors += 1;
                }
                return;
            }
        }
    }

    /// Closes the connection unless the peer is in the middle of a frame. If a connection ends during a partial write of
    /// QEMU, QEMU continues in the middle of a frame on the next connection, or does not transmit any more
    /// (`net_stream_send` in `net/stream.c` resets neither `send_index` nor `receive_disabled`).
    fn close_between_frames(&mut self, forwarder: &mut Forwarder) {
        let may_close = |connection: &Connection| connection.drained && connection.reader.is_between_frames();
        if self.connection.as_ref().is_some_and(may_close) {
            self.disconnect(forwarder);
        }
    }

    fn accept(&mut self, forwarder: &mut Forwarder, now: Duration, link_down: bool) {
        let Ok(port) = forwarder.port_mut(self.id) else { return };
        match self.listener.accept().and_then(|(stream, _)| stream.set_nonblocking(true).map(|()| stream)) {
            Ok(_) if link_down || self.connection.is_some() => port.connections.refused += 1,
            Ok(stream) => {
                port.connections.accepted += 1;
                self.connection = Some(Connection {
                    stream,
                    reader: FrameReader::default(),
                    drained: false,
                    out: Vec::new(),
                    written: 0,
                    writable: true,
                });
                forwarder.set_attached(self.id, true);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) => {}
            Err(_) => {
                port.connections.accept_errors += 1;
                self.paused_until = Some(now + ACCEPT_PAUSE);
            }
        }
    }

    fn disconnect(&mut self, forwarder: &mut Forwarder) {
        self.connection = None;
        forwarder.set_attached(self.id, false);
    }
}

impl Drop for SocketPort {
    fn drop(&mut self) {
        // The folder may have been removed before the switch.
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("failed to remove {}: {error}", self.path.display());
        }
    }
}

/// Whether the file is a socket that no process listens to, from a process that did not end properly.
fn is_abandoned(path: &Path, short: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    is_socket && UnixStream::connect(short).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
