//! Planes under faults: the path between two nodes loses, delays and reorders frames or is divided; all nodes restart at
//! once; the agent is killed and replaced. The planes recover without help (N1, C3), and an agent that ends loses nothing.
//!
//! The probe sends echoes over every plane (`tests/probe/src/transfer.rs`). The longest stall is printed; it is not
//! asserted, because it depends on the load of the host.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kubedos_lab::switch::{Faults, PortId, Scope, Switch, SwitchOptions};
use kubedos_lab::{Bench, Disk, Machine, Nic, Patience};
use kubedos_tests::reader::{Cause, Named, faults};
use kubedos_tests::{Rig, answers, answers_disk, probe_image};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;
use serde_json::Value;

/// The client of the echoes, which reports them, and the server.
const NODES: [&str; 2] = ["cp-1", "w-1"];
const PLANES: [&str; 3] = ["wg1", "wg2", "wg3"];

/// How long the planes may need to recover, also after a boot of both nodes on an emulated processor.
const RECOVERY: Duration = Duration::from_secs(300);

/// Two nodes on one switch.
struct Pair {
    machines: Vec<Machine>,
    ports: Vec<PortId>,
    answers: Vec<Disk>,
    switch: Switch,
    /// The lines of the client's console that were read.
    read: usize,
    benches: Vec<Bench>,
    rig: Rig,
}

impl Pair {
    /// Boots both nodes until their planes are up. `task` is the serial number of the disk that tells the probe what to do.
    fn boot(test: &str, task: &str) -> Self {
        let rig = Rig::of(probe_image(), test);
        let switch = Switch::start(&SwitchOptions::default()).unwrap();
        let mut pair =
            Self { machines: vec![], ports: vec![], answers: vec![], switch, read: 0, benches: vec![], rig };
        for (node, last) in NODES.into_iter().zip(1_u8..) {
            pair.start(node, last, task);
        }
        pair
    }

    fn start(&mut self, node: &str, last: u8, task: &str) {
        let bench = self.rig.bench().sub(node).unwrap();
        let socket = self.switch.listen(node, bench.folder()).unwrap();
        let answers = answers_disk(&bench);
        let task = bench.blank("task", 1 << 20).unwrap().serial(task).not_bootable();
        let hardware = self
            .rig
            .unseeded(self.rig.disk(&format!("{node}-disk")))
            .disk(probe_image().seed(node))
            .disk(answers.clone())
            .disk(task)
            .network(Nic::new(socket.path, format!("52:54:00:00:00:{last:02x}").parse().unwrap()))
            .reboots();
        let machine = self.rig.boot(&hardware);
        machine.wait_for_stage(Stage::Backplanes.name(), Outcome::Done, Patience::BOOT).unwrap();
        self.machines.push(machine);
        self.ports.push(socket.id);
        self.answers.push(answers);
        self.benches.push(bench);
    }

    /// The faults that the serial log of a node names.
    fn named(&self, node: usize) -> Vec<Named> {
        faults(&String::from_utf8_lossy(&std::fs::read(self.machines[node].log()).unwrap()))
    }

    /// Waits until the serial log of a node names this fault, and that it has ended or not.
    fn is_named(&self, node: usize, cause: &Cause, ended: bool) {
        let begun = Instant::now();
        let last = || self.named(node).into_iter().rfind(|named| named.cause == *cause);
        while last().is_none_or(|named| named.until.is_some() != ended) {
            assert!(begun.elapsed() < RECOVERY, "not named: {cause}, ended {ended}: {:#?}", self.named(node));
            std::thread::sleep(Duration::from_secs(1));
        }
        println!("{}: named after {:?}: {cause}, ended {ended}", NODES[node], begun.elapsed());
    }

    fn set_faults(&self, faults: Faults) {
        self.switch.control().set_faults(Scope::All, faults).unwrap();
    }

