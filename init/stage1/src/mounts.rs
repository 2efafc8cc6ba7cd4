//! The mounts of stage 1 as a table: first the kernel's own file systems, then the volumes under the new root, with the
//! flags of ADR 0002. The mounts use file descriptors (`fsopen`, `fsmount`, `move_mount`), so no mount table is parsed
//! and no option string is concatenated.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// The mount point of the root volume until it becomes `/`.
pub const SYSROOT: &str = "/sysroot";

/// A mount failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to mount {kind} on {target}{message}")]
pub struct MountError {
    /// File system type.
    kind: &'static str,
    /// The mount point.
    target: String,
    /// The kernel's message, or an empty text.
    message: String,
    /// The error number.
    #[source]
    source: io::Error,
}

/// One mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount {
    kind: &'static str,
    target: &'static str,
    options: &'static [(&'static str, &'static str)],
    attributes: MountAttrFlags,
}

const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

const fn mount(
    kind: &'static str,
    target: &'static str,
    options: &'static [(&'static str, &'static str)],
    attributes: MountAttrFlags,
) -> Mount {
    Mount { kind, target, options, attributes }
}

/// The first mounts; they move into the new root.
pub const EARLY: [Mount; 5] = [
    mount("proc", "/proc", &[], NODEV.union(NOSUID).union(NOEXEC)),
    mount("sysfs", "/sys", &[], NODEV.union(NOSUID).union(NOEXEC)),
    mount("devtmpfs", "/dev", &[("mode", "0755")], NOSUID.union(NOEXEC)),
    // systemd would mount it executable, but keeps an existing mount.
    mount("tmpfs", "/dev/shm", &[("mode", "1777")], NODEV.union(NOSUID).union(NOEXEC)),
    mount(
        "tmpfs",
        "/run",
        &[("mode", "0755"), ("size", "20%"), ("nr_inodes", "800k")],
        NODEV.union(NOSUID).union(NOEXEC),
    ),
];

/// Mounted after its module is loaded.
pub const EFIVARS: Mount =
    mount("efivarfs", super::firmware::EFIVARS, &[], NODEV.union(NOSUID).union(NOEXEC).union(RDONLY));

/// The root volume.
pub const ROOT: Mount = mount("erofs", SYSROOT, &[], NODEV.union(RDONLY));

/// The payload volume: kubedOS and containers execute its programs.
pub const PAYLOAD: Mount =
    mount("erofs", "/sysroot/usr/lib/kubedos/payload", &[], NODEV.union(NOSUID).union(RDONLY));

/// The configuration volume: it contains text only.
pub const CONFIGURATION: Mount = mount(
    "erofs",
    "/sysroot/usr/lib/kubedos/configuration",
    &[],
    NODEV.union(NOSUID).union(NOEXEC).union(RDONLY),
);

/// The writable part of the root: everything under `/var` is lost at power-off until the agent mounts STATE there.
pub const VAR: Mount = mount("tmpfs", "/sysroot/var", &[("mode", "0755")], NODEV.union(NOSUID).union(NOEXEC));

impl Mount {
    /// Creates the mount point if possible, and mounts; `source` is the device, for file systems that have one.
    pub fn mount(&self, source: Option<&Path>) -> Result<(), MountError> {
        let fs = fsopen(self.kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| self.error(errno, None))?;
        let attempt = || -> rustix::io::Result<()> {
            if let Some(source) = source {
                fsconfig_set_string(&fs, "source", source)?;
            }
            if self.attributes.contains(RDONLY) {
                fsconfig_set_flag(&fs, "ro")?;
            }
            for (key, value) in self.options {
                fsconfig_set_string(&fs, *key, *value)?;
            }
            fsconfig_create(&fs)?;
            let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)?;
            move_mount(&mount, c"", CWD, self.target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        };
        drop(fs::create_dir_all(self.target)); // read-only volumes have the folder already; if it is missing, the mount fails
        attempt().map_err(|errno| self.error(errno, Some(&fs)))
    }

    /// Adds the kernel's message, which is read from the descriptor of the file system.
    fn error(&self, errno: rustix::io::Errno, fs: Option<&rustix::fd::OwnedFd>) -> MountError {
        let mut buffer = vec![0_u8; 512];
        let read = fs.and_then(|fs| rustix::io::read(fs, buffer.as_mut_slice()).ok()).unwrap_or(0);
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
        let message = if read == 0 { String::new() } else { format!(" ({})", text.trim_end()) };
        MountError { kind: self.kind, target: self.target.into(), message, source: errno.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A5, A12: flags of ADR 0002.
    #[test]
    fn sealed_volumes_are_read_only_and_without_devices() {
        for sealed in [ROOT, PAYLOAD, CONFIGURATION] {
            assert_eq!(sealed.kind, "erofs");
            assert!(sealed.attributes.contains(RDONLY | NODEV), "{}", sealed.target);
        }
        assert!(PAYLOAD.attributes.contains(NOSUID) && !PAYLOAD.attributes.contains(NOEXEC));
        assert!(CONFIGURATION.attributes.contains(NOSUID | NOEXEC));
        assert!(EFIVARS.attributes.contains(RDONLY));
    }

    #[test]
    fn writable_mounts_are_not_executable_and_have_no_devices() {
        for mount in EARLY.iter().chain([&VAR, &EFIVARS]) {
            assert!(mount.attributes.contains(NOSUID | NOEXEC), "{}", mount.target);
            assert_eq!(mount.attributes.contains(NODEV), mount.kind != "devtmpfs", "{}", mount.target);
        }
    }
}
