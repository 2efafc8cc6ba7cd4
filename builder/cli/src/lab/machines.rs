//! The machines of a lab as data: `lab up` derives them from the plan of the cluster, and the process of the lab starts them.
//!
//! Ethernet addresses and UUIDs follow from the names of cluster and node, for all nodes of the spec, so that they do not depend on
//! which nodes are started.

use std::path::PathBuf;

use kubedos_debian::failure::Failure;
use kubedos_lab::{mac_addresses, machine_uuid};
use kubedos_spec::model::NodeSpec;
use kubedos_spec::plan::{ClusterPlan, PlannedNode};
use kubedos_wire::node::{DiskPurpose, Role};
use kubedos_wire::value::{MacAddress, NodeName};
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::folder::Folder;
use crate::plan::no_node;

/// The memory of a machine if neither the command line nor the spec gives it.
const MEMORY_MIB: u32 = 1024;

/// The name of the document in the folder.
pub const DOCUMENT: &str = "lab.json";

/// The machines of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// The cluster's name.
    pub cluster: String,
    /// The folder of the unpacked emulator.
    pub tools: PathBuf,
    /// The nodes, in the order in which they start.
    pub nodes: Vec<LabNode>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabNode {
    /// The name of the node, and of its port of the switch.
    pub name: NodeName,
    /// The role of the node.
    pub role: Role,
    /// Its address in the underlay.
    pub address: Option<String>,
    /// The Ethernet address of its network card.
    pub mac: MacAddress,
    /// The UUID of the machine.
    pub uuid: String,
    /// The memory.
    pub memory_mib: u32,
    /// Its seed.
    pub seed: PathBuf,
    /// Its disks; the first one is the system disk.
    pub disks: Vec<LabDisk>,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabDisk {
    /// The file.
    pub file: PathBuf,
    /// The size in bytes.
    pub bytes: u64,
}

impl Machines {
    /// The machines of these nodes, or of all nodes if there is no name.
    pub fn of(
        plan: &ClusterPlan,
        names: &[String],
        memory: Option<u32>,
        folder: &Folder,
    ) -> Result<Self, Failure> {
        if let Some(unknown) = names.iter().find(|name| plan.node(name).is_none()) {
            return Err(no_node(unknown, plan.nodes().iter().map(|node| &node.name)));
        }
        let cluster = plan.spec().metadata.name.to_string();
        let macs = mac_addresses(&cluster, plan.nodes().iter().map(|node| node.name.as_str()));
        let wanted =
            |node: &PlannedNode| names.is_empty() || names.iter().any(|name| name == node.name.as_str());
        let chosen = plan.nodes().iter().zip(macs).filter(|(node, _)| wanted(node));
        let nodes = chosen.map(|(node, mac)| {
            let spec = plan.node_spec(node);
            let memory_mib = memory.or(spec.and_then(|spec| spec.memory_mib)).unwrap_or(MEMORY_MIB);
            Ok(LabNode {
                role: node.role,
                address: node.endpoint.map(|endpoint| endpoint.address().to_string()),
                mac,
                uuid: machine_uuid(&cluster, node.name.as_str()),
                memory_mib,
                seed: folder.path("seeds").join(format!("{}.img", node.name)),
                disks: disks(node, spec, folder)?,
                name: node.name.clone(),
            })
        });
        let nodes = nodes.collect::<Result<Vec<_>, LabError>>()?;
        Ok(Self { cluster, tools: PathBuf::new(), nodes })
    }

    /// The machine of a node.
    pub fn node(&self, name: &str) -> Result<&LabNode, LabError> {
        let no_node = || LabError::NoNode {
            name: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name.to_string()).collect(),
        };
        self.nodes.iter().find(|node| node.name.as_str() == name).ok_or_else(no_node)
    }
}

/// The machines that the last `up` has planned.
pub fn planned(folder: &Folder) -> Result<Machines, LabError> {
    folder.read(DOCUMENT)?.ok_or_else(|| LabError::NoLab { folder: folder.shown().to_owned() })
}

/// The disks of a node, the system disk first: without a rule, a node uses the disk that it booted from.
fn disks(node: &PlannedNode, spec: Option<&NodeSpec>, folder: &Folder) -> Result<Vec<LabDisk>, LabError> {
    let refused = |reason| LabError::Disks { node: node.name.to_string(), reason };
    let specs = spec.map_or(&[][..], |spec| &spec.disks);
    if specs.iter().any(|disk| disk.rule.is_some()) {
        return Err(refused("it selects disks by `match`, which needs the disks of real hardware"));
    }
    let is_system = |index: usize| {
        let purpose = specs.get(index).and_then(|disk| disk.purpose);
        purpose.map_or(index == 0, |purpose| purpose == DiskPurpose::System)
    };
    let mut order: Vec<usize> = (0..specs.len()).collect();
    order.sort_by_key(|index| !is_system(*index));
    let disks = order.into_iter().filter_map(|index| Some((index, specs.get(index)?)));
    let disks = disks.map(|(index, disk)| {
        let gib = disk.size_gib.ok_or_else(|| refused("a disk has no `sizeGiB`"))?;
        let file = folder.path("nodes").join(node.name.as_str()).join(format!("disk-{index}.raw"));
        Ok(LabDisk { file, bytes: u64::from(gib) << 30 })
    });
    disks.collect()
}
