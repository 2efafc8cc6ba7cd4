//! What other machines on the network can make a node read: the states of links that follow from DHCP, and ICMP messages.

use kubedos_agent::stages::backplanes::path_mtu::probe::believed;
use kubedos_agent::stages::backplanes::underlay::links::{Texts, missing, read};
use kubedos_sys::icmp::{Message, parse};
use kubedos_wire::node::{Dhcp, Interface, InterfaceMatch, Underlay};
use std::net::Ipv4Addr;

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
const RANDOM: [u8; 16] = *b"sixteen of them!";

/// A packet at a raw socket. It counts as the report of a router only if it contains the random bytes, and its MTU is smaller than
/// the datagram.
fn icmp(input: &[u8]) {
    if let Some(Message::Reply { data, .. } | Message::TooLarge { quoted: data, .. }) = parse(input) {
        assert!(data.len() <= input.len() - 28, "longer than the packet");
    }
    if let Some(mtu) = believed(input, ENDPOINT, 1500, &RANDOM) {
        assert!((68..1500).contains(&mtu));
        assert!(input.windows(16).any(|window| window == RANDOM), "a report without the random bytes");
        assert!(input.windows(4).any(|window| window == ENDPOINT.octets()), "about another endpoint");
    }
}

fn icmp_seeds() -> Vec<Seed> {
    let ip = |protocol: u8| {
        [&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1][..], &ENDPOINT.octets()].concat()
    };
    let summed = |mut message: Vec<u8>| {
        let words =
            message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let sum = words.sum::<u32>();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    };
    let quoted = |data: &[u8]| [&ip(17)[..], &[0; 8], data].concat();
    let report =
        |data: &[u8]| [ip(1), summed([&[3, 4, 0, 0, 0, 0, 5, 0x78][..], &quoted(data)].concat())].concat();
    let own = report(&[&[0; 4][..], &RANDOM, &[0; 40]].concat());
    assert_eq!(believed(&own, ENDPOINT, 1500, &RANDOM), Some(1400));
    vec![
        ("report", own),
        ("without-data", report(b"")),
        ("reply", [ip(1), summed([&[0, 0, 0, 0, 0, 7, 0, 9][..], b"data"].concat())].concat()),
    ]
}
