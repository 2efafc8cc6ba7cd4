//! `validate SPEC`: reports all problems of a ClusterSpec and of its allocation file in one run.

use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::keys::KeyDir;
use kubedos_builder::spec_file::{self, PlanRefusal, Refusal, SpecFile};
use kubedos_debian::failure::{Class, Failure};

use super::plan::{no_plan, plan, remind};
use super::terminal::{print, print_pretty, say_lines, say_painted};

/// Check a ClusterSpec: structure, values, every rule, and the ids in its allocation file
#[derive(Debug, Args)]
pub struct Validate {
    /// The ClusterSpec
    spec: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// List the parts of the spec that have no effect in this version
    #[arg(long, conflicts_with = "json")]
    unsupported: bool,
}

impl Validate {
    /// Prints the result. Fails with class 3 if the spec is invalid.
    pub fn run(&self) -> Result<(), Failure> {
        if self.json {
            return self.run_json();
        }
        let file = load(&self.spec)?;
        let plan = plan(&file)?;
        say_lines(&file.summary());
        if self.unsupported {
            print(&file.unsupported())?;
        }
        remind(&file, &plan);
        Ok(())
    }

    fn run_json(&self) -> Result<(), Failure> {
        let (document, valid) = match spec_file::load(&self.spec) {
            Ok(file) => match file.plan() {
                Ok(plan) => (file.report(&plan), true),
                Err(PlanRefusal::Invalid(refused)) => (refused.report(), false),
                Err(refusal) => return Err(no_plan(refusal)),
            },
            Err(Refusal::Invalid(refused)) => (refused.report(), false),
            Err(Refusal::Unread(error)) => return Err(unread(error)),
        };
        print_pretty(&document)?;
        if valid { Ok(()) } else { Err(Failure::reported(Class::InvalidSpec)) }
    }
}

/// Loads a spec, and prints its warnings or problems to stderr. Fails if it is invalid.
pub fn load(path: &Path) -> Result<SpecFile, Failure> {
    let file = load_quietly(path)?;
    say_painted(&file.warnings(spec_file::stderr_color()));
    Ok(file)
}

/// Checks that the spec may be built with these keys, and prints the problems to stderr.
pub fn check_for(file: &SpecFile, keys: &KeyDir) -> Result<(), Failure> {
    file.check_for(keys).map_err(|refused| {
        say_painted(&refused.render(spec_file::stderr_color()));
        Failure::reported(Class::InvalidSpec)
    })
}

/// Loads a spec without printing its warnings, for commands to which the warnings do not apply. `validate`, `plan` and `image` print them.
pub fn load_quietly(path: &Path) -> Result<SpecFile, Failure> {
    match spec_file::load(path) {
        Ok(file) => Ok(file),
        Err(Refusal::Invalid(refused)) => {
            say_painted(&refused.render(spec_file::stderr_color()));
            Err(Failure::reported(Class::InvalidSpec))
        }
        Err(Refusal::Unread(error)) => Err(unread(error)),
    }
}

fn unread(error: spec_file::ReadError) -> Failure {
    Failure::new(Class::Usage, error)
}
