//! Loads the kernel modules of encrypted disks while the agent verifies the seed.
//!
//! Without this, the kernel starts one `modprobe` after the other at the moment when `cryptsetup` needs a cipher, and the
//! boot waits for each of them. A failure changes nothing: the kernel asks for the same modules again when it needs them, and
//! then reports the error to the caller.

use std::process::{Command, Stdio};

/// dm-crypt, the mode of the containers (aes-xts-plain64) and its implementation with AES-NI. A machine without AES-NI, or a
/// kernel that has one of them built in, has no such module.
const MODULES: [&str; 3] = ["dm_crypt", "xts", "aesni_intel"];

/// Loads the modules; returns when they are ready or cannot be loaded.
pub fn load() {
    let mut modprobe = Command::new("/usr/sbin/modprobe");
    modprobe.args(["--all", "--quiet"]).args(MODULES).env_clear();
    drop(modprobe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()); // see the module head
}
