//! A running machine: one QEMU process, its console and its control socket.
//!
//! Its folder contains `console.log`, `emulator.log` (QEMU's own output), `command` (to start the machine again by hand)
//! and, for each network card, a link to the socket of its switch port (see [`crate::Nic`]). The process is killed when the [`Machine`] is dropped; a second, small process kills it if this process ends
//! first.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kubedos_wire::record::{Outcome, Record};
use serde_json::{Value, json};

use crate::hardware::{MachineFiles, node_name};
use crate::machine_error::ends_wait;
use crate::nic::{device_name, link_name};
use crate::patience::Waited;
use crate::{
    Acceleration, Bench, Console, Hardware, MachineError, Patience, Qmp, QmpError, Tools, WaitError,
    WaitFailure,
};

/// How many console lines an error shows.
const TAIL: usize = 25;

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    guard: Child,
    console: Console,
    qmp: Mutex<Qmp>,
    folder: PathBuf,
    from: AtomicUsize,
}

impl Machine {
    /// Starts a machine, which uses its disks directly, without a copy.
    ///
    /// # Errors
    /// If the emulator is incomplete, does not start, or refuses the hardware.
    pub fn start(tools: &Tools, bench: &Bench, hardware: &Hardware) -> Result<Self, MachineError> {
        let acceleration = hardware.acceleration.unwrap_or_else(|| Acceleration::probe(tools, bench));
        let folder = bench.next_machine()?;
        let files = prepare(tools, hardware, &folder)?;
        let mut command = tools.command("usr/bin/qemu-system-x86_64")?;
        command.args(hardware.arguments(tools, acceleration, &files)?);
        write_file(&folder.join("command"), format!("{command:?}\n").as_bytes())?;
        let emulator_log = folder.join("emulator.log");
        let log = File::create(&emulator_log)
            .map_err(|source| MachineError::Folder { path: emulator_log.clone(), source })?;
        command.current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let starts = |source| MachineError::Run { what: "the emulator", source };
        let mut child = command.spawn().map_err(starts)?;
        let guard = match guard(child.id()) {
            Ok(guard) => guard,
            Err(source) => {
                end(&mut child);
                return Err(MachineError::Run { what: "the emulator's guard", source });
            }
        };
        let console = match child.stdout.take() {
            Some(stdout) => Console::read(stdout),
            None => Console::read(io::empty()),
        };
        // The path through /proc keeps the name of the socket short, however deep the folder is.
        let socket = PathBuf::from(format!("/proc/{}/cwd/qmp", child.id()));
        let mut half = StartingMachine { child: Some(child), guard: Some(guard) };
        let qmp = Qmp::connect(&socket, Duration::from_secs(30))
            .map_err(|error| half.explain(&emulator_log, error))?;
        let (Some(child), Some(guard)) = (half.child.take(), half.guard.take()) else {
            return Err(MachineError::Qmp(QmpError::Closed));
        };
        Ok(Self { child, guard, console, qmp: Mutex::new(qmp), folder, from: AtomicUsize::new(0) })
    }

    /// The machine's output so far.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The file with all output of the machine.
    pub fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Makes later waits ignore all lines up to now.
    pub fn from_here(&self) {
        self.from.store(self.console.len(), Ordering::Relaxed);
    }

    /// Waits for a record; a record that is already on the console also counts.
    ///
    /// # Errors
    /// If the record can no longer appear, or a limit of `patience` is reached.
    pub fn wait_for(
        &self,
        awaited: &str,
        patience: Patience,
        mut is_it: impl FnMut(&Record) -> bool,
    ) -> Result<Record, MachineError> {
        self.wait(awaited, patience, |line| Record::find(line).filter(|record| is_it(record)))
    }

    /// Waits for a record of `stage` with this outcome.
    ///
    /// # Errors
    /// If the record can no longer appear, or a limit of `patience` is reached.
    pub fn wait_for_stage(
        &self,
        stage: &str,
        outcome: Outcome,
        patience: Patience,
    ) -> Result<Record, MachineError> {
        let awaited = format!("{stage} {outcome:?}");
        self.wait_for(&awaited, patience, |record| record.stage == stage && record.outcome == outcome)
    }

    /// Waits for a line of text; a line that is already on the console also counts.
    ///
    /// # Errors
    /// If the line can no longer appear, or a limit of `patience` is reached.
    pub fn wait_for_line(
        &self,
        awaited: &str,
        patience: Patience,
        mut is_it: impl FnMut(&str) -> bool,
    ) -> Result<String, MachineError> {
        self.wait(awaited, patience, |line| is_it(line).then(|| line.to_owned()))
    }

