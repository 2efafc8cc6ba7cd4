//! The Baseline stage: host name, kernel parameters, lockdown, audit rules, clock floor. It reads back each of them,
//! compares, and repairs; the reconcile loop does the same.
//!
//! The parameters are in the file that `docs/hardening.md` documents, [`PARAMETERS`], in the format of sysctl.d(5)
//! without patterns. The host name is the parameter `kernel.hostname`. Modules stay loadable (signed ones only, by
//! lockdown), because later stages need them.

pub mod audit;
pub mod parameters;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubedos_sys::audit::{Rule, Rules};
use kubedos_wire::hex32::sha256;
use rustix::time::{ClockId, Timespec, clock_settime};
use serde::{Deserialize, Serialize};

use audit::{Auditor, ThisKernel};
use kubedos_base::atomic;
use kubedos_base::outcome::{Class, Classified};
use parameters::{Parameter, ParametersError};

/// The file with the documented kernel parameters.
pub const PARAMETERS: &str = "/usr/lib/sysctl.d/50-kubedos.conf";

/// The file in STATE that records the last baseline.
const FILE: &str = "baseline.toml";

/// The desired baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The parameters, including the host name.
    pub parameters: Vec<Parameter>,
    /// The audit rules; all other rules are removed.
    pub rules: Vec<Rule>,
    /// The clock must not be before this, in seconds since 1970.
    pub clock_floor: u64,
}

/// The observed baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The value of each desired parameter, in the same order; `None` if the kernel does not have it.
    pub values: Vec<Option<String>>,
    /// Lockdown is on.
    pub locked_down: bool,
    /// The audit rules in force.
    pub audit: Rules,
    /// The clock, in seconds since 1970.
    pub clock: u64,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets a kernel parameter.
    Set {
        /// Its name.
        name: String,
        /// Its observed value.
        was: String,
        /// Its desired value.
        value: String,
    },
    /// Raises lockdown to `integrity`; the kernel never lowers it again.
    LockDown,
    /// Adds an audit rule.
    AddAuditRule(Rule),
    /// Removes an audit rule that is not desired.
    RemoveAuditRule(Rule),
    /// Locks the audit rules until the next boot.
    LockAudit,
    /// Sets the clock forward to its floor.
    AdvanceClock {
        /// The clock.
        from: u64,
        /// The floor.
        to: u64,
    },
}

/// Why the baseline could not be established.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The file of parameters cannot be used.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The kernel does not have this parameter.
    #[error("this kernel has no parameter {0}")]
    Unknown(String),
    /// The audit rules cannot be changed before the next boot.
    #[error("audit rules are locked but do not match the baseline; reboot to change them")]
    AuditLocked,
    /// The kernel refused a change.
    #[error("failed to {0}")]
    Kernel(String, #[source] io::Error),
    /// The baseline could not be recorded in STATE.
    #[error("failed to record the baseline in STATE")]
    Record(#[source] io::Error),
}

impl Classified for BaselineError {
    fn class(&self) -> Class {
        match self {
            Self::AuditLocked | Self::Kernel(..) | Self::Record(_) => Class::Retry,
            Self::Parameters(_) | Self::Unknown(_) => Class::Halt,
        }
    }
}

/// The paths of the kernel's settings.
#[derive(Debug, Clone)]
pub struct Kernel<A = ThisKernel> {
    /// `/proc/sys`.
    pub parameters: PathBuf,
    /// `/sys/kernel/security/lockdown`.
    pub lockdown: PathBuf,
    /// The interface to the audit rules.
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

/// The desired baseline: the documented parameters, the host name, and the documented audit rules.
pub fn desired(file: &Path, hostname: &str, clock_floor: u64) -> Result<Desired, BaselineError> {
    let mut parameters = parameters::read(file)?;
    parameters.push(Parameter {
        name: "kernel.hostname".into(),
        value: hostname.to_owned(),
        optional: false,
    });
    Ok(Desired { parameters, rules: audit::wanted(), clock_floor })
}

/// Observes the baseline; makes no change.
pub fn observe(kernel: &Kernel<impl Auditor>, want: &Desired) -> Result<Observed, BaselineError> {
    let value = |parameter: &Parameter| match fs::read_to_string(parameter.path(&kernel.parameters)) {
        Ok(value) => Ok(Some(parameters::normal(&value))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BaselineError::Kernel(format!("read kernel parameter {}", parameter.name), error)),
    };
    let lockdown = fs::read_to_string(&kernel.lockdown)
        .map_err(|error| BaselineError::Kernel("read the lockdown state".into(), error))?;
    Ok(Observed {
        values: want.parameters.iter().map(value).collect::<Result<_, _>>()?,
        locked_down: !lockdown.contains("[none]"),
        audit: kernel
            .audit
            .list()
            .map_err(|error| BaselineError::Kernel("read the audit rules".into(), error))?,
        clock: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()), // a clock before 1970 is below every floor
    })
}

/// The changes that establish the baseline. Pure.
pub fn plan(want: &Desired, have: &Observed) -> Result<Vec<Change>, BaselineError> {
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
        changes.push(Change::AdvanceClock { from: have.clock, to: want.clock_floor });
    }
    Ok(changes)
}

