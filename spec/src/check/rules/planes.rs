//! Invariants of planes, of address ranges, and of the policy between planes.

use std::net::{IpAddr, Ipv4Addr};

use super::{Findings, Invariant, list, must, nodes, path, should};
use crate::check::counted;
use crate::model::{Peers, PlaneSpec, Spec};
use crate::plan::ranges;
use crate::yaml::Step;
use kubedos_wire::node::PlanePurpose;
use kubedos_wire::value::{Cidr, PlaneId, PortRange};

const PLANES: &str = "spec.networking.planes";
const ALLOW: &str = "spec.networking.policy.allow";
const INVENTORY: &str = "spec.nodes.inventory";
const INTERFACES: &str = "spec.nodes.inventory[].underlay";

pub(super) const RULES: &[Invariant] = &[
    must("plane-per-purpose", "Each purpose has exactly one plane.", &[PLANES], plane_per_purpose),
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
                            "planes are IPv4 in this version, for example: 10.101.0.0/24",
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
                        "pods and services are IPv4 in this version, for example: 10.244.0.0/16",
                    );
                }
            }
        },
    ),
    must(
        "network-usable",
        "Planes, pods and services have addresses that hosts can use; 0.0.0.0/8 and loopback, link-local, multicast and reserved addresses are refused.",
        &[PLANES, "spec.kubernetes.podCidr", "spec.kubernetes.serviceCidr"],
        network_usable,
    ),
    must(
        "plane-ranges",
        "The ranges of members and births are inside their plane and do not overlap.",
        &[PLANES],
        plane_ranges,
    ),
    must(
        "plane-capacity",
        "The ranges of members and births have an address for every node; the members' range of the control plane also has one for every operator.",
        &[PLANES, INVENTORY, "spec.security.operators"],
        plane_capacity,
    ),
    must(
        "networks-disjoint",
        "Planes, pods, services and the networks of the underlay do not overlap.",
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
            let by_default = s.networking.planes.get(*id).is_some_and(|plane| plane.port.is_none());
            if let Some((other, _)) = all.iter().take(at).find(|(_, taken)| taken == port) {
                let same_purpose = s.networking.planes.get(*id).map(|plane| plane.purpose)
                    == s.networking.planes.get(*other).map(|plane| plane.purpose);
                if by_default && same_purpose {
                    continue; // reported by plane-per-purpose
                }
                let help = "give each plane its own port, or omit it for the default of its purpose: 51820, 51821 or 51822";
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), "port"],
                    format!("the plane {other} already has port {port}"),
                    help,
                );
            }
        }
    }),
    must(
        "plane-mtu-fits",
        "A plane's MTU is below that of the underlay by at least the overhead of WireGuard: 60 bytes over IPv4, 80 over IPv6.",
        &[PLANES, "spec.networking.underlay", INTERFACES],
        |s, f| {
            let most = ranges::largest_mtu(s);
            for (id, mtu) in s.networking.planes.iter().filter_map(|(id, plane)| Some((id, plane.mtu?))) {
                if mtu > most {
                    f.at(
                        &path!["spec", "networking", "planes", id.as_str(), "mtu"],
                        format!(
                            "the underlay's MTU of {} allows at most {most} for a plane, not {mtu}",
                            s.networking.underlay.mtu
                        ),
                        format!("write {} or less, or omit it to have it computed", most - most % 16),
                    );
                }
            }
        },
    ),
    should(
        "plane-mtu-multiple",
        "A plane's MTU is a multiple of 16, because WireGuard pads packets to such multiples.",
        &[PLANES, "spec.networking.underlay", INTERFACES],
        |s, f| {
            let most = ranges::largest_mtu(s);
            for (id, mtu) in s.networking.planes.iter().filter_map(|(id, plane)| Some((id, plane.mtu?))) {
                if mtu <= most && mtu % 16 != 0 {
                    f.at(
                        &path!["spec", "networking", "planes", id.as_str(), "mtu"],
                        format!("{mtu} is not a multiple of 16: the last bytes of a full packet are padding"),
                        format!("write {}", mtu - mtu % 16),
                    );
                }
            }
        },
    ),
    must(
        "kubernetes-plane-mesh",
        "With Kubernetes, all members of the kubernetes-backend plane are peers of each other: pods are routed over it.",
        &[PLANES, "spec.kubernetes.enabled"],
        |s, f| {
            let hub = |plane: &PlaneSpec| {
                plane.purpose == PlanePurpose::KubernetesBackend && plane.peers != Peers::Mesh
            };
            for (id, _) in s.networking.planes.iter().filter(|(_, plane)| s.kubernetes.enabled && hub(plane))
            {
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), "peers"],
                    "workers are not peers of each other on this plane, so their pods cannot reach each other",
                    "write peers: mesh, or omit it",
                );
            }
        },
    ),
    must(
        "allow-known-planes",
        "The two planes of a policy are different, and both are declared.",
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
                            format!("declared: {known}"),
                        );
                    }
                }
                if allow.from == allow.to {
                    f.at(
                        &path!["spec", "networking", "policy", "allow", index, "to"],
                        format!("this allows {} to reach itself, which needs no entry", allow.to),
                        "remove the entry: traffic between members of one plane is not filtered",
                    );
                }
            }
        },
    ),
    must("allow-once", "No two policies allow the same port between the same planes.", &[ALLOW], |s, f| {
        // Sorted by planes, protocol and first port, overlapping ranges are adjacent, so the cost is that of sorting.
        let mut all: Vec<_> = (s.networking.policy.allow.iter().enumerate())
            .flat_map(|(index, a)| {
                a.ports.iter().enumerate().map(move |(at, ports)| (&a.from, &a.to, ports, (index, at)))
            })
            .collect();
        all.sort_by_key(|(from, to, ports, place)| (*from, *to, ports.protocol, ports.first, *place));
        let mut widest: Option<(&PlaneId, &PlaneId, &PortRange, (usize, usize))> = None;
        for one @ (from, to, ports, place) in all {
            let Some(other) = widest.filter(|w| (w.0, w.1, w.2.protocol) == (from, to, ports.protocol))
            else {
                widest = Some(one);
                continue;
            };
            if ports.first <= other.2.last {
                let path = |(index, at): (usize, usize)| {
                    path!["spec", "networking", "policy", "allow", index, "ports", at]
                };
                let ((later, what), first) =
                    if place > other.3 { ((place, other.2), other.3) } else { ((other.3, ports), place) };
                let message = format!("{what} from {from} to {to} is already allowed");
                f.again(&path(later), &path(first), message, "remove one of the two");
            }
            if ports.last > other.2.last {
                widest = Some(one);
            }
        }
    }),
];

