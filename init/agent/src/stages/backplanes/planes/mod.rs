//! The planes: WireGuard devices with their keys, peers, addresses and routes, as differences against the kernel.
//!
//! [`plan`] is pure. A change touches one value of one device or one peer, so sessions of other peers survive, and a
//! second plan after apply is empty. Devices are created first and observed again, because the kernel chooses their numbers.
//! A device is enabled after it has its key, its peers and its addresses.
//!
//! An endpoint that the kernel learned from a valid packet is kept while the peer has a session: the peer may have moved.
//! Private keys are compared and sent, and never printed.

mod delta;
mod plan;
mod presence;
mod readd;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod tests;
mod twins;

pub use delta::change_peer;
pub use plan::{Change, PeerEdit, has_session, plan};
pub use presence::{Presence, Report, states as presence_states};
pub use readd::{Id, Sessions, readd_stale};
pub use twins::{Twins, endpoints};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubedos_base::outcome::{Class, Classified};
use kubedos_sys::netlink::route::{Address, Link, Route, Rtnetlink};
use kubedos_sys::netlink::wireguard::{Device, Peer, PeerChange, Wireguard};
use kubedos_wire::hex32::Secret32;
use kubedos_wire::planes::{PeerName, WantedPlane};
use kubedos_wire::value::{PlaneId, WireguardKey};

/// The kind of the devices.
pub const KIND: &str = "wireguard";

/// How often changes may lead to further changes: creating a device, then configuring it, then an empty plan.
const ROUNDS: u32 = 5;

/// A plane that the node shall have. It does not implement `Debug`, because it contains the private key.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Want {
    /// Its values and peers.
    pub plane: WantedPlane,
    /// The node's private key on it.
    pub private_key: Secret32,
}

/// The kernel's state. Its `Debug` omits the private keys.
#[derive(Default)]
pub struct Observed {
    /// All devices.
    pub links: Vec<Link>,
    /// The addresses of all devices.
    pub addresses: Vec<Address>,
    /// The routes of all tables.
    pub routes: Vec<Route>,
    /// The WireGuard devices, by number.
    pub devices: BTreeMap<u32, Device>,
    /// The wall clock, since 1970.
    pub now: Duration,
}

impl Observed {
    /// The network device with the name of a plane.
    pub fn link(&self, plane: &PlaneId) -> Option<&Link> {
        self.links.iter().find(|link| link.name == plane.as_str())
    }

    /// The peers of a plane; none if it has no WireGuard device.
    pub fn peers(&self, plane: &PlaneId) -> &[Peer] {
        let device = self.link(plane).and_then(|link| self.devices.get(&link.index));
        device.map_or(&[], |device| &device.peers)
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers: BTreeMap<u32, &[Peer]> =
            self.devices.iter().map(|(link, device)| (*link, device.peers.as_slice())).collect();
        let mut fields = f.debug_struct("Observed");
        fields.field("links", &self.links).field("addresses", &self.addresses).field("routes", &self.routes);
        fields.field("peers", &peers).field("now", &self.now).finish_non_exhaustive()
    }
}

/// Why the planes are not up.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The kernel refused a request.
    #[error("failed to {0}")]
    Kernel(String, #[source] io::Error),
    /// Changes lead to further changes without end: another program changes the same objects.
    #[error("the planes do not stay as configured: {0}")]
    Unstable(String),
}

impl Classified for SettleError {
    fn class(&self) -> Class {
        match self {
            Self::Kernel(..) | Self::Unstable(_) => Class::Retry,
        }
    }
}

/// The connections to the kernel. WireGuard is opened when the first device exists, because creating it loads the module.
#[derive(Debug)]
pub struct Kernel {
    route: Rtnetlink,
    wireguard: Option<Wireguard>,
}

impl Kernel {
    /// Opens the connections.
    pub fn open() -> Result<Self, SettleError> {
        let route =
            Rtnetlink::open().map_err(|error| SettleError::Kernel("open a netlink socket".into(), error))?;
        Ok(Self { route, wireguard: None })
    }

    /// Uses connections that exist.
    pub const fn over(route: Rtnetlink, wireguard: Wireguard) -> Self {
        Self { route, wireguard: Some(wireguard) }
    }

    fn wireguard(&mut self) -> io::Result<&mut Wireguard> {
        match &mut self.wireguard {
            Some(wireguard) => Ok(wireguard),
            empty => Ok(empty.insert(Wireguard::open()?)),
        }
    }

    fn links(&mut self) -> Result<Vec<Link>, SettleError> {
        self.route.links().map_err(|error| SettleError::Kernel("read the network devices".into(), error))
    }

