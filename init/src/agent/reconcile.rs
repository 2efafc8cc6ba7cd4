//! The reconcile loop: the acting stages' plans, once a minute for ever. Drift is found, mended and reported; nothing is said while
//! there is none.

use std::path::Path;
use std::time::Duration;

use kubedos_spec::stage::Stage;

use super::Node;
use super::random;
use super::walk::{Class, Classified, Walk};
use crate::console::uptime;
use crate::stages::baseline::{self, BaselineError, Kernel};
use crate::stages::disks::node_record::Machine;
use crate::stages::disks::real::Real;
use crate::stages::disks::stage as disks;
use crate::stages::disks::{DisksError, Patience, settle};

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// The longest that mending may take.
const LONGEST: Duration = Duration::from_secs(900);

/// Goes over the acting stages for ever.
pub fn forever(walk: &Walk<'_>, node: &Node) -> ! {
    let (mut disks_failures, mut baseline_failures) = (0, 0);
    loop {
        walk.heartbeat.beat(EVERY * 2);
        (walk.pause)(EVERY);
        walk.heartbeat.beat(LONGEST);
        round(walk, Stage::Disks, &mut disks_failures, || mend_disks(node));
        round(walk, Stage::Baseline, &mut baseline_failures, || mend_baseline(node));
    }
}

/// One round of one stage. An error is reported when it is new and then at growing distances, so that it does not flood.
fn round<E: Classified>(
    walk: &Walk<'_>,
    stage: Stage,
    failures: &mut u32,
    mend: impl FnOnce() -> Result<Vec<String>, E>,
) {
    let begun = uptime();
    match mend() {
        Ok(mended) if mended.is_empty() && *failures == 0 => {}
        Ok(mended) => {
            *failures = 0;
            let what = if mended.is_empty() { "it passed by itself".to_owned() } else { mended.join(", ") };
            walk.mended(stage, uptime().saturating_sub(begun), &what);
        }
        Err(error) => {
            *failures = failures.saturating_add(1);
            let again = match error.class() {
                Class::Retry | Class::Degrade | Class::Halt => failures.is_power_of_two(), // after boot nothing is halted: what runs, runs on
            };
            if again {
                walk.retry(stage, &error, *failures);
            }
        }
    }
}

fn mend_disks(node: &Node) -> Result<Vec<String>, DisksError> {
    if node.volatile {
        return Ok(vec![]); // a disk that comes later is taken by the next boot: what is in memory now cannot be moved under running services
    }
    let machine = Machine::observe(Path::new("/sys"));
    let wish = disks::wish(&node.handover, &node.identity, machine, Patience::Over);
    let settled = settle(&mut Real::default(), &wish, &mut random)?;
    Ok(settled.lasting.into_iter().chain(settled.passing).collect())
}

fn mend_baseline(node: &Node) -> Result<Vec<String>, BaselineError> {
    let hostname = node.identity.shard.hostname.as_str();
    let want = baseline::want(Path::new(baseline::PARAMETERS), hostname, node.clock_floor)?;
    let kernel = Kernel::default();
    let mut mended = Vec::new();
    for change in baseline::plan(&want, &baseline::observe(&kernel, &want)?)? {
        baseline::apply(&kernel, &change)?;
        mended.push(baseline::describe(&change));
    }
    Ok(mended)
}
