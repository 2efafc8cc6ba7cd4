//! Other machines with addresses of a node, and an IPv6 underlay with a smaller MTU in the middle (N1, N4, D1).
//!
//! The nodes are those of the default example with other addresses. The other machines, the router and the forged messages are
//! made by the tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kubedos_lab::Machine;
use kubedos_lab::switch::{PathMtu, Port};
use kubedos_tests::conflicting_host::ConflictingHost;
use kubedos_tests::underlay_frames::{self as frames, Mac};
use kubedos_tests::{Product, edited};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use crate::underlay::{Net, UPLINKS, backplanes, mac, page, reported, sessions};

const fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, last)
}

/// The addresses of nodes have the suffixes 11 and 12; the second address of each has 111 and 112, and is not its endpoint.
const fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, last)
}

/// Both nodes with two IPv6 addresses and an IPv4 address; their planes use the first one.
fn with_two_families() -> Product {
    let uplink = |number: u8| {
        format!(
            "            - name: uplink\n              addresses: [\"fd00:77::1{number}/64\", \"fd00:77::11{number}/64\", \"192.168.77.1{number}/24\"]\n"
        )
    };
    edited("underlay-addresses", &[(UPLINKS[0], &uplink(1)), (UPLINKS[1], &uplink(2))])
}

/// "Packet too big" about every plane's packets of a node to another one.
fn forge(outsider: &Port, victim: (Mac, Ipv6Addr), other: Ipv6Addr) {
    for port in 51820..=51822 {
        // From an own address, and from that of the other node.
        for from in [v6(0x99), other] {
            outsider.send(&frames::too_big((mac(0x99), from), victim, other, port, 1280));
        }
    }
}

/// Whether a node answers for an address, to a station that asks.
fn answers_for(station: &Port, own: (Mac, Ipv4Addr), address: Ipv4Addr, node: Mac) -> bool {
    station.send(&frames::arp_request(own, address));
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let frame = station.receive(Duration::from_millis(200));
        let is_reply = |frame: &Vec<u8>| {
            frames::content(frame) == frames::Content::Arp(true)
                && frames::sender(frame) == node
                && frame[28..32] == address.octets()
        };
        if frame.as_ref().is_some_and(is_reply) {
            return true;
        }
    }
    false
}

fn notes(machine: &Machine, start: &str) -> Vec<String> {
    let records = machine.console().records().into_iter();
    let of_it = records.filter(|record| record.stage == Stage::Backplanes.name());
    of_it.filter_map(|record| record.note).filter(|note| note.starts_with(start)).collect()
}

