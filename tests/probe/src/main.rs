//! A program that reports the state of a node to the tests, because a node has no shell. It is a unit of a test image, never of a product.
//!
//! It waits until the agent has completed its last stage. If a test attached a disk with packets ([`matrix`]), it exchanges them with
//! other nodes and answers only what belongs to the network. Otherwise it reads the node's state once, every sealed volume to its end, and the
//! trees on the disks that a test attached. It answers with one JSON document ([`kubedos_guest::answer`]), which the tests evaluate.
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
use std::fs;
use std::io;
use std::path::Path;

use kubedos_guest::{answer, say, wait_for_backplanes};
use serde_json::{Map, Value, json};

fn main() -> io::Result<()> {
    wait_for_backplanes()?;
    if let Some(transfer) = transfer::instead() {
        return answer(json!({ "transfer": transfer }).to_string().as_bytes());
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
        return answer(Value::Object(answers).to_string().as_bytes());
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
    answer(Value::Object(answers).to_string().as_bytes())
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
