//! Random valid underlays, and the machine that each of them describes.

use kubedos_wire::node::{Bond, BondMode, Dhcp, Interface, InterfaceMatch, Underlay, Vlan};
use kubedos_wire::underlay::{Device, links};
use proptest::prelude::*;

use crate::files::Seen;

/// What is drawn for one interface.
type Drawn = (u8, u8, Option<u16>, u8);

/// Valid underlays: up to four physical interfaces, up to two bonds of them, and VLANs on whatever is free.
pub fn underlays() -> impl Strategy<Value = Underlay> {
    let interface = (any::<u8>(), any::<u8>(), prop::option::of(1500_u16..=9000), any::<u8>());
    prop::collection::vec(interface, 0..9).prop_map(|drawn| build(&drawn))
}

fn interface(name: String) -> Interface {
    Interface {
        name: name.parse().unwrap(),
        device: None,
        dhcp: None,
        addresses: Vec::new(),
        gateway: None,
        mtu: None,
        vlan: None,
        bond: None,
    }
}

fn build(drawn: &[Drawn]) -> Underlay {
    let mut all: Vec<Interface> = Vec::new();
    let (mut members, mut carriers) = (Vec::new(), Vec::new());
    let physical = drawn.iter().take(4).count();
    for (at, (kind, addresses, mtu, choice)) in drawn.iter().enumerate() {
        let mut next = interface(format!("if-{at}"));
        next.mtu = *mtu;
        if at < 4 {
            if physical > 1 || choice % 2 == 0 {
                let by_mac = choice % 3 > 0;
                next.device = Some(InterfaceMatch {
                    mac: by_mac.then(|| format!("52:54:00:00:00:{at:02x}").parse().unwrap()),
                    path: (!by_mac).then(|| format!("pci-0000:0{at}:00.0")),
                });
            }
            if kind % 2 == 0 {
                members.push(next.name.clone());
                all.push(next);
                continue;
            }
            carriers.push(next.name.clone());
        } else if kind % 2 == 0 && !members.is_empty() {
            let links = members.drain(..usize::from(choice % 2 + 1).min(members.len())).collect();
            let mode = if choice % 4 < 2 { BondMode::ActiveBackup } else { BondMode::Lacp };
            next.bond = Some(Bond { mode, links });
            carriers.push(next.name.clone());
        } else if let Some(link) = carriers.get(usize::from(*choice) % carriers.len().max(1)) {
            next.vlan = Some(Vlan { id: 100 + u16::try_from(at).unwrap(), link: link.clone() });
        } else {
            continue;
        }
        if addresses & 1 > 0 {
            next.addresses.push(format!("192.0.2.{}/24", at + 1).parse().unwrap());
            next.gateway = (addresses & 2 > 0).then(|| "192.0.2.254".parse().unwrap());
        }
        if addresses & 4 > 0 {
            next.addresses.push(format!("2001:db8::{}/64", at + 1).parse().unwrap());
        }
        let modes = [None, Some(Dhcp::None), Some(Dhcp::Ipv4), Some(Dhcp::Ipv6), Some(Dhcp::Both)];
        next.dhcp = modes[usize::from(addresses >> 3) % modes.len()];
        all.push(next);
    }
    Underlay { mtu: 1500, endpoint: None, nameservers: vec!["192.0.2.53".parse().unwrap()], interfaces: all }
}

/// The devices of the machine, each with the interface that it belongs to.
pub fn machine(underlay: &Underlay) -> Vec<(Seen, Option<String>)> {
    let all = links(underlay).unwrap();
    let hidden = |name: &str| Seen {
        name: name.into(),
        kind_of_device: "ether",
        kind: None,
        mac: "52:54:00:ff:00:01".into(),
        permanent_mac: Some("52:54:00:ff:00:01".into()),
        path: Some("pci-0000:ff:00.0".into()),
    };
    let mut devices = Vec::new();
    for (at, link) in all.iter().enumerate() {
        let own = format!("52:54:00:00:00:{at:02x}");
        let name = link.interface.name.to_string();
        // A member has the address of another device; a VLAN or a bond has the address of the first device.
        let mac = if link.bond.is_some() { "52:54:00:00:00:00".into() } else { own.clone() };
        let virtual_device = |kind: &'static str| Seen {
            name: name.clone(),
            kind_of_device: kind,
            kind: Some(kind),
            mac: "52:54:00:00:00:00".into(),
            permanent_mac: None,
            path: None,
        };
        let seen = match link.device {
            Device::Only => Seen { permanent_mac: Some(own), mac, ..hidden("ens1") },
            Device::Mac(wanted) => {
                Seen { permanent_mac: Some(wanted.to_string()), mac, ..hidden(&format!("ens{at}")) }
            }
            Device::Path(path) => Seen { path: Some(path.into()), ..hidden(&format!("ens{at}")) },
            Device::Vlan(_) => virtual_device("vlan"),
            Device::Bond(..) => virtual_device("bond"),
        };
        devices.push((seen, Some(name)));
    }
    // Devices that nobody declared: a plane, a bridge, a pod's end of a pair, the loopback device, a VLAN.
    for (name, kind_of_device, kind) in [
        ("wg1", "wireguard", "wireguard"),
        ("br0", "bridge", "bridge"),
        ("lxc1", "ether", "veth"),
        ("foreign.7", "vlan", "vlan"),
        ("foreign", "ether", "dummy"),
    ] {
        let mac = "52:54:00:00:00:00".to_owned();
        let seen = Seen {
            kind_of_device,
            kind: Some(kind),
            permanent_mac: Some(mac.clone()),
            mac,
            path: Some("pci-0000:00:00.0".into()),
            name: name.into(),
        };
        devices.push((seen, None));
    }
    devices.push((Seen { kind_of_device: "loopback", ..hidden("lo") }, None));
    let any = all.is_empty() || all.iter().any(|link| link.device == Device::Only);
    if any && all.is_empty() {
        devices.push((hidden("ens9"), Some("every-device".into())));
    } else if !any {
        devices.push((hidden("ens9"), None));
    }
    devices
}
