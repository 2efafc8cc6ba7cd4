//! Loads kernel modules. The distribution compresses them, and the kernel decompresses them itself
//! (`MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`, kernels with `CONFIG_MODULE_DECOMPRESS`).

use std::ffi::CStr;
use std::fs::File;
use std::io;

const COMPRESSED_FILE: i32 = 4;

/// The result of loading a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// The module was loaded.
    Now,
    /// The module was loaded before, or is built in.
    Before,
}

/// Loads a module; `compressed` means that the file is an `.xz` or `.zst`.
pub fn load(file: &File, compressed: bool, parameters: &CStr) -> io::Result<Loaded> {
    let flags = if compressed { COMPRESSED_FILE } else { 0 };
    match rustix::system::finit_module(file, parameters, flags) {
        Ok(()) => Ok(Loaded::Now),
        Err(rustix::io::Errno::EXIST) => Ok(Loaded::Before),
        Err(error) => Err(error.into()),
    }
}
