//! Packets at the borders of the policy: a packet that some sentence is about, with up to two fields replaced by values from
//! the edges of ranges.

use std::net::IpAddr;

use kubedos_wire::firewall::{Hook, Packet, State, Transport};
use kubedos_wire::value::Protocol;

use crate::clusters::{Cluster, Range, TestPlane};
use crate::draw::Draw;

const STATES: [State; 5] = [State::New, State::Established, State::Related, State::Invalid, State::Untracked];
const ICMP: [u8; 16] = [0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 128, 129, 134, 135, 136, 137];
const ELSEWHERE: [&str; 12] = [
    "192.0.2.7",
    "0.0.0.0",
    "127.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "10.100.255.255",
    "2001:db8::7",
    "fe80::1",
    "fe80::",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::",
    "ff02::1",
];

pub fn packet(cluster: &Cluster, draw: &mut Draw) -> (Hook, Packet) {
    let (mut hook, mut packet) = template(cluster, draw);
    for _ in 0..draw.pick(&[0, 0, 1, 1, 1, 1, 2]) {
        replace(cluster, draw, &mut packet);
    }
    if draw.one_in(40) {
        (hook, packet.input, packet.output) = (Hook::Forward, Some("wg1".into()), Some("eth0".into()));
    }
    if packet.source.is_ipv4() != packet.destination.is_ipv4() {
        packet.destination = any_address(cluster, draw, packet.source.is_ipv4());
    }
    (hook, packet)
}

fn template(cluster: &Cluster, draw: &mut Draw) -> (Hook, Packet) {
    let plane = draw.pick(&cluster.planes);
    let entry = (!cluster.allow.is_empty()).then(|| draw.pick(&cluster.allow));
    match (draw.below(8), entry) {
        (0, Some(allow)) => {
            let (from, to) = (&cluster.planes[allow.from], &cluster.planes[allow.to]);
            let transport = mostly_ports(&allow.ports, draw, false, from.all.v4);
            (Hook::Input, arriving(from.name, inside(&from.members, draw), to.member, transport, draw))
        }
        (1, Some(allow)) => {
            let (from, to) = (&cluster.planes[allow.from], &cluster.planes[allow.to]);
            let transport = mostly_ports(&allow.ports, draw, true, from.all.v4);
            (Hook::Input, arriving(from.name, inside(&to.members, draw), from.member, transport, draw))
        }
        (2, Some(allow)) => {
            let (from, to) = (&cluster.planes[allow.from], &cluster.planes[allow.to]);
            let transport = mostly_ports(&allow.ports, draw, true, from.all.v4);
            let packet = arriving(from.name, to.member, inside(&from.members, draw), transport, draw);
            (Hook::Output, Packet { output: packet.input, input: None, ..packet })
        }
        (3 | 4, _) => {
            let range = if draw.one_in(2) { plane.births } else { plane.members };
            let own = if draw.one_in(6) { plane.birth } else { plane.member };
            let transport = any_transport(cluster, draw);
            (Hook::Input, arriving(plane.name, inside(&range, draw), own, transport, draw))
        }
        (5 | 6, _) => {
            let v4 = draw.one_in(2);
            let source = any_elsewhere(draw, v4);
            let dhcp = if v4 { udp(67, 68) } else { udp(547, 546) };
            let any = any_transport(cluster, draw);
            let transport = draw.pick(&[any, any, udp(40_000, plane.port), dhcp]);
            let destination = any_elsewhere(draw, v4);
            (Hook::Input, arriving("eth0", source, destination, transport, draw))
        }
        _ if draw.one_in(3) => {
            let v4 = draw.one_in(2);
            let any = any_transport(cluster, draw);
            let transport = draw.pick(&[any, Transport::Icmp(if v4 { 3 } else { 2 })]);
            let (source, destination) = (any_elsewhere(draw, v4), any_elsewhere(draw, v4));
            let packet = arriving("eth0", source, destination, transport, draw);
            (Hook::Output, Packet { output: packet.input, input: None, ..packet })
        }
        _ => {
            let transport = any_transport(cluster, draw);
            let source = any_plane_address(&plane, draw);
            let destination = any_address(cluster, draw, plane.all.v4);
            let packet = arriving(plane.name, source, destination, transport, draw);
            (Hook::Output, Packet { output: packet.input, input: None, ..packet })
        }
    }
}

fn arriving(
    device: &str,
    source: IpAddr,
    destination: IpAddr,
    transport: Transport,
    draw: &mut Draw,
) -> Packet {
    Packet {
        input: Some(device.to_owned()),
        output: None,
        source,
        destination,
        hop_limit: draw.pick(&[255, 255, 255, 254, 64, 1]),
        transport,
        state: draw.pick(&STATES),
        over_limit: draw.one_in(4),
    }
}