/// Removes undesired rules, adds missing ones, and then locks the rules.
fn plan_audit(want: &[Rule], have: &Rules) -> Result<Vec<Change>, BaselineError> {
    let foreign = have.rules.iter().filter(|rule| !want.contains(rule)).cloned().map(Change::RemoveAuditRule);
    let missing = want.iter().filter(|rule| !have.rules.contains(rule)).cloned().map(Change::AddAuditRule);
    let mut changes: Vec<Change> = foreign.chain(missing).collect();
    match have.locked {
        true if changes.is_empty() => {}
        true => return Err(BaselineError::AuditLocked),
        false => changes.push(Change::LockAudit),
    }
    Ok(changes)
}

/// Applies one change.
pub fn apply(kernel: &Kernel<impl Auditor>, change: &Change) -> Result<(), BaselineError> {
    let failed = |error| BaselineError::Kernel(describe(change), error);
    match change {
        Change::Set { name, value, .. } => {
            let path = parameters::path(&kernel.parameters, name);
            fs::write(path, value).map_err(failed)
        }
        Change::LockDown => fs::write(&kernel.lockdown, "integrity").map_err(failed),
        Change::AddAuditRule(rule) => kernel.audit.add(rule).map_err(failed),
        Change::RemoveAuditRule(rule) => kernel.audit.remove(rule).map_err(failed),
        Change::LockAudit => kernel.audit.lock().map_err(failed),
        Change::AdvanceClock { to, .. } => {
            let seconds = i64::try_from(*to).map_err(|error| failed(io::Error::other(error)))?;
            clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })
                .map_err(|errno| failed(errno.into()))
        }
    }
}

/// Brings the kernel to the desired baseline: observes, plans and applies. Returns a description of each change.
pub fn settle(kernel: &Kernel<impl Auditor>, want: &Desired) -> Result<Vec<String>, BaselineError> {
    let changes = plan(want, &observe(kernel, want)?)?;
    changes.iter().map(|change| apply(kernel, change).map(|()| describe(change))).collect()
}

/// Describes one change.
pub fn describe(change: &Change) -> String {
    match change {
        Change::Set { name, was, value } => format!("set {name} from {was} to {value}"),
        Change::LockDown => "raise lockdown to integrity".into(),
        Change::AddAuditRule(rule) => format!("add audit rule {}", rule.key()),
        Change::RemoveAuditRule(rule) => format!("remove foreign audit rule {}", rule.key()),
        Change::LockAudit => "lock the audit rules".into(),
        Change::AdvanceClock { from, to } => {
            let ahead = Duration::from_secs(to.saturating_sub(*from)).as_secs();
            format!("set the clock forward by {ahead} s to its floor")
        }
    }
}

/// The last baseline, as recorded in STATE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Recorded {
    version: u32,
    hostname: String,
    /// SHA-256 over names and values of all parameters.
    parameters: String,
    /// SHA-256 over all audit rules.
    #[serde(default)]
    audit: String,
    /// Fields of a later release, kept when this release rewrites the file (ADR 0003).
    #[serde(flatten)]
    unknown: toml::Table,
}

