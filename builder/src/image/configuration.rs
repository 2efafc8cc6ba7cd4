//! The configuration volume: `cluster.toml`, one shard per node, in a lab with the demo keys `roster.toml`, and the signed statement that
//! contains the volume's root hash (ADR 0002).
//!
//! The volume contains public data only. The statement also carries the lowest release that may use the configuration.

use std::sync::Arc;

use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::ClusterId;
use kubedos_wire::node::{ClusterDocument, Roster, Shard};
use kubedos_wire::release::Release;
use kubedos_wire::seal::Seal;
use kubedos_wire::statement::{self, ConfigurationStatement, Domain, Signer};
use kubedos_wire::value::ReleaseVersion;

use crate::cache_key::Inputs;
use crate::compose::tree::{Node, Tree, TreeError};
use crate::erofs;

/// Increment when the same documents result in other bytes.
const WRITER: u32 = 1;

/// The first release that understands everything that this release writes into a configuration. Raise it when a field is added that an
/// older release must not ignore.
const UNDERSTOOD_SINCE: Release = Release::new(0, 1, 0);

/// The errors of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// A document cannot be written as TOML.
    #[error("failed to write {document} of the configuration")]
    Document {
        /// The document's path in the volume.
        document: String,
        /// The cause.
        #[source]
        source: DocumentError,
    },
    /// The statement cannot be encoded.
    #[error("failed to write the configuration's statement")]
    Statement(#[source] DocumentError),
    /// The statement cannot be signed.
    #[error("failed to sign the configuration")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The spec requires a newer release than this one.
    #[error(
        "metadata.minimumRelease is {demanded}, but this is release {release}: its nodes would refuse the configuration"
    )]
    Release {
        /// The release that the spec requires.
        demanded: ReleaseVersion,
        /// The release of this program and of the image.
        release: Release,
    },
    /// Two documents have the same path.
    #[error("failed to build the tree of the configuration")]
    Tree(#[source] TreeError),
}

/// The documents of a configuration, by path in the volume.
#[derive(Debug, Clone)]
pub struct Configuration {
    documents: Vec<(String, String)>,
}

impl Configuration {
    /// Encodes the cluster document, the shard of every node, and the roster as TOML. A fixed roster of a cluster without the demo keys is
    /// refused.
    ///
    /// # Errors
    /// [`ConfigurationError::Document`].
    pub fn new(
        cluster: &ClusterDocument,
        shards: impl Iterator<Item = (String, Shard)>,
        roster: Option<&Roster>,
    ) -> Result<Self, ConfigurationError> {
        let error = |document: &str| {
            let document = document.to_owned();
            move |source| ConfigurationError::Document { document, source }
        };
        let text = cluster.to_toml().map_err(error("cluster.toml"))?;
        let mut documents = vec![("cluster.toml".to_owned(), text)];
        for (node, shard) in shards {
            let path = format!("shards/{node}.toml");
            let text = shard.to_toml().map_err(error(&path))?;
            documents.push((path, text));
        }
        if let Some(roster) = roster {
            let text = roster.check_demo(cluster).and_then(|()| roster.to_toml());
            documents.push(("roster.toml".to_owned(), text.map_err(error("roster.toml"))?));
        }
        documents.sort();
        Ok(Self { documents })
    }

    /// The inputs of the volume, for its key in the store.
    pub fn inputs(&self, epoch: u64) -> Inputs {
        let start = Inputs::new("configuration", WRITER)
            .with("EROFS writer version and compression", erofs::identity())
            .with("date of the lock", epoch.to_le_bytes());
        self.documents.iter().fold(start, |inputs, (path, text)| inputs.with(path, text))
    }

    /// Returns the volume's tree.
    ///
    /// # Errors
    /// [`ConfigurationError::Tree`].
    pub fn tree(&self, epoch: u64) -> Result<Tree, ConfigurationError> {
        let origin: Arc<str> = Arc::from("configuration");
        let mut tree = Tree::new(epoch);
        for (path, text) in &self.documents {
            tree.add(path, Node::file(text.clone().into_bytes(), &origin))
                .map_err(ConfigurationError::Tree)?;
        }
        tree.check().map_err(ConfigurationError::Tree)?;
        Ok(tree)
    }
}

/// Returns the lowest release that may use a configuration of this spec: the higher one of the spec's requirement and the first release
/// that understands the written format.
///
/// # Errors
/// [`ConfigurationError::Release`] if nodes of this release would reject the image's own configuration.
pub fn minimum_release(demanded: Option<&ReleaseVersion>) -> Result<Release, ConfigurationError> {
    let release = Release::this();
    let Some(demanded) = demanded else { return Ok(UNDERSTOOD_SINCE) };
    match demanded.as_str().parse::<Release>() {
        Ok(minimum) if minimum <= release => Ok(minimum.max(UNDERSTOOD_SINCE)),
        Ok(_) | Err(_) => Err(ConfigurationError::Release { demanded: demanded.clone(), release }),
    }
}

/// Creates the signed statement for a sealed configuration volume.
///
/// # Errors
/// [`ConfigurationError::Statement`] or [`ConfigurationError::Sign`].
pub fn statement<S: Signer>(
    cluster: &ClusterDocument,
    cluster_id: ClusterId,
    minimum_release: Release,
    seal: Seal,
    signer: &S,
) -> Result<Vec<u8>, ConfigurationError>
where
    S::Error: Send + Sync + 'static,
{
    let name = cluster.name.to_string();
    let statement = ConfigurationStatement::new(name, cluster_id, cluster.generation, minimum_release, seal)
        .map_err(ConfigurationError::Statement)?;
    let body = statement.emit().map_err(ConfigurationError::Statement)?;
    statement::write(Domain::Configuration, &body, &[signer])
        .map_err(|error| ConfigurationError::Sign(Box::new(error)))
}
