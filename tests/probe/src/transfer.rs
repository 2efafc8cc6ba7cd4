//! Echoes (UDP) and transfers (TCP) over every plane between two nodes, which show whether a fault, or a restart of the
//! agent, loses anything.
//!
//! They need no rule of the firewall ([`kubedos_guest::pair`]). The client sends the echoes and the transfer. The other node
//! answers, and compares every byte that it receives.
//!
//! It runs only if a test attached a disk with the serial number [`TRANSFER`] or [`ECHO`], instead of all other questions.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use kubedos_guest::pair::{PATIENCE, PORT, Path, planes};
use kubedos_guest::{block_device, say};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent;

/// The serial number of the disk for echoes and transfers while the agent is restarted.
const TRANSFER: &str = "kubedos-transfer";
/// The serial number of the disk for echoes without end, which are reported on the console.
const ECHO: &str = "kubedos-echo";

/// The time between two echoes.
const TICK: Duration = Duration::from_millis(100);
/// The time between two reports.
const REPORT: Duration = Duration::from_secs(2);
/// A part of the transfer; one is sent at each tick.
const PART: usize = 8 << 10;
/// The number of the packets with which a server makes itself known.
const HELLO: u64 = 0;

/// The answers; `None` without one of the disks. With [`ECHO`] it does not return.
pub fn instead() -> Option<Value> {
    let result = if block_device(TRANSFER).is_ok() {
        transfers()
    } else if block_device(ECHO).is_ok() {
        echoes()
    } else {
        return None;
    };
    Some(result.unwrap_or_else(|error| json!({ "error": error.to_string() })))
}

/// The echoes of one plane.
#[derive(Debug, Clone, Copy, Default)]
struct Echoes {
    /// The number of the last one.
    sent: u64,
    /// How many were answered, each once.
    answered: u64,
    /// The time of the last answer.
    last: Option<Instant>,
    /// The longest time between two answers since the last report.
    longest: Duration,
}

impl Echoes {
    fn answer(&mut self) {
        let now = Instant::now();
        self.answered += 1;
        self.longest = self.longest.max(self.stall(now));
        self.last = Some(now);
    }

    fn stall(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| now.duration_since(last))
    }
}

type Shared = Arc<Mutex<Echoes>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Echoes> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends echoes until `stop`, then waits a little for the last answers.
fn send_echoes(plane: &Path, shared: &Shared, stop: &AtomicBool) -> io::Result<()> {
    const LAST_ANSWERS: Duration = Duration::from_secs(5);
    let socket = UdpSocket::bind((plane.own, PORT))?;
    let mut open = std::collections::BTreeSet::new();
    let mut next = Instant::now();
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(Instant::now() + LAST_ANSWERS);
        }
        let now = Instant::now();
        if now >= next {
            next = now + TICK;
            let mut echoes = lock(shared);
            // Before the server is known, its firewall drops the packets. These are not counted.
            let number = if echoes.last.is_none() { HELLO } else { echoes.sent + 1 };
            if end.is_none() {
                echoes.sent = number;
                drop(echoes);
                open.insert(number);
                // A fault of the path can be an error of the socket; the echo is then not answered.
                drop(socket.send_to(&number.to_le_bytes(), (plane.peer, PORT)));
            }
        }
        socket.set_read_timeout(Some((next - now.min(next)).max(Duration::from_millis(1))))?;
        let mut number = [0; 8];
        let Ok((8, from)) = socket.recv_from(&mut number) else { continue };
        let number = u64::from_le_bytes(number);
        if from.ip() == plane.peer && number == HELLO {
            lock(shared).last.get_or_insert_with(Instant::now);
        } else if from.ip() == plane.peer && open.remove(&number) {
            lock(shared).answer();
        }
    }
    Ok(())
}

/// Answers echoes without end, and makes itself known while none arrives.
fn answer_echoes(plane: &Path) -> io::Result<()> {
    let socket = UdpSocket::bind((plane.own, PORT))?;
    socket.set_read_timeout(Some(TICK * 2))?;
    let mut packet = [0; 8];
    loop {
        // Errors are those of a path with a fault, or the end of the time.
        let number = match socket.recv_from(&mut packet) {
            Ok((8, from)) if from.ip() == plane.peer => packet,
            _ => HELLO.to_le_bytes(),
        };
        drop(socket.send_to(&number, (plane.peer, PORT)));
    }
}

/// Starts the echoes of all planes; returns their counters, and the threads of a client.
fn start_echoes(
    planes: &[Path],
    stop: &Arc<AtomicBool>,
) -> (BTreeMap<String, Shared>, Vec<JoinHandle<io::Result<()>>>) {
    let (mut counters, mut threads) = (BTreeMap::new(), Vec::new());
    for plane in planes.iter().cloned() {
        let shared = Shared::default();
        counters.insert(plane.name.clone(), Arc::clone(&shared));
        let stop = Arc::clone(stop);
        if plane.is_client() {
            threads.push(thread::spawn(move || send_echoes(&plane, &shared, &stop)));
        } else {
            drop(thread::spawn(move || answer_echoes(&plane)));
        }
    }
    (counters, threads)
}

