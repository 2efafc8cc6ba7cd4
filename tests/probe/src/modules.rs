//! Tries to load kernel modules: one module with its vendor's signature, without a signature, with a changed byte, and with a
//! signature by a different key.

use std::ffi::CStr;
use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};

/// The folder of the test image with the modules. They are loaded in the order of their names.
const FOLDER: &str = "/usr/lib/kubedos-probe/modules";

/// The kernel's error number for each module, or 0.
pub fn ask() -> Value {
    let mut paths: Vec<_> =
        fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, json!(load(path)))
        })
        .collect()
}

fn load(path: &Path) -> i32 {
    let none: &CStr = c"";
    File::open(path)
        .and_then(|file| kubedos_sys::module::load(&file, false, none))
        .map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0)
}
