//! `lab up`: builds the image, mints the seeds, prepares the disks, starts the process of the lab, and waits for the nodes.
//!
//! The folder is locked until the process runs. An interruption before that leaves no process; an interruption after it leaves a lab that
//! `lab down` ends.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use kubedos_builder::keys::KeyDir;
use kubedos_builder::output::OutputDir;
use kubedos_builder::seed::{self, Mint, Protection};
use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::lock::Lock;
use kubedos_lab::Tools;
use kubedos_spec::plan::ClusterPlan;
use kubedos_wire::release::Release;
use kubedos_wire::statement::Floors;

use super::Where;
use super::disks::{LabImage, NEW_NODE_BYTES, new_nodes};
use super::error::LabError;
use super::folder::{Folder, FolderLock, Recorded};
use super::follow::{Follower, lab_continues};
use super::machines::{DOCUMENT, Machines};
use super::protocol::{self, LabStatus, Phase};
use super::serve::READY;
use crate::image::Image;
use crate::inputs::{Inputs, fetch_failure};
use crate::progress::Console;
use crate::terminal::say;
use crate::validate::{check_for, load_quietly};

/// The time between two looks at the lab.
const LOOK: Duration = Duration::from_millis(500);

/// Build the image, and start the nodes one after another; ends when all are ready
#[derive(Debug, Args)]
pub struct Up {
    /// The ClusterSpec
    #[arg(long, value_name = "FILE", default_value = "examples/lab.yaml")]
    spec: PathBuf,

    #[command(flatten)]
    at: Where,

    /// Key directory [default: keys/<cluster>, or keys/demo for the examples]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// Start only these nodes [default: all nodes of the spec]
    #[arg(long = "node", value_name = "NAME")]
    nodes: Vec<String>,

    /// The memory of each machine in MiB [default: the one in the spec, or 1024]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(512..=1_048_576))]
    memory: Option<u32>,

    /// Stop waiting after this time; the lab continues
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    limit: u64,

    /// Print one JSON document per line for each change of a node, also on a terminal
    #[arg(long)]
    json: bool,

    /// The cargo target directory for the programs of init/
    #[arg(long, value_name = "DIR", default_value = "target/init")]
    init_target: PathBuf,

    #[command(flatten)]
    inputs: Inputs,
}

impl Up {
    /// Runs the command. Fails if a node is not ready at the end.
    pub fn run(&self) -> Result<(), Failure> {
        let spec = load_quietly(&self.spec)?;
        let plan = crate::plan::plan(&spec)?;
        let cluster = plan.spec().metadata.name.to_string();
        let keys = KeyDir::locate(self.keys.as_deref(), &self.spec, &cluster);
        let keys = KeyDir::open_for(&keys, &self.spec, &cluster)?;
        check_for(&spec, &keys)?;
        // The names of nodes are checked before anything is created.
        let folder = Folder::create(&self.at.folder)?;
        let mut machines = Machines::of(&plan, &self.nodes, self.memory, &folder)?;
        let lock = folder.lock()?;
        check_process(&folder)?;
        machines.tools = self.prepare(&plan, &keys, &folder, &machines)?;
        folder.write(DOCUMENT, &machines)?;
        let child = start(&folder, lock)?;
        lab_continues();
        self.wait(&folder, child)
    }

    /// Builds and fetches everything that the machines need; returns the folder of the emulator.
    fn prepare(
        &self,
        plan: &ClusterPlan,
        keys: &KeyDir,
        folder: &Folder,
        machines: &Machines,
    ) -> Result<PathBuf, Failure> {
        let out = folder.path("image");
        let image = Image::of_lab(&self.spec, &out, self.keys.as_deref(), &self.inputs, &self.init_target);
        image.run()?;
        let tools = self.tools()?;
        let seeds = OutputDir::lock(&folder.path("seeds"))?;
        let room = vec![(NEW_NODE_BYTES, NEW_NODE_BYTES); new_nodes(&machines.nodes)];
        seeds.reserve(&room)?;
        let metadata = &plan.spec().metadata;
        let floors = Floors { generation: metadata.generation, release: Release::this() };
        let raw = format!("{}-{}.raw", metadata.name, metadata.artifact_version);
        let image = LabImage::open(&out, &raw)?;
        for node in &machines.nodes {
            let name = node.name.as_str();
            let incarnation =
                plan.node(name).and_then(|node| plan.node_spec(node)).map_or(1, |spec| spec.incarnation);
            let wanted = Mint { cluster: &machines.cluster, node: name, incarnation, floors: floors.clone() };
            seed::write(&seed::mint(keys, &wanted)?, &seeds, &format!("{name}.img"), Protection::Owner)?;
            image.prepare(node)?;
        }
        Ok(tools)
    }

