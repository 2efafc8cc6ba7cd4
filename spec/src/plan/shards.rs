//! The content of the configuration volume: one shard for each node, and one document for all nodes; and what the
//! nodes compute from them: firewalls, and files for their underlays.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::{ClusterPlan, PlannedNode, ranges};
use crate::model::{DiskSpec, NodeSpec};
use kubedos_wire::firewall::{FirewallError, LISTENERS, Ruleset};
use kubedos_wire::node::{
    self, ClusterDocument, ControlPlane, Disk, Kubernetes, Limits, Policy, PublicTrust, Shard,
    ShardKubernetes, ShardPlane, Underlay,
};
use kubedos_wire::underlay::{self, Files, UnderlayError};
use kubedos_wire::value::{NodeName, PlaneId};

/// The zone label, one of the well-known labels of Kubernetes.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The files for the underlay of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnderlayDocument {
    /// The node.
    pub node: NodeName,
    /// The generation of the configuration.
    pub generation: u64,
    /// The texts of the files, by their names in `/run/systemd/network`.
    pub files: Files,
}

impl Display for UnderlayDocument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# the underlay of {}, generation {}", self.node, self.generation)?;
        self.files.iter().try_for_each(|(name, text)| write!(f, "\n### {name}\n{text}"))
    }
}

impl ClusterPlan {
    /// The shards, in the order of the nodes' ids; each is computed on request.
    pub fn shards(&self) -> impl Iterator<Item = (NodeName, Shard)> {
        self.nodes().iter().filter_map(|node| Some((node.name.clone(), self.shard(node)?)))
    }

    /// The shard of one node.
    pub fn shard(&self, planned: &PlannedNode) -> Option<Shard> {
        let node = self.node_spec(planned)?;
        let planes = self.planes().iter().filter_map(|(name, plane)| {
            let (member, birth) = (plane.member(planned.id)?, plane.birth(planned.id)?);
            let (purpose, cidr, port, mtu) = (plane.purpose, plane.cidr, plane.port, plane.mtu);
            Some((name.clone(), ShardPlane { purpose, cidr, member, birth, port, mtu }))
        });
        let zone = node.domain.iter().map(|domain| (ZONE.to_owned(), domain.to_string()));
        let labels: BTreeMap<String, String> = zone.collect();
        Some(Shard {
            version: node::SHARD_VERSION,
            cluster: self.spec().metadata.name.clone(),
            generation: self.spec().metadata.generation,
            node: planned.name.clone(),
            incarnation: node.incarnation,
            id: planned.id,
            role: planned.role,
            hostname: planned.name.clone(),
            domain: node.domain.clone(),
            substrate: self.spec().spec.substrate.kind,
            allow_destroy: node.allow_destroy.clone(),
            disks: disks(node),
            underlay: self.underlay(planned, node),
            planes: planes.collect(),
            kubernetes: planned.pod_cidr.map(|pod_cidr| ShardKubernetes { pod_cidr, labels }),
        })
    }

    fn underlay(&self, planned: &PlannedNode, node: &NodeSpec) -> Underlay {
        let all = &self.spec().spec.networking.underlay;
        Underlay {
            mtu: all.mtu,
            endpoint: planned.endpoint,
            nameservers: all.nameservers.iter().map(|server| server.address()).collect(),
            interfaces: node.underlay.interfaces.clone(),
        }
    }

    fn wire_planes(&self) -> BTreeMap<PlaneId, node::Plane> {
        let planes = self.planes().iter().map(|(name, p)| {
            let (purpose, cidr, members, births) = (p.purpose, p.cidr, p.members, p.births);
            let (port, mtu, peers) = (p.port, p.mtu, p.peers);
            (name.clone(), node::Plane { purpose, cidr, members, births, port, mtu, peers })
        });
        planes.collect()
    }

    /// The firewalls of nodes, from the documents that the nodes read. A valid spec has them, unless a plane has the name
    /// of another device.
    pub fn firewalls<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n PlannedNode>,
    ) -> Result<Vec<Ruleset>, FirewallError> {
        let (planes, policy) = (self.wire_planes(), Policy { allow: self.policy() });
        let shards = nodes.into_iter().filter_map(|node| self.shard(node));
        shards.map(|shard| Ruleset::new(&shard, &planes, &policy, LISTENERS)).collect()
    }

    /// The files for the underlays of nodes, from the shards that the nodes read. A valid spec has them.
    pub fn underlays<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n PlannedNode>,
    ) -> Result<Vec<UnderlayDocument>, UnderlayError> {
        let shards = nodes.into_iter().filter_map(|node| self.shard(node));
        shards
            .map(|shard| {
                let files = underlay::render(&shard.underlay)?;
                Ok(UnderlayDocument { node: shard.node, generation: shard.generation, files })
            })
            .collect()
    }

    /// The document that every node reads, with the public part of the keys.
    pub fn cluster_document(&self, trust: &PublicTrust) -> ClusterDocument {
        let (metadata, spec) = (&self.spec().metadata, &self.spec().spec);
        let kubernetes =
            spec.kubernetes.version.as_ref().filter(|_| spec.kubernetes.enabled).map(|version| {
                let (pod_cidr, service_cidr) = ranges::kubernetes(&spec.kubernetes);
                Kubernetes { version: version.clone(), pod_cidr, service_cidr }
            });
        let control_planes = self.control_planes().map(|node| ControlPlane {
            node: node.name.clone(),
            id: node.id,
            endpoint: node.endpoint,
            members: self
                .planes()
                .iter()
                .filter_map(|(n, p)| Some((n.clone(), p.member(node.id)?)))
                .collect(),
        });
        ClusterDocument {
            version: node::CLUSTER_VERSION,
            name: metadata.name.clone(),
            cluster_id: trust.cluster_id,
            generation: metadata.generation,
            artifact_version: metadata.artifact_version.clone(),
            seed_keys: trust.seed_keys.clone(),
            demo_keys: trust.demo_keys,
            nodes: u32::try_from(self.nodes().len()).unwrap_or(u32::MAX),
            limits: Limits {
                max_offline_hours: spec.lifecycle.max_offline_hours,
                clock_span_days: spec.lifecycle.clock.span_days,
                voucher_minutes: spec.security.bootstrap.voucher_minutes,
            },
            kubernetes,
            policy: Policy { allow: self.policy() },
            planes: self.wire_planes(),
            control_planes: control_planes.collect(),
            operators: spec.security.operators.clone(),
        }
    }
}

fn disks(node: &NodeSpec) -> Vec<Disk> {
    let disk = |(index, disk): (usize, &DiskSpec)| {
        Some(Disk {
            name: disk.name_at(index)?,
            purpose: disk.purpose_at(index),
            size_gib: disk.size_gib,
            rule: disk.rule.clone(),
        })
    };
    node.disks.iter().enumerate().filter_map(disk).collect()
}
