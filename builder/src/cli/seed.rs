//! `seed`: mints the seed of a node, as a volume or inside a personalised copy of an image.

use std::path::PathBuf;

use clap::Args;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::keys::KeyDir;
use kubedos_builder::output::OutputDir;
use kubedos_builder::seed::{self, SeedError};
use serde_json::json;

use super::keys;
use super::terminal::{print, print_json, say};
use super::validate::load;

/// Mint the seed of a node: the secrets of one node and one incarnation
#[derive(Debug, Args)]
pub struct Seed {
    /// The ClusterSpec
    #[arg(long, value_name = "SPEC")]
    spec: PathBuf,
    /// The node
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    node: Option<String>,
    /// Every node of the spec
    #[arg(long, conflicts_with_all = ["node", "into"])]
    all: bool,
    /// Which incarnation: a replaced node has the next one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    incarnation: u32,
    /// Write a copy of IMAGE with the seed inside, for bare metal
    #[arg(long, value_name = "IMAGE")]
    into: Option<PathBuf>,
    /// Output folder; the seed goes to its folder seeds
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Key directory [default: keys/<cluster>, or keys/demo for the examples]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document on a line for each seed
    #[arg(long)]
    json: bool,
}

impl Seed {
    /// Mints the seed.
    pub fn run(&self) -> Result<(), Failure> {
        let file = load(&self.spec)?;
        let spec = file.validated().spec();
        let cluster = spec.metadata.name.as_str();
        let names: Vec<&str> = spec.spec.nodes.inventory.iter().map(|node| node.name.as_str()).collect();
        let chosen = match self.node.as_deref() {
            None => names,
            Some(node) if names.contains(&node) => vec![node],
            Some(node) => {
                let failure = Failure::new(Class::Usage, format!("the spec has no node {node}"));
                let known: Vec<&str> = names.into_iter().take(20).collect();
                return Err(failure.with_help(format!("it has: {}", known.join(", "))));
            }
        };
        let place = KeyDir::locate(self.keys.as_deref(), &self.spec, cluster);
        let keys = KeyDir::open_for(&place, &self.spec, cluster).map_err(keys::failure)?;
        if keys.public().demo {
            say!("warning: seeds made of the published demo keys protect nothing");
        }
        chosen.into_iter().try_for_each(|node| self.mint(&keys, cluster, node))
    }

    fn mint(&self, keys: &KeyDir, cluster: &str, node: &str) -> Result<(), Failure> {
        let minted = seed::mint(keys, cluster, node, self.incarnation).map_err(failure)?;
        let folder = self.out.join("seeds");
        let suffix = if self.into.is_some() { "raw" } else { "img" };
        let name = format!("{node}.{suffix}");
        let path = if self.dry_run {
            say!("would write {}", folder.join(&name).display());
            folder.join(&name)
        } else {
            let out = OutputDir::lock(&folder).map_err(|error| Failure::new(Class::Failed, error))?;
            match &self.into {
                Some(image) => seed::personalise(image, &minted, keys.public(), &out, &name),
                None => seed::write(&minted, &out, &name),
            }
            .map_err(failure)?
        };
        if !self.json {
            return print(&format!("{}\n", path.display()));
        }
        let document = json!({
            "version": 1,
            "cluster": cluster,
            "cluster_id": minted.cluster_id,
            "node": node,
            "incarnation": self.incarnation,
            "demo": keys.public().demo,
            "written": !self.dry_run,
            "path": path,
        });
        print_json(&document)
    }
}

fn failure(error: SeedError) -> Failure {
    match error {
        SeedError::Keys(error) => keys::failure(error),
        SeedError::Unsigned { .. } => Failure::new(Class::Mismatch, error)
            .with_help("personalise an image that was built with these keys, or say --keys"),
        SeedError::Refused { .. } | SeedError::Table { .. } => Failure::new(Class::Mismatch, error),
        error => Failure::new(Class::Failed, error),
    }
}