fn plane_ranges(s: &Spec, f: &mut Findings<'_>) {
    for (id, plane) in s.networking.planes.iter().filter(|(_, plane)| plane.cidr.is_ipv4()) {
        let Some((members, births)) = ranges::of(plane) else {
            f.at(
                &path!["spec", "networking", "planes", id.as_str(), "cidr"],
                "this range is too small to be divided into members and births",
                "a plane has at least 8 addresses, for example: 10.101.0.0/24",
            );
            continue;
        };
        for (key, range) in [("members", members), ("births", births)] {
            if !plane.cidr.covers(&range) {
                f.at(
                    &path!["spec", "networking", "planes", id.as_str(), key],
                    format!("{range} is not inside {}", plane.cidr),
                    "members and births are parts of the plane's cidr",
                );
            }
        }
        if members.overlaps(&births) {
            let key = if plane.births.is_some() { "births" } else { "members" };
            f.at(
                &path!["spec", "networking", "planes", id.as_str(), key],
                format!("members ({members}) and births ({births}) share addresses"),
                "give two separate ranges, or omit both: then the lower half is for members and the upper half for births",
            );
        }
    }
}

fn plane_capacity(s: &Spec, f: &mut Findings<'_>) {
    let count = s.nodes.inventory.len() as u128;
    let mut least: Option<(u128, &PlaneId)> = None;
    for (id, plane) in s.networking.planes.iter().filter(|(_, plane)| plane.cidr.is_ipv4()) {
        let Some((members, births)) = ranges::of(plane) else { continue };
        let control = plane.purpose == PlanePurpose::Control;
        let operators = if control { s.security.operators.len() as u128 } else { 0 };
        let room = ranges::capacity(&members).saturating_sub(operators).min(ranges::capacity(&births));
        let sizes = [("members", members, operators, plane.members), ("births", births, 0, plane.births)];
        let short = sizes.into_iter().find(|(_, range, more, _)| count + more > ranges::capacity(range));
        if let Some((key, range, more, declared)) = short {
            let of = if more > 0 {
                format!("{count} nodes and {}", counted(more as usize, "operator"))
            } else {
                format!("{count} nodes")
            };
            f.at(
                &path![
                    "spec",
                    "networking",
                    "planes",
                    id.as_str(),
                    if declared.is_some() { key } else { "cidr" }
                ],
                format!("{range} has addresses for {} {key}, but there are {of}", ranges::capacity(&range)),
                "give the plane a shorter prefix: half of it is for members, half for births",
            );
        } else if least.is_none_or(|(other, _)| room < other) {
            least = Some((room, id));
        }
    }
    let Some((room, plane)) = least else { return };
    for (index, id) in nodes(s).filter_map(|(index, node)| Some((index, node.id?))) {
        if u128::from(id.get()) > room {
            f.at(
                &path!["spec", "nodes", "inventory", index, "id"],
                format!("the plane {plane} has addresses for ids up to {room}, but this id is {id}"),
                "give the node a lower id, or the plane a shorter prefix",
            );
        }
    }
}

