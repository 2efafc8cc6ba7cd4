//! Where one test boots machines: a bench of its own, one of the few places for machines, and the pinned emulator.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_lab::{Bench, Disk, Firmware, Format, Hardware, Machine, Place, Places, Tools};

use crate::Product;

/// Large enough to be adopted (ADR 0001), and sparse.
pub const DISK: u64 = 12 << 30;

/// At most so many machines at once on this host, whatever runs the tests: they are measured in processors.
const MACHINES: usize = 2;

/// What one test boots machines in.
#[derive(Debug)]
pub struct Rig {
    bench: Bench,
    _place: Place,
}

/// The emulator and the oracles.
///
/// # Panics
/// When they are not unpacked.
pub fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let root =
            std::env::var_os("KUBEDOS_TEST_TOOLS").expect("KUBEDOS_TEST_TOOLS names the unpacked tools");
        Tools::new(Path::new(&root)).unwrap()
    })
}

impl Rig {
    /// A rig for the test of this name. Waits until a place for a machine is free.
    ///
    /// # Panics
    /// When the folders cannot be made.
    pub fn new(test: &str) -> Self {
        let place = Places::new(&base().join("places"), MACHINES).unwrap().take().unwrap();
        Self { bench: Bench::new(run(), test).unwrap(), _place: place }
    }

    /// The same, but its folder stays until the next run of the tests.
    ///
    /// # Panics
    /// When the folders cannot be made.
    pub fn kept(test: &str) -> Self {
        let rig = Self::new(test);
        Self { bench: rig.bench.keep(), ..rig }
    }

    /// The test's folder.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// A new disk that starts as the image and is large enough to be adopted. The image stays as it is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn disk(&self, name: &str) -> Disk {
        self.overlay(name, &Product::built().disk())
    }

    /// A new disk of [`DISK`] bytes that starts as another one, which stays as it is.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn overlay(&self, name: &str, of: &Disk) -> Disk {
        self.bench.overlay(tools(), name, of, DISK).unwrap()
    }

    /// A copy of the image to tamper with, of the image's own length.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn copy(&self, name: &str) -> PathBuf {
        self.bench.copy(name, Product::built().raw()).unwrap()
    }

    /// The seed of a node as the substrate attaches it.
    pub fn seed(&self, node: &str) -> Disk {
        Disk::new(Product::built().seed(node), Format::Raw).read_only().not_bootable()
    }

    /// A machine of this disk and the seed of the first node.
    pub fn hardware(&self, disk: Disk) -> Hardware {
        let nodes = Product::built().nodes();
        self.unseeded(disk).disk(self.seed(&nodes[0]))
    }

    /// A machine of this disk.
    pub fn unseeded(&self, disk: Disk) -> Hardware {
        Hardware::new(Firmware::Uefi).watchdog().disk(disk)
    }

    /// Starts a machine.
    ///
    /// # Panics
    /// When it does not start.
    pub fn boot(&self, hardware: &Hardware) -> Machine {
        Machine::start(tools(), &self.bench, hardware).unwrap()
    }
}

/// The folder of everything that VM tests write.
fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("target/vm")
}

/// The folder of this run of the tests; those of runs that have ended are removed.
pub(crate) fn run() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let base = base();
        std::fs::create_dir_all(&base).unwrap();
        for folder in std::fs::read_dir(&base).unwrap().flatten().map(|entry| entry.path()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ended = |pid: &str| !Path::new("/proc").join(pid).exists();
            if name.strip_prefix("run-").is_some_and(ended)
                && let Err(error) = std::fs::remove_dir_all(&folder)
            {
                eprintln!("could not remove {}: {error}", folder.display());
            }
        }
        let run = base.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        run
    })
}
