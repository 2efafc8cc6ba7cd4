//! The report about the attached disks: one line for each disk on the status page, and, when the stage halts, the
//! `allowDestroy` entry that has no effect because it names several disks.

use std::error::Error;
use std::fmt;

use super::choose::{self, Boot};
use super::ops::DiskOps;
use super::stage::StageError;
use super::{DisksError, survey::Survey};
use crate::stages::validate_shard::Identity;
use kubedos_base::outcome::{Class, Classified};
use kubedos_wire::handover::Handover;

/// The attached disks, as reported to the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// Name and description of each disk, with the reason why it was chosen or not.
    pub lines: Vec<(String, String)>,
    /// Why `allowDestroy` has no effect on the chosen disk: an entry names it together with other disks.
    no_permission: Option<String>,
}

/// Observes the disks. Makes no change.
pub fn observe(
    ops: &mut dyn DiskOps,
    handover: &Handover,
    identity: &Identity,
) -> Result<Attached, StageError> {
    let boot = Boot { device: handover.boot_device.clone(), medium: handover.medium };
    let survey: Survey = ops.survey().map_err(DisksError::from)?;
    let (system, allow_destroy) = (identity.shard.system_disk(), &identity.shard.allow_destroy);
    let chosen = choose::target(&boot, system, &survey).ok();
    Ok(Attached {
        lines: choose::verdicts(&boot, &identity.seed_device, system, allow_destroy, &survey),
        no_permission: chosen.and_then(|disk| choose::no_permission(disk, &survey, allow_destroy)),
    })
}

impl Attached {
    /// Adds to a failure of the stage why `allowDestroy` had no effect, if that is a cause.
    pub fn explain(&self, error: StageError) -> Explained {
        let note = self.no_permission.clone().filter(|_| error.class() == Class::Halt);
        Explained { error, note }
    }
}

/// A failure of the stage with its explanation.
#[derive(Debug)]
pub struct Explained {
    error: StageError,
    note: Option<String>,
}

impl From<StageError> for Explained {
    fn from(error: StageError) -> Self {
        Self { error, note: None }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)?;
        self.note.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Classified for Explained {
    fn class(&self) -> Class {
        self.error.class()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::disks::choose::NoTarget;
    use crate::stages::disks::table::TableRefusal;

    /// S3: if an `allowDestroy` entry names several disks, the error explains why the disk was refused.
    #[test]
    fn a_halt_reports_the_allow_destroy_entry_without_effect() {
        let attached =
            Attached { no_permission: Some("the entry has no effect".into()), ..Attached::default() };
        let halt = StageError::Disks(DisksError::Table(TableRefusal::Sectors {
            disk: "disk vda".into(),
            sector_bytes: 4096,
        }));
        let explained = attached.explain(halt);
        assert_eq!(explained.class(), Class::Halt);
        assert!(explained.to_string().ends_with("; the entry has no effect"), "{explained}");
        let waits = StageError::Disks(DisksError::NoTarget(NoTarget::CdWithoutTarget));
        assert!(!attached.explain(waits).to_string().contains("has no effect"));
    }
}
