//! Two nodes that exchange traffic over their planes without a rule of the firewall.
//!
//! Both nodes send first, from the port at which they receive, so the connection tracking of each node takes the packets of
//! the other one for replies; for TCP this is a simultaneous open (RFC 9293, 3.5). The node with the lower address is the
//! client.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_sys::netlink::wireguard::Wireguard;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

/// The port of the traffic on both nodes.
pub const PORT: u16 = 7007;
/// How long the nodes wait for each other; the second one boots later.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// The time between two attempts to connect.
const TICK: Duration = Duration::from_millis(100);

/// A path to the other node, and the addresses of both nodes on it.
#[derive(Debug, Clone)]
pub struct Path {
    /// The name of the plane, or of another network.
    pub name: String,
    /// The address of this node.
    pub own: IpAddr,
    /// The address of the other node.
    pub peer: IpAddr,
}

impl Path {
    /// Whether this node begins.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.own < self.peer
    }

    /// Opens a connection from both sides at once, from and to this port. While the other node is not ready, its firewall drops the attempt, or its
    /// kernel refuses it.
    ///
    /// # Errors
    /// The error of the last attempt after [`PATIENCE`].
    pub fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let family = if self.own.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let begun = Instant::now();
        loop {
            let attempt = || -> io::Result<TcpStream> {
                let socket = socket(family, SocketType::STREAM, None)?;
                sockopt::set_socket_reuseaddr(&socket, true)?;
                bind(&socket, &SocketAddr::new(self.own, port))?;
                connect(&socket, &SocketAddr::new(self.peer, port))?;
                Ok(TcpStream::from(socket))
            };
            match attempt() {
                Ok(stream) => return Ok(stream),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => sleep(TICK),
            }
        }
    }
}

/// The planes with the other node as a peer. Operators have no keepalive.
///
/// # Errors
/// If the kernel does not answer, or no plane has such a peer.
pub fn planes() -> io::Result<Vec<Path>> {
    let (mut route, mut wireguard) = (Rtnetlink::open()?, Wireguard::open()?);
    let addresses = route.addresses()?;
    let mut planes = Vec::new();
    for link in route.links()?.into_iter().filter(|link| link.kind.as_deref() == Some("wireguard")) {
        let own = addresses.iter().find(|own| own.link == link.index).map(|own| own.address);
        let peers = wireguard.device(link.index)?.peers;
        let peer = peers.iter().find(|peer| peer.keepalive > 0).and_then(|peer| peer.allowed.first());
        if let (Some(own), Some((peer, _))) = (own, peer) {
            planes.push(Path { name: link.name, own, peer: *peer });
        }
    }
    if planes.is_empty() { Err(io::Error::other("no plane has a peer")) } else { Ok(planes) }
}
