//! `seed`: mints the seed of a node, as a volume or in a personalised copy of an image.
//!
//! A seed contains secrets, so the file is readable by its owner only, unless `--unprotected` is given. The same keys, node, incarnation
//! and floors give the same bytes.

use std::path::PathBuf;

use clap::Args;
use kubedos_builder::keys::KeyDir;
use kubedos_builder::output::OutputDir;
use kubedos_builder::seed::{self, Mint, Protection};
use kubedos_debian::failure::{Class, Failure};
use kubedos_spec::model::{Metadata, NodeSpec};
use kubedos_wire::release::Release;
use kubedos_wire::statement::Floors;
use serde_json::json;

use super::plan::no_node;
use super::terminal::{print, print_json, say};
use super::validate::{check_for, load_quietly};

/// Mint the seed of a node: the secrets of one node and one incarnation
#[derive(Debug, Args)]
pub struct Seed {
    /// The ClusterSpec
    #[arg(long, value_name = "SPEC")]
    spec: PathBuf,
    /// The node
    #[arg(long, value_name = "NAME", required_unless_present = "all")]
    node: Option<String>,
    /// Mint a seed for every node of the spec
    #[arg(long, conflicts_with_all = ["node", "into"])]
    all: bool,
    /// The incarnation; a replaced node gets the next number [default: the one in the spec]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    incarnation: Option<u32>,
    /// The lowest generation of the configuration that the node may boot [default: the one in the spec]
    #[arg(long, value_name = "N")]
    generation_floor: Option<u64>,
    /// The lowest release of kubedOS that the node may boot [default: the release of this program]
    #[arg(long, value_name = "RELEASE")]
    minimum_release: Option<Release>,
    /// Write a copy of IMAGE with the seed inside, for bare metal
    #[arg(long, value_name = "IMAGE")]
    into: Option<PathBuf>,
    /// Output folder; the seed is written to its subfolder seeds
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Key directory [default: keys/<cluster>, or keys/demo for the examples]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Write seeds also to a file system without permissions, where other users may be able to read them
    #[arg(long)]
    unprotected: bool,
    /// Print no warnings, for a run after `image`, which has already printed them
    #[arg(long)]
    quiet: bool,
    /// Print the names of the files that would be written, without writing them
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document per line for each seed
    #[arg(long)]
    json: bool,
}

impl Seed {
    /// Mints the seed, or the seeds of all nodes.
    pub fn run(&self) -> Result<(), Failure> {
        let file = load_quietly(&self.spec)?;
        let spec = file.validated().spec();
        let cluster = spec.metadata.name.as_str();
        let nodes = &spec.spec.nodes.inventory;
        let wanted = |node: &&NodeSpec| self.node.as_deref().is_none_or(|name| node.name.as_str() == name);
        let chosen: Vec<&NodeSpec> = nodes.iter().filter(wanted).collect();
        if let (Some(node), true) = (&self.node, chosen.is_empty()) {
            return Err(no_node(node, nodes.iter().map(|node| &node.name)));
        }
        let place = KeyDir::locate(self.keys.as_deref(), &self.spec, cluster);
        let keys = KeyDir::open_for(&place, &self.spec, cluster)?;
        check_for(&file, &keys)?;
        if keys.public().demo && !self.quiet {
            say!("warning: seeds from the published demo keys do not protect the nodes");
        }
        let floors = self.floors(&spec.metadata);
        chosen.into_iter().try_for_each(|node| {
            let incarnation = self.incarnation_of(node)?;
            self.mint(&keys, &Mint { cluster, node: node.name.as_str(), incarnation, floors: floors.clone() })
        })
    }

    /// The floors of the seed. The default is the generation of the spec and the release of this program.
    fn floors(&self, metadata: &Metadata) -> Floors {
        Floors {
            generation: self.generation_floor.unwrap_or(metadata.generation),
            release: self.minimum_release.clone().unwrap_or_else(Release::this),
        }
    }

    /// The requested incarnation, which must not be lower than the one in the spec. The default is the one in the spec.
    fn incarnation_of(&self, node: &NodeSpec) -> Result<u32, Failure> {
        match self.incarnation {
            Some(asked) if asked < node.incarnation => {
                let (name, expected) = (&node.name, node.incarnation);
                let message = format!(
                    "the spec expects incarnation {expected} of {name}: the node would refuse a seed of incarnation {asked}"
                );
                Err(Failure::new(Class::Usage, message)
                    .with_help("leave --incarnation out, or lower `incarnation` of the node in the spec"))
            }
            asked => Ok(asked.unwrap_or(node.incarnation)),
        }
    }

    fn mint(&self, keys: &KeyDir, wanted: &Mint<'_>) -> Result<(), Failure> {
        let node = wanted.node;
        let minted = seed::mint(keys, wanted)?;
        let folder = self.out.join("seeds");
        let suffix = if self.into.is_some() { "raw" } else { "img" };
        let name = format!("{node}.{suffix}");
        let path = if self.dry_run {
            say!("would write {}", folder.join(&name).display());
            folder.join(&name)
        } else {
            let out = OutputDir::lock(&folder)?;
            let protection = if self.unprotected { Protection::None } else { Protection::Owner };
            match &self.into {
                Some(image) => seed::personalise(image, &minted, keys.public(), &out, &name, protection),
                None => seed::write(&minted, &out, &name, protection),
            }?
        };
        if !self.json {
            return print(&format!("{}\n", path.display()));
        }
        let document = json!({
            "version": 1,
            "cluster": wanted.cluster,
            "cluster_id": minted.cluster_id,
            "node": node,
            "incarnation": wanted.incarnation,
            "generation_floor": minted.floors.generation,
            "minimum_release": minted.floors.release,
            "demo": keys.public().demo,
            "written": !self.dry_run,
            "path": path,
        });
        print_json(&document)
    }
}
