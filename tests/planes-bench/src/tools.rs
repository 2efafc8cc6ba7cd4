//! The same planes by ip(8) and wg(8): `ip -batch` creates the devices, `wg setconf` configures each of them, and a second batch
//! adds addresses and routes. `wg syncconf` applies a configuration to a device that has one.
//!
//! The programs come from Debian; a loader and libraries are beside them, because the root volume has none for them.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubedos_agent::stages::backplanes::planes::Want;
use serde_json::{Value, json};

use crate::cost::measured;
use crate::want;

/// The folder of the programs in the image.
const FOLDER: &str = "/usr/lib/kubedos-planes-bench";

type Failure = Box<dyn Error>;

/// Whether the image contains the programs.
pub fn exist() -> bool {
    Path::new(FOLDER).exists()
}

/// Applies the planes, applies the configuration again, and changes one peer.
pub fn measure(peers: u32, folder: &Path) -> Result<Value, Failure> {
    let mut wants = want::planes(peers)?;
    let (mut create, mut enable) = (String::new(), String::new());
    for Want { plane, .. } in &wants {
        let (id, address, cidr) = (&plane.id, plane.address, &plane.cidr);
        writeln!(create, "link add {id} mtu {} type wireguard", plane.mtu)?;
        writeln!(enable, "address add {address}/32 dev {id} noprefixroute")?;
        writeln!(enable, "link set {id} up")?;
        writeln!(enable, "route add {cidr} dev {id} src {address}")?;
    }
    let file = |name: &str| folder.join(name).display().to_string();
    fs::write(file("create"), create)?;
    fs::write(file("enable"), enable)?;
    configurations(&wants, folder)?;
    let devices: Vec<String> = wants.iter().map(|want| want.plane.id.to_string()).collect();
    let each = |verb: &str| devices.iter().try_for_each(|id| run("wg", &[verb, id, &file(id)]));
    let ((), first) = measured(|| {
        run("ip", &["-batch", &file("create")])?;
        each("setconf")?;
        run("ip", &["-batch", &file("enable")])
    })?;
    let ((), again) = measured(|| each("syncconf"))?;
    let last = wants.first_mut().and_then(|want| want.plane.peers.last_mut()).ok_or("no peer")?;
    last.keepalive = Some(20);
    configurations(&wants, folder)?;
    let ((), changed) = measured(|| each("syncconf"))?;
    Ok(json!({ "first": first.json(), "again": again.json(), "one changed": changed.json() }))
}

/// Writes the configurations of wg(8).
fn configurations(wants: &[Want], folder: &Path) -> Result<(), Failure> {
    for Want { plane, private_key } in wants {
        let mut text = String::new();
        writeln!(text, "[Interface]\nPrivateKey = {}", STANDARD.encode(private_key.expose()))?;
        writeln!(text, "ListenPort = {}", plane.port)?;
        for peer in &plane.peers {
            let allowed: Vec<String> = peer.allowed.iter().map(ToString::to_string).collect();
            writeln!(text, "\n[Peer]\nPublicKey = {}\nAllowedIPs = {}", peer.key, allowed.join(", "))?;
            if let Some(endpoint) = peer.endpoint {
                writeln!(text, "Endpoint = {endpoint}")?;
            }
            if let Some(keepalive) = peer.keepalive {
                writeln!(text, "PersistentKeepalive = {keepalive}")?;
            }
        }
        fs::write(folder.join(plane.id.as_str()), text)?;
    }
    Ok(())
}

/// Runs `ip` or `wg`.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let (loader, program) = (format!("{FOLDER}/loader"), format!("{FOLDER}/{program}"));
    let output = Command::new(loader).args(["--library-path", FOLDER, &program]).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
