//! What other machines on the network can make a node read: the states of links that follow from DHCP, and ICMP messages.

use kubedos_agent::stages::backplanes::path_mtu::probe::believed;
use kubedos_agent::stages::backplanes::underlay::links::{Texts, missing, read};
use kubedos_wire::node::{Dhcp, Interface, InterfaceMatch, Underlay};
use kubedos_wire::packets::checksum;
use kubedos_wire::packets::claims::{of_advertisement, of_arp};
use kubedos_wire::packets::icmp::{Message, parse, parse_v6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Seed, Target};

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "link_facts", property: link_facts, seeds: link_facts_seeds, mutants: 50_000 },
    Target { name: "icmp", property: icmp, seeds: icmp_seeds, mutants: 100_000 },
];

/// The texts of two devices, separated by zero bytes. Whatever they are, a device without the declared address never counts as
/// it, and a message contains only printable characters and is not longer than the texts allow.
fn link_facts(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split('\0').map(str::to_owned).collect::<Vec<_>>();
    parts.resize(18, String::new());
    let device = |part: &[String], hardware| {
        let [name, kind, uevent, permanent, current, carrier, udev, state, _] = part else {
            panic!("nine texts")
        };
        let texts = Texts { kind, uevent, permanent, current, carrier, udev, state, hardware };
        read(name.clone(), &texts)
    };
    let observed = [device(&parts[..9], true), device(&parts[9..], false)];
    assert!(!observed[1].physical, "a device without hardware counts as a device of the machine");
    let mac = "52:54:00:00:00:01".parse().unwrap();
    let interface = |device| Interface {
        name: "uplink".parse().unwrap(),
        device,
        dhcp: Some(Dhcp::Ipv4),
        addresses: Vec::new(),
        gateway: None,
        mtu: None,
        vlan: None,
        bond: None,
    };
    for wanted in [None, Some(InterfaceMatch { mac: Some(mac), path: None })] {
        let by_mac = wanted.is_some();
        let underlay = Underlay { mtu: 1500, interfaces: vec![interface(wanted)], ..Underlay::default() };
        let found = missing(&underlay, &observed).unwrap();
        if found.is_empty() {
            let usable = |index: usize| {
                let link = &observed[index];
                link.physical && link.carrier && link.ipv4 && (!by_mac || link.mac == Some(mac))
            };
            assert!(usable(0), "no device is usable, and nothing is missing: {observed:?}");
        }
        for missing in found {
            let shown = missing.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
            assert!(shown.len() <= 200 + 16 * text.len(), "{} bytes of {}", shown.len(), text.len());
        }
    }
}

fn link_facts_seeds() -> Vec<Seed> {
    let join = |fields: [&str; 9]| fields.join("\0").into_bytes();
    let udev = "I:1\nE:ID_BUS=pci\nE:ID_PATH=pci-0000:00:03.0\n";
    let state = "ADMIN_STATE=configured\nIPV4_ADDRESS_STATE=routable\nIPV6_ADDRESS_STATE=off\n";
    let (mac, uevent) = ("52:54:00:00:00:01\n", "INTERFACE=ens3\nIFINDEX=2\n");
    vec![
        ("ready", join(["ens3", "1\n", uevent, "", mac, "1\n", udev, state, ""])),
        ("member", join(["ens3", "1\n", uevent, mac, "52:54:00:00:00:09\n", "1\n", udev, "", ""])),
        ("vlan", join(["storage", "1\n", "DEVTYPE=vlan\n", "", mac, "1\n", "", state, ""])),
        ("down", join(["ens3", "1\n", uevent, "", mac, "", udev, state, ""])),
    ]
}

const ENDPOINT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const ENDPOINT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);
const RANDOM: [u8; 16] = *b"sixteen of them!";

/// A packet at a raw socket, or a frame with ARP. It counts as the report of a router only if it contains the random bytes, and its MTU is smaller than
/// the datagram.
fn icmp(input: &[u8]) {
    let v4 = match parse(input) {
        Some(Message::Reply { data, .. }) => {
            assert!(data.len() <= input.len() - 28, "longer than the packet");
            None
        }
        Some(Message::TooLarge(message)) => Some(message),
        None => None,
    };
    for (message, endpoint) in [(v4, IpAddr::from(ENDPOINT)), (parse_v6(input), ENDPOINT_V6.into())] {
        let Some(message) = message else { continue };
        assert!(message.quoted.len() <= input.len() - 56, "longer than the packet");
        if let Some(mtu) = believed(&message, endpoint, 1500, &RANDOM) {
            assert!((68..1500).contains(&mtu));
            assert!(input.windows(16).any(|window| window == RANDOM), "a report without the random bytes");
            assert_eq!(message.to, endpoint, "about another endpoint");
        }
    }
    // A claim contains bytes of the packet only, and names one machine.
    for claim in [of_arp(input), of_advertisement(input)].into_iter().flatten() {
        let contains = |bytes: &[u8]| input.windows(bytes.len()).any(|window| window == bytes);
        assert!(contains(&claim.mac.bytes()) && claim.mac.bytes()[0] & 1 == 0, "{claim:?}");
        assert!(match claim.address {
            IpAddr::V4(address) => contains(&address.octets()),
            IpAddr::V6(address) => contains(&address.octets()),
        });
    }
}

fn icmp_seeds() -> Vec<Seed> {
    let ip = |protocol: u8| {
        [&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1][..], &ENDPOINT.octets()].concat()
    };
    let summed = |mut message: Vec<u8>| {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    };
    let quoted = |data: &[u8]| [&ip(17)[..], &[0; 8], data].concat();
    let report =
        |data: &[u8]| [ip(1), summed([&[3, 4, 0, 0, 0, 0, 5, 0x78][..], &quoted(data)].concat())].concat();
    let own = report(&[&[0; 4][..], &RANDOM, &[0; 40]].concat());
    let Some(Message::TooLarge(message)) = parse(&own) else { panic!("{own:?}") };
    assert_eq!(believed(&message, ENDPOINT.into(), 1500, &RANDOM), Some(1400));
    let quoted_v6 =
        [&[0x60, 0, 0, 0, 0, 0, 17, 64][..], &[0xfd; 16], &ENDPOINT_V6.octets(), &[0; 12], &RANDOM];
    let own_v6 = [&[2, 0, 0, 0, 0, 0, 5, 0x78][..], &quoted_v6.concat()].concat();
    assert_eq!(believed(&parse_v6(&own_v6).unwrap(), ENDPOINT_V6.into(), 1500, &RANDOM), Some(1400));
    let mac = [0x52, 0x54, 0, 0, 0, 0x63];
    let arp =
        [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac, &[192, 0, 2, 1], &[0; 10]].concat();
    assert!(of_arp(&arp).is_some());
    let advertisement =
        [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &[0xfd; 16], &[14, 1, 0, 0, 0, 0, 0, 0, 2, 1], &mac].concat();
    assert!(of_advertisement(&advertisement).is_some());
    vec![
        ("report-ipv6", own_v6),
        ("arp-reply", arp),
        ("advertisement", advertisement),
        ("report", own),
        ("without-data", report(b"")),
        ("reply", [ip(1), summed([&[0, 0, 0, 0, 0, 7, 0, 9][..], b"data"].concat())].concat()),
    ]
}
