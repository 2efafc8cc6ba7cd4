//! The configuration of chronyd: a pure function of the node's role and addresses.
//!
//! chronyd is an instrument here. It measures the clock of every other control plane (`noselect`), never selects a source,
//! and never sets the clock (`-x` in its unit). A control plane also answers with its own clock (`local`). Both happen on the
//! device of the plane with the purpose `control` only, and no command is accepted over UDP.
//!
//! Not here: who may reach UDP port 123, which the firewall decides. The directives are those of chrony.conf(5), 4.6.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kubedos_wire::firewall::TIME_PORT;
use kubedos_wire::node::{ClusterDocument, PlanePurpose, Role, Shard};
use kubedos_wire::value::{Cidr, PlaneId};

/// chronyd's socket for commands. Its folder belongs to chronyd's user.
pub const SOCKET: &str = "/run/chrony/chronyd.sock";

/// What chronyd has to do on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// The node's role: control planes answer.
    pub role: Role,
    /// The plane with the purpose `control`, which is also the name of its device.
    pub plane: PlaneId,
    /// All addresses of the plane.
    pub cidr: Cidr,
    /// The node's address on the plane.
    pub address: IpAddr,
    /// The number of every other control plane, by its address on the plane.
    pub sources: BTreeMap<IpAddr, u32>,
}

impl Time {
    /// The facts from the node's documents; `None` if they have no plane with the purpose `control`.
    pub fn new(shard: &Shard, cluster: &ClusterDocument) -> Option<Self> {
        let (id, plane) = cluster.planes.iter().find(|(_, plane)| plane.purpose == PlanePurpose::Control)?;
        let others = cluster.control_planes.iter().filter(|other| other.node != shard.node);
        let sources = others.filter_map(|other| Some((*other.members.get(id)?, other.id.get()))).collect();
        let address = shard.planes.get(id)?.member;
        Some(Self { role: shard.role, plane: id.clone(), cidr: plane.cidr, address, sources })
    }

    /// The name of the unit.
    pub const fn unit(&self) -> &'static str {
        match self.role {
            Role::ControlPlane => "kubedos-time@control-plane.service",
            Role::Worker => "kubedos-time@worker.service",
        }
    }

    /// The file. `device` is the kernel's number of the plane's device: sockets are bound to the number, so a device that was
    /// created again needs a restart of chronyd, and a comment with the number makes the file differ.
    pub fn render(&self, device: u32) -> String {
        let Self { plane, address, .. } = self;
        let mut text = format!(
            "# The agent writes this file and restarts chronyd when it differs.\n\
             # The device {plane} has the number {device}.\n\
             cmdport 0\n\
             bindcmdaddress {SOCKET}\n\
             bindacqaddress {address}\n\
             bindacqdevice {plane}\n"
        );
        for source in self.sources.keys() {
            text.push_str(&format!("server {source} iburst minpoll 4 maxpoll 6 noselect\n"));
        }
        text.push_str(&match self.role {
            Role::ControlPlane => format!(
                "port {TIME_PORT}\n\
                 bindaddress {address}\n\
                 binddevice {plane}\n\
                 allow {}\n\
                 ratelimit interval 3 burst 16\n\
                 local stratum 10\n",
                self.cidr
            ),
            Role::Worker => "port 0\n".to_owned(),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(role: Role, sources: &[u8]) -> Time {
        let address = |last: u8| IpAddr::from([10, 101, 0, last]);
        Time {
            role,
            plane: "wg1".parse().unwrap(),
            cidr: "10.101.0.0/16".parse().unwrap(),
            address: address(1),
            sources: sources.iter().map(|last| (address(*last), u32::from(*last))).collect(),
        }
    }

    #[test]
    fn the_configuration_of_a_control_plane() {
        assert_eq!(
            time(Role::ControlPlane, &[2, 3]).render(7),
            "# The agent writes this file and restarts chronyd when it differs.\n\
             # The device wg1 has the number 7.\n\
             cmdport 0\n\
             bindcmdaddress /run/chrony/chronyd.sock\n\
             bindacqaddress 10.101.0.1\n\
             bindacqdevice wg1\n\
             server 10.101.0.2 iburst minpoll 4 maxpoll 6 noselect\n\
             server 10.101.0.3 iburst minpoll 4 maxpoll 6 noselect\n\
             port 123\n\
             bindaddress 10.101.0.1\n\
             binddevice wg1\n\
             allow 10.101.0.0/16\n\
             ratelimit interval 3 burst 16\n\
             local stratum 10\n"
        );
    }

    #[test]
    fn the_configuration_of_a_worker() {
        assert_eq!(
            time(Role::Worker, &[9]).render(7),
            "# The agent writes this file and restarts chronyd when it differs.\n\
             # The device wg1 has the number 7.\n\
             cmdport 0\n\
             bindcmdaddress /run/chrony/chronyd.sock\n\
             bindacqaddress 10.101.0.1\n\
             bindacqdevice wg1\n\
             server 10.101.0.9 iburst minpoll 4 maxpoll 6 noselect\n\
             port 0\n"
        );
    }

    proptest! {
        /// On every node, chronyd has no way to set the clock by its sources, no command port, and no socket outside the
        /// plane; only control planes have a port.
        #[test]
        fn chronyd_only_measures_and_only_on_its_plane(
            is_control_plane in any::<bool>(),
            sources in proptest::collection::btree_set(2u8.., 0..8),
            device in any::<u32>(),
        ) {
            let role = if is_control_plane { Role::ControlPlane } else { Role::Worker };
            let sources: Vec<u8> = sources.into_iter().collect();
            let text = time(role, &sources).render(device);
            let lines: Vec<&str> = text.lines().collect();
            let servers: Vec<&&str> = lines.iter().filter(|line| line.starts_with("server ")).collect();
            prop_assert_eq!(servers.len(), sources.len());
            prop_assert!(servers.iter().all(|line| line.ends_with(" noselect")));
            for word in ["makestep", "peer ", "pool ", "refclock", "rtcsync", "manual", "cmdallow", "sourcedir", "include"] {
                prop_assert!(!lines.iter().any(|line| line.starts_with(word)), "{word}");
            }
            for line in ["cmdport 0", "bindacqdevice wg1", "bindacqaddress 10.101.0.1"] {
                prop_assert_eq!(lines.iter().filter(|found| **found == line).count(), 1);
            }
            let serves = lines.contains(&"port 123");
            prop_assert_eq!(serves, is_control_plane);
            prop_assert_eq!(lines.contains(&"port 0"), !is_control_plane);
            prop_assert_eq!(lines.contains(&"binddevice wg1") && lines.contains(&"bindaddress 10.101.0.1"), serves);
            prop_assert_eq!(lines.iter().filter(|line| line.starts_with("allow")).count(), usize::from(serves));
        }
    }
}
