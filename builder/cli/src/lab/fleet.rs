//! The running machines of a lab: starts them one after another, follows their consoles, and powers them off.
//!
//! A node starts when all nodes before it are ready or have failed, because two emulated boots at once take longer than one after
//! the other. A machine that has ended is dropped at once, so that its guard never signals a process that got its id.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubedos_lab::switch::{CaptureOptions, PortId, Scope, Switch, SwitchOptions, SwitchStatus};
use kubedos_lab::{
    Bench, BootFailure, BootProgress, Disk, Firmware, Format, Hardware, MAX_TEXT, Machine, MachineError, Nic,
    Tools,
};
use kubedos_wire::node::Role;
use kubedos_wire::printable::{self, chain};

use super::error::LabError;
use super::faults::{ActiveFaults, Fault, pairs};
use super::machines::{LabNode, Machines};
use super::protocol::{LabStatus, NodeStatus, Phase, Planes, PortTraffic};
use crate::terminal::say;

/// The time between two presses of the power button. A press is lost before systemd-logind listens.
const PRESS: Duration = Duration::from_secs(4);

/// The machines of a lab and their switch.
#[derive(Debug)]
pub struct Fleet {
    tools: Tools,
    nodes: Vec<Node>,
    switch: Switch,
    faults: ActiveFaults,
    started: Instant,
    stopping: Option<Stopping>,
}

#[derive(Debug)]
struct Node {
    plan: LabNode,
    bench: Bench,
    socket: PathBuf,
    port: PortId,
    state: State,
    progress: BootProgress,
    lines: usize,
}

#[derive(Debug)]
enum State {
    Queued,
    Running(Box<Machine>, Instant),
    Ended,
    Failed(String),
}

#[derive(Debug)]
struct Stopping {
    since: Instant,
    limit: Duration,
    pressed: Option<Instant>,
}

impl Fleet {
    /// Starts the switch. The machines start in [`Self::step`].
    pub fn new(machines: Machines, folder: &Path, run: &Path) -> Result<Self, LabError> {
        let tools = Tools::new(&machines.tools)?;
        let base = Bench::new(folder, "machines")?.keep();
        let ports = run.join("switch");
        std::fs::create_dir_all(&ports).map_err(LabError::file("create", &ports))?;
        let switch = Switch::start(&SwitchOptions::default())?;
        let nodes = machines.nodes.into_iter().map(|plan| {
            let bench = base.sub(plan.name.as_str())?.keep();
            let socket = switch.listen(plan.name.as_str(), &ports)?;
            Ok(Node {
                plan,
                bench,
                socket: socket.path,
                port: socket.id,
                state: State::Queued,
                progress: BootProgress::default(),
                lines: 0,
            })
        });
        let nodes = nodes.collect::<Result<_, LabError>>()?;
        let faults = ActiveFaults::default();
        Ok(Self { tools, nodes, switch, faults, started: Instant::now(), stopping: None })
    }

    /// One step: reads the consoles, notices ended machines, starts the next node or continues to power off.
    pub fn step(&mut self) {
        self.nodes.iter_mut().for_each(Node::observe);
        if self.stopping.is_some() {
            self.power_off();
        } else if let Some(next) = next_to_start(self.nodes.iter().map(Node::phase)) {
            let tools = self.tools.clone();
            if let Some(node) = self.nodes.get_mut(next) {
                node.start(&tools);
            }
        }
    }

    /// Begins to power all nodes off.
    pub fn stop(&mut self, limit: Duration) {
        let since = self.stopping.as_ref().map_or_else(Instant::now, |stopping| stopping.since);
        let pressed = self.stopping.as_ref().and_then(|stopping| stopping.pressed);
        self.stopping = Some(Stopping { since, limit, pressed });
    }

    /// Whether all machines have ended after [`Self::stop`].
    pub fn has_stopped(&self) -> bool {
        self.stopping.is_some() && !self.nodes.iter().any(|node| matches!(node.state, State::Running(..)))
    }

    /// Presses Enter on the console of a node.
    pub fn press_enter(&mut self, name: &str) -> Result<(), LabError> {
        let known = || self.nodes.iter().map(|node| node.plan.name.to_string()).collect();
        let Some(at) = self.nodes.iter().position(|node| node.plan.name.as_str() == name) else {
            return Err(LabError::NoNode { name: name.to_owned(), known: known() });
        };
        match self.nodes.get_mut(at).map(|node| &mut node.state) {
            Some(State::Running(machine, _)) => Ok(machine.type_text("\r")?),
            _ => Err(LabError::Refused(format!("{name} does not run"))),
        }
    }

