//! The document `/roster.toml`: the nodes of the cluster with their public keys and addresses on the planes.
//!
//! This release has one kind, the *fixed* roster. The builder derives its keys from the seeds, for a lab with the published
//! demo keys only: everybody can compute the private keys. [`Roster::check_demo`] refuses it everywhere else.
//!
//! A roster that was read has no name, id, key, address or endpoint twice: with a key or an address of another node, a node
//! would get that node's traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{ClusterDocument, MAX_BYTES, ROSTER_VERSION, Role, parse};
use crate::document::{self, DocumentError};
use crate::hex32::{ClusterId, PublicKey};
use crate::value::{Endpoint, NodeId, NodeName, OperatorName, PlaneId, WireguardKey};

/// The identity key of the published demo keys. Every cluster with these keys has an id that derives from it.
pub const DEMO_IDENTITY: PublicKey = PublicKey::new([
    0x88, 0x45, 0x98, 0xa5, 0xc6, 0x78, 0x37, 0x4c, 0x84, 0xbe, 0x2a, 0x57, 0x51, 0x53, 0xf9, 0xfa, 0xad,
    0xbc, 0x82, 0x00, 0xcb, 0xad, 0xf8, 0x49, 0xf3, 0xcb, 0xf8, 0x1f, 0x71, 0xaf, 0xfd, 0xd8,
]);

/// The nodes of the cluster with their keys and addresses on the planes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// Always [`ROSTER_VERSION`].
    pub version: u32,
    /// Where the entries come from.
    pub kind: RosterKind,
    /// The generation of the configuration; the same as in `cluster.toml`.
    pub generation: u64,
    /// The nodes, in the order of their ids.
    pub nodes: Vec<RosterNode>,
    /// The addresses of operators on the plane with the purpose `control`; their keys are in `cluster.toml`.
    #[serde(default)]
    pub operators: BTreeMap<OperatorName, IpAddr>,
}

/// Where the entries of a roster come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RosterKind {
    /// From the seeds, at build time.
    Fixed,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterNode {
    /// Its name.
    pub node: NodeName,
    /// Its number.
    pub id: NodeId,
    /// Its role in the cluster.
    pub role: Role,
    /// The address at which peers reach it; absent if only the node itself can open connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The node on each plane, by the plane's name.
    pub planes: BTreeMap<PlaneId, RosterPlane>,
}

/// A node on one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPlane {
    /// Its public key, different on every plane.
    pub key: WireguardKey,
    /// Its address as a member.
    pub member: IpAddr,
}

impl Roster {
    /// Parses and checks the document; unknown fields are ignored, a later version is refused.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let roster: Self = parse(text, ROSTER_VERSION)?;
        roster.check()?;
        Ok(roster)
    }

    /// Serializes the roster as TOML. Fails if a reader would refuse it.
    pub fn to_toml(&self) -> Result<String, DocumentError> {
        self.check()?;
        let text = toml::to_string(self)?;
        document::within(text.len(), MAX_BYTES)?;
        Ok(text)
    }

    /// The entry of a node.
    pub fn node(&self, name: &NodeName) -> Option<&RosterNode> {
        self.nodes.iter().find(|node| node.node == *name)
    }

    /// Checks that the cluster may have a fixed roster: it is marked as a cluster with the demo keys, and its id derives
    /// from their identity.
    pub fn check_demo(&self, cluster: &ClusterDocument) -> Result<(), DocumentError> {
        let RosterKind::Fixed = self.kind;
        let demo = ClusterId::derive(&DEMO_IDENTITY, cluster.name.as_str());
        if cluster.demo_keys && cluster.cluster_id == demo { Ok(()) } else { Err(DocumentError::NotDemo) }
    }

    /// Checks that no value occurs twice.
    pub(crate) fn check(&self) -> Result<(), DocumentError> {
        let (mut names, mut ids, mut endpoints) = (Once::new("name"), Once::new("id"), Once::new("endpoint"));
        let (mut keys, mut members) = (Once::new("key"), Once::new("address"));
        for node in &self.nodes {
            names.add(&node.node, &node.node)?;
            ids.add(node.id, &node.id)?;
            if let Some(endpoint) = node.endpoint {
                endpoints.add(endpoint.address().to_canonical(), &endpoint)?;
            }
            for plane in node.planes.values() {
                keys.add(plane.key.canonical(), &plane.key)?;
                members.add(plane.member.to_canonical(), &plane.member)?;
            }
        }
        for member in self.operators.values() {
            members.add(member.to_canonical(), member)?;
        }
        Ok(())
    }
}

/// Values that may occur once.
struct Once<T> {
    what: &'static str,
    seen: BTreeSet<T>,
}

impl<T: Ord> Once<T> {
    const fn new(what: &'static str) -> Self {
        Self { what, seen: BTreeSet::new() }
    }

    fn add(&mut self, value: T, text: &dyn Display) -> Result<(), DocumentError> {
        if self.seen.insert(value) {
            return Ok(());
        }
        Err(DocumentError::Twice { what: self.what, value: text.to_string() })
    }
}
