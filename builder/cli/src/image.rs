//! `image`: builds the sealed image of a cluster from a ClusterSpec.
//!
//! Spec, keys and lock are checked before any file is written. The outputs are published together at the end. The build itself is in the
//! builder library; this module connects its phases and reports them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use kubedos_builder::artifact::MANIFEST;
use kubedos_builder::compose::{self, KernelFlavour};
use kubedos_builder::image::build::{self, Built, Formats};
use kubedos_builder::image::manifest::SUMS;
use kubedos_builder::image::phase::{Phase, Span, Timeline};
use kubedos_builder::image::run_record::{Before, RUN_RECORD, RunRecord};
use kubedos_builder::keys::KeyDir;
use kubedos_builder::output::OutputDir;
use kubedos_builder::size::human;
use kubedos_builder::store::Store;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::lock::Lock;
use kubedos_debian::release::date::Moment;
use kubedos_image::layout::shipped;
use kubedos_spec::plan::ClusterPlan;
use kubedos_wire::node::SubstrateType;
use serde_json::json;

use super::init::Init;
use super::inputs::Inputs;
use super::phases::Phases;
use super::plan::{plan as plan_of, remind};
use super::relock;
use super::terminal::{print_document, print_json, say};
use super::validate;

/// Build the sealed image of a cluster
#[derive(Debug, Args)]
pub struct Image {
    /// The ClusterSpec
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,

    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Key directory [default: keys/<cluster>, or keys/demo for the examples]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// The image formats to write; the raw image and the UKI are always written
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "raw,iso,qcow2")]
    format: Vec<Format>,

    /// Resolve packages again that have vanished from the mirror, and write the lock that was used next to the image
    #[arg(long, conflicts_with = "dry_run")]
    relock_missing: bool,

    /// Print which parts were built, and which were reused from an earlier build
    #[arg(long)]
    explain: bool,

    /// Print the files that would be fetched and written, without fetching or writing them
    #[arg(long)]
    dry_run: bool,

    /// One JSON document on stdout: the manifest
    #[arg(long)]
    json: bool,

    /// The cargo target directory for the programs of init/
    #[arg(long, value_name = "DIR", default_value = "target/init")]
    init_target: PathBuf,

    #[command(flatten)]
    inputs: Inputs,
}

/// An image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The disk image
    Raw,
    /// The same file with the name of a CD image
    Iso,
    /// A qcow2 file with the same content
    Qcow2,
}

/// The inputs of a build. They are checked before any file is written.
struct Request {
    plan: ClusterPlan,
    keys: KeyDir,
    lock: Lock,
    flavour: KernelFlavour,
}

/// The arguments of a rebuild.
pub struct Rebuild<'a> {
    /// The ClusterSpec.
    pub spec: &'a Path,
    /// The key directory, if given.
    pub keys: Option<&'a Path>,
    /// The arguments for packages and lock.
    pub inputs: &'a Inputs,
    /// The cargo target directory for the programs of init/.
    pub init_target: &'a Path,
    /// The formats to write in addition to the raw image and the UKI.
    pub formats: Formats,
    /// The output folder.
    pub out: &'a OutputDir,
}

impl Image {
    /// Runs the command.
    pub fn run(&self) -> Result<(), Failure> {
        let (started, clock) = (Moment::now(), Instant::now());
        let request = self.request()?;
        if self.dry_run {
            return self.survey(&request);
        }
        let out = OutputDir::lock(&self.out)?;
        self.has_room(&out)?;
        let before = Before::read(out.path()).map_err(|error| Failure::new(Class::Failed, error))?;
        let phases = Phases::new();
        let timeline = Timeline::new(&phases);
        let (built, spans) = self.build(request, &out, None, &timeline)?;
        let record = RunRecord::new(started, spans, built.explanation.clone());
        let record = record.emit().map_err(|error| Failure::new(Class::Failed, error))?;
        let record = out.create_with(RUN_RECORD, record.as_bytes())?;
        record.publish()?;
        self.report(&built, &before, clock.elapsed())
    }

