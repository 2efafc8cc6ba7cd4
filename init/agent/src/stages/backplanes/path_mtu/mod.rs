//! Finds out whether packets of the planned size pass the network, and reports paths on which they do not. It changes nothing.
//!
//! The evidence cannot be forged by a host beside the path. Padded echo requests inside a plane are answered by the kernel of the
//! peer, and WireGuard authenticates both directions; they also find routers that drop without a word. In addition, one UDP
//! datagram with DF goes to the peer's endpoint: WireGuard's own packets have no DF, so over IPv4 a router could fragment them
//! unnoticed, and over IPv6 the kernel fragments them after a message of a router, which everybody can forge. A router's message
//! about this datagram counts only with the random bytes of the datagram.
//!
//! [`search`] decides, [`probe`] asks, this module selects the peers and describes the result. Nothing here listens: the sockets
//! are raw. Planes are IPv4.

pub mod probe;
pub mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use kubedos_base::console::{Console, Event, uptime};
use kubedos_wire::planes::{PeerName, WantedPlane};
use kubedos_wire::printable::chain;
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;
use kubedos_wire::underlay::LEAST_MTU;

use super::planes::{Kernel as PlanesKernel, Observed, SettleError, has_session};
use crate::board::Board;
use crate::stages::disks::stage::random;
use search::Found;

/// The time between two looks for peers whose path is not known; it doubles up to [`LONGEST`] while there are none.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);

/// How long a result counts. A path may change without notice.
const EVERY: Duration = Duration::from_secs(600);

/// How long a router may take to report.
const ROUTERS: Duration = Duration::from_secs(1);

/// The bytes that WireGuard and the headers of the underlay add to a packet: 60 over IPv4, 80 over IPv6.
const fn overhead(endpoint: Option<SocketAddr>) -> u16 {
    match endpoint {
        Some(SocketAddr::V6(_)) => 80,
        Some(SocketAddr::V4(_)) | None => 60,
    }
}

/// What is known about the path to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathState {
    /// The node.
    pub node: String,
    /// The MTU of the planes in bytes.
    pub planned: u16,
    /// The largest packet of a plane in bytes that reaches the node and comes back, at most `planned`.
    pub passes: u16,
    /// The MTU that a router reports, if it is too small.
    pub router: Option<u16>,
    /// The MTU that the kernel believes in, if it is too small and no router confirms it.
    pub unconfirmed: Option<u16>,
    /// The bytes that the underlay adds to a packet of a plane.
    pub overhead: u16,
}

impl PathState {
    /// Whether packets of the planned size do not pass, or only in fragments.
    pub const fn is_small(&self) -> bool {
        self.passes < self.planned || self.router.is_some() || self.unconfirmed.is_some()
    }

    /// The MTU of the underlay that this path carries.
    fn underlay(&self) -> u16 {
        let passes = self.passes.saturating_add(self.overhead);
        self.router.map_or(passes, |router| router.min(passes))
    }
}

impl Display for PathState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { node, planned, passes, router, unconfirmed, .. } = self;
        if !self.is_small() {
            return write!(f, "packets of {planned} bytes reach {node}");
        }
        match router {
            Some(mtu) if passes < planned => {
                write!(f, "only {passes} of {planned} bytes reach {node}, a router reports an MTU of {mtu}")?;
            }
            Some(mtu) => write!(f, "packets to {node} pass a router with an MTU of {mtu} only in fragments")?,
            None if passes == planned => {
                let mtu = unconfirmed.unwrap_or(0); // otherwise the path is not small
                return write!(
                    f,
                    "packets to {node} are sent in fragments, because of a message about an MTU of {mtu} that no router confirms"
                );
            }
            None => write!(f, "only {passes} of {planned} bytes reach {node}")?,
        }
        match self.underlay() {
            mtu if mtu >= LEAST_MTU => write!(f, "; set networking.underlay.mtu to {mtu}"),
            mtu => write!(f, "; the path carries {mtu}, and an underlay must carry {LEAST_MTU}"),
        }
    }
}

/// A node whose path can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The node.
    pub node: String,
    /// The address of this node on the plane.
    pub source: Ipv4Addr,
    /// The address of the other node on the plane.
    pub address: Ipv4Addr,
    /// Where its packets are sent.
    pub endpoint: Option<SocketAddr>,
    /// The MTU of the plane.
    pub planned: u16,
}

/// One target for each node with a session, on the first plane that has one: the planes between two nodes have the same path.
pub fn targets(want: &[WantedPlane], have: &Observed) -> Vec<Target> {
    let (mut taken, mut targets) = (BTreeSet::new(), Vec::new());
    for plane in want {
        let IpAddr::V4(source) = plane.address else { continue };
        let sessions = have.peers(&plane.id).iter().filter(|peer| has_session(peer, have.now));
        let sessions: BTreeMap<_, _> = sessions.map(|peer| (&peer.key, peer.endpoint)).collect();
        for peer in &plane.peers {
            let PeerName::Node(name) = &peer.name else { continue };
            let Some(endpoint) = sessions.get(peer.key.bytes()) else { continue };
            let Some(IpAddr::V4(address)) = peer.allowed.first().map(|own| own.network()) else { continue };
            if taken.insert(name) {
                let (node, endpoint) = (name.to_string(), *endpoint);
                targets.push(Target { node, source, address, endpoint, planned: plane.mtu });
            }
        }
    }
    targets
}

