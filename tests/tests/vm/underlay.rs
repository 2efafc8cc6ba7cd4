//! The underlay with real kernels and networks that are not as they should be: bonds, VLANs, IPv6, DHCP, cables (N1, N3, N4, A7).
//!
//! Each test boots nodes of an edited default example on one switch. Only the network and the DHCP server are made by the
//! tests.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kubedos_lab::switch::{CaptureOptions, PortMode, Socket, Switch, SwitchOptions, VlanId};
use kubedos_lab::{Machine, Nic, Patience};
use kubedos_tests::dhcp::{Lease, Server};
use kubedos_tests::reader::{Cause, faults};
use kubedos_tests::underlay_frames::{self as frames, Content, Mac};
use kubedos_tests::{Product, Rig, edited, status_page};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

/// The part of the default example that tests replace, for each node.
pub(crate) const UPLINKS: [&str; 2] = [
    "            - name: uplink\n              addresses: [\"192.168.77.11/24\"]\n",
    "            - name: uplink\n              addresses: [\"192.168.77.12/24\"]\n",
];

pub(crate) fn mac(last: u8) -> Mac {
    [0x52, 0x54, 0, 0, 0, last]
}

/// A switch with a capture, and the nodes that a test boots at it.
pub(crate) struct Net {
    pub(crate) switch: Switch,
    capture: PathBuf,
    rig: Rig,
    product: Product,
}

impl Net {
    pub(crate) fn new(product: Product, test: &str) -> Self {
        let rig = Rig::new(test);
        let switch = Switch::start(&SwitchOptions::default()).unwrap();
        let file = rig.bench().path("capture.pcapng");
        let options = CaptureOptions { file: file.clone(), max_bytes: 64 << 20, outbound: false };
        switch.control().start_capture(&options).unwrap();
        Self { switch, capture: file, rig, product }
    }

    pub(crate) fn port(&self, name: &str) -> Socket {
        self.switch.listen(name, self.rig.bench().folder()).unwrap()
    }

    fn access(&self, port: &Socket, vlan: u16) {
        let mode = PortMode::Access(VlanId::new(vlan).unwrap());
        self.switch.control().set_mode(port.id, mode).unwrap();
    }

    /// Starts a node with cards at these ports, each with the last byte of its hardware address.
    pub(crate) fn boot(&self, node: &str, cards: &[(&Socket, u8)]) -> Machine {
        self.boot_machine(node, node, cards)
    }

    /// Starts a machine of this name with the seed of a node.
    fn boot_machine(&self, name: &str, node: &str, cards: &[(&Socket, u8)]) -> Machine {
        let disk = self.rig.overlay(&format!("{name}-disk"), &self.product.disk());
        let hardware = self.rig.unseeded(disk).disk(self.product.seed(node));
        let card = |(port, last): &(&Socket, u8)| {
            Nic::new(&port.path, format!("52:54:00:00:00:{last:02x}").parse().unwrap())
        };
        self.rig.boot(&cards.iter().map(card).fold(hardware, |hardware, nic| hardware.network(nic)))
    }

    /// The frames of the nodes, without their tags, from a place of the capture on.
    pub(crate) fn frames_from(&self, first: usize, nodes: &[Mac]) -> Vec<(Vec<u8>, Option<u16>)> {
        let all = frames::captured(&self.capture).into_iter().skip(first);
        all.filter(|frame| nodes.contains(&frames::sender(frame)))
            .map(|frame| frames::without_tag(&frame))
            .collect()
    }

    fn captured(&self) -> usize {
        frames::captured(&self.capture).len()
    }
}

/// Waits for the first end of Backplanes.
pub(crate) fn backplanes(machine: &Machine) -> Record {
    let ended = |outcome| matches!(outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting);
    let is_it = |record: &Record| record.stage == Stage::Backplanes.name() && ended(record.outcome);
    machine.wait_for("the end of Backplanes", Patience::BOOT, is_it).unwrap()
}

/// Waits until a text appears in a note or an error of Backplanes.
pub(crate) fn reported(machine: &Machine, text: &str) -> Record {
    let has = |field: &Option<String>| field.as_deref().is_some_and(|field| field.contains(text));
    let is_it = |record: &Record| {
        record.stage == Stage::Backplanes.name() && (has(&record.note) || has(&record.error))
    };
    machine.wait_for(text, Patience::seconds(300), is_it).unwrap()
}