    /// Fails before the build if the output certainly does not fit. On a file system without sparse files, even an image with an empty
    /// payload is large.
    fn has_room(&self, out: &OutputDir) -> Result<(), Failure> {
        let least = shipped(0).map_err(|error| Failure::new(Class::Failed, error))?.disk_bytes();
        let copies = 1 + usize::from(self.format.contains(&Format::Iso) && !out.abilities().links);
        Ok(out.reserve(&vec![(least, 0); copies])?)
    }

    /// Reads spec, keys and lock.
    fn request(&self) -> Result<Request, Failure> {
        let spec = validate::load(&self.spec)?;
        let plan = plan_of(&spec)?;
        remind(&spec, &plan);
        let cluster = plan.spec().metadata.name.to_string();
        let keys = KeyDir::open_for(
            &KeyDir::locate(self.keys.as_deref(), &self.spec, &cluster),
            &self.spec,
            &cluster,
        )?;
        validate::check_for(&spec, &keys)?;
        let lock = Lock::read_proven(&self.inputs.lock)?;
        let flavour = match plan.image_inputs().substrate {
            SubstrateType::Metal => KernelFlavour::Metal,
            SubstrateType::Cloud | SubstrateType::Proxmox => KernelFlavour::Cloud,
        };
        Ok(Request { plan, keys, lock, flavour })
    }

    /// Builds into a locked folder. `store` contains the results of earlier builds; the default is the store in the cache.
    fn build(
        &self,
        request: Request,
        out: &OutputDir,
        store: Option<Store>,
        timeline: &Timeline<'_>,
    ) -> Result<(Built, Vec<Span>), Failure> {
        let Request { plan, keys, lock, flavour } = request;
        let cache = self.inputs.open_cache()?;
        let store = store.unwrap_or_else(|| Store::of(&cache));
        let mut init = Init::look(&store, &lock)?;
        let sets = needed_sets(flavour, &init);
        let lock_folder = self.relock_missing.then(|| out.path());
        let fetched =
            timeline.run(Phase::Fetch, || relock::fetch(&self.inputs, lock, &sets, &cache, lock_folder))?;
        let (lock, lock_text) = (&fetched.lock, fetched.lock_text(&self.inputs, out.path())?);
        if !fetched.relocked.is_empty() {
            // The packages that changed may include the compiler.
            init = Init::look(&store, lock)?;
            let set: Vec<String> = init.needed_set().into_iter().map(str::to_owned).collect();
            if !set.is_empty() {
                relock::fetch(&self.inputs, lock.clone(), &set, &cache, None)?;
            }
        }

        let (programs, explained) = timeline
            .run(Phase::Init, || init.programs(&self.init_target, self.inputs.offline, &cache, lock))?;

        let inputs = build::Inputs {
            plan: &plan,
            lock,
            lock_sha256: kubedos_wire::hex32::sha256(&[&lock_text]),
            cache: &cache,
            store: &store,
            keys: &keys,
            programs,
            additions: Vec::new(),
            timeline,
        };
        let formats =
            Formats { iso: self.format.contains(&Format::Iso), qcow2: self.format.contains(&Format::Qcow2) };
        let mut built = build::build_image(&inputs, formats, out)?;
        built.explanation.insert(0, explained);
        Ok((built, timeline.spans()))
    }

    /// The build of the image of a lab: the raw image only.
    pub fn of_lab(spec: &Path, out: &Path, keys: Option<&Path>, inputs: &Inputs, init_target: &Path) -> Self {
        Self {
            spec: spec.to_owned(),
            out: out.to_owned(),
            keys: keys.map(Path::to_owned),
            format: vec![Format::Raw],
            relock_missing: false,
            explain: false,
            dry_run: false,
            json: false,
            init_target: init_target.to_owned(),
            inputs: inputs.clone(),
        }
    }

