//! Signed statements: of configurations, and what of a seed is not secret.

use kubedos_image::iso::seed::{self, SeedVolumeError};
use kubedos_wire::accept::{Authority, accept};
use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::{KeyId, PublicKey};
use kubedos_wire::statement::{self, Statement, StatementError};

use super::report::{Problem, SeedReport, SignerReport, StatementReport};
use crate::keys;
use kubedos_wire::printable::chain;

/// Why a statement cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShowError {
    #[error("the seed volume cannot be read")]
    Volume(#[from] SeedVolumeError),
    #[error("the statement cannot be read")]
    Statement(#[from] StatementError),
    #[error("the statement does not say what one of its kind says")]
    Document(#[from] DocumentError),
}

/// A key by its id; `known` are keys that it may be.
pub(super) fn signer(id: KeyId, known: &[PublicKey]) -> SignerReport {
    let key = known.iter().find(|key| key.id() == id).copied();
    SignerReport { id, key, demo: keys::is_demo(id) }
}

/// A configuration's statement; `authority` is that of the image it lies in, where there is one.
pub(super) fn configuration(
    bytes: &[u8],
    authority: Option<&Authority>,
) -> Result<StatementReport, ShowError> {
    let statement = statement::read(bytes)?;
    let says = statement.claims().configuration()?;
    let known = authority.map_or(&[][..], |authority| &authority.keys);
    let judged = authority.map(|authority| accept(bytes, authority));
    Ok(StatementReport {
        signers: signers(&statement, known),
        accepted: judged.as_ref().map(Result::is_ok),
        refusal: judged.and_then(Result::err).map(|refusal| chain(&refusal)),
        volume: says.seal(),
        cluster: says.cluster,
        cluster_id: says.cluster_id,
        generation: says.generation,
        minimum_release: says.minimum_release,
    })
}

fn signers(statement: &Statement<'_>, known: &[PublicKey]) -> Vec<SignerReport> {
    statement.signers().map(|id| signer(id, known)).collect()
}

/// A configuration's statement that is a file by itself.
pub(super) fn detached(bytes: &[u8], problems: &mut Vec<Problem>) -> Option<StatementReport> {
    noted(configuration(bytes, None), "statement", problems)
}

/// What of a seed volume may be shown.
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

/// The value, or a problem with that part.
pub(super) fn noted<T, E: std::error::Error>(
    result: Result<T, E>,
    part: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    result.map_err(|error| problems.push(Problem::new(part, &error))).ok()
}
