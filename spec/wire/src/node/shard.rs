//! The shard of one node: `/shards/<node>.toml`.

use std::collections::BTreeMap;
use std::net::IpAddr;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PlanePurpose, SHARD_VERSION, parse};
use crate::document::DocumentError;
use crate::value::{
    Cidr, ClusterName, DiskName, DomainName, Endpoint, HostAddress, IfName, MacAddress, NodeId, NodeName,
    PlaneId,
};

/// The public data that one node needs about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// 1 to [`super::SHARD_VERSION`].
    pub version: u32,
    /// The cluster that the node belongs to.
    pub cluster: ClusterName,
    /// The generation of the configuration; the same as in `cluster.toml`.
    pub generation: u64,
    /// The node.
    pub node: NodeName,
    /// The incarnation that the configuration expects, from 1: the seed of an earlier one is refused.
    #[serde(default)]
    pub incarnation: u32,
    /// The node's number; its addresses derive from it.
    pub id: NodeId,
    /// The role of the node in the cluster.
    pub role: Role,
    /// The host name; the same as `node` in this version.
    pub hostname: NodeName,
    /// The failure domain; the zone label in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<DomainName>,
    /// The substrate of the node.
    pub substrate: SubstrateType,
    /// Disks whose content may be destroyed, each given by its own identity. If empty, no disk may be destroyed.
    #[serde(default)]
    pub allow_destroy: Vec<DiskIdentity>,
    /// The node's disks; exactly one has the purpose `system`.
    pub disks: Vec<Disk>,
    /// The network that carries the planes.
    pub underlay: Underlay,
    /// The node on each plane, by the plane's name.
    pub planes: BTreeMap<PlaneId, ShardPlane>,
    /// The node in Kubernetes; absent without Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<ShardKubernetes>,
}

impl Shard {
    /// Parses a shard; unknown fields are ignored, a later version is refused. A shard of version 1 expects the first
    /// incarnation.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut shard: Self = parse(text, SHARD_VERSION)?;
        if shard.version == 1 {
            shard.incarnation = 1; // an unknown field in version 1, so it is ignored
        }
        if shard.incarnation == 0 {
            return Err(DocumentError::Value("incarnation"));
        }
        Ok(shard)
    }

    /// Serializes the shard as TOML.
    pub fn to_toml(&self) -> Result<String, DocumentError> {
        Ok(toml::to_string(self)?)
    }

    /// The system disk, which contains STATE and DATA.
    pub fn system_disk(&self) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.purpose == DiskPurpose::System)
    }
}

/// The role of a node in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs etcd, the API servers and the cluster's authority.
    ControlPlane,
    /// Runs workloads.
    Worker,
}

/// The substrate of nodes; it selects the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SubstrateType {
    /// Virtual machines of Proxmox VE, with the cloud kernel.
    Proxmox,
    /// Machines without a hypervisor, with the generic kernel and the declared drivers.
    Metal,
    /// Virtual machines of a cloud or of the lab, with the cloud kernel.
    Cloud,
}

/// The purpose of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DiskPurpose {
    /// The system itself, STATE and DATA.
    #[default]
    System,
    /// Additional space for DATA.
    Data,
    /// A member of a ZFS pool.
    Zfs,
    /// A Ceph OSD.
    Ceph,
}

/// One disk of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name in the spec.
    pub name: DiskName,
    /// Its purpose.
    pub purpose: DiskPurpose,
    /// The size that the spec declares, in GiB; a smaller disk is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<u32>,
    /// The rule that selects the disk. If absent, the disk is the one that the node booted from; a node that booted from a CD has no such disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<DiskRule>,
}

/// The conditions that select a disk: all given conditions must be met, and exactly one disk must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct DiskRule {
    /// The serial number, in the spelling of the kernel (`/sys/block/*/serial`, `/sys/block/*/device/serial`) or of udev (`ID_SERIAL_SHORT`). `kubedos-build inspect --disks` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128), example = &"S3Z1NB0K100001"))]
    pub serial: Option<String>,
    /// The world-wide name, as the kernel shows it in `wwid` (`naa.…`, `eui.…`, `uuid.…`) or udev in `ID_WWN_WITH_EXTENSION` (`0x…`). `kubedos-build inspect --disks` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128), example = &"0x5002538e40b1c2d3"))]
    pub wwn: Option<String>,
    /// The path of the port that the disk is connected to, as in `/dev/disk/by-path/`, without the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), example = &"pci-0000:00:17.0-ata-1"))]
    pub path: Option<String>,
    /// The smallest size that the disk may have, in GiB.
    #[serde(default, rename = "minSizeGiB", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_048_576), example = 100))]
    pub min_size_gib: Option<u32>,
    /// The largest size that the disk may have, in GiB.
    #[serde(default, rename = "maxSizeGiB", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_048_576), example = 500))]
    pub max_size_gib: Option<u32>,
}

