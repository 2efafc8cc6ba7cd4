//! Switches to the root volume: moves the mounts, empties the initramfs (its memory is not freed otherwise), and
//! executes systemd in this process. `pivot_root` cannot replace an initramfs: the new root is moved over it and
//! entered with `chroot` (`Documentation/filesystems/ramfs-rootfs-initramfs.rst`).

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

use super::mounts::SYSROOT;

/// PID 1 of the root volume.
const INIT: &str = "/usr/lib/systemd/systemd";

/// The mounts that move into the new root.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Magic numbers of the file systems that an initramfs can be (`linux/magic.h`).
const RAMFS: i64 = 0x8584_58f6;
const TMPFS: i64 = 0x0102_1994;

/// Why the root volume could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum SwitchRootError {
    /// The file system at `/` is not an initramfs, so it is not emptied.
    #[error("/ is not an initramfs")]
    NotInitramfs,
    /// A step failed.
    #[error("failed to {0} {1}")]
    Step(&'static str, String, #[source] io::Error),
}

/// Makes the root volume `/` and the current folder.
pub fn enter() -> Result<(), SwitchRootError> {
    require_initramfs()?;
    for from in MOVED {
        mount_move(from, format!("{SYSROOT}{from}")).map_err(|errno| step("move", from, errno.into()))?;
    }
    let initramfs = fs::symlink_metadata("/").map_err(|error| step("examine", "/", error))?.dev();
    empty(Path::new("/"), initramfs);
    chdir(SYSROOT).map_err(|errno| step("enter", SYSROOT, errno.into()))?;
    mount_move(".", "/").map_err(|errno| step("move", SYSROOT, errno.into()))?;
    chroot(".").map_err(|errno| step("enter", SYSROOT, errno.into()))?;
    chdir("/").map_err(|errno| step("enter", "/", errno.into()))
}

/// Executes systemd with only a path in its environment, without the variables that the kernel creates from its command
/// line.
pub fn exec() -> Result<Infallible, SwitchRootError> {
    let error = Command::new(INIT).env_clear().env("PATH", "/usr/sbin:/usr/bin").exec();
    Err(step("start", INIT, error))
}

/// Fails if this process is not in an initramfs.
pub fn require_initramfs() -> Result<(), SwitchRootError> {
    let kind = rustix::fs::statfs("/").map_err(|errno| step("examine", "/", errno.into()))?.f_type;
    let initramfs = kind == RAMFS || kind == TMPFS;
    let first = rustix::process::getpid() == rustix::process::Pid::INIT;
    if initramfs && first { Ok(()) } else { Err(SwitchRootError::NotInitramfs) }
}

fn step(what: &'static str, object: &str, error: io::Error) -> SwitchRootError {
    SwitchRootError::Step(what, object.to_owned(), error)
}

/// Removes all files on the device `only`; other mounts are not entered. A file that cannot be removed only uses
/// memory.
fn empty(folder: &Path, only: u64) {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    for path in entries {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.dev() != only {
            continue;
        }
        let removed = if metadata.is_dir() {
            empty(&path, only);
            fs::remove_dir(&path)
        } else {
            fs::remove_file(&path)
        };
        drop(removed); // a mount point cannot be removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_not_an_initramfs_is_not_emptied() {
        assert!(matches!(enter(), Err(SwitchRootError::NotInitramfs)));
    }

    #[test]
    fn only_files_on_the_given_device_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("a/link")).unwrap();
        let device = fs::metadata(folder.path()).unwrap().dev();
        empty(folder.path(), device + 1);
        assert!(folder.path().join("a/b/file").exists());
        empty(folder.path(), device);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
