//! Starting programs that must not start.

use std::process::Command;

use serde_json::{Value, json};

/// A 32-bit program that would end at once, well.
const PROGRAM: &str = "/usr/lib/kubedos-probe/32-bit";

/// What the kernel says when it is started: its error number, or 0.
pub fn start() -> Value {
    let started = Command::new(PROGRAM).status();
    json!({ "32-bit": started.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0) })
}
