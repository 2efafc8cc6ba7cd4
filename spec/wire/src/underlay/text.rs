//! The texts of the files. Every value is a number, an address, or a name whose type or check excludes everything with a
//! meaning in systemd.syntax(7).

use std::fmt::Display;

use super::check::{Device, Link};
use super::dhcp::WITHOUT_INTERFACES;
use crate::node::{BondMode, Dhcp, Underlay};
use crate::value::{Endpoint, HostAddress, IfName};

/// A name and a text.
type File = (String, String);

/// The lines of a file.
#[derive(Debug)]
struct Text(String);

impl Text {
    fn new(comment: impl Display) -> Self {
        Self(format!("# {comment}\n"))
    }

    fn section(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    fn set(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key}={value}\n"));
    }

    fn turn_off(&mut self, keys: &[&str]) {
        keys.iter().for_each(|key| self.set(key, "no"));
    }
}

/// What networkd does by default or could be made to do by another file, and what an underlay does not do.
const OFF: [&str; 10] = [
    "IPv6AcceptRA",
    "IPv6SendRA",
    "IPv6PrivacyExtensions",
    "LLMNR",
    "MulticastDNS",
    "DNSOverTLS",
    "DNSDefaultRoute",
    "LLDP",
    "EmitLLDP",
    "DHCPServer",
];

/// What a DHCP server could set, and a node does not take from it.
const DHCPV4_OFF: [&str; 14] = [
    "SendHostname",
    "UseDNS",
    "UseDNR",
    "UseNTP",
    "UseSIP",
    "UseCaptivePortal",
    "UseDomains",
    "UseHostname",
    "UseTimezone",
    "UseMTU",
    "UseRoutes",
    "Use6RD",
    "IPv6OnlyMode",
    "RapidCommit",
];

const DHCPV6_OFF: [&str; 9] = [
    "SendHostname",
    "UseDNS",
    "UseDNR",
    "UseNTP",
    "UseCaptivePortal",
    "UseDomains",
    "UseHostname",
    "UseDelegatedPrefix",
    "RapidCommit",
];

/// Ethernet devices that no driver of virtual devices made: not VLANs, bonds, bridges, or the planes.
fn physical(text: &mut Text) {
    text.section("Match");
    text.set("Type", "ether");
    text.set("Kind", "!*");
}

/// networkd leaves the devices of planes alone, even if another file matched them.
pub(super) fn planes() -> File {
    let mut text = Text::new("The devices of planes belong to the agent.");
    text.section("Match");
    text.set("Kind", "wireguard");
    text.section("Link");
    text.set("Unmanaged", "yes");
    ("05-kubedos-planes.network".into(), text.0)
}

/// The file of a node without interfaces.
pub(super) fn every_device(underlay: &Underlay) -> File {
    let mut text = Text::new("Every Ethernet device: the spec declares no interface.");
    physical(&mut text);
    link(&mut text, underlay.mtu);
    let addresses = Addresses { dhcp: WITHOUT_INTERFACES, fixed: &[], gateway: None };
    text.section("Network");
    addresses.network(&mut text);
    addresses.sections(&mut text);
    ("10-kubedos-every-device.network".into(), text.0)
}

/// The files of an interface.
pub(super) fn of_link(of: &Link<'_>) -> Vec<File> {
    let name = &of.interface.name;
    let mut files = vec![(file_name(name, "network"), network(of))];
    match of.device {
        Device::Only | Device::Mac(_) | Device::Path(_) => {}
        Device::Vlan(id) => {
            let mut text = Text::new(format_args!("The VLAN {name}"));
            text.section("NetDev");
            text.set("Name", name);
            text.set("Kind", "vlan");
            text.section("VLAN");
            text.set("Id", id);
            files.push((file_name(name, "netdev"), text.0));
        }
        Device::Bond(bond, mac) => {
            let mut text = Text::new(format_args!("The bond {name}"));
            text.section("NetDev");
            text.set("Name", name);
            text.set("Kind", "bond");
            match mac {
                Some(mac) => text.set("MACAddress", mac),
                None => {
                    text.set("MACAddress", "none");
                    files.push((file_name(name, "link"), members_address(name)));
                }
            }
            text.section("Bond");
            text.set("Mode", mode(bond.mode));
            // The kernel's default is no monitoring: a bond would not notice that a cable is pulled.
            text.set("MIIMonitorSec", "100ms");
            if bond.mode == BondMode::Lacp {
                text.set("LACPTransmitRate", "fast");
                text.set("TransmitHashPolicy", "layer3+4");
            }
            files.push((file_name(name, "netdev"), text.0));
        }
    }
    files
}

