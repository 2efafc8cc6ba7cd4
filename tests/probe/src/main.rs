//! A program that reports the state of a node to the tests, because a node has no shell. It is a unit of a test image, never of a product.
//!
//! It waits until the agent has completed its last stage. If a test attached a disk with packets ([`matrix`]), it exchanges them with
//! other nodes and answers only what belongs to the network. Otherwise it reads the node's state once, every sealed volume to its end, and the
//! trees on the disks that a test attached. It writes one JSON document to the disk whose serial number is [`ANSWERS`]: eight bytes of
//! length, little-endian, then the text. Finally it prints [`READY`] on the console. The tests evaluate the answers.
#![forbid(unsafe_code)]

mod agent;
mod audit;
mod matrix;
mod modules;
mod planes;
mod processes;
mod programs;
mod readers;
mod transfer;
mod trees;
mod volumes;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;
use serde_json::{Map, Value, json};

/// The serial number of the disk for the answers.
const ANSWERS: &str = "kubedos-answers";
/// The console line that follows when the answers are on the disk.
const READY: &str = "kubedos-probe: answered";

fn main() -> io::Result<()> {
    wait_for_backplanes()?;
    if let Some(transfer) = transfer::instead() {
        write(json!({ "transfer": transfer }).to_string().as_bytes())?;
        return say(READY);
    }
    let mut answers = Map::new();
    let mut ask = |name: &str, question: &dyn Fn() -> Value| {
        // A line before each question, because a test gives up on a console that is silent for too long.
        say(&format!("kubedos-probe: asks for {name}"))?;
        answers.insert(name.to_owned(), question());
        Ok::<(), io::Error>(())
    };
    if matrix::is_wanted() {
        ask("kernel", &|| readers::ask())?;
        ask("matrix", &|| matrix::ask())?; // closes its sockets
        ask("sockets", &|| json!(sockets()))?;
        write(Value::Object(answers).to_string().as_bytes())?;
        return say(READY);
    }
    ask("parameters", &|| json!(parameters(Path::new("/proc/sys"))))?;
    ask("lockdown", &|| text("/sys/kernel/security/lockdown"))?;
    ask("cmdline", &|| text("/proc/cmdline"))?;
    ask("mounts", &|| json!(lines("/proc/self/mountinfo")))?;
    ask("swaps", &|| json!(lines("/proc/swaps")))?;
    ask("processes", &|| json!(processes::all()))?;
    ask("credentials", &|| json!(names("/run/credentials")))?;
    ask("units", &|| json!(names("/run/systemd/system")))?;
    ask("modules", &|| modules::ask())?;
    ask("programs", &|| programs::start())?;
    ask("audit", &|| audit::ask())?;
    ask("volumes", &|| volumes::read_all())?;
    ask("files", &|| volumes::walk())?;
    ask("sockets", &|| json!(sockets()))?; // chronyd starts after Backplanes has ended
    ask("trees", &|| trees::read_all())?;
    ask("own trees", &|| trees::read_volumes())?;
    ask("planes", &|| planes::ask())?;
    write(Value::Object(answers).to_string().as_bytes())?;
    say(READY)
}

/// Prints a line on the console with the highest priority, so that it is shown at every console log level.
fn say(line: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(format!("<0>{line}\n").as_bytes())
}

/// Reads the kernel's log from its start until the agent's record that Backplanes has ended, also if the underlay is
/// incomplete.
fn wait_for_backplanes() -> io::Result<()> {
    let mut log = BufReader::new(File::open("/dev/kmsg")?);
    let mut line = String::new();
    loop {
        line.clear();
        match log.read_line(&mut line) {
            Ok(_) => {}
            // EPIPE: a message was overwritten before it was read; the next read continues after it.
            Err(error) if error.raw_os_error() == Some(32) => continue,
            Err(error) => return Err(error),
        }
        let Some(record) = Record::find(&line) else { continue };
        if record.stage == Stage::Backplanes.name()
            && matches!(record.outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting)
        {
            return Ok(());
        }
    }
}

/// Writes the answers to the disk for the answers.
fn write(answers: &[u8]) -> io::Result<()> {
    let mut disk = OpenOptions::new().write(true).open(block_device(ANSWERS)?)?;
    disk.write_all(&(answers.len() as u64).to_le_bytes())?;
    disk.write_all(answers)?;
    disk.sync_all()
}

/// The disk with this serial number.
fn block_device(wanted: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/block")?.flatten() {
        let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        if serial.trim() == wanted {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no disk {wanted}")))
}

/// Every readable kernel parameter below `root`, by its name with dots.
fn parameters(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let (Ok(name), Ok(value)) = (path.strip_prefix(root), fs::read_to_string(&path)) {
                found.insert(name.to_string_lossy().replace('/', "."), value.trim().to_owned());
            }
        }
    }
    found
}

/// The kernel's tables of sockets.
fn sockets() -> BTreeMap<&'static str, Vec<String>> {
    let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet"];
    tables.into_iter().map(|table| (table, lines(&format!("/proc/net/{table}")))).collect()
}

/// A file's text, or the error of reading it.
fn text(path: &str) -> Value {
    fs::read_to_string(path).map_or_else(|error| json!({ "error": error.to_string() }), Value::from)
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The names in a folder, sorted; empty if the folder does not exist.
fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
