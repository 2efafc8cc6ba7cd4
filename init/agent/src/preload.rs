//! Loads the kernel modules of encrypted disks while the agent verifies the seed.
//!
//! Without this, the kernel starts one `modprobe` after the other when `cryptsetup` needs a cipher, and the boot waits
//! for each of them. A failure here is ignored: the kernel requests the same modules again when it needs them, and then
//! reports the error to the caller.

use std::process::{Command, Stdio};

/// dm-crypt, the XTS mode of the containers (aes-xts-plain64), and AES with AES-NI instructions. A module is missing if the
/// kernel has it built in, and `aesni_intel` does not load on a machine without AES-NI.
const MODULES: [&str; 3] = ["dm_crypt", "xts", "aesni_intel"];

/// Loads the modules; returns when they are ready or cannot be loaded.
pub fn load() {
    let mut modprobe = Command::new("/usr/sbin/modprobe");
    modprobe.args(["--all", "--quiet"]).args(MODULES).env_clear();
    drop(modprobe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()); // see the module head
}
