//! Names of nodes, clusters, planes and disks, and names in other systems (Linux, Proxmox VE).

use super::{checked, text};

/// One DNS label (RFC 1123 §2.1, RFC 1035 §2.3.1 in lower case) of at most `longest` bytes.
fn label(text: &str, longest: usize) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= longest
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// The loopback device, and the folders of `/proc/sys/net/ipv4/conf` that are no devices (`net/ipv4/devinet.c`).
const RESERVED: [&str; 3] = ["lo", "all", "default"];

text! {
    /// The name of a node; also its host name.
    NodeName, "node-name",
    "a DNS label: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "cp-1", |text| label(text, 63)
}

text! {
    /// The name of a cluster; part of the names of output files and of certificates.
    ClusterName, "cluster-name",
    "1 to 40 of a-z, 0-9 and -, with a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", "lab-01", |text| label(text, 40)
}

text! {
    /// A failure domain; becomes the Kubernetes zone label.
    DomainName, "domain-name",
    "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "rack-a", |text| label(text, 63)
}

text! {
    /// The name of a disk in the spec.
    DiskName, "disk-name",
    "1 to 32 of a-z, 0-9 and -, with a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", "system", |text| label(text, 32)
}

text! {
    /// An operator; the common name of their certificate.
    OperatorName, "operator-name",
    "1 to 32 of a-z, 0-9 and -, with a letter or digit at both ends",
    "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", "ada", |text| label(text, 32)
}

text! {
    /// A plane; also the name of its network interface, for which the kernel accepts at most 15 bytes.
    PlaneId, "plane-name",
    "1 to 15 of a-z, 0-9 and -, starting with a letter and ending with a letter or digit, but not lo, all or default",
    "^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$", "wg1",
    |text| label(text, 15) && text.starts_with(|c: char| c.is_ascii_lowercase()) && !RESERVED.contains(&text)
}

text! {
    /// A network interface (`dev_valid_name` in the kernel's `net/core/dev.c`, and no `%`, which the kernel
    /// replaces by a number). networkd reads a name of digits as the number of a device.
    IfName, "interface-name",
    "1 to 15 of a-z, A-Z, 0-9, '_', '.' and '-', but not '.', '..', lo, all, default, or only digits",
    "^[A-Za-z0-9_.-]{1,15}$", "eth0",
    |text| (1..=15).contains(&text.len())
        && text != "." && text != ".." && !RESERVED.contains(&text)
        && !text.bytes().all(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

text! {
    /// A storage pool, bridge or cluster of Proxmox VE.
    ProxmoxName, "proxmox-name",
    "1 to 40 of a-z, A-Z, 0-9, '-', '_' and '.', starting with a letter and ending with a letter or digit",
    "^[A-Za-z]([A-Za-z0-9_.-]{0,38}[A-Za-z0-9])?$", "fast-zfs",
    |text| (1..=40).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

text! {
    /// A tag of a virtual machine, as written in the spec. Proxmox VE does not accept `:` in tags; the
    /// substrate's playbooks replace it by `-`.
    ProxmoxTag, "proxmox-tag",
    "1 to 63 of a-z, A-Z, 0-9, '_', '-', '+', '.' and ':', starting with a letter, a digit or '_'",
    "^[A-Za-z0-9_][A-Za-z0-9_+.:-]{0,62}$", "kubedos",
    |text| (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+.:".contains(&b))
}

text! {
    /// A user name (`security.ssh`, which has no effect).
    UserName, "user-name",
    "1 to 32 of a-z, 0-9, '_' and '-', starting with a letter or '_'",
    "^[a-z_][a-z0-9_-]{0,31}$", "ops",
    |text| (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

text! {
    /// A firmware or microcode package of the lock, for bare metal.
    FirmwareName, "firmware-name",
    "a package of firmware or microcode: firmware-…, intel-microcode or amd64-microcode",
    "^(firmware-[a-z0-9][a-z0-9.+-]{0,60}|intel-microcode|amd64-microcode)$", "firmware-bnx2",
    |text| matches!(text, "intel-microcode" | "amd64-microcode")
        || text.strip_prefix("firmware-").is_some_and(|rest| (1..=61).contains(&rest.len())
            && rest.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".+-".contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_letters_or_digits_at_both_ends() {
        for good in ["a", "0", "cp-1", "a--b", &"a".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["-a", "a-", "A", "a.b", "a_b", "é", "a\n", &"a".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interface_names_are_those_that_the_kernel_accepts() {
        for good in ["eth0", "enp0s31f6", "br0.10", "a".repeat(15).as_str()] {
            assert!(good.parse::<IfName>().is_ok(), "{good}");
        }
        for bad in [".", "..", "a/b", "eth%d", "a b", "a:b", "a\tb", "", "7", "0042", "a".repeat(16).as_str()]
        {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_the_kernel_uses_are_no_devices() {
        for reserved in ["lo", "all", "default"] {
            assert!(
                reserved.parse::<PlaneId>().is_err() && reserved.parse::<IfName>().is_err(),
                "{reserved}"
            );
        }
        for good in ["wg1", "lo0", "all-1", "defaults", "l", "loop"] {
            assert!(good.parse::<PlaneId>().is_ok() && good.parse::<IfName>().is_ok(), "{good}");
        }
    }
}
