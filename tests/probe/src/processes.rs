//! Lists every process with its program, memory and privileges, from `/proc/PID/status`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// All processes, sorted by process id. Kernel threads have no program.
pub fn all() -> Vec<Value> {
    let mut numbers: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(one).collect()
}

/// One process; `None` if it has ended in the meantime.
fn one(number: u32) -> Option<Value> {
    let folder = Path::new("/proc").join(number.to_string());
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| {
        status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
    };
    let kib = |name: &str| field(name)?.split_whitespace().next()?.parse::<u64>().ok();
    Some(json!({
        "pid": number,
        "name": field("Name"),
        "program": fs::read_link(folder.join("exe")).ok(),
        "resident_kib": kib("VmRSS"),
        "resident_peak_kib": kib("VmHWM"),
        "anonymous_kib": kib("RssAnon"),
        "swapped_kib": kib("VmSwap"),
        "no_new_privileges": field("NoNewPrivs"),
        "capabilities": field("CapEff"),
        "seccomp": field("Seccomp"),
    }))
}
