//! The build pipeline: builds the files of the output folder from a plan, a lock and keys.
//!
//! [`build_image`] lists the steps in order: root volume, payload volume, UKI and boot loader, configuration volume, disk image, manifest.
//! Each part is looked up in the store under the key of its inputs and built only if it is missing. No output gets its final name before
//! all outputs are complete; the manifest is published last.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubedos_image::authenticode::{self, AuthenticodeError};
use kubedos_image::boot::{BootManifest, BootParts, CMDLINE_PATH, MANIFEST_PATH};
use kubedos_image::cpio::CpioError;
use kubedos_image::esp::{self, EspError};
use kubedos_image::layout::Names;
use kubedos_image::pe::PeError;
use kubedos_image::qcow2;
use kubedos_image::source::{FileSource, Source};
use kubedos_spec::plan::ClusterPlan;
use kubedos_wire::document::DocumentError;
use kubedos_wire::node::PublicTrust;
use kubedos_wire::release::Release;
use kubedos_wire::seal::Volume;

use crate::cache_key::{CacheKey, Inputs as KeyInputs};
use crate::compose::{self, ComposeError, Composed, KernelFlavour, Node, Tree};
use crate::image::boot_partition;
use crate::image::configuration::{self, Configuration, ConfigurationError};
use crate::image::disk::{self, DiskError, Parts, VolumeParts};
use crate::image::explain::Explained;
use crate::image::manifest::{Manifest, Output, VolumeEntry, describe};
use crate::image::phase::{Phase, Timeline};
use crate::image::roster;
use crate::image::uki::{self, UkiParts};
use crate::image::volume::{SealedVolume, VolumeError, seal};
use crate::init_build::Programs;
use crate::keys::{KeyDir, KeyError};
use crate::output::{OutputDir, OutputError, Twin, Unpublished};
use crate::sparse_digest::Alongside;
use crate::sparse_file;
use crate::store::{Store, StoreError};
use kubedos_debian::cache::Cache;
use kubedos_debian::lock::Lock;

/// Increment when the format of the stored parts changes. Changes of the sources that decide their bytes are covered by [`RECIPE`].
const PIPELINE: u32 = 2;

/// The digest of the sources that decide the bytes of the outputs (`builder/recipe.rs`).
pub const RECIPE: &str = env!("KUBEDOS_RECIPE");

/// The os-release(5) file of the root volume; the UKI's section `.osrel` contains the same bytes.
const OS_RELEASE: &str = "usr/lib/os-release";

/// The inputs of an image.
#[expect(missing_debug_implementations, reason = "the timeline's watcher does not implement Debug")]
pub struct Inputs<'a> {
    /// The plan of the spec.
    pub plan: &'a ClusterPlan,
    /// The parsed lock.
    pub lock: &'a Lock,
    /// SHA-256 of the lock's text.
    pub lock_sha256: [u8; 32],
    /// The cache of fetched packages and tools.
    pub cache: &'a Cache,
    /// The store of built parts.
    pub store: &'a Store,
    /// The key directory of the cluster.
    pub keys: &'a KeyDir,
    /// The compiled stage 1 and agent.
    pub programs: Programs,
    /// Files that a test adds to the root volume to run checks inside a node; empty in every product. The manifest of such an image lists
    /// them, and `verify` rejects the image.
    pub additions: Vec<(String, Node)>,
    /// Reports the phases and records their times.
    pub timeline: &'a Timeline<'a>,
}

/// The optional output formats in addition to the raw image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// A second name of the raw file, with the suffix `.iso`.
    pub iso: bool,
    /// A qcow2 file.
    pub qcow2: bool,
}