/// Waits until the status page is as a test wants it; returns it.
pub(crate) fn page(machine: &mut Machine, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let page = status_page(machine);
        if wanted(&page) {
            return page;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{page:#?}");
        std::thread::sleep(Duration::from_secs(3));
    }
}

/// Whether all planes have a session with the other node.
pub(crate) fn sessions(page: &[String]) -> bool {
    page.iter().filter(|line| line.contains(", 1/1 sessions, ")).count() == 3
}

/// Checks that nodes sent nothing but ARP, neighbour discovery with its multicast reports, DHCP, and UDP of planes.
fn only_declared(frames: &[(Vec<u8>, Option<u16>)], dhcp: bool) {
    let planes = 51820..=51822;
    for (frame, _) in frames {
        let declared = match frames::content(frame) {
            Content::Arp(_) | Content::Icmpv6(135 | 136 | 143) => true,
            Content::Udp(68, 67) => dhcp,
            Content::Udp(from, to) => planes.contains(&from) && planes.contains(&to),
            Content::Icmpv6(_) | Content::Ipv4(_) | Content::Ipv6(_) | Content::Other(_) => false,
        };
        assert!(declared, "{:?}: {frame:02x?}", frames::content(frame));
    }
}

/// The ports of planes that occur in frames of one node.
fn planes_of(frames: &[(Vec<u8>, Option<u16>)]) -> BTreeSet<u16> {
    let port = |(frame, _): &(Vec<u8>, Option<u16>)| match frames::content(frame) {
        Content::Udp(from, _) => Some(from),
        _ => None,
    };
    frames.iter().filter_map(port).collect()
}

/// Waits until frames of all planes of a node were captured after a place.
fn wait_for_planes(net: &Net, first: usize, node: Mac) {
    let begun = Instant::now();
    while planes_of(&net.frames_from(first, &[node])).len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no frames of three planes from {node:02x?}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// N1, A7: planes over static IPv6 addresses, one node by a VLAN on a bond of two cards, the other one by its path, first in
/// the wrong VLAN. A pulled cable of the bond and a flapping cable end no session.
#[test]
fn planes_over_ipv6_survive_the_loss_of_a_member_of_the_bond_and_a_flapping_link() {
    let bond = "            - { name: left, match: { mac: \"52:54:00:00:00:01\" } }\n\
                \x20           - { name: right, match: { mac: \"52:54:00:00:00:02\" } }\n\
                \x20           - { name: bond0, bond: { mode: active-backup, links: [left, right] }, dhcp: none }\n\
                \x20           - { name: storage, vlan: { id: 20, link: bond0 }, addresses: [\"fd00:77::11/64\"] }\n";
    let path = "            - { name: uplink, match: { path: \"pci-0000:00:03.0\" }, addresses: [\"fd00:77::12/64\"] }\n";
    let product = edited("underlay-ipv6", &[(UPLINKS[0], bond), (UPLINKS[1], path)]);
    let net = Net::new(product, "planes_over_ipv6");
    let (left, right, single) = (net.port("left"), net.port("right"), net.port("single"));
    for port in [&left, &right] {
        net.switch.control().set_mode(port.id, PortMode::Trunk).unwrap();
    }
    net.access(&single, 30);
    let mut control = net.boot("cp-1", &[(&left, 1), (&right, 2)]);
    assert_eq!(backplanes(&control).outcome, Outcome::Done);
    let mut worker = net.boot("w-1", &[(&single, 3)]);
    assert_eq!(backplanes(&worker).outcome, Outcome::Done);
    // A wrong VLAN looks like a network without the other node: the page names it.
    page(&mut worker, |page| page.iter().filter(|line| line.contains("no session: cp-1")).count() == 3);
    net.access(&single, 20);
    for machine in [&mut control, &mut worker] {
        page(machine, sessions);
    }
    let nodes = [mac(1), mac(2), mac(3)];
    only_declared(&net.frames_from(0, &nodes), false);
    // An echo request of 1408 bytes, and 80 bytes of WireGuard, UDP and IPv6.
    let full = |frames: Vec<(Vec<u8>, Option<u16>)>| frames.iter().any(|(frame, _)| frame.len() == 14 + 1488);
    let begun = Instant::now();
    while !full(net.frames_from(0, &nodes[..2])) || !full(net.frames_from(0, &nodes[2..])) {
        assert!(begun.elapsed() < Duration::from_secs(90), "no packet of the planned size");
        std::thread::sleep(Duration::from_secs(1));
    }
    let tags: BTreeSet<_> = net.frames_from(0, &[mac(1), mac(2)]).into_iter().map(|(_, vlan)| vlan).collect();
    assert_eq!(tags, BTreeSet::from([Some(20)]), "the bond carries tagged frames only");

    // One cable after the other: the bond continues with the other member.
    for (card, port) in [(0, &left), (1, &right)] {
        control.set_link(card, false).unwrap();
        net.switch.control().set_link(port.id, false).unwrap();
        let cut = net.captured();
        wait_for_planes(&net, cut, mac(1));
        wait_for_planes(&net, cut, mac(3));
        control.set_link(card, true).unwrap();
        net.switch.control().set_link(port.id, true).unwrap();
        std::thread::sleep(Duration::from_secs(1)); // ten times the interval at which the bond looks at its members
    }
    for up in [false, true, false, true, false, true] {
        worker.set_link(0, up).unwrap();
        std::thread::sleep(Duration::from_millis(700));
    }
    let flapped = net.captured();
    wait_for_planes(&net, flapped, mac(1));
    wait_for_planes(&net, flapped, mac(3));
    for machine in [&mut control, &mut worker] {
        page(machine, sessions);
    }
    only_declared(&net.frames_from(0, &nodes), false);
}

/// The interfaces of the worker, which tests replace by DHCP.
const WORKER: &str =
    "          interfaces:\n            - name: uplink\n              addresses: [\"192.168.77.12/24\"]\n";

/// The worker of this image uses DHCP, and its peers expect it at 192.168.77.12.
fn with_dhcp() -> Product {
    let dhcp = "          endpoint: 192.168.77.12\n          interfaces:\n            - { name: uplink, dhcp: ipv4 }\n";
    edited("underlay-dhcp", &[(WORKER, dhcp)])
}

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);

const fn on_the_net(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, last)
}

