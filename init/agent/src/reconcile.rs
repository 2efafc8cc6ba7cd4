//! The reconcile loop: runs the plans of the implemented stages once a minute, without end, and compares the clock four
//! times a minute. It repairs and reports drift. A round without drift is not reported.

use std::path::Path;
use std::time::Duration;

use kubedos_wire::stage::Stage;

use kubedos_base::outcome::{Class, Classified};

use crate::node::Node;
use crate::stages::backplanes::clock::Timekeeper;
use crate::stages::backplanes::planes::Sessions;
use crate::stages::backplanes::stage as backplanes;
use crate::stages::baseline::{self, BaselineError, Kernel};
use crate::stages::disks::node_record::Machine;
use crate::stages::disks::real::Real;
use crate::stages::disks::stage as disks;
use crate::stages::disks::{DisksError, Patience, settle};
use crate::walk::Walk;
use kubedos_base::console::uptime;

/// The interval between two rounds.
const EVERY: Duration = Duration::from_secs(60);

/// The number of comparisons of the clock in a round.
const CLOCK_ROUNDS: u32 = 4;

/// The longest time that one round may take.
const LONGEST: Duration = Duration::from_secs(900);

/// Reconciles the implemented stages in an endless loop.
pub fn forever(walk: &Walk<'_>, node: &Node, mut timekeeper: Timekeeper) -> ! {
    let (mut disks_failures, mut baseline_failures, mut clock_failures) = (0, 0, 0);
    let mut sessions = Sessions::default();
    // An underlay that was incomplete at the end of the stage is reported when it is complete.
    let mut backplanes_failures = u32::from(!node.underlay_complete);
    loop {
        for _ in 0..CLOCK_ROUNDS {
            walk.heartbeat.beat(EVERY * 2);
            (walk.pause)(EVERY / CLOCK_ROUNDS);
            round(walk, Stage::Backplanes, &mut clock_failures, || timekeeper.round());
            walk.board.note(|facts| facts.clock = Some(timekeeper.status().brief()));
        }
        walk.heartbeat.beat(LONGEST);
        round(walk, Stage::Disks, &mut disks_failures, || repair_disks(node));
        round(walk, Stage::Baseline, &mut baseline_failures, || repair_baseline(node));
        round(walk, Stage::Backplanes, &mut backplanes_failures, || {
            backplanes::reconcile(&node.backplanes, &mut sessions)
        });
    }
}

/// One round of one stage. A repeated error is reported at the 1st, 2nd, 4th, 8th … failure, so that it does not flood
/// the log.
fn round<E: Classified>(
    walk: &Walk<'_>,
    stage: Stage,
    failures: &mut u32,
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
