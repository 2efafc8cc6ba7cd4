//! The peer's builds and the sizes of their outputs.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::source::FileSource;
use kubedos_tests::project;

use super::{Peer, Reason};
use crate::ours::{Sizes, example_with, uki_parts};
use crate::timed::{Cost, cost};

/// The prefix of the names of mkosi's caches for an image: trees, keys and package indices.
const IMAGE: &str = "debian~trixie~";
/// The suffixes of the caches of keys and indices. They are kept, so that a build does not use the network.
const INDICES: [&str; 2] = ["keyring.cache", "metadata.cache"];
/// The file of the image that corresponds to the cluster's configuration.
const EDITED: &str = "mkosi.extra/etc/cluster.yaml";

impl Peer {
    /// Copies the recipe with the unedited example into the build folder; keeps the caches there.
    pub(super) fn lay_recipe(&self) -> Result<(), Reason> {
        fs::create_dir_all(self.folder.join("ws")).map_err(Reason::new)?;
        for folder in ["cache", "mkosi.pkgcache"] {
            fs::create_dir_all(self.recipe().join(folder)).map_err(Reason::new)?;
        }
        copy(&project().join("tests/peers/mkosi"), &self.recipe()).map_err(Reason::new)?;
        self.edit(0)
    }

    /// Whether the tools tree, the packages and an image exist.
    pub(super) fn is_filled(&self) -> Result<bool, Reason> {
        let is_built = self.recipe().join("tools").is_dir() && self.image().exists();
        Ok(is_built && !self.image_caches()?.is_empty())
    }

    /// Runs mkosi, which replaces the previous image.
    pub(super) fn build(&self) -> Result<Cost, Reason> {
        let mut command = Command::new("python3");
        command.args(["-m", "mkosi", "-f", "--workspace-directory"]).arg(self.folder.join("ws")).arg("build");
        command.current_dir(self.recipe()).env("PYTHONPATH", self.folder.join("mkosi"));
        cost(&command, &self.folder.join("build.log")).map_err(Reason::new)
    }

    /// Removes every tree of previous builds. Keeps the tools, the packages and their indices.
    pub(super) fn forget_image(&self) -> Result<(), Reason> {
        for cache in self.image_caches()? {
            let path = self.recipe().join("cache").join(cache);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Reason::new)?;
        }
        Ok(())
    }

    /// Makes the same edit as in kubedOS's spec: `added` more nodes.
    pub(super) fn edit(&self, added: u32) -> Result<(), Reason> {
        let path = self.recipe().join(EDITED);
        fs::create_dir_all(path.parent().unwrap()).map_err(Reason::new)?;
        fs::write(path, example_with(added)).map_err(Reason::new)
    }

    /// The sizes of the outputs of the last build.
    pub(super) fn sizes(&self) -> Result<Sizes, Reason> {
        let file = File::open(self.image()).map_err(Reason::new)?;
        let metadata = file.metadata().map_err(Reason::new)?;
        let table = gpt::read_from(&FileSource::new(file, metadata.len()), SectorSize::B512)
            .map_err(Reason::new)?
            .table;
        let partition = |name: &str| {
            let found = table.partitions().find(|(_, partition)| partition.name == name);
            found
                .map(|(_, partition)| table.len_bytes(partition))
                .ok_or_else(|| Reason::new(format!("the image has no partition {name}")))
        };
        let uki = fs::read(self.image().with_extension("efi")).map_err(Reason::new)?;
        let (kernel, initrd) = uki_parts(&uki);
        Ok(Sizes {
            uki: uki.len() as u64,
            kernel,
            initrd,
            root: partition("root-x86-64")?,
            verity: partition("root-x86-64-verity")?,
            configuration: None,
            payload: None,
            raw: metadata.len(),
            allocated: metadata.blocks() * 512,
            qcow2: None,
        })
    }

    fn image_caches(&self) -> Result<Vec<String>, Reason> {
        let entries = fs::read_dir(self.recipe().join("cache")).map_err(Reason::new)?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let is_tree =
            |name: &String| name.starts_with(IMAGE) && !INDICES.iter().any(|end| name.ends_with(end));
        Ok(names.filter(is_tree).collect())
    }
}

/// Copies the files of a folder into another folder and replaces existing ones.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
