//! `kubedos-init`: glue. The name that it was started by says what it is.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("init") => kubedos_init::stage1::main(),
        Some("kubedos-agent") => kubedos_init::agent::main(),
        _ => {
            eprintln!("kubedos-init is started as `init` in the initrd, or as `kubedos-agent` by systemd");
            ExitCode::from(2)
        }
    }
}
