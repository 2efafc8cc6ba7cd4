//! Which disk holds STATE and DATA. Pure.

use kubedos_spec::node;

use super::survey::{Disk, GIB, Survey, size};
use crate::handover::Medium;

/// What was booted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's name of the whole device.
    pub device: String,
    /// Disk or CD.
    pub medium: Medium,
}

/// Why no disk can be had; the node runs with volatile state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Booted from a CD, and the spec says nothing of a disk.
    #[error("booted from a CD, and the spec declares no disk for the system (`match`)")]
    CdWithoutTarget,
    /// No disk is as the spec says.
    #[error("no disk matches what the spec says of `{0}`")]
    NoMatch(String),
    /// Several are: the wrong one might be taken.
    #[error("{1} disks match what the spec says of `{0}` ({2}): it must name one")]
    Ambiguous(String, usize, String),
    /// The device that was booted from is not there any more.
    #[error("the boot disk {0} is gone")]
    BootDiskGone(String),
    /// It is smaller than declared.
    #[error("{disk} is smaller than the {declared} GiB that the spec declares")]
    SmallerThanDeclared {
        /// The disk.
        disk: String,
        /// GiB in the spec.
        declared: u32,
    },
}

/// The disk for STATE and DATA.
pub fn target<'a>(
    boot: &Boot,
    system: Option<&node::Disk>,
    survey: &'a Survey,
) -> Result<&'a Disk, NoTarget> {
    let disk = match system.and_then(|system| Some((system, system.rule.as_ref()?))) {
        Some((system, rule)) => {
            let name = system.name.to_string();
            let matching: Vec<&Disk> = survey.disks.iter().filter(|disk| disk.matches(rule)).collect();
            match matching.as_slice() {
                [disk] => *disk,
                [] => return Err(NoTarget::NoMatch(name)),
                several => {
                    let names: Vec<&str> = several.iter().map(|disk| disk.name.as_str()).collect();
                    return Err(NoTarget::Ambiguous(name, several.len(), names.join(", ")));
                }
            }
        }
        None if boot.medium == Medium::Cd => return Err(NoTarget::CdWithoutTarget),
        None => survey.disk(&boot.device).ok_or_else(|| NoTarget::BootDiskGone(boot.device.clone()))?,
    };
    match system.and_then(|system| system.size_gib) {
        Some(declared) if disk.bytes < u64::from(declared) * GIB => {
            Err(NoTarget::SmallerThanDeclared { disk: disk.to_string(), declared })
        }
        _ => Ok(disk),
    }
}

/// The line that the status page shows of a disk.
pub fn line(disk: &Disk) -> String {
    let serial = disk.serial.as_ref().map_or(String::new(), |serial| format!(", serial {serial}"));
    format!("{}, {}{serial}, {} partitions", disk.name, size(disk.bytes), disk.partitions.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_spec::node::{DiskPurpose, DiskRule};
    use std::collections::BTreeMap;

    fn survey() -> Survey {
        let disk = |name: &str, gib: u64, serial: &str| Disk {
            name: name.into(),
            bytes: gib * GIB,
            sector_bytes: 512,
            read_only: false,
            serial: Some(serial.into()),
            wwn: None,
            paths: vec![],
            partitions: BTreeMap::new(),
        };
        Survey {
            disks: vec![disk("vda", 20, "A"), disk("vdb", 40, "B"), disk("vdc", 40, "C")],
            ..Survey::default()
        }
    }

    fn system(rule: Option<DiskRule>, size_gib: Option<u32>) -> node::Disk {
        node::Disk { name: "system".parse().unwrap(), purpose: DiskPurpose::System, size_gib, rule }
    }

    fn by_size(gib: u32) -> Option<DiskRule> {
        Some(DiskRule { min_size_gib: Some(gib), ..DiskRule::default() })
    }

    #[test]
    fn the_boot_disk_unless_the_spec_names_another() {
        let boot = |device: &str, medium| Boot { device: device.into(), medium };
        let serial = Some(DiskRule { serial: Some("B".into()), ..DiskRule::default() });
        let cases = [
            (boot("vda", Medium::Disk), Some(system(None, None)), Ok("vda")),
            (boot("vda", Medium::Disk), None, Ok("vda")),
            (boot("vda", Medium::Disk), Some(system(serial.clone(), None)), Ok("vdb")),
            (boot("sr0", Medium::Cd), Some(system(serial, None)), Ok("vdb")),
            (boot("sr0", Medium::Cd), Some(system(None, None)), Err("booted from a CD")),
            (boot("vdz", Medium::Disk), None, Err("the boot disk vdz is gone")),
            (boot("vda", Medium::Disk), Some(system(by_size(30), None)), Err("2 disks match")),
            (boot("vda", Medium::Disk), Some(system(by_size(50), None)), Err("no disk matches")),
            (boot("vda", Medium::Disk), Some(system(None, Some(21))), Err("smaller than the 21 GiB")),
            (boot("vda", Medium::Disk), Some(system(None, Some(20))), Ok("vda")),
        ];
        let survey = survey();
        for (boot, system, expected) in cases {
            match (target(&boot, system.as_ref(), &survey), expected) {
                (Ok(disk), Ok(name)) => assert_eq!(disk.name, name),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (got, expected) => panic!("{got:?}, not {expected:?}"),
            }
        }
    }
}
