//! Where one test boots machines: a bench of its own, one of the few places for machines, and the pinned emulator.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_lab::{Bench, Disk, Firmware, Hardware, Machine, Place, Places};

use crate::Product;
use crate::pins::{scratch, tools};

/// What the examples declare, and large enough to be adopted (ADR 0001). Sparse.
pub const DISK: u64 = 14 << 30;

/// What every machine calls itself, unless a test says otherwise.
const UUID: &str = "3b0c5a9e-6d0f-4e0c-9a51-6b1f0e6f7a01";

/// At most so many machines at once on this host, whatever runs the tests: they are measured in processors.
const MACHINES: usize = 2;

/// What one test boots machines in.
#[derive(Debug)]
pub struct Rig {
    bench: Bench,
    product: &'static Product,
    /// Taken by the first boot. A test that waits for something that another test prepares in a machine must not hold a place.
    place: OnceLock<Place>,
}

impl Rig {
    /// A rig for the test of this name and the default example.
    ///
    /// # Panics
    /// When the image cannot be built or the folders cannot be made.
    pub fn new(test: &str) -> Self {
        Self::of(Product::built(), test)
    }

    /// A rig for another image.
    ///
    /// # Panics
    /// When the folders cannot be made.
    pub fn of(product: &'static Product, test: &str) -> Self {
        Self { bench: Bench::new(run(), test).unwrap(), product, place: OnceLock::new() }
    }

    /// The same, but its folder stays until the next run of the tests.
    ///
    /// # Panics
    /// When the folders cannot be made.
    pub fn kept(test: &str) -> Self {
        Self::kept_of(Product::built(), test)
    }

    /// The same for another image.
    ///
    /// # Panics
    /// When the folders cannot be made.
    pub fn kept_of(product: &'static Product, test: &str) -> Self {
        let rig = Self::of(product, test);
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
        self.overlay(name, &self.product.disk())
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
        self.bench.copy(name, self.product.raw()).unwrap()
    }

    /// A machine of this disk and the seed of the first node.
    pub fn hardware(&self, disk: Disk) -> Hardware {
        let nodes = self.product.nodes();
        self.unseeded(disk).disk(self.product.seed(&nodes[0]))
    }

    /// A machine of this disk.
    pub fn unseeded(&self, disk: Disk) -> Hardware {
        Hardware::new(Firmware::Uefi).uuid(UUID).watchdog().disk(disk)
    }

    /// Starts a machine. The first one waits until a place for machines is free; the rig keeps the place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn boot(&self, hardware: &Hardware) -> Machine {
        self.place.get_or_init(|| Places::new(&scratch().join("places"), MACHINES).unwrap().take().unwrap());
        Machine::start(tools(), &self.bench, hardware).unwrap()
    }
}

/// The folder of this run of the tests; those of runs that have ended are removed.
pub(crate) fn run() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let base = scratch();
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
