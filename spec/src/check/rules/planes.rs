//! Planes, the ranges of addresses, and what may pass between planes.

use std::net::IpAddr;

use super::{Findings, Invariant, must, nodes, path, should};
use crate::model::{Peers, PlaneSpec, Spec};
use crate::node::PlanePurpose;
use crate::plan::ranges;
use crate::value::{Cidr, PlaneId};

const PLANES: &str = "spec.networking.planes";
const ALLOW: &str = "spec.networking.policy.allow";
const INVENTORY: &str = "spec.nodes.inventory";
const INTERFACES: &str = "spec.nodes.inventory[].underlay";

pub(super) const RULES: &[Invariant] = &[
    must("plane-per-purpose", "Each purpose has exactly one plane.", &[PLANES], |s, f| {
        for purpose in [PlanePurpose::Control, PlanePurpose::Observability, PlanePurpose::KubernetesBackend] {
            let of_it: Vec<_> =
                s.networking.planes.iter().filter(|(_, plane)| plane.purpose == purpose).collect();
            let name = ranges::purpose_name(purpose);
            for (id, _) in of_it.iter().skip(1) {
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), "purpose"],
                    format!("another plane has the purpose {name}"),
                    "each purpose has exactly one plane",
                );
            }
            if of_it.is_empty() {
                f.at(
                    &path!["spec", "networking", "planes"],
                    format!("no plane has the purpose {name}"),
                    "each purpose has exactly one plane",
                );
            }
        }
    }),
    must(
        "plane-ipv4",
        "The addresses of planes, pods and services are IPv4.",
        &[PLANES, "spec.kubernetes.podCidr", "spec.kubernetes.serviceCidr"],
        |s, f| {
            for (id, plane) in &s.networking.planes {
                for (key, cidr) in
                    [("cidr", Some(plane.cidr)), ("members", plane.members), ("births", plane.births)]
                {
                    if cidr.is_some_and(|cidr| !cidr.is_ipv4()) {
                        f.at(
                            &path!["spec", "networking", "planes", id.as_str(), key],
                            "these addresses are IPv6",
                            "planes are IPv4 in this version",
                        );
                    }
                }
            }
            for (key, cidr) in
                [("podCidr", s.kubernetes.pod_cidr), ("serviceCidr", s.kubernetes.service_cidr)]
            {
                if cidr.is_some_and(|cidr| !cidr.is_ipv4()) {
                    f.at(
                        &path!["spec", "kubernetes", key],
                        "these addresses are IPv6",
                        "pods and services are IPv4 in this version",
                    );
                }
            }
        },
    ),
    must(
        "plane-ranges",
        "The ranges of members and births lie in their plane and share no address.",
        &[PLANES],
        plane_ranges,
    ),
    must(
        "plane-capacity",
        "The ranges of members and births have an address for every node, and that of members one for every operator too.",
        &[PLANES, INVENTORY, "spec.security.operators"],
        plane_capacity,
    ),
    must(
        "networks-disjoint",
        "Planes, pods, services and the networks of the underlay share no address.",
        &[
            PLANES,
            "spec.kubernetes.enabled",
            "spec.kubernetes.podCidr",
            "spec.kubernetes.serviceCidr",
            INTERFACES,
        ],
        networks_disjoint,
    ),
    must("unique-plane-ports", "No two planes have the same port.", &[PLANES], |s, f| {
        let all: Vec<_> = s.networking.planes.iter().map(|(id, plane)| (id, ranges::port(plane))).collect();
        for (at, (id, port)) in all.iter().enumerate() {
            if let Some((other, _)) = all.iter().take(at).find(|(_, taken)| taken == port) {
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), "port"],
                    format!("the plane {other} has port {port} too"),
                    "give each plane a port of its own, or none",
                );
            }
        }
    }),
    must(
        "plane-mtu-fits",
        "A plane's MTU leaves room for WireGuard: 60 bytes over IPv4, 80 over IPv6.",
        &[PLANES, "spec.networking.underlay", INTERFACES],
        |s, f| {
            let most = ranges::largest_mtu(s);
            for (id, mtu) in s.networking.planes.iter().filter_map(|(id, plane)| Some((id, plane.mtu?))) {
                if mtu > most {
                    f.at(
                        &path!["spec", "networking", "planes", id.as_str(), "mtu"],
                        format!("the underlay leaves {most} bytes, not {mtu}"),
                        "lower it, or leave it out: then it is computed",
                    );
                }
            }
        },
    ),
    should(
        "plane-mtu-multiple",
        "A plane's MTU is a multiple of 16, which WireGuard pads to.",
        &[PLANES],
        |s, f| {
            for (id, mtu) in s.networking.planes.iter().filter_map(|(id, plane)| Some((id, plane.mtu?))) {
                if mtu % 16 != 0 {
                    f.at(
                        &path!["spec", "networking", "planes", id.as_str(), "mtu"],
                        format!("{mtu} is no multiple of 16"),
                        format!("write {}", mtu - mtu % 16),
                    );
                }
            }
        },
    ),
    must(
        "kubernetes-plane-mesh",
        "With Kubernetes, every member of the kubernetes-backend plane is every other one's peer: pods are routed over it.",
        &[PLANES, "spec.kubernetes.enabled"],
        |s, f| {
            let hub = |plane: &PlaneSpec| {
                plane.purpose == PlanePurpose::KubernetesBackend && plane.peers != Peers::Mesh
            };
            for (id, _) in s.networking.planes.iter().filter(|(_, plane)| s.kubernetes.enabled && hub(plane))
            {
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), "peers"],
                    "workers cannot reach each other's pods",
                    "write peers: mesh",
                );
            }
        },
    ),
    must(
        "allow-known-planes",
        "A policy names declared planes, two different ones.",
        &[PLANES, ALLOW],
        |s, f| {
            for (index, allow) in s.networking.policy.allow.iter().enumerate() {
                for (key, plane) in [("from", &allow.from), ("to", &allow.to)] {
                    if !s.networking.planes.contains_key(plane) {
                        let known =
                            s.networking.planes.keys().map(PlaneId::as_str).collect::<Vec<_>>().join(", ");
                        f.at(
                            &path!["spec", "networking", "policy", "allow", index, key],
                            format!("there is no plane {plane}"),
                            format!("declared are: {known}"),
                        );
                    }
                }
                if allow.from == allow.to {
                    f.at(
                        &path!["spec", "networking", "policy", "allow", index, "to"],
                        format!("this allows {} to reach itself", allow.to),
                        "within a plane nothing is filtered between members; remove the entry",
                    );
                }
            }
        },
    ),
    must("allow-once", "No two policies allow the same port between the same planes.", &[ALLOW], |s, f| {
        let allow = &s.networking.policy.allow;
        let all = allow.iter().enumerate().flat_map(|(index, a)| {
            a.ports.iter().enumerate().map(move |(at, ports)| (index, at, &a.from, &a.to, ports))
        });
        let mut seen: Vec<(&PlaneId, &PlaneId, &crate::value::PortRange)> = Vec::new();
        for (index, at, from, to, ports) in all {
            let meets = |other: &&(&PlaneId, &PlaneId, &crate::value::PortRange)| {
                (other.0, other.1, other.2.protocol) == (from, to, ports.protocol)
                    && other.2.first <= ports.last
                    && ports.first <= other.2.last
            };
            if let Some((_, _, other)) = seen.iter().find(meets) {
                f.at(
                    &path!["spec", "networking", "policy", "allow", index, "ports", at],
                    format!("{other} from {from} to {to} is allowed already"),
                    "remove one of the two",
                );
            }
            seen.push((from, to, ports));
        }
    }),
];

