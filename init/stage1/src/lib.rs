//! Stage 1: `/init` of the initrd. It loads modules, finds and verifies the volumes, and switches to the root volume.
//!
//! It is linear and synchronous: no thread, no network, no shell, and no configuration except the content of the signed
//! initrd. It ends either with systemd on a verified root volume, or in [`halt`].

#![forbid(unsafe_code)]

pub mod candidates;
pub mod cmdline;
pub mod configuration;
pub mod devices;
pub mod firmware;
pub mod halt;
pub mod modules;
pub mod mounts;
pub mod requirements;
pub mod switch_root;
pub mod variables;
pub mod verity;
pub mod volumes;

use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use kubedos_image::boot::{BootManifest, MANIFEST_PATH};
use kubedos_survey::controllers;
use kubedos_sys::dm::DeviceMapper;
use kubedos_sys::uevent::Uevents;
use kubedos_sys::watchdog::Watchdog;
use kubedos_wire::document::DocumentError;
use kubedos_wire::record::Outcome;
use kubedos_wire::seal::Volume;
use kubedos_wire::stage::EarlyStage;

use self::candidates::Search;
use self::configuration::Acceptable;
use self::devices::{Devices, Disk};
use self::firmware::Firmware;
use self::halt::{Failure, console};
use self::modules::Loader;
use self::volumes::OpenError;
use kubedos_base::console::{Event, quietly};
use kubedos_base::handover_file;
use kubedos_wire::handover::{self, Handover};

