//! What stage 1 mounts, as a table: the kernel's own file systems before anything else, the volumes under the new root, and the flags
//! that ADR 0002 gives them. Mounts are made through descriptors (`fsopen`, `fsmount`, `move_mount`): no mount table is parsed, no option
//! string joined.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// Where the root volume is mounted until it becomes `/`.
pub const SYSROOT: &str = "/sysroot";

/// A mount could not be made.
#[derive(Debug, thiserror::Error)]
#[error("failed to mount {kind} on {target}{said}")]
pub struct MountError {
    /// File system type.
    kind: &'static str,
    /// Where.
    target: String,
    /// What the kernel said about it, if it said more than a number.
    said: String,
    /// The number.
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

/// Before anything else; they move into the new root.
pub const EARLY: [Mount; 5] = [
    mount("proc", "/proc", &[], NODEV.union(NOSUID).union(NOEXEC)),
    mount("sysfs", "/sys", &[], NODEV.union(NOSUID).union(NOEXEC)),
    mount("devtmpfs", "/dev", &[("mode", "0755")], NOSUID.union(NOEXEC)),
    // systemd would mount it executable, and leaves one that is there.
    mount("tmpfs", "/dev/shm", &[("mode", "1777")], NODEV.union(NOSUID).union(NOEXEC)),
    mount(
        "tmpfs",
        "/run",
        &[("mode", "0755"), ("size", "20%"), ("nr_inodes", "800k")],
        NODEV.union(NOSUID).union(NOEXEC),
    ),
];

/// Once its module is loaded.
pub const EFIVARS: Mount =
    mount("efivarfs", super::firmware::EFIVARS, &[], NODEV.union(NOSUID).union(NOEXEC).union(RDONLY));

/// The root volume.
pub const ROOT: Mount = mount("erofs", SYSROOT, &[], NODEV.union(RDONLY));

/// The payload volume: its programs are run, by us and as containers.
pub const PAYLOAD: Mount =
    mount("erofs", "/sysroot/usr/lib/kubedos/payload", &[], NODEV.union(NOSUID).union(RDONLY));

/// The configuration volume: text only.
pub const CONFIGURATION: Mount = mount(
    "erofs",
    "/sysroot/usr/lib/kubedos/configuration",
    &[],
    NODEV.union(NOSUID).union(NOEXEC).union(RDONLY),
);

/// What the root volume cannot hold: everything under `/var` is lost with the power until the agent mounts STATE there.
pub const VAR: Mount = mount("tmpfs", "/sysroot/var", &[("mode", "0755")], NODEV.union(NOSUID).union(NOEXEC));

impl Mount {
    /// Makes the mount, and its folder where that can be made; `source` is a device for file systems that have one.
    pub fn make(&self, source: Option<&Path>) -> Result<(), MountError> {
        let fs = fsopen(self.kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| self.error(errno, None))?;
        let made = || -> rustix::io::Result<()> {
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
        drop(fs::create_dir_all(self.target)); // the volumes are read-only and have theirs; a missing one shows when mounting
        made().map_err(|errno| self.error(errno, Some(&fs)))
    }

    /// The kernel explains a refusal in messages that are read from the file system's descriptor.
    fn error(&self, errno: rustix::io::Errno, fs: Option<&rustix::fd::OwnedFd>) -> MountError {
        let mut buffer = vec![0_u8; 512];
        let read = fs.and_then(|fs| rustix::io::read(fs, buffer.as_mut_slice()).ok()).unwrap_or(0);
        let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
        let said = if read == 0 { String::new() } else { format!(" ({})", text.trim_end()) };
        MountError { kind: self.kind, target: self.target.into(), said, source: errno.into() }
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
    fn what_can_be_written_can_not_be_executed_nor_hold_devices() {
        for mount in EARLY.iter().chain([&VAR, &EFIVARS]) {
            assert!(mount.attributes.contains(NOSUID | NOEXEC), "{}", mount.target);
            assert_eq!(mount.attributes.contains(NODEV), mount.kind != "devtmpfs", "{}", mount.target);
        }
    }
}
