//! Compares our EROFS writer with mkfs.erofs and mksquashfs on read-only volumes of one tree.
//!
//! All writers get the same folder, the root of the bare-metal example, with its files in the page cache, and as many threads as there are
//! processors. The volumes are then mounted and read at random.

mod boots;
mod folder;
mod peers;
mod plot;
mod read;
mod table;

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use kubedos_builder::toolbox::Toolbox;
use kubedos_image::erofs::reader::Volume;
use kubedos_image::layout::{Area, Role, Slot};
use kubedos_image::source::{FileSource, Source, Window};
use kubedos_tests::{Product, oracles};
use kubedos_wire::seal::Volume as Sealed;
use serde::Serialize;

use crate::peer::Reason;
use crate::timed::{Cost, cost};
pub use boots::{WayBoots, measure as boots, ways as booted_ways};
pub use folder::{SUBCOMMAND, WriteFolder, write_folder};
pub use plot::plot;
pub use read::Reads;
pub use table::{boot_table, table};

/// The measurement of a way ends after this time, or after the requested number of runs.
const ENOUGH_SECONDS: f64 = 20.0;
/// The file to which the benchmark appends a line.
const TOUCHED: &str = "usr/lib/systemd/systemd-udevd";
/// The cluster size in bytes, except in the ways that set another one.
const CLUSTER: u32 = 64 << 10;

/// A program that writes volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Writer {
    /// `kubedos_image::erofs`.
    Ours,
    /// mkfs.erofs of erofs-utils.
    MkfsErofs,
    /// mksquashfs of squashfs-tools.
    Mksquashfs,
}

/// A writer with its settings.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Way {
    /// The writer.
    pub writer: Writer,
    /// The settings, as the tables name them.
    pub settings: &'static str,
    /// The settings as command line options.
    #[serde(skip)]
    options: &'static [&'static str],
}

/// The peer configuration (writer and settings) with the smallest volume. The configuration of kubedOS is compared with it.
pub const BEST: (Writer, &str) = (Writer::MkfsErofs, "zstd 12, dedupe, fragments");
/// The configuration of kubedOS (writer and settings), which is compared with [`BEST`].
pub const HELD: (Writer, &str) = (Writer::Ours, "zstd 10");

