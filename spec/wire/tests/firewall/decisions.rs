//! Which rule decides on well-known packets: the counters tell an operator what happened.

use std::net::IpAddr;

use kubedos_wire::firewall::{Hook, Packet, State, Transport, Verdict};
use kubedos_wire::node::Role;
use kubedos_wire::value::Protocol;

use crate::clusters::{self, Cluster};

fn tcp(source: u16, destination: u16) -> Transport {
    Transport::Ports { protocol: Protocol::Tcp, source, destination }
}

fn udp(source: u16, destination: u16) -> Transport {
    Transport::Ports { protocol: Protocol::Udp, source, destination }
}

/// A whole packet of a new connection.
fn packet(device: &str, source: IpAddr, destination: IpAddr, transport: Transport) -> Packet {
    let (input, output) = (Some(device.to_owned()), None);
    let (hop_limit, state, over_limit) = (255, State::New, false);
    Packet { input, output, source, destination, hop_limit, transport, state, over_limit }
}

fn decided(cluster: &Cluster, hook: Hook, packet: &Packet) -> (Verdict, String) {
    let ruleset = cluster.ruleset();
    let decision = ruleset.evaluate(hook, packet);
    (decision.verdict, decision.rule.map_or_else(String::new, |rule| rule.name.clone()))
}

/// A control plane of a cluster with IPv4 planes: `wg1`, `observe-2` and `k`; `policy.allow[0]` is from `wg1` to `k`.
fn control_plane() -> Cluster {
    clusters::covering().remove(0)
}

#[test]
fn packets_from_the_underlay_are_counted_by_their_rule() {
    let cluster = control_plane();
    let [a, b]: [IpAddr; 2] = ["192.0.2.7", "192.0.2.11"].map(|text| text.parse().unwrap());
    let [link, own]: [IpAddr; 2] = ["fe80::1", "fe80::2"].map(|text| text.parse().unwrap());
    let spoofed = cluster.planes[0].members.address(cluster.planes[0].members.first + 3);
    let drop = Verdict::Drop;
    let accept = Verdict::Accept;
    for (source, destination, transport, state, verdict, name) in [
        (a, b, tcp(40_000, 22), State::New, drop, "rest"),
        (a, b, udp(51820, 51820), State::New, accept, "port.wg1"),
        (a, b, udp(51820, 51822), State::Established, accept, "established"),
        (a, b, udp(51820, 51823), State::New, drop, "rest"),
        (a, b, Transport::Icmp(8), State::New, drop, "echo"),
        (a, b, Transport::Icmp(3), State::Invalid, accept, "icmp-errors"),
        (a, b, Transport::Other, State::New, drop, "rest"),
        (a, b, udp(67, 68), State::New, accept, "dhcpv4"),
        (link, own, udp(547, 546), State::New, accept, "dhcpv6"),
        (link, own, Transport::Icmp(135), State::Untracked, accept, "neighbours"),
        (link, own, Transport::Icmp(134), State::Untracked, drop, "rest"),
        (link, own, Transport::Icmp(2), State::Related, accept, "established"),
        (link, own, Transport::Icmp(2), State::Invalid, accept, "icmpv6-errors"),
        (link, own, Transport::Icmp(128), State::New, drop, "echo-v6"),
        (spoofed, b, udp(51820, 51820), State::Established, drop, "source.wg1"),
        (a, cluster.planes[2].member, tcp(40_000, 6443), State::Established, drop, "destination.k"),
    ] {
        let packet = Packet { state, ..packet("eth0", source, destination, transport) };
        let found = decided(&cluster, Hook::Input, &packet);
        assert_eq!(found, (verdict, format!("input.underlay.{name}")), "{packet:?}");
    }
    let flood = Packet { over_limit: true, ..packet("eth0", a, b, udp(51820, 51820)) };
    assert_eq!(decided(&cluster, Hook::Input, &flood).1, "input.underlay.port.wg1.limit");
    let routed = Packet { hop_limit: 254, ..packet("eth0", link, own, Transport::Icmp(135)) };
    assert_eq!(decided(&cluster, Hook::Input, &routed).1, "input.underlay.rest");
}