    /// Observes devices, addresses, routes and peers; makes no change.
    pub fn observe(&mut self) -> Result<Observed, SettleError> {
        let failed = |what: &str| {
            let what = format!("read {what}");
            move |error| SettleError::Kernel(what, error)
        };
        let links = self.links()?;
        let addresses = self.route.addresses().map_err(failed("the addresses"))?;
        let routes = self.route.routes().map_err(failed("the routes"))?;
        let mut devices = BTreeMap::new();
        for link in links.iter().filter(|link| link.kind.as_deref() == Some(KIND)) {
            let what = format!("the peers of {}", link.name);
            let device = self.wireguard().and_then(|wireguard| wireguard.device(link.index));
            devices.insert(link.index, device.map_err(failed(&what))?);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(); // a clock before 1970 makes no session recent
        Ok(Observed { links, addresses, routes, devices, now })
    }

    /// Applies one change.
    pub fn apply(&mut self, change: &Change) -> Result<(), SettleError> {
        let done = match change {
            Change::Create { plane, mtu } => self.route.create_link(plane.as_str(), KIND, *mtu),
            Change::Delete { link, .. } => self.route.delete_link(*link),
            Change::Mtu { link, mtu, .. } => self.route.set_mtu(*link, *mtu),
            Change::PrivateKey { link, key, .. } => {
                self.wireguard().and_then(|wireguard| wireguard.set_private_key(*link, key.expose()))
            }
            Change::Port { link, port, .. } => {
                self.wireguard().and_then(|wireguard| wireguard.set_port(*link, *port))
            }
            Change::Mark { link, .. } => self.wireguard().and_then(|wireguard| wireguard.set_mark(*link, 0)),
            Change::Peers { link, edits, .. } => {
                let changes: Vec<PeerChange<'_>> = edits.iter().map(PeerEdit::change).collect();
                self.wireguard().and_then(|wireguard| wireguard.change_peers(*link, &changes))
            }
            Change::AddAddress { address, .. } => self.route.add_address(address),
            Change::RemoveAddress { address, .. } => gone(self.route.remove_address(address)),
            Change::Enable { link, .. } => self.route.enable(*link),
            Change::AddRoute { route, .. } => self.route.add_route(route),
            Change::RemoveRoute { route, .. } => gone(self.route.remove_route(route)),
        };
        done.map_err(|error| SettleError::Kernel(change.to_string(), error))
    }
}

/// The kernel removes routes together with the address that they need, and networkd may be faster: what does not exist any more
/// is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    const ESRCH: i32 = 3; // a route
    const EADDRNOTAVAIL: i32 = 99; // an address
    match removed {
        Err(error) if matches!(error.raw_os_error(), Some(ESRCH | EADDRNOTAVAIL)) => Ok(()),
        other => other,
    }
}

/// Creates the devices that do not exist, without peers. Called before the underlay starts: from then on WireGuard has its
/// ports, and the kernel does not answer packets to them with ICMP errors. Returns a description of each change.
pub fn prepare(kernel: &mut Kernel, want: &[Want]) -> Result<Vec<String>, SettleError> {
    let links = kernel.links()?;
    let missing = want.iter().filter(|want| links.iter().all(|link| link.name != want.plane.id.as_str()));
    let without_peers = |want: &Want| Want {
        plane: WantedPlane { peers: Vec::new(), ..want.plane.clone() },
        private_key: Secret32::new(*want.private_key.expose()),
    };
    let missing: Vec<Want> = missing.map(without_peers).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    settle(kernel, &missing).map(|(changes, _)| changes)
}

/// Brings the planes up. Returns a description of each change, and the state that needs no further change.
pub fn settle(kernel: &mut Kernel, want: &[Want]) -> Result<(Vec<String>, Observed), SettleError> {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let have = kernel.observe()?;
        let changes = plan(want, &have);
        if changes.is_empty() {
            return Ok((done, have));
        }
        for change in &changes {
            kernel.apply(change)?;
            done.push(change.to_string());
        }
    }
    Err(SettleError::Unstable(done.pop().unwrap_or_default()))
}

/// The planes on which the node has another public key than `known`, the keys by which its peers know it: the peers ignore
/// the node there, and do not answer.
pub fn unknown_to_peers<'k>(known: &'k BTreeMap<PlaneId, WireguardKey>, have: &Observed) -> Vec<&'k PlaneId> {
    let own = |plane: &PlaneId| have.link(plane).and_then(|link| have.devices.get(&link.index)?.public_key);
    known.iter().filter(|(plane, key)| own(plane) != Some(*key.bytes())).map(|(plane, _)| plane).collect()
}

/// The state of a plane, for the status page and the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneState {
    /// The plane.
    pub id: PlaneId,
    /// The node's address.
    pub address: IpAddr,
    /// The number of nodes that are peers.
    pub nodes: usize,
    /// The nodes without a session, by name. Operators have one only while they work.
    pub silent: Vec<String>,
    /// Bytes received from all peers.
    pub received: u64,
    /// Bytes sent to all peers.
    pub sent: u64,
}

/// The states of the planes. A plane whose device does not exist has no sessions.
pub fn states(want: &[WantedPlane], have: &Observed) -> Vec<PlaneState> {
    let state = |plane: &WantedPlane| {
        let peers = have.peers(&plane.id);
        let live: BTreeSet<&[u8; 32]> =
            peers.iter().filter(|peer| plan::has_session(peer, have.now)).map(|peer| &peer.key).collect();
        let nodes = || plane.peers.iter().filter(|peer| matches!(peer.name, PeerName::Node(_)));
        let silent = nodes().filter(|peer| !live.contains(peer.key.bytes()));
        PlaneState {
            id: plane.id.clone(),
            address: plane.address,
            nodes: nodes().count(),
            silent: silent.map(|peer| peer.name.to_string()).collect(),
            received: peers.iter().map(|peer| peer.received).fold(0, u64::saturating_add),
            sent: peers.iter().map(|peer| peer.sent).fold(0, u64::saturating_add),
        }
    };
    want.iter().map(state).collect()
}