/// The identity of one disk; exactly one of the keys is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct DiskIdentity {
    /// The complete serial number, the same as in the disk's `match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128), example = &"S3Z1NB0K100001"))]
    pub serial: Option<String>,
    /// The complete world-wide name, the same as in the disk's `match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128), example = &"0x5002538e40b1c2d3"))]
    pub wwn: Option<String>,
    /// The path of the port, the same as in the disk's `match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), example = &"pci-0000:00:17.0-ata-1"))]
    pub path: Option<String>,
}

/// The network that carries the planes, rendered into systemd-networkd's files by the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Underlay {
    /// The MTU of the path between nodes.
    pub mtu: u16,
    /// The address at which peers reach this node; absent if only this node can open connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Name servers of the underlay.
    #[serde(default)]
    pub nameservers: Vec<IpAddr>,
    /// The interfaces. If empty, the node uses DHCP on every Ethernet device.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
}

/// One interface of the underlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Interface {
    /// The interface's name. A physical interface keeps the kernel's name and is selected by `match`; a VLAN or a bond is created with this name.
    pub name: IfName,
    /// The Ethernet device of the interface. It may be omitted if the node has only one physical interface; then the node's only Ethernet device is used.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = serde_json::json!({ "mac": "52:54:00:12:34:56" })))]
    pub device: Option<InterfaceMatch>,
    /// Whether the interface gets addresses by DHCP; the default is `none` if addresses are given, otherwise `ipv4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
    /// Static addresses, each with the prefix length of its network.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), example = serde_json::json!(["192.0.2.11/24"])))]
    pub addresses: Vec<HostAddress>,
    /// The default gateway, a router in the network of one of the addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = &"192.0.2.1"))]
    pub gateway: Option<Endpoint>,
    /// The interface's MTU in bytes. The default is the underlay's MTU, and a lower value is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1280, max = 65535), example = 1500))]
    pub mtu: Option<u16>,
    /// If present, this interface is a VLAN on another interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = serde_json::json!({ "id": 20, "link": "bond0" })))]
    pub vlan: Option<Vlan>,
    /// If present, this interface is a bond of other interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(example = serde_json::json!({ "mode": "802.3ad", "links": ["eth0", "eth1"] })))]
    pub bond: Option<Bond>,
}

/// The Ethernet device of an interface, by exactly one of two properties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct InterfaceMatch {
    /// The device's hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The path of the device's port, as udev shows it in `ID_PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), example = &"pci-0000:00:1f.6"))]
    pub path: Option<String>,
}

/// Whether an interface gets addresses by DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Dhcp {
    /// No DHCP.
    None,
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// IPv4 and IPv6.
    Both,
}

/// A VLAN (IEEE 802.1Q).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Vlan {
    /// The VLAN's number.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 4094), example = 20))]
    pub id: u16,
    /// The interface that carries the VLAN: a physical one or a bond.
    pub link: IfName,
}

/// A bond of interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
pub struct Bond {
    /// How the bond uses its members.
    pub mode: BondMode,
    /// The bond's members: physical interfaces without their own addresses.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8), example = serde_json::json!(["eth0", "eth1"])))]
    pub links: Vec<IfName>,
}

/// The mode of a bond, by the kernel's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
pub enum BondMode {
    /// One member is active, the others are in standby.
    #[serde(rename = "active-backup")]
    ActiveBackup,
    /// LACP.
    #[serde(rename = "802.3ad")]
    Lacp,
}

/// The node on one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPlane {
    /// The purpose of the plane.
    pub purpose: PlanePurpose,
    /// All addresses of the plane.
    pub cidr: Cidr,
    /// The node's address as a member.
    pub member: IpAddr,
    /// The node's address before it is enrolled.
    pub birth: IpAddr,
    /// The UDP port that the node listens on.
    pub port: u16,
    /// The MTU of the plane's interface.
    pub mtu: u16,
}

/// The node in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardKubernetes {
    /// The addresses of the node's pods.
    pub pod_cidr: Cidr,
    /// The labels that the node registers with.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