fn plane_per_purpose(s: &Spec, f: &mut Findings<'_>) {
    let planes = &s.networking.planes;
    let all = [PlanePurpose::Control, PlanePurpose::Observability, PlanePurpose::KubernetesBackend];
    let absent = all.into_iter().filter(|purpose| planes.values().all(|plane| plane.purpose != *purpose));
    let absent: Vec<_> = absent.map(ranges::purpose_name).collect();
    let mut taken = std::collections::HashMap::new();
    let mut doubled = false;
    for (id, plane) in planes {
        let Some(first) = taken.insert(plane.purpose, id) else { continue };
        doubled = true;
        let help = match absent.as_slice() {
            [] => "each purpose has exactly one plane; remove one of the two".to_owned(),
            absent => format!("no plane has the purpose {}", absent.join(" or ")),
        };
        f.at(
            &path!["spec", "networking", "planes", id.as_str(), "purpose"],
            format!("the plane {first} already has the purpose {}", ranges::purpose_name(plane.purpose)),
            help,
        );
    }
    if let (false, Some(first)) = (doubled, absent.first()) {
        f.at(
            &path!["spec", "networking", "planes"],
            format!("no plane has the purpose {}", absent.join(" or ")),
            format!("for example: wg9: {{ cidr: 10.109.0.0/24, purpose: {first} }}"),
        );
    }
}

/// The ranges in IANA's registry of special-purpose addresses (RFC 6890) that hosts cannot use: first and last address.
const UNUSABLE: [(Ipv4Addr, Ipv4Addr, &str); 4] = [
    (Ipv4Addr::new(0, 0, 0, 0), Ipv4Addr::new(0, 255, 255, 255), "\"this host\" addresses (0.0.0.0/8)"),
    (Ipv4Addr::new(127, 0, 0, 0), Ipv4Addr::new(127, 255, 255, 255), "loopback addresses (127.0.0.0/8)"),
    (
        Ipv4Addr::new(169, 254, 0, 0),
        Ipv4Addr::new(169, 254, 255, 255),
        "link-local addresses (169.254.0.0/16)",
    ),
    (
        Ipv4Addr::new(224, 0, 0, 0),
        Ipv4Addr::new(255, 255, 255, 255),
        "multicast and reserved addresses (224.0.0.0/3)",
    ),
];

