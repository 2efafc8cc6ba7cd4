//! The properties of all parsers of untrusted bytes. The fuzz targets in `fuzz/fuzz_targets/` and the tests in `tests/` call the same
//! functions.
//!
//! A [`Target`] is a parser (or several parsers of the same bytes), its property, and seeds that the project's own writers create. Every
//! property must hold for any input: no panic, no overflow (the release profile checks both), and memory within a small multiple of the
//! input ([`frugal`]). If there is a writer, a round trip (read, write, read again) must give an equal value.
//!
//! A function that finds a violated property panics with a message.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support: a panic is a failed test, and its message gives the cause"
)]

mod archives;
mod documents;
mod erofs;
mod frames;
mod frugal;
mod keys;
mod machine;
mod membership;
pub mod mutation;
pub mod netlink;
mod network;
mod objects;
mod packages;
mod signatures;
mod sparse;
mod specs;
mod volumes;

use std::path::{Path, PathBuf};

/// The name and the bytes of an input.
pub type Seed = (&'static str, Vec<u8>);

/// A parser and its property.
#[derive(Debug)]
pub struct Target {
    /// The name of the fuzz target, of its folder in `fuzz/corpus/`, and of its test.
    pub name: &'static str,
    property: fn(&[u8]),
    /// Inputs that reach most of the parser's code, written by the project's own writers.
    pub seeds: fn() -> Vec<Seed>,
    /// The number of mutations of the corpus that a test tries. It is lower for a slow property.
    pub mutants: usize,
}

const GROUPS: [&[Target]; 13] = [
    &volumes::TARGETS,
    &erofs::TARGETS,
    &archives::TARGETS,
    &signatures::TARGETS,
    &documents::TARGETS,
    &packages::TARGETS,
    &objects::TARGETS,
    &specs::TARGETS,
    &machine::TARGETS,
    &membership::TARGETS,
    &network::TARGETS,
    &frames::TARGETS,
    &netlink::TARGETS,
];

/// All targets, by folder of the project.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    GROUPS.into_iter().flatten()
}

/// The target with this name. The function is `const`, so that the lookup happens at compile time: libFuzzer observes comparisons, and
/// would use the names as hints for the input.
pub const fn target(name: &str) -> &'static Target {
    let mut groups: &[&[Target]] = &GROUPS;
    while let [group, others @ ..] = groups {
        let mut targets = *group;
        while let [target, others @ ..] = targets {
            if same(target.name.as_bytes(), name.as_bytes()) {
                return target;
            }
            targets = others;
        }
        groups = others;
    }
    panic!("unknown target")
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) => *a == *b && same(one, other),
        _ => false,
    }
}

impl Target {
    /// Panics if the property does not hold for `input`.
    pub fn check(&self, input: &[u8]) {
        (self.property)(input);
    }
}

/// The folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The folder with the committed inputs of a target.
pub fn corpus(name: &str) -> PathBuf {
    project().join("fuzz/corpus").join(name)
}
