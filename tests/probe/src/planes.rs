//! Changes the node's planes and firewall behind the agent's back, and reports whether the agent corrects them; and kills the
//! agent, and reports whether planes and firewall stay as they are.
//!
//! It runs only if a test attached a disk with the serial number [`TRIGGER`].

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kubedos_sys::netlink::nftables::{Nftables, Table, TableName};
use kubedos_sys::netlink::route::{Address, Link, Route, Rtnetlink};
use kubedos_sys::netlink::wireguard::{PeerChange, Wireguard};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::{Value, json};

use kubedos_guest::{block_device, say};

/// The serial number of the disk that a test attaches.
const TRIGGER: &str = "kubedos-planes";
/// The agent reconciles once a minute; the rest is for an emulated processor.
const PATIENCE: Duration = Duration::from_secs(150);
const TABLE: &str = "kubedos";
const AGENT: &str = "/usr/lib/kubedos/kubedos-agent";
/// A parameter of the baseline that affects the planes.
const SYSCTL: &str = "/proc/sys/net/ipv4/conf/all/arp_ignore";

/// How far the clock jumps, in seconds: two days, far within the span in which a clock is believed.
const JUMP: i64 = 2 * 86_400;

/// The answers; `null` without the disk.
pub fn ask() -> Value {
    if block_device(TRIGGER).is_err() {
        return Value::Null;
    }
    match examine() {
        Ok(answers) => answers,
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn examine() -> io::Result<Value> {
    let (before, clock) = (snapshot()?, clock());
    let counted = packets()?;
    let restarted = restart_agent()?;
    let after_restart = snapshot()?;
    let counters_kept = packets()? >= counted; // the repair of the table sets them to zero
    let mut injected = Vec::new();
    for (name, inject) in DRIFTS {
        inject()?;
        say(&format!("kubedos-probe: injected {name}"))?;
        injected.push(name);
    }
    let drifted = snapshot()?;
    let begun = Instant::now();
    let has_jumped = || self::clock().abs_diff(clock) > 60;
    while (snapshot()? != before || has_jumped()) && begun.elapsed() < PATIENCE {
        sleep(Duration::from_secs(2));
        say("kubedos-probe: waits for the agent")?;
    }
    Ok(json!({
        "before": before,
        "restarted": restarted,
        "kept by the restart": after_restart == before,
        "counters kept by the restart": counters_kept,
        "injected": injected,
        "drifted": drifted != before,
        "after": snapshot()?,
        "the clock is back": !has_jumped(),
        "seconds": begun.elapsed().as_secs(),
    }))
}

/// Everything that the agent keeps, without counters and sessions.
fn snapshot() -> io::Result<Value> {
    let mut route = Rtnetlink::open()?;
    let mut wireguard = Wireguard::open()?;
    let (addresses, routes) = (route.addresses()?, route.routes()?);
    let mut planes = Vec::new();
    for link in route.links()?.into_iter().filter(|link| link.name.starts_with("wg")) {
        let device = wireguard.device(link.index)?;
        let peers: Vec<Value> = device
            .peers
            .iter()
            .map(|peer| {
                json!([hex(&peer.key), peer.preshared, peer.keepalive, format!("{:?}", peer.allowed)])
            })
            .collect();
        let own: Vec<String> =
            addresses.iter().filter(|own| own.link == link.index).map(|own| format!("{own:?}")).collect();
        let through: Vec<String> = routes
            .iter()
            .filter(|through| through.link == link.index && through.table != 255)
            .map(|through| format!("{through:?}"))
            .collect();
        planes.push(json!([
            link.name,
            link.index,
            link.mtu,
            link.up,
            own,
            through,
            peers,
            device.port,
            device.mark,
            device.public_key.map(|key| hex(&key)),
        ]));
    }
    let mut nftables = Nftables::open()?;
    Ok(json!({
        "planes": planes,
        "table": format!("{:?}", nftables.table(TABLE)?),
        "tables": format!("{:?}", nftables.tables()?),
        "parameter": fs::read_to_string(SYSCTL)?,
    }))
}

/// The packets that the loopback rule has counted: a table that was loaded again starts at zero.
fn packets() -> io::Result<u64> {
    let counters = Nftables::open()?.counters(TABLE)?;
    Ok(counters.values().map(|count| count.packets).sum())
}

/// The seconds between 1970 and the start of the machine, by the clock.
fn clock() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec - clock_gettime(ClockId::Boottime).tv_sec
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Kills the agent, and waits until systemd has started it again and it has settled.
fn restart_agent() -> io::Result<bool> {
    let agent = || -> io::Result<i32> {
        let is_agent = |number: &i32| {
            fs::read_link(Path::new("/proc").join(number.to_string()).join("exe"))
                .is_ok_and(|program| program == Path::new(AGENT))
        };
        let numbers =
            fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.into_iter().find(is_agent).ok_or_else(|| io::Error::other("the agent does not run"))
    };
    let old = agent()?;
    kill(Pid::from_raw(old), Signal::SIGKILL)?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        sleep(Duration::from_secs(2));
        say("kubedos-probe: waits for the new agent")?;
        // The stages of the new agent end within this time; the test checks its records.
        if agent().is_ok_and(|new| new != old) && begun.elapsed() > Duration::from_secs(40) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A change of the node that no program of kubedOS makes.
type Drift = (&'static str, fn() -> io::Result<()>);

const DRIFTS: [Drift; 10] = [
    ("a foreign address", || Rtnetlink::open()?.add_address(&address([10, 101, 0, 77])?)),
    ("a foreign route", || {
        let link = link("wg1")?.index;
        let route = Route::through(link, IpAddr::from([198, 51, 100, 0]), 24, IpAddr::from([10, 101, 0, 1]));
        Rtnetlink::open()?.add_route(&route)
    }),
    ("a foreign peer", || {
        let allowed = [(IpAddr::from([0, 0, 0, 0]), 0)];
        let peer =
            PeerChange::Set { key: &[7; 32], endpoint: None, keepalive: None, allowed: Some(&allowed) };
        Wireguard::open()?.change_peers(link("wg2")?.index, &[peer])
    }),
    ("a removed peer", || {
        let mut wireguard = Wireguard::open()?;
        let link = link("wg3")?.index;
        let keys: Vec<[u8; 32]> = wireguard.device(link)?.peers.iter().map(|peer| peer.key).collect();
        let removals: Vec<PeerChange<'_>> = keys.iter().map(PeerChange::Remove).collect();
        wireguard.change_peers(link, &removals)
    }),
    ("another private key", || Wireguard::open()?.set_private_key(link("wg1")?.index, &[9; 32])),
    ("another MTU", || Rtnetlink::open()?.set_mtu(link("wg2")?.index, 1300)),
    ("an open firewall", || {
        let mut nftables = Nftables::open()?;
        let mut table = nftables.table(TABLE)?.ok_or_else(|| io::Error::other("no table"))?;
        for chain in &mut table.chains {
            chain.accept = true;
            chain.rules.truncate(1);
        }
        nftables.replace(&table)
    }),
    ("a foreign table", || {
        Nftables::open()?.replace(&Table { name: "foreign".into(), chains: Vec::new() })?;
        let foreign = TableName { family: 1, name: "foreign".into() };
        let exists = Nftables::open()?.tables()?.contains(&foreign);
        if exists { Ok(()) } else { Err(io::Error::other("the foreign table does not exist")) }
    }),
    ("a kernel parameter", || fs::write(SYSCTL, "0")),
    ("a jump of the clock", || {
        let now = clock_gettime(ClockId::Realtime);
        Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec: now.tv_sec + JUMP, ..now })?)
    }),
];

fn link(name: &str) -> io::Result<Link> {
    let found = Rtnetlink::open()?.links()?.into_iter().find(|link| link.name == name);
    found.ok_or_else(|| io::Error::other(format!("no device {name}")))
}

fn address(address: [u8; 4]) -> io::Result<Address> {
    Ok(Address { link: link("wg1")?.index, address: address.into(), prefix: 32 })
}
