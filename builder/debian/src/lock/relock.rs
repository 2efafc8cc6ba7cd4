//! Relocking: replaces the packages that mirrors no longer have, and keeps all other pins.
//!
//! The index is read again from the mirrors, but a kept pin hides all other versions of its package. The caller decides where to write the
//! result; the lock of the project is not changed.

use std::collections::BTreeSet;

use super::{Lock, Proof, Update, UpdateError};
use crate::fetch::Progress;
use crate::resolve::{ResolveError, resolve};

/// Resolves the selection again and keeps every pin except those in `vanished`. A kept pin is released only if the replacement of a
/// vanished package needs another version of it, or conflicts with it.
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
            Ok(resolution) => {
                let (relocked, proof) = Lock::new(update.selection, &releases, &resolution)?;
                return Ok((Lock { selection: lock.selection.clone(), ..relocked }, proof));
            }
            Err(error) => match blocking_package(&error)
                .filter(|name| lock.package(name).is_some() && free.insert(name.clone()))
            {
                Some(_) => {}
                None => return Err(error.into()),
            },
        }
    }
}

/// The package whose pinned version prevents a resolution.
fn blocking_package(error: &ResolveError) -> Option<String> {
    match error {
        ResolveError::Unmet { group, .. } => group.split([' ', '|']).next().map(str::to_owned),
        ResolveError::Conflict { other, .. } => Some(other.clone()),
        _ => None,
    }
}
