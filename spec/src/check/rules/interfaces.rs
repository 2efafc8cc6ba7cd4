//! Invariants of the devices and addresses of interfaces: what systemd-networkd would apply to a wrong device, or not at all.
//!
//! `kubedos_wire::underlay` refuses the same contradictions on a node; these rules find them before an image is built.

use std::collections::HashMap;

use super::{Findings, Invariant, must, nodes, path, repeated, should};
use crate::model::{NodeSpec, Spec};
use crate::yaml::Step;
use kubedos_wire::node::{Dhcp, Interface, Role};
use kubedos_wire::underlay::{dhcp, valid_path};

const INTERFACES: &str = "spec.nodes.inventory[].underlay.interfaces";
const ENDPOINT: &str = "spec.nodes.inventory[].underlay.endpoint";

pub(super) const RULES: &[Invariant] = &[
    must(
        "interface-path",
        "A path contains letters, digits and `:._-@+`, as udev's ID_PATH does, and starts with a letter or a digit.",
        &[INTERFACES],
        |s, f| {
            for (node, index, interface) in all(s) {
                let Some(path) = path_of(interface).filter(|path| !valid_path(path)) else { continue };
                let wrong = path.chars().find(|c| !c.is_ascii_alphanumeric() && !":._-@+".contains(*c));
                let message = match wrong {
                    Some(c) => format!("a path contains no {c:?}"),
                    None => "a path starts with a letter or a digit".to_owned(),
                };
                f.at(
                    &property(node, index, "path"),
                    message,
                    "write one device's ID_PATH, not a pattern or a list, for example: pci-0000:00:1f.6",
                );
            }
        },
    ),
    must(
        "unique-interface-paths",
        "No two interfaces of a node have the same path.",
        &[INTERFACES],
        |s, f| {
            let paths = all(s).map(|(node, index, interface)| (node, index, path_of(interface)));
            let paths: Vec<_> = paths.filter_map(|(node, index, path)| Some((node, index, path?))).collect();
            for (again, first) in repeated(paths.iter().map(|(node, _, path)| (node, path)).enumerate()) {
                let (Some(again), Some(first)) = (paths.get(again), paths.get(first)) else { continue };
                f.again(
                    &property(again.0, again.1, "path"),
                    &property(first.0, first.1, "path"),
                    "a second interface has this path",
                    "give each interface its own device",
                );
            }
        },
    ),
    must("unique-vlans", "No two VLANs of one link have the same number.", &[INTERFACES], |s, f| {
        let vlans = all(s).filter_map(|(node, index, one)| Some((node, index, one.vlan.as_ref()?)));
        let vlans: Vec<_> = vlans.collect();
        let keys = vlans.iter().map(|(node, _, vlan)| (node, &vlan.link, vlan.id));
        for (again, first) in repeated(keys.enumerate()) {
            let (Some(again), Some(first)) = (vlans.get(again), vlans.get(first)) else { continue };
            let id = |node: usize, index: usize| {
                path!["spec", "nodes", "inventory", node, "underlay", "interfaces", index, "vlan", "id"]
            };
            let message = format!("{} carries the VLAN {} twice", again.2.link, again.2.id);
            let help = "a link carries each VLAN once; write the addresses of both into one interface";
            f.again(&id(again.0, again.1), &id(first.0, first.1), message, help);
        }
    }),
    must(
        "one-gateway",
        "A node has at most one gateway for IPv4, and one for IPv6.",
        &[INTERFACES],
        |s, f| {
            let gateways = all(s).filter_map(|(node, index, one)| Some((node, index, one.gateway?)));
            let gateways: Vec<_> = gateways.collect();
            let keys = gateways.iter().map(|(node, _, gateway)| (node, gateway.address().is_ipv4()));
            for (again, first) in repeated(keys.enumerate()) {
                let (Some(again), Some(first)) = (gateways.get(again), gateways.get(first)) else { continue };
                let family = if again.2.address().is_ipv4() { "IPv4" } else { "IPv6" };
                f.again(
                    &field(again.0, again.1, "gateway"),
                    &field(first.0, first.1, "gateway"),
                    format!("a second gateway for {family}"),
                    "a node has one default route; keep the gateway over which it reaches its peers",
                );
            }
        },
    ),
    must(
        "endpoint-of-one-node",
        "A node's endpoint is not an address of another node.",
        &[ENDPOINT, INTERFACES],
        |s, f| {
            let mut owners = HashMap::new();
            for (node, _, interface) in all(s) {
                for address in &interface.addresses {
                    let _first = owners.entry(address.address()).or_insert(node);
                }
            }
            for (at, node) in nodes(s) {
                let owner = node.underlay.endpoint.and_then(|endpoint| owners.get(&endpoint.address()));
                if let Some(owner) = owner.filter(|owner| **owner != at) {
                    let owner =
                        s.nodes.inventory.get(*owner).map_or("another node", |node| node.name.as_str());
                    f.at(
                        &path!["spec", "nodes", "inventory", at, "underlay", "endpoint"],
                        format!("this endpoint is an address of {owner}, so peers would reach {owner}"),
                        "write the address at which peers reach this node",
                    );
                }
            }
        },
    ),
    must(
        "control-plane-static",
        "The interfaces of a control plane do not use DHCP: other nodes find the cluster at its addresses.",
        &["spec.nodes.inventory[].role", INTERFACES],
        control_plane_static,
    ),
    should(
        "dhcpv6-address",
        "An interface with DHCPv6 also has a declared IPv6 address: DHCPv6 provides no route.",
        &[INTERFACES],
        |s, f| {
            for (node, index, interface) in all(s) {
                let v6 = interface.dhcp.is_some_and(Dhcp::v6);
                if v6 && !interface.addresses.iter().any(|own| own.address().is_ipv6()) {
                    f.at(
                        &field(node, index, "dhcp"),
                        format!(
                            "{} gets an IPv6 address without a route, so it reaches no other node",
                            interface.name
                        ),
                        "declare an IPv6 address with the prefix length of its network, and a gateway",
                    );
                }
            }
        },
    ),
];

