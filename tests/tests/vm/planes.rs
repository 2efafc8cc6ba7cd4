//! Two nodes of the default example on one switch: the planes come up during the first boot (N1, N3, N4, A7).

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubedos_lab::switch::{CaptureOptions, Port, Switch, SwitchOptions};
use kubedos_lab::{Machine, Nic, Patience};
use kubedos_tests::frames::{self, Content, Mac};
use kubedos_tests::{Product, Rig};
use kubedos_tests::{answers, answers_disk, probe_image, status_page};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

/// The nodes of the default example.
const NODES: [&str; 2] = ["cp-1", "w-1"];

/// A switch with a node at each port, after their first boot.
struct Pair {
    machines: Vec<Machine>,
    switch: Switch,
    capture: PathBuf,
    _rig: Rig,
}

impl Pair {
    fn boot(test: &str) -> Self {
        let rig = Rig::new(test);
        let switch = Switch::start(&SwitchOptions::default()).unwrap();
        let capture = rig.bench().path("capture.pcapng");
        switch
            .control()
            .start_capture(&CaptureOptions { file: capture.clone(), max_bytes: 64 << 20, outbound: false })
            .unwrap();
        let boot = |(node, last): (&str, u8)| {
            let socket = switch.listen(node, rig.bench().folder()).unwrap();
            let mac = format!("52:54:00:00:00:{last:02x}").parse().unwrap();
            let seed = Product::built().seed(node);
            let hardware = rig
                .unseeded(rig.disk(&format!("{node}-disk")))
                .disk(seed)
                .network(Nic::new(socket.path, mac));
            let machine = rig.boot(&hardware);
            let ended = |outcome| matches!(outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting);
            let record = machine
                .wait_for("the end of Backplanes", Patience::BOOT, |record| {
                    record.stage == Stage::Backplanes.name() && ended(record.outcome)
                })
                .unwrap();
            assert_eq!(record.outcome, Outcome::Done, "{record:?}");
            machine
        };
        let machines = NODES.into_iter().zip(1..).map(boot).collect();
        Self { machines, switch, capture, _rig: rig }
    }

    /// Waits until each status page shows a session with the other node on each plane.
    fn wait_for_sessions(&mut self) {
        let begun = Instant::now();
        for machine in &mut self.machines {
            loop {
                let page = status_page(machine);
                if page.iter().filter(|line| line.contains(", 1/1 sessions, ")).count() == 3 {
                    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(120), "{page:#?}");
                std::thread::sleep(Duration::from_secs(3));
            }
        }
    }
}

/// N1, A7: the planes of both nodes have sessions, and nothing but ARP and the UDP ports of the planes has left a node, from
/// the first frame on. N4: an outsider on the underlay gets no answer but that of ARP.
#[test]
fn planes_come_up_before_any_other_traffic_and_outsiders_get_no_answer() {
    let mut pair = Pair::boot("planes_come_up_before_any_other_traffic_and_outsiders_get_no_answer");
    pair.wait_for_sessions();
    only_declared_traffic(&pair.capture);
    outsider_gets_no_answer(&pair);
    pair.wait_for_sessions();
    pair.switch.control().stop_capture();
    only_declared_traffic(&pair.capture);
}

fn mac(last: u8) -> Mac {
    [0x52, 0x54, 0, 0, 0, last]
}

/// Every frame of a node is ARP or UDP from and to the ports of the planes.
fn only_declared_traffic(capture: &Path) {
    let of_nodes: Vec<Vec<u8>> = frames::captured(capture)
        .into_iter()
        .filter(|frame| [mac(1), mac(2)].contains(&frames::sender(frame)))
        .collect();
    let planes = 51820..=51822;
    for frame in &of_nodes {
        let declared = match frames::content(frame) {
            Content::Arp(_) => true,
            Content::Udp(from, to) => planes.contains(&from) && planes.contains(&to),
            Content::Icmpv6(_) | Content::Ipv4(_) | Content::Ipv6(_) | Content::Other(_) => false,
        };
        assert!(declared, "{:?}: {frame:02x?}", frames::content(frame));
    }
    for port in planes {
        let carried = of_nodes.iter().any(|frame| frames::content(frame) == Content::Udp(port, port));
        assert!(carried, "no frame of the plane with port {port}");
    }
}

/// An outsider on the same switch, with an address of the same network, tries services, ports of planes, and addresses of
/// planes.
fn outsider_gets_no_answer(pair: &Pair) {
    let port = pair.switch.port("outsider").unwrap();
    let own = (mac(99), Ipv4Addr::new(192, 168, 77, 99));
    for (node, last) in [(1, 11), (2, 12)] {
        let node = (mac(node), Ipv4Addr::new(192, 168, 77, last));
        port.send(&frames::arp_request(own, node.1));
        let reply = frames_to_the_outsider(&port, node.0);
        assert_eq!(reply, [Content::Arp(true)], "the node is there");
        port.send(&frames::echo(own, node));
        for tcp in [22, 80, 443, 2379, 2380, 6443, 7443, 7444, 10250, 51820, 51821, 51822] {
            port.send(&frames::syn(own, node, tcp));
        }
        for udp in [53, 67, 68, 123, 546, 5353, 5355, 51819, 51820, 51821, 51822, 51823] {
            port.send(&frames::udp(own, node, udp, &[1; 148]));
        }
        for plane in 101..=103 {
            // The plane's address over the underlay, and a member of the plane as the source.
            let to_plane = (node.0, Ipv4Addr::new(10, plane, 0, last - 10));
            let from_plane = (own.0, Ipv4Addr::new(10, plane, 0, 3));
            for (from, to) in [(own, to_plane), (from_plane, to_plane), (from_plane, node)] {
                port.send(&frames::echo(from, to));
                port.send(&frames::syn(from, to, 7444));
                port.send(&frames::udp(from, to, 123, &[0x23; 48]));
            }
            port.send(&frames::arp_request(own, to_plane.1));
        }
        // The node may ask for the outsider's hardware address; it must not send it anything else.
        let reply = frames_to_the_outsider(&port, node.0);
        assert!(reply.iter().all(|content| *content == Content::Arp(false)), "{reply:?}");
    }
}

/// What a station sends within a few seconds, except frames of the planes between nodes.
fn frames_to_the_outsider(port: &Port, from: Mac) -> Vec<Content> {
    let begun = Instant::now();
    let mut answers = Vec::new();
    while begun.elapsed() < Duration::from_secs(4) {
        let Some(frame) = port.receive(Duration::from_millis(200)) else { continue };
        let content = frames::content(&frame);
        if frames::sender(&frame) == from && frame[..6] == mac(99) {
            answers.push(content);
        }
    }
    answers
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
    assert_eq!(found["injected"].as_array().map(Vec::len), Some(9), "{found:#}");
    assert_eq!(found["drifted"], true, "{found:#}");
    assert_eq!(found["after"], found["before"], "after {} s", found["seconds"]);
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
    ] {
        assert!(repaired.iter().any(|note| note.contains(drift)), "{drift} is not in {repaired:#?}");
    }
}