/// Why a step of stage 1 failed.
#[derive(Debug, thiserror::Error)]
pub enum Stage1Error {
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] mounts::MountError),
    /// The command line is not accepted.
    #[error(transparent)]
    Cmdline(#[from] cmdline::CmdlineError),
    /// The firmware is not accepted.
    #[error(transparent)]
    Firmware(#[from] firmware::FirmwareError),
    /// An EFI variable exists that must not exist.
    #[error(transparent)]
    Variables(#[from] variables::VariablesError),
    /// The machine does not meet a requirement.
    #[error(transparent)]
    Requirement(#[from] requirements::RequirementError),
    /// The modules cannot be loaded.
    #[error(transparent)]
    Modules(#[from] modules::ModulesError),
    /// A volume cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The hand-over cannot be written.
    #[error(transparent)]
    Handover(#[from] handover_file::HandoverFileError),
    /// The root volume cannot be entered.
    #[error(transparent)]
    SwitchRoot(#[from] switch_root::SwitchRootError),
    /// The boot manifest cannot be read.
    #[error("failed to read {MANIFEST_PATH} in the initrd")]
    Read(#[source] io::Error),
    /// The boot manifest is not valid.
    #[error("failed to use {MANIFEST_PATH} in the initrd")]
    Manifest(#[source] DocumentError),
    /// The volumes did not appear.
    #[error("no device with the volumes of this image within {waited} seconds; found: {found}{advice}", waited = candidates::DEADLINE.as_secs())]
    NoVolumes {
        /// The devices that were found.
        found: String,
        /// Advice about controllers without a driver; begins with `; `, or is empty.
        advice: String,
    },
    /// No acceptable configuration was found.
    #[error("no acceptable configuration; found: {0}")]
    NoConfiguration(String),
    /// Every acceptable configuration failed to open.
    #[error("no acceptable configuration can be opened: {0}")]
    Unusable(String),
    /// The device mapper is not available.
    #[error("failed to open the device mapper")]
    Mapper(#[source] io::Error),
    /// The kernel's device events are not available.
    #[error("failed to listen for devices")]
    Events(#[source] io::Error),
}

/// The file in the initrd with the command line of the UKI.
const BAKED_CMDLINE: &str = "/kubedos/cmdline";

/// The results of the first step.
struct Ready {
    manifest: BootManifest,
    firmware: Firmware,
    loader: Loader,
    watchdog: Option<Watchdog>,
}

/// Runs stage 1; does not return.
pub fn main() -> ! {
    halt::catch_panics();
    match boot() {
        Ok(never) => match never {},
        Err(failure) => halt::halt(&failure),
    }
}

fn boot() -> Result<Infallible, Failure> {
    let mut ready = step(EarlyStage::Modules, prepare)?;
    let devices = step(EarlyStage::FindVolumes, || find_volumes(&mut ready))?;
    let boot_partition = ready.firmware.boot_partition;
    let disks = candidates::rank(devices.disks(), boot_partition);
    let mapper =
        DeviceMapper::open().map_err(|error| failure(EarlyStage::OpenRoot, Stage1Error::Mapper(error)))?;
    let root = step(EarlyStage::OpenRoot, || open_root(&ready, &mapper, &disks))?;
    step(EarlyStage::OpenPayload, || open_payload(&ready, &mapper, &disks, root))?;
    let configuration =
        step(EarlyStage::OpenConfiguration, || open_configuration(&ready, &mapper, &disks, root))?;
    step(EarlyStage::SwitchRoot, || switch_root(&ready, root, &configuration))?;
    // The watchdog stays armed when its device is closed, which the kernel logs as critical; systemd opens the device
    // next.
    quietly(|| drop(ready.watchdog.take()));
    switch_root::exec().map_err(|error| failure(EarlyStage::SwitchRoot, error))
}

/// Runs one step and writes a record before and after it.
fn step<T, E: Error + 'static>(
    stage: EarlyStage,
    run: impl FnOnce() -> Result<(T, String), E>,
) -> Result<T, Failure> {
    // The first step mounts the file systems that the console needs, so it writes its first record itself.
    let begun = Instant::now();
    if stage != EarlyStage::Modules {
        console().emit(Event::new(stage.name(), Outcome::Started));
    }
    let (value, note) = run().map_err(|error| failure(stage, error))?;
    let done = Event::new(stage.name(), Outcome::Done).took(begun.elapsed());
    console().emit(if note.is_empty() { done } else { done.note(note) });
    Ok(value)
}

fn failure(stage: EarlyStage, error: impl Error + 'static) -> Failure {
    let volume = match stage {
        EarlyStage::OpenRoot => Some(Volume::Root.name()),
        EarlyStage::OpenPayload => Some(Volume::Payload.name()),
        EarlyStage::OpenConfiguration => Some(Volume::Configuration.name()),
        EarlyStage::Modules | EarlyStage::FindVolumes | EarlyStage::SwitchRoot => None,
    };
    Failure { stage, error: Box::new(error), volume }
}

/// Kernel file systems, command line, manifest, modules, watchdog, firmware.
fn prepare() -> Result<(Ready, String), Stage1Error> {
    switch_root::require_initramfs()?;
    for early in mounts::EARLY {
        early.mount(None)?;
    }
    console().emit(Event::new(EarlyStage::Modules.name(), Outcome::Started));
    check_cmdline()?;
    firmware::require_uefi()?;
    requirements::check()?;
    let manifest = read_manifest()?;
    let mut loader = Loader::start()?;
    loader.load_by_need();
    let watchdog = halt::arm_watchdog();
    mounts::EFIVARS.mount(None)?;
    variables::check()?;
    let firmware = firmware::observe()?;
    let armed = if watchdog.is_some() { "watchdog armed" } else { "no watchdog" };
    let secure = if firmware.secure_boot { "Secure Boot on" } else { "Secure Boot off" };
    let note = format!("release {}, {}, {armed}, {secure}", manifest.release, loader.report());
    Ok((Ready { manifest, firmware, loader, watchdog }, note))
}

fn check_cmdline() -> Result<(), Stage1Error> {
    let read = |path: &'static str| fs::read(path).map_err(|error| cmdline::CmdlineError::Read(path, error));
    Ok(cmdline::compare(&read("/proc/cmdline")?, &read(BAKED_CMDLINE)?)?)
}

fn read_manifest() -> Result<BootManifest, Stage1Error> {
    let bytes = fs::read(Path::new("/").join(MANIFEST_PATH)).map_err(Stage1Error::Read)?;
    BootManifest::parse(&bytes).map_err(Stage1Error::Manifest)
}

/// Waits until the volumes are present; waits for events, never for a fixed time.
fn find_volumes(ready: &mut Ready) -> Result<(Devices, String), Stage1Error> {
    const LONGEST_WAIT: Duration = Duration::from_millis(500);
    let events = Uevents::open().map_err(Stage1Error::Events)?;
    let (begun, mut last_event) = (Instant::now(), Instant::now());
    let mut devices = Devices::default();
    loop {
        ready.loader.load_by_need();
        devices.observe(&mut ready.loader);
        ready.keep_alive();
        let boot_partition = ready.firmware.boot_partition;
        let ranked = candidates::rank(devices.disks(), boot_partition);
        match candidates::search(
            &ranked,
            &ready.manifest,
            boot_partition,
            begun.elapsed(),
            last_event.elapsed(),
        ) {
            Search::Succeeds => {
                let booted = boot_partition.map_or_else(
                    || "firmware reported no boot partition, as for a CD".to_owned(),
                    |uuid| format!("firmware booted from partition {uuid}"),
                );
                let note = format!("{booted}; found: {}", devices.report());
                return Ok((devices, note));
            }
            Search::Fails => {
                return Err(Stage1Error::NoVolumes { found: devices.report(), advice: driver_advice() });
            }
            Search::Continues => {}
        }
        if events.next(Some(LONGEST_WAIT)).map_err(Stage1Error::Events)?.is_some() {
            last_event = Instant::now();
            while events.next(Some(Duration::ZERO)).map_err(Stage1Error::Events)?.is_some() {}
        }
    }
}

/// Advice about disks on a controller for which this image has no driver.
fn driver_advice() -> String {
    match controllers::without_driver(Path::new("/")) {
        Ok(found) => controllers::advice(&found).map_or(String::new(), |advice| format!("; {advice}")),
        Err(error) => format!("; failed to list controllers: {error}"),
    }
}

fn open_root<'a>(
    ready: &Ready,
    mapper: &DeviceMapper,
    disks: &[&'a Disk],
) -> Result<(&'a Disk, String), Stage1Error> {
    ready.keep_alive();
    let seal = &ready.manifest.root;
    let pairs = candidates::pairs(disks, None, Volume::Root, &seal.root_hash);
    let opened = volumes::open(mapper, Volume::Root, seal, &pairs, &mounts::ROOT)?;
    Ok((opened.disk, opened.note))
}

fn open_payload(
    ready: &Ready,
    mapper: &DeviceMapper,
    disks: &[&Disk],
    root: &Disk,
) -> Result<((), String), Stage1Error> {
    ready.keep_alive();
    let seal = &ready.manifest.payload;
    let pairs = candidates::pairs(disks, Some(root), Volume::Payload, &seal.root_hash);
    let opened = volumes::open(mapper, Volume::Payload, seal, &pairs, &mounts::PAYLOAD)?;
    Ok(((), opened.note))
}

/// Opens the highest acceptable generation on the root volume's device; uses other devices only if that device has none.
fn open_configuration<'a>(
    ready: &Ready,
    mapper: &DeviceMapper,
    disks: &[&'a Disk],
    root: &Disk,
) -> Result<(Acceptable<'a>, String), Stage1Error> {
    ready.keep_alive();
    let mut ranked = disks.to_vec();
    ranked.sort_by_key(|disk| disk.name != root.name);
    let configuration::Choice { acceptable, mut refused } =
        configuration::choose(configuration::observe(&ranked, &ready.manifest.authority()));
    if acceptable.is_empty() {
        return Err(Stage1Error::NoConfiguration(listed(&refused)));
    }
    for found in acceptable {
        let statement = &found.statement;
        let pairs = candidates::pairs(&ranked, Some(found.disk), Volume::Configuration, &statement.root_hash);
        match volumes::open(mapper, Volume::Configuration, &statement.seal(), &pairs, &mounts::CONFIGURATION)
        {
            Ok(opened) => {
                let chosen = format!(
                    "cluster {}, generation {}, {}",
                    statement.cluster, statement.generation, opened.note
                );
                let note = if refused.is_empty() {
                    chosen
                } else {
                    format!("{chosen}; refused: {}", listed(&refused))
                };
                return Ok((found, note));
            }
            Err(error) => refused.push(format!("generation {}: {error}", statement.generation)),
        }
    }
    Err(Stage1Error::Unusable(listed(&refused)))
}

fn listed(refused: &[String]) -> String {
    if refused.is_empty() { "none".into() } else { refused.join("; ") }
}

/// Mounts `/var`, writes the hand-over, and switches to the root volume.
fn switch_root(
    ready: &Ready,
    root: &Disk,
    configuration: &Acceptable<'_>,
) -> Result<((), String), Stage1Error> {
    ready.keep_alive();
    mounts::VAR.mount(None)?;
    let (manifest, Acceptable { statement, bytes, .. }) = (&ready.manifest, configuration);
    let handover = Handover {
        version: handover::VERSION,
        release: manifest.release.to_string(),
        boot_device: root.name.clone(),
        boot_partuuid: ready.firmware.boot_partition.map(|uuid| uuid.to_string()),
        medium: root.medium,
        root_hash: manifest.root.root_hash.to_string(),
        payload_hash: manifest.payload.root_hash.to_string(),
        configuration_hash: statement.root_hash.to_string(),
        cluster: statement.cluster.clone(),
        cluster_id: statement.cluster_id.to_string(),
        generation: statement.generation,
        record_count: console().next() + 1, // plus the record of this step's end
        epoch: manifest.epoch,
    };
    handover_file::write(Path::new(handover::PATH), &handover)?;
    let initrd_manifest = fs::read(Path::new("/").join(MANIFEST_PATH)).map_err(Stage1Error::Read)?;
    handover_file::write_bytes(Path::new(handover::MANIFEST), &initrd_manifest)?;
    handover_file::write_bytes(Path::new(handover::STATEMENT), bytes)?;
    switch_root::enter()?;
    Ok(((), String::new()))
}

impl Ready {
    fn keep_alive(&self) {
        if let Some(watchdog) = &self.watchdog {
            drop(watchdog.keep_alive()); // it was just armed; if its device was removed, it cannot reset the machine
        }
    }
}