    /// Starts a capture of all frames.
    pub fn start_capture(&self, file: PathBuf, max_bytes: u64) -> Result<(), LabError> {
        Ok(self.switch.control().start_capture(&CaptureOptions { file, max_bytes, outbound: false })?)
    }

    /// Ends the capture.
    pub fn stop_capture(&self) {
        self.switch.control().stop_capture();
    }

    /// Changes the faults between nodes. If the switch refuses the values, nothing is changed: they are the same for all pairs.
    pub fn disturb(&mut self, fault: Fault, nodes: &[String]) -> Result<(), LabError> {
        let names: Vec<&str> = self.nodes.iter().map(|node| node.plan.name.as_str()).collect();
        let next = self.faults.after(fault, nodes, &names)?;
        let (control, ports) = (self.switch.control(), self.nodes.iter().map(|node| node.port));
        let ports: Vec<PortId> = ports.collect();
        for (one, other) in pairs(ports.len()) {
            let faults = next.pairs.get(&(one, other)).copied().unwrap_or_default();
            let is_new = self.faults.pairs.get(&(one, other)).copied().unwrap_or_default() != faults;
            if let (true, Some(one), Some(other)) = (is_new, ports.get(one), ports.get(other)) {
                for (from, to) in [(*one, *other), (*other, *one)] {
                    control.set_faults(Scope::Pair { from, to }, faults)?;
                }
            }
        }
        let side: Vec<PortId> = next.side.iter().filter_map(|place| ports.get(*place)).copied().collect();
        control.partition(&[side.as_slice()])?;
        self.faults = next;
        Ok(())
    }

    /// The state of all nodes.
    pub fn status(&self) -> LabStatus {
        let switch = self.switch.control().status();
        let names: Vec<&str> = self.nodes.iter().map(|node| node.plan.name.as_str()).collect();
        LabStatus {
            up_s: self.started.elapsed().as_secs(),
            stopping: self.stopping.is_some(),
            nodes: self
                .nodes
                .iter()
                .enumerate()
                .map(|(place, node)| node.status(&switch, self.faults.of(place, &names)))
                .collect(),
        }
    }

    fn power_off(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        let is_over = stopping.since.elapsed() >= stopping.limit;
        let press = stopping.pressed.is_none_or(|last| last.elapsed() >= PRESS);
        if press {
            stopping.pressed = Some(Instant::now());
        }
        for node in &mut self.nodes {
            let State::Running(machine, _) = &node.state else { continue };
            if is_over {
                say!("{}: killed, because it did not power off", node.plan.name);
                // Dropping the machine kills it. Its disks are plain files, so every completed write is in them.
                node.state = State::Ended;
            } else if press && let Err(error) = machine.press_power() {
                say!("{}: {}", node.plan.name, chain(&error));
            }
        }
    }
}

/// The node that starts next: the first one that has not started, as soon as no other one boots.
fn next_to_start(phases: impl Iterator<Item = Phase> + Clone) -> Option<usize> {
    if phases.clone().any(|phase| phase == Phase::Booting) {
        return None;
    }
    phases.into_iter().position(|phase| phase == Phase::Queued)
}

impl Node {
    fn start(&mut self, tools: &Tools) {
        let system = self.plan.disks.first().map(|disk| Disk::new(&disk.file, Format::Raw));
        let others =
            self.plan.disks.iter().skip(1).map(|disk| Disk::new(&disk.file, Format::Raw).not_bootable());
        let seed = Disk::new(&self.plan.seed, Format::Raw).read_only().not_bootable();
        let hardware = Hardware::new(Firmware::Uefi)
            .memory_mib(self.plan.memory_mib)
            .uuid(&self.plan.uuid)
            .network(Nic::new(&self.socket, self.plan.mac));
        let disks = system.into_iter().chain([seed]).chain(others);
        let hardware = disks.fold(hardware, Hardware::disk);
        self.state = match Machine::start(tools, &self.bench, &hardware) {
            Ok(machine) => State::Running(Box::new(machine), Instant::now()),
            Err(error) => self.failed(&error),
        };
    }

    /// Reads the new lines of the console, and drops a machine that has ended.
    fn observe(&mut self) {
        let State::Running(machine, _) = &mut self.state else { return };
        // Asked before the console is read, so that the last lines are read below.
        let status = machine.exit_status();
        let (next, lines) = machine.console().lines_from(self.lines);
        self.lines = next;
        lines.iter().for_each(|line| self.progress.read(&line.text));
        match status {
            Ok(None) => {}
            Ok(Some(status)) => {
                let output = machine.emulator_output();
                let failed = !status.success();
                self.finish(if failed {
                    State::Failed(clipped(&format!("the emulator ended: {output}")))
                } else {
                    State::Ended
                });
            }
            Err(error) => {
                let state = self.failed(&error);
                self.finish(state);
            }
        }
    }