/// Without this file, udev would give the bond an address that is derived from the machine id, which is new at each boot.
fn members_address(name: &IfName) -> String {
    let mut text = Text::new(format_args!("The bond {name} takes the hardware address of a member."));
    text.section("Match");
    text.set("OriginalName", name);
    text.set("Kind", "bond");
    text.section("Link");
    text.set("MACAddressPolicy", "none");
    text.0
}

const fn mode(mode: BondMode) -> &'static str {
    match mode {
        BondMode::ActiveBackup => "active-backup",
        BondMode::Lacp => "802.3ad",
    }
}

fn file_name(name: &IfName, kind: &str) -> String {
    format!("10-kubedos-{name}.{kind}")
}

fn network(of: &Link<'_>) -> String {
    let interface = of.interface;
    let mut text = Text::new(format_args!("The interface {}", interface.name));
    match of.device {
        Device::Only => physical(&mut text),
        Device::Mac(mac) => {
            physical(&mut text);
            // Not the current address, which a bond changes.
            text.set("PermanentMACAddress", mac);
        }
        Device::Path(path) => {
            physical(&mut text);
            text.set("Path", path);
        }
        Device::Vlan(_) | Device::Bond(..) => {
            text.section("Match");
            text.set("Name", &interface.name);
            text.set("Kind", if matches!(of.device, Device::Vlan(_)) { "vlan" } else { "bond" });
        }
    }
    link(&mut text, of.mtu);
    let addresses =
        Addresses { dhcp: of.dhcp, fixed: &interface.addresses, gateway: interface.gateway.as_ref() };
    text.section("Network");
    if let Some(bond) = of.bond {
        text.set("Bond", bond);
    }
    for vlan in &of.vlans {
        text.set("VLAN", vlan);
    }
    addresses.network(&mut text);
    addresses.sections(&mut text);
    text.0
}

fn link(text: &mut Text, mtu: u16) {
    text.section("Link");
    text.set("MTUBytes", mtu);
}

/// Where the addresses of an interface come from.
struct Addresses<'u> {
    dhcp: Dhcp,
    fixed: &'u [HostAddress],
    gateway: Option<&'u Endpoint>,
}

impl Addresses<'_> {
    /// The rest of the section `Network`.
    fn network(&self, text: &mut Text) {
        let v6 = self.dhcp.v6() || self.fixed.iter().any(|own| own.address().is_ipv6());
        text.set(
            "DHCP",
            match self.dhcp {
                Dhcp::None => "no",
                Dhcp::Ipv4 => "ipv4",
                Dhcp::Ipv6 => "ipv6",
                Dhcp::Both => "yes",
            },
        );
        // Without IPv6 addresses, networkd disables IPv6 on the device, and the kernel sends no discovery.
        text.set("LinkLocalAddressing", if v6 { "ipv6" } else { "no" });
        text.turn_off(&OFF);
        if self.dhcp == Dhcp::None {
            text.set("ConfigureWithoutCarrier", "yes");
            text.set("IgnoreCarrierLoss", "yes");
        } else {
            text.set("IgnoreCarrierLoss", "10min");
            text.set("KeepConfiguration", "dynamic-on-stop");
        }
    }

    fn sections(&self, text: &mut Text) {
        for address in self.fixed {
            text.section("Address");
            text.set("Address", address);
            // The node keeps its address whatever another machine says; the agent reports a second user.
            text.set("DuplicateAddressDetection", "none");
        }
        if let Some(gateway) = self.gateway {
            text.section("Route");
            text.set("Gateway", gateway);
        }
        if self.dhcp.v4() {
            text.section("DHCPv4");
            text.set("ClientIdentifier", "mac");
            text.turn_off(&DHCPV4_OFF);
            let declared = self.gateway.is_some_and(|gateway| gateway.address().is_ipv4());
            text.set("UseGateway", if declared { "no" } else { "yes" });
        }
        if self.dhcp.v6() {
            text.section("DHCPv6");
            text.set("DUIDType", "link-layer");
            text.set("WithoutRA", "solicit");
            text.turn_off(&DHCPV6_OFF);
        }
    }
}
