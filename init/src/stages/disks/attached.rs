//! What the operator is shown of the attached disks: a line for each on the status page, and with a halt the entry of `allowDestroy` that
//! was meant to prevent it and names several disks.

use std::error::Error;
use std::fmt;

use super::choose::{self, Boot};
use super::ops::DiskOps;
use super::stage::StageError;
use super::{DisksError, survey::Survey};
use crate::agent::walk::{Class, Classified};
use crate::handover::Handover;
use crate::stages::validate_shard::Identity;

/// The attached disks as an operator sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// Name and text of each, with the reason why it was chosen or not.
    pub lines: Vec<(String, String)>,
    /// Why `allowDestroy` permits nothing on the chosen disk, where an entry names it and others too.
    no_permission: Option<String>,
}

/// Looks at them. Changes nothing.
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
        lines: choose::verdicts(&boot, system, allow_destroy, &survey),
        no_permission: chosen.and_then(|disk| choose::no_permission(disk, &survey, allow_destroy)),
    })
}

impl Attached {
    /// A failure of the stage, with what is known here of its cause.
    pub fn explain(&self, error: StageError) -> Explained {
        let note = self.no_permission.clone().filter(|_| error.class() == Class::Halt);
        Explained { error, note }
    }
}

/// A failure of the stage, explained.
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

    /// S3: an operator who named several disks by one entry reads why the disk was refused.
    #[test]
    fn a_halt_names_the_entry_that_permits_nothing() {
        let attached =
            Attached { no_permission: Some("the entry permits nothing".into()), ..Attached::default() };
        let halt = StageError::Disks(DisksError::Table(TableRefusal::Sectors {
            disk: "disk vda".into(),
            sector_bytes: 4096,
        }));
        let explained = attached.explain(halt);
        assert_eq!(explained.class(), Class::Halt);
        assert!(explained.to_string().ends_with("; the entry permits nothing"), "{explained}");
        let waits = StageError::Disks(DisksError::NoTarget(NoTarget::CdWithoutTarget));
        assert!(!attached.explain(waits).to_string().contains("permits nothing"));
    }
}
