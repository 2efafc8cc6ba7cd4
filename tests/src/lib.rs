//! What the tests of the whole share: the product that `make image` built, a rig to boot it in, and the means to tamper with copies.
//!
//! Everything here panics with a reason when it cannot do its work: a test that cannot run has failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a failure here is a failed test, and says why"
)]
#![forbid(unsafe_code)]

mod node;
mod product;
mod rig;
mod tamper;

pub use node::{Expect, baseline, status_page};
pub use product::Product;
pub use rig::{DISK, Rig, tools};
pub use tamper::{Slice, flip, plant, uki_name};
