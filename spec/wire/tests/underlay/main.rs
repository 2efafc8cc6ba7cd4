//! The files of an underlay, read back by a small reader of systemd.syntax(7), on random underlays; and underlays that are
//! refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; the lint exempts test functions, not their helpers"
)]
mod drawn;
mod files;
mod refusals;

use std::collections::BTreeSet;

use kubedos_wire::node::{Dhcp, Underlay};
use kubedos_wire::underlay::{Device, dhcp, links, render};
use proptest::prelude::*;

use drawn::{machine, underlays};
use files::{File, read};

/// Everything that can make a node talk about names, topology or routes, with the only value that it may have.
const ALWAYS_OFF: [&str; 10] = [
    "IPv6AcceptRA",
    "IPv6SendRA",
    "LLMNR",
    "MulticastDNS",
    "DNSOverTLS",
    "LLDP",
    "EmitLLDP",
    "DHCPServer",
    "IPv6PrivacyExtensions",
    "DNSDefaultRoute",
];

/// Keys that would give away or take over more than addresses.
const NEVER_ON: [&str; 14] = [
    "UseDNS",
    "UseDNR",
    "UseNTP",
    "UseRoutes",
    "UseMTU",
    "UseHostname",
    "UseTimezone",
    "UseDomains",
    "UseCaptivePortal",
    "UseDelegatedPrefix",
    "Use6RD",
    "SendHostname",
    "RapidCommit",
    "IPv6OnlyMode",
];

/// Keys that no file has: names, forwarding, and settings that a default covers.
const ABSENT: [&str; 9] = [
    "DNS",
    "NTP",
    "Domains",
    "IPv4Forwarding",
    "IPv6Forwarding",
    "IPMasquerade",
    "Hostname",
    "ARP",
    "IPv4LLRoute",
];

/// The `.network` files of an underlay that configure a device.
fn networks(underlay: &Underlay) -> Vec<File> {
    let files = render(underlay).unwrap();
    let all = files.iter().map(|(name, text)| read(name, text));
    let (networks, rest): (Vec<File>, Vec<File>) = all.partition(|file| file.name.ends_with(".network"));
    assert!(
        rest.iter().all(|file| file.name.ends_with(".netdev") || file.name.ends_with(".link")),
        "{rest:?}"
    );
    let (planes, networks): (Vec<File>, Vec<File>) =
        networks.into_iter().partition(|file| file.one("Match", "Kind") == Some("wireguard"));
    assert_eq!(planes.len(), 1);
    assert_eq!(planes[0].one("Link", "Unmanaged"), Some("yes"));
    assert!(
        networks.iter().all(|file| planes[0].name < file.name),
        "the file of the planes is the first one"
    );
    networks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_interface_has_exactly_one_file_and_every_address_is_in_exactly_one(underlay in underlays()) {
        let networks = networks(&underlay);
        prop_assert_eq!(networks.len(), underlay.interfaces.len().max(1));
        for interface in &underlay.interfaces {
            let name = format!("10-kubedos-{}.network", interface.name);
            let own: Vec<_> = networks.iter().filter(|file| file.name == name).collect();
            prop_assert_eq!(own.len(), 1);
            let declared: BTreeSet<String> = interface.addresses.iter().map(ToString::to_string).collect();
            let rendered: Vec<&str> = own[0].all("Address", "Address").collect();
            prop_assert_eq!(rendered.len(), declared.len());
            prop_assert!(rendered.iter().all(|address| declared.contains(*address)));
            // No address is given up because of what another machine says.
            let kept = own[0].all("Address", "DuplicateAddressDetection").filter(|value| *value == "none");
            prop_assert_eq!(kept.count(), declared.len());
            let gateway = interface.gateway.map(|gateway| gateway.to_string());
            prop_assert_eq!(own[0].one("Route", "Gateway"), gateway.as_deref());
        }
    }

    #[test]
    fn nothing_but_the_declared_protocols_is_on(underlay in underlays()) {
        for file in networks(&underlay) {
            for key in ALWAYS_OFF {
                prop_assert_eq!(file.one("Network", key), Some("no"), "{} {}", file.name, key);
            }
            for (section, key, value) in &file.settings {
                prop_assert!(!NEVER_ON.contains(&key.as_str()) || value == "no", "{section} {key}={value}");
                prop_assert!(!ABSENT.contains(&key.as_str()), "{section} {key}={value}");
            }
            let link_local = file.one("Network", "LinkLocalAddressing").unwrap();
            let v6 = file.all("Address", "Address").any(|address| address.contains(':'))
                || ["ipv6", "yes"].contains(&file.one("Network", "DHCP").unwrap());
            prop_assert_eq!(link_local, if v6 { "ipv6" } else { "no" });
        }
    }

    /// The mode in the files is the mode that the firewall has rules for.
    #[test]
    fn the_firewall_and_the_files_agree_about_dhcp(underlay in underlays()) {
        let modes: BTreeSet<String> =
            networks(&underlay).iter().map(|file| file.one("Network", "DHCP").unwrap().to_owned()).collect();
        let any = |names: [&str; 2]| names.iter().any(|name| modes.contains(*name));
        prop_assert_eq!(dhcp::families(&underlay), (any(["ipv4", "yes"]), any(["ipv6", "yes"])));
        for link in links(&underlay).unwrap() {
            prop_assert!(link.bond.is_none() || link.dhcp == Dhcp::None);
        }
    }

    /// The devices of the machine that the underlay describes, each with the permanent and a changed address: a bond gives
    /// its members one address, and a VLAN has the address of its link.
    #[test]
    fn each_device_gets_the_file_of_its_interface_and_other_devices_get_none(underlay in underlays()) {
        let networks = networks(&underlay);
        for (device, owner) in machine(&underlay) {
            let matching: Vec<&str> =
                networks.iter().filter(|file| file.matches(&device)).map(|file| file.name.as_str()).collect();
            let expected = owner.map(|name| format!("10-kubedos-{name}.network"));
            prop_assert_eq!(matching, expected.iter().map(String::as_str).collect::<Vec<_>>(), "{:?}", device);
        }
    }

    #[test]
    fn a_device_can_carry_what_is_above_it(underlay in underlays()) {
        let links = links(&underlay).unwrap();
        let mtu = |name: &str| links.iter().find(|link| link.interface.name.as_str() == name).unwrap().mtu;
        for link in &links {
            prop_assert!(link.mtu >= underlay.mtu && link.mtu >= link.interface.mtu.unwrap_or(0));
            if let Some(bond) = link.bond {
                prop_assert!(link.mtu >= mtu(bond.as_str()));
            }
            for vlan in &link.vlans {
                prop_assert!(link.mtu >= mtu(vlan.as_str()));
            }
            prop_assert_eq!(link.device.is_physical(), !matches!(link.device, Device::Vlan(_) | Device::Bond(..)));
        }
    }
}
