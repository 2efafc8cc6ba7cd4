//! Measures the cost of configuring planes on the kernel of a node, because hosts may have no WireGuard. It is a unit of a bench
//! image, never of a product; `kubedos-bench` evaluates its answers.
//!
//! Each measurement runs in a process and a network namespace of its own, which starts empty, and the ways are measured in turn:
//!
//! - the agent's own code (`kubedos_agent::stages::backplanes::planes`): applied, applied again, one peer changed;
//! - the messages of that first apply, recorded and sent by a loop that does nothing else: the kernel's own cost;
//! - wg(8) and ip(8) with one batch, if the image contains them.
//!
//! If a test attached a disk for it, the program measures the throughput to a second node instead ([`throughput`]).
#![forbid(unsafe_code)]

mod agent;
mod cost;
mod replay;
mod throughput;
mod tools;
mod want;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use kubedos_guest::{answer, say, wait_for_backplanes};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Map, Value, json};

/// Peers on each of three planes.
const PEERS: u32 = 1000;
/// Numbers of peers for which the cost of changing one peer is compared; 1 also gives the memory with three peers.
const SIZES: [u32; 3] = [1, 10, 100];
/// How often each way is measured.
const RUNS: u32 = 3;
/// Time for the kernel to free the devices of the measurement before.
const PAUSE: Duration = Duration::from_secs(2);

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => measure(),
        [way, peers, folder] => {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let (peers, folder) = (peers.parse()?, Path::new(folder));
            let answer = match *way {
                "agent" => agent::measure(peers)?,
                "record" => agent::record(peers, folder)?,
                "replay" => replay::measure(folder)?,
                "tools" => tools::measure(peers, folder)?,
                other => return Err(format!("unknown way {other}").into()),
            };
            want::remove()?;
            println!("{answer}");
            Ok(())
        }
        _ => Err("usage: [agent|record|replay|tools PEERS FOLDER]".into()),
    }
}

/// Measures everything in turn, and writes the answers.
fn measure() -> Result<(), Failure> {
    wait_for_backplanes()?;
    if throughput::is_wanted() {
        return Ok(answer(throughput::measure()?.to_string().as_bytes())?);
    }
    let folder = PathBuf::from("/run/kubedos-planes-bench");
    fs::create_dir_all(&folder)?;
    run("record", PEERS, &folder)?;
    let mut ways = vec!["agent", "replay"];
    if tools::exist() {
        ways.push("tools");
    }
    let mut answers: Map<String, Value> = Map::new();
    let mut put = |name: String, answer: Value| -> Result<(), Failure> {
        let list = answers.entry(name).or_insert_with(|| json!([]));
        list.as_array_mut().ok_or("the answers are a list")?.push(answer);
        Ok(())
    };
    for number in 0..RUNS {
        for way in &ways {
            put((*way).to_owned(), run(way, PEERS, &folder)?)?;
        }
        for peers in SIZES {
            put(format!("agent {peers}"), run("agent", peers, &folder)?)?;
        }
        say(&format!("kubedos-planes-bench: run {number} ended"))?;
    }
    Ok(answer(Value::Object(answers).to_string().as_bytes())?)
}

/// Runs one measurement in a process of its own.
fn run(way: &str, peers: u32, folder: &Path) -> Result<Value, Failure> {
    sleep(PAUSE);
    say(&format!("kubedos-planes-bench: measures {way} with {peers} peers"))?;
    let output =
        Command::new(std::env::current_exe()?).args([way, &peers.to_string()]).arg(folder).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        say(&format!("kubedos-planes-bench: {way} failed: {error}"))?;
        return Err(error.into());
    }
    say(&format!("kubedos-planes-bench: {}", String::from_utf8_lossy(&output.stdout).trim()))?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
