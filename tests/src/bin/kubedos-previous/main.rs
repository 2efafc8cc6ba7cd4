//! Builds `target/previous/0.1.0.qcow2`: the partitions STATE and DATA as an earlier release writes them on a node's disk. A test boots
//! this release on it (`make drill`).
//!
//! The program checks out the earlier release in a separate folder, builds its `kubedos-build`, builds the default example and its seeds
//! with it, boots the image once, and keeps the partitions STATE and DATA. The rest of the disk is zeroes, so the file is small. The demo
//! keys are committed, so the seeds of this release open the containers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a tool of the tests, which cannot continue after a failed step"
)]

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use kubedos_image::layout::{self, Role};
use kubedos_lab::{Disk, Format};
use kubedos_tests::{
    DISK, Expect, Pins, Product, Rig, baseline, powers_off, project, status_page, succeeds, tools,
};

/// Release 0.1.0 before anchors: the last commit whose disks have records of version 1.
const COMMIT: &str = "07980b228cc3ddf1e755e35a11522031765ea880";

/// The output.
const FILE: &str = "target/previous/0.1.0.qcow2";

/// The fingerprint of the node's key, as the status page shows it.
const KEY: &str = "target/previous/0.1.0.key";

fn main() {
    let folder = project().join("target/previous");
    let (source, out) = (folder.join("source"), folder.join("out"));
    checkout(&source);
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked", "--workspace", "--bin", "kubedos-build"]);
    succeeds(build.current_dir(&source).env("CARGO_TARGET_DIR", folder.join("target")));
    let builder = || {
        let mut command = Command::new(folder.join("target/release/kubedos-build"));
        command.current_dir(&source);
        command
    };
    let lock = Pins::get().lock_file();
    succeeds(
        builder().args(["image", "--spec", "examples/lab.yaml", "--lock"]).arg(lock).arg("--out").arg(&out),
    );
    succeeds(builder().args(["seed", "--all", "--spec", "examples/lab.yaml", "--out"]).arg(&out));

    let product = Box::leak(Box::new(Product::open(&out)));
    let rig = Rig::of(product, "previous");
    let disk = rig.disk("disk");
    let mut machine = rig.boot(&rig.hardware(disk.clone()));
    baseline(&machine, Expect::Baseline);
    let key = status_page(&mut machine).into_iter().find(|line| line.contains("node key")).unwrap();
    powers_off(&mut machine);

    let whole = rig.bench().raw_copy(tools(), "whole", &disk).unwrap();
    let kept = rig.bench().blank("kept", DISK).unwrap();
    for role in [Role::State, Role::Data] {
        let place = *layout::adopted(DISK).unwrap().place(role).unwrap();
        keep(&whole, place.start..place.start + place.len, kept.file());
    }
    compress(&kept, &project().join(FILE));
    let fingerprint = key.split_whitespace().last().unwrap();
    std::fs::write(project().join(KEY), format!("{fingerprint}\n")).unwrap();
    println!("{FILE}: {} bytes; {}", std::fs::metadata(project().join(FILE)).unwrap().len(), key.trim());
}

/// Copies a range in steps of 1 MiB and skips zeroes. Partitions start and end at multiples of 1 MiB.
fn keep(from: &Path, range: Range<u64>, to: &Path) {
    let (from, to) = (File::open(from).unwrap(), File::options().write(true).open(to).unwrap());
    let mut chunk = vec![0; 1 << 20];
    for at in range.step_by(chunk.len()) {
        from.read_exact_at(&mut chunk, at).unwrap();
        if chunk.iter().any(|byte| *byte != 0) {
            to.write_all_at(&chunk, at).unwrap();
        }
    }
}

/// Checks out the earlier release with `git worktree`, so that this checkout does not change.
fn checkout(source: &Path) {
    if source.exists() {
        succeeds(
            Command::new("git").args(["worktree", "remove", "--force"]).arg(source).current_dir(project()),
        );
    }
    let mut add = Command::new("git");
    succeeds(add.args(["worktree", "add", "--detach"]).arg(source).arg(COMMIT).current_dir(project()));
}

fn compress(disk: &Disk, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a file in a folder")).unwrap();
    let mut convert = tools().command("usr/bin/qemu-img").unwrap();
    convert.args([
        "convert",
        "-c",
        "-f",
        Format::Raw.name(),
        "-O",
        "qcow2",
        "-o",
        "compression_type=zstd,cluster_size=64k",
    ]);
    succeeds(convert.arg(disk.file()).arg(to));
}
