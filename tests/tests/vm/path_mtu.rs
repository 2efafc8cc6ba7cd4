//! Paths between nodes that carry less than planned, and forged messages of routers (N1, N4, N5).
//!
//! The nodes are those of the default example; the switch drops frames that are too large, as a router in the middle would.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kubedos_lab::switch::{PathMtu, Port};
use kubedos_tests::Product;
use kubedos_tests::underlay_frames::{self as frames, Mac};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use crate::underlay::{Net, backplanes, mac, page, reported, sessions};

const fn on_the_net(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, last)
}

/// "Fragmentation needed" about every plane's packets in both directions, with MTUs from the smallest to the largest that hurt.
fn forge(outsider: &Port, nodes: [(Mac, Ipv4Addr); 2]) {
    let [first, second] = nodes;
    for (victim, other) in [(first, second), (second, first)] {
        for port in 51820..=51822 {
            for mtu in [0, 68, 552, 1280] {
                // From an own address, and from that of the other node.
                for from in [(mac(99), on_the_net(99)), (mac(99), other.1)] {
                    outsider.send(&frames::too_large(from, victim, other.1, port, mtu));
                }
            }
        }
    }
}

/// Whether a frame carries a fragment of an IPv4 packet.
fn is_fragment(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0] && (frame[20] & 0x3f, frame[21]) != (0, 0)
}

/// N1: a path that drops packets of more than 1404 bytes in one direction and of more than 1372 bytes in the other one, where the router is
/// silent. Both nodes report the size that passes, one of them with what the router says; sessions stay. An outsider forges messages of routers all the time: no packet is fragmented, and no node
/// reports what they say.
#[test]
fn a_smaller_path_is_reported_with_its_size_and_forged_messages_change_nothing() {
    let net = Net::new(Product::open(Product::built().folder()), "a_smaller_path_is_reported");
    let (first, second) = (net.port("cp-1"), net.port("w-1"));
    let limit = PathMtu { mtu: 1404, reports: true };
    net.switch.control().set_path_mtu(first.id, second.id, Some(limit)).unwrap();
    let silent = PathMtu { mtu: 1372, reports: false };
    net.switch.control().set_path_mtu(second.id, first.id, Some(silent)).unwrap();
    let outsider = net.switch.port("outsider").unwrap();
    let nodes = [(mac(1), on_the_net(11)), (mac(2), on_the_net(12))];
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                forge(&outsider, nodes);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let attacked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut control = net.boot("cp-1", &[(&first, 1)]);
            assert_eq!(backplanes(&control).outcome, Outcome::Done);
            let mut worker = net.boot("w-1", &[(&second, 2)]);
            assert_eq!(backplanes(&worker).outcome, Outcome::Done);
            let with_router = "path MTU: only 1312 of 1440 bytes reach w-1, a router reports an MTU of 1404; set networking.underlay.mtu to 1372";
            reported(&control, with_router);
            reported(
                &worker,
                "path MTU: only 1312 of 1440 bytes reach cp-1; set networking.underlay.mtu to 1372",
            );
            for machine in [&mut control, &mut worker] {
                let page = page(machine, sessions);
                assert!(
                    page.iter().any(|line| line.contains("path      only 1312 of 1440 bytes")),
                    "{page:#?}"
                );
                let records = machine.console().records();
                let of_paths = records.iter().filter(|record| {
                    let note = record.note.as_deref().unwrap_or_default();
                    record.stage == Stage::Backplanes.name() && note.starts_with("path MTU: ")
                });
                assert_eq!(of_paths.count(), 1, "one record for one path: {records:#?}");
            }
        }));
        ended.store(true, Ordering::Relaxed);
        if let Err(panic) = attacked {
            std::panic::resume_unwind(panic);
        }
    });
    let sent = net.frames_from(0, &[mac(1), mac(2)]);
    assert!(sent.iter().any(|(frame, _)| frame.len() == 14 + 1500), "packets of the planned size were sent");
    let fragments = sent.iter().filter(|(frame, _)| is_fragment(frame)).count();
    assert_eq!(fragments, 0, "a forged message has fragmented packets");
}
