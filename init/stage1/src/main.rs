//! `/init` of the initrd. It runs only as process 1, as which the kernel starts it, because it mounts file systems over the root.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("kubedos-stage1 is the /init of an initrd: only the kernel starts it");
        return ExitCode::from(2);
    }
    kubedos_stage1::main()
}
