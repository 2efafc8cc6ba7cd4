//! Tests of the whole Disks stage with disks in memory: power cuts, losses, and records on several disks.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test outside of a `test` module; a panic is its verdict"
)]

mod floors;
mod losses;
mod machine;
mod power_cut;