/// The control plane with its static address, a DHCP server that is silent, and the worker.
fn dhcp_pair(test: &str) -> (Net, Server, Machine, Machine) {
    let net = Net::new(with_dhcp(), test);
    let server = Server::start(net.switch.port("dhcp").unwrap(), (mac(66), ROUTER));
    let (first, second) = (net.port("cp-1"), net.port("w-1"));
    let control = net.boot("cp-1", &[(&first, 1)]);
    assert_eq!(backplanes(&control).outcome, Outcome::Done);
    let worker = net.boot("w-1", &[(&second, 2)]);
    let record = backplanes(&worker);
    assert_eq!(
        (record.outcome, record.on.as_deref()),
        (Outcome::Waiting, Some("underlay")),
        "the server is silent"
    );
    assert!(record.note.as_deref().unwrap_or_default().contains("has no address from DHCP"), "{record:?}");
    (net, server, control, worker)
}

/// Everything that a DHCP server can offer to lead traffic of planes elsewhere (RFC 2132, RFC 3442, RFC 8925).
fn with_everything(lease: Lease) -> Lease {
    let route = |prefix: u8, to: &[u8]| [&[prefix], to, &on_the_net(66).octets()].concat();
    let routes = [
        route(1, &[0]),
        route(1, &[128]),
        route(25, &[10, 101, 0, 0]),
        route(25, &[10, 102, 0, 0]),
        route(25, &[10, 103, 0, 0]),
        route(32, &[192, 168, 77, 11]),
        route(0, &[]),
    ]
    .concat();
    let (server, to_plane) = (on_the_net(66).octets(), [10, 101, 0, 1, 192, 168, 77, 66]);
    lease
        .option(6, server)
        .option(12, *b"evil")
        .option(15, *b"evil.example")
        .option(26, [0, 68])
        .option(33, to_plane)
        .option(42, server)
        .option(100, *b"EST5EDT")
        .option(101, *b"Asia/Tokyo")
        .option(108, [0, 0, 7, 8])
        .option(119, *b"\x04evil\x07example\0")
        .option(121, routes.clone())
        .option(249, routes)
        .option(252, *b"http://evil.example/wpad")
}

