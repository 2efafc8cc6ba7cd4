//! Reads the audit rules, triggers one event for each of them, and checks that the journal contains the events.
//!
//! None of the events changes the node. Modules are loaded by [`crate::modules`], not here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubedos_sys::audit::{Audit, Rule};
use memchr::memmem;
use nix::sys::ptrace;
use nix::unistd::Pid;
use rustix::system::{RebootCommand, reboot};
use rustix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::{Value, json};

/// Where journald keeps the journal of this boot.
const JOURNAL: &str = "/run/log/journal";
/// A file of the probe in STATE.
const IN_STATE: &str = "/var/lib/kubedos/state/probe";
/// Greater than any process number (`PID_MAX_LIMIT`).
const NOBODY: i32 = 1 << 22;
/// journald may read the kernel's audit records some time after the event.
const PATIENCE: Duration = Duration::from_secs(60);

/// The rules in force, the results of adding and removing a rule, and whether the journal has an event with each key.
pub fn ask() -> Value {
    match examine() {
        Ok(answers) => answers,
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn examine() -> io::Result<Value> {
    let mut audit = Audit::open()?;
    let rules = audit.list()?;
    let mut keys: Vec<String> = rules.rules.iter().map(Rule::key).collect();
    let (added, removed) =
        (audit.add(&Rule::calls("probe", &[59], None)), rules.rules.first().map(|first| audit.remove(first)));
    let provoked = provoke();
    keys.dedup();
    let recorded = wait(&keys);
    Ok(json!({
        "keys": keys,
        "rules": rules.rules.len(),
        "locked": rules.locked,
        "added": number(added),
        "removed": removed.map(number),
        "provoked": provoked,
        "recorded": recorded,
    }))
}

/// Makes one system call for each key. No call changes anything, and some fail; failed calls are also recorded.
fn provoke() -> Value {
    json!({
        "kubedos-kernel": number(reboot(RebootCommand::CadOff).map_err(Into::into)),
        "kubedos-clock": number(clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime)).map_err(Into::into)),
        "kubedos-trace": number(ptrace::attach(Pid::from_raw(NOBODY)).map_err(Into::into)),
        "kubedos-state": number(fs::write(IN_STATE, "probe").and_then(|()| fs::remove_file(IN_STATE))),
    })
}

/// The error number, or 0.
fn number(result: io::Result<()>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0)
}

/// Whether the journal has a record with each key.
fn wait(keys: &[String]) -> BTreeMap<String, bool> {
    let begun = Instant::now();
    loop {
        let journal = journal();
        let found: BTreeMap<String, bool> = keys
            .iter()
            .map(|key| {
                (
                    key.clone(),
                    memmem::find(&journal, format!("_AUDIT_FIELD_KEY=\"{key}\"").as_bytes()).is_some(),
                )
            })
            .collect();
        if found.values().all(|found| *found) || begun.elapsed() > PATIENCE {
            return found;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The bytes of the journal's files. A field as short as a key is never compressed in them.
fn journal() -> Vec<u8> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let files = entries(Path::new(JOURNAL)).into_iter().flat_map(|machine| entries(&machine));
    files.filter_map(|file| fs::read(file).ok()).flatten().collect()
}
