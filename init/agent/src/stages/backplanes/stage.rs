//! The stage itself: clock, then firewall, then the devices of the planes, then the underlay, then the peers, then
//! chronyd. No frame leaves the node before the firewall is in force, because no device is enabled before. The first
//! handshakes start when the underlay is complete: an attempt without a path would be repeated only after 5 seconds (`REKEY_TIMEOUT` of
//! WireGuard).
//!
//! An underlay that is not complete does not stop the planes: WireGuard sends when a path exists. The stage then reports
//! what is missing, and the reconcile loop reports when it is complete.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use kubedos_base::console::uptime;
use kubedos_base::outcome::{Class, Classified, Step};
use kubedos_sys::netlink::nftables::Nftables;
use kubedos_wire::firewall::{FirewallError, LISTENERS, Ruleset};
use kubedos_wire::node::Underlay;
use kubedos_wire::planes::{self as data, PlaneKeyError, PlanesError, WantedPlane};
use kubedos_wire::printable::chain;
use kubedos_wire::underlay::UnderlayError;
use kubedos_wire::value::{PlaneId, WireguardKey};

use super::clock::chronyd::configuration::Time;
use super::clock::system::{self, Start};
use super::clock::{Clock, settle_chronyd};
use super::planes::{Presence, Report, Sessions, Twins};
use super::steps::Steps;
use super::underlay::links::{self, Missing};
use super::underlay::networkd::{self, ThisSystem};
use super::underlay::renewals::Renewals;
use super::underlay::{self, Folders, cards};
use super::{firewall, planes};
use crate::stages::validate_shard::Identity;

/// How long the stage waits for links and addresses before it continues without them.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time between two looks at the links.
const PAUSE: Duration = Duration::from_millis(200);

/// Everything that the stage brings into force. It does not implement `Debug`, because it contains private keys.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Desired {
    /// The firewall.
    pub firewall: Ruleset,
    /// The underlay.
    pub underlay: Underlay,
    /// The planes; `None` without a roster.
    pub planes: Option<Vec<planes::Want>>,
    /// The node's public keys in the roster, by which its peers know it.
    pub known_keys: BTreeMap<PlaneId, WireguardKey>,
    /// What chronyd does when the planes are up; `None` without planes.
    pub time: Option<Time>,
}

/// The result of the stage.
#[derive(Debug)]
pub struct Up {
    /// Whether the underlay is complete.
    pub underlay_complete: bool,
    /// The state machine of the clock.
    pub clock: Clock,
}

/// Numbers and names of devices.
type Devices = Vec<(u32, String)>;

/// What one pass over all parts did, and what is missing.
struct Settled {
    /// Descriptions of the changes.
    changes: Vec<String>,
    /// The incomplete parts of the underlay.
    missing: Vec<Missing>,
    /// The devices that have a lease from DHCP and no address.
    without_address: Devices,
    /// The connections to the kernel, and the state of the planes after the changes.
    planes: (planes::Kernel, planes::Observed),
    /// The times of the parts.
    steps: Steps,
}