/// N3, A7: a server that is silent, one that offers the address of a peer on a plane for an hour, and another one that offers routes, names,
/// times and a tiny MTU: the node reports the first two, gets the address of the third one without a restart, and none of them changes
/// where the planes' packets go.
#[test]
fn a_dhcp_server_changes_neither_routes_nor_addresses_of_planes() {
    let (net, server, mut control, mut worker) = dhcp_pair("a_dhcp_server_changes_neither");
    let (of_control, plane) = (Ipv4Addr::new(10, 101, 0, 1), Ipv4Addr::new(10, 101, 0, 126));
    // The lease is long: networkd would not ask for another one within an hour.
    server.say(Some(Lease { prefix: 25, ..Lease::of(of_control, plane) }));
    let record = reported(&worker, "wg1: remove 10.101.0.1 from ");
    assert!(record.note.as_deref().unwrap_or_default().starts_with("drift repaired: "), "{record:?}");
    assert!(server.acknowledged().contains(&of_control), "the node has had the address");
    // The server goes away, and another one answers.
    server.say(None);
    let other = Server::start(net.switch.port("other").unwrap(), (mac(67), on_the_net(67)));
    other.say(Some(with_everything(Lease::of(on_the_net(12), ROUTER))));
    for machine in [&mut worker, &mut control] {
        page(machine, sessions);
    }
    assert_eq!(other.acknowledged().first(), Some(&on_the_net(12)));
    let again = |record: &Record| {
        record.note.as_deref().is_some_and(|note| note.contains("again: its address from DHCP"))
    };
    assert!(worker.console().records().iter().any(again));
    let frames = net.frames_from(0, &[mac(1), mac(2)]);
    only_declared(&frames, true);
    for (frame, _) in &frames {
        let to = &frame[..6];
        if let Content::Udp(from, _) = frames::content(frame)
            && (51820..=51822).contains(&from)
        {
            assert!(to == mac(1) || to == mac(2), "a packet of a plane to {to:02x?}");
        }
        assert_ne!(frames::asked(frame), Some(on_the_net(66)), "the node looks for the offered router");
    }
    let baseline =
        worker.console().records().into_iter().filter(|record| record.stage == Stage::Baseline.name());
    let repaired = |record: &Record| record.note.as_deref().is_some_and(|note| note.starts_with("drift"));
    assert_eq!(baseline.filter(repaired).count(), 0, "the host name or a kernel parameter changed");
}

/// N2: the address of a node changes while its planes are up, and back: its peers follow, and no session ends.
#[test]
#[ignore = "waits for renewals of leases: `make drill`"]
fn planes_follow_an_address_that_dhcp_changes() {
    let (net, server, mut control, mut worker) = dhcp_pair("planes_follow_an_address");
    for last in [12, 13, 12] {
        let address = on_the_net(last);
        server.say(Some(Lease { seconds: 30, ..Lease::of(address, ROUTER) }));
        let begun = Instant::now();
        while server.acknowledged().last() != Some(&address) {
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", server.acknowledged());
            std::thread::sleep(Duration::from_secs(1));
        }
        let changed = net.captured();
        let moved = || {
            let own = net.frames_from(changed, &[mac(2)]);
            planes_of(
                &own.into_iter().filter(|(frame, _)| frame[26..30] == address.octets()).collect::<Vec<_>>(),
            )
        };
        let followed = || {
            let peer = net.frames_from(changed, &[mac(1)]);
            planes_of(
                &peer.into_iter().filter(|(frame, _)| frame[30..34] == address.octets()).collect::<Vec<_>>(),
            )
        };
        while moved().len() < 3 || followed().len() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(240), "{:?} and {:?}", moved(), followed());
            std::thread::sleep(Duration::from_secs(1));
        }
        for machine in [&mut worker, &mut control] {
            page(machine, sessions);
        }
    }
    only_declared(&net.frames_from(0, &[mac(1), mac(2)]), true);
}

