//! From verified packages to trees: the root volume and the initrd, without running anything of the packages.
//!
//! No maintainer script runs, nothing is mounted, no root is needed: ownership, modes and links are data in a [`tree::Tree`].
//! What the scripts would have done is done here natively; which scripts those are is written down.

#[cfg(test)]
pub(crate) mod sample;
pub mod tree;
pub mod unpack;

pub use tree::{Kind, Node, Tree};
