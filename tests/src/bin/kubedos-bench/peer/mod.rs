//! mkosi with the recipe of `tests/peers/mkosi/`: what a user would build today instead.

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
pub struct Why(String);

impl Why {
    /// The reason in words.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The peer's builds.
#[derive(Debug)]
pub struct PeerBuilds {
    /// Its tools and packages are there, nothing else.
    pub full: Cost,
    /// The layer with the packages is there too, and one file of the image has changed.
    pub incremental: Vec<Cost>,
    /// Of what it builds.
    pub sizes: Sizes,
}

/// mkosi, unpacked, and a copy of the recipe to build in, with its tools and its packages.
#[derive(Debug)]
pub struct Peer {
    folder: PathBuf,
}

impl Peer {
    /// Gets everything that a build needs, which takes long when it was not there.
    ///
    /// # Errors
    /// What is missing on this host.
    pub fn prepare(folder: &Path) -> Result<Self, Why> {
        setup::check_host()?;
        setup::unpack_mkosi(&folder.join("mkosi"))?;
        let peer = Self { folder: folder.to_owned() };
        peer.lay_recipe()?;
        if !peer.is_filled()? {
            peer.build()?;
        }
        Ok(peer)
    }

    /// One full build and the incremental ones.
    ///
    /// # Errors
    /// What failed.
    pub fn builds(&self, runs: u32) -> Result<PeerBuilds, Why> {
        self.forget_image()?;
        let full = self.build()?;
        let edit = |added| {
            self.edit(added)?;
            self.build()
        };
        let incremental = (1..=runs).map(edit).collect::<Result<_, _>>()?;
        Ok(PeerBuilds { full, incremental, sizes: self.sizes()? })
    }

    /// Pairs of a first and a second boot of what was built last.
    ///
    /// # Errors
    /// What failed.
    pub fn boots(&self, count: u32) -> Result<Vec<[PeerBoot; 2]>, Why> {
        (0..count).map(|number| self.boot_twice(number)).collect()
    }

    fn recipe(&self) -> PathBuf {
        self.folder.join("recipe")
    }

    fn image(&self) -> PathBuf {
        self.recipe().join("peer.raw")
    }
}
