//! Inspects signed statements of configurations, and the fields of seeds that are not secret.

use kubedos_image::iso::seed::{self, SeedVolumeError};
use kubedos_wire::accept::{Authority, accept};
use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::{KeyId, PublicKey};
use kubedos_wire::statement::{self, Statement, StatementError};

use super::report::{Problem, SeedReport, SignerReport, StatementReport};
use crate::keys;
use kubedos_wire::printable::chain;

/// The errors of describing a statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShowError {
    #[error("the seed volume cannot be read")]
    Volume(#[from] SeedVolumeError),
    #[error("the statement cannot be read")]
    Statement(#[from] StatementError),
    #[error("the statement does not have the fields of its kind")]
    Document(#[from] DocumentError),
}

/// Describes a key by its id. `known` are public keys that may have this id.
pub(super) fn signer(id: KeyId, known: &[PublicKey]) -> SignerReport {
    let key = known.iter().find(|key| key.id() == id).copied();
    SignerReport { id, key, demo: keys::is_demo(id) }
}

/// Describes the statement of a configuration. `authority` is the one of the surrounding image, if there is one.
pub(super) fn configuration(
    bytes: &[u8],
    authority: Option<&Authority>,
) -> Result<StatementReport, ShowError> {
    let statement = statement::read(bytes)?;
    let claims = statement.claims().configuration()?;
    let known = authority.map_or(&[][..], |authority| &authority.keys);
    let judged = authority.map(|authority| accept(bytes, authority));
    Ok(StatementReport {
        signers: signers(&statement, known),
        accepted: judged.as_ref().map(Result::is_ok),
        refusal: judged.and_then(Result::err).map(|refusal| chain(&refusal)),
        volume: claims.seal(),
        cluster: claims.cluster,
        cluster_id: claims.cluster_id,
        generation: claims.generation,
        minimum_release: claims.minimum_release,
    })
}

fn signers(statement: &Statement<'_>, known: &[PublicKey]) -> Vec<SignerReport> {
    statement.signers().map(|id| signer(id, known)).collect()
}

/// Describes the statement of a configuration in a separate file.
pub(super) fn detached(bytes: &[u8], problems: &mut Vec<Problem>) -> Option<StatementReport> {
    noted(configuration(bytes, None), "statement", problems)
}

/// Describes the fields of a seed volume that are not secret.
pub(super) fn seed(volume: &[u8], problems: &mut Vec<Problem>) -> Option<SeedReport> {
    noted(read_seed(volume), "seed", problems)
}

fn read_seed(volume: &[u8]) -> Result<SeedReport, ShowError> {
    let statement = statement::read(seed::read(volume)?)?;
    let claims = statement.claims().seed()?;
    Ok(SeedReport {
        signers: signers(&statement, &[]),
        voucher: claims.has_voucher,
        generation_floor: claims.floors.as_ref().map(|floors| floors.generation),
        minimum_release: claims.floors.map(|floors| floors.release),
        cluster: claims.cluster,
        cluster_id: claims.cluster_id,
        node: claims.node,
        incarnation: claims.incarnation,
    })
}

/// Returns the value, or records the error as a problem of the part.
pub(super) fn noted<T, E: std::error::Error>(
    result: Result<T, E>,
    part: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    result.map_err(|error| problems.push(Problem::new(part, &error))).ok()
}
