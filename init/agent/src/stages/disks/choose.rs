//! Chooses the disk for STATE and DATA. Pure.

use std::fmt;

use kubedos_survey::controllers;
use kubedos_survey::judge::{self, Difference, Mismatch, Permission};
use kubedos_survey::show;
use kubedos_wire::node::{self, DiskIdentity, DiskRule};

use super::survey::{Disk, GIB, Survey, size};
use kubedos_wire::handover::Medium;

/// The device that the machine booted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's name of the whole device.
    pub device: String,
    /// Disk or CD.
    pub medium: Medium,
}

/// Why no disk is usable. The node then runs with STATE and DATA in memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// Booted from a CD, and the spec declares no disk.
    #[error("booted from a CD, and the spec declares no disk for the system (`match`)")]
    CdWithoutTarget,
    /// No disk matches the rule.
    #[error("no disk matches {0}")]
    NoMatch(Unmatched),
    /// Several disks match the rule. The agent does not choose one, because it could write to the wrong disk.
    #[error("{1} disks match {0}; {2}")]
    Ambiguous(Unmatched, usize, String),
    /// The boot disk is no longer attached.
    #[error("the boot disk {0} is not attached")]
    BootDiskAbsent(String),
    /// The disk is smaller than the spec declares.
    #[error("{disk} is smaller than the {declared} GiB that the spec declares")]
    SmallerThanDeclared {
        /// Kernel name of the disk.
        disk: String,
        /// The declared size in GiB.
        declared: u32,
    },
}

/// A rule, and all disks, each with the reason why it was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    /// The disk's name in the spec.
    pub name: String,
    /// The rule, as text.
    pub rule: String,
    /// One line for each disk, the closest matches first.
    pub disks: Vec<String>,
    /// Advice for disks that are missing because their controller has no driver.
    pub advice: Option<String>,
}

/// Maximum length in bytes of the list of disks in a record. A record has 900 bytes
/// (`kubedos_wire::record::MAX_BYTES`); its other fields take up to 300.
const RECORD_BYTES: usize = 480;

/// Maximum number of characters of one value in a record. A world-wide name of 128 bits has 36.
const RECORD_VALUE: usize = 40;

impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = show::within(160, std::slice::from_ref(&self.rule));
        write!(f, "the spec's disk `{}` ({rule}): ", self.name)?;
        match self.disks.as_slice() {
            [] => f.write_str("no disk is attached"),
            disks => {
                let advice = self.advice.as_ref().map_or(0, String::len);
                f.write_str(&show::within(RECORD_BYTES.saturating_sub(rule.len() + advice), disks))
            }
        }?;
        self.advice.iter().try_for_each(|advice| write!(f, "; {advice}"))
    }
}

/// The line of a disk for the record, and its distance from a match: first in names, then in all fields.
fn judged(disk: &Disk, rule: &DiskRule) -> ((usize, usize), String) {
    let mismatches = judge::rule(disk, rule);
    let names: usize = mismatches.iter().map(distance).sum();
    let reasons: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
    let reasons = if reasons.is_empty() { "matches".to_owned() } else { reasons.join(", ") };
    ((names, mismatches.len()), format!("{}: {reasons}", show::line(disk, RECORD_VALUE)))
}

/// The distance between a name and the expected one. A name in the wrong case is the most likely mistake.
const fn distance(mismatch: &Mismatch) -> usize {
    match mismatch {
        Mismatch::Name { difference: Difference::CaseOnly, .. } => 1,
        Mismatch::Name { .. } => 2,
        Mismatch::EmptyRule | Mismatch::NoMedium | Mismatch::TooSmall { .. } | Mismatch::TooLarge { .. } => 0,
    }
}

fn unmatched(name: String, rule: &DiskRule, survey: &Survey) -> Unmatched {
    let mut disks: Vec<_> = survey.disks.iter().map(|disk| judged(disk, rule)).collect();
    disks.sort_by_key(|(distance, _)| *distance);
    Unmatched {
        name,
        rule: judge::rule_text(rule),
        disks: disks.into_iter().map(|(_, line)| line).collect(),
        advice: controllers::advice(&survey.undriven),
    }
}

/// The start of the text for a disk that is used for its seed only.
pub const HAS_THE_SEED: &str = "has the seed";

