//! The operations of the Disks stage on real disks, with the kernel and the programs of the image.
//!
//! A written disk stays open until the [`Real`] is dropped, which is at the end of one run of the stage. It is locked
//! with `flock` against udev's probing, as systemd's BLOCK_DEVICE_LOCKING requires. Programs run with a fixed
//! environment, and get keys on standard input.

mod look;
mod programs;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kubedos_sys::block::{PartitionRequest, announce_partition};
use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use rustix::mount::{MountFlags, mount};

use super::luks::{self, Checked};
use super::ops::{ContainerStep, DiskKey, DiskOps, FilesystemStep, OpsError, ToOpen};
use super::survey::{ByteRange, Store, Survey};
use programs::Program;

/// The file with the checked copy of a header while a program reads it; a suffix names the purpose.
const HEADER: &str = "run/kubedos/luks-header-";

/// The kernel's disks.
#[derive(Debug)]
pub struct Real {
    root: PathBuf,
    written: BTreeMap<String, File>,
}

impl Default for Real {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Real {
    /// Uses the disks under `root`, which has `sys`, `dev` and `proc`.
    pub fn under(root: &Path) -> Self {
        Self { root: root.to_owned(), written: BTreeMap::new() }
    }

    /// The device node of a disk, a partition or an open container.
    fn node(&self, device: &str) -> PathBuf {
        let folder = self.root.join("dev");
        if Store::ALL.iter().any(|store| store.label() == device) {
            folder.join("mapper").join(device)
        } else {
            folder.join(device)
        }
    }

    fn node_text(&self, device: &str) -> String {
        self.node(device).to_string_lossy().into_owned()
    }

    /// Writes a header for cryptsetup to a tmpfs, readable by root only. [`Real::with_header`] removes it.
    fn write_header(&self, path: &Path, header: &Checked) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(header.bytes(), 0)?;
        file.set_len(luks::DATA_OFFSET) // sparse; cryptsetup requires the space of all possible key slots
    }

    /// Runs a program that reads the container's header from a file.
    fn with_header(
        &self,
        header: &Checked,
        purpose: &str,
        object: &str,
        run: impl FnOnce(&str) -> Result<(), OpsError>,
    ) -> Result<(), OpsError> {
        let path = self.root.join(format!("{HEADER}{purpose}"));
        self.write_header(&path, header).map_err(failed("copy the header of", object))?;
        let ran = run(&path.to_string_lossy());
        let removed = fs::remove_file(&path).map_err(failed("remove the copied header of", object));
        ran.and(removed)
    }

    /// The disk, open for writing.
    fn writable(&mut self, disk: &str) -> Result<&File, OpsError> {
        if !self.written.contains_key(disk) {
            let open = || {
                let file = OpenOptions::new().read(true).write(true).open(self.node(disk))?;
                flock(&file, FlockOperation::LockExclusive)?;
                Ok(file)
            };
            let file = open().map_err(failed("open", disk))?;
            self.written.insert(disk.to_owned(), file);
        }
        self.written.get(disk).ok_or_else(|| failed("open", disk)(io::ErrorKind::NotFound.into()))
    }

    fn open(&self, store: Store, partition: &str, header: &Checked, key: &DiskKey) -> Result<(), OpsError> {
        let (node, label) = (self.node_text(partition), store.label());
        self.with_header(header, store.name(), partition, |file| {
            programs::open(&node, file, &label, key).run(partition)
        })
    }

