//! An outsider on the switch: a station of the test process with an address of the underlay, for IPv4 and for IPv6.
//!
//! It answers ARP and neighbour solicitations for its addresses, so that a node that wants to answer a packet can do so.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use kubedos_lab::switch::{Port, Switch};
use kubedos_tests::frames::{self, ARP, IPV4, IPV6, Mac};

use super::Shot;
use super::expected::outside;
use crate::nodes::mac;

/// The type of frames with commands for the probe.
const COMMANDS: u16 = 0x88b5;
const OWN: Mac = mac(0x99);

pub struct Outsider(Port);

impl Outsider {
    pub fn attach(switch: &Switch) -> Self {
        Self(switch.port("outsider").unwrap())
    }

    /// Sends a command to the probe of a node.
    pub fn command(&self, node: Mac, command: u8) {
        self.0.send(&frames::frame(node, OWN, COMMANDS, &[command]));
    }

    /// Sends packets to a node; returns the frames that the node sent to this station, except ARP and neighbour discovery.
    pub fn tries(&self, node: Mac, shots: &[Shot], rounds: usize) -> Vec<Vec<u8>> {
        let node_four = Ipv4Addr::new(192, 168, 77, 10 + node[5]);
        while self.0.try_receive().is_some() {}
        // The node learns this station, and this station that the node is there.
        self.0.send(&frames::arp_request((OWN, outside::FOUR), node_four));
        let mut heard = Vec::new();
        let mut is_there = false;
        let mut listen = |time: Duration| {
            let begun = Instant::now();
            while let Some(frame) = self.0.receive(time.saturating_sub(begun.elapsed())) {
                let is_command = frames::kind(&frame) == COMMANDS;
                if frames::sender(&frame) != node || is_command {
                    continue;
                }
                is_there |= frames::kind(&frame) == ARP && frame[21] == 2;
                if !self.resolves(&frame) && frame[..6] == OWN {
                    heard.push(frame);
                }
            }
        };
        listen(Duration::from_secs(1));
        for _ in 0..rounds {
            for shot in shots {
                let kind = if shot.packet.source.is_ipv4() { IPV4 } else { IPV6 };
                for packet in shot.packet.bytes() {
                    self.0.send(&frames::frame(node, OWN, kind, &packet));
                }
                listen(Duration::from_millis(3));
            }
        }
        listen(Duration::from_secs(5));
        assert!(is_there, "the node did not answer ARP");
        heard
    }

    /// Answers a request for the hardware address of this station. Whether the frame belongs to the resolution of addresses.
    fn resolves(&self, frame: &[u8]) -> bool {
        match frames::kind(frame) {
            ARP => {
                let of_sender: [u8; 4] = frame[28..32].try_into().unwrap();
                if frame[21] == 1 && frame[38..42] == outside::FOUR.octets() {
                    let to = (frames::sender(frame), Ipv4Addr::from(of_sender));
                    self.0.send(&frames::arp_reply((OWN, outside::FOUR), to));
                }
                true
            }
            IPV6 if frames::is_discovery(&frame[14..]) => {
                let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
                let is_solicitation = frame[20] == 58 && frame[54] == 135;
                if is_solicitation && [outside::SIX, outside::LINK].contains(&address(62)) {
                    let to = (frames::sender(frame), address(22));
                    self.0.send(&frames::neighbour(136, to, (OWN, address(62)), address(62)));
                }
                true
            }
            _ => false,
        }
    }
}
