//! A lock whose vanished packages alone are resolved anew: what mirrors still have keeps its pin.

use std::collections::BTreeSet;

use super::{Lock, Proof, Update, UpdateError};
use crate::fetch::Progress;
use crate::resolve::{ResolveError, resolve};

/// Resolves again, with every pin held but those in `vanished`. A held pin gives way only when what replaces a vanished one
/// needs a version that the pin does not have.
pub fn relock_missing(
    update: &Update<'_>,
    lock: &Lock,
    proof: &Proof,
    vanished: &BTreeSet<String>,
    progress: &dyn Progress,
) -> Result<(Lock, Proof), UpdateError> {
    let releases = update.releases(progress)?;
    let mut free = vanished.clone();
    loop {
        let mut index = update.index(&releases, progress)?;
        for (name, package) in lock.locked_packages(proof)? {
            if !free.contains(&name) {
                index.remove(&name);
                index.add_stanza(&package)?;
            }
        }
        match resolve(update.selection, &index) {
            Ok(resolution) => return Ok(Lock::new(update.selection, &releases, &resolution)?),
            Err(error) => match in_the_way(&error)
                .filter(|name| lock.package(name).is_some() && free.insert(name.clone()))
            {
                Some(_) => {}
                None => return Err(error.into()),
            },
        }
    }
}

/// The package whose held version stands in the way of an answer.
fn in_the_way(error: &ResolveError) -> Option<String> {
    match error {
        ResolveError::Unmet { group, .. } => group.split([' ', '|']).next().map(str::to_owned),
        ResolveError::Conflict { other, .. } => Some(other.clone()),
        _ => None,
    }
}