    /// Replaces the machine; reads the lines that it wrote last.
    fn finish(&mut self, state: State) {
        if let State::Running(machine, _) = std::mem::replace(&mut self.state, state) {
            let log = machine.log();
            drop(machine);
            let text = std::fs::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            text.lines().skip(self.lines).for_each(|line| self.progress.read(line));
        }
    }

    fn failed(&self, error: &MachineError) -> State {
        say!("{}: {}", self.plan.name, chain(error));
        State::Failed(clipped(&chain(error)))
    }

    fn phase(&self) -> Phase {
        match &self.state {
            State::Queued => Phase::Queued,
            State::Failed(_) => Phase::Failed,
            _ if self.progress.failure().is_some() => Phase::Halted,
            State::Ended => Phase::Off,
            State::Running(..) if self.progress.is_ready() => Phase::Ready,
            State::Running(..) if self.progress.waits_at_the_end() => Phase::Waiting,
            State::Running(..) => Phase::Booting,
        }
    }

    fn status(&self, switch: &SwitchStatus, faults: Vec<String>) -> NodeStatus {
        let (name, current) = (self.plan.name.as_str(), self.progress.current());
        let (machine, up_s) = match &self.state {
            State::Running(machine, since) => {
                let state = machine.run_state().unwrap_or_else(|error| clipped(&chain(&error)));
                (Some(state), Some(since.elapsed().as_secs()))
            }
            State::Queued | State::Ended | State::Failed(_) => (None, None),
        };
        let port = switch.ports.iter().find(|port| port.name == name);
        let failed_at = match self.progress.failure() {
            Some(BootFailure::Halted(record)) => Some(record),
            Some(BootFailure::Kernel(_)) | None => None,
        };
        let shown = failed_at.or(current);
        NodeStatus {
            version: 1,
            node: name.to_owned(),
            role: role(self.plan.role).to_owned(),
            address: self.plan.address.clone(),
            mac: self.plan.mac.to_string(),
            phase: self.phase(),
            machine,
            stage: shown.map(|record| record.stage.clone()),
            outcome: shown.map(|record| record.outcome),
            on: current.and_then(|record| record.on.clone()),
            error: self.error(),
            corrupt: self.progress.corrupt().map(|record| record.volume.clone().unwrap_or_default()),
            up_s,
            planes: self.progress.planes().map(|record| Planes {
                outcome: record.outcome,
                on: record.on.clone(),
                note: record.note.clone(),
            }),
            faults,
            port: port.map_or_else(PortTraffic::default, |port| PortTraffic {
                attached: port.attached,
                received_frames: port.received.frames,
                received_bytes: port.received.bytes,
                sent_frames: port.sent.frames,
                sent_bytes: port.sent.bytes,
            }),
            console: console_file(self.bench.folder()),
        }
    }

    fn error(&self) -> Option<String> {
        match (&self.state, self.progress.failure()) {
            (State::Failed(error), _) => Some(error.clone()),
            (_, Some(BootFailure::Halted(record))) => record.error.clone(),
            (_, Some(BootFailure::Kernel(message))) => Some(message.clone()),
            (_, None) => self.progress.current().and_then(|record| record.error.clone()),
        }
    }
}

/// The console of a node, in the folder of its machine.
pub fn console_file(machine: &Path) -> PathBuf {
    machine.join("machine-1").join("console.log")
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

fn clipped(text: &str) -> String {
    printable::clipped(text, MAX_TEXT).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_starts_when_the_nodes_before_it_have_settled() {
        use Phase::{Booting, Failed, Halted, Off, Queued, Ready, Waiting};
        for (phases, next) in [
            (&[Queued, Queued][..], Some(0)),
            (&[Booting, Queued], None),
            (&[Ready, Queued, Queued], Some(1)),
            (&[Halted, Queued], Some(1)),
            (&[Failed, Off, Queued], Some(2)),
            (&[Waiting, Queued], Some(1)),
            (&[Ready, Booting, Queued], None),
            (&[Ready, Ready], None),
            (&[], None),
        ] {
            assert_eq!(next_to_start(phases.iter().copied()), next, "{phases:?}");
        }
    }
}
