//! The statements of the membership protocol: what people sign rarely, and inspect (ADR 0067). Containers and domains are
//! those of all statements (ADR 0002), the body is TOML. An unknown field is ignored, an unknown version is refused (ADR 0003).
//!
//! [`open`] is the only way to content that somebody else signed: it verifies the signature before it reads the text, and
//! compares the cluster. The caller names the keys that may sign: the trust keys for authority sets, genesis tokens and arm
//! lists; the seed keys for grants; the key of the operator for an order.

mod arm_list;
mod authority_set;
mod genesis_token;
mod grant;
mod order;

pub use arm_list::{ArmList, MAX_ARM_LISTS, MAX_ARMED, arm_digest};
pub use authority_set::{AuthorityMember, AuthorityStatement};
pub use genesis_token::{GenesisToken, NamedIncarnation, RevokedIncarnation};
pub use grant::{GrantStatement, SignedGrant};
pub use order::{OrderStatement, Verb};

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document::{self, DocumentError};
use crate::hex32::{ClusterId, Digest, PublicKey, sha256};
use crate::statement::{self, Domain, StatementError};

/// The version of all bodies that this release reads and writes.
const VERSION: u64 = 1;

/// The body of a kind of statement.
pub trait Body: Serialize + DeserializeOwned {
    /// The domain of the kind.
    const DOMAIN: Domain;

    /// The cluster that the statement is about.
    fn cluster_id(&self) -> ClusterId;

    /// Checks what the types do not check.
    ///
    /// # Errors
    /// Names the field.
    fn check(&self) -> Result<(), DocumentError>;
}

/// Content that was verified, or that this program writes, with the digest of the body, by which other documents refer to it.
/// The digest does not depend on who has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WithDigest<B> {
    body: B,
    digest: Digest,
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementRefusal {
    /// The bytes are not a statement, or no accepted key has signed it.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The signed text is not a document of its kind.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// It is for another cluster.
    #[error("signed for the cluster {found}, but this is the cluster {expected}")]
    Foreign {
        /// The cluster in the statement.
        found: ClusterId,
        /// The own cluster.
        expected: ClusterId,
    },
}

#[derive(Serialize)]
struct Versioned<'a, B> {
    version: u64,
    #[serde(flatten)]
    body: &'a B,
}

impl<B: Body> WithDigest<B> {
    /// Takes content that this program signs; returns it with the text of the body.
    ///
    /// # Errors
    /// If a reader would refuse it.
    pub fn emit(body: B) -> Result<(Self, String), DocumentError> {
        body.check()?;
        let text = toml::to_string(&Versioned { version: VERSION, body: &body })?;
        document::within(text.len(), document::MAX_LEN)?;
        let digest = Digest::new(sha256(&[text.as_bytes()]));
        Ok((Self { body, digest }, text))
    }

    /// The content.
    pub const fn body(&self) -> &B {
        &self.body
    }

    /// SHA-256 of the body.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

/// Verifies and reads a statement: a key of `keys` has signed it, and it is for this cluster. Returns it with the first such
/// key.
///
/// # Errors
/// [`StatementRefusal`].
pub fn open<B: Body>(
    bytes: &[u8],
    keys: &[PublicKey],
    cluster: ClusterId,
) -> Result<(WithDigest<B>, PublicKey), StatementRefusal> {
    let read = statement::read(bytes)?;
    let verified = read.verify(B::DOMAIN, keys)?;
    let text = verified.body().as_bytes();
    let body: B = document::parse(text, VERSION)?;
    body.check()?;
    if body.cluster_id() != cluster {
        return Err(StatementRefusal::Foreign { found: body.cluster_id(), expected: cluster });
    }
    Ok((WithDigest { body, digest: Digest::new(sha256(&[text])) }, verified.signer()))
}

/// Fails if a value is not allowed.
fn require(field: &'static str, is_valid: bool) -> Result<(), DocumentError> {
    if is_valid { Ok(()) } else { Err(DocumentError::Value(field)) }
}

/// Fails if the values are not in their order, or one occurs twice.
fn require_sorted<T: Ord>(field: &'static str, values: impl Iterator<Item = T>) -> Result<(), DocumentError> {
    require(field, values.is_sorted_by(|one, next| one < next))
}

/// Fails if a value occurs twice.
fn require_once<T: Ord + Display>(
    what: &'static str,
    values: impl Iterator<Item = T>,
) -> Result<(), DocumentError> {
    let mut seen = std::collections::BTreeSet::new();
    for value in values {
        let text = value.to_string();
        if !seen.insert(value) {
            return Err(DocumentError::Twice { what, value: text });
        }
    }
    Ok(())
}
