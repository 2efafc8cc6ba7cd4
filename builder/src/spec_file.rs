//! A ClusterSpec on disk, with the allocation file beside it: read, checked, planned, and said to people.
//!
//! The rules are `kubedos-spec`'s; this module does the reading and the wording around them.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use kubedos_spec::allocation::{Allocation, AllocationError, AssignError};
use kubedos_spec::check::{Problem, Raw, Validated, counted, list_not_yet, render};
use kubedos_spec::plan::ClusterPlan;
use kubedos_spec::yaml::MAX_BYTES;
use kubedos_wire::node::Role;
use serde_json::{Value, json};

use crate::keys::KeyDir;

/// A spec that is valid, with the file that it came from.
#[derive(Debug)]
pub struct SpecFile {
    path: PathBuf,
    source: String,
    validated: Validated,
    /// It was judged as one that is built with the demo keys.
    demo_keys: bool,
}

/// A spec that is not valid.
#[derive(Debug)]
pub struct Refused {
    path: PathBuf,
    source: String,
    problems: Vec<Problem>,
}

/// Why there is no valid spec.
#[derive(Debug)]
pub enum Refusal {
    /// The file was read, and is wrong.
    Invalid(Refused),
    /// The file could not be read.
    Unread(ReadError),
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ReadError {
    path: String,
    source: std::io::Error,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanRefusal {
    /// The spec and the recorded numbers do not agree.
    Invalid(Refused),
    /// The allocation file cannot be used.
    Allocation(PathBuf, AllocationError),
    /// The allocation file could not be read.
    Unread(ReadError),
}

/// Whether diagnostics on stderr are coloured: on a terminal, without `NO_COLOR`, and not with `TERM=dumb`.
pub fn stderr_color() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !set("NO_COLOR") && !dumb
}

fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1; // one more, so that a file that is too large is seen to be
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|source| ReadError { path: path.display().to_string(), source })?;
    Ok(bytes)
}

/// Reads and checks a spec. Only one that the demo keys serve may have their published operator.
pub fn load(path: &Path) -> Result<SpecFile, Refusal> {
    let bytes = read(path).map_err(Refusal::Unread)?;
    let source = || String::from_utf8_lossy(&bytes).into_owned();
    let demo_keys = KeyDir::demo_serves(path);
    let raw = if demo_keys { Raw::new(&bytes).with_demo_keys() } else { Raw::new(&bytes) };
    match raw.validate() {
        Ok(validated) => Ok(SpecFile { path: path.to_owned(), source: source(), validated, demo_keys }),
        Err(problems) => Err(Refusal::Invalid(Refused { path: path.to_owned(), source: source(), problems })),
    }
}

/// The allocation file of a spec: `cluster.yaml` has `cluster.alloc.toml` beside it.
pub fn allocation_path(spec: &Path) -> PathBuf {
    spec.with_extension("alloc.toml")
}

impl SpecFile {
    /// The checked spec.
    pub const fn validated(&self) -> &Validated {
        &self.validated
    }

    /// Judges it once more for the keys that it is built with: an example that is built with other keys than the demo's is a cluster like
    /// any other.
    ///
    /// # Errors
    /// What is wrong with it then.
    pub fn check_for(&self, keys: &KeyDir) -> Result<(), Refused> {
        if keys.public().demo || !self.demo_keys {
            return Ok(());
        }
        let judged = Raw::new(self.source.as_bytes()).validate();
        judged.map(drop).map_err(|problems| Refused {
            path: self.path.clone(),
            source: self.source.clone(),
            problems,
        })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plan, with the numbers recorded beside the spec.
    pub fn plan(&self) -> Result<ClusterPlan, PlanRefusal> {
        let path = allocation_path(&self.path);
        let recorded = if path.exists() {
            let bytes = read(&path).map_err(PlanRefusal::Unread)?;
            let text = String::from_utf8_lossy(&bytes);
            Allocation::parse(&text).map_err(|error| PlanRefusal::Allocation(path.clone(), error))?
        } else {
            Allocation::empty(self.validated.spec().metadata.name.clone())
        };
        self.validated.plan(&recorded).map_err(|error| match error {
            AssignError::File(error) => PlanRefusal::Allocation(path, error),
            AssignError::Problems(problems) => PlanRefusal::Invalid(Refused {
                path: self.path.clone(),
                source: self.source.clone(),
                problems,
            }),
        })
    }

    /// The warnings, as diagnostics.
    pub fn warnings(&self, color: bool) -> String {
        render(&self.path.display().to_string(), &self.source, self.validated.warnings(), color)
    }

    /// That the spec is valid, and how much of it is not in this version.
    pub fn summary(&self) -> String {
        let spec = self.validated.spec();
        let inventory = &spec.spec.nodes.inventory;
        let control_planes = inventory.iter().filter(|node| node.role == Role::ControlPlane).count();
        let workers = inventory.len() - control_planes;
        let mut text = format!(
            "{}: valid: cluster {} {}, generation {}: {}, {}, {}",
            self.path.display(),
            spec.metadata.name,
            spec.metadata.artifact_version,
            spec.metadata.generation,
            counted(control_planes, "control plane"),
            counted(workers, "worker"),
            counted(self.validated.warnings().len(), "warning"),
        );
        let rows = self.validated.not_in_this_version();
        if !rows.is_empty() {
            let fields = counted(rows.len(), "part");
            let verb = if rows.len() == 1 { "has" } else { "have" };
            text.push_str(&format!(
                "\nnot in this version: {fields} of this spec {verb} no effect yet; validate --unsupported lists them"
            ));
        }
        text
    }

    /// The parts of the spec that this version does not act on, by reasons.
    pub fn unsupported(&self) -> String {
        let rows = self.validated.not_in_this_version();
        if rows.is_empty() { String::new() } else { format!("not in this version:\n{}", list_not_yet(rows)) }
    }

    /// The same as JSON, with the nodes whose ids are not recorded.
    pub fn report(&self, plan: &ClusterPlan) -> Value {
        json!({
            "version": 1,
            "path": self.path.display().to_string(),
            "valid": true,
            "cluster": self.validated.spec().metadata.name,
            "problems": list(self.validated.warnings()),
            "unrecorded": plan.assignment().unrecorded,
            "notInThisVersion": self.validated.not_in_this_version(),
        })
    }
}

impl Refused {
    /// The problems, as diagnostics, and how many there are.
    pub fn render(&self, color: bool) -> String {
        render(&self.path.display().to_string(), &self.source, &self.problems, color)
    }

    /// The same as JSON.
    pub fn report(&self) -> Value {
        json!({
            "version": 1,
            "path": self.path.display().to_string(),
            "valid": false,
            "problems": list(&self.problems),
        })
    }
}

fn list(problems: &[Problem]) -> Value {
    let one = |p: &Problem| {
        json!({
            "severity": p.severity, "line": p.at.line, "column": p.at.column,
            "rule": p.rule, "message": p.message, "help": p.help,
        })
    };
    problems.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocation_file_stands_beside_the_spec() {
        assert_eq!(allocation_path(Path::new("a/b.c/lab.yaml")), Path::new("a/b.c/lab.alloc.toml"));
    }
}
