//! Clusters as the tests know them, and their documents as the library knows them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kubedos_wire::firewall::{Listener, Ruleset};
use kubedos_wire::node::{
    Peers, Plane, PlanePurpose, Policy, PolicyAllow, Role, Shard, ShardPlane, Underlay,
};
use kubedos_wire::value::{PlaneId, PortRange};
use proptest::prelude::*;

use crate::draw::{self, Draw};

/// First and last address of a range, as numbers.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub v4: bool,
    pub first: u128,
    pub last: u128,
}

impl Range {
    /// The part of `count` equal parts with this index; `count` is a power of two.
    fn part(&self, count: u128, index: u128) -> Self {
        let size = (self.last - self.first + 1) / count;
        let first = self.first + size * index;
        Self { v4: self.v4, first, last: first + size - 1 }
    }

    pub fn has(&self, address: IpAddr) -> bool {
        let number = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        address.is_ipv4() == self.v4 && (self.first..=self.last).contains(&number)
    }

    pub fn address(&self, number: u128) -> IpAddr {
        if self.v4 {
            Ipv4Addr::from(u32::try_from(number).unwrap()).into()
        } else {
            Ipv6Addr::from(number).into()
        }
    }

    fn cidr<T: std::str::FromStr<Err: std::fmt::Debug>>(&self) -> T {
        let size = self.last - self.first + 1;
        let width = if self.v4 { 32 } else { 128 };
        format!("{}/{}", self.address(self.first), width - size.ilog2()).parse().unwrap()
    }
}

#[derive(Debug, Clone)]
pub struct TestPlane {
    pub name: &'static str,
    pub purpose: PlanePurpose,
    pub all: Range,
    pub members: Range,
    pub births: Range,
    pub member: IpAddr,
    pub birth: IpAddr,
    pub port: u16,
}

impl TestPlane {
    pub fn owns(&self, address: IpAddr) -> bool {
        address == self.member || address == self.birth
    }
}

