//! Installs mksquashfs: unpacks its pinned packages, and links the libraries of the lock's set `oracles` next to them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kubedos_builder::toolbox::Toolbox;
use kubedos_tests::oracles;

use crate::peer::{Package, Reason, make_whole};

/// The packages of trixie.
const PACKAGES: [Package; 2] = [
    Package {
        name: "squashfs-tools 1:4.6.1-1",
        path: "pool/main/s/squashfs-tools/squashfs-tools_4.6.1-1_amd64.deb",
        size: 193_888,
        sha256: "0e185122f5858132bbc709e26228ba28cf7f0c41f6ed26e3f55f518f2a53b59d",
    },
    Package {
        name: "liblzo2-2 2.10-3+b1",
        path: "pool/main/l/lzo2/liblzo2-2_2.10-3+b1_amd64.deb",
        size: 55_100,
        sha256: "f3032201fe2928a87e13f05ce256ff3ac2a7860c7e594dc51ae6d7348a4466ce",
    },
];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The toolbox with mksquashfs in `folder`.
pub fn squashfs_tools(folder: &Path) -> Result<Toolbox, Reason> {
    make_whole(folder, |temporary| {
        for package in &PACKAGES {
            package.unpack("", temporary)?;
        }
        let libraries = temporary.join(LIBRARIES);
        for entry in fs::read_dir(oracles().root().join(LIBRARIES)).map_err(Reason::new)?.flatten() {
            let place = libraries.join(entry.file_name());
            if !place.exists() {
                symlink(entry.path(), place).map_err(Reason::new)?;
            }
        }
        Ok(())
    })?;
    Ok(Toolbox::unpacked(folder, "squashfs-tools"))
}