/// The errors of a build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The root volume cannot be composed.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// A volume cannot be sealed.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The configuration cannot be written.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The schema of the ClusterSpec cannot be written.
    #[error("failed to write the schema of the ClusterSpec")]
    Schema(#[source] serde_json::Error),
    /// The root volume lacks os-release(5).
    #[error("the root volume has no file /{OS_RELEASE}")]
    NoOsRelease,
    /// The manifest of the outputs cannot be written.
    #[error("failed to write the manifest of the outputs")]
    Manifest(#[source] serde_json::Error),
    /// The boot manifest cannot be written.
    #[error("failed to write the boot manifest")]
    BootManifest(#[source] DocumentError),
    /// The initrd cannot be written.
    #[error("failed to write the initrd")]
    Initrd(#[from] CpioError),
    /// The UKI cannot be assembled.
    #[error("failed to assemble the unified kernel image")]
    Uki(#[from] PeError),
    /// A boot program cannot be signed.
    #[error("failed to sign {program}")]
    Sign {
        /// The program's name.
        program: &'static str,
        /// The cause.
        #[source]
        source: AuthenticodeError,
    },
    /// A key is missing or unusable.
    #[error(transparent)]
    CacheKey(#[from] KeyError),
    /// The EFI system partition cannot be written.
    #[error("failed to write the EFI system partition")]
    Esp(#[from] EspError),
    /// The parts do not fit into the disk layout.
    #[error("failed to assemble the disk image")]
    Disk(#[from] DiskError),
    /// The qcow2 file cannot be written.
    #[error("failed to write the image as qcow2")]
    Qcow2(#[from] qcow2::Qcow2Error),
    /// The build store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An output file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file of the store cannot be read or written.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The result of a build.
#[derive(Debug)]
pub struct Built {
    /// The content of `manifest.json`.
    pub manifest: Manifest,
    /// For each part, whether it came from the store or was built, and its inputs.
    pub explanation: Vec<Explained>,
}

/// The paths of the signed boot programs.
struct Boot {
    uki: PathBuf,
    boot_loader: PathBuf,
}

/// The source of the root volume and the boot programs.
struct Composition {
    composed: Composed,
    packages: usize,
    /// The names of the packages that were not in the store yet.
    unpacked: Vec<String>,
}

/// The files in the order of publication, an optional hard link (existing name, new name), and the manifest.
type Written = (Vec<Unpublished>, Option<(String, String)>, Manifest);

/// Builds the image and publishes it in `out`.
///
/// # Errors
/// [`BuildError`]. On an error, `out` contains no partial file, and no manifest that describes other files.
pub fn build_image(inputs: &Inputs<'_>, formats: Formats, out: &OutputDir) -> Result<Built, BuildError> {
    let builder = Builder::new(inputs)?;
    let timeline = inputs.timeline;
    let (root, of_root) = timeline.run(Phase::Root, || builder.root())?;
    let (payload, of_payload) = timeline.run(Phase::Payload, || builder.payload())?;
    let (boot, of_boot) = timeline.run(Phase::Uki, || builder.boot(&root, of_root.inputs.key(), &payload))?;
    let (configuration, statement, of_configuration) =
        timeline.run(Phase::Configuration, || builder.configuration())?;
    let esp = builder.esp(&boot)?;
    let volumes = [&root, &configuration, &payload];
    let names = Names {
        root: root.seal.root_hash,
        configuration: configuration.seal.root_hash,
        payload: payload.seal.root_hash,
    };

    let uki = fs::read(&boot.uki).map_err(|source| file("read", &boot.uki, source))?;
    let sources = [open(&root)?, open(&configuration)?, open(&payload)?];
    let [root_parts, configuration_parts, payload_parts] =
        [&sources[0], &sources[1], &sources[2]].map(|(data, hash)| VolumeParts { data, hash });
    let esp_runs = esp.write(boot_partition::volume_id(builder.release))?;
    let parts = Parts {
        esp: &esp_runs,
        root: root_parts,
        configuration: configuration_parts,
        statement: &statement,
        payload: payload_parts,
        names,
    };
    let image = disk::assemble(&parts)?;
    let (files, iso, manifest) =
        timeline.run(Phase::Write, || builder.write(&image, &uki, formats, &volumes, out))?;
    timeline.run(Phase::Publish, || out.publish(files, iso.as_slice()))?;
    Ok(Built { manifest, explanation: vec![of_root, of_payload, of_boot, of_configuration] })
}

/// The inputs, and the values that are derived from them once.
struct Builder<'a> {
    inputs: &'a Inputs<'a>,
    store: &'a Store,
    epoch: u64,
    release: &'static str,
    /// The lowest release that may use the configuration.
    minimum_release: Release,
    flavour: KernelFlavour,
    /// The source of the root volume and the boot programs; composed on first use, when the store lacks one of them.
    composition: OnceCell<Composition>,
}

impl<'a> Builder<'a> {
    fn new(inputs: &'a Inputs<'a>) -> Result<Self, BuildError> {
        let flavour = match inputs.plan.image_inputs().substrate {
            kubedos_wire::node::SubstrateType::Metal => KernelFlavour::Metal,
            _ => KernelFlavour::Cloud,
        };
        let demanded = inputs.plan.spec().metadata.minimum_release.as_ref();
        let minimum_release = configuration::minimum_release(demanded)?;
        inputs.store.sweep()?;
        Ok(Self {
            inputs,
            store: inputs.store,
            epoch: inputs.lock.epoch().unix(),
            release: env!("CARGO_PKG_VERSION"),
            minimum_release,
            flavour,
            composition: OnceCell::new(),
        })
    }

    /// The inputs of the root volume: its packages, the agent, the recipe, and a test's additions.
    fn root_inputs(&self) -> Result<KeyInputs, BuildError> {
        let mut inputs = self
            .inputs("root")
            .with("release", self.release)
            .with("kubedos-agent", kubedos_wire::hex32::sha256(&[&self.inputs.programs.agent]));
        for set in compose::sets(self.flavour) {
            for package in self.inputs.lock.set(set).map_err(|error| ComposeError::from(Box::new(error)))? {
                let version = package.version.to_string();
                inputs = inputs.with_version(&package.name, &version, package.sha256.to_string());
            }
        }
        if let Some(additions) = self.additions()? {
            inputs = inputs.with("additions", additions.listing());
            for (path, content) in additions.files() {
                inputs = inputs.with(&format!("/{path}"), content);
            }
        }
        Ok(inputs)
    }

    /// The inputs that all composed parts share.
    fn inputs(&self, kind: &str) -> KeyInputs {
        KeyInputs::new(kind, PIPELINE)
            .with("the recipe", RECIPE)
            .with("date of the lock", self.epoch.to_le_bytes())
    }

    /// The additions as a tree of their own; `None` without additions.
    fn additions(&self) -> Result<Option<Tree>, BuildError> {
        if self.inputs.additions.is_empty() {
            return Ok(None);
        }
        let mut tree = Tree::new(self.epoch);
        self.add_to(&mut tree)?;
        Ok(Some(tree))
    }

    fn add_to(&self, tree: &mut Tree) -> Result<(), BuildError> {
        for (path, node) in &self.inputs.additions {
            tree.add(path, node.clone()).map_err(ComposeError::from)?;
        }
        Ok(())
    }

    fn composition(&self) -> Result<&Composition, BuildError> {
        if let Some(composition) = self.composition.get() {
            return Ok(composition);
        }
        let composition = self.compose()?;
        Ok(self.composition.get_or_init(|| composition))
    }

    fn compose(&self) -> Result<Composition, BuildError> {
        let packages =
            compose::packages(self.inputs.lock, self.inputs.cache, self.store, &compose::sets(self.flavour))?;
        let count = packages.len();
        let unpacked = packages.iter().filter(|package| package.unpacked);
        let unpacked = unpacked.map(|package| package.name.clone()).collect();
        let mut composed = compose::root(compose::RootInputs {
            packages,
            flavour: self.flavour,
            agent: Arc::clone(&self.inputs.programs.agent),
            release: self.release.to_owned(),
            epoch: self.epoch,
        })?;
        self.add_to(&mut composed.tree)?;
        Ok(Composition { composed, packages: count, unpacked })
    }

    /// Builds or finds the root volume.
    fn root(&self) -> Result<(SealedVolume, Explained), BuildError> {
        let inputs = self.root_inputs()?;
        let volume = seal(self.store, Volume::Root, &inputs.key(), self.epoch, || {
            Ok::<_, BuildError>(self.composition()?.composed.tree.clone())
        })?;
        let mut explained = explain(Explained::volume(&volume, inputs), &volume.data)?;
        if let (Some(work), Some(composition)) = (&mut explained.work, self.composition.get()) {
            work.packages = composition.packages;
            work.unpacked.clone_from(&composition.unpacked);
        }
        Ok((volume, explained))
    }

    /// Builds or finds the payload volume. In this version it contains only the schema.
    fn payload(&self) -> Result<(SealedVolume, Explained), BuildError> {
        let schema =
            serde_json::to_string_pretty(&kubedos_spec::model::schema()).map_err(BuildError::Schema)?;
        let inputs = self.inputs("payload").with("schema", &schema);
        let volume = seal(self.store, Volume::Payload, &inputs.key(), self.epoch, || {
            let origin: Arc<str> = Arc::from("kubedos");
            let mut tree = Tree::new(self.epoch);
            let node = Node::file(schema.into_bytes(), &origin);
            tree.add("share/clusterspec.schema.json", node).map_err(ComposeError::from)?;
            Ok::<_, BuildError>(tree)
        })?;
        let explained = explain(Explained::volume(&volume, inputs), &volume.data)?;
        Ok((volume, explained))
    }

    /// Builds or finds the signed UKI and boot loader. `made_from` is the key of the root volume's inputs.
    fn boot(
        &self,
        root: &SealedVolume,
        made_from: CacheKey,
        payload: &SealedVolume,
    ) -> Result<(Boot, Explained), BuildError> {
        let public = self.inputs.keys.public();
        let manifest = BootManifest::new(BootParts {
            release: Release::this(),
            epoch: self.epoch,
            identity: public.identity,
            root: root.seal,
            payload: payload.seal,
            configuration_keys: &public.configuration,
        })
        .and_then(|manifest| manifest.with_additions(!self.inputs.additions.is_empty()).emit())
        .map_err(BuildError::BootManifest)?;
        let inputs = KeyInputs::new("boot", uki::WRITER)
            .with("the recipe", RECIPE)
            .with("inputs of the root volume", made_from)
            .with("kubedos-stage1", kubedos_wire::hex32::sha256(&[&self.inputs.programs.stage1]))
            .with("boot manifest", &manifest)
            .with("db certificate", self.inputs.keys.secure_boot_certificate()?);
        let key = inputs.key();
        let kept = self.store.find("boot", &key);
        let reused = kept.is_some();
        let folder = match kept {
            Some(folder) => folder,
            None => self.store.insert("boot", &key, |folder| self.make_boot(folder, &manifest))?,
        };
        let boot = Boot { uki: folder.join("uki.efi"), boot_loader: folder.join("boot.efi") };
        let explained = explain(Explained::file("uki", reused, &boot.uki, inputs), &boot.uki)?;
        Ok((boot, explained))
    }

    fn make_boot(&self, folder: &Path, manifest: &str) -> Result<(), BuildError> {
        let composed = &self.composition()?.composed;
        let cmdline = compose::data::cmdline();
        let initrd = compose::initrd(
            &self.inputs.programs.stage1,
            &composed.kernel.initrd,
            &[(MANIFEST_PATH, Arc::from(manifest.as_bytes())), (CMDLINE_PATH, Arc::from(cmdline.as_bytes()))],
            self.epoch,
        )
        .map_err(ComposeError::from)?;
        let initrd = uki::archive(&initrd)?;
        let os_release = composed.tree.content(OS_RELEASE).ok_or(BuildError::NoOsRelease)?;
        let unsigned = uki::unsigned(&UkiParts {
            stub: &composed.stub,
            kernel: &composed.kernel.image,
            kernel_release: &composed.kernel.release,
            os_release,
            cmdline: &cmdline,
            initrd: &initrd,
        })?;
        let signer = self.inputs.keys.secure_boot_signer()?;
        for (program, name, bytes) in [
            ("the UKI", "uki.efi", unsigned.as_slice()),
            ("the boot loader", "boot.efi", &composed.boot_loader),
        ] {
            let signed =
                authenticode::sign(bytes, &signer).map_err(|source| BuildError::Sign { program, source })?;
            let path = folder.join(name);
            fs::write(&path, signed).map_err(|source| file("write", &path, source))?;
        }
        Ok(())
    }

    /// Builds or finds the configuration volume, and signs its statement.
    fn configuration(&self) -> Result<(SealedVolume, Vec<u8>, Explained), BuildError> {
        let public = self.inputs.keys.public();
        let name = self.inputs.plan.spec().metadata.name.to_string();
        let cluster_id = public.cluster_id(&name);
        let trust = PublicTrust { cluster_id, seed_keys: public.seed.clone(), demo_keys: public.demo };
        let cluster = self.inputs.plan.cluster_document(&trust);
        let shards = self.inputs.plan.shards().map(|(name, shard)| (name.to_string(), shard));
        let roster = roster::fixed(self.inputs.plan, self.inputs.keys)?;
        let documents = Configuration::new(&cluster, shards, roster.as_ref())?;
        let inputs = documents.inputs(self.epoch);
        let volume = seal(self.store, Volume::Configuration, &inputs.key(), self.epoch, || {
            Ok::<_, BuildError>(documents.tree(self.epoch)?)
        })?;
        let signer = self.inputs.keys.configuration_signer()?;
        let statement = configuration::statement(
            &cluster,
            cluster_id,
            self.minimum_release.clone(),
            volume.seal,
            &signer,
        )?;
        let explained = explain(Explained::volume(&volume, inputs), &volume.data)?;
        Ok((volume, statement, explained))
    }

    /// Returns the files of the EFI system partition.
    fn esp(&self, boot: &Boot) -> Result<esp::Tree<'static>, BuildError> {
        let read = |path: &Path| fs::read(path).map_err(|source| file("read", path, source));
        Ok(boot_partition::tree(self.release, read(&boot.boot_loader)?, read(&boot.uki)?)?)
    }

    /// Writes all outputs as unnamed files; the manifest comes last. The raw image may get a second name.
    fn write(
        &self,
        image: &dyn Source,
        uki: &[u8],
        formats: Formats,
        volumes: &[&SealedVolume; 3],
        out: &OutputDir,
    ) -> Result<Written, BuildError> {
        let metadata = &self.inputs.plan.spec().metadata;
        let base = format!("{}-{}", metadata.name, metadata.artifact_version);
        let raw_name = format!("{base}.raw");
        let data = data_of(image);
        let copies = 1 + u64::from(formats.iso && !out.abilities().links);
        let mut wanted = vec![(uki.len() as u64, uki.len() as u64)];
        wanted.extend((0..copies).map(|_| (image.len(), data)));
        wanted.extend(formats.qcow2.then_some((data, data)));
        out.reserve(&wanted)?;
        let raw = out.create(&raw_name)?;
        // Hashing the image takes longer than writing it, so a second thread hashes it while this one writes the other outputs.
        let digest = Alongside::start(image.len());
        sparse_file::write(image, &raw.file, |at, bytes| digest.piece(at, bytes))
            .map_err(|source| raw.error("write", source))?;
        raw.flush()?;
        let efi = out.create_with(&format!("{base}.efi"), uki)?;
        efi.flush()?;
        let mut outputs =
            vec![describe(&format!("{base}.efi"), &efi.file).map_err(|source| efi.error("read", source))?];
        let mut unpublished = vec![efi];
        if formats.qcow2 {
            let name = format!("{base}.qcow2");
            let wrapped = out.create(&name)?;
            let sink = |at, bytes: &[u8]| std::os::unix::fs::FileExt::write_all_at(&wrapped.file, bytes, at);
            let len = qcow2::write(image, sink)?;
            wrapped.file.set_len(len).map_err(|source| wrapped.error("write", source))?;
            outputs.push(describe(&name, &wrapped.file).map_err(|source| wrapped.error("read", source))?);
            unpublished.push(wrapped);
        }
        let raw_entry = Output { name: raw_name, size: image.len(), sha256: digest.finish().to_string() };
        if formats.iso {
            outputs.push(Output { name: format!("{base}.iso"), ..raw_entry.clone() });
        }
        outputs.push(raw_entry);
        outputs.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest {
            version: super::manifest::VERSION,
            cluster: metadata.name.to_string(),
            artifact_version: metadata.artifact_version.to_string(),
            generation: metadata.generation,
            release: self.release.to_owned(),
            epoch: self.epoch,
            lock_sha256: hex::encode(self.inputs.lock_sha256),
            demo_keys: self.inputs.keys.public().demo,
            additions: self.inputs.additions.iter().map(|(path, _)| path.clone()).collect(),
            volumes: volumes.map(|volume| VolumeEntry::new(volume.volume, volume.seal)).to_vec(),
            outputs,
        };
        unpublished.push(out.create_with(super::manifest::SUMS, manifest.sums().as_bytes())?);
        let mut link = None;
        if formats.iso {
            match out.twin(&raw, &format!("{base}.iso"))? {
                Twin::Link(of, name) => link = Some((of, name)),
                Twin::Copy(iso) => unpublished.push(iso),
            }
        }
        unpublished.push(raw);
        let text = manifest.emit().map_err(BuildError::Manifest)?;
        unpublished.push(out.create_with("manifest.json", text.as_bytes())?);
        Ok((unpublished, link, manifest))
    }
}

/// The number of data bytes of an image, without holes.
fn data_of(image: &dyn Source) -> u64 {
    let mut sum = 0_u64;
    let mut at = 0;
    while let Some(data) = image.next_data(at) {
        sum = sum.saturating_add(data.end.saturating_sub(data.start));
        at = data.end;
    }
    sum
}

/// Opens the data and the hash file of a volume.
fn open(volume: &SealedVolume) -> Result<(FileSource, FileSource), BuildError> {
    let one = |path: &Path| {
        let open = || -> io::Result<FileSource> {
            let handle = File::open(path)?;
            let len = handle.metadata()?.len();
            Ok(FileSource::new(handle, len))
        };
        open().map_err(|source| file("open", path, source))
    };
    Ok((one(&volume.data)?, one(&volume.hash)?))
}

/// Adds the path to the error of reading a part's size.
fn explain(part: io::Result<Explained>, path: &Path) -> Result<Explained, BuildError> {
    part.map_err(|source| file("read", path, source))
}

fn file(doing: &'static str, path: &Path, source: io::Error) -> BuildError {
    BuildError::File { doing, path: path.to_owned(), source }
}
