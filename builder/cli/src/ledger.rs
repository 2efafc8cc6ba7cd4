//! `ledger`: compares the maintainer scripts of the locked packages with the script ledger.

use std::collections::BTreeMap;

use clap::Args;
use kubedos_builder::compose::ledger::{Ledger, Unknown, Verdict, scripts};
use kubedos_builder::compose::{self, KernelFlavour};
use kubedos_builder::store::Store;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::lock::Lock;
use serde_json::json;

use super::inputs::{Inputs, fetch_failure};
use super::progress::Console;
use super::terminal::{print, print_json, say};

/// Show the maintainer scripts of the locked packages that rootfs/ledger.toml does not contain
#[derive(Debug, Args)]
pub struct LedgerCommand {
    #[command(flatten)]
    inputs: Inputs,

    /// Print entries for rootfs/ledger.toml instead of the scripts; the reviewer adds verdict and reason
    #[arg(long, conflicts_with = "json")]
    entries: bool,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl LedgerCommand {
    /// Runs the command. Fails if a script was not reviewed.
    pub fn run(&self) -> Result<(), Failure> {
        let lock = Lock::read_alone(&self.inputs.lock)?;
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        let mut sets: Vec<&str> =
            [KernelFlavour::Cloud, KernelFlavour::Metal].into_iter().flat_map(compose::sets).collect();
        sets.sort_unstable();
        sets.dedup();
        let names: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let sources = lock.sources(&names)?;
        self.inputs.fetcher(&cache, &mirrors).fetch(&sources, &Console::new()).map_err(fetch_failure)?;

        let packages = compose::packages(&lock, &cache, &Store::of(&cache), &sets)?;
        let all: Vec<_> = packages
            .iter()
            .flat_map(|package| scripts(&package.name, &package.version, package.deb.control_files()))
            .collect();
        let ledger = compose::data::ledger().map_err(|error| Failure::new(Class::Failed, error))?;
        let unknown = ledger.unknown(&all);
        self.print(all.len(), &ledger, &unknown)?;
        if unknown.is_empty() {
            return Ok(());
        }
        let error = format!("{} of {} maintainer scripts are not reviewed", unknown.len(), all.len());
        Err(Failure::new(Class::Failed, error).with_help(
            "read them, then add `kubedos-build ledger --entries` to rootfs/ledger.toml with verdicts",
        ))
    }

    fn print(&self, count: usize, ledger: &Ledger, unknown: &[Unknown]) -> Result<(), Failure> {
        if self.json {
            let list: Vec<_> = unknown
                .iter()
                .map(|unknown| {
                    let script = &unknown.script;
                    json!({"package": script.package, "version": script.version, "kind": script.kind, "sha256": script.sha256(), "text": script.text})
                })
                .collect();
            let reviewed = ledger.script.len();
            print_json(&json!({"version": 1, "scripts": count, "reviewed": reviewed, "unknown": list}))?;
        } else if self.entries {
            print(&entries(unknown)?)?;
        } else {
            for unknown in unknown {
                print(&format_args!("{unknown}\n"))?;
            }
            say!("{count} scripts, {} to review", unknown.len());
        }
        Ok(())
    }
}

/// Formats ledger entries without verdicts. Scripts with the same kind and text share one entry.
fn entries(unknown: &[Unknown]) -> Result<String, Failure> {
    let mut entries = BTreeMap::new();
    for unknown in unknown {
        let fresh = unknown.script.entry(Verdict::Noop, "");
        let entry = entries.entry((fresh.kind.clone(), fresh.sha256.clone())).or_insert_with(|| {
            let mut entry = fresh.clone();
            entry.packages.clear();
            entry
        });
        entry.packages.extend(fresh.packages);
    }
    let ledger = Ledger { version: 1, script: entries.into_values().collect() };
    let text = toml::to_string(&ledger).map_err(|error| Failure::new(Class::Failed, error))?;
    // A ledger with an empty verdict is invalid, so these entries cannot be used without a review.
    Ok(text.replace("version = 1\n", "").replace("verdict = \"noop\"", "verdict = \"\""))
}
