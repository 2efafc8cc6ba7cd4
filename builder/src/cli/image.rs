//! `image`: from a ClusterSpec to the sealed image.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use kubedos_builder::cache::CacheError;
use kubedos_builder::compose::{self, ComposeError, KernelFlavour};
use kubedos_builder::erofs::MkfsErofs;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::image::build::{self, BuildError, Built, Formats};
use kubedos_builder::keys::KeyDir;
use kubedos_builder::lock::Lock;
use kubedos_builder::output::OutputDir;
use kubedos_builder::toolbox::Toolbox;
use kubedos_spec::node::SubstrateType;

use super::init::Init;
use super::inputs::{Inputs, fetch_failure};
use super::keys::failure as key_failure;
use super::lock::lock_failure;
use super::plan::{plan as plan_of, remind};
use super::progress::Console;
use super::tool::toolbox_failure;
use super::validate;

/// Build the sealed image of a cluster
#[derive(Debug, Args)]
pub struct Image {
    /// The ClusterSpec
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,

    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// The key directory; else keys/<cluster>, for the examples keys/demo
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// What to write; the raw image and the UKI are always written
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "raw,iso,qcow2")]
    format: Vec<Format>,

    /// Say what was rebuilt, and what was taken from an earlier build
    #[arg(long)]
    explain: bool,

    /// One JSON document on stdout: the manifest
    #[arg(long)]
    json: bool,

    /// The folder of cargo's outputs for kubedos-init
    #[arg(long, value_name = "DIR", default_value = "target/init")]
    init_target: PathBuf,

    #[command(flatten)]
    inputs: Inputs,
}

/// A form of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The disk image
    Raw,
    /// The same file under the name of a CD image
    Iso,
    /// A qcow2 file of the same content
    Qcow2,
}

impl Image {
    /// Runs it.
    pub fn run(&self) -> Result<(), Failure> {
        let started = Instant::now();
        let spec = validate::load(&self.spec)?;
        let plan = plan_of(&spec)?;
        remind(&spec, &plan);
        let cluster = plan.spec().metadata.name.to_string();
        let keys = KeyDir::open_for(
            &KeyDir::locate(self.keys.as_deref(), &self.spec, &cluster),
            &self.spec,
            &cluster,
        )
        .map_err(key_failure)?;
        let out = OutputDir::lock(&self.out).map_err(|error| Failure::new(Class::Failed, error))?;

        let lock_text =
            std::fs::read(&self.inputs.lock).map_err(|error| Failure::new(Class::Failed, error))?;
        let lock = Lock::read_alone(&self.inputs.lock).map_err(lock_failure)?;
        let cache = self.inputs.open_cache()?;
        let flavour = match plan.image_inputs().substrate {
            SubstrateType::Metal => KernelFlavour::Metal,
            SubstrateType::Cloud | SubstrateType::Proxmox => KernelFlavour::Cloud,
        };
        let init = Init::look(&cache, &lock)?;
        let sets = compose::sets(flavour).into_iter().chain(["tools"]).chain(init.needed_set());
        let sets: Vec<String> = sets.map(str::to_owned).collect();
        let sources = lock.sources(&sets).map_err(lock_failure)?;
        let mirrors = self.inputs.find_mirrors();
        self.inputs.fetcher(&cache, &mirrors).fetch(&sources, &Console::new()).map_err(fetch_failure)?;

        let tools = Toolbox::open(&cache, &lock, "tools").map_err(toolbox_failure)?;
        let (program, leading) = tools.invocation("usr/bin/mkfs.erofs").map_err(toolbox_failure)?;
        let (init, explained) = init.binary(&self.init_target, self.inputs.offline, &cache, &lock)?;

        let inputs = build::Inputs {
            plan: &plan,
            lock: &lock,
            lock_sha256: kubedos_image::hex32::sha256(&[&lock_text]),
            cache: &cache,
            keys: &keys,
            init,
            mkfs: MkfsErofs::new(program, leading),
            additions: Vec::new(),
        };
        let formats =
            Formats { iso: self.format.contains(&Format::Iso), qcow2: self.format.contains(&Format::Qcow2) };
        let mut built = build::build_image(&inputs, formats, &out).map_err(build_failure)?;
        built.explanation.insert(0, explained);
        self.report(&built, started)
    }

    fn report(&self, built: &Built, started: Instant) -> Result<(), Failure> {
        if self.json {
            super::validate::print(&built.manifest.emit())?;
        }
        if self.explain {
            for part in &built.explanation {
                let how = if part.reused { "as before" } else { "built" };
                eprintln!("{:<14} {:>10.1} MiB  {how}", part.part, mebibytes(part.bytes));
            }
        }
        for output in &built.manifest.outputs {
            eprintln!("{}  {:.1} MiB", self.out.join(&output.name).display(), mebibytes(output.size));
        }
        if built.manifest.demo_keys {
            eprintln!("warning: built with the published demo keys: it protects nothing");
        }
        eprintln!("done in {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, to one decimal")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Sorts a build's error: an input that does not match its pin is not the same as a full disk.
fn build_failure(error: BuildError) -> Failure {
    let class = match &error {
        BuildError::Compose(ComposeError::Cache(cause)) => match cause.as_ref() {
            CacheError::Damaged { .. } => Class::Mismatch,
            CacheError::Missing { .. } => Class::Offline,
            _ => Class::Failed,
        },
        _ => Class::Failed,
    };
    Failure::new(class, error)
}
