//! Captures of the lab's switch, decoded by tshark, which shares no code with kubedOS.

use std::path::Path;

use crate::outside::outside;
use crate::pins::{scratch, succeeds};

/// What tshark reads in a frame. Fields that a frame does not have are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The number in the capture, from 1.
    pub number: u64,
    /// Seconds since 1970.
    pub time: f64,
    /// The port of the switch where it was captured.
    pub port: String,
    /// The sender's hardware address, such as `52:54:00:00:00:01`.
    pub sender: String,
    /// The names of the protocols, such as `eth:ethertype:ip:udp:wg`.
    pub protocols: String,
    /// The UDP ports, source and destination.
    pub udp: Option<(u16, u16)>,
    /// The type of a WireGuard message.
    pub wireguard: Option<u8>,
    /// The type of an ICMPv6 message.
    pub icmpv6: Option<u8>,
    /// The length in bytes, with the Ethernet header.
    pub length: usize,
}

const FIELDS: [&str; 10] = [
    "frame.number",
    "frame.time_epoch",
    "frame.interface_name",
    "eth.src",
    "frame.protocols",
    "udp.srcport",
    "udp.dstport",
    "wg.type",
    "icmpv6.type",
    "frame.len",
];

/// The frames of a pcapng file, in order.
///
/// # Panics
/// If tshark cannot read it.
pub fn decoded(file: &Path) -> Vec<Frame> {
    let mut tshark = outside("capture").command("usr/bin/tshark").unwrap();
    // No preferences of the user, no names from the network, and only heuristics that are on by default.
    let settings = scratch().join("wireshark");
    std::fs::create_dir_all(&settings).unwrap();
    tshark.env("WIRESHARK_CONFIG_DIR", &settings).arg("-n").args(["-T", "fields", "-E", "occurrence=f"]);
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field])).arg("-r").arg(file);
    let printed = succeeds(&mut tshark);
    printed.lines().map(frame).collect()
}

fn frame(line: &str) -> Frame {
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!(fields.len(), FIELDS.len(), "{line:?}");
    let number = |at: usize| fields[at].parse().ok();
    Frame {
        number: fields[0].parse().unwrap(),
        time: fields[1].parse().unwrap(),
        port: fields[2].to_owned(),
        sender: fields[3].to_owned(),
        protocols: fields[4].to_owned(),
        udp: number(5).zip(number(6)),
        wireguard: fields[7].parse().ok(),
        icmpv6: fields[8].parse().ok(),
        length: fields[9].parse().unwrap(),
    }
}
