//! `/init` of the initrd. The kernel starts it as process 1. It refuses to run as any other process, because it mounts file systems.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("kubedos-stage1 is the /init of an initrd: only the kernel starts it");
        return ExitCode::from(2);
    }
    kubedos_stage1::main()
}