fn replace(cluster: &Cluster, draw: &mut Draw, packet: &mut Packet) {
    let v4 = packet.source.is_ipv4();
    match draw.below(6) {
        0 => {
            let planes = cluster.planes.iter().map(|plane| plane.name);
            let devices: Vec<&str> = planes.chain(["lo", "eth0", "eth0", "wg9"]).collect();
            let device = draw.pick(&devices).to_owned();
            let at = if packet.input.is_some() { &mut packet.input } else { &mut packet.output };
            *at = Some(device);
        }
        1 => packet.source = any_address(cluster, draw, v4),
        2 => packet.destination = any_address(cluster, draw, v4),
        3 => packet.transport = any_transport(cluster, draw),
        4 => packet.state = draw.pick(&STATES),
        // The other family: then both addresses change.
        _ => {
            packet.source = any_address(cluster, draw, !v4);
            packet.destination = any_address(cluster, draw, !v4);
        }
    }
}

/// A port of the entry, or now and then an ICMP error.
fn mostly_ports(all: &[&'static str], draw: &mut Draw, source: bool, v4: bool) -> Transport {
    if draw.one_in(4) { Transport::Icmp(if v4 { 3 } else { 2 }) } else { ports(all, draw, source) }
}

const fn udp(source: u16, destination: u16) -> Transport {
    Transport::Ports { protocol: Protocol::Udp, source, destination }
}

/// An address in the range: an end of it, or one next to the end.
fn inside(range: &Range, draw: &mut Draw) -> IpAddr {
    range.address(draw.pick(&[range.first, range.first + 1, range.last - 1, range.last]))
}

fn any_plane_address(plane: &TestPlane, draw: &mut Draw) -> IpAddr {
    let range = draw.pick(&[plane.all, plane.members, plane.births]);
    let edges = [range.first, range.last, range.first - 1, range.last + 1];
    let own = [plane.member, plane.birth];
    if draw.one_in(3) { draw.pick(&own) } else { range.address(draw.pick(&edges)) }
}

fn any_elsewhere(draw: &mut Draw, v4: bool) -> IpAddr {
    let all: Vec<IpAddr> = ELSEWHERE.iter().map(|text| text.parse().unwrap()).collect();
    let fitting: Vec<IpAddr> = all.into_iter().filter(|address| address.is_ipv4() == v4).collect();
    draw.pick(&fitting)
}

fn any_address(cluster: &Cluster, draw: &mut Draw, v4: bool) -> IpAddr {
    let plane = draw.pick(&cluster.planes);
    if plane.all.v4 == v4 && !draw.one_in(3) {
        any_plane_address(&plane, draw)
    } else {
        any_elsewhere(draw, v4)
    }
}

/// A port of the entry, or one beside it, as destination or as source.
fn ports(all: &[&'static str], draw: &mut Draw, source: bool) -> Transport {
    let (numbers, protocol) = draw.pick(all).split_once('/').unwrap();
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
    let port = draw.pick(&[first, last, first, last, first.saturating_sub(1), last.saturating_add(1)]);
    let protocol = if protocol == "tcp" { Protocol::Tcp } else { Protocol::Udp };
    if source {
        Transport::Ports { protocol, source: port, destination: 40_000 }
    } else {
        Transport::Ports { protocol, source: 40_000, destination: port }
    }
}

fn any_transport(cluster: &Cluster, draw: &mut Draw) -> Transport {
    let declared = cluster.listeners.iter().map(|listener| listener.ports.first);
    let planes = cluster.planes.iter().map(|plane| plane.port);
    let fixed = [7444, 7444, 123, 123, 67, 68, 546, 547, 6443, 53, 1, 65535, 40_000];
    let known: Vec<u16> = fixed.into_iter().chain(declared).chain(planes).collect();
    let near = |draw: &mut Draw| {
        let port = draw.pick(&known);
        draw.pick(&[port, port, port, port.saturating_sub(1), port.saturating_add(1)])
    };
    match draw.below(10) {
        0 => Transport::Other,
        1..=3 => Transport::Icmp(draw.pick(&ICMP)),
        4 => Transport::Icmp(draw.pick(&[8, 128])),
        _ => {
            let (source, destination) = (near(draw), near(draw));
            Transport::Ports { protocol: draw.pick(&[Protocol::Tcp, Protocol::Udp]), source, destination }
        }
    }
}
