//! Signed statements (ADR 0002): a small TOML text with one to eight Ed25519 signatures over `domain + "\0" + body`, so
//! that a text of one kind is never accepted as a text of a different kind.
//!
//! [`read`] returns only the structure; only [`Statement::verify`] returns the body. [`Claims`] are for display.

mod bodies;
mod claims;
mod format;
mod reader;
mod writer;

pub use bodies::{ConfigurationStatement, Floors, Seed};
pub use claims::{Claims, SeedClaims};
pub use format::MAX_LEN;
pub use reader::{Statement, Verified, read};
pub use writer::{SignError, Signer, write};

/// The kind of a statement, and the version of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Domain {
    /// A configuration volume's statement.
    Configuration,
    /// The secrets of one node and one incarnation.
    Seed,
    /// The right of one incarnation of a node to enrol.
    Grant,
    /// The control planes whose signatures count.
    Authority,
    /// The right to start a lineage of a cluster.
    Genesis,
    /// Grants that a genesis arms.
    ArmList,
    /// What an operator asks for.
    Order,
}

impl Domain {
    /// The domain-separation string that is signed before the body.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "kubedos configuration v1",
            Self::Seed => "kubedos seed v1",
            Self::Grant => "kubedos grant v1",
            Self::Authority => "kubedos authority v1",
            Self::Genesis => "kubedos genesis v1",
            Self::ArmList => "kubedos arm list v1",
            Self::Order => "kubedos order v1",
        }
    }

    /// The bytes that are signed.
    fn message(self, body: &[u8]) -> zeroize::Zeroizing<Vec<u8>> {
        let domain = self.as_str().as_bytes();
        let mut message = zeroize::Zeroizing::new(Vec::with_capacity(domain.len() + 1 + body.len()));
        message.extend_from_slice(domain);
        message.push(0);
        message.extend_from_slice(body);
        message
    }
}

/// Why the bytes are not a trustworthy statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// All bytes are zero: no statement was ever written.
    #[error("the statement is empty (only zero bytes)")]
    Empty,
    /// The magic number is missing.
    #[error("not a signed statement")]
    Magic,
    /// The statement is truncated.
    #[error("the statement is truncated")]
    Truncated,
    /// The body is longer than 65,536 bytes, or the number of signatures is not 1 to 8.
    #[error("{0} is out of bounds")]
    Bounds(&'static str),
    /// A reserved byte of the header, or a byte after the statement, is not zero.
    #[error("a reserved or trailing byte is not zero")]
    NotZero,
    /// The body is not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// No trusted key has signed it.
    #[error("not signed by a trusted key (trusted keys: {0})")]
    UnknownSigner(usize),
    /// The signature of a trusted key does not verify.
    #[error("a signature does not verify")]
    BadSignature,
}

#[cfg(test)]
pub(crate) mod tests;
