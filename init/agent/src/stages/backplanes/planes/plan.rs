//! The plan of the planes: a pure function from the desired planes and the kernel's state to changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kubedos_sys::netlink::route::{Address, Link, MAIN, Route};
use kubedos_sys::netlink::wireguard::{Device, Key, Peer, PeerChange, Range};
use kubedos_wire::hex32::Secret32;
use kubedos_wire::planes::{Peer as WantedPeer, WantedPlane};
use kubedos_wire::printable;
use kubedos_wire::value::{Cidr, PlaneId};

use super::{Observed, Want};

/// A session is usable for this time after its handshake (`REJECT_AFTER_TIME` of `drivers/net/wireguard/messages.h`).
const SESSION: Duration = Duration::from_secs(180);

/// The table of the kernel's own routes to local addresses (`RT_TABLE_LOCAL`).
const LOCAL: u32 = 255;

/// One change.
#[expect(missing_debug_implementations, reason = "secrets must not be printed; `Display` describes a change")]
pub enum Change {
    /// Creates the device of a plane.
    Create {
        /// The plane.
        plane: PlaneId,
        /// The MTU in bytes.
        mtu: u32,
    },
    /// Deletes a device that has the name of a plane and is no WireGuard device.
    Delete {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
        /// The kind of the device.
        kind: String,
    },
    /// Sets the MTU.
    Mtu {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
        /// The current MTU.
        was: u32,
        /// The desired MTU.
        mtu: u32,
    },
    /// Sets the private key.
    PrivateKey {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
        /// The key.
        key: Box<Secret32>,
    },
    /// Sets the UDP port.
    Port {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
        /// The current port.
        was: u16,
        /// The desired port.
        port: u16,
    },
    /// Removes the mark of outgoing packets.
    Mark {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
        /// The current mark.
        was: u32,
    },
    /// Changes peers.
    Peers {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
        /// The changes, each with its reason.
        edits: Vec<PeerEdit>,
    },
    /// Adds the node's address.
    AddAddress {
        /// The plane.
        plane: PlaneId,
        /// The address.
        address: Address,
    },
    /// Removes an address that the node does not have on this plane, or an address of the plane from another device.
    RemoveAddress {
        /// The plane.
        plane: PlaneId,
        /// The address.
        address: Address,
        /// The name of the other device.
        from: Option<String>,
    },
    /// Enables the device.
    Enable {
        /// The plane.
        plane: PlaneId,
        /// The number of the device.
        link: u32,
    },
    /// Adds the route to the plane's addresses.
    AddRoute {
        /// The plane.
        plane: PlaneId,
        /// The route.
        route: Route,
    },
    /// Removes a route that leads addresses of the plane elsewhere, or other addresses into the plane.
    RemoveRoute {
        /// The plane.
        plane: PlaneId,
        /// The route.
        route: Route,
    },
}

/// One change of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEdit {
    /// The public key.
    pub key: Key,
    /// The name of the peer and the reason; empty for the second half of a change that the first half describes.
    pub what: String,
    /// The change.
    pub edit: Edit,
}

/// The kind of a change of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Removes it.
    Remove,
    /// Adds it, or sets the given values.
    Set {
        /// The endpoint.
        endpoint: Option<SocketAddr>,
        /// The interval of keepalive packets in seconds, 0 for none.
        keepalive: Option<u16>,
        /// All ranges.
        allowed: Option<Vec<Range>>,
    },
}

impl PeerEdit {
    /// The change in the form of the kernel's interface.
    pub fn change(&self) -> PeerChange<'_> {
        match &self.edit {
            Edit::Remove => PeerChange::Remove(&self.key),
            Edit::Set { endpoint, keepalive, allowed } => PeerChange::Set {
                key: &self.key,
                endpoint: *endpoint,
                keepalive: *keepalive,
                allowed: allowed.as_deref(),
            },
        }
    }
}

/// The changes that establish the planes.
pub fn plan(want: &[Want], have: &Observed) -> Vec<Change> {
    let mut changes = Vec::new();
    for want in want {
        let plane = &want.plane;
        let link = have.link(&plane.id);
        let device = link.and_then(|link| Some((link, have.devices.get(&link.index)?)));
        match (link, device) {
            (_, Some((link, device))) => configure(want, link, device, have, &mut changes),
            (Some(link), None) => {
                let kind = link.kind.clone().unwrap_or_else(|| "physical".to_owned());
                changes.push(Change::Delete { plane: plane.id.clone(), link: link.index, kind });
                changes.push(Change::Create { plane: plane.id.clone(), mtu: plane.mtu.into() });
            }
            (None, None) => changes.push(Change::Create { plane: plane.id.clone(), mtu: plane.mtu.into() }),
        }
    }
    each_object_once(changes)
}