    fn mount(&self, store: Store, memory: bool) -> io::Result<()> {
        let place = Path::new(store.mount_point());
        fs::create_dir_all(place)?;
        let (flags, mode) = match store {
            Store::State => (MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC, 0o700),
            // DATA is the only writable mount without `noexec`: container storage needs to execute files.
            Store::Data => (MountFlags::NODEV | MountFlags::NOSUID, 0o755),
        };
        let flags = flags | MountFlags::NOATIME;
        if memory {
            let options = match store {
                Store::State => c"size=64M",
                Store::Data => c"size=50%",
            };
            mount("tmpfs", place, "tmpfs", flags, options)?;
        } else {
            mount(self.node(&store.label()), place, "ext4", flags, c"errors=remount-ro")?;
        }
        if fs::metadata(place)?.permissions().mode() & 0o7777 != mode {
            fs::set_permissions(place, Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

/// Runs `work` on all items in parallel and returns the results in the order of the items. A program waits most of its time
/// for its start and for the disk, so two of them take little longer than one.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let Some((last, rest)) = items.split_last() else { return Vec::new() };
    std::thread::scope(|scope| {
        let threads: Vec<_> = rest.iter().map(|item| scope.spawn(|| work(item))).collect();
        let last = work(last);
        let join = |thread: std::thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).chain([last]).collect()
    })
}

/// Adds the operation and its object to an error of the kernel.
fn failed(verb: &'static str, object: &str) -> impl FnOnce(io::Error) -> OpsError {
    let object = object.to_owned();
    move |source| OpsError::Io { verb, object, source }
}

impl DiskOps for Real {
    fn survey(&mut self) -> Result<Survey, OpsError> {
        look::survey(&self.root)
    }

    fn read(&mut self, device: &str, at: u64, len: usize) -> Result<Vec<u8>, OpsError> {
        let read = || {
            let mut bytes = vec![0; len];
            let file = File::open(self.node(device))?;
            // A disk and its partitions have separate caches, and a device that was not ready may have been read as
            // zeroes.
            fadvise(&file, at, NonZeroU64::new(len as u64), Advice::DontNeed)?;
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        };
        read().map_err(failed("read from", device))
    }

    fn write(&mut self, disk: &str, at: u64, bytes: &[u8]) -> Result<(), OpsError> {
        self.writable(disk)?.write_all_at(bytes, at).map_err(failed("write to", disk))
    }

    fn flush(&mut self, disk: &str) -> Result<(), OpsError> {
        self.writable(disk)?.sync_all().map_err(failed("flush", disk))
    }

    fn opens(&mut self, header: &Checked, key: &DiskKey) -> Result<bool, OpsError> {
        let tested = self
            .with_header(header, "test", "a container", |file| programs::test(file, key).run("a container"));
        match tested {
            Ok(()) => Ok(true),
            Err(OpsError::WrongKey { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn announce(
        &mut self,
        disk: &str,
        request: PartitionRequest,
        number: u32,
        place: ByteRange,
    ) -> Result<(), OpsError> {
        let announced = announce_partition(self.writable(disk)?, request, number, place.start, place.len);
        announced.map_err(|errno| failed("update the kernel's partitions of", disk)(errno.into()))
    }

    fn container(
        &mut self,
        store: Store,
        partition: &str,
        step: &ContainerStep,
        key: &DiskKey,
    ) -> Result<(), OpsError> {
        let node = self.node_text(partition);
        let label = store.label();
        let run = |program: &Program<'_>| program.run(partition);
        match step {
            ContainerStep::Format { uuid } => run(&programs::format(&node, &label, &uuid.to_string(), key)),
            ContainerStep::Open { header } => self.open(store, partition, header, key),
            ContainerStep::Finish => run(&programs::finish(&node, &label)),
            ContainerStep::Close => run(&programs::close(&label)),
        }
    }

    fn open_each(&mut self, wanted: &[ToOpen], key: &DiskKey) -> Vec<Result<(), OpsError>> {
        let this = &*self;
        at_once(wanted, |ToOpen { store, partition, header }| this.open(*store, partition, header, key))
    }

    fn check_each(&mut self, stores: &[Store]) -> Result<(), OpsError> {
        let this = &*self;
        let check = |store: &Store| {
            let label = store.label();
            programs::check(&this.node_text(&label)).run(&label)
        };
        at_once(stores, check).into_iter().collect()
    }

    fn filesystem(&mut self, store: Store, step: &FilesystemStep) -> Result<(), OpsError> {
        let label = store.label();
        let node = self.node_text(&label);
        match step {
            FilesystemStep::Create { uuid } => programs::create(&node, &label, &uuid.to_string()).run(&label),
            FilesystemStep::Check => programs::check(&node).run(&label),
            FilesystemStep::Grow => programs::grow(&node).run(&label),
            FilesystemStep::Mount => self.mount(store, false).map_err(failed("mount", &label)),
            FilesystemStep::MountMemory => {
                self.mount(store, true).map_err(failed("mount memory for", &label))
            }
        }
    }
}
