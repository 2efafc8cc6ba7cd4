//! qcow2 images, version 3 (QEMU, "docs/interop/qcow2.txt"): a wrapper around the very bytes of the raw image, with nothing in it that the
//! raw image does not determine. Clusters of 64 KiB that hold only zeroes are left out; nothing is compressed, encrypted or backed.
//!
//! The reader takes images of this one form. It serves the checks of our own outputs; QEMU is the reader that counts.

mod format;
mod reader;
mod writer;

pub use reader::Image;
pub use writer::write;

use std::io;

/// Why no image was written, or none can be read.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The guest's disk is empty, not a whole number of sectors, or larger than 16 TiB.
    #[error("a disk of {0} bytes cannot be wrapped")]
    Length(u64),
    /// Not a qcow2 image of the one form that is written here.
    #[error("not a qcow2 image of our form: {0}")]
    Form(&'static str),
    /// A table points to where it must not.
    #[error("{0} at {1} is wrong")]
    Damaged(&'static str, u64),
    /// Reading the source or the image failed, or writing did.
    #[error("cannot copy the image")]
    Io(#[from] io::Error),
}
