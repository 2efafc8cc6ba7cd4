//! The stage itself: clock, then firewall, then the devices of the planes, then the underlay, then the peers. No frame
//! leaves the node before the firewall is in force, because no device is enabled before. The first handshakes start when
//! the underlay is complete: an attempt without a path would be repeated only after 5 seconds (`REKEY_TIMEOUT` of
//! WireGuard).
//!
//! An underlay that is not complete does not stop the planes: WireGuard sends when a path exists. The stage then reports
//! what is missing, and the reconcile loop reports when it is complete.

use std::path::Path;
use std::time::{Duration, Instant};

use kubedos_base::console::uptime;
use kubedos_base::outcome::{Class, Classified, Step};
use kubedos_sys::netlink::nftables::Nftables;
use kubedos_wire::firewall::{FirewallError, LISTENERS, Ruleset};
use kubedos_wire::node::Underlay;
use kubedos_wire::planes::{self as data, PlaneKeyError, PlanesError, WantedPlane};
use kubedos_wire::underlay::UnderlayError;

use super::clock::system::{self, Start};
use super::planes::{Presence, Report, Sessions};
use super::underlay::links::{self, Missing};
use super::underlay::networkd::ThisSystem;
use super::underlay::{self, Folders};
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
}

/// What one pass over all parts did, and what is missing.
struct Settled {
    /// Descriptions of the changes.
    changes: Vec<String>,
    /// The incomplete parts of the underlay.
    missing: Vec<Missing>,
    /// The connections to the kernel, and the state of the planes after the changes.
    planes: (planes::Kernel, planes::Observed),
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
    Ok(Desired { firewall, underlay: shard.underlay.clone(), planes })
}

/// Sets the clock if the RTC is not credible, brings everything into force, and waits for the underlay for a limited time.
/// The planes never wait for the clock. The output is whether the underlay is complete.
pub fn attempt(desired: &Desired, start: &Start) -> Result<Step<bool>, BackplanesError> {
    let clock = system::settle(start);
    let mut settled = settle(desired, PATIENCE)?;
    settled.changes.extend(clock.change.clone());
    let summary = summary(desired, &clock);
    if let Some(missing) = missing_text(&settled.missing) {
        let note = Some(format!("{missing}; {summary}"));
        return Ok(Step::Degraded { output: false, on: "underlay".into(), note });
    }
    if desired.planes.is_none() {
        let note = format!("this version enrols no nodes, and the configuration has no roster; {summary}");
        return Ok(Step::Degraded { output: true, on: "roster".into(), note: Some(note) });
    }
    Ok(if settled.changes.is_empty() {
        Step::Unchanged { output: true, note: Some(summary) }
    } else {
        Step::Done { output: true, note: Some(summary) }
    })
}

/// What the reconcile loop remembers about the peers.
#[derive(Debug, Default)]
pub struct Memory {
    sessions: Sessions,
    presence: Presence,
    /// What changed in the sessions since the last report.
    pub report: Option<Report>,
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
            memory.report = memory.presence.observe(&planes::presence_states(wanted, have), uptime());
        }
        _ => {
            memory.sessions.forget();
            memory.presence.forget();
        }
    }
    match missing_text(&settled.missing) {
        Some(missing) if settled.changes.is_empty() => Err(BackplanesError::Incomplete(missing)),
        _ => Ok(settled.changes),
    }
}

/// Observes, plans and applies each part, in order.
fn settle(desired: &Desired, patience: Duration) -> Result<Settled, BackplanesError> {
    let mut nftables = Nftables::open()
        .map_err(|error| firewall::SettleError::Kernel("open a netlink socket".into(), error))?;
    let mut changes = firewall::settle(&mut nftables, &desired.firewall)?;
    let mut kernel = planes::Kernel::open()?;
    let planes = desired.planes.as_deref().unwrap_or_default();
    changes.extend(planes::prepare(&mut kernel, planes)?);
    let mut missing = observe_missing(desired)?;
    if !missing.iter().any(|missing| missing.problem.is_ambiguous()) {
        changes.extend(underlay::settle(&Folders::default(), &ThisSystem, &desired.underlay)?);
        let begun = Instant::now();
        missing = observe_missing(desired)?;
        while !missing.is_empty() && begun.elapsed() < patience {
            std::thread::sleep(PAUSE);
            missing = observe_missing(desired)?;
        }
    }
    let (changed, have) = planes::settle(&mut kernel, planes)?;
    changes.extend(changed);
    Ok(Settled { changes, missing, planes: (kernel, have) })
}

fn observe_missing(desired: &Desired) -> Result<Vec<Missing>, BackplanesError> {
    let observed = links::observe(Path::new("/")).map_err(BackplanesError::Links)?;
    Ok(links::missing(&desired.underlay, &observed)?)
}

fn missing_text(missing: &[Missing]) -> Option<String> {
    let texts: Vec<String> = missing.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
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
