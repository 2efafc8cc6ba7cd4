//! Reads the documents of the configuration: statement, `cluster.toml`, shard and roster. The signature of the statement is
//! checked first, and each document must agree with the previous one.

use std::fs;
use std::io;
use std::path::Path;

use kubedos_image::boot::BootManifest;
use kubedos_wire::accept::accept;
use kubedos_wire::node::{ClusterDocument, Roster, Shard};
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
    let agree = agree("the hand-over", "the signed statement");
    agree("cluster", &handover.cluster, &statement.cluster)?;
    agree("cluster id", &handover.cluster_id, &statement.cluster_id.to_string())?;
    agree("generation", &handover.generation.to_string(), &statement.generation.to_string())?;
    agree("configuration root hash", &handover.configuration_hash, &statement.root_hash.to_string())?;
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
    let agree = agree("cluster.toml", "the signed statement");
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
    agree("the shard", "the seed")("node", shard.node.as_str(), node)?;
    let agree = agree("the shard", "cluster.toml");
    agree("cluster", shard.cluster.as_str(), cluster.name.as_str())?;
    agree("generation", &shard.generation.to_string(), &cluster.generation.to_string())?;
    Ok(shard)
}

/// The roster, if the configuration has one. A fixed roster is refused unless the cluster has the demo keys.
pub(super) fn roster(configuration: &Path, cluster: &ClusterDocument) -> Result<Option<Roster>, ShardError> {
    let path = configuration.join("roster.toml");
    let text = match text(&path) {
        Err(ShardError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let checked = Roster::parse(&text).and_then(|roster| roster.check_demo(cluster).map(|()| roster));
    let roster = checked.map_err(|source| ShardError::Document { path, source })?;
    let agree = agree("roster.toml", "cluster.toml");
    agree("generation", &roster.generation.to_string(), &cluster.generation.to_string())?;
    Ok(Some(roster))
}

/// Compares a field's value in `place` with its value in `reference`.
fn agree(
    place: &'static str,
    reference: &'static str,
) -> impl Fn(&'static str, &str, &str) -> Result<(), ShardError> {
    move |field, inside, outside| {
        if inside == outside {
            return Ok(());
        }
        let (inside, outside) = (inside.to_owned(), outside.to_owned());
        Err(ShardError::Disagrees { field, place, inside, reference, outside })
    }
}
