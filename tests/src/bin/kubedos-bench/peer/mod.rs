//! The peer of the benchmarks: mkosi with the recipe of `tests/peers/mkosi/`, the closest image that a user can build with mkosi.

mod boot;
mod build;
mod package;
mod setup;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ours::Sizes;
use crate::timed::Cost;
pub use boot::PeerBoot;
pub use package::{Package, make_whole};

/// Why the peer was not measured.
#[derive(Debug, Clone, Serialize)]
pub struct Reason(String);

impl Reason {
    /// The reason as text.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The peer's builds.
#[derive(Debug)]
pub struct PeerBuilds {
    /// A build with tools and packages only.
    pub full: Cost,
    /// Builds that also have the layer with the packages, after a change of one file of the image.
    pub incremental: Vec<Cost>,
    /// The sizes of the outputs.
    pub sizes: Sizes,
}

/// The unpacked mkosi and a copy of the recipe with its tools and packages, in which it builds.
#[derive(Debug)]
pub struct Peer {
    folder: PathBuf,
}

impl Peer {
    /// Fetches and builds everything that a build needs; this takes long the first time.
    ///
    /// # Errors
    /// If this host lacks something that mkosi needs, or a step fails.
    pub fn prepare(folder: &Path) -> Result<Self, Reason> {
        setup::check_host()?;
        setup::unpack_mkosi(&folder.join("mkosi"))?;
        let peer = Self { folder: folder.to_owned() };
        peer.lay_recipe()?;
        if !peer.is_filled()? {
            peer.build()?;
        }
        Ok(peer)
    }

    /// One full build and `runs` incremental builds.
    ///
    /// # Errors
    /// If a build fails.
    pub fn builds(&self, runs: u32) -> Result<PeerBuilds, Reason> {
        self.forget_image()?;
        let full = self.build()?;
        let edit = |added| {
            self.edit(added)?;
            self.build()
        };
        let incremental = (1..=runs).map(edit).collect::<Result<_, _>>()?;
        Ok(PeerBuilds { full, incremental, sizes: self.sizes()? })
    }

    /// `count` pairs of a first and a second boot of the last built image.
    ///
    /// # Errors
    /// If a boot fails.
    pub fn boots(&self, count: u32) -> Result<Vec<[PeerBoot; 2]>, Reason> {
        (0..count).map(|number| self.boot_twice(number)).collect()
    }

    fn recipe(&self) -> PathBuf {
        self.folder.join("recipe")
    }

    fn image(&self) -> PathBuf {
        self.recipe().join("peer.raw")
    }
}