    /// Waits for the machine to end by itself: the guest powers off, or restarts while that is not allowed.
    ///
    /// # Errors
    /// If a limit of `patience` is reached.
    pub fn wait_for_end(&mut self, patience: Patience) -> Result<ExitStatus, MachineError> {
        let mut waited = Waited::start(patience, self.child.id(), self.console.len());
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(source) => return Err(MachineError::Run { what: "the emulator", source }),
            }
            if let Some(ran_out) = waited.ran_out(self.console.len()) {
                return Err(self.wait_error("the machine's end", ran_out.into()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The exit status of the emulator, if the machine has ended. After that, drop the machine soon: its guard knows the process
    /// only by its id, which another process may get.
    ///
    /// # Errors
    /// If the process cannot be queried.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, MachineError> {
        self.child.try_wait().map_err(|source| MachineError::Run { what: "the emulator", source })
    }

    /// The emulator's own output so far.
    pub fn emulator_output(&self) -> String {
        std::fs::read_to_string(self.folder.join("emulator.log")).unwrap_or_default().trim().to_owned()
    }

    /// QEMU's word for the state of the machine: `running`, `paused`, `shutdown`, `internal-error`, …
    ///
    /// # Errors
    /// If the emulator does not report it.
    pub fn run_state(&self) -> Result<String, MachineError> {
        let status = self.command("query-status", json!({}))?;
        let word = status.get("status").and_then(Value::as_str).map(str::to_owned);
        word.ok_or_else(|| MachineError::Refused { what: "query-status", message: status.to_string() })
    }

    /// Types on the serial console.
    ///
    /// # Errors
    /// If the machine does not accept the text.
    pub fn type_text(&mut self, text: &str) -> Result<(), MachineError> {
        let refused = |source| MachineError::Run { what: "the emulator's console input", source };
        let stdin = self.child.stdin.as_mut().ok_or_else(|| refused(io::ErrorKind::BrokenPipe.into()))?;
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).map_err(refused)
    }

    /// Sends a command to the emulator.
    ///
    /// # Errors
    /// If the emulator refuses it.
    pub fn command(&self, command: &str, arguments: Value) -> Result<Value, MachineError> {
        let mut qmp = self.qmp.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(qmp.command(command, arguments)?)
    }

    /// Presses the reset button. The hardware must allow restarts.
    ///
    /// # Errors
    /// If the emulator refuses.
    pub fn reset(&self) -> Result<(), MachineError> {
        self.from_here();
        self.command("system_reset", json!({})).map(drop)
    }

    /// Presses the power button, which asks the guest to shut down.
    ///
    /// # Errors
    /// If the emulator refuses.
    pub fn press_power(&self) -> Result<(), MachineError> {
        self.command("system_powerdown", json!({})).map(drop)
    }

    /// Sets the carrier of a network card, which the guest notices, as if its cable were removed. `nic` is its index in
    /// [`Hardware`], from 0. The connection to the switch remains.
    ///
    /// # Errors
    /// If the emulator refuses.
    pub fn set_link(&self, nic: usize, up: bool) -> Result<(), MachineError> {
        self.command("set_link", json!({ "name": device_name(nic), "up": up })).map(drop)
    }

    /// The number of write requests to a disk. `disk` is its index in [`Hardware`], from 0.
    ///
    /// # Errors
    /// If the emulator does not report it.
    pub fn writes(&self, disk: usize) -> Result<u64, MachineError> {
        let stats = self.command("query-blockstats", json!({}))?;
        let (name, device) = (node_name(disk), format!("{}-device", node_name(disk)));
        let of_disk = |entry: &&Value| {
            entry.get("node-name").and_then(Value::as_str) == Some(name.as_str())
                || entry.get("qdev").and_then(Value::as_str).is_some_and(|path| path.contains(&device))
        };
        let writes = stats.as_array().into_iter().flatten().find(of_disk);
        let writes = writes.and_then(|entry| entry.get("stats")?.get("wr_operations")?.as_u64());
        let message = || format!("no statistics for {name}: {stats}");
        writes.ok_or_else(|| MachineError::Refused { what: "query-blockstats", message: message() })
    }

    /// Cuts the power: the guest stops immediately. Every write that was completed for the guest is in the disk's file.
    ///
    /// # Errors
    /// If the emulator does not end.
    pub fn cut_power(mut self) -> Result<Vec<Record>, MachineError> {
        // An overlay keeps its tables in memory, so killing the process would lose completed writes.
        match self.command("quit", json!({})) {
            // The socket may be closed before the answer is read.
            Ok(_) | Err(MachineError::Qmp(QmpError::Closed | QmpError::Socket(_))) => {}
            Err(error) => return Err(error),
        }
        self.wait_for_end(Patience::seconds(60))?;
        self.console.drain();
        Ok(self.console.records())
    }

    /// Ends the machine immediately; returns all its records. Its disks must not be used again.
    pub fn finish(mut self) -> Vec<Record> {
        end(&mut self.guard);
        end(&mut self.child);
        self.console.drain();
        self.console.records()
    }

    fn wait<T>(
        &self,
        awaited: &str,
        patience: Patience,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, MachineError> {
        let mut seen = self.from.load(Ordering::Relaxed);
        let mut waited = Waited::start(patience, self.child.id(), self.console.len());
        loop {
            let (next, lines, ended) = self.console.since(seen, Duration::from_millis(250));
            seen = next;
            for line in &lines {
                if let Some(found) = find(&line.text) {
                    return Ok(found);
                }
                if let Some(failure) = ends_wait(&line.text) {
                    return Err(self.wait_error(awaited, failure));
                }
            }
            if ended {
                return Err(self.wait_error(awaited, WaitFailure::Ended(self.emulator_output())));
            }
            if let Some(ran_out) = waited.ran_out(seen) {
                return Err(self.wait_error(awaited, ran_out.into()));
            }
        }
    }

    fn wait_error(&self, awaited: &str, failure: WaitFailure) -> MachineError {
        let lines = self.console.lines();
        let tail = lines.iter().rev().take(TAIL).rev().map(|line| line.text.clone()).collect();
        MachineError::WaitError(Box::new(WaitError {
            awaited: awaited.to_owned(),
            failure,
            log: self.log(),
            tail,
        }))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // End the guard first: it kills a process by its id, and must not run after that process has ended.
        end(&mut self.guard);
        end(&mut self.child);
    }
}

/// A machine during its start. It kills its processes when it is dropped, so that no process remains after an early return.
struct StartingMachine {
    child: Option<Child>,
    guard: Option<Child>,
}

impl StartingMachine {
    /// Returns the emulator's output if it has ended, otherwise the error of the socket.
    fn explain(&mut self, log: &Path, error: QmpError) -> MachineError {
        // The kernel closes the socket before it reports the end of the process.
        let ended = (0..20).any(|_| {
            let ended = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if !ended {
                std::thread::sleep(Duration::from_millis(50));
            }
            ended
        });
        match std::fs::read_to_string(log) {
            Ok(message) if ended => {
                MachineError::Refused { what: "the emulator", message: message.trim().to_owned() }
            }
            _ => MachineError::Qmp(error),
        }
    }
}

impl Drop for StartingMachine {
    fn drop(&mut self) {
        for process in [&mut self.guard, &mut self.child].into_iter().flatten() {
            end(process);
        }
    }
}

/// Writes the files that the machine's command line refers to.
fn prepare(tools: &Tools, hardware: &Hardware, folder: &Path) -> Result<MachineFiles, MachineError> {
    let files = MachineFiles { varstore: folder.join("variables.fd"), folder: folder.to_owned() };
    if let Some(template) = hardware.varstore_template(tools)? {
        let bytes =
            std::fs::read(&template).map_err(|source| MachineError::Folder { path: template, source })?;
        write_file(&files.varstore, &bytes)?;
    }
    for (name, content) in hardware.fw_cfg_contents() {
        write_file(&folder.join(name), content)?;
    }
    for log in hardware.disks.iter().filter_map(|disk| disk.write_log.as_deref()) {
        write_file(log, &[])?;
    }
    link_sockets(hardware, folder)?;
    Ok(files)
}

/// Creates the links to the sockets of the switch, which the command line refers to.
fn link_sockets(hardware: &Hardware, folder: &Path) -> Result<(), MachineError> {
    for (index, nic) in hardware.nics.iter().enumerate() {
        let path = folder.join(link_name(index));
        std::os::unix::fs::symlink(nic.socket(), &path)
            .map_err(|source| MachineError::Folder { path, source })?;
    }
    Ok(())
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), MachineError> {
    std::fs::write(path, content).map_err(|source| MachineError::Folder { path: path.to_owned(), source })
}

/// Starts a process that kills `pid` when this process ends: its standard input is a pipe from this process, which the
/// kernel then closes.
fn guard(pid: u32) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read -r _; kill -9 \"$1\"", "guard", &pid.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Kills a process and waits for its end.
fn end(child: &mut Child) {
    if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
        eprintln!("failed to end process {}: {error}", child.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::{Switch, SwitchOptions};
    use crate::{Firmware, Nic};

    #[test]
    fn the_folder_of_a_machine_has_a_link_to_the_socket_of_each_card() {
        let base = tempfile::tempdir().unwrap();
        let (machine, deep) = (base.path().join("machine"), base.path().join("deep/".repeat(30)));
        for folder in [&machine, &deep] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let switch = Switch::start(&SwitchOptions::default()).unwrap();
        let hardware = ["a", "b"].into_iter().fold(Hardware::new(Firmware::Bios), |hardware, name| {
            let socket = switch.listen(name, &deep).unwrap();
            hardware.network(Nic::new(socket.path, "52:54:00:00:00:01".parse().unwrap()))
        });
        link_sockets(&hardware, &machine).unwrap();
        for (link, name) in [("net0", "a"), ("net1", "b")] {
            let target = std::fs::canonicalize(machine.join(link)).unwrap();
            assert_eq!(target.file_name().unwrap(), name);
            assert!(target.as_os_str().len() > 108);
            drop(std::os::unix::net::UnixStream::connect(machine.join(link)).unwrap());
        }
        assert!(link_sockets(&hardware, &machine).is_err(), "the folder belongs to one machine");
    }
}
