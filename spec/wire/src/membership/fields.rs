//! Fields that several records have, as typed values: names, numbers from 1, keys, planes, and the extension.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use super::codec::{CodecError, Problem, Reader, Writer};
use super::keys::{PlaneKey, SignerKey};
use crate::hex32::{ClusterId, Digest, InstanceId, PublicKey};
use crate::node::Role;
use crate::value::{Endpoint, NodeId, PlaneId, WireguardKey};

/// The version of all records that this release reads and writes.
pub const VERSION: u8 = 1;

/// Maximum number of planes.
pub const MAX_PLANES: usize = 8;

/// A value has more items or bytes than its field may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {found}, but the limits are {least} and {most}")]
pub struct OutOfBounds {
    /// The value, with its unit.
    pub what: &'static str,
    /// Its length.
    pub found: usize,
    /// The smallest length.
    pub least: usize,
    /// The largest length.
    pub most: usize,
}

impl OutOfBounds {
    pub(super) fn check(what: &'static str, found: usize, least: usize, most: usize) -> Result<(), Self> {
        let is_within = (least..=most).contains(&found);
        if is_within { Ok(()) } else { Err(Self { what, found, least, most }) }
    }
}

/// Bytes that a later release defines. A program that does not know them keeps and signs them as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension(Vec<u8>);

impl Extension {
    /// Maximum length in bytes.
    pub const MAX: usize = 1024;

    /// Checks the length.
    pub fn new(bytes: Vec<u8>) -> Result<Self, OutOfBounds> {
        OutOfBounds::check("bytes of an extension", bytes.len(), 0, Self::MAX)?;
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A public value of a member from which each pair derives a pre-shared key; empty in this version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharingValue(Vec<u8>);

impl SharingValue {
    /// Maximum length in bytes: a public key of ML-KEM-768 (1,184), and one of X25519.
    pub const MAX: usize = 1216;

    /// Checks the length.
    pub fn new(bytes: Vec<u8>) -> Result<Self, OutOfBounds> {
        OutOfBounds::check("bytes of a value for pre-shared keys", bytes.len(), 0, Self::MAX)?;
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One value for each plane, by the plane's name: at least one, at most [`MAX_PLANES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneMap<T>(BTreeMap<PlaneId, T>);

impl<T> PlaneMap<T> {
    /// Checks the number of planes.
    pub fn new(planes: BTreeMap<PlaneId, T>) -> Result<Self, OutOfBounds> {
        OutOfBounds::check("planes", planes.len(), 1, MAX_PLANES)?;
        Ok(Self(planes))
    }

    /// The values.
    pub const fn get(&self) -> &BTreeMap<PlaneId, T> {
        &self.0
    }

    /// Another value for each plane.
    pub fn map<U>(&self, value: impl Fn(&T) -> U) -> PlaneMap<U> {
        PlaneMap(self.0.iter().map(|(plane, old)| (plane.clone(), value(old))).collect())
    }

    /// The value of a plane, to change it.
    pub fn plane_mut(&mut self, plane: &PlaneId) -> Option<&mut T> {
        self.0.get_mut(plane)
    }
}

impl Reader<'_> {
    /// The start of a signed record: its version and its cluster.
    pub(super) fn start(&mut self) -> Result<ClusterId, CodecError> {
        self.version()?;
        self.array("cluster_id").map(ClusterId::new)
    }

    pub(super) fn version(&mut self) -> Result<(), CodecError> {
        let at = self.offset();
        match self.u8("version")? {
            VERSION => Ok(()),
            other => Err(Self::error("version", at, Problem::Version(other))),
        }
    }

    pub(super) fn instance(&mut self) -> Result<InstanceId, CodecError> {
        self.array("instance").map(InstanceId::new)
    }

    pub(super) fn digest(&mut self, field: &'static str) -> Result<Digest, CodecError> {
        self.array(field).map(Digest::new)
    }

    pub(super) fn positive(&mut self, field: &'static str) -> Result<NonZeroU32, CodecError> {
        let at = self.offset();
        let number = self.u32(field)?;
        self.valid(field, at, NonZeroU32::new(number))
    }

    pub(super) fn node_id(&mut self) -> Result<NodeId, CodecError> {
        let at = self.offset();
        let number = self.u32("id")?;
        self.valid("id", at, NodeId::new(number))
    }

    pub(super) fn role(&mut self) -> Result<Role, CodecError> {
        let at = self.offset();
        let role = match self.u8("role")? {
            1 => Some(Role::ControlPlane),
            2 => Some(Role::Worker),
            _ => None,
        };
        self.valid("role", at, role)
    }

    pub(super) fn signer_key(&mut self, field: &'static str) -> Result<SignerKey, CodecError> {
        let at = self.offset();
        let key = PublicKey::new(self.array(field)?);
        self.valid(field, at, SignerKey::new(key).ok())
    }

    pub(super) fn plane_key(&mut self, field: &'static str) -> Result<PlaneKey, CodecError> {
        let at = self.offset();
        let key = WireguardKey::new(self.array(field)?);
        self.valid(field, at, PlaneKey::new(key).ok())
    }

    /// An address of the underlay: 16 bytes, IPv4 as mapped (RFC 4291 §2.5.5.2).
    pub(super) fn endpoint(&mut self) -> Result<Endpoint, CodecError> {
        let at = self.offset();
        let address = IpAddr::V6(Ipv6Addr::from(self.array::<16>("endpoint")?)).to_canonical();
        self.valid("endpoint", at, Endpoint::new(address))
    }

    pub(super) fn planes<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, CodecError>,
    ) -> Result<PlaneMap<T>, CodecError> {
        self.map("planes", (1, MAX_PLANES), |from| Ok((from.text("plane")?, item(from)?))).map(PlaneMap)
    }

    pub(super) fn extension(&mut self) -> Result<Extension, CodecError> {
        self.bytes("extension", Extension::MAX).map(|bytes| Extension(bytes.to_vec()))
    }

    pub(super) fn sharing_value(&mut self) -> Result<SharingValue, CodecError> {
        self.bytes("psk", SharingValue::MAX).map(|bytes| SharingValue(bytes.to_vec()))
    }
}

impl Writer {
    pub(super) fn start(&mut self, cluster: ClusterId) {
        self.u8(VERSION);
        self.raw(cluster.as_bytes());
    }

    pub(super) fn role(&mut self, role: Role) {
        self.u8(match role {
            Role::ControlPlane => 1,
            Role::Worker => 2,
        });
    }

    pub(super) fn endpoint(&mut self, endpoint: Endpoint) {
        let address = match endpoint.address() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        self.raw(&address.octets());
    }

    pub(super) fn planes<T>(&mut self, planes: &PlaneMap<T>, item: impl Fn(&mut Self, &T)) {
        self.map(&planes.0, |to, plane, value| {
            to.text(plane.as_str());
            item(to, value);
        });
    }

    pub(super) fn extension(&mut self, extension: &Extension) {
        self.bytes(&extension.0);
    }

    pub(super) fn sharing_value(&mut self, value: &SharingValue) {
        self.bytes(&value.0);
    }
}
