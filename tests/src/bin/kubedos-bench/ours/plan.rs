//! Measures `kubedos-build plan` with specs of increasing numbers of nodes.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::figures::PLANS;
use crate::kubedos_build;
use crate::timed::{Cost, cost};

#[path = "../../../../../spec/examples/many_nodes/spec.rs"]
mod many_nodes;

/// The cost of the plan of one spec.
#[derive(Debug)]
pub struct PlanCost {
    /// The number of nodes in the spec.
    pub nodes: u32,
    /// The cost of each run.
    pub costs: Vec<Cost>,
}

/// Plans each number of nodes `runs` times.
pub fn plans(folder: &Path, runs: u32) -> Vec<PlanCost> {
    fs::create_dir_all(folder).unwrap();
    PLANS.map(|(nodes, ..)| plan(folder, nodes, runs)).into()
}

fn plan(folder: &Path, nodes: u32, runs: u32) -> PlanCost {
    let spec = folder.join(format!("{nodes}.yaml"));
    fs::write(&spec, many_nodes::of(nodes)).unwrap();
    let mut command = Command::new(kubedos_build());
    command.arg("plan").arg(&spec).arg("--json");
    let run = |_| cost(&command, &folder.join("plan.log")).unwrap_or_else(|failed| panic!("{failed}"));
    PlanCost { nodes, costs: (0..runs).map(run).collect() }
}
