//! `schema`: prints the JSON Schema of the ClusterSpec, and the documentation pages that are generated from it.
//!
//! The schema is generated from the types that parse a spec.

use clap::Args;
use kubedos_debian::failure::Failure;
use kubedos_spec::{model, reference};

use super::terminal::{print, print_pretty};

/// Print the JSON Schema of the ClusterSpec, or a page of its documentation
#[derive(Debug, Args)]
pub struct Schema {
    /// Accepted for uniformity; the schema is always JSON
    #[arg(long)]
    json: bool,
    /// Print the reference of every field, in Markdown
    #[arg(long, conflicts_with_all = ["json", "invariants"])]
    reference: bool,
    /// Print the list of rules, in Markdown
    #[arg(long, conflicts_with = "json")]
    invariants: bool,
}

impl Schema {
    /// Prints the schema or the page.
    pub fn run(&self) -> Result<(), Failure> {
        match self {
            Self { reference: true, .. } => print(&reference::fields()),
            Self { invariants: true, .. } => print(&reference::rules()),
            Self { json: _, .. } => print_pretty(&model::schema()),
        }
    }
}