/// Why the stage failed.
#[derive(Debug, thiserror::Error)]
pub enum BackplanesError {
    /// The configuration gives no firewall.
    #[error("the configuration gives no firewall")]
    Rules(#[from] FirewallError),
    /// The configuration gives no planes.
    #[error("the configuration gives no planes")]
    Planes(#[from] PlanesError),
    /// A key cannot be derived.
    #[error(transparent)]
    Key(#[from] PlaneKeyError),
    /// The firewall is not in force.
    #[error(transparent)]
    Firewall(#[from] firewall::SettleError),
    /// The underlay could not be established.
    #[error(transparent)]
    Underlay(#[from] underlay::SettleError),
    /// The links cannot be observed.
    #[error("failed to observe the network devices")]
    Links(#[source] std::io::Error),
    /// The interfaces of the underlay contradict each other.
    #[error("the shard has no valid underlay")]
    Interfaces(#[from] UnderlayError),
    /// The planes are not up.
    #[error(transparent)]
    Settle(#[from] planes::SettleError),
    /// Something outside the node is missing; only the reconcile loop reports it as an error.
    #[error("the underlay is incomplete: {0}")]
    Incomplete(String),
}

impl Classified for BackplanesError {
    fn class(&self) -> Class {
        match self {
            Self::Rules(_) | Self::Planes(_) | Self::Key(_) | Self::Interfaces(_) => Class::Halt,
            Self::Links(_) => Class::Retry,
            Self::Incomplete(_) => Class::Wait,
            Self::Firewall(error) => error.class(),
            Self::Underlay(error) => error.class(),
            Self::Settle(error) => error.class(),
        }
    }
}

/// What the documents and the seed demand. Pure.
pub fn desired(identity: &Identity) -> Result<Desired, BackplanesError> {
    let Identity { cluster, shard, roster, seed, .. } = identity;
    let firewall = Ruleset::new(shard, &cluster.planes, &cluster.policy, LISTENERS)?;
    let want = |plane: WantedPlane| -> Result<planes::Want, PlaneKeyError> {
        let private_key = data::private_key(&seed.birth_key, &plane.id)?;
        Ok(planes::Want { plane, private_key })
    };
    let planes = match roster {
        Some(roster) => {
            let planes = data::wanted(shard, cluster, roster)?;
            Some(planes.into_iter().map(want).collect::<Result<_, _>>()?)
        }
        None => None,
    };
    let entry = roster.as_ref().and_then(|roster| roster.node(&shard.node));
    let keys = entry.iter().flat_map(|entry| &entry.planes).map(|(id, plane)| (id.clone(), plane.key));
    let known_keys = keys.collect();
    let time = planes.as_ref().and_then(|_: &Vec<_>| Time::new(shard, cluster));
    Ok(Desired { firewall, underlay: shard.underlay.clone(), planes, known_keys, time })
}

/// Sets the clock if the RTC is not credible, brings everything into force, and waits for the underlay for a limited time.
/// The planes never wait for the clock: a chronyd that does not start is in the note, and the reconcile loop tries again.
pub fn attempt(desired: &Desired, start: &Start) -> Result<Step<Up>, BackplanesError> {
    let clock = system::settle(start);
    let mut settled = settle(desired, PATIENCE)?;
    settled.changes.extend(clock.change.clone());
    let mut summary = summary(desired, &clock);
    if let Some(time) = &desired.time {
        match settle_chronyd(time) {
            Ok(changes) => settled.changes.extend(changes),
            Err(error) => summary.push_str(&format!("; time is not measured: {}", chain(&error))),
        }
        settled.steps.end("chronyd");
    }
    summary.push_str(&format!("; {}", settled.steps));
    let output = Up { underlay_complete: settled.missing.is_empty(), clock: clock.clock };
    let unknown = unknown_keys(desired, &settled.planes.1);
    let after = |problems: [Option<&str>; 2]| {
        Some(problems.into_iter().flatten().chain([summary.as_str()]).collect::<Vec<_>>().join("; "))
    };
    if let Some(missing) = missing_text(&settled.missing) {
        let note = after([Some(&missing), unknown.as_deref()]);
        return Ok(Step::Degraded { output, on: "underlay".into(), note });
    }
    if desired.planes.is_none() {
        let note = format!("this version enrols no nodes, and the configuration has no roster; {summary}");
        return Ok(Step::Degraded { output, on: "roster".into(), note: Some(note) });
    }
    if unknown.is_some() {
        return Ok(Step::Degraded { output, on: "roster".into(), note: after([None, unknown.as_deref()]) });
    }
    Ok(if settled.changes.is_empty() {
        Step::Unchanged { output, note: Some(summary) }
    } else {
        Step::Done { output, note: Some(summary) }
    })
}

/// What the reconcile loop remembers about the peers.
#[derive(Debug, Default)]
pub struct Memory {
    sessions: Sessions,
    presence: Presence,
    renewals: Renewals,
    /// What changed in the sessions since the last report.
    pub report: Option<Report>,
    twins: Twins,
    /// Nodes whose seed two machines have.
    pub twins_found: Option<String>,
}

/// Corrects drift, adds peers again that have had no session for long, and notes which sessions were lost. An incomplete
/// underlay is an error of class `Wait`; while it lasts, no peer can have a session, so the time does not count.
pub fn reconcile(desired: &Desired, memory: &mut Memory) -> Result<Vec<String>, BackplanesError> {
    let mut settled = settle(desired, Duration::ZERO)?;
    match &desired.planes {
        Some(planes) if settled.missing.is_empty() => {
            let (kernel, have) = &mut settled.planes;
            let readded = planes::readd_stale(kernel, planes, have, &mut memory.sessions, uptime())?;
            settled.changes.extend(readded);
            let wanted = planes.iter().map(|want| &want.plane);
            let endpoints = planes::endpoints(wanted.clone(), have);
            memory.report = memory.presence.observe(&planes::presence_states(wanted, have), uptime());
            memory.twins_found = memory.twins.observe(&endpoints, uptime());
        }
        _ => {
            memory.sessions.forget();
            memory.presence.forget();
        }
    }
    let numbers: Vec<u32> = settled.without_address.iter().map(|(link, _)| *link).collect();
    for link in memory.renewals.due(&numbers, uptime()) {
        underlay::networkd::configure_again(link).map_err(underlay::SettleError::from)?;
        let device = settled.without_address.iter().find(|(of, _)| *of == link);
        let device = device.map_or("a device", |(_, name)| name.as_str());
        settled.changes.push(format!("configure {device} again: its address from DHCP was removed"));
    }
    match missing_text(&settled.missing) {
        Some(missing) if settled.changes.is_empty() => Err(BackplanesError::Incomplete(missing)),
        _ => Ok(settled.changes),
    }
}

/// Observes, plans and applies each part, in order.
fn settle(desired: &Desired, patience: Duration) -> Result<Settled, BackplanesError> {
    let mut steps = Steps::begin();
    let mut nftables = Nftables::open()
        .map_err(|error| firewall::SettleError::Kernel("open a netlink socket".into(), error))?;
    let mut changes = firewall::settle(&mut nftables, &desired.firewall)?;
    steps.end("firewall");
    let mut kernel = planes::Kernel::open()?;
    let planes = desired.planes.as_deref().unwrap_or_default();
    changes.extend(planes::prepare(&mut kernel, planes)?);
    wait_for_cards(desired, patience)?;
    steps.end("devices");
    let (mut missing, mut without_address) = look(desired)?;
    if !missing.iter().any(|missing| missing.problem.is_ambiguous()) {
        changes.extend(underlay::settle(&Folders::default(), &ThisSystem, &desired.underlay)?);
        steps.end("networkd");
        let begun = Instant::now();
        (missing, without_address) = look(desired)?;
        while !missing.is_empty() && begun.elapsed() < patience {
            std::thread::sleep(PAUSE);
            (missing, without_address) = look(desired)?;
        }
        steps.end("links");
    }
    let (changed, have) = planes::settle(&mut kernel, planes)?;
    changes.extend(changed);
    steps.end("peers");
    Ok(Settled { changes, missing, without_address, planes: (kernel, have), steps })
}

/// What is missing, and the devices that have a lease from DHCP and no address.
fn look(desired: &Desired) -> Result<(Vec<Missing>, Devices), BackplanesError> {
    let observed = links::observe(Path::new("/")).map_err(BackplanesError::Links)?;
    let missing = links::missing(&desired.underlay, &observed)?;
    let without_address = links::without_leased_address(&missing, &observed);
    let without_address = without_address.into_iter().map(|(link, name)| (link, name.to_owned())).collect();
    Ok((missing, without_address))
}

/// Waits until no further network device appears, if an interface takes the only one.
fn wait_for_cards(desired: &Desired, patience: Duration) -> Result<(), BackplanesError> {
    if !links::takes_any_device(&desired.underlay)? {
        return Ok(());
    }
    let begun = Instant::now();
    while begun.elapsed() < patience
        && !cards::without_device(Path::new("/")).map_err(BackplanesError::Links)?.is_empty()
        && !networkd::coldplug_has_ended().map_err(underlay::SettleError::from)?
    {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn missing_text(missing: &[Missing]) -> Option<String> {
    let texts: Vec<String> = missing.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Why peers ignore the node: its seed has another incarnation than the one that the roster was made from.
fn unknown_keys(desired: &Desired, have: &planes::Observed) -> Option<String> {
    let planes: Vec<&str> =
        planes::unknown_to_peers(&desired.known_keys, have).into_iter().map(PlaneId::as_str).collect();
    (!planes.is_empty()).then(|| {
        let planes = planes.join(", ");
        format!(
            "the roster has other keys of this node on {planes}, so its peers ignore it: attach the seed of the incarnation \
             in the configuration, or build the image again with the incarnation of this seed"
        )
    })
}

/// What is in force, in one line.
fn summary(desired: &Desired, clock: &system::Settled) -> String {
    let note = &clock.note;
    let rules = desired.firewall.rules().count();
    let plane = |want: &planes::Want| {
        let count = want.plane.peers.len();
        let peers = if count == 1 { "peer" } else { "peers" };
        format!("{} {} ({count} {peers})", want.plane.id, want.plane.address)
    };
    let texts: Vec<String> = desired.planes.iter().flatten().map(plane).collect();
    if texts.is_empty() {
        format!("{rules} rules in force, no planes; {note}")
    } else {
        format!("{rules} rules in force, {}; {note}", texts.join(", "))
    }
}