#[test]
fn packets_from_a_plane_are_counted_by_their_rule() {
    let cluster = control_plane();
    let [wg1, _, k] = &cluster.planes[..] else { panic!("three planes") };
    let member = wg1.members.address(wg1.members.first + 3);
    let birth = wg1.births.address(wg1.births.first + 3);
    let server = k.members.address(k.members.first + 3);
    let (new, established) = (State::New, State::Established);
    let (accept, drop) = (Verdict::Accept, Verdict::Drop);
    for (source, destination, transport, state, verdict, name) in [
        (member, k.member, tcp(40_000, 6443), new, accept, "allow.0.tcp"),
        (member, k.member, udp(40_000, 53), established, accept, "allow.0.udp"),
        (member, k.member, tcp(40_000, 6444), established, drop, "plane.wg1.destination"),
        (member, k.member, Transport::Other, new, drop, "plane.wg1.destination"),
        (server, wg1.member, tcp(6443, 40_000), established, accept, "allow.0.tcp.reply"),
        (server, wg1.member, tcp(6443, 40_000), new, drop, "plane.wg1.source"),
        (birth, k.member, tcp(40_000, 6443), new, drop, "plane.wg1.destination"),
        (birth, wg1.member, tcp(40_000, 7444), new, accept, "births.wg1.enrolment"),
        (birth, wg1.member, tcp(40_000, 7443), new, drop, "births.wg1.rest"),
        (member, wg1.member, tcp(40_000, 7443), new, accept, "listener.api"),
        (member, wg1.member, tcp(40_000, 22), new, drop, "rest"),
        (member, wg1.member, Transport::Icmp(8), new, accept, "plane.wg1.echo"),
        (member, wg1.birth, Transport::Icmp(8), new, drop, "rest"),
        (member, wg1.birth, tcp(40_000, 22), established, accept, "plane.wg1.established"),
        (member, wg1.member, tcp(40_000, 22), State::Invalid, drop, "invalid"),
    ] {
        let packet = Packet { state, ..packet("wg1", source, destination, transport) };
        let found = decided(&cluster, Hook::Input, &packet);
        assert_eq!(found, (verdict, format!("input.{name}")), "{packet:?}");
    }
}

#[test]
fn a_removed_entry_of_the_policy_ends_its_open_connections() {
    let mut cluster = control_plane();
    let [wg1, _, k] = &cluster.planes[..] else { panic!("three planes") };
    let member = wg1.members.address(wg1.members.first + 3);
    let request = packet("wg1", member, k.member, tcp(40_000, 6443));
    let request = Packet { state: State::Established, ..request };
    let reply = packet("", k.member, member, tcp(6443, 40_000));
    let reply = Packet { state: State::Established, input: None, output: Some("wg1".into()), ..reply };
    assert_eq!(decided(&cluster, Hook::Input, &request).0, Verdict::Accept);
    assert_eq!(decided(&cluster, Hook::Output, &reply).0, Verdict::Accept);
    cluster.allow.clear();
    assert_eq!(decided(&cluster, Hook::Input, &request).0, Verdict::Drop);
    assert_eq!(decided(&cluster, Hook::Output, &reply).0, Verdict::Drop);
}

/// The tunnel's device is gone and the default route leads to the underlay: no packet of the plane leaves in clear text.
#[test]
fn a_missing_route_leaks_no_packet_of_a_plane() {
    for cluster in clusters::covering() {
        for plane in &cluster.planes {
            let peer = plane.members.address(plane.members.first + 3);
            let v4 = plane.all.v4;
            let outside: IpAddr = if v4 { "192.0.2.7" } else { "2001:db8::7" }.parse().unwrap();
            for (source, destination) in [(plane.member, peer), (outside, peer), (plane.member, outside)] {
                let packet = Packet {
                    state: State::Established,
                    input: None,
                    output: Some("eth0".into()),
                    ..packet("", source, destination, tcp(1, 2))
                };
                assert_eq!(decided(&cluster, Hook::Output, &packet).0, Verdict::Drop, "{packet:?}");
            }
        }
    }
}

#[test]
fn a_worker_accepts_nothing_from_births() {
    let cluster = clusters::covering().into_iter().find(|cluster| cluster.role == Role::Worker).unwrap();
    for plane in &cluster.planes {
        let birth = plane.births.address(plane.births.first + 3);
        for transport in [Transport::Icmp(8), tcp(40_000, 7444), udp(40_000, 123)] {
            let packet = packet(plane.name, birth, plane.member, transport);
            let name = format!("input.births.{}.rest", plane.name);
            assert_eq!(decided(&cluster, Hook::Input, &packet), (Verdict::Drop, name));
        }
    }
}
