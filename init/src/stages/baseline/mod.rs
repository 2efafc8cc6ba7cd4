//! Baseline: host name, kernel parameters, lockdown, audit rules, clock floor. Read back, compared, mended; also in the reconcile loop.
//!
//! The parameters are the file that `docs/hardening.md` documents, [`PARAMETERS`], in the form of sysctl.d(5) without patterns. The
//! host name is the parameter `kernel.hostname`. Modules stay loadable (signed ones only, by lockdown), since later stages need
//! them.

pub mod audit;
pub mod parameters;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubedos_image::hex32::sha256;
use kubedos_sys::audit::{Rule, Rules};
use rustix::time::{ClockId, Timespec, clock_settime};
use serde::{Deserialize, Serialize};

use crate::agent::walk::{Class, Classified};
use crate::durable;
use audit::{Auditor, ThisKernel};
use parameters::{Parameter, ParametersError};

/// The documented kernel parameters.
pub const PARAMETERS: &str = "/usr/lib/sysctl.d/50-kubedos.conf";

/// What STATE remembers of the last baseline.
const FILE: &str = "baseline.toml";

/// What should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Parameters, the host name among them.
    pub parameters: Vec<Parameter>,
    /// The audit rules; these and no others.
    pub rules: Vec<Rule>,
    /// Seconds since 1970 that the clock must not be before.
    pub clock_floor: u64,
}

/// What is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Have {
    /// The value of each wanted parameter, in their order; `None` when the kernel has no such parameter.
    pub values: Vec<Option<String>>,
    /// Lockdown is on.
    pub locked_down: bool,
    /// The audit rules in force.
    pub audit: Rules,
    /// The clock, seconds since 1970.
    pub clock: u64,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Gives a kernel parameter its value.
    Set {
        /// Its name.
        name: String,
        /// What it was.
        was: String,
        /// What it should be.
        value: String,
    },
    /// Raises lockdown to `integrity`; it cannot be lowered again.
    LockDown,
    /// Adds an audit rule.
    Audit(Rule),
    /// Removes an audit rule that is not ours.
    AuditNoMore(Rule),
    /// Locks the audit rules until the next boot.
    LockAudit,
    /// Puts the clock forward to its floor.
    LiftClock {
        /// Where it was.
        from: u64,
        /// Where it should be.
        to: u64,
    },
}

/// Why the baseline does not hold.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The parameters' file.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The kernel has none of that name.
    #[error("this kernel has no parameter {0}")]
    Unknown(String),
    /// They cannot be changed before the next boot.
    #[error("the audit rules are locked, and others than wanted")]
    AuditLocked,
    /// The kernel refused.
    #[error("failed to {0}")]
    Kernel(String, #[source] io::Error),
    /// What STATE remembers.
    #[error("failed to remember the baseline")]
    Remember(#[source] io::Error),
}

impl Classified for BaselineError {
    fn class(&self) -> Class {
        match self {
            Self::AuditLocked | Self::Kernel(..) | Self::Remember(_) => Class::Retry,
            Self::Parameters(_) | Self::Unknown(_) => Class::Halt,
        }
    }
}

/// Where the kernel shows its settings.
#[derive(Debug, Clone)]
pub struct Kernel<A = ThisKernel> {
    /// `/proc/sys`.
    pub parameters: PathBuf,
    /// `/sys/kernel/security/lockdown`.
    pub lockdown: PathBuf,
    /// Who holds the audit rules.
    pub audit: A,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            parameters: "/proc/sys".into(),
            lockdown: "/sys/kernel/security/lockdown".into(),
            audit: ThisKernel,
        }
    }
}

/// The documented parameters, the host name, and the documented audit rules.
pub fn want(file: &Path, hostname: &str, clock_floor: u64) -> Result<Want, BaselineError> {
    let mut parameters = parameters::read(file)?;
    parameters.push(Parameter {
        name: "kernel.hostname".into(),
        value: hostname.to_owned(),
        optional: false,
    });
    Ok(Want { parameters, rules: audit::wanted(), clock_floor })
}

