//! `plan SPEC`: shows the addresses, peers, policy, stages, firewalls and underlays that are derived from a spec, and
//! draws them. `--assign` records ids in the allocation file.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::spec_file::{self, PlanRefusal, SpecFile};
use kubedos_debian::failure::{Class, Failure};
use kubedos_spec::plan::{self, ClusterPlan, PlannedNode};
use kubedos_wire::printable::chain;
use kubedos_wire::value::NodeName;
use serde_json::json;

use super::terminal::{print, print_pretty, say, say_painted};
use super::validate::load;

/// Show the plan of a ClusterSpec: ids, addresses, peers, policy, stages
#[derive(Debug, Args)]
pub struct Plan {
    /// The ClusterSpec
    spec: PathBuf,
    /// Print one JSON document
    #[arg(long, conflicts_with = "dot")]
    json: bool,
    /// Print a graph in the DOT language of Graphviz
    #[arg(long, conflicts_with_all = ["node", "since"])]
    dot: bool,
    /// Print a drawing of who may open connections to whom, as SVG
    #[arg(long, conflicts_with_all = ["json", "dot", "node", "since"])]
    svg: bool,
    /// Record the ids of nodes and operators in the allocation file next to the spec
    #[arg(long, conflicts_with_all = ["dot", "svg", "node", "since"])]
    assign: bool,
    /// With --assign: print the allocation file, without writing it
    #[arg(long, requires = "assign")]
    dry_run: bool,
    /// Show one node with its peers
    #[arg(long, value_name = "NAME", conflicts_with = "since")]
    node: Option<String>,
    /// Print the firewall of each node, or of one node, as input of nft(8)
    #[arg(long, conflicts_with_all = ["dot", "svg", "assign", "since"])]
    firewall: bool,
    /// Print the files of systemd-networkd for the underlay of each node, or of one node
    #[arg(long, conflicts_with_all = ["dot", "svg", "assign", "since", "firewall"])]
    underlay: bool,
    /// Show the differences from an older spec, and the effect of each on running nodes
    #[arg(long, value_name = "OLD")]
    since: Option<PathBuf>,
}

impl Plan {
    /// Prints the plan. Fails with class 3 if the spec is invalid.
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
            _ if self.firewall => self.firewalls(&plan),
            _ if self.underlay => self.underlays(&plan),
            Some(name) => self.node(&plan, name),
            None if self.dot => print(&plan.dot()),
            None if self.svg => Self::drawing(&plan),
            None if self.json => print_pretty(&json!(plan.document())),
            None if self.dry_run => Ok(()),
            None => print(&plan.tables()),
        }
    }

    /// The nodes that the output is about.
    fn nodes<'p>(&self, plan: &'p ClusterPlan) -> Result<&'p [PlannedNode], Failure> {
        match &self.node {
            Some(name) => Ok(std::slice::from_ref(find(plan, name)?)),
            None => Ok(plan.nodes()),
        }
    }

    fn underlays(&self, plan: &ClusterPlan) -> Result<(), Failure> {
        let underlays =
            plan.underlays(self.nodes(plan)?).map_err(|error| Failure::new(Class::InvalidSpec, error))?;
        if self.json {
            return print_pretty(&json!({ "version": 1, "underlays": underlays }));
        }
        let texts: Vec<String> = underlays.iter().map(ToString::to_string).collect();
        print(&texts.join("\n"))
    }

    fn drawing(plan: &ClusterPlan) -> Result<(), Failure> {
        print(&plan.svg().map_err(|error| Failure::new(Class::InvalidSpec, error))?)
    }

    fn firewalls(&self, plan: &ClusterPlan) -> Result<(), Failure> {
        let nodes = self.nodes(plan)?;
        let firewalls = plan.firewalls(nodes).map_err(|error| Failure::new(Class::InvalidSpec, error))?;
        if self.json {
            return print_pretty(&json!({ "version": 1, "firewalls": firewalls }));
        }
        let texts: Vec<String> = firewalls.iter().map(ToString::to_string).collect();
        print(&texts.join("\n"))
    }

    fn node(&self, plan: &ClusterPlan, name: &str) -> Result<(), Failure> {
        let node = find(plan, name)?;
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
            Failure::new(Class::Failed, format!("failed to write {}: {error}", path.display()))
        })?;
        say!("{}: written; commit it with the spec", path.display());
        Ok(())
    }
}

/// The node with this name.
fn find<'p>(plan: &'p ClusterPlan, name: &str) -> Result<&'p PlannedNode, Failure> {
    plan.node(name).ok_or_else(|| no_node(name, plan.nodes().iter().map(|node| &node.name)))
}

/// The failure for the name of a node that is not in the spec; it lists the first names that are.
pub fn no_node<'n>(name: &str, known: impl Iterator<Item = &'n NodeName>) -> Failure {
    let known: Vec<&str> = known.take(20).map(NodeName::as_str).collect();
    let failure = Failure::new(Class::Usage, format!("the spec has no node {name}"));
    failure.with_help(format!("it has: {}", known.join(", ")))
}

/// Writes a temporary file and renames it, so that the target is never incomplete.
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

/// Computes the plan of a valid spec. Problems are printed to stderr.
pub fn plan(file: &SpecFile) -> Result<ClusterPlan, Failure> {
    file.plan().map_err(no_plan)
}

/// Converts a refused plan to a failure. Problems of the spec are printed to stderr.
pub fn no_plan(refusal: PlanRefusal) -> Failure {
    match refusal {
        PlanRefusal::Invalid(refused) => {
            say_painted(&refused.render(spec_file::stderr_color()));
            Failure::reported(Class::InvalidSpec)
        }
        PlanRefusal::Allocation(path, error) => {
            let context = format!("{} cannot be used: {}", path.display(), chain(&error));
            Failure::new(Class::InvalidSpec, context)
                .with_help("restore the file from version control; do not edit it by hand")
        }
        PlanRefusal::Unread(error) => Failure::new(Class::Usage, error),
    }
}

/// Warns on stderr about ids that are not recorded. Such an id changes with the order of the nodes.
pub fn remind(file: &SpecFile, plan: &ClusterPlan) {
    let spec = file.path();
    let unrecorded = &plan.assignment().unrecorded;
    if let Some(first) = unrecorded.first() {
        let more =
            if unrecorded.len() > 1 { format!(" and {} more", unrecorded.len() - 1) } else { String::new() };
        say!(
            "{}: the id of {first}{more} is not recorded, and changes when nodes are added or reordered; run: kubedos-build plan --assign {}",
            spec.display(),
            spec.display()
        );
    }
}
