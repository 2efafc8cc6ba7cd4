//! The files of chronyd, as pure functions of the node's shard and `cluster.toml`: its configuration and a drop-in for its
//! unit.
//!
//! Control planes serve time on the control plane's WireGuard device, to members and births. All other nodes have no server
//! port. No node has a command port or a command socket. chronyd never steps the clock: it changes its rate, by at most
//! [`SLEW_PPM`]; the state machine decides about steps. All names are addresses, so chronyd asks no name server.
//!
//! Format: chrony.conf(5) of chrony 4.6, systemd.exec(5) and systemd.resource-control(5). `docs/clock.md` has the reasons.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use kubedos_wire::firewall::TIME_PORT;
use kubedos_wire::node::{ClusterDocument, PlanePurpose, Role, Shard};
use kubedos_wire::value::{Cidr, PlaneId};

use super::agreement::{TOLERANCE, majority};

/// The configuration file; the folder exists only in memory.
pub const CONFIGURATION: &str = "/run/kubedos/chrony.conf";

/// The unit of chronyd; only the agent starts it.
pub const UNIT: &str = "kubedos-chrony.service";

/// The drop-in of the unit. systemd reads it after a reload.
pub const DROP_IN: &str = "/run/systemd/system/kubedos-chrony.service.d/node.conf";

/// The largest change of the clock's rate, in parts per million: 43 seconds per day. The oscillators of computers are off
/// by less than 100.
pub const SLEW_PPM: u32 = 500;

/// The stratum of control planes that have no better source. It is above every stratum with real time.
const LOCAL_STRATUM: u8 = 10;

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChronyError {
    /// No plane of `cluster.toml` is the control plane.
    #[error("the cluster document has no plane for control")]
    NoPlane,
    /// The shard and `cluster.toml` have different planes.
    #[error("the shard has no addresses on the plane {0}")]
    NoAddress(PlaneId),
}

/// The facts that both files follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chrony {
    role: Role,
    device: PlaneId,
    /// The plane: all addresses that chronyd exchanges packets with.
    plane: Cidr,
    /// The address that a control plane serves time at.
    address: IpAddr,
    /// The clients of a control plane.
    clients: [Cidr; 2],
    /// The control planes that this node measures, in the order of their numbers.
    servers: Vec<IpAddr>,
    /// The number of all control planes.
    control_planes: usize,
}

impl Chrony {
    /// The facts of one node.
    pub fn new(shard: &Shard, cluster: &ClusterDocument) -> Result<Self, ChronyError> {
        let (id, plane) = cluster
            .planes
            .iter()
            .find(|(_, plane)| plane.purpose == PlanePurpose::Control)
            .ok_or(ChronyError::NoPlane)?;
        let own = shard.planes.get(id).ok_or_else(|| ChronyError::NoAddress(id.clone()))?;
        let mut others: Vec<_> =
            cluster.control_planes.iter().filter(|other| other.node != shard.node).collect();
        others.sort_by_key(|other| other.id);
        Ok(Self {
            role: shard.role,
            device: id.clone(),
            plane: plane.cidr,
            address: own.member,
            clients: [plane.members, plane.births],
            servers: others.iter().filter_map(|other| other.members.get(id).copied()).collect(),
            control_planes: cluster.control_planes.len(),
        })
    }

    /// The text of [`CONFIGURATION`].
    pub fn configuration(&self) -> impl Display {
        Configuration(self.clone())
    }

    /// The text of [`DROP_IN`]: the addresses that the unit may exchange packets with, and on a control plane the
    /// capability to bind to the port of time.
    pub fn drop_in(&self) -> String {
        let bind = match self.role {
            Role::ControlPlane => {
                "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
            }
            Role::Worker => "",
        };
        format!("# Written by the agent.\n[Service]\nIPAddressAllow={}\n{bind}", self.plane)
    }
}

struct Configuration(Chrony);

impl Display for Configuration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(chrony) = self;
        writeln!(f, "# Written by the agent; docs/clock.md explains each directive.")?;
        for server in &chrony.servers {
            writeln!(f, "server {server} iburst minpoll 4 maxpoll 6")?;
        }
        writeln!(f, "bindacqdevice {}", chrony.device)?;
        match chrony.role {
            Role::ControlPlane => {
                writeln!(f, "local stratum {LOCAL_STRATUM} orphan")?;
                writeln!(f, "port {TIME_PORT}")?;
                writeln!(f, "bindaddress {}", chrony.address)?;
                writeln!(f, "binddevice {}", chrony.device)?;
                for clients in &chrony.clients {
                    writeln!(f, "allow {clients}")?;
                }
                writeln!(f, "ratelimit")?;
            }
            Role::Worker => {
                writeln!(f, "minsources {}", majority(chrony.control_planes))?;
                writeln!(f, "port 0")?;
            }
        }
        writeln!(f, "maxchange {} 0 -1", TOLERANCE / 1000)?;
        writeln!(f, "maxslewrate {SLEW_PPM}")?;
        writeln!(f, "rtcsync")?;
        writeln!(f, "cmdport 0")?;
        writeln!(f, "bindcmdaddress /")?;
        writeln!(f, "pidfile /run/chrony/chronyd.pid")?;
        writeln!(f, "driftfile /run/chrony/drift")?;
        writeln!(f, "logdir /run/chrony")?;
        writeln!(f, "log measurements")?;
        writeln!(f, "logbanner 0")
    }
}

