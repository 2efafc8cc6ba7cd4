//! `inspect --disks`: lists the disks of this machine as a node detects them, and whether they match a spec.
//!
//! The inventory and the rules are the ones of the agent (`kubedos_survey`). The command only reads `/sys` and
//! `/dev`.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_debian::failure::{Class, Failure};
use kubedos_survey::judge::{self, Permission};
use kubedos_survey::{Disk, look, show, size};
use kubedos_wire::node::{self, DiskRule, Shard};
use kubedos_wire::printable;
use serde::Serialize;

use super::plan::{no_node, plan};
use super::terminal::{print, print_pretty};
use super::validate::load;

/// The disks of this machine.
#[derive(Debug, Args)]
pub struct Attached {
    /// Show the disks of this machine, with everything that a spec can name them by
    #[arg(long)]
    pub disks: bool,

    /// With --disks: show why each disk does or does not match the system disk of a node of this spec
    #[arg(long, value_name = "SPEC", requires_all = ["disks", "node"])]
    spec: Option<PathBuf>,

    /// With --spec: the node
    #[arg(long, value_name = "NAME", requires = "spec")]
    node: Option<String>,

    /// With --disks: the folder that contains sys and dev
    #[arg(long, value_name = "DIR", default_value = "/", requires = "disks", hide = true)]
    root: PathBuf,
}

/// The printed report.
#[derive(Debug, Serialize)]
struct Report {
    /// The rule of the system disk, if a node was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    disks: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    disk: Disk,
    /// Whether the disk matches the rule; absent without a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<bool>,
    /// Why the disk does not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    /// Whether `allowDestroy` permits to destroy the content; absent if no entry names the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_destroy: Option<String>,
}

impl Attached {
    /// Prints the disks.
    pub fn run(&self, json: bool) -> Result<(), Failure> {
        let shard = match (&self.spec, &self.node) {
            (Some(spec), Some(node)) => Some(shard(spec, node)?),
            _ => None,
        };
        let found = look::disks(&self.root).map_err(|error| {
            Failure::new(Class::Failed, format!("failed to list the disks of this machine: {error}"))
        })?;
        let report = report(found, shard.as_ref());
        if json { print_pretty(&report) } else { print(&report) }
    }
}

fn shard(spec: &Path, node: &str) -> Result<Shard, Failure> {
    let plan = plan(&load(spec)?)?;
    let found = plan.node(node).and_then(|planned| plan.shard(planned));
    found.ok_or_else(|| no_node(node, plan.nodes().iter().map(|node| &node.name)))
}

fn report(found: Vec<Disk>, shard: Option<&Shard>) -> Report {
    let system: Option<&node::Disk> = shard.and_then(Shard::system_disk);
    let rule: Option<&DiskRule> = system.and_then(|system| system.rule.as_ref());
    let text = shard.map(|shard| match rule {
        Some(rule) => judge::rule_text(rule),
        None => format!("{} has no disk rule and uses the disk that it booted from", shard.node),
    });
    let allow_destroy = shard.map_or(&[][..], |shard| &shard.allow_destroy);
    let entry = |disk: &Disk| {
        let reasons = rule.map(|rule| judge::rule(disk, rule));
        Entry {
            matches: reasons.as_ref().map(Vec::is_empty),
            reasons: reasons.iter().flatten().map(ToString::to_string).collect(),
            allow_destroy: match judge::permission(disk, &found, allow_destroy) {
                Permission::Granted => {
                    Some("allowDestroy names this disk: its content may be destroyed".into())
                }
                Permission::NotNamed => None,
                Permission::Ambiguous { entry, disks } => Some(format!(
                    "{entry} names {} disks ({}) and permits nothing",
                    disks.len(),
                    disks.join(", ")
                )),
            },
            disk: disk.clone(),
        }
    };
    Report { rule: text, disks: found.iter().map(entry).collect() }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(rule) = &self.rule {
            writeln!(f, "rule: {}", printable::line(rule))?;
        }
        if self.disks.is_empty() {
            return writeln!(f, "this machine has no disks");
        }
        for (at, entry) in self.disks.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{:<10} {}", show::plain(&entry.disk.name), capacity(&entry.disk))?;
            for (name, text) in show::fields(&entry.disk) {
                write!(f, "\n  {name:<8} {text}")?;
            }
            match entry.matches {
                Some(true) => f.write_str("\n  rule     matches")?,
                Some(false) => write!(f, "\n  rule     does not match: {}", entry.reasons.join("; "))?,
                None => {}
            }
            if let Some(permission) = &entry.allow_destroy {
                write!(f, "\n  destroy  {permission}")?;
            }
        }
        let matching: Vec<&Disk> =
            self.disks.iter().filter(|entry| entry.matches == Some(true)).map(|entry| &entry.disk).collect();
        if matching.len() > 1 {
            write!(
                f,
                "\n\n{} disks match, so the node uses none of them: {}",
                matching.len(),
                judge::apart(&matching)
            )?;
        }
        writeln!(f)
    }
}

fn capacity(disk: &Disk) -> String {
    if disk.bytes == 0 { "no medium".into() } else { size(disk.bytes) }
}