/// Looks; changes nothing.
pub fn observe(kernel: &Kernel<impl Auditor>, want: &Want) -> Result<Have, BaselineError> {
    let value = |parameter: &Parameter| match fs::read_to_string(parameter.path(&kernel.parameters)) {
        Ok(value) => Ok(Some(parameters::normal(&value))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BaselineError::Kernel(format!("read kernel parameter {}", parameter.name), error)),
    };
    let lockdown = fs::read_to_string(&kernel.lockdown)
        .map_err(|error| BaselineError::Kernel("read the lockdown state".into(), error))?;
    Ok(Have {
        values: want.parameters.iter().map(value).collect::<Result<_, _>>()?,
        locked_down: !lockdown.contains("[none]"),
        audit: kernel
            .audit
            .look()
            .map_err(|error| BaselineError::Kernel("read the audit rules".into(), error))?,
        clock: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()), // a clock before 1970 is below any floor
    })
}

/// What must be done so that all of it holds. Pure.
pub fn plan(want: &Want, have: &Have) -> Result<Vec<Change>, BaselineError> {
    let mut changes = Vec::new();
    for (parameter, value) in want.parameters.iter().zip(&have.values) {
        match value {
            Some(value) if *value == parameter.value => {}
            Some(was) => changes.push(Change::Set {
                name: parameter.name.clone(),
                was: was.clone(),
                value: parameter.value.clone(),
            }),
            None if parameter.optional => {}
            None => return Err(BaselineError::Unknown(parameter.name.clone())),
        }
    }
    if !have.locked_down {
        changes.push(Change::LockDown);
    }
    changes.extend(plan_audit(&want.rules, &have.audit)?);
    if have.clock < want.clock_floor {
        changes.push(Change::LiftClock { from: have.clock, to: want.clock_floor });
    }
    Ok(changes)
}

/// What is not wanted goes, what is missing comes, and then nothing changes any more.
fn plan_audit(want: &[Rule], have: &Rules) -> Result<Vec<Change>, BaselineError> {
    let foreign = have.rules.iter().filter(|rule| !want.contains(rule)).cloned().map(Change::AuditNoMore);
    let missing = want.iter().filter(|rule| !have.rules.contains(rule)).cloned().map(Change::Audit);
    let mut changes: Vec<Change> = foreign.chain(missing).collect();
    match have.locked {
        true if changes.is_empty() => {}
        true => return Err(BaselineError::AuditLocked),
        false => changes.push(Change::LockAudit),
    }
    Ok(changes)
}

/// Does one thing.
pub fn apply(kernel: &Kernel<impl Auditor>, change: &Change) -> Result<(), BaselineError> {
    let failed = |error| BaselineError::Kernel(describe(change), error);
    match change {
        Change::Set { name, value, .. } => {
            let path = parameters::path(&kernel.parameters, name);
            fs::write(path, value).map_err(failed)
        }
        Change::LockDown => fs::write(&kernel.lockdown, "integrity").map_err(failed),
        Change::Audit(rule) => kernel.audit.add(rule).map_err(failed),
        Change::AuditNoMore(rule) => kernel.audit.remove(rule).map_err(failed),
        Change::LockAudit => kernel.audit.lock().map_err(failed),
        Change::LiftClock { to, .. } => {
            let seconds = i64::try_from(*to).map_err(|error| failed(io::Error::other(error)))?;
            clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })
                .map_err(|errno| failed(errno.into()))
        }
    }
}

