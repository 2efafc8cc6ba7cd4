//! Measures the cost of a program: wall clock time, processor time and peak memory.
//!
//! A second process of this program only starts the measured program. The kernel's account of that process's children
//! (getrusage(2)) is therefore exactly the program and all processes that it started and waited for.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

/// The subcommand of the second process.
pub const SUBCOMMAND: &str = "timed";

/// The cost of one run of a program.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The time from start to end.
    pub wall_seconds: f64,
    /// User and system time of the program and its children.
    pub processor_seconds: f64,
    /// The largest resident set of one of these processes.
    pub peak_bytes: u64,
}

/// A program that failed.
#[derive(Debug)]
pub struct Failed {
    program: String,
    status: ExitStatus,
    log: PathBuf,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended with {}; its output is in {}", self.program, self.status, self.log.display())
    }
}

/// Runs a program to its end and writes its output to `log`.
pub fn cost(command: &Command, log: &Path) -> Result<Cost, Failed> {
    let result = log.with_extension("cost.json");
    let log_file = File::create(log).unwrap();
    let mut outer = Command::new(std::env::current_exe().unwrap());
    outer.arg(SUBCOMMAND).arg(&result).arg("--").arg(command.get_program()).args(command.get_args());
    outer.stdin(Stdio::null()).stdout(log_file.try_clone().unwrap()).stderr(log_file);
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    let status = outer.status().unwrap();
    if !status.success() {
        let program = command.get_program().to_string_lossy().into_owned();
        return Err(Failed { program, status, log: log.to_owned() });
    }
    Ok(serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap())
}

/// Runs the measured program in the second process and writes its cost to `result`.
pub fn run_here(result: &Path, words: &[OsString]) -> ExitCode {
    let start = Instant::now();
    let status = Command::new(&words[0]).args(&words[1..]).status();
    let wall_seconds = start.elapsed().as_secs_f64();
    let status = match status {
        Ok(status) => status,
        Err(error) => {
            eprintln!("failed to start {}: {error}", words[0].display());
            return ExitCode::FAILURE;
        }
    };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cost = Cost {
        wall_seconds,
        processor_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
        // `max_rss` is in KiB.
        peak_bytes: u64::try_from(usage.max_rss()).unwrap() << 10,
    };
    std::fs::write(result, serde_json::to_vec(&cost).unwrap()).unwrap();
    ExitCode::from(if status.success() { 0 } else { 1 })
}

fn seconds(time: TimeVal) -> f64 {
    let micros = u32::try_from(time.tv_usec()).unwrap();
    let whole = u32::try_from(time.tv_sec()).unwrap();
    f64::from(whole) + f64::from(micros) / 1e6
}
