//! `diff A B`: shows the differences between two built files.

use std::path::PathBuf;

use clap::Args;
use kubedos_builder::diff;
use kubedos_debian::failure::{Class, Failure};

use super::terminal::{print, print_pretty, say};

/// Show the differences between two built files: partitions, files, sections, command line, initrd, volumes, configuration
#[derive(Debug, Args)]
pub struct Diff {
    /// The first file, or folder of outputs
    a: PathBuf,

    /// The second file of the same kind, or folder of outputs
    b: PathBuf,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Diff {
    /// Prints the differences. Fails with class 1 if there are any.
    pub fn run(&self) -> Result<(), Failure> {
        let found = diff::diff(&self.a, &self.b)?;
        if self.json {
            print_pretty(&found)?;
        } else {
            print(&found)?;
        }
        let (a, b) = (self.a.display(), self.b.display());
        if found.equal {
            say!("{a} and {b} are equal");
            return Ok(());
        }
        say!("{a} and {b} differ in {} parts", found.differences.len());
        Err(Failure::reported(Class::Failed))
    }
}