const fn ours(settings: &'static str, options: &'static [&'static str]) -> Way {
    Way { writer: Writer::Ours, settings, options }
}

const fn erofs(settings: &'static str, options: &'static [&'static str]) -> Way {
    Way { writer: Writer::MkfsErofs, settings, options }
}

const fn squashfs(settings: &'static str, options: &'static [&'static str]) -> Way {
    Way { writer: Writer::Mksquashfs, settings, options }
}

/// All measured ways.
const WAYS: [Way; 14] = [
    ours("lz4hc 9", &["lz4hc:9"]),
    ours("zstd 3", &["zstd:3"]),
    ours("zstd 10", &["zstd:10"]),
    ours("zstd 14", &["zstd:14"]),
    ours("zstd 10, clusters of 16 KiB", &["zstd:10", "--cluster=16384"]),
    ours("zstd 10, clusters of 128 KiB", &["zstd:10", "--cluster=131072"]),
    ours("zstd 10, clusters of 1 MiB", &["zstd:10", "--cluster=1048576"]),
    erofs("lz4hc 9", &["-zlz4hc,level=9"]),
    erofs("zstd 3", &["-zzstd,level=3"]),
    erofs("zstd 12", &["-zzstd,level=12"]),
    erofs("zstd 12, fragments", &["-zzstd,level=12", "-Efragments,ztailpacking"]),
    erofs("zstd 12, dedupe, fragments", &["-zzstd,level=12", "-Ededupe,fragments,ztailpacking"]),
    squashfs("zstd 12, blocks of 64 KiB", &["-Xcompression-level", "12", "-b", "65536"]),
    squashfs("zstd 15, blocks of 128 KiB (its defaults)", &[]),
];

/// The result of one way.
#[derive(Debug, Serialize)]
pub struct Written {
    /// The writer and its settings.
    #[serde(flatten)]
    pub way: Way,
    /// The size of the volume in bytes.
    pub bytes: u64,
    /// The cost of each run without a cache.
    pub costs: Vec<Cost>,
    /// The cost of each run with the cached segments of the previous run, after one line was added to one file. Only for our writer.
    pub touched: Vec<Cost>,
    /// The times of reads from the mounted volume.
    pub reads: Result<Reads, Reason>,
}

/// The results of all ways, and the size of the tree.
#[derive(Debug, Serialize)]
pub struct Volumes {
    /// The total size of the tree's files in bytes.
    pub tree_bytes: u64,
    /// The number of files in the tree.
    pub tree_files: usize,
    /// The result of each way, in order.
    pub written: Vec<Written>,
}

/// Writes the tree with every way, at most `runs` times each.
///
/// # Errors
/// If a program of the peers cannot be fetched, or the tree cannot be extracted.
pub fn measure(folder: &Path, runs: u32) -> Result<Volumes, Reason> {
    fs::create_dir_all(folder).unwrap();
    let tree = folder.join("tree");
    extract_root(&Product::example("bare-metal"), folder, &tree)?;
    let squashfs = peers::squashfs_tools(&folder.join("squashfs-tools"))?;
    let files = folder::regular_files(&tree);
    let tree_bytes = files.iter().map(|(_, bytes)| bytes).sum();
    // Reads every file once, so that the files are in the page cache for the first way too.
    files.iter().for_each(|(path, _)| drop(fs::read(path).unwrap()));
    let bench = Bench { folder, tree: &tree, squashfs: &squashfs, runs };
    let written = WAYS.iter().map(|way| bench.way(*way)).collect();
    Ok(Volumes { tree_bytes, tree_files: files.len(), written })
}

/// Extracts an image's root volume with `fsck.erofs`, including owners and extended attributes.
fn extract_root(product: &Product, folder: &Path, tree: &Path) -> Result<(), Reason> {
    let volume = folder.join("root.erofs");
    let place = product.partition(Role::Volume(Sealed::Root, Area::Data, Slot::A));
    let image = FileSource::new(File::open(product.raw()).unwrap(), product.length());
    let partition = Window::new(&image, place.start, place.end - place.start).unwrap();
    let length = Volume::open(&partition).unwrap().bytes();
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    partition.read_exact_at(&mut bytes, 0).unwrap();
    fs::write(&volume, bytes).unwrap();
    if tree.exists() {
        fs::remove_dir_all(tree).unwrap();
    }
    let mut fsck = oracles().command("usr/bin/fsck.erofs").unwrap();
    fsck.arg(format!("--extract={}", tree.display())).args(["--preserve", "--xattrs"]).arg(volume);
    let output = fsck.output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(Reason::new(format!(
        "failed to extract the tree: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

struct Bench<'a> {
    folder: &'a Path,
    tree: &'a Path,
    squashfs: &'a Toolbox,
    runs: u32,
}

impl Bench<'_> {
    fn way(&self, way: Way) -> Written {
        let out = self.folder.join("volume");
        let (mut costs, mut spent) = (Vec::new(), 0.0);
        while costs.len() < self.runs as usize && (spent < ENOUGH_SECONDS || costs.is_empty()) {
            let one = self.run(&self.command(way, &out, None), &out);
            spent += one.wall_seconds;
            costs.push(one);
        }
        let bytes = fs::metadata(&out).unwrap().len();
        let reads = read::measure(&out, way.writer.file_system(), &self.folder.join("mounted"));
        let touched = if way.writer == Writer::Ours { self.touched(way) } else { Vec::new() };
        Written { way, bytes, costs, touched, reads }
    }

    /// Runs a way with a cache. Before each run, one line is appended to one file.
    fn touched(&self, way: Way) -> Vec<Cost> {
        let (out, cache) = (self.folder.join("volume"), self.folder.join("cache"));
        if cache.exists() {
            fs::remove_dir_all(&cache).unwrap();
        }
        let command = self.command(way, &out, Some(&cache));
        self.run(&command, &out);
        let touched = self.tree.join(TOUCHED);
        let before = fs::read(&touched).unwrap();
        let costs = (0..self.runs)
            .map(|number| {
                let mut file = File::options().append(true).open(&touched).unwrap();
                writeln!(file, "touched {number}").unwrap();
                self.run(&command, &out)
            })
            .collect();
        fs::write(touched, before).unwrap();
        costs
    }

    fn run(&self, command: &Command, out: &Path) -> Cost {
        if out.exists() {
            fs::remove_file(out).unwrap();
        }
        cost(command, &self.folder.join("write.log")).unwrap_or_else(|failed| panic!("{failed}"))
    }

    fn command(&self, way: Way, out: &Path, cache: Option<&Path>) -> Command {
        match way.writer {
            Writer::Ours => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg(folder::SUBCOMMAND);
                if let Some(cache) = cache {
                    command.arg("--cache").arg(cache);
                }
                command.args(way.options).arg(out).arg(self.tree);
                command
            }
            Writer::MkfsErofs => {
                let mut command = oracles().command("usr/bin/mkfs.erofs").unwrap();
                command.arg(format!("-C{CLUSTER}")).arg(format!("-T{}", folder::EPOCH));
                command.args(way.options).arg(out).arg(self.tree);
                command
            }
            Writer::Mksquashfs => {
                let mut command = self.squashfs.command("usr/bin/mksquashfs").unwrap();
                command.arg(self.tree).arg(out).args(["-comp", "zstd", "-noappend", "-no-progress"]);
                command.args(way.options);
                command
            }
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.writer.name(), self.settings)
    }
}

impl Writer {
    const fn file_system(self) -> &'static str {
        match self {
            Self::Ours | Self::MkfsErofs => "erofs",
            Self::Mksquashfs => "squashfs",
        }
    }

    /// The name in the tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "kubedOS",
            Self::MkfsErofs => "mkfs.erofs",
            Self::Mksquashfs => "mksquashfs",
        }
    }
}
