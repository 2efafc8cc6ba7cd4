//! The reconcile loop: runs the plans of the implemented stages once a minute, and the plan of the network also after events
//! of the kernel, without end. It repairs and reports drift, and reports sessions of planes that were lost or exist again. A
//! round without drift is not reported. [`Pace`] limits the rounds that events cause. Four times a minute it compares the
//! clock.

use std::path::Path;
use std::time::Duration;

use kubedos_wire::stage::Stage;

use kubedos_base::outcome::{Class, Classified};
use kubedos_sys::netlink::events::Events;

use crate::node::Node;
use crate::pace::{EVERY, Next, Pace};
use crate::stages::backplanes::clock::Timekeeper;
use crate::stages::backplanes::stage as backplanes;
use crate::stages::baseline::{self, BaselineError, Kernel};
use crate::stages::disks::node_record::Machine;
use crate::stages::disks::real::Real;
use crate::stages::disks::stage as disks;
use crate::stages::disks::{DisksError, Patience, settle};
use crate::walk::Walk;
use kubedos_base::console::uptime;

/// The interval between two comparisons of the clock.
const CLOCK_EVERY: Duration = Duration::from_secs(15);

/// The longest time that one round may take.
const LONGEST: Duration = Duration::from_secs(900);

/// Reconciles the implemented stages in an endless loop.
pub fn forever(walk: &Walk<'_>, node: &Node, mut timekeeper: Timekeeper) -> ! {
    let (mut disks_failures, mut baseline_failures, mut clock_failures) = (0, 0, 0);
    let mut memory = backplanes::Memory::default();
    // An underlay that was incomplete at the end of the stage is reported when it is complete.
    let mut backplanes_failures = u32::from(!node.underlay_complete);
    let events = match Events::open() {
        Ok(events) => Some(events),
        Err(error) => {
            let text = format!("failed to watch the network for changes: {error}");
            walk.board.add_error(uptime(), Stage::Backplanes.name(), text); // drift is then found once a minute
            None
        }
    };
    let mut pace = Pace::new(uptime());
    let mut clock_due = uptime().saturating_add(CLOCK_EVERY);
    loop {
        walk.heartbeat.beat(EVERY * 2);
        let is_complete = match wait(walk, events.as_ref(), &pace, clock_due) {
            Wake::Clock => {
                round(walk, Stage::Backplanes, &mut clock_failures, true, || timekeeper.round());
                walk.board.note(|facts| facts.clock = Some(timekeeper.status().brief()));
                clock_due = uptime().saturating_add(CLOCK_EVERY);
                continue;
            }
            Wake::Network => false,
            Wake::Complete => true,
        };
        walk.heartbeat.beat(LONGEST);
        // Events from now on lead to another round: they may be of changes that this round does not see. So may the changes
        // of this round; the round that they cause finds nothing to change, and causes no further one.
        if let Some(events) = &events
            && let Err(error) = events.discard()
        {
            walk.board.add_error(
                uptime(),
                Stage::Backplanes.name(),
                format!("failed to read events: {error}"),
            );
        }
        if is_complete {
            round(walk, Stage::Disks, &mut disks_failures, true, || repair_disks(node));
            round(walk, Stage::Baseline, &mut baseline_failures, true, || repair_baseline(node));
        }
        round(walk, Stage::Backplanes, &mut backplanes_failures, is_complete, || {
            backplanes::reconcile(&node.backplanes, &mut memory)
        });
        if let Some(report) = memory.report.take() {
            walk.sessions(Stage::Backplanes, report.silent, report.note);
        }
        if let Some(note) = memory.twins_found.take() {
            walk.board.add_error(uptime(), Stage::Backplanes.name(), note.clone());
            walk.sessions(Stage::Backplanes, false, note);
        }
        if is_complete {
            pace.complete_round(uptime());
        } else {
            pace.network_round(uptime());
        }
    }
}

/// What the loop does next.
enum Wake {
    /// A comparison of the clock.
    Clock,
    /// A round of the network.
    Network,
    /// A complete round.
    Complete,
}

/// Waits for the next round or comparison of the clock. An event that a comparison precedes stays in the queue.
fn wait(walk: &Walk<'_>, events: Option<&Events>, pace: &Pace, clock_due: Duration) -> Wake {
    let left = |now: Duration| clock_due.saturating_sub(now).min(pace.until_complete(now));
    // If the events cannot be waited for, the time passes.
    let event = events.is_some_and(|events| events.wait(left(uptime())).unwrap_or(false));
    let now = uptime();
    let (time, wake) = match event.then(|| pace.event(now)) {
        Some(Next::Network(time)) => (time, Wake::Network),
        Some(Next::Complete(time)) => (time, Wake::Complete),
        None => (pace.until_complete(now), Wake::Complete),
    };
    let clock = clock_due.saturating_sub(now);
    let (time, wake) = if clock < time { (clock, Wake::Clock) } else { (time, wake) };
    (walk.pause)(time);
    wake
}

/// One round of one stage. A repeated error is reported at the 1st, 2nd, 4th, 8th … failure of a complete round, so that it
/// does not flood the log.
fn round<E: Classified>(
    walk: &Walk<'_>,
    stage: Stage,
    failures: &mut u32,
    is_complete: bool,
    repair: impl FnOnce() -> Result<Vec<String>, E>,
) {
    let begun = uptime();
    match repair() {
        Ok(repaired) if repaired.is_empty() && *failures == 0 => {}
        Ok(repaired) => {
            *failures = 0;
            let what = if repaired.is_empty() {
                "the error no longer occurs".to_owned()
            } else {
                repaired.join(", ")
            };
            walk.drift_repaired(stage, uptime().saturating_sub(begun), &what);
        }
        Err(_) if !is_complete && *failures > 0 => {}
        Err(error) => {
            *failures = failures.saturating_add(1);
            let again = match error.class() {
                Class::Retry | Class::Wait | Class::Halt => failures.is_power_of_two(), // after boot no error halts the node: running services continue
            };
            if again {
                walk.retry(stage, &error, *failures);
            }
        }
    }
}

fn repair_disks(node: &Node) -> Result<Vec<String>, DisksError> {
    if node.volatile {
        return Ok(vec![]); // running services use the stores in memory; a disk that appears later is used by the next boot
    }
    let machine = Machine::observe(Path::new("/sys"));
    let desired = disks::desired(&node.handover, &node.identity, machine, Patience::Over);
    let settled = settle(&mut Real::default(), &desired, &mut disks::random)?;
    Ok(settled.persistent.into_iter().chain(settled.transient).collect())
}

fn repair_baseline(node: &Node) -> Result<Vec<String>, BaselineError> {
    let hostname = node.identity.shard.hostname.as_str();
    let want = baseline::desired(Path::new(baseline::PARAMETERS), hostname, node.clock_floor)?;
    baseline::settle(&Kernel::default(), &want)
}