/// The interfaces of all nodes, with the index of their node and their own.
fn all(s: &Spec) -> impl Iterator<Item = (usize, usize, &Interface)> {
    nodes(s).flat_map(|(node, spec)| {
        spec.underlay.interfaces.iter().enumerate().map(move |(index, interface)| (node, index, interface))
    })
}

fn path_of(interface: &Interface) -> Option<&String> {
    interface.device.as_ref()?.path.as_ref()
}

/// A field of a node's interface.
fn field(node: usize, interface: usize, key: &str) -> [Step; 8] {
    path!["spec", "nodes", "inventory", node, "underlay", "interfaces", interface, key]
}

/// A property in the match of a node's interface.
fn property(node: usize, interface: usize, key: &str) -> [Step; 9] {
    path!["spec", "nodes", "inventory", node, "underlay", "interfaces", interface, "match", key]
}

fn control_plane_static(s: &Spec, f: &mut Findings<'_>) {
    for (at, node) in nodes(s).filter(|(_, node)| node.role == Role::ControlPlane) {
        for (index, interface) in node.underlay.interfaces.iter().enumerate() {
            let mode = dhcp::of(&node.underlay.interfaces, interface);
            if mode == Dhcp::None {
                continue;
            }
            let (place, message) = match interface.dhcp {
                Some(_) => (
                    field(at, index, "dhcp"),
                    format!("{} is a control plane, but {} uses DHCP", node.name, interface.name),
                ),
                None => (
                    field(at, index, "name"),
                    format!(
                        "{} is a control plane, but {} has no address and so uses DHCP",
                        node.name, interface.name
                    ),
                ),
            };
            f.at(&place, message, help(node, interface));
        }
    }
}

fn help(node: &NodeSpec, interface: &Interface) -> &'static str {
    let carries = |other: &Interface| other.vlan.as_ref().is_some_and(|vlan| vlan.link == interface.name);
    if !interface.addresses.is_empty() {
        "remove `dhcp`"
    } else if node.underlay.interfaces.iter().any(carries) {
        "write dhcp: none, because its VLANs have the addresses"
    } else {
        "for example: addresses: [192.0.2.11/24]"
    }
}
