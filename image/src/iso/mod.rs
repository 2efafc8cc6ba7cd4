//! ISO 9660 (ECMA-119) in the two forms that kubedOS needs.
//!
//! - [`seed`]: a volume `KUBEDSEED` with one file `SEED.KST`, which transports a seed to a node. This crate writes and reads it, so that
//!   no kernel file system parses untrusted seeds.
//! - [`hybrid`]: the empty volume with an El Torito entry in the gap before the first partition. It makes a disk image also a CD image.
//!
//! Rock Ridge, Joliet and times are not supported: every date is the same fixed date.

mod format;
pub mod hybrid;
pub mod seed;
