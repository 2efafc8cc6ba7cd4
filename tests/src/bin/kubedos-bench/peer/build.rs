//! The peer's builds and the sizes of what they make.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::source::FileSource;
use kubedos_tests::project;

use super::{Peer, Why};
use crate::ours::{Sizes, example_with, uki_parts};
use crate::timed::{Cost, cost};

/// How the caches of an image's trees begin, those of its keys and indices included.
const IMAGE: &str = "debian~trixie~";
/// How those of keys and indices end: they stay, so that nothing is asked from the network.
const INDICES: [&str; 2] = ["keyring.cache", "metadata.cache"];
/// The file of the image that stands for the cluster's configuration.
const EDITED: &str = "mkosi.extra/etc/cluster.yaml";

impl Peer {
    /// Copies the recipe, with an unedited example in it, over the one that is built in; its caches stay.
    pub(super) fn lay_recipe(&self) -> Result<(), Why> {
        fs::create_dir_all(self.folder.join("ws")).map_err(Why::new)?;
        for folder in ["cache", "mkosi.pkgcache"] {
            fs::create_dir_all(self.recipe().join(folder)).map_err(Why::new)?;
        }
        copy(&project().join("tests/peers/mkosi"), &self.recipe()).map_err(Why::new)?;
        self.edit(0)
    }

    /// Whether tools, packages and an image are there.
    pub(super) fn is_filled(&self) -> Result<bool, Why> {
        let is_built = self.recipe().join("tools").is_dir() && self.image().exists();
        Ok(is_built && !self.image_caches()?.is_empty())
    }

    /// Runs mkosi. What the image had before is replaced.
    pub(super) fn build(&self) -> Result<Cost, Why> {
        let mut command = Command::new("python3");
        command.args(["-m", "mkosi", "-f", "--workspace-directory"]).arg(self.folder.join("ws")).arg("build");
        command.current_dir(self.recipe()).env("PYTHONPATH", self.folder.join("mkosi"));
        cost(&command, &self.folder.join("build.log")).map_err(Why::new)
    }

    /// Takes away every tree that was built before, but not the tools, the packages and their indices.
    pub(super) fn forget_image(&self) -> Result<(), Why> {
        for cache in self.image_caches()? {
            let path = self.recipe().join("cache").join(cache);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Why::new)?;
        }
        Ok(())
    }

    /// The edit that kubedOS's spec gets: so many nodes more.
    pub(super) fn edit(&self, added: u32) -> Result<(), Why> {
        let path = self.recipe().join(EDITED);
        fs::create_dir_all(path.parent().unwrap()).map_err(Why::new)?;
        fs::write(path, example_with(added)).map_err(Why::new)
    }

    /// The sizes of what was built last.
    pub(super) fn sizes(&self) -> Result<Sizes, Why> {
        let file = File::open(self.image()).map_err(Why::new)?;
        let metadata = file.metadata().map_err(Why::new)?;
        let table =
            gpt::read_from(&FileSource::new(file, metadata.len()), SectorSize::B512).map_err(Why::new)?.table;
        let partition = |name: &str| {
            let found = table.partitions().find(|(_, partition)| partition.name == name);
            found
                .map(|(_, partition)| table.len_bytes(partition))
                .ok_or_else(|| Why::new(format!("it made no {name}")))
        };
        let uki = fs::read(self.image().with_extension("efi")).map_err(Why::new)?;
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

    fn image_caches(&self) -> Result<Vec<String>, Why> {
        let entries = fs::read_dir(self.recipe().join("cache")).map_err(Why::new)?.flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let is_tree =
            |name: &String| name.starts_with(IMAGE) && !INDICES.iter().any(|end| name.ends_with(end));
        Ok(names.filter(is_tree).collect())
    }
}

/// Copies a folder's files over another folder's.
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