#[cfg(test)]
mod tests {
    use kubedos_wire::node::ControlPlane;
    use kubedos_wire::value::NodeId;

    use super::*;

    const CLUSTER: &str = include_str!("../../../../../../spec/wire/tests/golden/cluster-v1.toml");
    const SHARD: &str = include_str!("../../../../../../spec/wire/tests/golden/shard-v2.toml");

    /// The files of `cp-1` or of a worker in the golden cluster, with `count` control planes in descending order.
    fn chrony(role: Role, count: u32) -> Chrony {
        let mut cluster = ClusterDocument::parse(CLUSTER).unwrap();
        let first = cluster.control_planes[0].clone();
        let control_plane = |number: u32| ControlPlane {
            node: format!("cp-{number}").parse().unwrap(),
            id: NodeId::new(number).unwrap(),
            endpoint: None,
            members: first
                .members
                .keys()
                .map(|plane| (plane.clone(), format!("10.101.0.{number}").parse().unwrap()))
                .collect(),
        };
        cluster.control_planes = (1..=count).rev().map(control_plane).collect();
        let mut shard = Shard::parse(SHARD).unwrap();
        shard.role = role;
        shard.node = if role == Role::Worker { "w-1" } else { "cp-1" }.parse().unwrap();
        Chrony::new(&shard, &cluster).unwrap()
    }

    #[test]
    fn documents_without_a_control_plane_are_refused() {
        let mut cluster = ClusterDocument::parse(CLUSTER).unwrap();
        let mut shard = Shard::parse(SHARD).unwrap();
        let plane = cluster.planes.keys().next().unwrap().clone();
        shard.planes.clear();
        assert_eq!(Chrony::new(&shard, &cluster), Err(ChronyError::NoAddress(plane)));
        cluster.planes.clear();
        assert_eq!(Chrony::new(&shard, &cluster), Err(ChronyError::NoPlane));
    }

    #[test]
    fn the_files_of_a_control_plane() {
        let chrony = chrony(Role::ControlPlane, 3);
        let clients = chrony.clients;
        assert_eq!(
            chrony.configuration().to_string(),
            format!(
                "# Written by the agent; docs/clock.md explains each directive.
server 10.101.0.2 iburst minpoll 4 maxpoll 6
server 10.101.0.3 iburst minpoll 4 maxpoll 6
bindacqdevice wg1
local stratum 10 orphan
port 123
bindaddress {}
binddevice wg1
allow {}
allow {}
ratelimit
maxchange 600 0 -1
maxslewrate 500
rtcsync
cmdport 0
bindcmdaddress /
pidfile /run/chrony/chronyd.pid
driftfile /run/chrony/drift
logdir /run/chrony
log measurements
logbanner 0
",
                chrony.address, clients[0], clients[1]
            )
        );
        assert_eq!(
            chrony.drop_in(),
            format!(
                "# Written by the agent.\n[Service]\nIPAddressAllow={}\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n\
                 CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n",
                chrony.plane
            )
        );
    }

    /// A directive that opens a port, lets chronyd step the clock, or makes it trust another source, is never rendered for
    /// any role and number of control planes.
    #[test]
    fn no_node_has_a_command_port_a_step_or_a_foreign_source() {
        for count in 1..=5 {
            for role in [Role::ControlPlane, Role::Worker] {
                let chrony = chrony(role, count);
                let text = chrony.configuration().to_string();
                let directives: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
                for forbidden in [
                    "makestep",
                    "pool",
                    "peer",
                    "refclock",
                    "initstepslew",
                    "manual",
                    "cmdallow",
                    "include",
                    "confdir",
                    "sourcedir",
                    "broadcast",
                    "rtcfile",
                    "hwtimestamp",
                    "mailonchange",
                    "user",
                    "nts",
                    "ntsserverkey",
                ] {
                    assert!(!directives.contains(&forbidden), "{forbidden} in\n{text}");
                }
                for needed in
                    ["cmdport 0", "bindcmdaddress /", "bindacqdevice wg1", "rtcsync", "maxchange 600 0 -1"]
                {
                    assert!(text.lines().any(|line| line == needed), "no {needed} in\n{text}");
                }
                let serves =
                    directives.iter().any(|directive| ["allow", "local", "bindaddress"].contains(directive));
                assert_eq!(serves, role == Role::ControlPlane, "{text}");
                assert_eq!(text.contains("\nport 0\n"), role == Role::Worker, "{text}");
                assert_eq!(chrony.drop_in().contains("CAP_NET_BIND_SERVICE"), role == Role::ControlPlane);
                if role == Role::Worker {
                    let least = format!("minsources {}", majority(usize::try_from(count).unwrap()));
                    assert!(text.lines().any(|line| line == least), "no {least} in\n{text}");
                }
            }
        }
    }
}
