//! What every parser of untrusted bytes keeps, said once: the fuzz targets in `fuzz/fuzz_targets/` and the tests in `tests/` call the same
//! functions.
//!
//! A [`Target`] is a parser (or a family that reads the same bytes), its property, and seeds that the project's own writers make. Every
//! property holds for any input: no panic, no overflow (the release profile checks both), memory within a small multiple of the input
//! ([`frugal`]), and, where there is a writer, what was read and written again is read as the same.
//!
//! Everything here panics with a reason: that is how a property says that it does not hold.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support: a failure here is a failed test, and says why"
)]

mod archives;
mod documents;
mod erofs;
mod frugal;
mod keys;
mod machine;
pub mod mutation;
mod objects;
mod packages;
mod signatures;
mod sparse;
mod specs;
mod volumes;

use std::path::{Path, PathBuf};

/// An input by its name.
pub type Seed = (&'static str, Vec<u8>);

/// A parser and what it keeps.
#[derive(Debug)]
pub struct Target {
    /// Its name: of the fuzz target, of its folder in `fuzz/corpus/`, and of its test.
    pub name: &'static str,
    property: fn(&[u8]),
    /// Inputs that reach its depths, made by the project's own writers.
    pub seeds: fn() -> Vec<Seed>,
    /// How many mutations of its corpus a test tries: fewer where one costs more.
    pub mutants: usize,
}

const GROUPS: [&[Target]; 9] = [
    &volumes::TARGETS,
    &erofs::TARGETS,
    &archives::TARGETS,
    &signatures::TARGETS,
    &documents::TARGETS,
    &packages::TARGETS,
    &objects::TARGETS,
    &specs::TARGETS,
    &machine::TARGETS,
];

/// All targets, by folder of the project.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    GROUPS.into_iter().flatten()
}

/// The target of that name. `const`, so that a program looks it up when it is compiled: libFuzzer would take the names for what the parser
/// compares its input with.
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
    panic!("there is no target of that name")
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) => *a == *b && same(one, other),
        _ => false,
    }
}

impl Target {
    /// Panics where `input` shows that the property does not hold.
    pub fn hold(&self, input: &[u8]) {
        (self.property)(input);
    }
}

/// The folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Where the committed inputs of a target lie.
pub fn corpus(name: &str) -> PathBuf {
    project().join("fuzz/corpus").join(name)
}
