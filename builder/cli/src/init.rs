//! The step of `image` that provides the programs of `init/`: from the store, or from a new build.

use std::path::{Path, PathBuf};

use kubedos_builder::image::explain::Explained;
use kubedos_builder::init_build::{self, Means, Programs, Recipe};
use kubedos_builder::store::Store;
use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::cache::Cache;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::lock::Lock;

/// The state of the programs before any file is fetched.
pub struct Init {
    recipe: Recipe,
    kept: Option<Programs>,
    store: Store,
}

impl Init {
    /// Reads the sources in the current folder and looks for their programs in the store.
    pub fn look(store: &Store, lock: &Lock) -> Result<Self, Failure> {
        let workspace = std::env::current_dir().map_err(|error| Failure::new(Class::Failed, error))?;
        let toolchain = lock.set(init_build::SET)?;
        let recipe = Recipe::read(&workspace, &toolchain)?;
        let kept = recipe.kept(store)?;
        Ok(Self { recipe, kept, store: store.clone() })
    }

    /// The set of the lock that a build needs; `None` if the programs are in the store.
    pub fn needed_set(&self) -> Option<&'static str> {
        self.kept.is_none().then_some(init_build::SET)
    }

    /// Returns the programs, and whether they were reused or built. Builds them if needed.
    pub fn programs(
        self,
        target_dir: &Path,
        offline: bool,
        cache: &Cache,
        lock: &Lock,
    ) -> Result<(Programs, Explained), Failure> {
        let (reused, inputs) = (self.kept.is_some(), self.recipe.inputs().clone());
        let programs = match self.kept {
            Some(programs) => programs,
            None => {
                let io = |error| Failure::new(Class::Failed, error);
                let program: PathBuf = std::env::current_exe().map_err(io)?;
                let means = Means {
                    target_dir: &std::path::absolute(target_dir).map_err(io)?,
                    offline,
                    toolchain: &Toolbox::open(cache, lock, init_build::SET)?,
                    program: &program,
                };
                self.recipe.build(&self.store, &means)?
            }
        };
        let bytes = (programs.stage1.len() + programs.agent.len()) as u64;
        // The label of the programs of `init/`, `kubedos-stage1` and `kubedos-agent`. Documentation and benchmarks use it.
        let explained = Explained { part: "kubedos-init", reused, bytes, inputs, work: None };
        Ok((programs, explained))
    }
}
