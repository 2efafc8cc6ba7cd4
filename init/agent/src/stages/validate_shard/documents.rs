//! Reads the documents of the configuration: statement, `cluster.toml` and shard. The signature of the statement is
//! checked first, and each document must agree with the previous one.

use std::fs;
use std::io;
use std::path::Path;

use kubedos_image::boot::BootManifest;
use kubedos_wire::accept::accept;
use kubedos_wire::node::{ClusterDocument, Shard};
use kubedos_wire::release::Release;
use kubedos_wire::statement::ConfigurationStatement;

use super::{HandedOver, ShardError};
use kubedos_wire::handover::Handover;

/// Checks the configuration again that stage 1 has accepted, and compares the hand-over with it.
pub(super) fn accepted(
    places: &HandedOver,
    handover: &Handover,
) -> Result<(Release, ConfigurationStatement), ShardError> {
    let manifest = BootManifest::parse(&bytes(&places.manifest)?).map_err(ShardError::Manifest)?;
    let statement = accept(&bytes(&places.statement)?, &manifest.authority())?.statement;
    agree("cluster of the hand-over", &handover.cluster, &statement.cluster)?;
    agree("cluster id of the hand-over", &handover.cluster_id, &statement.cluster_id.to_string())?;
    agree(
        "generation of the hand-over",
        &handover.generation.to_string(),
        &statement.generation.to_string(),
    )?;
    agree("volume of the hand-over", &handover.configuration_hash, &statement.root_hash.to_string())?;
    Ok((manifest.release, statement))
}

fn bytes(path: &Path) -> Result<Vec<u8>, ShardError> {
    fs::read(path).map_err(|source| ShardError::Read { path: path.to_owned(), source })
}

fn text(path: &Path) -> Result<String, ShardError> {
    fs::read_to_string(path).map_err(|source| ShardError::Read { path: path.to_owned(), source })
}

pub(super) fn cluster(
    configuration: &Path,
    statement: &ConfigurationStatement,
) -> Result<ClusterDocument, ShardError> {
    let path = configuration.join("cluster.toml");
    let cluster =
        ClusterDocument::parse(&text(&path)?).map_err(|source| ShardError::Document { path, source })?;
    agree("cluster", cluster.name.as_str(), &statement.cluster)?;
    agree("cluster id", &cluster.cluster_id.to_string(), &statement.cluster_id.to_string())?;
    agree("generation", &cluster.generation.to_string(), &statement.generation.to_string())?;
    Ok(cluster)
}

pub(super) fn shard(
    configuration: &Path,
    cluster: &ClusterDocument,
    node: &str,
) -> Result<Shard, ShardError> {
    let path = configuration.join("shards").join(format!("{node}.toml"));
    let text = match text(&path) {
        Err(ShardError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ShardError::NoShard { node: node.to_owned(), generation: cluster.generation });
        }
        text => text?,
    };
    let shard = Shard::parse(&text).map_err(|source| ShardError::Document { path, source })?;
    agree("node", shard.node.as_str(), node)?;
    agree("cluster of the shard", shard.cluster.as_str(), cluster.name.as_str())?;
    agree("generation of the shard", &shard.generation.to_string(), &cluster.generation.to_string())?;
    Ok(shard)
}

fn agree(field: &'static str, inside: &str, outside: &str) -> Result<(), ShardError> {
    if inside == outside {
        Ok(())
    } else {
        Err(ShardError::Disagrees { field, inside: inside.to_owned(), outside: outside.to_owned() })
    }
}
