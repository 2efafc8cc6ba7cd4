//! What a node must accept and answer: the verdict of the firewall's evaluator, and the few checks of the kernel before the chains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use kubedos_tests::packets::{Answer, Content, Sent, Shape, answer};
use kubedos_wire::firewall::{Hook, Packet, Ruleset, State, Transport, Verdict};
use kubedos_wire::value::Protocol;
use serde_json::Value;

use super::{Shot, packets};

/// The devices of planes; plane number n, from 1, has the range `10.(100+n).0.0/24`.
pub const PLANES: [&str; 3] = ["wg1", "wg2", "wg3"];

/// The addresses of the outsider.
pub mod outside {
    use std::net::{Ipv4Addr, Ipv6Addr};

    pub const FOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 99);
    pub const SIX: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x99);
    pub const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);
}

/// An address on a plane.
pub fn plane_address(plane: u8, last: u8) -> IpAddr {
    [10, 100 + plane, 0, last].into()
}

/// A node of `tests/clusters/matrix.yaml`.
pub struct Receiver<'r> {
    id: u8,
    ruleset: &'r Ruleset,
    pub underlay: IpAddr,
    pub underlay_six: IpAddr,
    pub link: IpAddr,
}

impl<'r> Receiver<'r> {
    pub fn new(at: usize, ruleset: &'r Ruleset) -> Self {
        let id = u8::try_from(at).unwrap() + 1;
        Self {
            id,
            ruleset,
            underlay: [192, 168, 77, 10 + id].into(),
            underlay_six: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x10 + u16::from(id)).into(),
            // From the hardware address (RFC 4291, appendix A).
            link: Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, u16::from(id)).into(),
        }
    }

    pub fn member(&self, plane: u8) -> IpAddr {
        plane_address(plane, self.id)
    }

    pub fn birth(&self, plane: u8) -> IpAddr {
        plane_address(plane, 128 + self.id)
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let planes = (1..=3).map(|plane| self.member(plane));
        planes.chain([self.underlay, self.underlay_six, self.link]).any(|own| own == address)
    }

    /// Whether the node accepts the packet: its firewall does, and the kernel passes it to the firewall and to the protocol.
    fn accepts(&self, shot: &Shot, from: Option<&Self>) -> bool {
        let packet = &shot.packet;
        self.firewall_accepts(shot.device, packet)
            && self.routes(packet)
            && from.is_none_or(|from| self.tunnel_accepts(shot, from))
    }

    fn firewall_accepts(&self, device: &str, sent: &Sent) -> bool {
        let six = sent.source.is_ipv6();
        let ports = |protocol, destination| Transport::Ports { protocol, source: sent.port(), destination };
        let (transport, state) = match sent.content {
            Content::Syn(port) | Content::Ack(port) => (ports(Protocol::Tcp, port), State::New),
            Content::Xmas(port) => (ports(Protocol::Tcp, port), State::Invalid),
            Content::Udp(port) | Content::UdpFrom(_, port) => (ports(Protocol::Udp, port), State::New),
            Content::Echo => (Transport::Icmp(if six { 128 } else { 8 }), State::New),
            Content::Error(kind) => (Transport::Icmp(kind), State::Invalid),
            Content::Icmp(kind) if six => (Transport::Icmp(kind), State::Untracked),
            Content::Icmp(kind) => (Transport::Icmp(kind), State::New),
            Content::Protocol(_) => (Transport::Other, State::New),
        };
        let packet = Packet {
            input: Some(device.to_owned()),
            output: None,
            source: sent.source,
            destination: sent.destination,
            hop_limit: sent.hops,
            transport,
            state,
            over_limit: false,
        };
        self.ruleset.evaluate(Hook::Input, &packet).verdict == Verdict::Accept
    }

    /// What the kernel drops before or after the chains, whatever they say.
    fn routes(&self, sent: &Sent) -> bool {
        let complete = match sent.shape {
            Shape::Whole | Shape::Fragments | Shape::Reversed | Shape::Options | Shape::HopByHop => true,
            Shape::WithoutFirst
            | Shape::UnknownOption
            | Shape::Routing
            | Shape::SourceRoute
            | Shape::BadOption => false,
        };
        let source = match sent.source {
            // A source of the node itself, or one without a route back (`rp_filter`), is a martian.
            IpAddr::V4(source) => {
                let [a, b, c, _] = source.octets();
                let is_connected = matches!((a, b, c), (192, 168, 77) | (10, 101..=103, 0));
                is_connected && !self.is_own(sent.source)
            }
            IpAddr::V6(source) => !source.is_loopback() && !source.is_multicast(),
        };
        complete && source && !sent.destination.is_loopback()
    }

    /// Whether the tunnel from a node accepts the source: it is the node's address, or the test widened the addresses of the peer. The
    /// operator's address belongs to another peer of the control plane.
    fn tunnel_accepts(&self, shot: &Shot, from: &Self) -> bool {
        let plane = (1..).zip(PLANES).find(|(_, device)| *device == shot.device).unwrap().0;
        let is_operator = self.id == 1 && shot.packet.source == plane_address(1, 126);
        shot.packet.source == from.member(plane) || (shot.wide && !is_operator)
    }

    fn sender_of<'s>(&self, shot: &Shot, others: &'s [Self; 2]) -> Option<&'s Self> {
        PLANES.contains(&shot.device).then(|| &others[usize::from(2 - self.id)])
    }

    /// The differences between the packets that the node accepted and those that it must accept.
    pub fn compare_accepted(&self, found: &Value, shots: &[Shot], others: &[Self; 2]) -> Vec<String> {
        let accepted: BTreeSet<u64> =
            found["matrix"]["accepted"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        let mut count = 0;
        let differences = shots.iter().filter_map(|shot| {
            let expected = self.accepts(shot, self.sender_of(shot, others));
            count += usize::from(expected);
            let real = accepted.contains(&u64::from(shot.packet.number));
            let what = if real { "accepted" } else { "did not accept" };
            (expected != real).then(|| format!("node {} {what} {shot:?}", self.id))
        });
        let differences = differences.collect();
        println!("node {}: {count} of {} packets are allowed", self.id, shots.len());
        assert!(count > 20, "the matrix has hardly any packet that is allowed");
        differences
    }

    /// The differences between the answers that came back to the sender of `shots` and those that must come back.
    pub fn compare_answers(&self, found: &Value, shots: &[Shot], sender: &Self) -> Vec<String> {
        let by_number: BTreeMap<u16, &Shot> = shots.iter().map(|shot| (shot.packet.number, shot)).collect();
        let came_back = found["matrix"]["came back"].as_array().unwrap();
        let mut real = BTreeSet::new();
        for packet in came_back {
            let bytes = hex::decode(packet[1].as_str().unwrap()).unwrap();
            match answer(&bytes) {
                // The other node's own packets are no answers.
                Some(Answer::Opened(number) | Answer::Reset(number) | Answer::Echoed(number))
                    if !by_number.contains_key(&number) => {}
                // The errors among the other node's own packets contain the number of the packet.
                Some(Answer::Error(..)) | None => {}
                Some(answer) => {
                    real.insert(answer);
                }
            }
        }
        let expected: BTreeSet<Answer> =
            shots.iter().filter_map(|shot| self.answer_to(shot, sender)).collect();
        println!("node {}: {} answers", self.id, real.len());
        assert!(!expected.is_empty(), "no answer is expected");
        let describe = |what: &str, answer: &Answer| {
            let (Answer::Opened(number) | Answer::Reset(number) | Answer::Echoed(number)) = answer else {
                return format!("{what} {answer:?}");
            };
            format!("node {} {what} {answer:?} to {:?}", self.id, by_number.get(number))
        };
        // A segment in the middle of a connection that does not exist gets a reset or nothing.
        let is_optional = |answer: &Answer| match answer {
            Answer::Reset(number) => by_number.get(number).is_some_and(|shot| {
                matches!(shot.packet.content, Content::Ack(_)) && self.accepts(shot, Some(sender))
            }),
            _ => false,
        };
        let surplus = real.difference(&expected).filter(|answer| !is_optional(answer));
        let missing = expected.difference(&real);
        surplus
            .map(|answer| describe("answered", answer))
            .chain(missing.map(|answer| describe("did not answer", answer)))
            .collect()
    }

    fn answer_to(&self, shot: &Shot, sender: &Self) -> Option<Answer> {
        if !self.accepts(shot, Some(sender)) {
            return None;
        }
        let number = shot.packet.number;
        match shot.packet.content {
            Content::Syn(port) if packets::tcp_ports().contains(&port) => Some(Answer::Opened(number)),
            Content::Syn(_) => Some(Answer::Reset(number)),
            Content::Udp(port) | Content::UdpFrom(_, port) => {
                packets::listening_udp().contains(&port).then_some(Answer::Echoed(number))
            }
            Content::Echo => Some(Answer::Echoed(number)),
            _ => None,
        }
    }
}
