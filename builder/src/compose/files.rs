//! The files that maintainer scripts or an installer would write, and the files of `rootfs/overlay/`.
//!
//! It writes the mount points, `os-release`, the name service files, the certificate bundle, the links in `/etc`, and the agent. `/` is
//! read-only on a node, so every mount point must exist in the tree.

use std::sync::Arc;

use super::data::OVERLAY;
use super::tree::{Kind, Node, Tree, TreeError};

/// Mount points. They must exist in the tree because `/` is read-only.
pub const MOUNT_POINTS: [&str; 9] = [
    "dev",
    "etc",
    "proc",
    "run",
    "sys",
    "tmp",
    "var",
    "usr/lib/kubedos/payload",
    "usr/lib/kubedos/configuration",
];

/// The path of the agent in the root volume.
pub const AGENT: &str = "usr/lib/kubedos/kubedos-agent";

const CERTIFICATES: &str = "usr/share/ca-certificates";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// The errors of the generated files.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileError {
    /// The root is not merged under /usr.
    #[error("/{link} is not the usr-merge link to {target}")]
    UsrMerge {
        /// The link.
        link: &'static str,
        /// The required target.
        target: &'static str,
    },
    /// No package contains a certificate.
    #[error("no package contains a certificate in /{CERTIFICATES}")]
    NoCertificates,
    /// A certificate file that does not consist of exactly one PEM block.
    #[error("/{0} is not a single PEM certificate")]
    Certificate(String),
    /// The file does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Checks that `/bin`, `/sbin`, `/lib` and `/lib64` are links into `/usr`.
pub fn check_usr_merge(tree: &Tree) -> Result<(), FileError> {
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        match tree.get(link).map(|node| &node.kind) {
            Some(Kind::Symlink(to)) if to == target => {}
            _ => return Err(FileError::UsrMerge { link, target }),
        }
    }
    Ok(())
}

/// Returns os-release(5), which is also the section `.osrel` of the UKI. It names the release of kubedOS, never a cluster.
pub fn os_release(release: &str) -> String {
    format!(
        "NAME=\"kubedOS\"\nPRETTY_NAME=\"kubedOS {release}\"\nID=kubedos\nID_LIKE=debian\nVERSION=\"{release}\"\n\
         VERSION_ID={release}\nIMAGE_ID=kubedos\nIMAGE_VERSION={release}\n"
    )
}

/// Writes the files that no package contains.
pub fn write(tree: &mut Tree, release: &str, agent: &Arc<[u8]>, origin: &Arc<str>) -> Result<(), FileError> {
    for point in MOUNT_POINTS {
        match tree.get_mut(point) {
            // The mounted file system has its own mode.
            Some(node) => node.mode = 0o755,
            None => tree.add(point, Node::new(Kind::Directory, origin))?,
        }
    }
    let texts: [(&str, String); 6] = [
        ("usr/lib/os-release", os_release(release)),
        ("etc/nsswitch.conf", nsswitch()),
        ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
        ("etc/host.conf", "multi on\n".to_owned()),
        ("usr/lib/clock-epoch", String::new()),
        (BUNDLE, bundle(tree)?),
    ];
    for (path, text) in texts {
        tree.replace(path, Node::file(text.into_bytes(), origin))?;
    }
    // Empty and read-only: systemd creates a transient id under /run, mounts it here, and does not detect a first boot (machine-id(5)).
    tree.replace("etc/machine-id", Node::file(*b"", origin).with_mode(0o444))?;
    tree.replace("etc/os-release", Node::symlink("../usr/lib/os-release", origin))?;
    tree.replace("etc/mtab", Node::symlink("../proc/self/mounts", origin))?;
    // The agent writes the target of this link when the underlay has name servers.
    tree.replace("etc/resolv.conf", Node::symlink("../run/kubedos/resolv.conf", origin))?;
    tree.remove(CERTIFICATES);
    tree.replace(AGENT, Node::file(Arc::clone(agent), origin).with_mode(0o555))?;
    Ok(())
}

/// Copies `rootfs/overlay/` over the tree. It replaces files of packages deliberately.
pub fn overlay(tree: &mut Tree, origin: &Arc<str>) -> Result<(), FileError> {
    for (path, bytes) in OVERLAY {
        tree.replace(path, Node::file(*bytes, origin))?;
    }
    Ok(())
}

/// Returns nsswitch.conf(5): files only, and DNS for hosts.
fn nsswitch() -> String {
    ["passwd", "group", "shadow", "gshadow", "networks", "protocols", "services", "ethers", "rpc"]
        .iter()
        .map(|database| format!("{database}: files\n"))
        .chain(["hosts: files dns\n".to_owned()])
        .collect()
}

/// Concatenates all certificates in the order of their names, as `update-ca-certificates` does.
fn bundle(tree: &Tree) -> Result<String, FileError> {
    let mut bundle = String::new();
    for (path, _) in tree.below(CERTIFICATES).filter(|(path, _)| path.ends_with(".crt")) {
        let content = tree.content(path).ok_or_else(|| FileError::Certificate(path.to_owned()))?;
        let text = String::from_utf8_lossy(content);
        let (begins, ends) = (
            text.matches("-----BEGIN CERTIFICATE-----").count(),
            text.matches("-----END CERTIFICATE-----").count(),
        );
        if (begins, ends) != (1, 1) || !text.is_ascii() {
            return Err(FileError::Certificate(path.to_owned()));
        }
        bundle.push_str(text.trim_end());
        bundle.push('\n');
    }
    if bundle.is_empty() { Err(FileError::NoCertificates) } else { Ok(bundle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----";

    fn with(certificates: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::new(0);
        for (name, text) in certificates {
            let path = format!("{CERTIFICATES}/mozilla/{name}.crt");
            tree.add(&path, Node::file(text.as_bytes(), &Arc::from("ca"))).unwrap();
        }
        tree
    }

    #[test]
    fn the_bundle_is_sorted_and_contains_certificates_only() {
        assert_eq!(
            bundle(&with(&[("b", PEM), ("a", &format!("{PEM}\n\n"))])).unwrap(),
            format!("{PEM}\n{PEM}\n")
        );
        assert_eq!(bundle(&with(&[])), Err(FileError::NoCertificates));
        assert!(matches!(
            bundle(&with(&[("a", "-----BEGIN CERTIFICATE-----\n")])),
            Err(FileError::Certificate(_))
        ));
        assert!(matches!(bundle(&with(&[("a", &PEM.repeat(2))])), Err(FileError::Certificate(_))));
    }

    #[test]
    fn a_root_that_is_not_merged_is_refused() {
        let by = Arc::from("base-files");
        let mut tree = Tree::new(0);
        for (link, target) in
            [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
        {
            assert!(check_usr_merge(&tree).is_err());
            tree.insert(link, Node::symlink(target, &by)).unwrap();
        }
        check_usr_merge(&tree).unwrap();
        tree.replace("lib", Node::new(Kind::Directory, &by)).unwrap();
        assert_eq!(check_usr_merge(&tree), Err(FileError::UsrMerge { link: "lib", target: "usr/lib" }));
    }

    #[test]
    fn os_release_contains_the_release_only() {
        let text = os_release("1.2.3");
        assert!(text.contains("\nID=kubedos\nID_LIKE=debian\n") && text.contains("\nVERSION_ID=1.2.3\n"));
    }
}
