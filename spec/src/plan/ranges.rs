//! Numbers that are computed from the spec alone: address ranges, ports, MTUs, and the number of ids that fit.

use crate::model::{KubernetesSpec, PlaneSpec, Spec};
use kubedos_wire::node::PlanePurpose;
use kubedos_wire::value::Cidr;

/// The ranges of members and births; `None` if the plane is too small to be divided into halves.
pub fn of(plane: &PlaneSpec) -> Option<(Cidr, Cidr)> {
    match (plane.members, plane.births) {
        (Some(members), Some(births)) => Some((members, births)),
        (members, births) => {
            let (lower, upper) = plane.cidr.halves().filter(|(lower, _)| lower.size() >= 4)?;
            Some((members.unwrap_or(lower), births.unwrap_or(upper)))
        }
    }
}

/// The number of ids that a range has addresses for: all addresses except the first and the last.
pub fn capacity(range: &Cidr) -> u128 {
    range.size().saturating_sub(2)
}

/// A plane's UDP port: as declared, or the default of its purpose.
pub const fn port(plane: &PlaneSpec) -> u16 {
    match (plane.port, plane.purpose) {
        (Some(port), _) => port,
        (None, PlanePurpose::Control) => 51820,
        (None, PlanePurpose::Observability) => 51821,
        (None, PlanePurpose::KubernetesBackend) => 51822,
    }
}

/// The name of a purpose in the spec.
pub const fn purpose_name(purpose: PlanePurpose) -> &'static str {
    match purpose {
        PlanePurpose::Control => "control",
        PlanePurpose::Observability => "observability",
        PlanePurpose::KubernetesBackend => "kubernetes-backend",
    }
}

/// The overhead of WireGuard for each packet, in bytes: the outer IP header (20 or 40), the UDP header (8), the WireGuard header (16)
/// and the authentication tag (16).
const OVER_IPV4: u16 = 60;
const OVER_IPV6: u16 = 80;

/// The largest MTU that a plane may have on this underlay.
pub fn largest_mtu(spec: &Spec) -> u16 {
    let mut endpoints = spec.nodes.inventory.iter().filter_map(|node| node.underlay.endpoint());
    let v6 = endpoints.any(|endpoint| endpoint.address().is_ipv6());
    spec.networking.underlay.mtu.saturating_sub(if v6 { OVER_IPV6 } else { OVER_IPV4 })
}

/// The MTU of a plane: as declared, or the largest multiple of 16 that fits.
pub fn mtu(spec: &Spec, plane: &PlaneSpec) -> u16 {
    let most = largest_mtu(spec);
    plane.mtu.unwrap_or(most - most % 16)
}

/// The addresses of pods and of services.
pub fn kubernetes(kubernetes: &KubernetesSpec) -> (Cidr, Cidr) {
    (kubernetes.pod_cidr.unwrap_or(Cidr::PODS), kubernetes.service_cidr.unwrap_or(Cidr::SERVICES))
}

/// The number of ids that `podCidr` has subnets for. Subnet 0 is not used, so that the number of a subnet is the node's id.
pub fn pod_capacity(spec: &KubernetesSpec) -> u128 {
    let (pods, _) = kubernetes(spec);
    let bits = u32::from(spec.node_pod_prefix).checked_sub(u32::from(pods.prefix()));
    bits.map_or(0, |bits| (1_u128 << bits) - 1)
}
