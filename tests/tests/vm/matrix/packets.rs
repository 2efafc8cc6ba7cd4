//! The packets of the matrix: which addresses, ports and shapes are tried. The sample of other ports follows from a fixed seed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeFrom;

use kubedos_tests::packets::{Content, FIRST_PORT, Sent, Shape};
use kubedos_wire::firewall::TIME_PORT;
use kubedos_wire::hex32::sha256;

use super::Shot;
use super::expected::{PLANES, Receiver, outside, plane_address};

/// The ports of services that nodes have, will have, or must never have.
const TCP: [u16; 12] = [22, 53, 80, 443, 2379, 2380, 5000, 6443, 7443, 7444, 10_250, 19_999];
const UDP: [u16; 13] = [53, 67, 68, TIME_PORT, 546, 547, 4789, 4999, 5000, 5003, 5004, 5353, 5355];
const PLANE_PORTS: [u16; 3] = [51820, 51821, 51822];
/// The length of the sample of other ports.
const SAMPLE: usize = 6;

/// Ports below the source ports of the test, which follow from a seed.
fn sample(seed: &str) -> BTreeSet<u16> {
    let numbers = (0_u32..).map(|number| {
        let [one, two, ..] = sha256(&[seed.as_bytes(), &number.to_le_bytes()]);
        u16::from_le_bytes([one, two])
    });
    numbers.filter(|port| (1..FIRST_PORT).contains(port)).take(SAMPLE).collect()
}

/// The TCP ports that are tried and on which the nodes listen.
pub fn tcp_ports() -> Vec<u16> {
    TCP.into_iter().chain(sample("tcp")).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The UDP ports on which the nodes listen, in addition to the kernel's WireGuard and to chronyd, which does not answer the packets
/// of this test.
pub fn listening_udp() -> Vec<u16> {
    udp_ports().into_iter().filter(|port| *port != TIME_PORT).collect()
}

/// The UDP ports that are tried, aside from those of the planes.
fn udp_ports() -> BTreeSet<u16> {
    UDP.into_iter().chain(sample("udp")).collect()
}

fn everything(six: bool) -> Vec<Content> {
    let mut all: Vec<Content> = tcp_ports().into_iter().map(Content::Syn).collect();
    all.extend(udp_ports().into_iter().chain(PLANE_PORTS).map(Content::Udp));
    all.extend([6443, 22, 51820].into_iter().flat_map(|port| [Content::Ack(port), Content::Xmas(port)]));
    all.extend([
        Content::UdpFrom(67, 68),
        Content::UdpFrom(547, 546),
        Content::UdpFrom(53, 5353),
        Content::Echo,
    ]);
    let icmp: &[u8] = if six { &[130, 134, 135, 137, 200] } else { &[5, 9, 13, 17] };
    all.extend(icmp.iter().map(|kind| Content::Icmp(*kind)));
    let errors: &[u8] = if six { &[1, 2, 3, 4] } else { &[3, 11, 12] };
    all.extend(errors.iter().map(|kind| Content::Error(*kind)));
    // IPv4 in IP, GRE, ESP, OSPF, SCTP.
    all.extend([4, 47, 50, 89, 132].map(Content::Protocol));
    all
}

/// What is tried with each spoofed source.
const FEW: [Content; 8] = [
    Content::Syn(22),
    Content::Syn(6443),
    Content::Syn(7444),
    Content::Udp(123),
    Content::Udp(5000),
    Content::Udp(51820),
    Content::Echo,
    Content::Error(3),
];
/// What is tried in pieces.
const PIECES: [Content; 5] =
    [Content::Syn(6443), Content::Syn(22), Content::Udp(5000), Content::Udp(51820), Content::Echo];

/// Collects packets with increasing numbers.
struct Builder<'n> {
    numbers: &'n mut RangeFrom<u16>,
    wide: bool,
    shots: Vec<Shot>,
}

impl Builder<'_> {
    fn add(
        &mut self,
        device: &'static str,
        ends: (IpAddr, IpAddr),
        content: Content,
        shape: Shape,
        hops: u8,
    ) {
        let number = self.numbers.next().unwrap();
        assert!(number < u16::MAX - FIRST_PORT, "too many packets");
        let packet = Sent { number, source: ends.0, destination: ends.1, content, shape, hops };
        self.shots.push(Shot { device, packet, wide: self.wide });
    }

    fn all(&mut self, device: &'static str, ends: (IpAddr, IpAddr), contents: &[Content], shapes: &[Shape]) {
        for shape in shapes {
            for content in contents {
                self.add(device, ends, *content, *shape, 64);
            }
        }
    }
}