/// D1, N1: a machine has two addresses of a node before it boots, another one appears later with those of the second node. Both nodes keep
/// their addresses, their planes come up, and console and page name the machines until they are gone. Meanwhile one direction of the path
/// has a router with a smaller MTU, and an outsider forges the message of one for the other direction: the nodes tell them apart.
#[test]
fn machines_with_addresses_of_nodes_are_named_and_forged_routers_are_not_confirmed_over_ipv6() {
    let net = Net::new(with_two_families(), "machines_with_addresses_of_nodes");
    let (first, second) = (net.port("cp-1"), net.port("w-1"));
    let limit = PathMtu { mtu: 1404, reports: true };
    net.switch.control().set_path_mtu(first.id, second.id, Some(limit)).unwrap();
    let (outsider, station) = (net.switch.port("outsider").unwrap(), net.switch.port("station").unwrap());
    let addresses = |number: u8| vec![IpAddr::from(v4(10 + number)), v6(0x110 + u16::from(number)).into()];
    let before = ConflictingHost::start(net.switch.port("before").unwrap(), mac(0x63), addresses(1));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                forge(&outsider, (mac(2), v6(0x12)), v6(0x11));
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut control = net.boot("cp-1", &[(&first, 1)]);
            assert_eq!(backplanes(&control).outcome, Outcome::Done);
            reported(&control, "192.168.77.11 of enp0s");
            reported(&control, "fd00:77::111 of enp0s");
            let mut worker = net.boot("w-1", &[(&second, 2)]);
            assert_eq!(backplanes(&worker).outcome, Outcome::Done);
            let after = ConflictingHost::start(net.switch.port("after").unwrap(), mac(0x64), addresses(2));
            reported(&worker, "192.168.77.12 of enp0s");
            reported(
                &control,
                "path MTU: packets to w-1 pass a router with an MTU of 1404 only in fragments; set networking.underlay.mtu to 1404",
            );
            for (machine, other) in [(&mut control, "63"), (&mut worker, "64")] {
                let text = format!(
                    "is also used by 52:54:00:00:00:{other}; give that machine or this node another address"
                );
                reported(machine, &text);
                let page = page(machine, sessions);
                let named = page.iter().filter(|line| line.contains("conflict  "));
                assert!(named.count() >= 1, "{page:#?}");
            }
            for number in [1, 2] {
                let own = v4(10 + number);
                assert!(answers_for(&station, (mac(0x65), v4(0x65)), own, mac(number)), "{own} was given up");
            }
            drop((before, after));
            for machine in [&mut control, &mut worker] {
                reported(machine, "is no longer used by another machine");
                let page = page(machine, |page| !page.iter().any(|line| line.contains("conflict  ")));
                assert!(sessions(&page), "{page:#?}");
            }
            assert_eq!(notes(&control, "path MTU: ").len(), 1);
            // The forged message has no effect yet when the node asks, or it is reported for what it is.
            let reported = notes(&worker, "path MTU: ");
            let fragments =
                |(frame, _): &&(Vec<u8>, Option<u16>)| frames::content(frame) == frames::Content::Ipv6(44);
            if !reported.is_empty() {
                assert_eq!(
                    reported,
                    [
                        "path MTU: packets to cp-1 are sent in fragments, because of a message about an MTU of 1280 that no router confirms"
                    ]
                );
                assert!(net.frames_from(0, &[mac(2)]).iter().any(|frame| fragments(&frame)));
            }
        }));
        ended.store(true, Ordering::Relaxed);
        if let Err(panic) = attacked {
            std::panic::resume_unwind(panic);
        }
    });
}

/// N1: a machine answers for the address that the planes of a node use, before the node boots and for minutes. The node reports it and
/// keeps its address; when the machine is gone, all planes have sessions without a restart of any node.
#[test]
#[ignore = "waits for the end of sessions: `make drill`"]
fn planes_recover_when_a_machine_with_the_endpoint_of_a_node_is_gone() {
    let net = Net::new(Product::open(Product::built().folder()), "planes_recover_when_a_machine");
    let (first, second) = (net.port("cp-1"), net.port("w-1"));
    let other = ConflictingHost::start(net.switch.port("other").unwrap(), mac(0x63), vec![v4(11).into()]);
    let mut control = net.boot("cp-1", &[(&first, 1)]);
    assert_eq!(backplanes(&control).outcome, Outcome::Done);
    let mut worker = net.boot("w-1", &[(&second, 2)]);
    assert_eq!(backplanes(&worker).outcome, Outcome::Done);
    reported(&control, "192.168.77.11 of enp0s");
    std::thread::sleep(Duration::from_secs(240)); // longer than a session lives
    drop(other);
    reported(&control, "address conflict: 192.168.77.11 is no longer used by another machine");
    for machine in [&mut control, &mut worker] {
        page(machine, sessions);
    }
    // A second one appears while the planes are up: their sessions may be interrupted, and return.
    let other = ConflictingHost::start(net.switch.port("again").unwrap(), mac(0x64), vec![v4(11).into()]);
    reported(&control, "also used by 52:54:00:00:00:64");
    std::thread::sleep(Duration::from_secs(240));
    drop(other);
    for machine in [&mut control, &mut worker] {
        page(machine, sessions);
    }
}
