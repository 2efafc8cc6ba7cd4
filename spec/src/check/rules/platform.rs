//! Invariants of Kubernetes, storage, lifecycle and acceptance, and of their dependencies on other sections.

use std::collections::HashSet;

use super::{Findings, Invariant, control_planes, list, must, nodes, path, repeated, should, workers};
use crate::check::counted;
use crate::model::{Ceph, CephDomain, DrillName, Etcd, PoolType, Spec, UpgradeStrategy};
use crate::plan::ranges;
use kubedos_wire::node::{DiskPurpose, SubstrateType};
use kubedos_wire::value::ProxmoxName;

const ENABLED: &str = "spec.kubernetes.enabled";
const ROLE: &str = "spec.nodes.inventory[].role";
const CEPH: &str = "spec.storage.ceph";
const ZFS: &str = "spec.storage.zfs";
const PURPOSE: &str = "spec.nodes.inventory[].disks[].purpose";
const DRILLS: &str = "spec.acceptance.drills";

pub(super) const RULES: &[Invariant] = &[
    must(
        "kubernetes-version",
        "If Kubernetes is enabled, it has a version.",
        &[ENABLED, "spec.kubernetes.version"],
        |s, f| {
            if s.kubernetes.enabled && s.kubernetes.version.is_none() {
                f.at(
                    &path!["spec", "kubernetes", "version"],
                    "Kubernetes is enabled without a version",
                    "write the version that the lock pins, for example: v1.34.2",
                );
            }
        },
    ),
    must(
        "ha-replicas",
        "controlPlaneReplicas is the number of control planes in the inventory.",
        &["spec.kubernetes.ha.controlPlaneReplicas", ROLE],
        |s, f| {
            let (Some(declared), have) = (s.kubernetes.ha.control_plane_replicas, control_planes(s)) else {
                return;
            };
            if usize::try_from(declared) != Ok(have) {
                let message = format!("{declared} control planes are declared, but the inventory has {have}");
                f.at(
                    &path!["spec", "kubernetes", "ha", "controlPlaneReplicas"],
                    message,
                    format!("write {have}, or change the inventory"),
                );
            }
        },
    ),
    must("etcd-stacked", "etcd runs on the control planes.", &["spec.kubernetes.ha.etcd"], |s, f| {
        if s.kubernetes.ha.etcd == Etcd::External {
            let message =
                "an external etcd is refused: the cluster keeps its own state in etcd on the control planes";
            f.at(&path!["spec", "kubernetes", "ha", "etcd"], message, "write stacked, or omit it");
        }
    }),
    must(
        "kubernetes-needs-orchestration",
        "Kubernetes starts on nodes that are enrolled and converged.",
        &[ENABLED, "spec.orchestration"],
        |s, f| {
            let (salt, ansible) = (s.orchestration.salt.enabled, s.orchestration.ansible.enabled);
            for (key, what, enabled) in [("salt", "enrolment", salt), ("ansible", "convergence", ansible)] {
                if s.kubernetes.enabled && !enabled {
                    f.at(
                        &path!["spec", "orchestration", key, "enabled"],
                        format!("Kubernetes starts after {what}, which is disabled here"),
                        "write true, or disable Kubernetes",
                    );
                }
            }
        },
    ),
    must(
        "pod-ranges",
        "podCidr has a subnet with the prefix nodePodPrefix for every node.",
        &["spec.kubernetes", "spec.nodes.inventory"],
        pod_ranges,
    ),
    must(
        "service-range",
        "serviceCidr has between 16 and 1,048,576 addresses.",
        &[ENABLED, "spec.kubernetes.serviceCidr"],
        |s, f| {
            let (_, services) = ranges::kubernetes(&s.kubernetes);
            if s.kubernetes.enabled && services.is_ipv4() && !(12..=28).contains(&services.prefix()) {
                f.at(
                    &path!["spec", "kubernetes", "serviceCidr"],
                    format!("{services} has {} addresses; 16 to 1,048,576 are allowed", services.size()),
                    "write a prefix from /12 to /28, for example: 10.245.0.0/16",
                );
            }
        },
    ),
    must(
        "workload-needs-kubernetes",
        "The sample workload needs Kubernetes and a worker.",
        &["spec.workload", ENABLED, ROLE],
        |s, f| {
            if s.workload.enabled && (!s.kubernetes.enabled || workers(s) == 0) {
                f.at(
                    &path!["spec", "workload", "enabled"],
                    match s.kubernetes.enabled {
                        true => "the workload has no worker to run on",
                        false => "the workload runs on Kubernetes, which is not enabled",
                    },
                    "enable Kubernetes and declare a worker, or write false",
                );
            }
        },
    ),
    should(
        "grafana-has-sources",
        "Dashboards have metrics or logs to show.",
        &["spec.kubernetes.observability"],
        |s, f| {
            let o = &s.kubernetes.observability;
            if o.grafana && !o.prometheus && !o.loki {
                f.at(
                    &path!["spec", "kubernetes", "observability", "grafana"],
                    "dashboards without metrics and logs stay empty",
                    "enable prometheus or loki",
                );
            }
        },
    ),
    must(
        "zfs-pools",
        "If ZFS is enabled, it lists at least one pool, each once; each pool exists on the substrate or can be created on disks.",
        &[ZFS, "spec.substrate", PURPOSE],
        zfs_pools,
    ),
    must(
        "disk-purpose-enabled",
        "A disk has the purpose zfs or ceph only if ZFS or Ceph is enabled.",
        &["spec.storage.zfs.enabled", "spec.storage.ceph.enabled", PURPOSE],
        |s, f| {
            for (at, node) in nodes(s) {
                for (index, disk) in node.disks.iter().enumerate() {
                    let unused = match disk.purpose {
                        Some(DiskPurpose::Zfs) => !s.storage.zfs.enabled,
                        Some(DiskPurpose::Ceph) => !s.storage.ceph.enabled,
                        _ => false,
                    };
                    if unused {
                        f.at(
                            &path!["spec", "nodes", "inventory", at, "disks", index, "purpose"],
                            match disk.purpose {
                                Some(DiskPurpose::Zfs) => "this disk is for ZFS, which is not enabled",
                                _ => "this disk is for Ceph, which is not enabled",
                            },
                            "enable it in spec.storage, or give the disk the purpose data",
                        );
                    }
                }
            }
        },
    ),
    must(
        "ceph-failure-domain",
        "If Ceph is enabled, it declares the failure domain of replicas.",
        &[CEPH],
        |s, f| {
            ceph(
                s,
                f,
                |ceph| ceph.failure_domain.is_none(),
                "failureDomain",
                "write failureDomain: node, or failureDomain: domain",
            );
        },
    ),
    must("ceph-replication", "If Ceph is enabled, it declares the number of replicas.", &[CEPH], |s, f| {
        ceph(
            s,
            f,
            |ceph| ceph.replication.is_none(),
            "replication",
            "write replication: { size: 3, minSize: 2 }",
        );
    }),
    must(
        "ceph-planes",
        "If Ceph is enabled, it declares the planes that carry its traffic.",
        &[CEPH],
        |s, f| {
            ceph(
                s,
                f,
                |ceph| ceph.planes.is_empty(),
                "planes",
                "write planes: [wg3], or another declared plane",
            );
        },
    ),
    must("ceph-recovery", "If Ceph is enabled, it declares the recovery after a loss.", &[CEPH], |s, f| {
        ceph(
            s,
            f,
            |ceph| ceph.recovery.is_none(),
            "recovery",
            "write recovery: { outAfterMinutes: 10, rebuild: automatic }",
        );
    }),
    must(
        "ceph-known-planes",
        "Each plane of Ceph is declared, and listed once.",
        &["spec.storage.ceph.planes", "spec.networking.planes"],
        |s, f| {
            for (index, plane) in s
                .storage
                .ceph
                .planes
                .iter()
                .enumerate()
                .filter(|(_, plane)| !s.networking.planes.contains_key(*plane))
            {
                f.at(
                    &path!["spec", "storage", "ceph", "planes", index],
                    format!("there is no plane {plane}"),
                    format!("declared: {}", list(s.networking.planes.keys())),
                );
            }
            for (again, _) in repeated(s.storage.ceph.planes.iter().enumerate()) {
                f.at(
                    &path!["spec", "storage", "ceph", "planes", again],
                    "this plane is listed a second time",
                    "remove one of the two",
                );
            }
        },
    ),
    must("ceph-min-size", "minSize is not larger than size.", &["spec.storage.ceph.replication"], |s, f| {
        if let Some(replication) = s.storage.ceph.replication.as_ref().filter(|r| r.min_size > r.size) {
            f.at(
                &path!["spec", "storage", "ceph", "replication", "minSize"],
                format!(
                    "{} copies can never be available: `size` is {}",
                    replication.min_size, replication.size
                ),
                format!("write {}", replication.size / 2 + 1),
            );
        }
    }),
    should(
        "ceph-safe-writes",
        "A write needs more than half of its copies.",
        &["spec.storage.ceph.replication"],
        |s, f| {
            if let Some(r) =
                s.storage.ceph.replication.as_ref().filter(|r| r.size > 1 && r.min_size * 2 <= r.size)
            {
                f.at(
                    &path!["spec", "storage", "ceph", "replication", "minSize"],
                    format!(
                        "a write is accepted with {} of {} copies: two halves can diverge, and the loss of one disk can lose data",
                        r.min_size, r.size
                    ),
                    format!("write {}", r.size / 2 + 1),
                );
            }
        },
    ),
    must(
        "ceph-replicas-fit",
        "At least as many nodes or failure domains as there are replicas have a disk for Ceph.",
        &[CEPH, "spec.nodes.inventory"],
        ceph_replicas_fit,
    ),
    must(
        "detection-order",
        "A node is probed before it is suspected, and suspected before it is lost.",
        &["spec.lifecycle.detection"],
        |s, f| {
            let d = &s.lifecycle.detection;
            if d.probe_interval_seconds >= d.suspect_after_seconds {
                f.at(
                    &path!["spec", "lifecycle", "detection", "suspectAfterSeconds"],
                    format!(
                        "a node is probed every {} seconds and suspected after {}",
                        d.probe_interval_seconds, d.suspect_after_seconds
                    ),
                    format!(
                        "write suspectAfterSeconds: {} or more",
                        d.probe_interval_seconds.saturating_add(1)
                    ),
                );
            }
            if d.suspect_after_seconds >= d.lost_after_seconds {
                f.at(
                    &path!["spec", "lifecycle", "detection", "lostAfterSeconds"],
                    format!(
                        "a node is suspected after {} seconds and lost after {}",
                        d.suspect_after_seconds, d.lost_after_seconds
                    ),
                    format!("write lostAfterSeconds: {} or more", d.suspect_after_seconds.saturating_add(1)),
                );
            }
        },
    ),
    must(
        "upgrade-substrate",
        "Only a substrate that creates machines can upgrade by surge or replacement.",
        &["spec.lifecycle.upgrade.strategy", "spec.substrate.type"],
        |s, f| {
            if s.substrate.kind == SubstrateType::Metal
                && s.lifecycle.upgrade.strategy != UpgradeStrategy::Rolling
            {
                f.at(
                    &path!["spec", "lifecycle", "upgrade", "strategy"],
                    "this strategy creates new machines, which is not possible on metal",
                    "write rolling, or omit it",
                );
            }
        },
    ),
    must("unique-drills", "A drill is declared once.", &[DRILLS], |s, f| {
        for (again, first) in repeated(s.acceptance.drills.iter().map(|drill| drill.name).enumerate()) {
            let path = |drill: usize| path!["spec", "acceptance", "drills", drill, "name"];
            f.again(
                &path(again),
                &path(first),
                "this drill is declared a second time",
                "remove one of the two",
            );
        }
    }),
    must(
        "drill-within-target",
        "A drill's time limit is not longer than the target.",
        &[DRILLS, "spec.acceptance.mttrTargetMinutes"],
        |s, f| {
            let target = s.acceptance.mttr_target_minutes;
            for (index, drill) in s
                .acceptance
                .drills
                .iter()
                .enumerate()
                .filter(|(_, drill)| drill.expect_recovery_minutes > target)
            {
                f.at(
                    &path!["spec", "acceptance", "drills", index, "expectRecoveryMinutes"],
                    format!("{} minutes is above the target of {target}", drill.expect_recovery_minutes),
                    format!("write {target} or less, or raise acceptance.mttrTargetMinutes"),
                );
            }
        },
    ),
    must("drill-needs-worker", "A drill on a worker needs a worker.", &[DRILLS, ROLE], |s, f| {
        let on_worker = |name| matches!(name, DrillName::DeleteWorkerVm | DrillName::PartitionWorker);
        for (index, _) in s
            .acceptance
            .drills
            .iter()
            .enumerate()
            .filter(|(_, drill)| on_worker(drill.name) && workers(s) == 0)
        {
            f.at(
                &path!["spec", "acceptance", "drills", index, "name"],
                "there is no worker for this drill",
                "declare a worker, or remove the drill",
            );
        }
    }),
    should(
        "drill-keeps-quorum",
        "A drill that deletes a control plane leaves a majority of the control planes.",
        &[DRILLS, ROLE],
        |s, f| {
            let deletes = |name| name == DrillName::DeleteControlPlaneVm;
            for (index, _) in s
                .acceptance
                .drills
                .iter()
                .enumerate()
                .filter(|(_, drill)| deletes(drill.name) && control_planes(s) < 3)
            {
                let message = format!(
                    "with {}, the loss of one causes an outage",
                    counted(control_planes(s), "control plane")
                );
                f.at(
                    &path!["spec", "acceptance", "drills", index, "name"],
                    message,
                    "three control planes survive the loss of one; with fewer, this drill restores from a snapshot",
                );
            }
        },
    ),
];

