//! Fetches the files that the lock pins. With `--relock-missing`, packages that have vanished from the mirrors are resolved again.
//!
//! The given lock is never changed: the new one is written to the output folder. Relocking happens only if all problems of the fetch are
//! vanished files.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use kubedos_debian::cache::Cache;
use kubedos_debian::failure::Failure;
use kubedos_debian::fetch::{FetchError, Fetcher, Problem, Summary};
use kubedos_debian::lock::{Difference, Lock, LockError, Update, proof_path, relock_missing};
use kubedos_debian::release::date::Moment;

use super::inputs::{Inputs, fetch_failure};
use super::lock::{read_selection, update_failure};
use super::progress::Console;
use super::terminal::{say, say_lines};

/// The name of the new lock in the output folder.
pub const LOCK_USED: &str = "kubedos.lock";

/// The result of a fetch, and the lock that was used.
#[derive(Debug)]
pub struct Fetched {
    /// The lock to use from now on: the given one, or a copy in which vanished packages are replaced.
    pub lock: Lock,
    /// The number of files that the lock pins in the requested sets.
    pub files: usize,
    /// The summary of the fetch.
    pub summary: Summary,
    /// The differences between the given lock and the used lock.
    pub relocked: Difference,
}

impl Fetched {
    /// Returns the text of the used lock. The manifest contains its digest. Removes a lock of an earlier build from `out`.
    pub fn lock_text(&self, inputs: &Inputs, out: &Path) -> Result<Vec<u8>, Failure> {
        let used = out.join(LOCK_USED);
        let failed = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { what, path, source }.into()
        };
        if !self.relocked.is_empty() {
            return std::fs::read(&used).map_err(failed("read", &used));
        }
        for stale in [&used, &proof_path(&used)] {
            match std::fs::remove_file(stale) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("remove", stale)(error));
                }
                _ => {}
            }
        }
        std::fs::read(&inputs.lock).map_err(failed("read", &inputs.lock))
    }
}

/// Fetches the sets of a lock. If `lock_folder` is set, vanished packages are resolved again, and the new lock is written to that
/// folder.
pub fn fetch(
    inputs: &Inputs,
    lock: Lock,
    sets: &[String],
    cache: &Cache,
    lock_folder: Option<&Path>,
) -> Result<Fetched, Failure> {
    let mirrors = inputs.find_mirrors();
    let fetcher = inputs.fetcher(cache, &mirrors);
    let sources = lock.sources(sets)?;
    let error = match fetcher.fetch(&sources, &Console::new()) {
        Ok(summary) => {
            return Ok(Fetched { lock, files: sources.len(), summary, relocked: Difference::default() });
        }
        Err(error) => error,
    };
    let only_vanished = error.0.iter().all(|problem| matches!(problem, Problem::Vanished { .. }));
    let Some(lock_folder) = lock_folder.filter(|_| only_vanished) else { return Err(fetch_failure(error)) };
    let (lock, relocked) = relock(inputs, &fetcher, &error, lock_folder)?;
    let sources = lock.sources(sets)?;
    let summary = fetcher.fetch(&sources, &Console::new()).map_err(fetch_failure)?;
    Ok(Fetched { lock, files: sources.len(), summary, relocked })
}

fn relock(
    inputs: &Inputs,
    fetcher: &Fetcher<'_>,
    error: &FetchError,
    lock_folder: &Path,
) -> Result<(Lock, Difference), Failure> {
    let (lock, proof) = Lock::read(&inputs.lock)?;
    let is_vanished = |wanted: &str| {
        error.0.iter().any(|problem| matches!(problem, Problem::Vanished { name, .. } if name == wanted))
    };
    let vanished: BTreeSet<String> = lock
        .packages
        .iter()
        .filter(|package| is_vanished(&package.pin().name))
        .map(|package| package.name.clone())
        .collect();
    let selection = read_selection(inputs)?;
    let update = Update {
        selection: &selection,
        fetcher,
        previous: Some(&lock),
        is_expired_accepted: false,
        now: Moment::now(),
    };
    let (used, used_proof) =
        relock_missing(&update, &lock, &proof, &vanished, &Console::new()).map_err(update_failure)?;
    let difference = Difference::between(&lock.packages, &used.packages);
    say_lines(&format!("packages that have vanished from the mirror were replaced:\n{difference}"));
    let path = lock_folder.join(LOCK_USED);
    std::fs::create_dir_all(lock_folder).map_err(|source| LockError::Io {
        what: "create",
        path: lock_folder.to_owned(),
        source,
    })?;
    used.write(&used_proof, &path)?;
    say!("the lock used is {}", path.display());
    Ok((used, difference))
}