/// A route or an address may be wrong for two planes, and those of a deleted device end with it.
fn each_object_once(changes: Vec<Change>) -> Vec<Change> {
    let deleted = |change: &Change| match change {
        Change::Delete { link, .. } => Some(*link),
        _ => None,
    };
    let deleted: BTreeSet<u32> = changes.iter().filter_map(deleted).collect();
    let (mut routes, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let is_first = |change: &Change| match change {
        Change::RemoveRoute { route, .. } => !deleted.contains(&route.link) && routes.insert(*route),
        Change::RemoveAddress { address, .. } => {
            !deleted.contains(&address.link) && addresses.insert(*address)
        }
        _ => true,
    };
    changes.into_iter().filter(is_first).collect()
}

fn configure(want: &Want, link: &Link, device: &Device, have: &Observed, changes: &mut Vec<Change>) {
    let Want { plane, private_key } = want;
    let id = || plane.id.clone();
    if device.private_key.as_slice() != private_key.expose().as_slice() {
        let key = Box::new(Secret32::new(*private_key.expose()));
        changes.push(Change::PrivateKey { plane: id(), link: link.index, key });
    }
    if device.port != plane.port {
        changes.push(Change::Port { plane: id(), link: link.index, was: device.port, port: plane.port });
    }
    if device.mark != 0 {
        changes.push(Change::Mark { plane: id(), link: link.index, was: device.mark });
    }
    if link.mtu != u32::from(plane.mtu) {
        let (was, mtu) = (link.mtu, plane.mtu.into());
        changes.push(Change::Mtu { plane: id(), link: link.index, was, mtu });
    }
    let edits = peers(&plane.peers, &device.peers, have.now);
    if !edits.is_empty() {
        changes.push(Change::Peers { plane: id(), link: link.index, edits });
    }
    addresses(plane, link, have, changes);
    if !link.up {
        changes.push(Change::Enable { plane: id(), link: link.index });
    }
    routes(plane, link, &have.routes, changes);
}

/// Whether the peer has a session that the kernel still uses. A handshake in the future, after the clock went back, counts
/// as recent: its session has a monotonic end, and ends by itself.
pub fn has_session(peer: &Peer, now: Duration) -> bool {
    peer.handshake.is_some_and(|handshake| now.saturating_sub(handshake) < SESSION)
}

/// The changes of peers: removals first, so that an address that moves is free.
fn peers(want: &[WantedPeer], have: &[Peer], now: Duration) -> Vec<PeerEdit> {
    let wanted: BTreeMap<&Key, &WantedPeer> = want.iter().map(|peer| (peer.key.bytes(), peer)).collect();
    let mut present = BTreeSet::new();
    let (mut removals, mut sets) = (Vec::new(), Vec::new());
    for peer in have {
        match wanted.get(&peer.key) {
            None => removals.push(PeerEdit {
                key: peer.key,
                what: format!("remove the unknown peer {}", key_text(&peer.key)),
                edit: Edit::Remove,
            }),
            Some(want) if peer.preshared => {
                // No peer has a pre-shared key in this version, and a removed one ends the session with it.
                removals.push(PeerEdit {
                    key: peer.key,
                    what: format!("remove {}, which has a foreign pre-shared key", want.name),
                    edit: Edit::Remove,
                });
            }
            Some(want) => {
                present.insert(&peer.key);
                sets.extend(differences(want, peer, now));
            }
        }
    }
    let missing = wanted.iter().filter(|(key, _)| !present.contains(*key));
    sets.extend(missing.map(|(key, want)| PeerEdit {
        key: **key,
        what: format!("add {}", want.name),
        edit: as_configured(want),
    }));
    removals.into_iter().chain(sets).collect()
}

/// Adds a peer with all its values.
pub(super) fn as_configured(want: &WantedPeer) -> Edit {
    Edit::Set {
        endpoint: want.endpoint,
        keepalive: Some(want.keepalive.unwrap_or(0)),
        allowed: Some(ranges(&want.allowed)),
    }
}

/// The change of a peer that exists; `None` if it is as desired.
fn differences(want: &WantedPeer, have: &Peer, now: Duration) -> Option<PeerEdit> {
    let mut reasons = Vec::new();
    let allowed = (!same_ranges(&want.allowed, &have.allowed)).then(|| {
        reasons.push("its addresses differ".to_owned());
        ranges(&want.allowed)
    });
    let keepalive = want.keepalive.unwrap_or(0);
    let keepalive = (have.keepalive != keepalive).then(|| {
        reasons.push(format!("its keepalive is {} s", have.keepalive));
        keepalive
    });
    let moved = want.endpoint.filter(|wanted| have.endpoint != Some(*wanted) && !has_session(have, now));
    if moved.is_some() {
        let endpoint = have.endpoint.map_or_else(|| "missing".to_owned(), |endpoint| endpoint.to_string());
        reasons.push(format!("its endpoint is {endpoint}"));
    }
    (!reasons.is_empty()).then(|| PeerEdit {
        key: have.key,
        what: format!("correct {}: {}", want.name, reasons.join(", ")),
        edit: Edit::Set { endpoint: moved, keepalive, allowed },
    })
}

fn ranges(allowed: &[Cidr]) -> Vec<Range> {
    allowed.iter().map(|range| (range.network(), range.prefix())).collect()
}

/// Whether both lists have the same ranges. The kernel's list has no range twice, in an order of its own.
fn same_ranges(want: &[Cidr], have: &[Range]) -> bool {
    if let ([want], [have]) = (want, have) {
        return (want.network(), want.prefix()) == *have; // the usual case, without allocations
    }
    let want: BTreeSet<Range> = ranges(want).into_iter().collect();
    want.len() == have.len() && have.iter().all(|range| want.contains(range))
}

/// The kernel delivers packets to an address of its own to itself, before it reads any other route: an address of the plane on
/// another device, for example one that a DHCP server offers, would replace the peer that has it.
fn addresses(plane: &WantedPlane, link: &Link, have: &Observed, changes: &mut Vec<Change>) {
    let prefix = if plane.address.is_ipv4() { 32 } else { 128 };
    let own = Address { link: link.index, address: plane.address, prefix };
    let id = || plane.id.clone();
    let mut foreign = BTreeSet::new();
    let mut present = false;
    for address in &have.addresses {
        let here = address.link == link.index;
        present |= *address == own;
        if (here && *address != own) || (!here && plane.cidr.contains(address.address)) {
            foreign.insert(address);
        }
    }
    for address in foreign {
        let other = have.links.iter().find(|other| address.link != link.index && other.index == address.link);
        let from = other.map(|other| other.name.clone());
        changes.push(Change::RemoveAddress { plane: id(), address: *address, from });
    }
    if !present {
        changes.push(Change::AddAddress { plane: id(), address: own });
    }
}

fn routes(plane: &WantedPlane, link: &Link, have: &[Route], changes: &mut Vec<Change>) {
    let own = Route::through(link.index, plane.cidr.network(), plane.cidr.prefix(), plane.address);
    let id = || plane.id.clone();
    let inside = |route: &Route| {
        let range = route.destination.and_then(|to| Cidr::around(to, route.prefix));
        range.is_some_and(|range| plane.cidr.covers(&range))
    };
    let foreign = |route: &&Route| {
        **route != own
            && route.table != LOCAL
            && (route.link == link.index || (route.table == MAIN && inside(route)))
    };
    changes
        .extend(have.iter().filter(foreign).map(|route| Change::RemoveRoute { plane: id(), route: *route }));
    if !have.contains(&own) {
        changes.push(Change::AddRoute { plane: id(), route: own });
    }
}

/// The first characters of a public key, as wg(8) prints it.
fn key_text(key: &Key) -> String {
    let text = kubedos_wire::value::WireguardKey::new(*key).to_string();
    text.chars().take(10).chain("…".chars()).collect()
}

fn range_text(address: Option<IpAddr>, prefix: u8) -> String {
    address.map_or_else(|| "default".to_owned(), |address| format!("{address}/{prefix}"))
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { plane, .. } => write!(f, "create {plane}"),
            Self::Delete { plane, kind, .. } => write!(f, "delete the device {plane} of kind {kind}"),
            Self::Mtu { plane, was, mtu, .. } => write!(f, "{plane}: set the MTU from {was} to {mtu}"),
            Self::PrivateKey { plane, .. } => write!(f, "{plane}: set the private key"),
            Self::Port { plane, was, port, .. } => write!(f, "{plane}: set the port from {was} to {port}"),
            Self::Mark { plane, was, .. } => write!(f, "{plane}: remove the mark {was}"),
            Self::Peers { plane, edits, .. } => {
                let all: Vec<&str> =
                    edits.iter().map(|edit| edit.what.as_str()).filter(|what| !what.is_empty()).collect();
                let mut texts: Vec<&str> = all.iter().copied().take(3).collect();
                let more = format!("and {} more", all.len().saturating_sub(3));
                if all.len() > 3 {
                    texts.push(&more);
                }
                write!(f, "{plane}: {}", texts.join("; "))
            }
            Self::AddAddress { plane, address } => write!(f, "{plane}: add {}", address.address),
            Self::RemoveAddress { plane, address, from: None } => {
                write!(f, "{plane}: remove the foreign address {}/{}", address.address, address.prefix)
            }
            Self::RemoveAddress { plane, address, from: Some(device) } => {
                let (address, device) = (address.address, printable::name(device));
                write!(f, "{plane}: remove {address} from {device}, because it is an address of the plane")
            }
            Self::Enable { plane, .. } => write!(f, "{plane}: enable the device"),
            Self::AddRoute { plane, route } => {
                write!(f, "{plane}: add the route to {}", range_text(route.destination, route.prefix))
            }
            Self::RemoveRoute { plane, route } => {
                write!(
                    f,
                    "{plane}: remove the foreign route to {}",
                    range_text(route.destination, route.prefix)
                )
            }
        }
    }
}
