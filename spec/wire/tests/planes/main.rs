//! Requirement N1: the roster as a document, and the planes of a node with their peers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of test functions"
)]

mod clusters;
mod contradictions;
mod peers;
mod roster;
