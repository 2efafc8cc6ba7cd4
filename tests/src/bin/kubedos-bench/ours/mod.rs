//! The measurements of kubedOS: builds, sizes, boots, memory and plans.

mod boot;
mod build;
mod plan;

pub use boot::{BootTimes, agent_memory, boot_pair, boots, uki_start};
pub use build::{Builds, Ours, Sizes, example_with, uki_parts};
pub use plan::{PlanCost, plans};
