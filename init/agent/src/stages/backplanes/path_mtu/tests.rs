//! Paths with limits, loss and liars: what is found, what is reported, and what is not believed.

use std::net::Ipv6Addr;

use kubedos_wire::packets::checksum;
use kubedos_wire::packets::icmp::{Message, parse, parse_v6};
use proptest::prelude::*;

use super::probe::{Ask, Echo, believed, find};
use super::*;

/// A network whose paths carry limited sizes and lose packets, with a random number for each packet.
struct Network {
    carries: BTreeMap<Ipv4Addr, u16>,
    lost_percent: u64,
    state: u64,
}

impl Network {
    fn loses(&mut self) -> bool {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % 100 < self.lost_percent
    }
}

impl Echo for Network {
    fn ask(&mut self, asks: &[Ask], _: Duration) -> io::Result<(Vec<bool>, Duration)> {
        let answers = asks.iter().map(|(to, size)| {
            let passes = self.carries.get(to).is_some_and(|carries| size <= carries);
            let lost = self.loses() || self.loses();
            passes && !lost
        });
        Ok((answers.collect(), Duration::from_millis(1)))
    }
}

fn peer(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a65_0000 + u32::try_from(number).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_peer_gets_the_result_of_its_own_path(carries in prop::collection::vec(0_u16..2000, 1..80)) {
        let peers: Vec<Ipv4Addr> = (0..carries.len()).map(peer).collect();
        let paths = peers.iter().copied().zip(carries.iter().copied()).collect();
        let mut network = Network { carries: paths, lost_percent: 0, state: 1 };
        let found = find(&mut network, &peers, 1440).unwrap();
        for (found, carries) in found.into_iter().zip(carries) {
            let wanted = match carries {
                0..128 => Found::Silent,
                128..1440 => Found::Passes(carries - carries % 16),
                _ => Found::Passes(1440),
            };
            prop_assert_eq!(found, wanted);
        }
    }
}

/// With one packet of ten lost in each direction, no path of ten thousand looks smaller than it is.
#[test]
fn loss_does_not_look_like_a_small_path() {
    let peers: Vec<Ipv4Addr> = (0..10_000).map(peer).collect();
    let paths = peers.iter().map(|peer| (*peer, 1500)).collect();
    let mut network = Network { carries: paths, lost_percent: 10, state: 7 };
    let found = find(&mut network, &peers, 1440).unwrap();
    let small = found.iter().filter(|found| matches!(found, Found::Passes(size) if *size < 1440)).count();
    assert_eq!(small, 0);
    assert!(found.iter().filter(|found| **found == Found::Silent).count() < 10);
}

fn state(passes: u16, router: Option<u16>) -> PathState {
    PathState { node: "w-1".into(), planned: 1440, passes, router, unconfirmed: None, overhead: 60 }
}

#[test]
fn a_small_path_is_described_with_its_size_and_what_to_do() {
    let cases = [
        (state(1440, None), "packets of 1440 bytes reach w-1"),
        (state(1344, None), "only 1344 of 1440 bytes reach w-1; set networking.underlay.mtu to 1404"),
        (
            state(1440, Some(1400)),
            "packets to w-1 pass a router with an MTU of 1400 only in fragments; set networking.underlay.mtu to 1400",
        ),
        (
            state(1328, Some(1400)),
            "only 1328 of 1440 bytes reach w-1, a router reports an MTU of 1400; set networking.underlay.mtu to 1388",
        ),
        (
            state(512, None),
            "only 512 of 1440 bytes reach w-1; the path carries 572, and an underlay must carry 1280",
        ),
        (
            PathState { unconfirmed: Some(1280), ..state(1440, None) },
            "packets to w-1 are sent in fragments, because of a message about an MTU of 1280 that no router confirms",
        ),
        (
            PathState { unconfirmed: Some(1280), ..state(1344, None) },
            "only 1344 of 1440 bytes reach w-1; set networking.underlay.mtu to 1404",
        ),
    ];
    for (state, text) in cases {
        assert_eq!(state.to_string(), text);
    }
}

