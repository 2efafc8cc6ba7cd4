//! `fetch`: what the lock pins, into the cache.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::fetch::{FetchError, Fetcher, Problem, Summary};
use kubedos_builder::lock::{Difference, Lock, LockError, Update, relock_missing};
use kubedos_builder::release::date::Moment;
use serde_json::json;

use super::inputs::{Inputs, fetch_failure};
use super::lock::{lock_failure, read_keyring, read_selection, update_failure};
use super::progress::Console;

/// Fetch what the lock pins into the cache, and check what is there
#[derive(Debug, Args)]
pub struct Fetch {
    #[command(flatten)]
    inputs: Inputs,

    /// Only this set; may be given several times
    #[arg(long = "set", value_name = "NAME")]
    sets: Vec<String>,

    /// Resolve packages that have vanished from the mirror anew, and write the lock used to DIR
    #[arg(long)]
    relock_missing: bool,

    /// Where --relock-missing writes the lock used
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Fetch {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let lock = Lock::read_alone(&self.inputs.lock).map_err(lock_failure)?;
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        let fetcher = self.inputs.fetcher(&cache, &mirrors);
        if self.dry_run {
            return self.survey(&lock, &fetcher);
        }
        let sources = lock.sources(&self.sets).map_err(lock_failure)?;
        let error = match fetcher.fetch(&sources, &Console::new()) {
            Ok(summary) => return self.report(sources.len(), summary, &Difference::default()),
            Err(error) => error,
        };
        let only_vanished = error.0.iter().all(|problem| matches!(problem, Problem::Vanished { .. }));
        if !self.relock_missing || !only_vanished {
            return Err(fetch_failure(error));
        }
        let (lock, difference) = self.relock(&fetcher, &error)?;
        let sources = lock.sources(&self.sets).map_err(lock_failure)?;
        let summary = fetcher.fetch(&sources, &Console::new()).map_err(fetch_failure)?;
        self.report(sources.len(), summary, &difference)
    }

    fn relock(&self, fetcher: &Fetcher<'_>, error: &FetchError) -> Result<(Lock, Difference), Failure> {
        let (lock, proof) = Lock::read(&self.inputs.lock).map_err(lock_failure)?;
        let vanished: BTreeSet<String> =
            lock.packages
                .iter()
                .filter(|package| {
                    let name = package.pin().name;
                    error.0.iter().any(
                        |problem| matches!(problem, Problem::Vanished { name: gone, .. } if *gone == name),
                    )
                })
                .map(|package| package.name.clone())
                .collect();
        let (selection, keyring) = (read_selection(&self.inputs)?, read_keyring(&self.inputs)?);
        let update = Update {
            selection: &selection,
            keyring: &keyring,
            fetcher,
            previous: Some(&lock),
            is_expired_accepted: false,
            now: Moment::now(),
        };
        let (used, used_proof) =
            relock_missing(&update, &lock, &proof, &vanished, &Console::new()).map_err(update_failure)?;
        let difference = Difference::between(&lock.packages, &used.packages);
        eprint!("vanished from the mirror, locked anew:\n{difference}");
        let path = self.out.join("kubedos.lock");
        let made = std::fs::create_dir_all(&self.out);
        made.map_err(|source| lock_failure(LockError::Io { what: "make", path: self.out.clone(), source }))?;
        used.write(&used_proof, &path).map_err(lock_failure)?;
        eprintln!("the lock used is {}", path.display());
        Ok((used, difference))
    }

    fn survey(&self, lock: &Lock, fetcher: &Fetcher<'_>) -> Result<(), Failure> {
        let sources = lock.sources(&self.sets).map_err(lock_failure)?;
        let missing: Vec<_> =
            sources.iter().filter(|source| fetcher.cache.open(&source.pin).is_err()).collect();
        let bytes: u64 = missing.iter().map(|source| source.pin.size).sum();
        if self.json {
            let names: Vec<_> = missing.iter().map(|source| &source.pin.name).collect();
            println!("{}", json!({ "version": 1, "missing": names, "bytes": bytes }));
        } else {
            for source in &missing {
                println!("{}", source.pin.name);
            }
            eprintln!(
                "{} of {} files would be fetched, {} MB",
                missing.len(),
                sources.len(),
                bytes / 1_000_000
            );
        }
        Ok(())
    }

    fn report(&self, files: usize, summary: Summary, difference: &Difference) -> Result<(), Failure> {
        if self.json {
            let document = json!({
                "version": 1, "files": files, "reused": summary.reused, "fetched": summary.fetched,
                "fetched_bytes": summary.fetched_bytes, "mended": summary.mended, "relocked": difference,
            });
            println!("{document}");
        }
        let (fetched, reused) = (summary.fetched, summary.reused);
        eprintln!(
            "{files} files are in the cache: {fetched} fetched ({} MB), {reused} were there",
            summary.fetched_bytes / 1_000_000
        );
        if files == 0 {
            return Err(Failure::new(Class::Failed, "the lock holds no package"));
        }
        Ok(())
    }
}
