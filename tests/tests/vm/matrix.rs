//! The probe matrix (N3, N4): which packets a node accepts and answers, from another node over every pair of planes and from an
//! outsider on the underlay, with correct and spoofed sources, fragments and extension headers, over IPv4 and IPv6.
//!
//! The expected verdict on each packet comes from the firewall's evaluator. The real one comes from raw sockets on the node, which see what
//! the chain `input` accepted, and from what came back. Both nodes listen on wildcard addresses on all ports that are tried, so only
//! the firewall keeps them silent. The sender is a compromised node: it sends below its own firewall, and its WireGuard sends any address to
//! its peer. In a second round the receiver's WireGuard accepts any address too, so that the firewall alone must stop it.

mod expected;
mod outsider;
mod packets;

use std::sync::OnceLock;

use kubedos_lab::{Disk, Format, Machine, Patience};
use kubedos_tests::packets::Sent;
use kubedos_tests::{Product, Rig, answers, plan_of, probe_image_of, test_cluster};
use kubedos_wire::firewall::Ruleset;
use kubedos_wire::node::Role;
use serde_json::{Value, json};

use crate::nodes::{Nodes, mac};
use crate::readers;
use expected::Receiver;
use outsider::Outsider;

/// The nodes of `tests/clusters/matrix.yaml`: the control plane and the worker.
const NODES: [&str; 2] = ["cp-1", "w-1"];
/// How often every list is sent. A lost packet would be a difference; the same packets get the same verdicts again.
const ROUNDS: usize = 2;

/// A packet, and the device of the receiver by which it arrives.
#[derive(Debug, Clone, Copy)]
struct Shot {
    device: &'static str,
    packet: Sent,
    /// Whether the receiver's WireGuard accepts every source.
    wide: bool,
}

/// N3, N4, N5: what a node accepts is what its firewall allows, what answers is what is allowed and listens, and what listens is what is
/// declared; and `nft`, `wg` and `ip` read the same from the kernel as the agent.
#[test]
fn only_what_is_allowed_and_listens_answers_on_every_pair_of_planes() {
    static IMAGE: OnceLock<Product> = OnceLock::new();
    let product = IMAGE.get_or_init(|| probe_image_of("matrix"));
    let plan = plan_of(&test_cluster("matrix"));
    let rulesets: Vec<Ruleset> = plan.firewalls(plan.nodes()).unwrap();
    let receivers = [0, 1].map(|at| Receiver::new(at, &rulesets[at]));
    let mut numbers = 1..;
    // For each sender, its packets against a receiver with narrow and with wide WireGuard.
    let lists = [0, 1].map(|at| {
        [false, true].map(|wide| packets::from_node(&receivers[at], &receivers[1 - at], wide, &mut numbers))
    });
    let from_outside =
        [0, 1].map(|at| packets::from_outside(&receivers[at], &receivers[1 - at], &mut numbers));

    let disks: [OnceLock<Disk>; 2] = [OnceLock::new(), OnceLock::new()];
    let mut nodes = Nodes::boot("only_what_is_allowed", product, &NODES, |rig, at, hardware| {
        let orders = orders(rig, at, &lists[at]);
        let answers = rig.bench().blank(&format!("answers-{at}"), 64 << 20).unwrap();
        let answers = answers.serial("kubedos-answers").not_bootable();
        hardware.disk(orders).disk(disks[at].get_or_init(|| answers).clone())
    });
    for machine in &nodes.machines {
        machine
            .wait_for_line("open sockets", Patience::STEP, |line| line.contains("probe: listens"))
            .unwrap();
    }
    nodes.wait_for_sessions();
    let outsider = Outsider::attach(&nodes.switch);
    let order = |at: usize, command: u8| {
        let machine = &nodes.machines[at];
        machine.from_here();
        outsider.command(mac(number(at)), command);
        did(machine, command);
    };
    let rounds = |at: usize, list: u8| (0..ROUNDS).for_each(|_| order(at, b'0' + list));
    order(0, b'o');
    rounds(0, 0);
    order(0, b'c');
    order(1, b'o');
    rounds(1, 0);
    for round in 0..ROUNDS {
        // The agent narrows the addresses of peers once a minute.
        println!("round {round}");
        for at in [0, 1] {
            order(1 - at, b'o');
            order(at, b'o');
            order(at, b'1');
        }
    }
    let heard = [0, 1].map(|at| outsider.tries(mac(number(at)), &from_outside[at], ROUNDS));
    for at in [0, 1] {
        order(at, b'q');
    }
    let mut differences = Vec::new();
    for (at, machine) in nodes.machines.iter().enumerate() {
        let found = answers(machine, disks[at].get().unwrap());
        readers::agree(&found, &rulesets[at], [Role::ControlPlane, Role::Worker][at]);
        assert!(found["matrix"]["error"].is_null(), "{}", found["matrix"]);
        let to_here: Vec<Shot> = lists[1 - at].iter().flatten().chain(&from_outside[at]).copied().collect();
        let from_here: Vec<Shot> = lists[at].iter().flatten().copied().collect();
        differences.extend(receivers[at].compare_accepted(&found, &to_here, &receivers));
        differences.extend(receivers[1 - at].compare_answers(&found, &from_here, &receivers[at]));
        for frame in &heard[at] {
            differences.push(format!("{} sent a frame to the outsider: {frame:02x?}", NODES[at]));
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// The number of a node in its hardware address.
fn number(at: usize) -> u8 {
    u8::try_from(at).unwrap() + 1
}

fn did(machine: &Machine, command: u8) {
    let line = format!("kubedos-probe: did {}", char::from(command));
    // The last command ends the loop before it is reported.
    let line = if command == b'q' { "kubedos-probe: answered".to_owned() } else { line };
    machine.wait_for_line(&line, Patience::STEP, |found| found.contains(&line)).unwrap();
}

/// The disk with the packets of a node and the ports on which it listens.
fn orders(rig: &Rig, at: usize, lists: &[Vec<Shot>; 2]) -> Disk {
    let send: Vec<Vec<Value>> = lists
        .iter()
        .map(|list| {
            let pieces = |shot: &Shot| {
                let device = shot.device;
                shot.packet.bytes().into_iter().map(move |bytes| json!([device, hex::encode(bytes)]))
            };
            list.iter().flat_map(pieces).collect()
        })
        .collect();
    let listen = json!({ "tcp": packets::tcp_ports(), "udp": packets::listening_udp() });
    let text = json!({ "listen": listen, "send": send }).to_string();
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(1 << 20), 0);
    let path = rig.bench().path(&format!("packets-{at}"));
    std::fs::write(&path, bytes).unwrap();
    Disk::new(path, Format::Raw).read_only().serial("kubedos-packets").not_bootable()
}
