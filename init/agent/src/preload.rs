//! Loads kernel modules that later stages need while the agent verifies the seed.
//!
//! Without this, the kernel starts one `modprobe` after the other when `cryptsetup` needs a cipher, when the firewall
//! uses an expression, and when the first device of a plane is created; the boot waits for each of them. A failure here
//! is ignored: the kernel requests the same modules again when it needs them, and then reports the error to the caller.
//! One `modprobe` loads all of them, in the order of the stages.

use std::process::{Command, Stdio};

/// The modules, in the order of the stages that need them; `modprobe` also loads those that they depend on. A module that the kernel has
/// built in counts as loaded, and `aesni_intel` does not load on a machine without AES-NI.
pub const MODULES: [&str; 7] = [
    // Disks: dm-crypt, the XTS mode of the containers (aes-xts-plain64), and AES with AES-NI instructions.
    "dm_crypt",
    "xts",
    "aesni_intel",
    // Backplanes: the firewall with its two expressions that are not part of nf_tables itself (conntrack follows from the
    // first one), and the devices of the planes.
    "nf_tables",
    "nft_ct",
    "nft_limit",
    "wireguard",
];

/// Loads the modules; returns when they are ready or cannot be loaded.
pub fn load() {
    let mut modprobe = Command::new("/usr/sbin/modprobe");
    modprobe.args(["--all", "--quiet"]).args(MODULES).env_clear();
    drop(modprobe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()); // see the module head
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that the image does not have would never be loaded early, and nobody would notice.
    #[test]
    fn every_module_is_in_the_image() {
        let listed = include_str!("../../../kernel-config/modules.toml");
        for module in MODULES {
            assert!(listed.contains(&format!("\"{module}\"")), "{module}");
        }
    }
}
