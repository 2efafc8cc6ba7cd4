//! `diff A B`: in what two built files differ.

use std::path::PathBuf;

use clap::Args;
use kubedos_builder::diff::{self};
use kubedos_debian::failure::{Class, Failure};

use super::terminal::{print, print_pretty, say};

/// Show in what two built files differ: partitions, files, sections, command line, initrd, volumes, configuration
#[derive(Debug, Args)]
pub struct Diff {
    /// A built file, or a folder of outputs
    a: PathBuf,

    /// Another one of the same kind
    b: PathBuf,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Diff {
    /// Prints the differences; fails with class 1 when there are any.
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