const FRAGMENTED: [Shape; 3] = [Shape::Fragments, Shape::Reversed, Shape::WithoutFirst];

/// The packets of a compromised node over each plane, to each address of the receiver.
pub fn from_node(
    sender: &Receiver<'_>,
    receiver: &Receiver<'_>,
    wide: bool,
    numbers: &mut RangeFrom<u16>,
) -> Vec<Shot> {
    let mut list = Builder { numbers, wide, shots: Vec::new() };
    let loopback: IpAddr = [127, 0, 0, 1].into();
    for (plane, device) in (1..).zip(PLANES) {
        let own = sender.member(plane);
        let to_planes = [1, 2, 3].map(|plane| receiver.member(plane));
        let elsewhere = [receiver.birth(plane), receiver.underlay, loopback];
        for to in to_planes.into_iter().chain(elsewhere) {
            list.all(device, (own, to), &everything(false), &[Shape::Whole]);
        }
        for to in to_planes {
            list.all(device, (own, to), &PIECES, &FRAGMENTED);
            let others =
                [1, 2, 3].into_iter().filter(|other| *other != plane).map(|other| sender.member(other));
            let spoofed = [
                plane_address(plane, 77),
                plane_address(plane, 126), // the operator
                sender.birth(plane),
                sender.underlay,
                receiver.underlay,
                receiver.member(plane),
                loopback,
                [203, 0, 113, 9].into(),
            ];
            for from in others.chain(spoofed) {
                list.all(device, (from, to), &FEW, &[Shape::Whole]);
            }
        }
        for from in [sender.underlay_six, receiver.underlay_six, outside::SIX.into()] {
            list.all(device, (from, receiver.underlay_six), &FEW, &[Shape::Whole, Shape::Options]);
            list.add(device, (from, receiver.underlay_six), Content::Icmp(135), Shape::Whole, 255);
        }
    }
    list.shots
}

/// The packets of an outsider on the underlay.
pub fn from_outside(
    receiver: &Receiver<'_>,
    other: &Receiver<'_>,
    numbers: &mut RangeFrom<u16>,
) -> Vec<Shot> {
    let mut list = Builder { numbers, wide: false, shots: Vec::new() };
    let device = "uplink";
    let own: IpAddr = outside::FOUR.into();
    let loopback: IpAddr = [127, 0, 0, 1].into();
    let to_planes = [1, 2, 3].map(|plane| receiver.member(plane));
    let broadcast = [192, 168, 77, 255].into();
    list.all(device, (own, receiver.underlay), &everything(false), &[Shape::Whole]);
    list.all(device, (own, receiver.underlay), &PIECES, &FRAGMENTED);
    list.all(device, (own, receiver.underlay), &PIECES, &[Shape::SourceRoute, Shape::BadOption]);
    for to in to_planes.into_iter().chain([receiver.birth(1), loopback, broadcast]) {
        list.all(device, (own, to), &FEW, &[Shape::Whole, Shape::Fragments]);
    }
    let spoofed = [1, 2, 3].map(|plane| other.member(plane));
    let more = [other.underlay, receiver.underlay, receiver.member(1), loopback, [203, 0, 113, 9].into()];
    for from in spoofed.into_iter().chain(more) {
        for to in to_planes.into_iter().chain([receiver.underlay]) {
            list.all(device, (from, to), &FEW, &[Shape::Whole]);
        }
    }
    let (own, link): (IpAddr, IpAddr) = (outside::SIX.into(), outside::LINK.into());
    let six = [receiver.underlay_six, receiver.link];
    for (from, to) in [(own, six[0]), (link, six[1])] {
        list.all(device, (from, to), &everything(true), &[Shape::Whole]);
        list.all(device, (from, to), &PIECES, &FRAGMENTED);
        let extended = [Shape::Options, Shape::HopByHop, Shape::UnknownOption, Shape::Routing];
        list.all(device, (from, to), &PIECES, &extended);
        for kind in [134, 135, 136, 137] {
            list.add(device, (from, to), Content::Icmp(kind), Shape::Whole, 255);
        }
    }
    let all_nodes = "ff02::1".parse().unwrap();
    for from in [
        own,
        link,
        other.underlay_six,
        IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        "2001:db8::9".parse().unwrap(),
    ] {
        for to in [six[0], all_nodes, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])] {
            list.all(device, (from, to), &FEW, &[Shape::Whole]);
        }
    }
    list.shots
}