/// One seed in two machines, as after a volume was attached twice: the serial log of the peer names the node.
#[test]
#[ignore = "waits for several rounds of the agent: `make drill`"]
fn two_machines_with_one_seed_are_named() {
    let (net, server, control, _first) = dhcp_pair("two_machines_with_one_seed");
    let port = net.port("w-1-again");
    let mut second = None;
    for last in [12, 13] {
        server.say(Some(Lease::of(on_the_net(last), ROUTER)));
        if last == 13 {
            second = Some(net.boot_machine("w-1-again", "w-1", &[(&port, 3)]));
        }
        let begun = Instant::now();
        while server.acknowledged().last() != Some(&on_the_net(last)) {
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", server.acknowledged());
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let named = |record: &Record| {
        record.note.as_deref().is_some_and(|note| note.contains("two machines have one seed"))
    };
    let record = control.wait_for("both machines", Patience::seconds(1200), named).unwrap();
    let note = record.note.unwrap_or_default();
    for address in [12, 13].map(on_the_net) {
        assert!(note.contains(&address.to_string()), "{note}");
    }
    let log = std::fs::read(control.log()).unwrap();
    let named = faults(&String::from_utf8_lossy(&log));
    assert!(named.iter().any(|named| named.cause == Cause::OneSeedTwice("w-1".into())), "{named:#?}");
    drop(second);
}

/// D1: a cable that is plugged in late. The record names the device and the thing to check, and the planes come up afterwards.
#[test]
fn a_cable_that_is_plugged_in_late_is_reported_and_then_used() {
    let net = Net::new(edited("underlay-late", &[]), "a_cable_that_is_plugged_in_late");
    let port = net.port("cp-1");
    let machine = net.boot("cp-1", &[(&port, 1)]);
    machine.set_link(0, false).unwrap();
    let record = backplanes(&machine);
    assert_eq!((record.outcome, record.on.as_deref()), (Outcome::Waiting, Some("underlay")), "{record:?}");
    let note = record.note.unwrap_or_default();
    assert!(note.contains("has no carrier; check the cable and the port of the switch"), "{note}");
    assert!(net.frames_from(0, &[mac(1)]).is_empty(), "no frame leaves before the cable is there");
    machine.set_link(0, true).unwrap();
    reported(&machine, "the error no longer occurs");
    wait_for_arp(&net);
    only_declared(&net.frames_from(0, &[mac(1)]), false);
}

/// Without its peer, the only frames of a node are ARP requests for it.
fn wait_for_arp(net: &Net) {
    let begun = Instant::now();
    while net.frames_from(0, &[mac(1)]).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the node sends nothing");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// A name, edits of the example, the last bytes of the cards' hardware addresses, and a part of the note.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c [u8], &'c str);

/// D1: devices that do not exist, and devices that several interfaces could mean. The record lists the devices of the node.
#[test]
#[ignore = "one boot for each case: `make drill`"]
fn a_device_that_is_missing_or_ambiguous_is_named_with_the_devices_that_exist() {
    let missing = "            - { name: uplink, match: { mac: \"52:54:00:00:00:09\" }, addresses: [\"192.168.77.11/24\"] }\n";
    let path = "            - { name: uplink, match: { path: \"pci-0000:00:1f.6\" }, addresses: [\"192.168.77.11/24\"] }\n";
    let cases: [Case<'_>; 4] = [
        ("no-card", &[], &[], "no Ethernet device exists; found none; is its driver in the image?"),
        ("wrong-mac", &[(UPLINKS[0], missing)], &[1], "has MAC 52:54:00:00:00:09; found enp0s"),
        ("wrong-path", &[(UPLINKS[0], path)], &[1], "has the path pci-0000:00:1f.6; found enp0s"),
        (
            "two-cards",
            &[],
            &[1, 2],
            "several Ethernet devices match, add a match to the interface; found enp0s",
        ),
    ];
    for (name, edits, cards, expected) in cases {
        let net = Net::new(edited(&format!("underlay-{name}"), edits), name);
        let ports: Vec<Socket> = cards.iter().map(|card| net.port(&format!("card-{card}"))).collect();
        let machine = net.boot("cp-1", &ports.iter().zip(cards.iter().copied()).collect::<Vec<_>>());
        let record = backplanes(&machine);
        assert_eq!((record.outcome, record.on.as_deref()), (Outcome::Waiting, Some("underlay")), "{name}");
        assert!(record.note.as_deref().unwrap_or_default().contains(expected), "{name}: {record:?}");
        let nodes = [mac(1), mac(2)];
        assert!(net.frames_from(0, &nodes).is_empty(), "{name}: a device that is not the right one sends");
    }
}