fn plane_ranges(s: &Spec, f: &mut Findings<'_>) {
    for (id, plane) in s.networking.planes.iter().filter(|(_, plane)| plane.cidr.is_ipv4()) {
        let Some((members, births)) = ranges::of(plane) else {
            f.at(
                &path!["spec", "networking", "planes", id.as_str(), "cidr"],
                "this range cannot be halved into members and births",
                "a plane has at least 8 addresses, for example 10.101.0.0/24",
            );
            continue;
        };
        for (key, range) in [("members", members), ("births", births)] {
            if !plane.cidr.covers(&range) {
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), key],
                    format!("{range} does not lie in {}", plane.cidr),
                    "both ranges are parts of the plane",
                );
            }
        }
        if members.overlaps(&births) {
            let key = if plane.births.is_some() { "births" } else { "members" };
            f.at(
                &path!["spec", "networking", "planes", id.as_str(), key],
                format!("members ({members}) and births ({births}) share addresses"),
                "give both, or none: then the plane is halved",
            );
        }
    }
}

fn plane_capacity(s: &Spec, f: &mut Findings<'_>) {
    let count = s.nodes.inventory.len() as u128;
    let operators = s.security.operators.len() as u128;
    for (id, plane) in s.networking.planes.iter().filter(|(_, plane)| plane.cidr.is_ipv4()) {
        let Some((members, births)) = ranges::of(plane) else { continue };
        let extra = if plane.purpose == PlanePurpose::Control { operators } else { 0 };
        for (key, range, needed) in [("members", members, count + extra), ("births", births, count)] {
            let room = ranges::capacity(&range);
            if needed > room {
                let at = if plane.members.is_some() && key == "members"
                    || plane.births.is_some() && key == "births"
                {
                    key
                } else {
                    "cidr"
                };
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), at],
                    format!("{range} has room for {room} {key}, and {needed} are needed"),
                    "give the plane a shorter prefix",
                );
                continue;
            }
            for (index, node) in nodes(s).filter_map(|(index, node)| Some((index, node.id?))) {
                if u128::from(node.get()) + extra > room {
                    f.at(
                        &path!["spec", "nodes", "inventory", index, "id"],
                        format!("the plane {id} has room for {room} {key}, and this id is {node}"),
                        "ids are small numbers; give the plane a shorter prefix, or the node a lower id",
                    );
                    break;
                }
            }
        }
    }
}

