//! A ClusterSpec on disk and its allocation file: reads, checks and plans the spec, and formats the results for people and as JSON.
//!
//! The rules are in `kubedos-spec`; this module only reads the files and renders the diagnostics.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use kubedos_spec::allocation::{Allocation, AllocationError, AssignError};
use kubedos_spec::check::{Problem, Raw, Validated, counted, list_not_yet, render};
use kubedos_spec::plan::ClusterPlan;
use kubedos_spec::yaml::MAX_BYTES;
use kubedos_wire::node::Role;
use serde_json::{Value, json};

use crate::keys::KeyDir;

/// A valid spec and its file.
#[derive(Debug)]
pub struct SpecFile {
    path: PathBuf,
    source: String,
    validated: Validated,
    /// Whether it was checked as a spec that may be built with the demo keys.
    demo_keys: bool,
}

/// An invalid spec and its problems.
#[derive(Debug)]
pub struct Refused {
    path: PathBuf,
    source: String,
    problems: Vec<Problem>,
}

/// The errors of loading a spec.
#[derive(Debug)]
pub enum Refusal {
    /// The spec has problems.
    Invalid(Refused),
    /// The file cannot be read.
    Unread(ReadError),
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ReadError {
    path: String,
    source: std::io::Error,
}

/// The errors of planning.
#[derive(Debug)]
pub enum PlanRefusal {
    /// The spec contradicts the recorded ids.
    Invalid(Refused),
    /// The allocation file is invalid.
    Allocation(PathBuf, AllocationError),
    /// The allocation file cannot be read.
    Unread(ReadError),
}

/// Whether diagnostics on stderr are coloured: if it is a terminal, `NO_COLOR` is not set, and `TERM` is not `dumb`.
pub fn stderr_color() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stderr().is_terminal() && !set("NO_COLOR") && !dumb
}

fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1; // one more byte, to detect a file that is too large
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|source| ReadError { path: path.display().to_string(), source })?;
    Ok(bytes)
}

/// Reads and checks a spec. The published demo operator is accepted only in specs that may use the demo keys.
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

/// Returns the path of a spec's allocation file: `cluster.alloc.toml` next to `cluster.yaml`.
pub fn allocation_path(spec: &Path) -> PathBuf {
    spec.with_extension("alloc.toml")
}

impl SpecFile {
    /// The checked spec.
    pub const fn validated(&self) -> &Validated {
        &self.validated
    }

    /// Checks the spec again for the given keys. An example that is built with keys other than the demo keys must satisfy the rules for
    /// normal clusters.
    ///
    /// # Errors
    /// The problems of the spec under these keys.
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

    /// The path of the spec.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Plans the cluster with the ids recorded in the allocation file.
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

    /// The warnings as rendered diagnostics.
    pub fn warnings(&self, color: bool) -> String {
        render(&self.path.display().to_string(), &self.source, self.validated.warnings(), color)
    }

    /// A one-line summary, and a second line if this version ignores parts of the spec.
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

    /// The parts of the spec that this version ignores, grouped by reason.
    pub fn unsupported(&self) -> String {
        let rows = self.validated.not_in_this_version();
        if rows.is_empty() { String::new() } else { format!("not in this version:\n{}", list_not_yet(rows)) }
    }

    /// The summary as JSON, including the nodes whose ids are not recorded.
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
    /// The problems as rendered diagnostics, and their number.
    pub fn render(&self, color: bool) -> String {
        render(&self.path.display().to_string(), &self.source, &self.problems, color)
    }

    /// The problems as JSON.
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
    fn the_allocation_file_is_next_to_the_spec() {
        assert_eq!(allocation_path(Path::new("a/b.c/lab.yaml")), Path::new("a/b.c/lab.alloc.toml"));
    }
}
