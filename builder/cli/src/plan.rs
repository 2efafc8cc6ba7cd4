//! `plan SPEC`: what follows from a spec: addresses, peers, policy, stages; and `--assign`, which writes ids down.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::spec_file::{self, PlanRefusal, SpecFile};
use kubedos_debian::failure::{Class, Failure};
use kubedos_spec::plan::{self, ClusterPlan};
use kubedos_wire::printable::chain;
use serde_json::json;

use super::terminal::{print, print_pretty, say, say_painted};
use super::validate::load;

/// Show what follows from a ClusterSpec: numbers, addresses, peers, policy, stages
#[derive(Debug, Args)]
pub struct Plan {
    /// The ClusterSpec
    spec: PathBuf,
    /// Print one JSON document
    #[arg(long, conflicts_with = "dot")]
    json: bool,
    /// Print a drawing for Graphviz
    #[arg(long, conflicts_with_all = ["node", "since"])]
    dot: bool,
    /// Write the ids of nodes and operators down, beside the spec
    #[arg(long, conflicts_with_all = ["dot", "node", "since"])]
    assign: bool,
    /// With --assign: print what would be written, and write nothing
    #[arg(long, requires = "assign")]
    dry_run: bool,
    /// Show one node with its peers
    #[arg(long, value_name = "NAME", conflicts_with = "since")]
    node: Option<String>,
    /// Show what differs from an older spec, and what each difference does to running nodes
    #[arg(long, value_name = "OLD")]
    since: Option<PathBuf>,
}

impl Plan {
    /// Prints the plan; fails with class 3 when the spec is invalid.
    pub fn run(&self) -> Result<(), Failure> {
        let file = load(&self.spec)?;
        if let Some(old) = &self.since {
            return self.changes(&load(old)?, &file);
        }
        let plan = plan(&file)?;
        if self.assign {
            self.assign(&plan)?;
        } else {
            remind(&file, &plan);
        }
        match &self.node {
            Some(name) => self.node(&plan, name),
            None if self.dot => print(&plan.dot()),
            None if self.json => print_pretty(&json!(plan.document())),
            None if self.dry_run => Ok(()),
            None => print(&plan.tables()),
        }
    }

    fn node(&self, plan: &ClusterPlan, name: &str) -> Result<(), Failure> {
        let Some(node) = plan.node(name) else {
            let names: Vec<&str> = plan.nodes().iter().take(20).map(|node| node.name.as_str()).collect();
            let failure = Failure::new(Class::Usage, format!("the spec has no node {name}"));
            return Err(failure.with_help(format!("it has: {}", names.join(", "))));
        };
        if !self.json {
            return print(&plan.node_tables(node));
        }
        let planes = plan.planes().keys().map(|plane| {
            let peers = plan.peers(node, plane).map(|peer| {
                json!({ "node": peer.node, "address": peer.address, "pods": peer.pods, "endpoint": peer.endpoint })
            });
            (plane.to_string(), peers.collect())
        });
        let peers: serde_json::Map<String, serde_json::Value> = planes.collect();
        print_pretty(&json!({ "version": 1, "shard": plan.shard(node), "peers": peers }))
    }

    fn changes(&self, old: &SpecFile, new: &SpecFile) -> Result<(), Failure> {
        let changes = plan::changes(old.validated(), new.validated());
        if self.json {
            return print_pretty(&json!({ "version": 1, "changes": changes }));
        }
        let width = changes.iter().map(|change| change.path.len()).max().unwrap_or(0);
        let lines =
            changes.iter().map(|change| format!("{:width$}  {}\n", change.path, change.effect.name()));
        print(&lines.collect::<String>())
    }

    fn assign(&self, plan: &ClusterPlan) -> Result<(), Failure> {
        let path = spec_file::allocation_path(&self.spec);
        let text =
            plan.assignment().allocation.to_toml().map_err(|error| Failure::new(Class::Failed, error))?;
        if self.dry_run {
            return print(&text);
        }
        if !plan.assignment().changed {
            say!("{}: unchanged", path.display());
            return Ok(());
        }
        write(&path, &text).map_err(|error| {
            Failure::new(Class::Failed, format!("cannot write {}: {error}", path.display()))
        })?;
        say!("{}: written; commit it with the spec", path.display());
        Ok(())
    }
}

/// Under a name of its own first, so that nobody ever sees half a file.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let draft = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = std::fs::File::create_new(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    });
    if written.is_err() && draft.exists() {
        std::fs::remove_file(&draft)?;
    }
    written
}

/// The plan of a valid spec; what does not fit is printed.
pub fn plan(file: &SpecFile) -> Result<ClusterPlan, Failure> {
    file.plan().map_err(no_plan)
}

/// Why there is no plan; what is wrong with the spec is printed.
pub fn no_plan(refusal: PlanRefusal) -> Failure {
    match refusal {
        PlanRefusal::Invalid(refused) => {
            say_painted(&refused.render(spec_file::stderr_color()));
            Failure::reported(Class::InvalidSpec)
        }
        PlanRefusal::Allocation(path, error) => {
            let context = format!("{} cannot be used: {}", path.display(), chain(&error));
            Failure::new(Class::InvalidSpec, context)
                .with_help("take the file from version control; it is never written by hand")
        }
        PlanRefusal::Unread(error) => Failure::new(Class::Usage, error),
    }
}

/// Says on stderr which ids are not recorded: they would move with the order of the nodes.
pub fn remind(file: &SpecFile, plan: &ClusterPlan) {
    let spec = file.path();
    let unrecorded = &plan.assignment().unrecorded;
    if let Some(first) = unrecorded.first() {
        let more =
            if unrecorded.len() > 1 { format!(" and {} more", unrecorded.len() - 1) } else { String::new() };
        say!(
            "{}: the id of {first}{more} is not recorded, and moves when nodes are added or reordered; run: kubedos-build plan --assign {}",
            spec.display(),
            spec.display()
        );
    }
}
