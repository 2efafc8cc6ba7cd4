//! The fixed stage graph of a node, and the eight stages of a cluster's plan that contain its stages (`docs/stages.md`).
//!
//! Stages are data here: for each stage its dependencies, the effect of a second run, and the place where it runs. The
//! agent runs the stages according to this table, and `plan` draws it. The work of the stages is implemented in the agent.

use serde::{Deserialize, Serialize};

/// A stage that the agent runs on a node, in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Finds the shard of this node, and checks that it belongs to this cluster and this node.
    ValidateShard,
    /// Ensures that partitions, LUKS2 containers and file systems exist, are intact and are mounted.
    Disks,
    /// Host name, kernel parameters, lockdown, audit rules, clock floor.
    Baseline,
    /// The three WireGuard planes and the firewall.
    Backplanes,
    /// The node proves its identity and becomes a member.
    Enroll,
    /// Platform roles: runtimes, storage, services.
    Converge,
    /// Kubernetes, its network and its observability.
    Workload,
    /// The node marks the booted image as good and reports.
    Seal,
}

/// A step of stage 1, in the initrd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EarlyStage {
    /// Loads the kernel modules that the boot device needs.
    Modules,
    /// Finds the partitions of the sealed volumes, by hash.
    FindVolumes,
    /// Opens the root volume with dm-verity.
    OpenRoot,
    /// Opens the payload volume with dm-verity.
    OpenPayload,
    /// Checks the signature of the configuration, and opens its volume with dm-verity.
    OpenConfiguration,
    /// Switches to the root volume.
    SwitchRoot,
}

/// The effect of running a stage again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rerun {
    /// A second run makes no change.
    Safe,
    /// A second run corrects drift.
    MendsDrift,
    /// A second run may destroy data, but only on disks in `allowDestroy`.
    Destructive,
}

/// Where a stage of the plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In `kubedos-build`, before the image exists.
    Build,
    /// On the hypervisor, in the cloud or on the test bench.
    Substrate,
    /// In the agent on each node.
    Node,
}

/// One stage of a cluster's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlanStage {
    /// Its name.
    pub name: &'static str,
    /// Where it runs.
    pub place: Place,
    /// The agent's stages that implement it.
    pub stages: &'static [Stage],
    /// The effect of a second run.
    pub rerun: Rerun,
}

/// The eight stages of the plan, in order.
pub const PLAN_STAGES: [PlanStage; 8] = [
    PlanStage {
        name: "Validate Spec",
        place: Place::Build,
        stages: &[Stage::ValidateShard],
        rerun: Rerun::Safe,
    },
    PlanStage { name: "Provision Substrate", place: Place::Substrate, stages: &[], rerun: Rerun::MendsDrift },
    PlanStage {
        name: "First Boot",
        place: Place::Node,
        stages: &[Stage::Disks, Stage::Baseline],
        rerun: Rerun::Destructive,
    },
    PlanStage {
        name: "Backplanes Up",
        place: Place::Node,
        stages: &[Stage::Backplanes],
        rerun: Rerun::MendsDrift,
    },
    PlanStage {
        name: "Discovery / Enrollment",
        place: Place::Node,
        stages: &[Stage::Enroll],
        rerun: Rerun::Safe,
    },
    PlanStage {
        name: "Converge Platform Roles",
        place: Place::Node,
        stages: &[Stage::Converge],
        rerun: Rerun::MendsDrift,
    },
    PlanStage {
        name: "Bring Up Reference Workload",
        place: Place::Node,
        stages: &[Stage::Workload],
        rerun: Rerun::MendsDrift,
    },
    PlanStage { name: "Seal", place: Place::Node, stages: &[Stage::Seal], rerun: Rerun::Safe },
];

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 8] = [
        Self::ValidateShard,
        Self::Disks,
        Self::Baseline,
        Self::Backplanes,
        Self::Enroll,
        Self::Converge,
        Self::Workload,
        Self::Seal,
    ];

    /// The stages that must have ended successfully before this one starts.
    pub const fn needs(self) -> &'static [Self] {
        match self {
            Self::ValidateShard => &[],
            Self::Disks => &[Self::ValidateShard],
            Self::Baseline => &[Self::Disks],
            Self::Backplanes => &[Self::Baseline],
            Self::Enroll => &[Self::Backplanes],
            Self::Converge => &[Self::Enroll],
            Self::Workload => &[Self::Converge],
            Self::Seal => &[Self::Workload],
        }
    }

    /// The effect of running the stage again (requirement S3).
    pub const fn rerun(self) -> Rerun {
        match self {
            Self::ValidateShard | Self::Enroll | Self::Seal => Rerun::Safe,
            Self::Disks => Rerun::Destructive,
            Self::Baseline | Self::Backplanes | Self::Converge | Self::Workload => Rerun::MendsDrift,
        }
    }

    /// Whether this version of the agent implements the stage; the others report `waiting`.
    pub const fn in_this_version(self) -> bool {
        matches!(self, Self::ValidateShard | Self::Disks | Self::Baseline | Self::Backplanes)
    }

    /// The stage's name in records and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ValidateShard => "ValidateShard",
            Self::Disks => "Disks",
            Self::Baseline => "Baseline",
            Self::Backplanes => "Backplanes",
            Self::Enroll => "Enroll",
            Self::Converge => "Converge",
            Self::Workload => "Workload",
            Self::Seal => "Seal",
        }
    }
}

impl EarlyStage {
    /// The step's name in records and documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Modules => "Modules",
            Self::FindVolumes => "FindVolumes",
            Self::OpenRoot => "OpenRoot",
            Self::OpenPayload => "OpenPayload",
            Self::OpenConfiguration => "OpenConfiguration",
            Self::SwitchRoot => "SwitchRoot",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_needs_only_earlier_stages() {
        for stage in Stage::ALL {
            assert!(stage.needs().iter().all(|need| *need < stage), "{stage:?}");
        }
    }

    #[test]
    fn the_plan_contains_every_stage_once_and_in_order() {
        let named: Vec<Stage> = PLAN_STAGES.iter().flat_map(|stage| stage.stages.iter().copied()).collect();
        assert_eq!(named, Stage::ALL);
    }

    #[test]
    fn names_equal_their_serialized_form() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
    }
}
