//! `kubedos-agent`, the first service of systemd.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubedos_agent::boot::main()
}
