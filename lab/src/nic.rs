//! A network card of a machine, connected to a port of a [`Switch`](crate::switch::Switch).
//!
//! QEMU's path of a unix socket has at most 108 bytes. So the machine's folder, which is QEMU's working directory,
//! contains a symbolic link `net<n>` to the socket of the port, and QEMU connects to the link. The kernel follows the
//! link, and the length of its target is not limited to 108 bytes.
//!
//! QEMU connects in the background and repeats failed attempts, so a machine also starts while the port refuses it.

use std::path::{Path, PathBuf};

use kubedos_wire::value::MacAddress;

/// The time between two attempts of QEMU to connect to the switch.
const RECONNECT_MS: u32 = 200;

/// A virtio network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    socket: PathBuf,
    mac: MacAddress,
}

impl Nic {
    /// A card with this address at the port with this socket ([`Socket::path`](crate::switch::Socket::path)).
    pub fn new(socket: impl Into<PathBuf>, mac: MacAddress) -> Self {
        Self { socket: socket.into(), mac }
    }

    /// The socket of the port.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The values of `-netdev` and `-device` for card number `index`. The empty `romfile` removes the boot ROM, which
    /// would write to the console.
    pub(crate) fn options(&self, index: usize) -> [String; 2] {
        let (link, device, mac) = (link_name(index), device_name(index), &self.mac);
        [
            format!(
                "stream,id={link},server=off,addr.type=unix,addr.path={link},reconnect-ms={RECONNECT_MS}"
            ),
            format!("virtio-net-pci,id={device},netdev={link},mac={mac},romfile="),
        ]
    }
}

/// The name of the netdev of card number `index`, from 0, and of the link in the machine's folder.
pub(crate) fn link_name(index: usize) -> String {
    format!("net{index}")
}

/// The name of the device of card number `index`, from 0.
pub(crate) fn device_name(index: usize) -> String {
    format!("nic{index}")
}