/// Waits until the echoes of each plane are answered.
fn wait_for_answers(counters: &BTreeMap<String, Shared>) -> io::Result<()> {
    let begun = Instant::now();
    while counters.values().any(|shared| lock(shared).answered == 0) {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the other node does not answer echoes"));
        }
        say("kubedos-probe: waits for the other node")?;
        sleep(REPORT);
    }
    Ok(())
}

/// Reports the echoes on the console, without end.
fn echoes() -> io::Result<Value> {
    let planes = planes()?;
    let (counters, _threads) = start_echoes(&planes, &Arc::default());
    loop {
        sleep(REPORT);
        if planes.iter().all(Path::is_client) {
            let report = |(name, shared): (&String, &Shared)| {
                let mut echoes = lock(shared);
                let stall = echoes.stall(Instant::now());
                let longest = std::mem::take(&mut echoes.longest).max(stall);
                let fields = json!({
                    "sent": echoes.sent,
                    "answered": echoes.answered,
                    "stall_ms": millis(stall),
                    "longest_ms": millis(longest),
                });
                (name.clone(), fields)
            };
            let fields: serde_json::Map<String, Value> = counters.iter().map(report).collect();
            say(&format!("kubedos-probe: echoes {}", Value::Object(fields)))?;
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Echoes and one transfer on each plane, while the agent of this node is killed, ended and replaced.
fn transfers() -> io::Result<Value> {
    let planes = planes()?;
    let is_client = planes.iter().all(Path::is_client);
    let stop = Arc::new(AtomicBool::new(false));
    let (counters, echoes) = start_echoes(&planes, &stop);
    if is_client {
        wait_for_answers(&counters)?;
    }
    let stop_transfers = Arc::new(AtomicBool::new(false));
    let mut transfers = Vec::new();
    for plane in planes {
        say(&format!("kubedos-probe: connects over {}", plane.name))?;
        let stream = plane.connect(PORT)?;
        let stop = Arc::clone(&stop_transfers);
        let run = move || if is_client { send(stream, &stop) } else { receive(stream) };
        transfers.push((plane.name, thread::spawn(run)));
    }
    let agents = if is_client { change_agents()? } else { vec![restarted("killed", Signal::SIGKILL)?] };
    stop.store(true, Ordering::Relaxed);
    for echo in echoes {
        joined(echo)?;
    }
    stop_transfers.store(true, Ordering::Relaxed);
    let mut found = serde_json::Map::new();
    for (name, transfer) in transfers {
        say(&format!("kubedos-probe: waits for the end of the transfer over {name}"))?;
        let transfer = joined(transfer)?;
        let echoes = counters.get(&name).map_or_else(Echoes::default, |shared| *lock(shared));
        let fields = json!({
            "sent": echoes.sent,
            "answered": echoes.answered,
            "longest_ms": millis(echoes.longest),
            "bytes": transfer,
        });
        found.insert(name, fields);
    }
    Ok(json!({ "agents": agents, "planes": found }))
}

fn joined<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

/// Kills the agent, ends it, and replaces it by another program.
fn change_agents() -> io::Result<Vec<Value>> {
    let mut agents = vec![restarted("killed", Signal::SIGKILL)?, restarted("ended", Signal::SIGTERM)?];
    agent::replace()?;
    agents.push(restarted("replaced", Signal::SIGKILL)?);
    Ok(agents)
}

fn restarted(how: &str, signal: Signal) -> io::Result<Value> {
    say(&format!("kubedos-probe: the agent will be {how}"))?;
    let (outcome, program) = agent::restart(signal)?;
    Ok(json!({ "how": how, "outcome": outcome.name(), "program": program }))
}

/// The bytes of the transfer from a position that is a multiple of eight on.
fn content(from: u64, length: usize) -> Vec<u8> {
    let word = |number: u64| {
        // The finalizer of SplitMix64.
        let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    (from / 8..).flat_map(word).take(length).collect()
}

/// Sends until `stop`; then the receiver reports how many bytes have arrived unchanged. Returns both numbers.
fn send(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<(u64, u64)> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&content(sent, PART))?;
        sent += PART as u64;
        sleep(TICK);
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    Ok((sent, u64::from_le_bytes(arrived)))
}

/// Receives until the sender ends, compares, and reports how many bytes have arrived unchanged.
fn receive(mut stream: TcpStream) -> io::Result<(u64, u64)> {
    let (mut arrived, mut part) = (0_u64, vec![0; PART]);
    loop {
        // The expected content starts at a multiple of eight, so whole parts are read.
        let mut length = 0;
        while length < PART {
            match stream.read(part.get_mut(length..).unwrap_or_default())? {
                0 => break,
                more => length += more,
            }
        }
        if part.get(..length) != Some(content(arrived, length).as_slice()) {
            return Err(io::Error::other(format!("the bytes after {arrived} have changed")));
        }
        arrived += length as u64;
        if length < PART {
            stream.write_all(&arrived.to_le_bytes())?;
            return Ok((arrived, arrived));
        }
    }
}
