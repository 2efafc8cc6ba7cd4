//! The audit rules, which `docs/hardening.md` documents: they record successful and failed actions of an attacker who
//! controls a node. The rules are few, so that a normal boot and normal operation cause almost no records.
//!
//! Calls of 32-bit programs need no rules: `ia32_emulation=0` on the command line disables such programs.

use std::io;

use kubedos_sys::audit::{self, Rule, Rules};

use crate::stages::disks::stage::state_folder;

/// System call numbers of x86-64 (`arch/x86/entry/syscalls/syscall_64.tbl`).
mod call {
    pub const PTRACE: u16 = 101;
    pub const SETTIMEOFDAY: u16 = 164;
    pub const SWAPON: u16 = 167;
    pub const REBOOT: u16 = 169;
    pub const IOPL: u16 = 172;
    pub const IOPERM: u16 = 173;
    pub const INIT_MODULE: u16 = 175;
    pub const DELETE_MODULE: u16 = 176;
    pub const CLOCK_SETTIME: u16 = 227;
    pub const KEXEC_LOAD: u16 = 246;
    pub const PROCESS_VM_WRITEV: u16 = 311;
    pub const FINIT_MODULE: u16 = 313;
    pub const KEXEC_FILE_LOAD: u16 = 320;
}

/// Requests of `ptrace` (`include/uapi/linux/ptrace.h`).
mod trace {
    pub const POKE_TEXT: u32 = 4;
    pub const POKE_DATA: u32 = 5;
    pub const ATTACH: u32 = 16;
    pub const SEIZE: u32 = 0x4206;
}

/// All rules, in the order in which they are added.
pub fn wanted() -> Vec<Rule> {
    let mut rules = vec![
        Rule::calls("kubedos-modules", &[call::INIT_MODULE, call::FINIT_MODULE, call::DELETE_MODULE], None),
        Rule::calls(
            "kubedos-kernel",
            &[call::KEXEC_LOAD, call::KEXEC_FILE_LOAD, call::REBOOT, call::SWAPON, call::IOPL, call::IOPERM],
            None,
        ),
        Rule::calls("kubedos-clock", &[call::SETTIMEOFDAY, call::CLOCK_SETTIME], None),
        Rule::calls("kubedos-trace", &[call::PROCESS_VM_WRITEV], None),
    ];
    let asked = [trace::ATTACH, trace::SEIZE, trace::POKE_TEXT, trace::POKE_DATA];
    rules.extend(asked.map(|request| Rule::calls("kubedos-trace", &[call::PTRACE], Some(request))));
    rules.extend(state_folder().to_str().map(|folder| Rule::writes_below("kubedos-state", folder)));
    rules
}

/// The interface to the audit rules.
pub trait Auditor {
    /// Reads the active rules.
    fn list(&self) -> io::Result<Rules>;
    /// Adds a rule.
    fn add(&self, rule: &Rule) -> io::Result<()>;
    /// Removes a rule.
    fn remove(&self, rule: &Rule) -> io::Result<()>;
    /// Locks the rules until the next boot.
    fn lock(&self) -> io::Result<()>;
}

/// The running kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisKernel;

impl Auditor for ThisKernel {
    fn list(&self) -> io::Result<Rules> {
        audit::Audit::open()?.list()
    }

    fn add(&self, rule: &Rule) -> io::Result<()> {
        audit::Audit::open()?.add(rule)
    }

    fn remove(&self, rule: &Rule) -> io::Result<()> {
        audit::Audit::open()?.remove(rule)
    }

    fn lock(&self) -> io::Result<()> {
        audit::Audit::open()?.lock()
    }
}