fn pod_ranges(s: &Spec, f: &mut Findings<'_>) {
    let (pods, _) = ranges::kubernetes(&s.kubernetes);
    if !s.kubernetes.enabled || !pods.is_ipv4() {
        return;
    }
    let room = ranges::pod_capacity(&s.kubernetes);
    let count = s.nodes.inventory.len() as u128;
    if count > room {
        let prefix = s.kubernetes.node_pod_prefix;
        let message = match room {
            0 => format!("{pods} has no /{prefix} subnet for a node, because subnet 0 is not used"),
            _ => format!("{pods} has /{prefix} subnets for {room} nodes, but there are {count}"),
        };
        let help = "give podCidr a shorter prefix, or nodePodPrefix a longer one";
        f.at(&path!["spec", "kubernetes", "podCidr"], message, help);
        return;
    }
    for (index, id) in nodes(s).filter_map(|(index, node)| Some((index, node.id?))) {
        if u128::from(id.get()) > room {
            f.at(
                &path!["spec", "nodes", "inventory", index, "id"],
                format!("{pods} has subnets for ids up to {room}, but this id is {id}"),
                "give the node a lower id, or podCidr a shorter prefix",
            );
        }
    }
}

fn zfs_pools(s: &Spec, f: &mut Findings<'_>) {
    let zfs = &s.storage.zfs;
    if !zfs.enabled {
        return;
    }
    if zfs.pools.is_empty() {
        let known = list(pools_of_zfs(s));
        let help = if known.is_empty() {
            "write pools: [tank], and give disks the purpose zfs".to_owned()
        } else {
            format!("write pools: [{known}]")
        };
        f.at(&path!["spec", "storage", "zfs", "pools"], "ZFS is enabled without a pool", help);
    }
    for (again, _) in repeated(zfs.pools.iter().enumerate()) {
        f.at(
            &path!["spec", "storage", "zfs", "pools", again],
            "this pool is listed a second time",
            "remove one of the two",
        );
    }
    let disks =
        nodes(s).any(|(_, node)| node.disks.iter().any(|disk| disk.purpose == Some(DiskPurpose::Zfs)));
    for (index, pool) in zfs.pools.iter().enumerate() {
        let of_substrate =
            s.substrate.proxmox.iter().flat_map(|p| &p.storage_pools).find(|known| known.name == *pool);
        let at = path!["spec", "storage", "zfs", "pools", index];
        match of_substrate {
            Some(known) if known.kind != PoolType::Zfs => {
                let help = format!("pools of type zfs: {}", list(pools_of_zfs(s)));
                f.at(&at, format!("the storage pool {pool} is not of type zfs"), help);
            }
            None if !disks => {
                f.at(
                    &at,
                    format!("the pool {pool} cannot be created: no disk has the purpose zfs"),
                    "give disks the purpose zfs, or write a storage pool of Proxmox VE of type zfs",
                );
            }
            _ => {}
        }
    }
}

