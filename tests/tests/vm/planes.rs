//! The planes come up during the first boot, before any other traffic (N1, A7), and the agent corrects their drift (C3).

use kubedos_lab::Nic;
use kubedos_lab::switch::{Switch, SwitchOptions};
use kubedos_tests::capture::{self, Frame};
use kubedos_tests::reader::{self, Cause};
use kubedos_tests::{Rig, answers, answers_disk, probe_image};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use crate::nodes::{Nodes, three};

/// The nodes of `tests/clusters/three.yaml`.
const NODES: [&str; 3] = ["cp-1", "cp-2", "w-1"];

/// N1, A7: two control planes and a worker come up, and have sessions on all planes. tshark reads every frame of the whole time: a node
/// sends ARP and datagrams between the ports of the planes, and nothing else.
#[test]
fn a_bring_up_of_three_nodes_sends_only_arp_and_datagrams_of_planes() {
    let mut nodes = Nodes::boot("a_bring_up_of_three_nodes", three(), &NODES, |_, _, hardware| hardware);
    nodes.wait_for_sessions();
    nodes.switch.control().stop_capture();
    let frames = capture::decoded(&nodes.capture);
    for (node, number) in NODES.into_iter().zip(1..) {
        let own: Vec<&Frame> = frames.iter().filter(|frame| frame.port == node).collect();
        only_declared(&own);
        // N3, N4: a node that has no firewall yet sends nothing. It loads the firewall before it enables a device, and the first
        // frames of a device that is enabled are ARP.
        assert_eq!(own.first().map(|frame| frame.protocols.as_str()), Some("eth:ethertype:arp"), "{node}");
        let sender = format!("52:54:00:00:00:0{number}");
        assert!(own.iter().all(|frame| frame.sender == sender), "{node} sent with another address");
    }
    for port in 51820..=51822 {
        for kind in [1, 2, 4] {
            let carried = |frame: &Frame| frame.udp == Some((port, port)) && frame.wireguard == Some(kind);
            assert!(frames.iter().any(carried), "no message of type {kind} on port {port}");
        }
    }
}

/// The length of the frame that asks for the MTU of a path: a datagram of 1500 bytes.
const PATH_MTU: usize = 14 + 1500;

/// Every frame is ARP, a message of WireGuard from and to the ports of the planes, or the datagram there that asks for the MTU of
/// the path, which has no type of WireGuard.
fn only_declared(frames: &[&Frame]) {
    let planes = 51820..=51822;
    for frame in frames {
        let declared = match (frame.protocols.as_str(), frame.udp, frame.wireguard) {
            ("eth:ethertype:arp", None, None) => true,
            ("eth:ethertype:ip:udp:wg", Some((from, to)), Some(kind)) => {
                from == to && planes.contains(&to) && (1..=4).contains(&kind)
            }
            (_, Some((from, to)), None | Some(0)) => {
                from == to && planes.contains(&to) && frame.length == PATH_MTU
            }
            _ => false,
        };
        assert!(declared, "{frame:?}");
    }
}

/// C3: the agent finds, reports and corrects everything that a program with all privileges changes in planes and firewall; and
/// a restart of the agent changes neither.
#[test]
fn drift_of_planes_and_firewall_is_reported_and_corrected_and_a_restart_changes_nothing() {
    let rig = Rig::of(probe_image(), "drift_of_planes_and_firewall");
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let socket = switch.listen("cp-1", rig.bench().folder()).unwrap();
    let nic = Nic::new(socket.path, "52:54:00:00:00:01".parse().unwrap());
    let disk = answers_disk(rig.bench());
    let trigger = rig.bench().blank("trigger", 1 << 20).unwrap().serial("kubedos-planes").not_bootable();
    let hardware = rig.hardware(rig.disk("disk")).disk(disk.clone()).disk(trigger).network(nic);
    let machine = rig.boot(&hardware);
    let found = &answers(&machine, &disk)["planes"];
    assert_eq!(found["restarted"], true, "{found:#}");
    assert_eq!(found["kept by the restart"], true, "{found:#}");
    assert_eq!(found["counters kept by the restart"], true, "{found:#}");
    assert_eq!(found["injected"].as_array().map(Vec::len), Some(10), "{found:#}");
    assert_eq!(found["drifted"], true, "{found:#}");
    assert_eq!(found["after"], found["before"], "after {} s", found["seconds"]);
    assert_eq!(found["the clock is back"], true, "{found:#}");
    let records = machine.console().records();
    let of = |stage: Stage| records.iter().filter(move |record| record.stage == stage.name());
    let unchanged = of(Stage::Backplanes).filter(|record| record.outcome == Outcome::Unchanged).count();
    assert_eq!(unchanged, 1, "the restarted agent changed something: {records:#?}");
    let repaired: Vec<&str> = [Stage::Backplanes, Stage::Baseline]
        .into_iter()
        .flat_map(of)
        .filter_map(|record| record.note.as_deref()?.strip_prefix("drift repaired: "))
        .collect();
    for drift in [
        "wg1: remove the foreign address 10.101.0.77/32",
        "wg1: remove the foreign route to 198.51.100.0/24",
        "wg1: set the private key",
        "wg2: set the MTU from 1300 to 1440",
        "wg2: remove the unknown peer BwcHBwcHBw…",
        "wg3: add w-1",
        "load the firewall: ",
        "remove foreign tables: foreign",
        "net.ipv4.conf.all.arp_ignore",
        "set the clock back by 2 days: it had jumped",
    ] {
        assert!(repaired.iter().any(|note| note.contains(drift)), "{drift} is not in {repaired:#?}");
    }
    // The serial log alone names the causes.
    let log = std::fs::read(machine.log()).unwrap();
    let named = reader::faults(&String::from_utf8_lossy(&log));
    let foreign = ["table", "address", "route", "peer"].map(Cause::ForeignRemoved);
    for cause in foreign.iter().chain([&Cause::FirewallChanged]) {
        assert!(named.iter().any(|named| named.cause == *cause), "{cause}: {named:#?}");
    }
}