    /// Builds the same image again with an empty store, so that no result of an earlier build is used.
    pub fn rebuild(again: Rebuild<'_>) -> Result<(), Failure> {
        let format = [(Format::Iso, again.formats.iso), (Format::Qcow2, again.formats.qcow2)];
        let image = Self {
            spec: again.spec.to_owned(),
            out: again.out.path().to_owned(),
            keys: again.keys.map(Path::to_owned),
            format: format.into_iter().filter(|(_, wanted)| *wanted).map(|(format, _)| format).collect(),
            relock_missing: false,
            explain: false,
            dry_run: false,
            json: false,
            init_target: again.init_target.to_owned(),
            inputs: again.inputs.clone(),
        };
        let phases = Phases::new();
        let store = Store::new(again.out.path().join("built"));
        image.build(image.request()?, again.out, Some(store), &Timeline::new(&phases))?;
        Ok(())
    }

    /// Prints the files that a run would fetch and write.
    fn survey(&self, request: &Request) -> Result<(), Failure> {
        let cache = self.inputs.open_cache()?;
        let init = Init::look(&Store::of(&cache), &request.lock)?;
        let sets = needed_sets(request.flavour, &init);
        let sources = request.lock.sources(&sets)?;
        let missing: Vec<_> = sources
            .iter()
            .filter(|source| cache.open(&source.pin).is_err())
            .map(|source| &source.pin)
            .collect();
        let metadata = &request.plan.spec().metadata;
        let base = format!("{}-{}", metadata.name, metadata.artifact_version);
        let chosen = [(Format::Iso, "iso"), (Format::Qcow2, "qcow2")];
        let chosen =
            chosen.into_iter().filter(|(format, _)| self.format.contains(format)).map(|(_, name)| name);
        let mut names: Vec<String> =
            ["efi", "raw"].into_iter().chain(chosen).map(|end| format!("{base}.{end}")).collect();
        names.extend([SUMS, MANIFEST, RUN_RECORD].map(str::to_owned));
        names.sort();
        let bytes: u64 = missing.iter().map(|pin| pin.size).sum();
        if self.json {
            let missing: Vec<_> = missing.iter().map(|pin| &pin.name).collect();
            let outputs: Vec<_> = names.iter().map(|name| self.out.join(name)).collect();
            return print_json(&json!({
                "version": 1, "written": false, "outputs": outputs, "missing": missing, "bytes": bytes,
            }));
        }
        for name in &names {
            say!("would write {}", self.out.join(name).display());
        }
        say!("{} of {} packages would be fetched, {} MB", missing.len(), sources.len(), bytes / 1_000_000);
        Ok(())
    }

    fn report(&self, built: &Built, before: &Before, took: Duration) -> Result<(), Failure> {
        if self.json {
            let manifest = built.manifest.emit().map_err(|error| Failure::new(Class::Failed, error))?;
            print_document(&manifest)?;
        }
        if self.explain {
            for part in &built.explanation {
                let (how, work) = part.words(&before.why(part));
                say!("{:<14} {:>10}  {how}", part.part, human(part.bytes));
                if let Some(work) = work {
                    say!("{:<14} {:>10}  {work}", "", "");
                }
            }
        }
        for output in &built.manifest.outputs {
            say!("{}  {}", self.out.join(&output.name).display(), human(output.size));
        }
        if built.manifest.demo_keys {
            say!("warning: built with the published demo keys, which do not protect the image");
        }
        say!("done in {:.1} s", took.as_secs_f64());
        Ok(())
    }
}

/// The sets of the lock that a build needs: those of the image, and the compiler if the programs of `init/` are not in the store.
fn needed_sets(flavour: KernelFlavour, init: &Init) -> Vec<String> {
    compose::sets(flavour).into_iter().chain(init.needed_set()).map(str::to_owned).collect()
}