/// Every disk with the reason why it was chosen or not, and the `allowDestroy` entries that have no effect; for the
/// status page.
pub fn verdicts(
    boot: &Boot,
    seed: &str,
    system: Option<&node::Disk>,
    allow_destroy: &[DiskIdentity],
    survey: &Survey,
) -> Vec<(String, String)> {
    let rule = system.and_then(|system| system.rule.as_ref());
    let chosen = target(boot, system, survey).map(|disk| disk.name.clone());
    let verdict = |disk: &Disk| {
        let verdict = match rule {
            _ if chosen.as_ref().is_ok_and(|name| *name == disk.name) => "chosen".to_owned(),
            _ if disk.name == seed => HAS_THE_SEED.to_owned(),
            Some(rule) => match judge::rule(disk, rule).as_slice() {
                [] => "matches, but is not chosen".to_owned(),
                reasons => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            },
            None if disk.name == boot.device => "booted from it, but it is not chosen".to_owned(),
            None => "not booted from it".to_owned(),
        };
        let permission = match judge::permission(disk, &survey.disks, allow_destroy) {
            Permission::Granted => "; allowDestroy names it".to_owned(),
            Permission::NotNamed => String::new(),
            Permission::Ambiguous { entry, disks } => format!("; {}", without_effect(&entry, &disks)),
        };
        (disk.name.clone(), format!("{verdict}{permission}; {}", show::line(disk, show::LONGEST)))
    };
    let undriven = survey.undriven.iter().map(|controller| ("no driver".to_owned(), controller.to_string()));
    survey.disks.iter().map(verdict).chain(undriven).collect()
}

/// The message for an `allowDestroy` entry that names several disks.
fn without_effect(entry: &str, disks: &[String]) -> String {
    format!(
        "the allowDestroy entry {entry} names {} disks ({}) and permits nothing",
        disks.len(),
        disks.join(", ")
    )
}

/// Why `allowDestroy` does not permit data loss on this disk, when an entry names it together with other disks.
pub fn no_permission(disk: &Disk, survey: &Survey, allow_destroy: &[DiskIdentity]) -> Option<String> {
    match judge::permission(disk, &survey.disks, allow_destroy) {
        Permission::Ambiguous { entry, disks } => Some(without_effect(&entry, &disks)),
        Permission::Granted | Permission::NotNamed => None,
    }
}

/// Chooses the disk for STATE and DATA.
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
                [] => return Err(NoTarget::NoMatch(unmatched(name, rule, survey))),
                several => {
                    let unmatched = unmatched(name, rule, survey);
                    return Err(NoTarget::Ambiguous(unmatched, several.len(), judge::apart(several)));
                }
            }
        }
        None if boot.medium == Medium::Cd => return Err(NoTarget::CdWithoutTarget),
        None => survey.disk(&boot.device).ok_or_else(|| NoTarget::BootDiskAbsent(boot.device.clone()))?,
    };
    match system.and_then(|system| system.size_gib) {
        Some(declared) if disk.bytes < u64::from(declared) * GIB => {
            Err(NoTarget::SmallerThanDeclared { disk: disk.to_string(), declared })
        }
        _ => Ok(disk),
    }
}

