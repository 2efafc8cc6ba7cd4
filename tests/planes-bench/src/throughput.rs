//! The throughput of TCP between two nodes over `wg3`, and over a plain WireGuard device on the same kernels and the same switch.
//!
//! The plain device is in a network namespace with the second network card and without a firewall; ip(8) and wg(8) configure it.
//! Both nodes run this program if a test attached a disk with the serial number [`THROUGHPUT`]. The ways are measured in turn.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubedos_guest::pair::{PORT, Path, planes};
use kubedos_guest::{block_device, say};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};
use serde_json::{Value, json};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use crate::tools::run;

/// The serial number of the disk that asks for this measurement.
const THROUGHPUT: &str = "kubedos-throughput";
/// How often each way is measured.
const RUNS: u16 = 5;
/// How long the client sends.
const TIME: Duration = Duration::from_secs(10);
/// The hardware address of the second network card without its last byte, which is the number of the node: 1 or 2.
const SECOND_CARD: &str = "52:54:00:00:01:";
const PLAIN_PORT: u16 = 51830;
/// The MTU of a plane on an underlay with 1500 bytes.
const MTU: &str = "1440";

type Failure = Box<dyn Error>;
/// Bits per second, or the error.
type Measured = Result<f64, String>;

/// Whether a test asks for this measurement.
pub fn is_wanted() -> bool {
    block_device(THROUGHPUT).is_ok()
}

/// Measures both ways in turn.
pub fn measure() -> Result<Value, Failure> {
    let plane = planes()?.into_iter().find(|path| path.name == "wg3").ok_or("no wg3")?;
    let (card, node) = second_card()?;
    let ((namespace, created), (order, orders), (report, reports)) =
        (mpsc::channel(), mpsc::channel(), mpsc::channel());
    thread::spawn(move || plain(node, &namespace, &orders, &report));
    let namespace = created.recv()??;
    run("ip", &["link", "set", &card, "netns", &namespace.to_string()])?;
    let (mut with_plane, mut with_plain) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        // A port of its own for each connection, because the kernel keeps the previous one for a minute.
        let port = PORT + 2 * number;
        with_plane.push(transfer(&plane, port)?);
        order.send((card.clone(), port + 1))?;
        with_plain.push(reports.recv()??);
        say(&format!("kubedos-planes-bench: {with_plane:?} {with_plain:?}"))?;
    }
    Ok(json!({ "wg3": with_plane, "plain": with_plain }))
}

/// A thread in a network namespace of its own: reports the namespace, configures the plain device, and measures it for each order.
fn plain(
    node: u8,
    namespace: &Sender<Result<Pid, nix::Error>>,
    orders: &Receiver<(String, u16)>,
    report: &Sender<Measured>,
) {
    let entered = unshare(CloneFlags::CLONE_NEWNET);
    if namespace.send(entered.map(|()| gettid())).is_err() {
        return;
    }
    let mut path: Option<Path> = None;
    for (card, port) in orders {
        let measured = match path.take().map_or_else(|| configure(&card, node), Ok) {
            Ok(configured) => transfer(path.insert(configured), port).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if report.send(measured).is_err() {
            return;
        }
    }
}

/// The second network card and the number of this node.
fn second_card() -> Result<(String, u8), Failure> {
    for entry in fs::read_dir("/sys/class/net")?.flatten() {
        let address = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        if let Some(last) = address.trim().strip_prefix(SECOND_CARD) {
            return Ok((entry.file_name().to_string_lossy().into_owned(), last.parse()?));
        }
    }
    Err("no second network card".into())
}

/// Configures the card and the plain device in the network namespace of this thread.
fn configure(card: &str, node: u8) -> Result<Path, Failure> {
    let other = 3 - node;
    let [own, peer] = [node, other].map(|last| IpAddr::from(Ipv4Addr::new(198, 51, 100, last)));
    let file = "/run/kubedos-planes-bench-plain.key";
    fs::write(file, STANDARD.encode(private_key(node)))?;
    let public = STANDARD.encode(x25519(private_key(other), X25519_BASEPOINT_BYTES));
    let ip = |words: &str| run("ip", &words.split(' ').collect::<Vec<_>>());
    ip(&format!("address add 192.0.2.{node}/24 dev {card}"))?;
    ip(&format!("link set {card} up"))?;
    ip(&format!("link add plain mtu {MTU} type wireguard"))?;
    let wg = format!(
        "set plain listen-port {PLAIN_PORT} private-key {file} peer {public} endpoint 192.0.2.{other}:{PLAIN_PORT} allowed-ips {peer}/32"
    );
    run("wg", &wg.split(' ').collect::<Vec<_>>())?;
    ip(&format!("address add {own}/24 dev plain"))?;
    ip("link set plain up")?;
    Ok(Path { name: "plain".into(), own, peer })
}

const fn private_key(node: u8) -> [u8; 32] {
    [node; 32]
}

/// Sends for [`TIME`], or receives until the other node ends. Bits per second, from the first byte until the receiver has
/// reported how many bytes have arrived; 0 on the receiver.
fn transfer(path: &Path, port: u16) -> io::Result<f64> {
    say(&format!("kubedos-planes-bench: connects over {} with port {port}", path.name))?;
    let mut stream = path.connect(port)?;
    let mut part = vec![0x5a; 64 << 10];
    if !path.is_client() {
        let mut arrived = 0_u64;
        loop {
            match stream.read(&mut part)? {
                0 => break,
                length => arrived += length as u64,
            }
        }
        stream.write_all(&arrived.to_le_bytes())?;
        return Ok(0.0);
    }
    send(&mut stream, &part)
}

fn send(stream: &mut TcpStream, part: &[u8]) -> io::Result<f64> {
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while begun.elapsed() < TIME {
        stream.write_all(part)?;
        sent += part.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut arrived = [0; 8];
    stream.read_exact(&mut arrived)?;
    let time = begun.elapsed();
    let arrived = u64::from_le_bytes(arrived);
    if arrived != sent {
        return Err(io::Error::other(format!("{arrived} of {sent} bytes have arrived")));
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for a table")]
    Ok(sent as f64 * 8.0 / time.as_secs_f64())
}
