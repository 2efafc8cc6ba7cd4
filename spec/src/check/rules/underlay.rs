//! Invariants of the network below the planes: interfaces, addresses, endpoints.

use std::collections::HashMap;

use super::{Findings, Invariant, list, must, nodes, path, repeated, should};
use crate::model::{NodeSpec, Spec};
use crate::yaml::Step;
use kubedos_wire::node::{Interface, Role};
use kubedos_wire::value::IfName;

const INTERFACES: &str = "spec.nodes.inventory[].underlay.interfaces";
const ENDPOINT: &str = "spec.nodes.inventory[].underlay.endpoint";

pub(super) const RULES: &[Invariant] = &[
    must(
        "unique-interface-names",
        "No two interfaces of a node have the same name, and no interface has the name of a plane.",
        &[INTERFACES, "spec.networking.planes"],
        |s, f| {
            each_node(s, f, |s, node, f, at| {
                let names = node.underlay.interfaces.iter().map(|interface| &interface.name).enumerate();
                for (again, first) in repeated(names) {
                    let path = |index: usize| field(at, index, "name");
                    let message = format!("a second interface of {} has this name", node.name);
                    f.again(&path(again), &path(first), message, "give each interface its own name");
                }
                for (index, interface) in interfaces(node) {
                    if s.networking.planes.keys().any(|plane| plane.as_str() == interface.name.as_str()) {
                        f.at(
                            &field(at, index, "name"),
                            format!("{} is already the name of a plane and its interface", interface.name),
                            "give the interface a different name, for example: uplink",
                        );
                    }
                }
            });
        },
    ),
    must(
        "interface-device",
        "If a node has several physical interfaces, each of them has a `match`; a VLAN or a bond has none.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                let several =
                    node.underlay.interfaces.iter().filter(|interface| physical(interface)).count() > 1;
                for (index, interface) in interfaces(node) {
                    let here = field(at, index, "name");
                    if physical(interface) && several && interface.device.is_none() {
                        f.at(
                            &here,
                            format!(
                                "{} has no `match`, but the node has several physical interfaces",
                                interface.name
                            ),
                            "for example: match: { mac: \"52:54:00:12:34:56\" }",
                        );
                    } else if !physical(interface) && interface.device.is_some() {
                        let message = format!(
                            "{} is a VLAN or a bond, which the node creates; `match` is for physical interfaces only",
                            interface.name
                        );
                        f.at(&here, message, "remove its `match`");
                    }
                }
            });
        },
    ),
    must(
        "interface-match-one",
        "An interface is matched by exactly one of mac and path.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                for (index, interface) in interfaces(node) {
                    let both =
                        interface.device.as_ref().map(|device| (device.mac.is_some(), device.path.is_some()));
                    let message = match both {
                        Some((false, false)) => "this match does not identify a device",
                        Some((true, true)) => {
                            "this match identifies a device by two properties, which can contradict each other"
                        }
                        _ => continue,
                    };
                    f.at(&field(at, index, "match"), message, "write one of mac and path");
                }
            });
        },
    ),
    must("vlan-or-bond", "An interface is not both a VLAN and a bond.", &[INTERFACES], |s, f| {
        each_node(s, f, |_, node, f, at| {
            for (index, interface) in
                interfaces(node).filter(|(_, interface)| interface.vlan.is_some() && interface.bond.is_some())
            {
                f.at(
                    &field(at, index, "vlan"),
                    format!("{} is a VLAN and a bond", interface.name),
                    "declare the bond as a separate interface, and write its name as the VLAN's `link`",
                );
            }
        });
    }),
    must(
        "vlan-link",
        "A VLAN's link is a physical interface or a bond of the same node, and not a member of a bond.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                for (index, interface) in interfaces(node) {
                    let Some(vlan) = &interface.vlan else { continue };
                    // A VLAN that is also a bond is another rule's problem.
                    let bond = bond_of(node, &vlan.link).filter(|_| interface.bond.is_none());
                    if bond.is_some() || find(node, &vlan.link).is_none_or(|link| link.vlan.is_some()) {
                        f.at(
                            &path![
                                "spec",
                                "nodes",
                                "inventory",
                                at,
                                "underlay",
                                "interfaces",
                                index,
                                "vlan",
                                "link"
                            ],
                            match (bond, find(node, &vlan.link)) {
                                (Some(bond), _) => {
                                    format!("{} is a member of the bond {}", vlan.link, bond.name)
                                }
                                (None, Some(_)) => format!("{} is a VLAN itself", vlan.link),
                                (None, None) => format!("{} has no interface {}", node.name, vlan.link),
                            },
                            format!(
                                "a VLAN's link is a physical interface or a bond; declared: {}",
                                names(node)
                            ),
                        );
                    }
                }
            });
        },
    ),
    must(
        "bond-links",
        "A bond's members are physical interfaces of the same node, each in one bond, without their own addresses.",
        &[INTERFACES],
        bond_links,
    ),
    must(
        "gateway-reachable",
        "A gateway is in the network of an address of its interface, and is not the node itself.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                for (index, interface) in interfaces(node) {
                    let Some(gateway) = interface.gateway else { continue };
                    let own = interface.addresses.iter().any(|own| own.address() == gateway.address());
                    let near =
                        interface.addresses.iter().any(|own| own.network().contains(gateway.address()));
                    if near && !own {
                        continue;
                    }
                    let here = field(at, index, "gateway");
                    let message = if own {
                        format!("the gateway of {} is the node itself", interface.name)
                    } else {
                        format!("no address of {} is in the gateway's network", interface.name)
                    };
                    f.at(&here, message, "write a router in the network of one of the interface's addresses");
                }
            });
        },
    ),
    must(
        "interface-mtu",
        "An interface's MTU is at least that of the underlay.",
        &[INTERFACES, "spec.networking.underlay.mtu"],
        |s, f| {
            each_node(s, f, |s, node, f, at| {
                let least = s.networking.underlay.mtu;
                for (index, mtu) in
                    interfaces(node).filter_map(|(index, interface)| Some((index, interface.mtu?)))
                {
                    if mtu < least {
                        f.at(
                            &field(at, index, "mtu"),
                            format!(
                                "the underlay's MTU is {least} bytes, but that of this interface is {mtu}"
                            ),
                            format!("write {least} or more, or lower networking.underlay.mtu"),
                        );
                    }
                }
            });
        },
    ),
    must("unique-underlay-addresses", "No two interfaces have the same address.", &[INTERFACES], |s, f| {
        let mut seen = HashMap::new();
        for (at, node) in nodes(s) {
            for (index, interface) in interfaces(node) {
                for (which, address) in interface.addresses.iter().enumerate() {
                    let (owner, place) = *seen.entry(address.address()).or_insert((node, (at, index, which)));
                    if place != (at, index, which) {
                        let path = |(at, index, which): (usize, usize, usize)| {
                            let [a, b, c, d, e, g, i, key] = field(at, index, "addresses");
                            [a, b, c, d, e, g, i, key, which.into()]
                        };
                        let message =
                            format!("{} is already an address of {}", address.address(), owner.name);
                        let help = "give each interface its own address";
                        f.again(&path((at, index, which)), &path(place), message, help);
                    }
                }
            }
        }
    }),
    must("unique-endpoints", "No two nodes have the same endpoint.", &[ENDPOINT], |s, f| {
        for (again, first) in repeated(nodes(s).filter_map(|(at, node)| Some((at, node.underlay.endpoint?))))
        {
            let path = |node: usize| path!["spec", "nodes", "inventory", node, "underlay", "endpoint"];
            let help = "each node needs its own address, because planes have fixed ports";
            f.again(&path(again), &path(first), "a second node has this endpoint", help);
        }
    }),
    should(
        "control-plane-endpoint",
        "Peers can reach every control plane.",
        &["spec.nodes.inventory[].role", ENDPOINT, INTERFACES],
        |s, f| {
            for (at, node) in nodes(s).filter(|(_, node)| node.role == Role::ControlPlane) {
                if node.underlay.endpoint().is_none() {
                    f.at(
                        &path!["spec", "nodes", "inventory", at, "name"],
                        format!("peers have no address for the control plane {}", node.name),
                        "for example: underlay: { endpoint: 192.0.2.11 }, or a static address",
                    );
                }
            }
        },
    ),
];

