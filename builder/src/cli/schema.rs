//! `schema`: the JSON Schema of the ClusterSpec, made from the same types that read it.

use clap::Args;
use kubedos_builder::failure::Failure;

use super::validate::print;

/// Print the JSON Schema of the ClusterSpec
#[derive(Debug, Args)]
pub struct Schema {
    /// Accepted for uniformity: the schema is JSON in any case
    #[arg(long)]
    json: bool,
}

impl Schema {
    /// Prints the schema.
    pub fn run(&self) -> Result<(), Failure> {
        let Self { json: _ } = self;
        print(&format!("{:#}\n", kubedos_spec::model::schema()))
    }
}
