//! The content of a statement before it is verified: only for display, never for a decision. For a seed it excludes the
//! secrets.

use super::bodies::VERSION;
use super::{ConfigurationStatement, Floors, Statement};
use crate::document::{self, DocumentError};
use crate::hex32::ClusterId;
use crate::release::Release;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An unverified body.
#[expect(missing_debug_implementations, reason = "the body may contain secrets")]
#[derive(Clone, Copy)]
pub struct Claims<'a> {
    body: &'a str,
}

/// The unverified content of a seed without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedClaims {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// The incarnation, from 1.
    pub incarnation: u32,
    /// The lowest generation and release that the node may boot; `None` in a seed of version 1.
    pub floors: Option<Floors>,
    /// Whether it contains a voucher.
    pub has_voucher: bool,
}

#[derive(Deserialize)]
struct ClaimsText {
    version: u64,
    cluster: String,
    cluster_id: ClusterId,
    node: String,
    incarnation: u32,
    generation_floor: Option<u64>,
    minimum_release: Option<Release>,
    voucher: Option<IgnoredAny>,
}

impl<'a> Statement<'a> {
    /// The body, unverified.
    pub fn claims(&self) -> Claims<'a> {
        Claims { body: self.body() }
    }
}

impl Claims<'_> {
    /// Parses the body as the statement of a configuration.
    pub fn configuration(&self) -> Result<ConfigurationStatement, DocumentError> {
        ConfigurationStatement::parse_body(self.body)
    }

    /// Parses the body as a seed.
    pub fn seed(&self) -> Result<SeedClaims, DocumentError> {
        let text: ClaimsText =
            document::parse(self.body.as_bytes(), VERSION).map_err(document::without_content)?;
        for (field, name) in [("cluster", &text.cluster), ("node", &text.node)] {
            if !document::is_name(name) {
                return Err(DocumentError::Value(field));
            }
        }
        let floors = Floors::read(text.version, text.generation_floor, text.minimum_release)?;
        let has_voucher = text.voucher.is_some();
        let ClaimsText { cluster, cluster_id, node, incarnation, .. } = text;
        Ok(SeedClaims { cluster, cluster_id, node, incarnation, floors, has_voucher })
    }
}