fn interfaces(node: &NodeSpec) -> impl Iterator<Item = (usize, &Interface)> {
    node.underlay.interfaces.iter().enumerate()
}

const fn physical(interface: &Interface) -> bool {
    interface.vlan.is_none() && interface.bond.is_none()
}

fn find<'n>(node: &'n NodeSpec, name: &IfName) -> Option<&'n Interface> {
    node.underlay.interfaces.iter().find(|interface| interface.name == *name)
}

/// The bond that an interface is a member of.
fn bond_of<'n>(node: &'n NodeSpec, name: &IfName) -> Option<&'n Interface> {
    let has = |bond: &&Interface| bond.bond.iter().any(|bond| bond.links.contains(name));
    node.underlay.interfaces.iter().find(has)
}

/// A field of a node's interface.
fn field(node: usize, interface: usize, key: &str) -> [Step; 8] {
    path!["spec", "nodes", "inventory", node, "underlay", "interfaces", interface, key]
}

fn names(node: &NodeSpec) -> String {
    list(node.underlay.interfaces.iter().map(|interface| &interface.name))
}

fn each_node(s: &Spec, f: &mut Findings<'_>, check: fn(&Spec, &NodeSpec, &mut Findings<'_>, usize)) {
    for (index, node) in nodes(s) {
        check(s, node, f, index);
    }
}

fn bond_links(s: &Spec, f: &mut Findings<'_>) {
    each_node(s, f, |_, node, f, at| {
        let mut taken = HashMap::new();
        for (index, interface) in interfaces(node) {
            for (which, link) in interface.bond.iter().flat_map(|bond| bond.links.iter().enumerate()) {
                let here = path![
                    "spec",
                    "nodes",
                    "inventory",
                    at,
                    "underlay",
                    "interfaces",
                    index,
                    "bond",
                    "links",
                    which
                ];
                let target = find(node, link).filter(|target| physical(target));
                if target.is_none() {
                    f.at(
                        &here,
                        match find(node, link) {
                            Some(_) => format!("{link} is a VLAN or a bond itself"),
                            None => format!("{} has no interface {link}", node.name),
                        },
                        format!("a bond's members are physical interfaces; declared: {}", names(node)),
                    );
                } else if let Some(owner) = taken.insert(link, &interface.name) {
                    f.at(
                        &here,
                        format!("{link} is already a member of {owner}"),
                        "an interface is a member of one bond; remove it from one of the two",
                    );
                } else if target.is_some_and(|target| !target.addresses.is_empty() || target.dhcp.is_some()) {
                    let help = "addresses belong to the bond; move them there";
                    f.at(
                        &here,
                        format!("{link} is a member of a bond, but has its own addresses or DHCP"),
                        help,
                    );
                }
            }
        }
    });
}