/// Records the baseline; returns whether it differs from the one recorded before.
pub fn record(state: &Path, want: &Desired, hostname: &str) -> Result<bool, BaselineError> {
    let mut listing = String::new();
    for parameter in &want.parameters {
        listing.push_str(&format!("{}\0{}\0", parameter.name, parameter.value));
    }
    let path = state.join(FILE);
    let then = match fs::read_to_string(&path) {
        Ok(text) => toml::from_str::<Recorded>(&text).ok(), // not parsable: treated as different
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(BaselineError::Record(error)),
    };
    let now = Recorded {
        version: 1,
        hostname: hostname.to_owned(),
        parameters: hex::encode(sha256(&[listing.as_bytes()])),
        audit: hex::encode(sha256(&want.rules.iter().map(Rule::as_bytes).collect::<Vec<_>>())),
        unknown: then.as_ref().map(|then| then.unknown.clone()).unwrap_or_default(),
    };
    if then.as_ref() == Some(&now) {
        return Ok(false);
    }
    let text = toml::to_string(&now).map_err(|error| BaselineError::Record(io::Error::other(error)))?;
    atomic::replace(state, FILE, text.as_bytes()).map_err(BaselineError::Record)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Audit rules in memory, with the kernel's behaviour.
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
        fn list(&self) -> io::Result<Rules> {
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

    fn world() -> (tempfile::TempDir, Kernel<Memory>, Desired) {
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
        let want = desired(&file, "cp-1", 1_763_300_000).unwrap();
        (root, kernel, want)
    }

    /// T6, S3: every documented parameter is read back; drift is detected and repaired, and a second run makes no change.
    #[test]
    fn drift_is_detected_reported_and_repaired() {
        let (_root, kernel, want) = world();
        assert_eq!(
            settle(&kernel, &want).unwrap(),
            ["set kernel.kptr_restrict from 1 to 2", "set kernel.hostname from localhost to cp-1"]
        );
        assert_eq!(settle(&kernel, &want).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn missing_lockdown_is_enabled_and_a_clock_below_the_floor_is_advanced() {
        let (_root, kernel, want) = world();
        fs::write(&kernel.lockdown, "[none] integrity confidentiality\n").unwrap();
        let mut have = observe(&kernel, &want).unwrap();
        have.clock = 5;
        let changes = plan(&want, &have).unwrap();
        assert!(changes.contains(&Change::LockDown));
        assert!(changes.contains(&Change::AdvanceClock { from: 5, to: 1_763_300_000 }));
        apply(&kernel, &Change::LockDown).unwrap();
        assert_eq!(fs::read_to_string(&kernel.lockdown).unwrap(), "integrity");
    }

    /// T6: foreign rules are removed, the documented ones are added, and then the rules are locked.
    #[test]
    fn audit_rules_are_replaced_by_the_documented_ones_and_locked() {
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
        apply(&kernel, &Change::AddAuditRule(want.rules[0].clone())).unwrap_err();
    }

    #[test]
    fn locked_rules_that_differ_from_the_documented_ones_are_an_error() {
        let (_root, kernel, want) = world();
        kernel.audit.0.borrow_mut().rules.pop();
        let error = plan(&want, &observe(&kernel, &want).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "audit rules are locked but do not match the baseline; reboot to change them"
        );
    }

    #[test]
    fn a_parameter_that_the_kernel_does_not_have_halts_unless_it_is_optional() {
        let (_root, kernel, mut want) = world();
        want.parameters[0].name = "kernel.no_such".into();
        let error = plan(&want, &observe(&kernel, &want).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no parameter kernel.no_such");
    }

    #[test]
    fn an_unchanged_baseline_is_not_recorded_again() {
        let (root, _, want) = world();
        assert!(record(root.path(), &want, "cp-1").unwrap());
        assert!(!record(root.path(), &want, "cp-1").unwrap());
        let mut other = want.clone();
        other.parameters[0].value = "1".into();
        let file = root.path().join(FILE);
        let newer = format!("later = 7\n{}", fs::read_to_string(&file).unwrap());
        fs::write(&file, &newer).unwrap();
        assert!(!record(root.path(), &want, "cp-1").unwrap());
        assert!(record(root.path(), &other, "cp-1").unwrap());
        assert!(
            fs::read_to_string(&file).unwrap().contains("later = 7"),
            "a field of a later release is kept"
        );
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(record(root.path(), &other, "cp-1").is_err(), "an unreadable file does not count as absent");
    }
}
