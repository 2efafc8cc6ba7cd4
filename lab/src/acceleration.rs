//! Decides whether the emulator may use the host's virtualisation.
//!
//! `/dev/kvm` may exist without working (nested hosts), so it is used only after a test machine has run with it.

use std::sync::OnceLock;
use std::time::Duration;

use crate::{Bench, Firmware, Hardware, Machine, Patience, Tools};

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acceleration {
    /// By software emulation, on any host.
    Software,
    /// By the host's processor.
    Kvm,
}

static PROBED: OnceLock<Acceleration> = OnceLock::new();

impl Acceleration {
    /// Probes once per process; the result is [`Acceleration::Kvm`] only if UEFI firmware has run with it on two
    /// processors.
    pub fn probe(tools: &Tools, bench: &Bench) -> Self {
        *PROBED.get_or_init(|| if kvm_works(tools, bench) { Self::Kvm } else { Self::Software })
    }

    /// The arguments for QEMU's command line.
    pub(crate) const fn arguments(self) -> [&'static str; 4] {
        match self {
            // With cx16 the emulator corrupts guests; five-level page tables only cost time.
            Self::Software => ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-cx16,-la57"],
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
        }
    }
}

/// Boots the firmware without any boot device, and waits for its message.
fn kvm_works(tools: &Tools, bench: &Bench) -> bool {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    let hardware =
        Hardware::new(Firmware::Uefi).processors(2).memory_mib(256).acceleration(Acceleration::Kvm);
    let patience = Patience { silence: Duration::from_secs(10), total: Duration::from_secs(20) };
    let probe = bench.sub("kvm-probe").and_then(|bench| {
        let machine = Machine::start(tools, &bench, &hardware)?;
        machine.wait_for_line("a message of the firmware", patience, |line| line.contains("BdsDxe"))?;
        Ok(machine.finish())
    });
    probe.is_ok()
}