    /// Fetches and unpacks the emulator, and checks that its programs and firmware are complete.
    fn tools(&self) -> Result<PathBuf, Failure> {
        let lock = Lock::read_alone(&self.inputs.lock)?;
        let cache = self.inputs.open_cache()?;
        let mirrors = self.inputs.find_mirrors();
        let sources = lock.sources(&["tools".to_owned()])?;
        self.inputs.fetcher(&cache, &mirrors).fetch(&sources, &Console::new()).map_err(fetch_failure)?;
        let toolbox = Toolbox::open(&cache, &lock, "tools")?;
        let tools = Tools::new(toolbox.root()).map_err(LabError::from)?;
        for file in
            ["usr/bin/qemu-system-x86_64", "usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"]
        {
            tools.file(file).map_err(LabError::from)?;
        }
        let root = toolbox.root();
        root.canonicalize().map_err(|error| Failure::new(Class::Failed, error))
    }

    /// Shows the nodes until all are settled.
    fn wait(&self, folder: &Folder, mut child: Child) -> Result<(), Failure> {
        let (run, start) = (folder.run_folder()?, Instant::now());
        let mut follower = Follower::new(folder.shown(), self.json);
        loop {
            let status = match protocol::status(&run) {
                Ok(status) => status,
                Err(_) if !matches!(child.try_wait(), Ok(None)) => {
                    return Err(LabError::Ended { message: folder.last_message() }.into());
                }
                Err(error) => return Err(error.into()),
            };
            follower.update(&status)?;
            if status.nodes.iter().all(|node| node.phase.is_settled()) {
                return verdict(&status);
            }
            if status.stopping {
                return Err(LabError::NotReady("another command powers the nodes off".into()).into());
            }
            if start.elapsed() >= Duration::from_secs(self.limit) {
                let message = format!("not all nodes are ready after {} s", self.limit);
                return Err(LabError::NotReady(message).into());
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Fails if a lab runs, and removes the remains of one that did not end by itself.
fn check_process(folder: &Folder) -> Result<(), Failure> {
    match folder.process()? {
        Recorded::Running(_) => {
            return Err(LabError::RunsAlready { folder: folder.shown().to_owned() }.into());
        }
        Recorded::Stale => say!("the previous lab did not end by itself"),
        Recorded::Nothing => {}
    }
    Ok(folder.clean()?)
}

/// Starts the process of the lab and waits until it can be controlled. The lock ends with this function.
fn start(folder: &Folder, _lock: FolderLock) -> Result<Child, LabError> {
    let path = folder.path("log");
    let log = File::options().create(true).write(true).truncate(true).mode(0o600).open(&path);
    let log = log.map_err(LabError::file("create", &path))?;
    let program = std::env::current_exe().map_err(LabError::file("find", "/proc/self/exe"))?;
    let mut command = Command::new(&program);
    command.args(["lab", "serve", "--folder"]).arg(folder.root()).current_dir(folder.root());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().map_err(LabError::file("start", program))?;
    let mut line = String::new();
    let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
    if matches!(read, Some(Ok(_))) && line.trim_end() == READY {
        return Ok(child);
    }
    // It has closed its output, so it ends.
    child.wait().map_err(LabError::file("wait for", folder.root()))?;
    folder.clean()?;
    Err(LabError::Start { message: folder.last_message() })
}

/// Fails if a node is not ready, and names the nodes.
fn verdict(status: &LabStatus) -> Result<(), Failure> {
    let nodes = status.nodes.iter().filter(|node| node.phase != Phase::Ready);
    let failed: Vec<String> = nodes
        .map(|node| {
            let (name, cause) = (&node.node, node.error.as_deref().unwrap_or("no cause is known"));
            match node.phase {
                Phase::Halted => format!("{name} halted: {cause}"),
                Phase::Failed => format!("{name} failed: {cause}"),
                Phase::Off => format!("{name} has powered off"),
                Phase::Waiting => {
                    format!("{name} waits for {}", node.on.as_deref().unwrap_or("an unknown cause"))
                }
                Phase::Queued | Phase::Booting | Phase::Ready => format!("{name} is not ready"),
            }
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(LabError::NotReady(failed.join("\n")).into()) }
}