fn unusable(cidr: &Cidr) -> Option<&'static str> {
    let meets = |(first, last, _): &&(Ipv4Addr, Ipv4Addr, &str)| {
        cidr.is_ipv4() && cidr.network() <= IpAddr::V4(*last) && cidr.last() >= IpAddr::V4(*first)
    };
    UNUSABLE.iter().find(meets).map(|(_, _, what)| *what)
}

fn network_usable(s: &Spec, f: &mut Findings<'_>) {
    let planes = s.networking.planes.iter().map(|(id, plane)| {
        (path!["spec", "networking", "planes", id.as_str(), "cidr"].to_vec(), Some(plane.cidr))
    });
    let kubernetes = [("podCidr", s.kubernetes.pod_cidr), ("serviceCidr", s.kubernetes.service_cidr)];
    let kubernetes = kubernetes.map(|(key, cidr)| (path!["spec", "kubernetes", key].to_vec(), cidr));
    for (at, cidr) in planes.chain(kubernetes) {
        let Some((cidr, what)) = cidr.and_then(|cidr| Some((cidr, unusable(&cidr)?))) else { continue };
        let help = "private addresses are in 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16";
        f.at(&at, format!("{cidr} contains {what}"), help);
    }
}

/// A network with its name and its path in the spec.
struct Network {
    cidr: Cidr,
    name: String,
    at: Vec<Step>,
}

/// The platform's own networks, which must not overlap each other or any other network.
fn own_networks(s: &Spec) -> Vec<Network> {
    let mut own: Vec<Network> = (s.networking.planes.iter())
        .map(|(id, plane)| Network {
            cidr: plane.cidr,
            name: format!("the plane {id}"),
            at: path!["spec", "networking", "planes", id.as_str(), "cidr"].to_vec(),
        })
        .collect();
    if s.kubernetes.enabled {
        let (pods, services) = ranges::kubernetes(&s.kubernetes);
        for (name, key, cidr) in [("the pods", "podCidr", pods), ("the services", "serviceCidr", services)] {
            own.push(Network { cidr, name: name.into(), at: path!["spec", "kubernetes", key].to_vec() });
        }
    }
    own.retain(|network| unusable(&network.cidr).is_none());
    own
}

/// Each network is compared only with the platform's few own networks, so this is linear in the nodes.
fn networks_disjoint(s: &Spec, f: &mut Findings<'_>) {
    let own = own_networks(s);
    let mut check = |cidr: Cidr, name: &str, at: &dyn Fn() -> Vec<Step>, others: &[Network]| {
        let met: Vec<_> = others.iter().filter(|other| cidr.overlaps(&other.cidr)).collect();
        if !met.is_empty() {
            let others = list(met.iter().map(|other| format!("{} ({})", other.name, other.cidr)));
            let message = format!("{name} ({cidr}) and {others} share addresses");
            f.at(&at(), message, "give each network its own addresses");
        }
    };
    for (index, network) in own.iter().enumerate() {
        check(network.cidr, &network.name, &|| network.at.clone(), own.get(..index).unwrap_or_default());
    }
    let mut seen = std::collections::HashSet::new();
    for (node, spec) in nodes(s) {
        for (index, interface) in spec.underlay.interfaces.iter().enumerate() {
            for (which, address) in interface.addresses.iter().enumerate() {
                if seen.insert(address.network()) {
                    let at = || {
                        let interface =
                            path!["spec", "nodes", "inventory", node, "underlay", "interfaces", index];
                        [&interface[..], &path!["addresses", which]].concat()
                    };
                    check(address.network(), &format!("the underlay of {}", spec.name), &at, &own);
                }
            }
        }
        let endpoint = spec.underlay.endpoint.map(|endpoint| endpoint.address());
        let single =
            endpoint.and_then(|address| Cidr::around(address, if address.is_ipv4() { 32 } else { 128 }));
        if let Some(cidr) = single {
            let at = || path!["spec", "nodes", "inventory", node, "underlay", "endpoint"].to_vec();
            check(cidr, &format!("the endpoint of {}", spec.name), &at, &own);
        }
    }
}
