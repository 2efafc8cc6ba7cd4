//! ISO 9660 (ECMA-119) in the two small shapes that kubedOS needs.
//!
//! - [`seed`]: a volume `KUBEDSEED` with one file `SEED.KST`, which is how a seed travels to a node. Written and read here, so that no
//!   kernel file system ever parses it.
//! - [`hybrid`]: the empty volume with an El Torito entry that lies in the gap before the first partition and makes a disk image a CD
//!   image too.
//!
//! Rock Ridge, Joliet and times are left out: every date is the same fixed one.

mod format;
pub mod hybrid;
pub mod seed;
