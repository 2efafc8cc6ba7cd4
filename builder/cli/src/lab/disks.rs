//! The disks of the nodes. They remain between two runs of a lab, independent of the image from which they were made.
//!
//! The system disk starts with the content of the image, and is as large as the spec declares. When the image has changed, the new image is
//! written over the start of the disk, as `docs/getting-started.md` describes for an update; the node keeps STATE and DATA. The file
//! `image.txt` next to the disk names the image that the disk has. It is absent while the image is written, so that an interrupted
//! write is repeated.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kubedos_builder::artifact::MANIFEST;
use kubedos_builder::sparse_file::SparseFile;
use kubedos_image::source::Source;
use kubedos_wire::hex32::sha256;
use rustix::fs::{FallocateFlags, fallocate};

use super::error::LabError;
use super::machines::{LabDisk, LabNode};
use crate::terminal::say;

/// The space that a new node needs, with some reserve: the image, and what the node writes during its first boot.
pub const NEW_NODE_BYTES: u64 = 768 << 20;

/// The image of a lab.
#[derive(Debug)]
pub struct LabImage {
    raw: PathBuf,
    id: String,
}

impl LabImage {
    /// The image in a folder with the outputs of `image`.
    pub fn open(folder: &Path, name: &str) -> Result<Self, LabError> {
        let manifest = folder.join(MANIFEST);
        let bytes = fs::read(&manifest).map_err(LabError::file("read", manifest))?;
        Ok(Self { raw: folder.join(name), id: hex::encode(sha256(&[&bytes])) })
    }

    /// Creates the disks of a node that do not exist, and writes the image to the system disk if it has another one.
    pub fn prepare(&self, node: &LabNode) -> Result<(), LabError> {
        for (index, disk) in node.disks.iter().enumerate() {
            let folder = disk.file.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder).map_err(LabError::file("create", folder))?;
            let is_new = !disk.file.exists();
            let file = File::options().create(true).truncate(false).read(true).write(true).open(&disk.file);
            let file = file.map_err(LabError::file("open", &disk.file))?;
            grow(&file, disk).map_err(LabError::file("grow", &disk.file))?;
            if index == 0 {
                self.install(node, &file, &folder.join("image.txt"), is_new)?;
            }
        }
        Ok(())
    }

    fn install(&self, node: &LabNode, disk: &File, marker: &Path, is_new: bool) -> Result<(), LabError> {
        let present = fs::read_to_string(marker).unwrap_or_default();
        if !is_new && present == self.id {
            return Ok(());
        }
        if !is_new {
            say!("{}: the new image is written to its disk", node.name);
        }
        match fs::remove_file(marker) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::file("remove", marker)(error));
            }
            _ => {}
        }
        let image = SparseFile::open(&self.raw).map_err(LabError::file("open", &self.raw))?;
        write_over(&image, disk).map_err(LabError::file("copy", &self.raw))?;
        fs::write(marker, &self.id).map_err(LabError::file("write", marker))
    }
}

/// The number of nodes that have no disk yet.
pub fn new_nodes(nodes: &[LabNode]) -> usize {
    nodes.iter().filter(|node| node.disks.first().is_some_and(|disk| !disk.file.exists())).count()
}

/// Makes the disk as large as declared. A disk never shrinks, because its data would be lost.
fn grow(file: &File, disk: &LabDisk) -> io::Result<()> {
    if file.metadata()?.len() < disk.bytes { file.set_len(disk.bytes) } else { Ok(()) }
}

/// Writes an image to the start of a disk. Holes of the image become holes of the disk, so that nothing older remains in them.
fn write_over(image: &dyn Source, disk: &File) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < image.len() {
        let data = image.next_data(at).unwrap_or(image.len()..image.len());
        erase(disk, at, data.start, &mut buffer)?;
        at = data.start;
        while at < data.end {
            let count = (data.end - at).min(1 << 20);
            let chunk = buffer.get_mut(..usize::try_from(count).unwrap_or(0)).unwrap_or_default();
            image.read_exact_at(chunk, at)?;
            disk.write_all_at(chunk, at)?;
            at += count;
        }
    }
    disk.sync_data()
}

/// Makes a range read as zeroes.
fn erase(disk: &File, start: u64, end: u64, buffer: &mut [u8]) -> io::Result<()> {
    if start >= end
        || fallocate(disk, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, end - start).is_ok()
    {
        return Ok(());
    }
    // The file system has no holes.
    buffer.fill(0);
    let mut at = start;
    while at < end {
        let count = (end - at).min(1 << 20);
        disk.write_all_at(buffer.get(..usize::try_from(count).unwrap_or(0)).unwrap_or_default(), at)?;
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_wire::node::Role;

    fn node(folder: &Path) -> LabNode {
        let disk = |name: &str, bytes| LabDisk { file: folder.join("nodes/cp-1").join(name), bytes };
        LabNode {
            name: "cp-1".parse().unwrap(),
            role: Role::Worker,
            address: None,
            mac: "02:00:00:00:00:01".parse().unwrap(),
            uuid: String::new(),
            memory_mib: 1024,
            seed: PathBuf::new(),
            disks: vec![disk("disk-0.raw", 8 << 20), disk("disk-1.raw", 1 << 20)],
        }
    }

    /// An image whose only data is the byte `fill` in every MiB that `data` lists.
    fn image(folder: &Path, fill: u8, data: &[u64]) -> LabImage {
        let raw = folder.join("image.raw");
        let file = File::create(&raw).unwrap();
        file.set_len(4 << 20).unwrap();
        data.iter().for_each(|mib| file.write_all_at(&vec![fill; 1 << 20], mib << 20).unwrap());
        LabImage { raw, id: format!("{fill}") }
    }

    #[test]
    fn a_disk_keeps_its_data_and_gets_each_image_once() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path());
        assert_eq!(new_nodes(std::slice::from_ref(&node)), 1);
        image(folder.path(), 1, &[0, 2]).prepare(&node).unwrap();
        assert_eq!(new_nodes(std::slice::from_ref(&node)), 0);
        let read = || fs::read(&node.disks[0].file).unwrap();
        let bytes = |at: usize| read()[at << 20];
        assert_eq!((read().len(), fs::metadata(&node.disks[1].file).unwrap().len()), (8 << 20, 1 << 20));
        assert_eq!([0, 1, 2, 3, 4].map(bytes), [1, 0, 1, 0, 0]);

        // The node writes to its disk, within the image and after it.
        let disk = File::options().write(true).open(&node.disks[0].file).unwrap();
        [0, 1, 5].into_iter().for_each(|mib| disk.write_all_at(&[9; 4096], mib << 20).unwrap());
        image(folder.path(), 1, &[0, 2]).prepare(&node).unwrap();
        assert_eq!([0, 1, 2, 5].map(bytes), [9, 9, 1, 9], "the same image is not written again");
        image(folder.path(), 2, &[3]).prepare(&node).unwrap();
        assert_eq!(
            [0, 1, 2, 3, 5].map(bytes),
            [0, 0, 0, 2, 9],
            "nothing of the old image remains, the data remains"
        );
    }

    #[test]
    fn an_interrupted_write_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path());
        let image = image(folder.path(), 1, &[0]);
        image.prepare(&node).unwrap();
        fs::remove_file(folder.path().join("nodes/cp-1/image.txt")).unwrap();
        let disk = File::options().write(true).open(&node.disks[0].file).unwrap();
        disk.write_all_at(&[7; 16], 0).unwrap();
        image.prepare(&node).unwrap();
        assert_eq!(fs::read(&node.disks[0].file).unwrap()[0], 1);
    }
}