/// What is known, and since when.
#[derive(Debug, Default)]
pub struct Paths(BTreeMap<String, (Duration, Option<SocketAddr>, PathState)>);

impl Paths {
    /// The targets whose path is not known, or no longer.
    pub fn due(&self, targets: Vec<Target>, now: Duration) -> Vec<Target> {
        let is_due = |target: &Target| {
            self.0.get(&target.node).is_none_or(|(at, endpoint, state)| {
                let same = *endpoint == target.endpoint && state.planned == target.planned;
                !same || now.saturating_sub(*at) >= EVERY
            })
        };
        targets.into_iter().filter(is_due).collect()
    }

    /// Stores a result. Returns the text of a record if an operator must know it: a path that is too small, or no longer.
    pub fn learn(&mut self, target: &Target, state: PathState, now: Duration) -> Option<String> {
        let before = self.0.get(&target.node).map(|(_, _, before)| before);
        let changed = before.map(|before| (before.passes, before.router, before.unconfirmed))
            != Some((state.passes, state.router, state.unconfirmed));
        let was_small = before.is_some_and(PathState::is_small);
        let text = (changed && (state.is_small() || was_small)).then(|| format!("path MTU: {state}"));
        self.0.insert(target.node.clone(), (now, target.endpoint, state));
        text
    }

    /// The paths that are too small, by the name of the node.
    pub fn small(&self) -> Vec<PathState> {
        let states = self.0.values().map(|(_, _, state)| state);
        states.filter(|state| state.is_small()).cloned().collect()
    }
}

/// Why paths could not be observed.
#[derive(Debug, thiserror::Error)]
enum PathError {
    #[error(transparent)]
    Planes(#[from] SettleError),
    #[error("failed to ask for the MTU of the paths")]
    Socket(#[source] io::Error),
}

/// Asks for the paths of all nodes again and again, without end. Results are on the board, and in records.
pub fn watch(console: &Console, board: &Board) -> ! {
    let (mut paths, mut pause, mut reported) = (Paths::default(), SHORTEST, None);
    loop {
        thread::sleep(pause);
        let stage = Stage::Backplanes.name();
        match round(&mut paths, &board.facts().planes) {
            Ok((asked, texts)) => {
                pause = if asked { SHORTEST } else { (pause * 2).min(LONGEST) };
                board.note(|facts| facts.small_paths = paths.small());
                for text in texts {
                    console.emit(Event::new(stage, Outcome::Done).note(text));
                }
            }
            Err(error) => {
                let text = chain(&error);
                if reported.as_ref() != Some(&text) {
                    board.add_error(uptime(), stage, text.clone());
                }
                (pause, reported) = (LONGEST, Some(text));
            }
        }
    }
}

/// Asks for all paths that are not known. Returns whether there were some, and the texts of records.
fn round(paths: &mut Paths, want: &[WantedPlane]) -> Result<(bool, Vec<String>), PathError> {
    if want.is_empty() {
        return Ok((false, Vec::new()));
    }
    let have = PlanesKernel::open()?.observe()?;
    let due = paths.due(targets(want, &have), uptime());
    let mut texts = Vec::new();
    // Peers that are asked together have the same plane.
    for group in due.chunk_by(|a, b| (a.source, a.planned) == (b.source, b.planned)) {
        let Some(Target { source, planned, .. }) = group.first() else { continue };
        let mut echo = probe::Kernel::open(*source, random()).map_err(PathError::Socket)?;
        let addresses: Vec<Ipv4Addr> = group.iter().map(|target| target.address).collect();
        let found = probe::find(&mut echo, &addresses, *planned).map_err(PathError::Socket)?;
        for (target, found) in group.iter().zip(found) {
            let Found::Passes(passes) = found else { continue };
            let (overhead, (router, unconfirmed)) = (overhead(target.endpoint), routers(target)?);
            let (node, planned) = (target.node.clone(), target.planned);
            let state = PathState { node, planned, passes, router, unconfirmed, overhead };
            texts.extend(paths.learn(target, state, uptime()));
        }
    }
    Ok((!due.is_empty(), texts))
}

/// Asks the routers between this node and an endpoint. Returns the MTU that one of them reports, and the one that the kernel
/// believes in without such a report.
fn routers(target: &Target) -> Result<(Option<u16>, Option<u16>), PathError> {
    let Some(endpoint) = target.endpoint else { return Ok((None, None)) };
    let size = target.planned.saturating_add(overhead(target.endpoint));
    match probe::ask_routers(endpoint, size, &random(), ROUTERS).map_err(PathError::Socket)? {
        Some(mtu) => Ok((Some(mtu), None)),
        None => Ok((None, probe::believed_by_the_kernel(endpoint, size).map_err(PathError::Socket)?)),
    }
}

#[cfg(test)]
mod tests;
