//! What a statement says while nobody has verified it: to be shown to people, and for nothing else. Of a seed only what is not secret.

use super::{ConfigurationStatement, Statement};
use crate::document::{self, DocumentError};
use crate::hex32::ClusterId;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A body that is believed by nobody.
#[expect(missing_debug_implementations, reason = "the body may hold secrets")]
#[derive(Clone, Copy)]
pub struct Claims<'a> {
    body: &'a str,
}

/// Whose a seed says that it is. The secrets beside that are skipped.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SeedClaims {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// From 1.
    pub incarnation: u32,
    voucher: Option<IgnoredAny>,
}

impl SeedClaims {
    /// Is there a voucher in it?
    pub fn has_voucher(&self) -> bool {
        self.voucher.is_some()
    }
}

impl<'a> Statement<'a> {
    /// The body, unverified.
    pub fn claims(&self) -> Claims<'a> {
        Claims { body: self.body() }
    }
}

impl Claims<'_> {
    /// As the statement of a configuration.
    pub fn configuration(&self) -> Result<ConfigurationStatement, DocumentError> {
        ConfigurationStatement::parse_body(self.body)
    }

    /// As a seed.
    pub fn seed(&self) -> Result<SeedClaims, DocumentError> {
        let claims: SeedClaims = document::parse(self.body.as_bytes()).map_err(document::without_content)?;
        for (field, text) in [("cluster", &claims.cluster), ("node", &claims.node)] {
            if !document::is_name(text) {
                return Err(DocumentError::Value(field));
            }
        }
        Ok(claims)
    }
}
