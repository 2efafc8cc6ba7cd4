//! The agent's main program: runs the stages, then reconciles them in an endless loop; prints the status page when a
//! user presses Enter on a console; watches the kernel log for blocks that fail verification; sends systemd keep-alive
//! messages.
//!
//! Threads, no async: the stages run on the main thread; each console, the kernel log and the watchdog have their own
//! thread. The agent does not listen on the network in this version.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubedos_wire::record::not_a_record;
use kubedos_wire::stage::Stage;
use kubedos_wire::statement::Floors;

use crate::board::{Board, DiskLine, Facts};
use crate::heartbeat::Heartbeat;
use crate::node::Node;
use crate::notify::Notify;
use crate::stages::backplanes::clock::system::{Start, at_start};
use crate::stages::backplanes::clock::{Settings, Timekeeper, saved};
use crate::stages::backplanes::planes::{Kernel as PlanesKernel, states};
use crate::stages::backplanes::stage as backplanes;
use crate::stages::backplanes::{conflicts, firewall, path_mtu};
use crate::stages::baseline::{self, Kernel};
use crate::stages::disks::Patience;
use crate::stages::disks::attached;
use crate::stages::disks::node_record::Machine;
use crate::stages::disks::real::Real;
use crate::stages::disks::stage as disks;
use crate::stages::validate_shard::{self as validate, HandedOver, Identity, Places, UnenrolledKey};
use crate::status_page::{self, Moment, tty};
use crate::units::{self, UnitsError};
use crate::walk::{Halted, Walk};
use crate::{corruption, preload, reconcile};
use kubedos_base::console::{Console, uptime};
use kubedos_base::handover_file::{self, HandoverFileError};
use kubedos_base::outcome::Step;
use kubedos_wire::handover::{self, Handover};
use kubedos_wire::printable::chain;

/// How long the status page waits for the message bus; it waits twice as long for an answer that does not come.
const UNITS_PATIENCE: Duration = Duration::from_secs(10);

/// How long the node waits for a disk that the spec names (USB, slow controllers) before it continues without the disk,
/// and how long it waits for an unreadable header.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

/// How long a disk must be read as empty before a table is written to it: storage that is not ready yet can be read as
/// zeroes.
const EMPTY_PATIENCE: Duration = Duration::from_secs(10);

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Handover(#[from] HandoverFileError),
    #[error("failed to start the thread for {0}")]
    Thread(&'static str, #[source] io::Error),
}

/// The agent's main function.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(3, &format!("the agent cannot start: {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line for the journal, with the priority as its prefix (sd-daemon(3)).
fn log(priority: u8, text: &str) {
    eprintln!("<{priority}>{}", not_a_record(text));
}

fn run() -> Result<(), StartError> {
    spawn("modules", preload::load)?;
    let handover = handover_file::read(Path::new(handover::PATH))?;
    let console = Arc::new(Console::resume(handover.record_count, Path::new(handover::RECORD_COUNTER)));
    let board = Arc::new(Board::default());
    let notify = Arc::new(Notify::from_environment());
    let heartbeat = Arc::new(Heartbeat::default());
    board.note(|facts| facts.handover = Some(handover.clone()));
    heartbeat.beat(Duration::from_secs(60));
    start_watchdog(&notify, &heartbeat)?;
    start_log_watch(&console, &board)?;
    start_consoles(&board)?;
    start_path_watch(&console, &board)?;
    start_conflict_watch(&console, &board)?;
    notify.ready();
    let walk = Walk {
        console: &console,
        board: &board,
        notify: &notify,
        heartbeat: &heartbeat,
        pause: &thread::sleep,
    };
    match boot(&walk, &handover) {
        Ok((node, timekeeper)) => reconcile::forever(&walk, &node, timekeeper),
        Err(Halted(stage)) => wait_for_restart(&walk, stage),
    }
}

/// Runs the stages of this version in order; each gets the outputs that it needs.
fn boot(walk: &Walk<'_>, handover: &Handover) -> Result<(Node, Timekeeper), Halted> {
    let identity = validate_shard(walk, handover)?;
    let stored = settle_disks(walk, handover, &identity)?;
    let saved = saved::load(disks::state_folder()).map_or(0, |time| time.secs());
    let clock_floor = stored.clock_floor.max(saved);
    let clock =
        Start { settings: Settings::new(&identity, clock_floor), first: at_start(Path::new("/run/kubedos")) };
    set_baseline(walk, &identity, clock_floor)?;
    let (backplanes, up) = bring_up_backplanes(walk, &identity, &clock)?;
    for stage in Stage::ALL.into_iter().filter(|stage| !stage.in_this_version()) {
        walk.not_run(stage, missing(stage));
    }
    let volatile = matches!(stored.storage, crate::stages::disks::Storage::Memory { .. });
    let timekeeper = Timekeeper::new(up.clock, backplanes.time.clone(), disks::state_folder());
    let underlay_complete = up.underlay_complete;
    let node =
        Node { handover: handover.clone(), identity, clock_floor, volatile, backplanes, underlay_complete };
    Ok((node, timekeeper))
}

fn validate_shard(walk: &Walk<'_>, handover: &Handover) -> Result<Identity, Halted> {
    let places = Places {
        root: "/".into(),
        configuration: handover::CONFIGURATION.into(),
        handed_over: HandedOver {
            manifest: handover::MANIFEST.into(),
            statement: handover::STATEMENT.into(),
        },
    };
    let mut unenrolled_key = None;
    let identity = walk.stage(Stage::ValidateShard, || {
        let unenrolled_key = match &unenrolled_key {
            Some(known) => known,
            None => unenrolled_key.insert(UnenrolledKey::new()?),
        };
        let step = validate::attempt(&places, handover, unenrolled_key)?;
        if matches!(step, Step::Waiting { .. }) {
            walk.board.note(|facts| facts.fingerprint = Some(unenrolled_key.fingerprint().to_owned()));
        }
        Ok::<_, validate::ShardError>(step)
    })?;
    walk.console.set_node(identity.shard.node.as_str());
    walk.board.note(|facts| {
        facts.node = Some(identity.shard.node.to_string());
        facts.role = Some(role(identity.shard.role).to_owned());
        facts.incarnation = Some(identity.seed.incarnation);
        facts.floors = Some(floors(identity.seed.floors.as_ref()));
        facts.demo_keys = identity.cluster.demo_keys;
        facts.fingerprint = None;
    });
    Ok(identity)
}

/// The floors of a seed, as text for the status page.
fn floors(floors: Option<&Floors>) -> String {
    match floors {
        Some(Floors { generation, release }) => format!("generation {generation}, release {release} (seed)"),
        None => "none: the seed is of version 1".to_owned(),
    }
}

const fn role(role: kubedos_wire::node::Role) -> &'static str {
    match role {
        kubedos_wire::node::Role::ControlPlane => "control-plane",
        kubedos_wire::node::Role::Worker => "worker",
    }
}

