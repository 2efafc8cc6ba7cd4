//! Notifies systemd: ready, a status text, keep-alive. The protocol is sd_notify(3): one datagram with lines
//! `KEY=value` to the socket that `$NOTIFY_SOCKET` names.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The connection to systemd. Without systemd (in a shell, in a test) no message is sent.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Connects to the socket that systemd names in the environment.
    pub fn from_environment() -> Self {
        let address = env::var("NOTIFY_SOCKET").unwrap_or_default(); // unset if systemd did not start the agent
        let watchdog =
            env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Self::to(&address, watchdog).unwrap_or_default()
    }

    /// Connects to the socket at `address`; a leading `@` means the abstract name space. An empty address means no
    /// systemd.
    pub fn to(address: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        if address.is_empty() {
            return Ok(Self { socket: None, watchdog: None });
        }
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        Ok(Self { socket: Some((UnixDatagram::unbound()?, address)), watchdog })
    }

    /// The longest time that systemd accepts between two keep-alive messages.
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports that the agent is ready; units ordered after it may start.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Sets the status line of the unit.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// Sends a keep-alive message.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            drop(socket.send_to_addr(message.as_bytes(), address)); // if systemd does not receive messages, its watchdog acts
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_the_socket_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("kubedos-test-{}", std::process::id());
        for (server, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                format!("@{name}"),
            ),
        ] {
            let notify = Notify::to(&address, Some(Duration::from_secs(30))).unwrap();
            notify.ready();
            notify.status("Disks\nstarted");
            let mut buffer = [0; 64];
            let length = server.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
            let length = server.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"STATUS=Disks started");
        }
    }

    #[test]
    fn without_systemd_no_message_is_sent() {
        let notify = Notify::to("", None).unwrap();
        notify.ready();
        assert_eq!(notify.watchdog(), None);
    }
}