    /// The next report of the echoes on all planes.
    fn report(&mut self) -> BTreeMap<String, Report> {
        let begun = Instant::now();
        while begun.elapsed() < RECOVERY {
            let (next, lines) = self.machines[0].console().lines_from(self.read);
            for (number, line) in (next - lines.len()..).zip(lines) {
                self.read = number + 1;
                if let Some((_, document)) = line.text.split_once("kubedos-probe: echoes ") {
                    let planes: Value = serde_json::from_str(document.trim()).unwrap();
                    return PLANES
                        .into_iter()
                        .map(|plane| (plane.into(), Report::of(&planes[plane])))
                        .collect();
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no report of the echoes for {RECOVERY:?}");
    }

    /// Ignores the reports until now.
    fn skip(&mut self) {
        self.read = self.machines[0].console().len();
    }

    /// Reads reports for a time; the longest stall of each plane.
    fn watch(&mut self, time: Duration) -> BTreeMap<String, u64> {
        let (begun, mut stalls) = (Instant::now(), BTreeMap::new());
        while begun.elapsed() < time {
            note(&mut stalls, &self.report());
        }
        stalls
    }

    /// Waits until all planes carry echoes without a stall of more than a second, in two reports in turn. Prints the time,
    /// and the longest stall since `stalls` was begun.
    fn recovers(&mut self, from: &str, mut stalls: BTreeMap<String, u64>) {
        self.skip();
        let (begun, mut calm) = (Instant::now(), 0);
        while calm < 2 {
            assert!(
                begun.elapsed() < RECOVERY,
                "the planes did not recover from {from}: {:?}",
                self.report()
            );
            let report = self.report();
            let is_calm = report.values().all(|plane| plane.answered > 0 && plane.stall_ms < 1000);
            calm = if is_calm { calm + 1 } else { 0 };
            note(&mut stalls, &report);
        }
        println!("{from}: recovered within {:?}, longest stall in ms: {stalls:?}", begun.elapsed());
    }
}

/// The echoes of one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Report {
    sent: u64,
    answered: u64,
    stall_ms: u64,
    longest_ms: u64,
}

impl Report {
    fn of(document: &Value) -> Self {
        let number = |name: &str| document[name].as_u64().unwrap_or_else(|| panic!("{name} in {document}"));
        Self {
            sent: number("sent"),
            answered: number("answered"),
            stall_ms: number("stall_ms"),
            longest_ms: number("longest_ms"),
        }
    }
}

fn note(stalls: &mut BTreeMap<String, u64>, report: &BTreeMap<String, Report>) {
    for (plane, report) in report {
        let longest = stalls.entry(plane.clone()).or_default();
        *longest = report.longest_ms.max(*longest);
    }
}

/// The path is divided, loses frames, and is interrupted at the node; the last one is named in the serial log.
#[test]
fn planes_recover_from_a_partition_from_loss_and_from_a_removed_cable() {
    let mut pair = Pair::boot("planes_recover_from_a_partition", "kubedos-echo");
    pair.recovers("the boot", BTreeMap::new());

    let before = pair.report();
    pair.switch.control().partition(&[&[pair.ports[0]]]).unwrap();
    let stalls = pair.watch(Duration::from_secs(10));
    // The partition exists: no plane carries an echo.
    assert!(pair.report().values().all(|plane| plane.stall_ms > 5000), "{before:?} {:?}", pair.report());
    pair.switch.control().heal();
    pair.recovers("a partition", stalls);

    let (before, after) = disturb(&mut pair, "20 % loss", Faults { loss_ppm: 200_000, ..Faults::default() });
    for plane in PLANES {
        let (before, after) = (before[plane], after[plane]);
        let (sent, answered) = (after.sent - before.sent, after.answered - before.answered);
        assert!(sent > answered + 5, "nothing was lost: {before:?} {after:?}");
    }

    // Without its cable, the node names the cause; with it, the planes recover.
    let no_carrier = Cause::NoCarrier("uplink".into());
    pair.machines[0].set_link(0, false).unwrap();
    pair.is_named(0, &no_carrier, false);
    pair.machines[0].set_link(0, true).unwrap();
    pair.is_named(0, &no_carrier, true);
    pair.recovers("a removed cable", BTreeMap::new());
    assert_eq!(pair.named(1), [], "the other node lacked nothing");
}

#[test]
#[ignore = "long: make drill"]
fn planes_recover_from_delay_from_reordering_and_from_a_restart_of_all_nodes() {
    let mut pair = Pair::boot("planes_recover_from_delay", "kubedos-echo");
    pair.recovers("the boot", BTreeMap::new());
    let (delay, none) = (Duration::from_millis(200), Faults::default());
    disturb(&mut pair, "200 ms delay in each direction", Faults { delay, jitter: delay / 4, ..none });
    let reordered = Faults { reorder_ppm: 250_000, reorder_distance: 3, duplicate_ppm: 100_000, ..none };
    disturb(&mut pair, "reordering and duplication", reordered);
    for machine in &pair.machines {
        machine.reset().unwrap();
    }
    pair.recovers("a restart of all nodes", BTreeMap::new());
}

/// The planes carry echoes during faults and recover from them. The result is the reports before and at the end.
fn disturb(
    pair: &mut Pair,
    name: &str,
    faults: Faults,
) -> (BTreeMap<String, Report>, BTreeMap<String, Report>) {
    let before = pair.report();
    pair.set_faults(faults);
    let stalls = pair.watch(Duration::from_secs(12));
    let after = pair.report();
    for plane in PLANES {
        assert!(after[plane].answered > before[plane].answered + 20, "{name}: {before:?} {after:?}");
    }
    pair.switch.control().clear_faults();
    pair.recovers(name, stalls);
    (before, after)
}

/// The serial log alone names a missing network card and an RTC that is decades ahead.
#[test]
#[ignore = "long: make drill"]
fn the_serial_log_names_a_missing_card_and_a_refused_clock() {
    let rig = Rig::new("the_serial_log_names_a_missing_card_and_a_refused_clock");
    let machine = rig.boot(&rig.hardware(rig.disk("disk")).clock("2090-01-01T00:00:00"));
    machine.wait_for_stage(Stage::Backplanes.name(), Outcome::Waiting, Patience::BOOT).unwrap();
    let named = faults(&String::from_utf8_lossy(&std::fs::read(machine.log()).unwrap()));
    for cause in [Cause::LinkMissing("uplink".into()), Cause::ClockRefused] {
        assert!(named.iter().any(|named| named.cause == cause), "{cause}: {named:#?}");
    }
}

/// A person who has only the serial log of a node can name a partition, and that it has ended; both nodes name it.
#[test]
#[ignore = "long: make drill"]
fn the_serial_log_names_a_long_partition_and_its_end() {
    let mut pair = Pair::boot("the_serial_log_names_a_long_partition", "kubedos-echo");
    pair.recovers("the boot", BTreeMap::new());
    pair.switch.control().partition(&[&[pair.ports[0]]]).unwrap();
    let lost = |node: usize| Cause::Unreachable { node: NODES[1 - node].into(), planes: vec![], all: true };
    pair.is_named(0, &lost(0), false);
    pair.is_named(1, &lost(1), false);
    pair.switch.control().heal();
    pair.recovers("a long partition", BTreeMap::new());
    pair.is_named(0, &lost(0), true);
    pair.is_named(1, &lost(1), true);
}

/// C3: no connection and no echo is lost while the agents of both nodes are killed, ended, and replaced by another program.
#[test]
fn no_connection_and_no_echo_is_lost_while_the_agent_is_killed_and_replaced() {
    let pair = Pair::boot("no_connection_and_no_echo_is_lost", "kubedos-transfer");
    let found: Vec<Value> = pair
        .machines
        .iter()
        .zip(&pair.answers)
        .map(|(machine, disk)| answers(machine, disk)["transfer"].clone())
        .collect();
    let client = &found[0];
    let agents = client["agents"].as_array().unwrap_or_else(|| panic!("{found:#?}"));
    let how: Vec<_> = agents.iter().map(|agent| agent["how"].as_str().unwrap()).collect();
    assert_eq!(how, ["killed", "ended", "replaced"], "{found:#?}");
    assert_ne!(agents[1]["program"], agents[2]["program"], "the program was not replaced: {found:#?}");
    for agent in agents.iter().chain(found[1]["agents"].as_array().unwrap()) {
        assert_eq!(agent["outcome"], "unchanged", "an agent changed something: {found:#?}");
    }
    for plane in PLANES {
        let transfer = &client["planes"][plane];
        let sent = transfer["sent"].as_u64().unwrap();
        // Three restarts take some seconds, also on a fast processor.
        assert!(sent > 20, "{found:#?}");
        assert_eq!(transfer["answered"].as_u64(), Some(sent), "echoes are lost: {found:#?}");
        let bytes = transfer["bytes"].as_array().unwrap();
        assert!(bytes[0].as_u64().unwrap() > 1 << 17, "{found:#?}");
        assert_eq!(bytes[0], bytes[1], "{found:#?}");
        println!(
            "{plane}: {sent} echoes and {} bytes, longest stall {} ms",
            bytes[0], transfer["longest_ms"]
        );
    }
}
