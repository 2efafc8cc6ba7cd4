//! What independent programs and the project's own netlink code read from the kernel: rules, WireGuard devices, links, addresses and
//! routes. The programs and their libraries are in the test image only, and run with their own loader.

use std::io;
use std::path::Path;
use std::process::Command;

use kubedos_sys::netlink::nftables::Nftables;
use kubedos_sys::netlink::route::Rtnetlink;
use kubedos_sys::netlink::wireguard::Wireguard;
use serde_json::{Value, json};

/// The folder of the test image with the programs, their loader and their libraries.
const FOLDER: &str = "/usr/lib/kubedos-probe/tools";

/// The output of each program, and what the netlink code of the agent reads.
pub fn ask() -> Value {
    json!({
        "nft": run("nft", &["list", "ruleset"]),
        "wg": run("wg", &["show", "all", "dump"]),
        "link": run("ip", &["-d", "-j", "link"]),
        "addr": run("ip", &["-d", "-j", "addr"]),
        "route": run("ip", &["-d", "-j", "route", "show", "table", "all"]),
        "own": own().unwrap_or_else(|error| json!({ "error": error.to_string() })),
    })
}

/// The program's output, or its error.
fn run(program: &str, arguments: &[&str]) -> Value {
    let folder = Path::new(FOLDER);
    let mut command = Command::new(folder.join("ld-linux-x86-64.so.2"));
    command.args(["--inhibit-cache", "--library-path", FOLDER]).arg(folder.join(program)).args(arguments);
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into(),
        Ok(output) => json!({ "error": String::from_utf8_lossy(&output.stderr) }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// The same facts, from the netlink code that the agent compares with its plan.
fn own() -> io::Result<Value> {
    let (mut route, mut wireguard) = (Rtnetlink::open()?, Wireguard::open()?);
    let links = route.links()?;
    let name = |number: u32| links.iter().find(|link| link.index == number).map(|link| link.name.clone());
    let mut devices = Vec::new();
    for link in links.iter().filter(|link| link.name.starts_with("wg")) {
        let device = wireguard.device(link.index)?;
        let peers: Vec<Value> = device
            .peers
            .iter()
            .map(|peer| {
                let allowed: Vec<String> =
                    peer.allowed.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
                json!({ "key": peer.key, "preshared": peer.preshared, "keepalive": peer.keepalive,
                        "endpoint": peer.endpoint.map(|endpoint| endpoint.to_string()), "allowed": allowed })
            })
            .collect();
        devices.push(json!({ "name": link.name, "mtu": link.mtu, "up": link.up, "port": device.port,
                             "mark": device.mark, "key": device.public_key, "peers": peers }));
    }
    let addresses: Vec<Value> = route
        .addresses()?
        .into_iter()
        .map(|own| json!([name(own.link), format!("{}/{}", own.address, own.prefix)]))
        .collect();
    let routes: Vec<Value> = route
        .routes()?
        .into_iter()
        .map(|own| {
            let destination = own.destination.map(|destination| format!("{destination}/{}", own.prefix));
            json!({ "device": name(own.link), "table": own.table, "destination": destination,
                    "source": own.source.map(|source| source.to_string()), "kind": own.kind })
        })
        .collect();
    let tables: Vec<String> = Nftables::open()?
        .tables()?
        .into_iter()
        .map(|table| format!("{} {}", table.family, table.name))
        .collect();
    Ok(json!({ "devices": devices, "addresses": addresses, "routes": routes, "tables": tables }))
}