/// One change in words.
pub fn describe(change: &Change) -> String {
    match change {
        Change::Set { name, was, value } => format!("set {name} from {was} to {value}"),
        Change::LockDown => "raise lockdown to integrity".into(),
        Change::Audit(rule) => format!("add audit rule {}", rule.key()),
        Change::AuditNoMore(rule) => format!("remove foreign audit rule {}", rule.key()),
        Change::LockAudit => "lock the audit rules".into(),
        Change::LiftClock { from, to } => {
            let ahead = Duration::from_secs(to.saturating_sub(*from)).as_secs();
            format!("put the clock forward by {ahead} s to its floor")
        }
    }
}

/// What was last brought about, as STATE remembers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    hostname: String,
    /// SHA-256 over names and values of all parameters.
    parameters: String,
    /// SHA-256 over all audit rules.
    #[serde(default)]
    audit: String,
    /// Fields of a later release, kept when this one writes the file again (ADR 0003).
    #[serde(flatten)]
    unknown: toml::Table,
}

/// Remembers that the baseline holds; `true` when that was news, that is, when this node was last left with another one.
pub fn remember(state: &Path, want: &Want, hostname: &str) -> Result<bool, BaselineError> {
    let mut listing = String::new();
    for parameter in &want.parameters {
        listing.push_str(&format!("{}\0{}\0", parameter.name, parameter.value));
    }
    let path = state.join(FILE);
    let then = match fs::read_to_string(&path) {
        Ok(text) => toml::from_str::<Remembered>(&text).ok(), // not understood: news
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(BaselineError::Remember(error)),
    };
    let now = Remembered {
        version: 1,
        hostname: hostname.to_owned(),
        parameters: hex::encode(sha256(&[listing.as_bytes()])),
        audit: hex::encode(sha256(&want.rules.iter().map(Rule::as_bytes).collect::<Vec<_>>())),
        unknown: then.as_ref().map(|then| then.unknown.clone()).unwrap_or_default(),
    };
    if then.as_ref() == Some(&now) {
        return Ok(false);
    }
    let text = toml::to_string(&now).map_err(|error| BaselineError::Remember(io::Error::other(error)))?;
    durable::replace(state, FILE, text.as_bytes()).map_err(BaselineError::Remember)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Rules in memory, kept as the kernel keeps them.
    #[derive(Debug, Default)]
    struct Memory(RefCell<Rules>);

    impl Memory {
        fn change(&self, change: impl FnOnce(&mut Vec<Rule>)) -> io::Result<()> {
            let mut rules = self.0.borrow_mut();
            if rules.locked {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            change(&mut rules.rules);
            Ok(())
        }
    }

    impl Auditor for Memory {
        fn look(&self) -> io::Result<Rules> {
            Ok(self.0.borrow().clone())
        }

        fn add(&self, rule: &Rule) -> io::Result<()> {
            self.change(|rules| rules.push(rule.clone()))
        }

        fn remove(&self, rule: &Rule) -> io::Result<()> {
            self.change(|rules| rules.retain(|have| have != rule))
        }

        fn lock(&self) -> io::Result<()> {
            self.0.borrow_mut().locked = true;
            Ok(())
        }
    }

    fn world() -> (tempfile::TempDir, Kernel<Memory>, Want) {
        let root = tempfile::tempdir().unwrap();
        let kernel = Kernel {
            parameters: root.path().join("sys"),
            lockdown: root.path().join("lockdown"),
            audit: Memory::default(),
        };
        *kernel.audit.0.borrow_mut() = Rules { rules: audit::wanted(), locked: true };
        for (path, value) in [
            ("kernel/kptr_restrict", "1\n"),
            ("kernel/hostname", "localhost\n"),
            ("net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
        ] {
            let path = kernel.parameters.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        fs::write(&kernel.lockdown, "none [integrity] confidentiality\n").unwrap();
        let file = root.path().join("50.conf");
        fs::write(
            &file,
            "# why\nkernel.kptr_restrict = 2\n\nnet.ipv4.tcp_rmem=4096 131072 6291456\n-kernel.absent = 1\n",
        )
        .unwrap();
        let want = want(&file, "cp-1", 1_763_300_000).unwrap();
        (root, kernel, want)
    }

    /// T6, S3: every documented parameter is read back; drift is found, mended, and then there is none.
    #[test]
    fn drift_is_found_named_and_mended() {
        let (_root, kernel, want) = world();
        let changes = plan(&want, &observe(&kernel, &want).unwrap()).unwrap();
        let words: Vec<String> = changes.iter().map(describe).collect();
        assert_eq!(
            words,
            ["set kernel.kptr_restrict from 1 to 2", "set kernel.hostname from localhost to cp-1"]
        );
        changes.iter().for_each(|change| apply(&kernel, change).unwrap());
        assert_eq!(plan(&want, &observe(&kernel, &want).unwrap()).unwrap(), vec![]);
    }

    #[test]
    fn missing_lockdown_is_raised_and_a_clock_below_the_floor_is_lifted() {
        let (_root, kernel, want) = world();
        fs::write(&kernel.lockdown, "[none] integrity confidentiality\n").unwrap();
        let mut have = observe(&kernel, &want).unwrap();
        have.clock = 5;
        let changes = plan(&want, &have).unwrap();
        assert!(changes.contains(&Change::LockDown));
        assert!(changes.contains(&Change::LiftClock { from: 5, to: 1_763_300_000 }));
        apply(&kernel, &Change::LockDown).unwrap();
        assert_eq!(fs::read_to_string(&kernel.lockdown).unwrap(), "integrity");
    }

    /// T6: foreign rules go, ours come, and then nobody changes them.
    #[test]
    fn audit_rules_are_those_that_are_wanted_and_locked() {
        let (_root, kernel, want) = world();
        let foreign = Rule::calls("foreign", &[59], None);
        *kernel.audit.0.borrow_mut() = Rules { rules: vec![foreign, want.rules[0].clone()], locked: false };
        let have = observe(&kernel, &want).unwrap();
        let changes = plan_audit(&want.rules, &have.audit).unwrap();
        assert_eq!(changes.len(), want.rules.len() + 1, "one removed, all but one added, and the lock");
        assert_eq!(describe(&changes[0]), "remove foreign audit rule foreign");
        changes.iter().for_each(|change| apply(&kernel, change).unwrap());
        let have = observe(&kernel, &want).unwrap();
        assert_eq!((plan_audit(&want.rules, &have.audit).unwrap(), have.audit.locked), (vec![], true));
        apply(&kernel, &Change::Audit(want.rules[0].clone())).unwrap_err();
    }

    #[test]
    fn locked_rules_that_are_not_wanted_are_an_error() {
        let (_root, kernel, want) = world();
        kernel.audit.0.borrow_mut().rules.pop();
        let error = plan(&want, &observe(&kernel, &want).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the audit rules are locked, and others than wanted");
    }

    #[test]
    fn a_parameter_that_the_kernel_does_not_have_halts_unless_it_is_optional() {
        let (_root, kernel, mut want) = world();
        want.parameters[0].name = "kernel.no_such".into();
        let error = plan(&want, &observe(&kernel, &want).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no parameter kernel.no_such");
    }

    #[test]
    fn the_second_boot_has_no_news() {
        let (root, _, want) = world();
        assert!(remember(root.path(), &want, "cp-1").unwrap());
        assert!(!remember(root.path(), &want, "cp-1").unwrap());
        let mut other = want.clone();
        other.parameters[0].value = "1".into();
        let file = root.path().join(FILE);
        let newer = format!("later = 7\n{}", fs::read_to_string(&file).unwrap());
        fs::write(&file, &newer).unwrap();
        assert!(!remember(root.path(), &want, "cp-1").unwrap());
        assert!(remember(root.path(), &other, "cp-1").unwrap());
        assert!(
            fs::read_to_string(&file).unwrap().contains("later = 7"),
            "a field of a later release is kept"
        );
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(remember(root.path(), &other, "cp-1").is_err(), "unreadable is not absent");
    }
}
