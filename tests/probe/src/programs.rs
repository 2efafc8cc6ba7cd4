//! Tries to start programs that the kernel must refuse.

use std::process::Command;

use serde_json::{Value, json};

/// A 32-bit program that exits immediately with status 0.
const PROGRAM: &str = "/usr/lib/kubedos-probe/32-bit";

/// The kernel's error number for starting it, or 0.
pub fn start() -> Value {
    let started = Command::new(PROGRAM).status();
    json!({ "32-bit": started.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0) })
}