#[derive(Debug, Clone)]
pub struct TestAllow {
    pub from: usize,
    pub to: usize,
    pub ports: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Cluster {
    pub role: Role,
    pub planes: Vec<TestPlane>,
    pub allow: Vec<TestAllow>,
    pub dhcpv4: bool,
    pub dhcpv6: bool,
    pub interfaces: &'static str,
    pub listeners: Vec<Listener>,
}

const PORTS: [&str; 10] = [
    "6443/tcp",
    "2379-2380/tcp",
    "2380-2390/tcp",
    "2391/tcp",
    "2393/tcp",
    "1/tcp",
    "65535/tcp",
    "53/udp",
    "9000-9001/udp",
    "1-65535/udp",
];

/// Interfaces of a shard, and whether they use DHCP for IPv4 and IPv6.
const INTERFACES: [(&str, bool, bool); 7] = [
    ("", true, false),
    ("[[interfaces]]\nname = \"uplink\"\naddresses = [\"192.0.2.11/24\"]", false, false),
    ("[[interfaces]]\nname = \"uplink\"", true, false),
    ("[[interfaces]]\nname = \"uplink\"\ndhcp = \"ipv6\"", false, true),
    ("[[interfaces]]\nname = \"uplink\"\ndhcp = \"both\"\naddresses = [\"192.0.2.11/24\"]", true, true),
    ("[[interfaces]]\nname = \"uplink\"\ndhcp = \"none\"", false, false),
    (
        "[[interfaces]]\nname = \"eth0\"\n[[interfaces]]\nname = \"bond0\"\naddresses = [\"192.0.2.11/24\"]\nbond = { mode = \"802.3ad\", links = [\"eth0\"] }",
        false,
        false,
    ),
];

fn listener(name: &'static str, purpose: PlanePurpose, role: Option<Role>, ports: &str) -> Listener {
    Listener { name, purpose, role, ports: ports.parse().unwrap() }
}

fn listeners() -> Vec<Listener> {
    vec![
        listener("api", PlanePurpose::Control, Some(Role::ControlPlane), "7443-7444/tcp"),
        listener("metrics", PlanePurpose::Observability, None, "9100/tcp"),
        listener("kubelet", PlanePurpose::KubernetesBackend, Some(Role::Worker), "10250/tcp"),
        listener("resolver", PlanePurpose::KubernetesBackend, None, "53/udp"),
    ]
}

fn plane(draw: &mut Draw, index: usize, v4: bool) -> TestPlane {
    let (name, purpose) = [
        ("wg1", PlanePurpose::Control),
        ("observe-2", PlanePurpose::Observability),
        ("k", PlanePurpose::KubernetesBackend),
    ][index];
    let first = if v4 {
        u128::from(u32::from(Ipv4Addr::new(10, 101 + u8::try_from(index).unwrap(), 0, 0)))
    } else {
        u128::from(Ipv6Addr::new(0xfd00, 0, 0, u16::try_from(index).unwrap(), 0, 0, 0, 0))
    };
    // The planes of one family follow each other without a gap if all of them are large.
    let size = draw.pick(&[1_u128 << 16, 1 << 8, 1 << 4]);
    let all = Range { v4, first, last: first + size - 1 };
    let (members, births) = match draw.below(3) {
        0 => (all.part(2, 0), all.part(2, 1)),
        1 => (all.part(4, 1), all.part(4, 2)),
        _ => (all.part(4, 3), all.part(4, 0)),
    };
    let id = draw.pick(&[1_u128, 2]);
    let port = u16::try_from(51820 + index).unwrap();
    let (member, birth) = (all.address(members.first + id), all.address(births.first + id));
    TestPlane { name, purpose, all, members, births, member, birth, port }
}

fn cluster(draw: &mut Draw) -> Cluster {
    let role = draw.pick(&[Role::ControlPlane, Role::Worker]);
    let family = draw.below(4);
    let planes: Vec<TestPlane> = (0..3)
        .map(|index| {
            let v4 = match family {
                0 | 1 => true,
                2 => false,
                _ => index > 0,
            };
            plane(draw, index, v4)
        })
        .collect();
    let mut allow = Vec::new();
    for _ in 0..draw.below(5) {
        let (from, to) = draw.pick(&[(0, 2), (1, 2), (2, 1), (2, 0), (0, 1), (1, 0)]);
        let ports = (0..1 + draw.below(4)).map(|_| draw.pick(&PORTS)).collect();
        if planes[from].all.v4 == planes[to].all.v4 {
            allow.push(TestAllow { from, to, ports });
        }
    }
    let (interfaces, dhcpv4, dhcpv6) = draw.pick(&INTERFACES);
    let listeners = listeners().into_iter().filter(|_| draw.one_in(2)).collect();
    Cluster { role, planes, allow, dhcpv4, dhcpv6, interfaces, listeners }
}

/// Any cluster.
pub fn clusters() -> impl Strategy<Value = Cluster> {
    draw::draws(40).prop_map(|mut draw| cluster(&mut draw))
}

/// Clusters whose tables have every kind of rule, in both families and roles.
pub fn covering() -> Vec<Cluster> {
    let both = |role: Role, v4: bool, layout: usize| {
        let mut numbers = Draw::of(&[1, layout, 0]);
        let planes = (0..3).map(|index| plane(&mut numbers, index, v4)).collect();
        let allow = vec![
            TestAllow { from: 0, to: 2, ports: vec!["6443/tcp", "2379-2380/tcp", "53/udp"] },
            TestAllow { from: 2, to: 1, ports: vec!["9000-9001/udp"] },
            TestAllow { from: 2, to: 0, ports: vec!["65535/tcp"] },
        ];
        let (interfaces, dhcpv4, dhcpv6) = INTERFACES[4];
        Cluster { role, planes, allow, dhcpv4, dhcpv6, interfaces, listeners: listeners() }
    };
    vec![both(Role::ControlPlane, true, 0), both(Role::Worker, true, 1), both(Role::ControlPlane, false, 2)]
}

impl Cluster {
    pub fn documents(&self) -> (Shard, BTreeMap<PlaneId, Plane>, Policy) {
        let mut shard = Shard::parse(include_str!("../golden/shard-v2.toml")).unwrap();
        let mut planes = BTreeMap::new();
        shard.role = self.role;
        shard.planes.clear();
        shard.underlay = toml::from_str::<Underlay>(&format!("mtu = 1500\n{}", self.interfaces)).unwrap();
        for p in &self.planes {
            let id: PlaneId = p.name.parse().unwrap();
            let (purpose, cidr, port, mtu) = (p.purpose, p.all.cidr(), p.port, 1440);
            let (members, births) = (p.members.cidr(), p.births.cidr());
            let (member, birth) = (p.member, p.birth);
            shard.planes.insert(id.clone(), ShardPlane { purpose, cidr, member, birth, port, mtu });
            let peers = Peers::Mesh;
            planes.insert(id, Plane { purpose, cidr, members, births, port, mtu, peers });
        }
        let allow = self.allow.iter().map(|allow| PolicyAllow {
            from: self.planes[allow.from].name.parse().unwrap(),
            to: self.planes[allow.to].name.parse().unwrap(),
            ports: allow.ports.iter().map(|ports| ports.parse::<PortRange>().unwrap()).collect(),
        });
        (shard, planes, Policy { allow: allow.collect() })
    }

    pub fn ruleset(&self) -> Ruleset {
        let (shard, planes, policy) = self.documents();
        Ruleset::new(&shard, &planes, &policy, &self.listeners).unwrap()
    }
}
