//! `fetch`: fetches the files that the lock pins into the cache.

use std::path::PathBuf;

use clap::Args;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::fetch::Fetcher;
use kubedos_debian::lock::Lock;
use serde_json::json;

use super::inputs::Inputs;
use super::relock::{self, Fetched};
use super::terminal::{print, print_json, say};

/// Fetch the files that the lock pins into the cache, and check those in the cache
#[derive(Debug, Args)]
pub struct Fetch {
    #[command(flatten)]
    inputs: Inputs,

    /// Fetch only this set; may be repeated
    #[arg(long = "set", value_name = "NAME")]
    sets: Vec<String>,

    /// Resolve packages again that have vanished from the mirror, and write the lock that was used to the --out folder
    #[arg(long)]
    relock_missing: bool,

    /// The folder for the lock of --relock-missing
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Print the files that would be fetched, without fetching them
    #[arg(long)]
    dry_run: bool,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Fetch {
    /// Runs the command.
    pub fn run(&self) -> Result<(), Failure> {
        let lock = Lock::read_alone(&self.inputs.lock)?;
        let cache = self.inputs.open_cache()?;
        if self.dry_run {
            let mirrors = self.inputs.find_mirrors();
            return self.survey(&lock, &self.inputs.fetcher(&cache, &mirrors));
        }
        let lock_folder = self.relock_missing.then_some(self.out.as_path());
        let fetched = relock::fetch(&self.inputs, lock, &self.sets, &cache, lock_folder)?;
        self.report(&fetched)
    }

    fn survey(&self, lock: &Lock, fetcher: &Fetcher<'_>) -> Result<(), Failure> {
        let sources = lock.sources(&self.sets)?;
        let missing: Vec<_> =
            sources.iter().filter(|source| fetcher.cache.open(&source.pin).is_err()).collect();
        let bytes: u64 = missing.iter().map(|source| source.pin.size).sum();
        if self.json {
            let names: Vec<_> = missing.iter().map(|source| &source.pin.name).collect();
            print_json(&json!({ "version": 1, "missing": names, "bytes": bytes }))?;
        } else {
            for source in &missing {
                print(&format_args!("{}\n", source.pin.name))?;
            }
            say!("{} of {} files would be fetched, {} MB", missing.len(), sources.len(), bytes / 1_000_000);
        }
        Ok(())
    }

    fn report(&self, fetched: &Fetched) -> Result<(), Failure> {
        let (files, summary) = (fetched.files, fetched.summary);
        if self.json {
            let document = json!({
                "version": 1, "files": files, "reused": summary.reused, "fetched": summary.fetched,
                "fetched_bytes": summary.fetched_bytes, "mended": summary.mended, "relocked": fetched.relocked,
            });
            print_json(&document)?;
        }
        say!(
            "{files} files are in the cache: {} fetched ({} MB), {} already present",
            summary.fetched,
            summary.fetched_bytes / 1_000_000,
            summary.reused
        );
        if files == 0 {
            return Err(Failure::new(Class::Failed, "the lock contains no package"));
        }
        Ok(())
    }
}