#[test]
fn a_path_is_reported_when_it_becomes_small_changes_or_recovers_and_asked_again_after_ten_minutes() {
    let mut paths = Paths::default();
    let endpoint = Some("192.0.2.2:51820".parse().unwrap());
    let (source, address) = (peer(1), peer(2));
    let target = Target { node: "w-1".into(), source, address, endpoint, planned: 1440 };
    let at = Duration::from_secs;
    assert_eq!(paths.due(vec![target.clone()], at(0)).len(), 1);
    assert_eq!(paths.learn(&target, state(1440, None), at(0)), None);
    assert!(paths.due(vec![target.clone()], at(599)).is_empty());
    let moved = Target { endpoint: Some("192.0.2.3:51820".parse().unwrap()), ..target.clone() };
    assert_eq!(paths.due(vec![moved], at(1)).len(), 1);
    assert_eq!(paths.due(vec![target.clone()], at(600)).len(), 1);
    assert!(paths.learn(&target, state(1344, None), at(600)).unwrap().starts_with("path MTU: only 1344 of"));
    assert_eq!(paths.small(), [state(1344, None)]);
    assert_eq!(paths.learn(&target, state(1344, None), at(1200)), None, "nothing new");
    assert!(paths.learn(&target, state(1328, None), at(1800)).is_some());
    assert_eq!(
        paths.learn(&target, state(1440, None), at(2400)).as_deref(),
        Some("path MTU: packets of 1440 bytes reach w-1")
    );
    assert!(paths.small().is_empty());
}

/// An ICMP message as a router sends it, about a datagram with these data.
fn too_large(to: Ipv4Addr, mtu: u16, data: &[u8]) -> Vec<u8> {
    let ip = |protocol: u8, to: Ipv4Addr| {
        let head = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1];
        [&head[..], &to.octets()].concat()
    };
    let message = |sum: u16| {
        [&[3, 4][..], &sum.to_be_bytes(), &[0, 0], &mtu.to_be_bytes(), &ip(17, to), &[0; 8], data].concat()
    };
    [ip(1, Ipv4Addr::new(192, 0, 2, 1)), message(checksum(&[&message(0)]))].concat()
}

/// The same for IPv6, without the header of IPv6, as a raw socket receives it.
fn too_big(to: Ipv6Addr, mtu: u16, data: &[u8]) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, 0, 0, 17, 64];
    [&[2, 0, 0, 0, 0, 0][..], &mtu.to_be_bytes(), &head, &[0xfd; 16], &to.octets(), &[0; 8], data].concat()
}

/// The strongest message of a host beside the path: it knows addresses and ports, and does not see the datagram.
#[test]
fn a_forged_message_of_a_router_is_not_believed() {
    let (to, random) = (Ipv4Addr::new(192, 0, 2, 2), [7_u8; 16]);
    let v4 = |at: Ipv4Addr, mtu, data: &[u8]| match parse(&too_large(at, mtu, data)) {
        Some(Message::TooLarge(message)) => believed(&message, to.into(), 1500, &random),
        other => panic!("{other:?}"),
    };
    let to_v6 = to.to_ipv6_mapped();
    let v6 = |at: Ipv4Addr, mtu, data: &[u8]| {
        believed(&parse_v6(&too_big(at.to_ipv6_mapped(), mtu, data)).unwrap(), to_v6.into(), 1500, &random)
    };
    for is_v4 in [true, false] {
        let read = |at, mtu, data: &[u8]| if is_v4 { v4(at, mtu, data) } else { v6(at, mtu, data) };
        let quoted = [&[0; 4][..], &random].concat();
        assert_eq!(read(to, 1400, &quoted), Some(1400));
        assert_eq!(read(to, 68, &quoted), Some(68));
        for mtu in [0, 67, 1500, 9000, u16::MAX] {
            assert_eq!(read(to, mtu, &quoted), None, "{mtu} is no smaller MTU");
        }
        let guesses: [&[u8]; 5] = [b"", &[0; 4], &[0; 20], &quoted[..19], &[1, 0, 0, 0, 7, 7, 7, 7]];
        for guess in guesses {
            assert_eq!(read(to, 1400, guess), None, "{guess:02x?}");
        }
        assert_eq!(read(Ipv4Addr::new(192, 0, 2, 3), 1400, &quoted), None);
        let one_bit = [&[0; 4][..], &[7; 15], &[6]].concat();
        assert_eq!(read(to, 1400, &one_bit), None);
    }
}
