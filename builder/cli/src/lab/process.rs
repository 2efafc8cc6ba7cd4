//! The identity of a process: its id together with its start time and the boot of the host.
//!
//! A process id alone is not an identity, because the kernel uses ids again. The start time is field 22 of `/proc/PID/stat`
//! (proc_pid_stat(5)), in ticks since the boot; `/proc/sys/kernel/random/boot_id` names the boot. A process that has another start time, or
//! that is recorded in an earlier boot, is never signalled: the signal goes through a descriptor (pidfd_open(2)) that was opened before
//! the start time was compared.

use std::io;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The identity of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: i32,
    /// The start time, in ticks since the boot.
    pub started: u64,
    /// The boot of the host.
    pub boot: String,
}

impl ProcessId {
    /// This process.
    pub fn this() -> io::Result<Self> {
        let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let started = started(pid)?.ok_or_else(|| io::Error::other("/proc does not show this process"))?;
        Ok(Self { pid, started, boot: boot()? })
    }

    /// Whether the process still runs. A process that has ended and was not waited for does not run.
    pub fn runs(&self) -> io::Result<bool> {
        Ok(self.boot == boot()? && started(self.pid)? == Some(self.started))
    }

    /// Kills the process; `false` if it had already ended.
    pub fn kill(&self) -> io::Result<bool> {
        let Some(pid) = Some(self.pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
            return Ok(false);
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        // The descriptor refers to this process only, so its id cannot be used again between the comparison and the signal.
        if !self.runs()? {
            return Ok(false);
        }
        match pidfd_send_signal(process, Signal::KILL) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The start time of a process; `None` if there is no such process, or it has ended.
fn started(pid: i32) -> io::Result<Option<u64>> {
    if pid <= 0 {
        return Ok(None);
    }
    match std::fs::read(Path::new("/proc").join(pid.to_string()).join("stat")) {
        Ok(stat) => Ok(start_time(&String::from_utf8_lossy(&stat))),
        // ESRCH: the process ended while the file was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The start time in `/proc/PID/stat`. The name of the program is in parentheses, and can itself contain parentheses and spaces.
fn start_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // The state is field 3.
    fields.nth(22 - 4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, ProcessId) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let id = ProcessId { pid, started: started(pid).unwrap().unwrap(), boot: boot().unwrap() };
        (child, id)
    }

    #[test]
    fn a_process_runs_until_it_has_ended() {
        assert!(ProcessId::this().unwrap().runs().unwrap());
        let (mut child, id) = sleeper();
        assert!(id.runs().unwrap());
        assert!(id.kill().unwrap());
        child.wait().unwrap();
        assert!(!id.runs().unwrap());
        assert!(!id.kill().unwrap());
    }

    /// The kernel has given the recorded id to another process.
    #[test]
    fn a_reused_id_is_not_the_process_and_is_not_killed() {
        let (mut child, id) = sleeper();
        for other in [
            ProcessId { started: id.started + 1, ..id.clone() },
            ProcessId { started: id.started - 1, ..id.clone() },
            ProcessId { boot: "of yesterday".into(), ..id.clone() },
        ] {
            assert!(!other.runs().unwrap(), "{other:?}");
            assert!(!other.kill().unwrap(), "{other:?}");
        }
        assert!(id.runs().unwrap(), "another process was killed");
        assert!(id.kill().unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn an_impossible_id_does_not_run() {
        for pid in [0, -1, i32::MIN, i32::MAX] {
            let id = ProcessId { pid, started: 1, boot: boot().unwrap() };
            assert!(!id.runs().unwrap());
            assert!(!id.kill().unwrap());
        }
    }

    #[test]
    fn the_start_time_is_field_22_also_after_a_hostile_name() {
        let rest = (4..=24).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        for name in ["(a)", "(a b)", "() S 1 2 3)", "(\u{fffd}))", "(\n)"] {
            assert_eq!(start_time(&format!("7 {name} S {rest}\n")), Some(22), "{name}");
        }
        assert_eq!(start_time(&format!("7 (a) Z {rest}")), None, "it has ended");
        assert_eq!(start_time("7 (a) S 1 2"), None);
        assert_eq!(start_time(""), None);
    }
}