/// The description of a disk on the status page.
pub fn line(disk: &Disk) -> String {
    let serial =
        disk.serials.first().map_or(String::new(), |serial| format!(", serial {}", show::plain(serial)));
    format!("{}, {}{serial}, {} partitions", disk.name, size(disk.bytes), disk.partitions.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_wire::node::{DiskPurpose, DiskRule};

    fn survey() -> Survey {
        let disk = |name: &str, gib: u64, serial: &str| Disk {
            serials: vec![serial.into()],
            ..Disk::new(name, gib * GIB)
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
    fn the_boot_disk_is_chosen_unless_the_spec_names_a_disk() {
        let boot = |device: &str, medium| Boot { device: device.into(), medium };
        let serial = Some(DiskRule { serial: Some("B".into()), ..DiskRule::default() });
        let cases = [
            (boot("vda", Medium::Disk), Some(system(None, None)), Ok("vda")),
            (boot("vda", Medium::Disk), None, Ok("vda")),
            (boot("vda", Medium::Disk), Some(system(serial.clone(), None)), Ok("vdb")),
            (boot("sr0", Medium::Cd), Some(system(serial, None)), Ok("vdb")),
            (boot("sr0", Medium::Cd), Some(system(None, None)), Err("booted from a CD")),
            (boot("vdz", Medium::Disk), None, Err("the boot disk vdz is not attached")),
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

    fn no_target(rule: DiskRule, survey: &Survey) -> String {
        let boot = Boot { device: "sr0".into(), medium: Medium::Cd };
        target(&boot, Some(&system(Some(rule), None)), survey).unwrap_err().to_string()
    }

    /// O1: the error lists all disks with the reason why each was not chosen; the closest match is the first.
    #[test]
    fn every_disk_is_listed_with_the_reason() {
        let rule = DiskRule { serial: Some("C".into()), min_size_gib: Some(50), ..DiskRule::default() };
        assert_eq!(
            no_target(rule.clone(), &survey()),
            "no disk matches the spec's disk `system` (serial \"C\", minSizeGiB 50): vdc 40.0 GiB serial \"C\": 40.0 GiB is \
             less than minSizeGiB 50; vda 20.0 GiB serial \"A\": different serial, 20.0 GiB is less than minSizeGiB 50; vdb 40.0 \
             GiB serial \"B\": different serial, 40.0 GiB is less than minSizeGiB 50"
        );
        assert!(no_target(rule, &Survey::default()).ends_with("no disk is attached"));
        let several = no_target(by_size(30).unwrap(), &survey());
        assert!(
            several.starts_with("2 disks match the spec's disk `system` (minSizeGiB 30): vdb 40.0 GiB"),
            "{several}"
        );
        assert!(several.ends_with("name one by its `serial`"), "{several}");
    }

    /// O1: sixty disks with the longest names fit into one record; the record counts the disks that it does not list.
    #[test]
    fn a_record_lists_the_closest_disks_and_counts_the_others() {
        let mut survey = Survey::default();
        for number in 0..60 {
            survey.disks.push(Disk {
                model: Some("\u{1b}M".repeat(60)),
                serials: vec![format!("{number:030}")],
                wwns: vec![format!("naa.{number:032x}")],
                paths: vec!["p".repeat(200)],
                ..Disk::new(format!("sd{number}"), 20 * GIB)
            });
        }
        survey.disks.push(Disk { serials: vec!["C".into()], ..Disk::new("vdz", GIB) });
        let rule = DiskRule { serial: Some("C".into()), min_size_gib: Some(5), ..DiskRule::default() };
        let error = no_target(rule, &survey);
        let mut record =
            kubedos_wire::record::Record::new(1000, 1000.5, "Disks", kubedos_wire::record::Outcome::Waiting);
        record.node = Some("n".repeat(63));
        record.on = Some("disk".into());
        record.note = Some(format!("{error}; STATE and DATA are in memory until the next boot"));
        let line = record.line();
        assert!(line.contains("vdz 1.0 GiB") && line.contains(" more; STATE and DATA"), "{line}");
        assert!(!line.contains('…') || line.contains("until the next boot"), "{line}");
    }

    /// S3: the status page shows which disk was chosen, why the others were not, and which permission has no effect.
    #[test]
    fn the_page_lists_every_disk_with_the_reason() {
        let mut survey = survey();
        survey.disks.push(Disk { serials: vec!["B".into()], ..Disk::new("vdd", GIB) });
        let boot = Boot { device: "vda".into(), medium: Medium::Disk };
        let entry = |serial: &str| DiskIdentity { serial: Some(serial.into()), ..DiskIdentity::default() };
        let allow = [entry("B"), entry("C")];
        let lines = verdicts(&boot, "vda", Some(&system(by_size(20), None)), &allow, &survey);
        let lines: Vec<String> = lines.into_iter().map(|(name, text)| format!("{name} {text}")).collect();
        assert!(lines[0].starts_with("vda has the seed; vda 20.0 GiB"), "{}", lines[0]);
        assert!(lines[1].contains("names 2 disks (vdb, vdd) and permits nothing"), "{}", lines[1]);
        assert!(lines[2].contains("allowDestroy names it"), "{}", lines[2]);
        assert!(lines[3].starts_with("vdd 1.0 GiB is less than minSizeGiB 20"), "{}", lines[3]);
        let lines = verdicts(&boot, "none", Some(&system(by_size(20), None)), &allow, &survey);
        assert!(lines[0].1.starts_with("matches, but is not chosen; vda 20.0 GiB"), "{}", lines[0].1);
        let lines = verdicts(&boot, "vda", None, &[], &survey);
        assert!(
            lines[0].1.starts_with("chosen") && lines[1].1.starts_with("not booted from it"),
            "{lines:?}"
        );
        assert!(
            !survey.may_destroy(&survey.disks[1], &allow) && survey.may_destroy(&survey.disks[2], &allow)
        );
    }
}
