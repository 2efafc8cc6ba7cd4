//! The clusters of the tests: the specs in `tests/clusters/`, in a copy of the layout that lets examples use the demo keys.
//!
//! The fixed roster, without which a node has no planes, exists for the demo keys only, and these serve only specs in a folder
//! `examples` beside them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kubedos_builder::spec_file;
use kubedos_spec::plan::ClusterPlan;

use crate::pins::{project, scratch};

/// The spec of a cluster of the tests, beside a copy of the demo keys.
///
/// # Panics
/// If the files cannot be copied.
pub fn test_cluster(name: &str) -> PathBuf {
    let root = scratch().join("clusters");
    fs::create_dir_all(&root).unwrap();
    let one_at_a_time = File::create(root.join("lock")).unwrap();
    one_at_a_time.lock().unwrap();
    copy(&project().join("keys/demo"), &root.join("keys/demo"));
    copy(&project().join("tests/clusters"), &root.join("examples"));
    root.join("examples").join(name).with_extension("yaml")
}

/// The plan of a spec.
///
/// # Panics
/// If the spec is not valid.
pub fn plan_of(spec: &Path) -> ClusterPlan {
    spec_file::load(spec).unwrap().plan().unwrap()
}

/// Copies a folder. Files that are equal are not touched, because another test may read them.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else if fs::read(&to).ok() != Some(fs::read(&from).unwrap()) {
            fs::copy(&from, &to).unwrap();
        }
    }
}