fn settle_disks(walk: &Walk<'_>, handover: &Handover, identity: &Identity) -> Result<disks::Stored, Halted> {
    let machine = Machine::observe(Path::new("/sys"));
    let begun = uptime();
    let patience = || match uptime().saturating_sub(begun) {
        passed if passed < EMPTY_PATIENCE => Patience::Fresh,
        passed if passed < DISK_PATIENCE => Patience::Tried,
        _ => Patience::Over,
    };
    let stored = walk.stage(Stage::Disks, || {
        let attached = attached::observe(&mut Real::default(), handover, identity)?;
        walk.board.note(|facts| facts.attached = disk_lines(attached.lines.clone()));
        let step = disks::attempt(
            &mut Real::default(),
            disks::desired(handover, identity, machine.clone(), patience()),
            disks::state_folder(),
            &mut disks::random,
        );
        step.map_err(|error| attached.explain(error))
    })?;
    walk.board.note(|facts| {
        facts.fingerprint = Some(stored.fingerprint.clone());
        facts.disks = disk_lines(disks::lines(&stored.storage));
    });
    Ok(stored)
}

fn disk_lines(lines: Vec<(String, String)>) -> Vec<DiskLine> {
    lines.into_iter().map(|(name, text)| DiskLine { name, text }).collect()
}

fn set_baseline(walk: &Walk<'_>, identity: &Identity, clock_floor: u64) -> Result<(), Halted> {
    let hostname = identity.shard.hostname.as_str();
    walk.stage(Stage::Baseline, || {
        let want = baseline::desired(Path::new(baseline::PARAMETERS), hostname, clock_floor)?;
        let done = baseline::settle(&Kernel::default(), &want)?;
        let (parameters, rules) = (want.parameters.len(), want.rules.len());
        let note = Some(format!(
            "{parameters} parameters and {rules} audit rules are set, {} changes since the kernel started",
            done.len()
        ));
        Ok::<_, baseline::BaselineError>(if baseline::record(disks::state_folder(), &want, hostname)? {
            Step::Done { output: (), note }
        } else {
            Step::Unchanged { output: (), note }
        })
    })
}

