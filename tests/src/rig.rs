//! The environment in which one test boots machines: its own bench, one of the places for machines, and the pinned emulator.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_lab::{Bench, Disk, Firmware, Hardware, Machine, Place, Places};

use crate::Product;
use crate::pins::{scratch, tools};

/// The disk size that the examples declare, in bytes. It is large enough for adoption (ADR 0001); the files are sparse.
pub const DISK: u64 = 14 << 30;

/// The SMBIOS UUID of every machine, unless a test sets another one.
const UUID: &str = "3b0c5a9e-6d0f-4e0c-9a51-6b1f0e6f7a01";

/// The maximum number of machines that run at once on this host, over all test processes.
const MACHINES: usize = 2;

/// The environment of one test.
#[derive(Debug)]
pub struct Rig {
    bench: Bench,
    product: &'static Product,
    /// Taken by the first boot. A test must not occupy a place while it waits for another test that needs one.
    place: OnceLock<Place>,
}

impl Rig {
    /// A rig for the test of this name and the default example.
    ///
    /// # Panics
    /// If the image cannot be built or the folders cannot be created.
    pub fn new(test: &str) -> Self {
        Self::of(Product::built(), test)
    }

    /// A rig for another image.
    ///
    /// # Panics
    /// If the folders cannot be created.
    pub fn of(product: &'static Product, test: &str) -> Self {
        Self { bench: Bench::new(run(), test).unwrap(), product, place: OnceLock::new() }
    }

    /// As [`Self::new`], but the folder is kept until the next run of the tests.
    ///
    /// # Panics
    /// If the image cannot be built or the folders cannot be created.
    pub fn kept(test: &str) -> Self {
        Self::kept_of(Product::built(), test)
    }

    /// As [`Self::kept`], for another image.
    ///
    /// # Panics
    /// If the folders cannot be created.
    pub fn kept_of(product: &'static Product, test: &str) -> Self {
        let rig = Self::of(product, test);
        Self { bench: rig.bench.keep(), ..rig }
    }

    /// The test's folder.
    pub fn bench(&self) -> &Bench {
        &self.bench
    }

    /// A new disk that starts with the content of the image and is large enough for adoption. The image is not changed.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn disk(&self, name: &str) -> Disk {
        self.overlay(name, &self.product.disk())
    }

    /// A new disk of [`DISK`] bytes that starts with the content of another disk, which is not changed.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn overlay(&self, name: &str, of: &Disk) -> Disk {
        self.bench.overlay(tools(), name, of, DISK).unwrap()
    }

    /// A copy of the image that the test may change. It has the same length.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn copy(&self, name: &str) -> PathBuf {
        self.bench.copy(name, self.product.raw()).unwrap()
    }

    /// A machine with this disk and the seed of the first node.
    pub fn hardware(&self, disk: Disk) -> Hardware {
        let nodes = self.product.nodes();
        self.unseeded(disk).disk(self.product.seed(&nodes[0]))
    }

    /// A machine with this disk and no seed.
    pub fn unseeded(&self, disk: Disk) -> Hardware {
        Hardware::new(Firmware::Uefi).uuid(UUID).watchdog().disk(disk)
    }

    /// Starts a machine. The first call waits for a free place, which the rig then keeps.
    ///
    /// # Panics
    /// If the machine does not start.
    pub fn boot(&self, hardware: &Hardware) -> Machine {
        self.take_place();
        Machine::start(tools(), &self.bench, hardware).unwrap()
    }

    /// Waits for a free place, for machines that another program starts. The rig keeps the place.
    ///
    /// # Panics
    /// If the files of the places cannot be locked.
    pub fn take_place(&self) {
        self.place.get_or_init(|| Places::new(&scratch().join("places"), MACHINES).unwrap().take().unwrap());
    }
}

/// The folder of this test process. Removes the folders of processes that have ended.
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
                eprintln!("failed to remove {}: {error}", folder.display());
            }
        }
        let run = base.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&run).unwrap();
        run
    })
}
