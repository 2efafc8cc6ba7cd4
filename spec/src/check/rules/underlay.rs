//! The network below the planes: interfaces, addresses, endpoints.

use std::collections::HashMap;

use super::{Findings, Invariant, must, nodes, path, repeated, should};
use crate::model::{NodeSpec, Spec};
use crate::node::{Interface, Role};
use crate::value::IfName;

const INTERFACES: &str = "spec.nodes.inventory[].underlay.interfaces";
const ENDPOINT: &str = "spec.nodes.inventory[].underlay.endpoint";

pub(super) const RULES: &[Invariant] = &[
    must(
        "unique-interface-names",
        "No two interfaces of a node have the same name, and none has a plane's.",
        &[INTERFACES, "spec.networking.planes"],
        |s, f| {
            each_node(s, f, |s, node, f, at| {
                for (again, _) in
                    repeated(node.underlay.interfaces.iter().map(|interface| &interface.name).enumerate())
                {
                    f.at(
                        &path!["spec", "nodes", "inventory", at, "underlay", "interfaces", again, "name"],
                        "another interface of this node has this name",
                        "give each interface a name of its own",
                    );
                }
                for (index, interface) in interfaces(node) {
                    if s.networking.planes.keys().any(|plane| plane.as_str() == interface.name.as_str()) {
                        f.at(
                            &path!["spec", "nodes", "inventory", at, "underlay", "interfaces", index, "name"],
                            "a plane has this name",
                            "planes and interfaces of the underlay share one set of names",
                        );
                    }
                }
            });
        },
    ),
    must(
        "interface-device",
        "A physical interface says which device it is when the node has several; a VLAN or a bond never does.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                let several =
                    node.underlay.interfaces.iter().filter(|interface| physical(interface)).count() > 1;
                for (index, interface) in interfaces(node) {
                    let here =
                        path!["spec", "nodes", "inventory", at, "underlay", "interfaces", index, "name"];
                    if physical(interface) && several && interface.device.is_none() {
                        f.at(
                            &here,
                            format!("{} does not say which device it is", interface.name),
                            "write match: { mac: … } or match: { path: … }",
                        );
                    } else if !physical(interface) && interface.device.is_some() {
                        f.at(&here, format!("{} is created, not found", interface.name), "remove its match");
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
                    let wrong = interface
                        .device
                        .as_ref()
                        .is_some_and(|device| device.mac.is_some() == device.path.is_some());
                    if wrong {
                        f.at(
                            &path![
                                "spec",
                                "nodes",
                                "inventory",
                                at,
                                "underlay",
                                "interfaces",
                                index,
                                "match"
                            ],
                            "the match names not exactly one property",
                            "write either mac or path",
                        );
                    }
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
                    &path!["spec", "nodes", "inventory", at, "underlay", "interfaces", index, "vlan"],
                    format!("{} is a VLAN and a bond", interface.name),
                    "make the bond an interface of its own, and the VLAN's link its name",
                );
            }
        });
    }),
    must(
        "vlan-link",
        "A VLAN's link is a physical interface or a bond of the same node.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                for (index, interface) in interfaces(node) {
                    let Some(vlan) = &interface.vlan else { continue };
                    if find(node, &vlan.link).is_none_or(|link| link.vlan.is_some()) {
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
                            format!("{} is no physical interface and no bond of {}", vlan.link, node.name),
                            "declare it among the interfaces",
                        );
                    }
                }
            });
        },
    ),
    must(
        "bond-links",
        "A bond's members are physical interfaces of the same node, each in one bond, without addresses of their own.",
        &[INTERFACES],
        bond_links,
    ),
    must(
        "gateway-reachable",
        "A gateway lies in the network of an address of its interface.",
        &[INTERFACES],
        |s, f| {
            each_node(s, f, |_, node, f, at| {
                for (index, interface) in interfaces(node) {
                    let Some(gateway) = interface.gateway else { continue };
                    if !interface
                        .addresses
                        .iter()
                        .any(|address| address.network().contains(gateway.address()))
                    {
                        f.at(
                            &path![
                                "spec",
                                "nodes",
                                "inventory",
                                at,
                                "underlay",
                                "interfaces",
                                index,
                                "gateway"
                            ],
                            format!("no address of {} lies in the gateway's network", interface.name),
                            "give the interface an address there, or mend the gateway",
                        );
                    }
                }
            });
        },
    ),
    must(
        "interface-mtu",
        "An interface's MTU is not below that of the underlay.",
        &[INTERFACES, "spec.networking.underlay.mtu"],
        |s, f| {
            each_node(s, f, |s, node, f, at| {
                let least = s.networking.underlay.mtu;
                for (index, mtu) in
                    interfaces(node).filter_map(|(index, interface)| Some((index, interface.mtu?)))
                {
                    if mtu < least {
                        f.at(
                            &path!["spec", "nodes", "inventory", at, "underlay", "interfaces", index, "mtu"],
                            format!("the underlay promises {least} bytes and this interface carries {mtu}"),
                            "lower networking.underlay.mtu, or raise this one",
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
                    if let Some(owner) = seen.insert(address.address(), &node.name) {
                        f.at(
                            &path![
                                "spec",
                                "nodes",
                                "inventory",
                                at,
                                "underlay",
                                "interfaces",
                                index,
                                "addresses",
                                which
                            ],
                            format!("{} is already an address of {owner}", address.address()),
                            "give each interface an address of its own",
                        );
                    }
                }
            }
        }
    }),
    must("unique-endpoints", "No two nodes have the same endpoint.", &[ENDPOINT], |s, f| {
        for (again, _) in repeated(nodes(s).filter_map(|(at, node)| Some((at, node.underlay.endpoint?)))) {
            f.at(
                &path!["spec", "nodes", "inventory", again, "underlay", "endpoint"],
                "another node has this endpoint",
                "each node is reached at an address of its own: planes have fixed ports",
            );
        }
    }),
    should(
        "control-plane-endpoint",
        "Peers can reach every control plane.",
        &["spec.nodes.inventory[].role", ENDPOINT, INTERFACES],
        |s, f| {
            for (at, node) in nodes(s).filter(|(_, node)| node.role == Role::ControlPlane) {
                if node.underlay.endpoint.is_none()
                    && interfaces(node).all(|(_, interface)| interface.addresses.is_empty())
                {
                    f.at(
                        &path!["spec", "nodes", "inventory", at, "name"],
                        format!("nobody knows where to reach {}", node.name),
                        "give it underlay.endpoint or a static address",
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
                        format!("{link} is no physical interface of {}", node.name),
                        "declare it among the interfaces",
                    );
                } else if let Some(owner) = taken.insert(link, &interface.name) {
                    f.at(
                        &here,
                        format!("{link} is already a member of {owner}"),
                        "an interface is a member of one bond",
                    );
                } else if target.is_some_and(|target| !target.addresses.is_empty() || target.dhcp.is_some()) {
                    f.at(&here, format!("{link} has addresses of its own"), "addresses belong to the bond");
                }
            }
        }
    });
}