fn bring_up_backplanes(
    walk: &Walk<'_>,
    identity: &Identity,
    clock: &Start,
) -> Result<(backplanes::Desired, backplanes::Up), Halted> {
    let mut desired = None;
    let up = walk.stage(Stage::Backplanes, || {
        let desired = match &desired {
            Some(known) => known,
            None => desired.insert(backplanes::desired(identity)?),
        };
        let planes = desired.planes.iter().flatten().map(|want| want.plane.clone());
        walk.board.note(|facts| {
            facts.planes = planes.collect();
            facts.drop_counters = firewall::drop_counters(&desired.firewall);
        });
        backplanes::attempt(desired, clock)
    })?;
    let desired = desired.ok_or(Halted(Stage::Backplanes))?; // the stage ends successfully only with a value
    Ok((desired, up))
}

/// Why a later stage does not run.
const fn missing(stage: Stage) -> &'static str {
    match stage {
        Stage::Enroll => "not in this version: enrolment",
        Stage::Converge => "not in this version: platform roles",
        Stage::Workload => "not in this version: Kubernetes",
        Stage::Seal => "not in this version: marking the booted image as good",
        Stage::ValidateShard | Stage::Disks | Stage::Baseline | Stage::Backplanes => "",
    }
}

/// Keeps a halted node running, so that its console can be read. Only a restart ends this state.
fn wait_for_restart(walk: &Walk<'_>, stage: Stage) -> ! {
    for later in Stage::ALL.into_iter().filter(|later| *later > stage) {
        walk.not_run(later, stage.name());
    }
    loop {
        walk.heartbeat.beat(Duration::from_secs(120));
        (walk.pause)(Duration::from_secs(30));
    }
}

fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let started = thread::Builder::new().name(name.into()).stack_size(256 * 1024).spawn(work);
    started.map(drop).map_err(|error| StartError::Thread(name, error))
}

fn start_watchdog(notify: &Arc<Notify>, heartbeat: &Arc<Heartbeat>) -> Result<(), StartError> {
    let Some(patience) = notify.watchdog() else { return Ok(()) };
    let (notify, heartbeat) = (Arc::clone(notify), Arc::clone(heartbeat));
    spawn("watchdog", move || {
        loop {
            if heartbeat.is_good(uptime()) {
                notify.alive();
            }
            thread::sleep(patience / 3);
        }
    })
}

fn start_log_watch(console: &Arc<Console>, board: &Arc<Board>) -> Result<(), StartError> {
    let (console, board) = (Arc::clone(console), Arc::clone(board));
    spawn("kernel-log", move || {
        if let Err(error) = corruption::watch(&console, &board) {
            board.add_error(uptime(), "Baseline", format!("failed to watch the kernel log: {error}"));
        }
    })
}

fn start_path_watch(console: &Arc<Console>, board: &Arc<Board>) -> Result<(), StartError> {
    let (console, board) = (Arc::clone(console), Arc::clone(board));
    spawn("path-mtu", move || path_mtu::watch(&console, &board))
}

fn start_conflict_watch(console: &Arc<Console>, board: &Arc<Board>) -> Result<(), StartError> {
    let (console, board) = (Arc::clone(console), Arc::clone(board));
    spawn("conflicts", move || conflicts::watch(&console, &board))
}

fn start_consoles(board: &Arc<Board>) -> Result<(), StartError> {
    for path in tty::CONSOLES {
        let board = Arc::clone(board);
        spawn("console", move || {
            let page = || {
                let facts = board.facts();
                status_page::render(&facts, &moment(&facts))
            };
            if let Err(error) = tty::listen(Path::new(path), &page) {
                log(6, &format!("cannot use {path} as a console: {error}")); // most machines lack one of the two
            }
        })?;
    }
    Ok(())
}

fn moment(facts: &Facts) -> Moment {
    let planes = || PlanesKernel::open()?.observe().map(|observed| states(&facts.planes, &observed));
    Moment {
        planes: planes().map_err(|error| chain(&error)),
        drops: firewall::drops(&facts.drop_counters).map_err(|error| chain(&error)),
        uptime: uptime(),
        clock: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()), // a clock before 1970 is shown as 1970
        failed_units: Some(failed_units().map_err(|error| chain(&error))),
    }
}

/// Asks systemd on a separate thread, so that the page is printed even if the bus hangs.
fn failed_units() -> Result<Vec<String>, UnitsError> {
    let (sender, receiver) = mpsc::channel();
    let asked = thread::Builder::new().name("units".into()).stack_size(256 * 1024).spawn(move || {
        drop(sender.send(units::failed(UNITS_PATIENCE))); // after the timeout there is no receiver
    });
    asked.map_err(UnitsError::Thread)?;
    receiver.recv_timeout(UNITS_PATIENCE * 2).unwrap_or(Err(UnitsError::Silent))
}
