//! The agent's own code, and a transport that records its messages.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use kubedos_agent::stages::backplanes::planes::{Kernel, change_peer, settle};
use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_sys::netlink::transport::{Received, ToKernel, Transport};
use kubedos_sys::netlink::wireguard::Wireguard;
use serde_json::{Value, json};

use crate::cost::measured;
use crate::want;

/// The file with the recorded messages.
pub const RECORDED: &str = "messages";

/// How often a cheap step is measured in one process.
const READINGS: u16 = 5;

type Failure = Box<dyn Error>;

/// Applies the planes, applies them again, reads the kernel's state alone, and changes one peer; the last three several times.
pub fn measure(peers: u32) -> Result<Value, Failure> {
    let mut wants = want::planes(peers)?;
    let mut kernel = Kernel::open()?;
    let (changes, first) =
        measured(|| settle(&mut kernel, &wants).map(|(changes, _)| changes).map_err(Failure::from))?;
    let after_first = resident()?;
    // The kernel's handshakes with peers that do not exist disturb the first readings.
    let (mut again, mut dumps) = (Vec::new(), Vec::new());
    for _ in 0..READINGS {
        let (none, cost) =
            measured(|| settle(&mut kernel, &wants).map(|(changes, _)| changes).map_err(Failure::from))?;
        if !none.is_empty() {
            return Err(format!("applied again, it changes {none:?}").into());
        }
        again.push(cost.json());
        dumps.push(measured(|| kernel.observe().map(drop).map_err(Failure::from))?.1.json());
    }
    let mut changed_peers = Vec::new();
    for keepalive in 20..20 + READINGS {
        let plane = &mut wants.first_mut().ok_or("no plane")?.plane;
        let id = plane.id.clone();
        let last = plane.peers.last_mut().ok_or("no peer")?;
        let was = last.clone();
        last.keepalive = Some(keepalive);
        let change = || change_peer(&mut kernel, &id, Some(&was), Some(last)).map_err(Failure::from);
        let (changed, cost) = measured(change)?;
        changed.ok_or("nothing was changed")?;
        changed_peers.push(cost.json());
    }
    let (more, _) = settle(&mut kernel, &wants)?;
    if changes.is_empty() || !more.is_empty() {
        return Err(format!("unexpected changes: {changes:?}, then {more:?}").into());
    }
    Ok(json!({
        "first": first.json(),
        "again": again,
        "dumps": dumps,
        "one changed": changed_peers,
        "resident_kib": after_first,
        "most_resident_kib": status("VmHWM:")?,
    }))
}

fn resident() -> Result<u64, Failure> {
    status("VmRSS:")
}

/// A field of this process's status in KiB.
fn status(field: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
    Ok(value.ok_or("no such field")?.trim().parse()?)
}

/// The messages of all connections, in order: the number of the connection, the length, the bytes.
type Log = Arc<Mutex<Vec<u8>>>;

/// Passes datagrams on, and records the sent ones.
#[derive(Debug)]
struct Recording {
    inner: ToKernel,
    connection: u8,
    log: Log,
}

impl Transport for Recording {
    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let mut log = self.log.lock().map_err(|_| io::Error::other("the log is poisoned"))?;
        log.push(self.connection);
        log.extend(u32::try_from(datagram.len()).map_err(io::Error::other)?.to_le_bytes());
        log.extend(datagram);
        drop(log);
        self.inner.send(datagram)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        self.inner.receive(buffer)
    }
}

/// Applies the planes once and records the messages.
pub fn record(peers: u32, folder: &Path) -> Result<Value, Failure> {
    let log = Log::default();
    let transport = |connection, inner| Box::new(Recording { inner, connection, log: Arc::clone(&log) });
    let route = Rtnetlink::over(transport(0, ToKernel::open(None)?));
    let wireguard = Wireguard::over(transport(1, ToKernel::generic()?))?;
    settle(&mut Kernel::over(route, wireguard), &want::planes(peers)?)?;
    let log = log.lock().map_err(|_| "the log is poisoned")?;
    File::create(folder.join(RECORDED))?.write_all(&log)?;
    Ok(json!({ "bytes": log.len() }))
}
