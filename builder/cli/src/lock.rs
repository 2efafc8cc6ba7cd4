//! `lock`: checks that the lock fits the selection. `--update` creates a new lock; `--verify` checks the chain from the archive signature.

use std::path::Path;

use clap::Args;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::lock::{Difference, Lock, LockError, Update, UpdateError, VerifyError, verify};
use kubedos_debian::release::date::Moment;
use kubedos_debian::release::keyring::Keyring;
use kubedos_debian::resolve::selection::Selection;
use serde_json::json;

use super::inputs::{Inputs, fetch_failure};
use super::progress::Console;
use super::terminal::{print, print_json, say};

/// Check the lock against the package selection, update it, or verify it against the signatures of the archives
#[derive(Debug, Args)]
pub struct LockCommand {
    #[command(flatten)]
    inputs: Inputs,

    /// Resolve all packages again from the signed indices of the mirrors, and write the lock
    #[arg(long)]
    update: bool,

    /// Verify each link from the signature of the archive to every package
    #[arg(long, conflicts_with = "update")]
    verify: bool,

    /// With --update: accept a signed index after its Valid-Until
    #[arg(long, requires = "update")]
    accept_expired: bool,

    /// With --update: accept a signed index that is older than the one in the lock
    #[arg(long, requires = "update")]
    accept_older: bool,

    /// With --update: print the differences, without writing the lock
    #[arg(long, requires = "update")]
    dry_run: bool,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl LockCommand {
    /// Runs the command.
    pub fn run(&self) -> Result<(), Failure> {
        if self.update {
            self.make()
        } else if self.verify {
            self.prove()
        } else {
            self.check()
        }
    }

    fn make(&self) -> Result<(), Failure> {
        let previous = match Lock::read_alone(&self.inputs.lock) {
            Ok(lock) => Some(lock),
            Err(LockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Failure::from(error).with_help("remove the file to create a new lock"));
            }
        };
        let selection = read_selection(&self.inputs)?;
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        if self.inputs.offline {
            return Err(Failure::new(
                Class::Offline,
                "`lock --update` needs the network to fetch the current indices",
            ));
        }
        let update = Update {
            selection: &selection,
            fetcher: &self.inputs.fetcher(&cache, &mirrors),
            previous: previous.as_ref().filter(|_| !self.accept_older),
            is_expired_accepted: self.accept_expired,
            now: Moment::now(),
        };
        let (mut lock, proof) = update.run(&Console::new()).map_err(update_failure)?;
        if let Some(selection) = selection_name(&self.inputs.lock, &self.inputs.packages) {
            lock.selection = selection;
        }
        let before = previous.as_ref().map(|lock| lock.packages.as_slice()).unwrap_or_default();
        let difference = Difference::between(before, &lock.packages);
        if !self.dry_run {
            lock.write(&proof, &self.inputs.lock)?;
        }
        self.print(&lock, &difference)
    }

    fn check(&self) -> Result<(), Failure> {
        let (lock, proof) = Lock::read(&self.inputs.lock)?;
        let selection = read_selection(&self.inputs)?;
        let difference = lock.check_against(&proof, &selection)?;
        self.print(&lock, &difference)?;
        if difference.is_empty() {
            return Ok(());
        }
        let error = "the lock does not fit the selection of packages";
        Err(Failure::new(Class::Mismatch, error).with_help("run `kubedos-build lock --update`"))
    }

    fn prove(&self) -> Result<(), Failure> {
        let (lock, proof) = Lock::read(&self.inputs.lock)?;
        let (selection, keyring) = (read_selection(&self.inputs)?, read_keyring(&self.inputs)?);
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        let fetcher = self.inputs.fetcher(&cache, &mirrors);
        let links = verify(&lock, &proof, &selection, &keyring, &fetcher, Moment::now(), &Console::new());
        let links = links.map_err(verify_failure)?;
        if self.json {
            print_json(&json!({ "version": 1, "archives": links }))?;
        }
        let mut open = Vec::new();
        for link in &links {
            let found = match &link.stanzas_in_index {
                Ok(()) => "all stanzas are in the signed index".to_owned(),
                Err(why) => {
                    open.push(link.suite.clone());
                    format!("stanzas NOT compared with the index: {why}")
                }
            };
            say!(
                "{}: signed by {} on {}; {} packages, {found}",
                link.suite,
                link.signer,
                link.date,
                link.packages
            );
        }
        if open.is_empty() {
            return Ok(());
        }
        let class = if self.inputs.offline { Class::Offline } else { Class::Failed };
        let error =
            format!("the last link was not checked for {}: the index is not available", open.join(", "));
        Err(Failure::new(class, error))
    }

    fn print(&self, lock: &Lock, difference: &Difference) -> Result<(), Failure> {
        if self.json {
            let archives: Vec<_> = lock
                .archives
                .iter()
                .map(|archive| json!({ "suite": archive.suite, "date": archive.date }))
                .collect();
            let packages = lock.packages.len();
            print_json(
                &json!({ "version": 1, "packages": packages, "archives": archives, "changes": difference }),
            )?;
        } else {
            print(difference)?;
        }
        let bytes: u64 = lock.packages.iter().map(|package| package.size).sum();
        let (count, changes) = (lock.packages.len(), difference.0.len());
        say!("{count} packages, {} MB; {changes} differences", bytes / 1_000_000);
        Ok(())
    }
}

/// The path of the selection from the folder of the lock, if it is inside.
fn selection_name(lock: &Path, packages: &Path) -> Option<String> {
    let (lock, packages) = (std::path::absolute(lock).ok()?, std::path::absolute(packages).ok()?);
    packages.strip_prefix(lock.parent()?).ok()?.to_str().map(str::to_owned)
}

/// Reads `rootfs/packages.toml`.
pub fn read_selection(inputs: &Inputs) -> Result<Selection, Failure> {
    Selection::read(&inputs.packages).map_err(|error| Failure::new(Class::Failed, error))
}

/// Reads `rootfs/keyrings/`.
pub fn read_keyring(inputs: &Inputs) -> Result<Keyring, Failure> {
    Keyring::read(&inputs.keyrings).map_err(|error| Failure::new(Class::Failed, error))
}

/// The failure of an update; problems of a fetch are printed one by one.
pub fn update_failure(error: UpdateError) -> Failure {
    if let UpdateError::Fetch(error) = error { fetch_failure(error) } else { error.into() }
}

fn verify_failure(error: VerifyError) -> Failure {
    if let VerifyError::Fetch(error) = error { fetch_failure(error) } else { error.into() }
}