fn networks_disjoint(s: &Spec, f: &mut Findings<'_>) {
    type Named = (String, Cidr, Vec<crate::yaml::Step>);
    let mut networks: Vec<Named> = Vec::new();
    for (id, plane) in &s.networking.planes {
        let at = path!["spec", "networking", "planes", id.as_str(), "cidr"].to_vec();
        networks.push((format!("the plane {id}"), plane.cidr, at));
    }
    if s.kubernetes.enabled {
        let (pods, services) = ranges::kubernetes(&s.kubernetes);
        networks.push(("the pods".into(), pods, path!["spec", "kubernetes", "podCidr"].to_vec()));
        networks.push(("the services".into(), services, path!["spec", "kubernetes", "serviceCidr"].to_vec()));
    }
    let fixed = networks.len();
    let mut seen = std::collections::HashSet::new();
    for (at, node) in nodes(s) {
        for (index, interface) in node.underlay.interfaces.iter().enumerate() {
            for (which, address) in interface.addresses.iter().enumerate() {
                if seen.insert(address.network()) {
                    let at = path![
                        "spec",
                        "nodes",
                        "inventory",
                        at,
                        "underlay",
                        "interfaces",
                        index,
                        "addresses",
                        which
                    ];
                    networks.push((format!("the underlay of {}", node.name), address.network(), at.to_vec()));
                }
            }
        }
        if let Some(endpoint) = node.underlay.endpoint {
            let width = if matches!(endpoint.address(), IpAddr::V4(_)) { 32 } else { 128 };
            let at = path!["spec", "nodes", "inventory", at, "underlay", "endpoint"];
            networks.extend(
                Cidr::around(endpoint.address(), width)
                    .map(|cidr| (format!("the endpoint of {}", node.name), cidr, at.to_vec())),
            );
        }
    }
    for (index, (name, cidr, at)) in networks.iter().enumerate() {
        for (other, taken, _) in networks.iter().take(index.min(fixed)) {
            if cidr.overlaps(taken) {
                f.at(
                    at,
                    format!("the addresses of {name} ({cidr}) and of {other} ({taken}) overlap"),
                    "give each network addresses of its own",
                );
            }
        }
    }
}
