//! `validate SPEC`: everything that is wrong with a ClusterSpec and with the ids that are recorded beside it, in one run.

use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::keys::KeyDir;
use kubedos_builder::spec_file::{self, PlanRefusal, Refusal, SpecFile};
use kubedos_debian::failure::{Class, Failure};

use super::plan::{no_plan, plan, remind};
use super::terminal::{print, print_pretty, say_lines, say_painted};

/// Check a ClusterSpec: shape, values, every rule, and the ids recorded beside it
#[derive(Debug, Args)]
pub struct Validate {
    /// The ClusterSpec
    spec: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// List the parts of the spec that this version does not act on
    #[arg(long, conflicts_with = "json")]
    unsupported: bool,
}

impl Validate {
    /// Prints what there is to say; fails with class 3 when the spec is invalid.
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

/// A valid spec with its warnings printed to stderr; else its problems are printed there.
pub fn load(path: &Path) -> Result<SpecFile, Failure> {
    let file = load_quietly(path)?;
    say_painted(&file.warnings(spec_file::stderr_color()));
    Ok(file)
}

/// Refuses a spec that must not be built with these keys; its problems are printed.
pub fn check_for(file: &SpecFile, keys: &KeyDir) -> Result<(), Failure> {
    file.check_for(keys).map_err(|refused| {
        say_painted(&refused.render(spec_file::stderr_color()));
        Failure::reported(Class::InvalidSpec)
    })
}

/// A valid spec, for commands that do not depend on what its warnings are about; `validate`, `plan` and `image` print them.
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
