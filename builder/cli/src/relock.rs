//! Fetching what the lock pins; and, where it was asked for, resolving anew what has vanished from the mirrors.

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

/// The name of the lock that was used, in the output folder.
pub const LOCK_USED: &str = "kubedos.lock";

/// What was fetched, and by which lock.
#[derive(Debug)]
pub struct Fetched {
    /// The lock that holds for what follows: the one that was given, or the one in which only what had vanished is new.
    pub lock: Lock,
    /// How many files it pins in the sets that were asked for.
    pub files: usize,
    /// What the fetch did.
    pub summary: Summary,
    /// What is locked anew.
    pub relocked: Difference,
}

impl Fetched {
    /// The text of the lock that holds, whose digest the manifest has. In `out` no other lock may stand beside the image.
    pub fn lock_text(&self, inputs: &Inputs, out: &Path) -> Result<Vec<u8>, Failure> {
        let beside = out.join(LOCK_USED);
        let failed = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { what, path, source }.into()
        };
        if !self.relocked.is_empty() {
            return std::fs::read(&beside).map_err(failed("read", &beside));
        }
        for stale in [&beside, &proof_path(&beside)] {
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

/// Fetches the sets of a lock. Packages that have vanished are resolved anew if `beside` names the folder for the lock used.
pub fn fetch(
    inputs: &Inputs,
    lock: Lock,
    sets: &[String],
    cache: &Cache,
    beside: Option<&Path>,
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
    let Some(beside) = beside.filter(|_| only_vanished) else { return Err(fetch_failure(error)) };
    let (lock, relocked) = relock(inputs, &fetcher, &error, beside)?;
    let sources = lock.sources(sets)?;
    let summary = fetcher.fetch(&sources, &Console::new()).map_err(fetch_failure)?;
    Ok(Fetched { lock, files: sources.len(), summary, relocked })
}

fn relock(
    inputs: &Inputs,
    fetcher: &Fetcher<'_>,
    error: &FetchError,
    beside: &Path,
) -> Result<(Lock, Difference), Failure> {
    let (lock, proof) = Lock::read(&inputs.lock)?;
    let gone = |wanted: &str| {
        error.0.iter().any(|problem| matches!(problem, Problem::Vanished { name, .. } if name == wanted))
    };
    let vanished: BTreeSet<String> = lock
        .packages
        .iter()
        .filter(|package| gone(&package.pin().name))
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
    say_lines(&format!("vanished from the mirror, locked anew:\n{difference}"));
    let path = beside.join(LOCK_USED);
    std::fs::create_dir_all(beside).map_err(|source| LockError::Io {
        what: "make",
        path: beside.to_owned(),
        source,
    })?;
    used.write(&used_proof, &path)?;
    say!("the lock used is {}", path.display());
    Ok((used, difference))
}