fn pools_of_zfs(s: &Spec) -> impl Iterator<Item = &ProxmoxName> {
    let pools = s.substrate.proxmox.iter().flat_map(|proxmox| &proxmox.storage_pools);
    pools.filter(|pool| pool.kind == PoolType::Zfs).map(|pool| &pool.name)
}

fn ceph(s: &Spec, f: &mut Findings<'_>, lacks: fn(&Ceph) -> bool, key: &str, help: &str) {
    if s.storage.ceph.enabled && lacks(&s.storage.ceph) {
        f.at(&path!["spec", "storage", "ceph", key], format!("Ceph is enabled without `{key}`"), help);
    }
}

fn ceph_replicas_fit(s: &Spec, f: &mut Findings<'_>) {
    let ceph = &s.storage.ceph;
    let (true, Some(replication), Some(domain)) = (ceph.enabled, &ceph.replication, ceph.failure_domain)
    else {
        return;
    };
    let with_disk =
        || nodes(s).filter(|(_, node)| node.disks.iter().any(|disk| disk.purpose == Some(DiskPurpose::Ceph)));
    let (have, what) = match domain {
        CephDomain::Node => (with_disk().count(), "nodes"),
        CephDomain::Domain => (
            with_disk().filter_map(|(_, node)| node.domain.as_ref()).collect::<HashSet<_>>().len(),
            "failure domains",
        ),
    };
    if have < usize::from(replication.size) {
        let message = format!(
            "{} replicas need {0} {what} with a disk for Ceph, but there are {have}",
            replication.size
        );
        f.at(
            &path!["spec", "storage", "ceph", "replication", "size"],
            message,
            "give more disks the purpose ceph, or lower size",
        );
    }
}
