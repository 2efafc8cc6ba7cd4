//! The MTU of a path: what passes, what is dropped, and what a router would say.

use crate::switch::PathMtu;

use super::{address, ports, started, status};

/// An Ethernet frame from station 1 to station 2 with a packet of this length.
fn packet(version: u8, df: bool, length: usize) -> Vec<u8> {
    let kind: [u8; 2] = if version == 4 { [8, 0] } else { [0x86, 0xdd] };
    let mut packet = vec![0; length];
    packet[0] = version << 4 | 5;
    if version == 4 {
        packet[6] = if df { 0x40 } else { 0 };
        packet[12..20].copy_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    } else {
        packet[8..40].copy_from_slice(&[[1; 16], [2; 16]].concat());
    }
    [&address(2)[..], &address(1), &kind, &packet].concat()
}

#[test]
fn larger_packets_are_dropped_and_only_in_one_direction() {
    let switch = started();
    let [first, second] = ports(&switch);
    let limit = PathMtu { mtu: 1400, reports: false };
    switch.control().set_path_mtu(first.id(), second.id(), Some(limit)).unwrap();
    for (length, arrives) in [(1399, true), (1400, true), (1401, false), (9000, false)] {
        for version in [4, 6] {
            first.send(&packet(version, true, length));
            assert_eq!(second.try_receive().is_some(), arrives, "{length}");
            second.send(&packet(version, true, length));
            assert!(first.try_receive().is_some(), "the other direction, and no report");
        }
    }
    assert_eq!(status(switch.control(), "p1").faults.too_large, 4);
    switch.control().set_path_mtu(first.id(), second.id(), None).unwrap();
    first.send(&packet(4, true, 9000));
    assert!(second.try_receive().is_some());
}

#[test]
fn a_router_reports_packets_with_df_and_of_ipv6() {
    let switch = started();
    let [first, second] = ports(&switch);
    let limit = PathMtu { mtu: 1400, reports: true };
    switch.control().set_path_mtu(first.id(), second.id(), Some(limit)).unwrap();
    first.send(&packet(4, false, 1401));
    assert_eq!(first.try_receive(), None, "a router fragments a packet without DF");
    let sum = |bytes: &[u8]| {
        let words =
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let sum = words.sum::<u32>();
        (sum & 0xffff) + (sum >> 16)
    };
    first.send(&packet(4, true, 1500));
    let report = first.try_receive().unwrap();
    assert_eq!(report[..14], [&address(1)[..], &address(2), &[8, 0]].concat());
    assert_eq!((sum(&report[14..34]), sum(&report[34..])), (0xffff, 0xffff), "the checksums are correct");
    assert_eq!(report[26..34], [192, 0, 2, 2, 192, 0, 2, 1]);
    assert_eq!(report[34..36], [3, 4]);
    assert_eq!(report[40..42], 1400_u16.to_be_bytes());
    assert_eq!(report[42..], packet(4, true, 1500)[14..14 + 548]);
    first.send(&packet(6, false, 1500));
    let report = first.try_receive().unwrap();
    let pseudo =
        [&report[22..54], &u32::try_from(report.len() - 54).unwrap().to_be_bytes(), &[0, 0, 0, 58]].concat();
    assert_eq!(sum(&[&pseudo[..], &report[54..]].concat()), 0xffff, "the checksum is correct");
    assert_eq!(report[54..56], [2, 0]);
    assert_eq!(report[58..62], 1400_u32.to_be_bytes());
    assert_eq!(second.try_receive(), None);
}
