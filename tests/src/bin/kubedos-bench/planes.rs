//! The cost of configuring planes on the kernel of a node: the agent's code, the same messages sent alone, and `ip -batch` with wg(8). The
//! program of `tests/planes-bench` measures them in one boot of the default example; this module builds the image and evaluates the answers.

use std::path::Path;
use std::sync::Arc;

use kubedos_builder::compose::Node;
use kubedos_builder::store::Store;
use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::lock::Lock;
use kubedos_lab::switch::{Switch, SwitchOptions};
use kubedos_lab::{Nic, Patience};
use kubedos_tests::{
    Pins, Product, Rig, answers, answers_disk, assemble, kubedos_build, project, static_program, succeeds,
};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;
use serde::{Deserialize, Serialize};

use crate::figures::{Series, Unit};
use crate::report::table;

/// The set of `tests/tools/tools.lock` with wg(8) and ip(8), and the files of it that the image gets.
const TOOLS: &str = "node";
const PROGRAMS: [&str; 2] = ["usr/bin/wg", "usr/bin/ip"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where the program looks for them.
const FOLDER: &str = "usr/lib/kubedos-planes-bench";

/// A cost as the program reports it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    wall_ms: f64,
    cpu_ms: f64,
}

/// What the agent's code needed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Agent {
    first: Cost,
    again: Vec<Cost>,
    dumps: Vec<Cost>,
    #[serde(rename = "one changed")]
    one_changed: Vec<Cost>,
    resident_kib: u32,
    most_resident_kib: u32,
}

/// What the same messages needed without the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Replay {
    all: Cost,
    changes: Cost,
    messages: u32,
    bytes: u32,
}

/// What wg(8) and ip(8) needed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tools {
    first: Cost,
    again: Cost,
    #[serde(rename = "one changed")]
    one_changed: Cost,
}

/// TCP between two nodes, in bits per second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Throughput {
    wg3: Vec<f64>,
    /// A plain WireGuard device on the same kernels.
    plain: Vec<f64>,
}

/// All samples of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planes {
    agent: Vec<Agent>,
    #[serde(rename = "agent 1")]
    agent_1: Vec<Agent>,
    #[serde(rename = "agent 10")]
    agent_10: Vec<Agent>,
    #[serde(rename = "agent 100")]
    agent_100: Vec<Agent>,
    replay: Vec<Replay>,
    /// Empty if the lock of the tools does not exist.
    #[serde(default)]
    tools: Vec<Tools>,
    /// Seconds from the start of the kernel to the end of Backplanes, and of that stage alone, by the guest's clock.
    #[serde(default)]
    up: (f64, f64),
    #[serde(default)]
    throughput: Throughput,
}

/// Boots nodes with the program, and returns what it measured.
pub fn measure(folder: &Path) -> Planes {
    let image: &'static Product = Box::leak(Box::new(image(folder)));
    let throughput = throughput(image);
    let mut planes = cost(image);
    planes.throughput = throughput;
    planes
}

/// Two nodes, each with a second network card for the plain device.
fn throughput(image: &'static Product) -> Throughput {
    let rig = Rig::of(image, "bench-throughput");
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let mut nodes = Vec::new();
    for (number, node) in ["cp-1", "w-1"].into_iter().enumerate() {
        let bench = rig.bench().sub(node).unwrap();
        let disk = answers_disk(&bench);
        let task = bench.blank("task", 1 << 20).unwrap().serial("kubedos-throughput").not_bootable();
        let card = |port: &str, network: u8| {
            let socket = switch.listen(port, bench.folder()).unwrap();
            Nic::new(socket.path, format!("52:54:00:00:{network:02x}:{:02x}", number + 1).parse().unwrap())
        };
        let hardware = rig
            .unseeded(rig.disk(&format!("{node}-disk")))
            .disk(image.seed(node))
            .disk(disk.clone())
            .disk(task)
            .network(card(node, 0))
            .network(card(&format!("{node}-plain"), 1));
        let machine = rig.boot(&hardware);
        machine.wait_for_stage(Stage::Backplanes.name(), Outcome::Done, Patience::BOOT).unwrap();
        nodes.push((machine, disk, bench));
    }
    // The node with the lower address is the client, which has the figures.
    let (client, disk, _) = &nodes[0];
    serde_json::from_value(answers(client, disk)).unwrap()
}

/// One node, which has its planes and measures others in network namespaces.
fn cost(image: &'static Product) -> Planes {
    let rig = Rig::of(image, "bench-planes");
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let socket = switch.listen("cp-1", rig.bench().folder()).unwrap();
    let disk = answers_disk(rig.bench());
    let nic = Nic::new(socket.path, "52:54:00:00:00:01".parse().unwrap());
    let hardware = rig.hardware(rig.disk("disk")).processors(2).disk(disk.clone()).network(nic);
    let machine = rig.boot(&hardware);
    let mut planes: Planes = serde_json::from_value(answers(&machine, &disk)).unwrap();
    let is_end = |record: &&Record| record.stage == Stage::Backplanes.name() && record.took_ms.is_some();
    let records = machine.console().records();
    let end = records.iter().find(is_end).expect("Backplanes did not end");
    let took = u32::try_from(end.took_ms.unwrap_or_default()).unwrap();
    planes.up = (end.t, f64::from(took) / 1000.0);
    machine.finish();
    planes
}

/// The default example with the program as a unit.
fn image(out: &Path) -> Product {
    let spec = "examples/lab.yaml";
    let (lock, cache) = (Pins::get().lock(), Pins::get().cache());
    let origin: Arc<str> = Arc::from("planes-bench");
    let file = |content: Vec<u8>| Node::file(content, &origin);
    let unit = "[Unit]\nDescription=Measures the planes\nAfter=kubedos-agent.service\n\
                [Service]\nExecStart=/usr/bin/kubedos-planes-bench\n";
    let units = "usr/lib/systemd/system";
    let program = static_program("kubedos-planes-bench");
    let mut additions = vec![
        ("usr/bin/kubedos-planes-bench".into(), file(program).with_mode(0o755)),
        (format!("{units}/kubedos-planes-bench.service"), file(unit.into())),
        (
            format!("{units}/multi-user.target.wants/kubedos-planes-bench.service"),
            Node::symlink("../kubedos-planes-bench.service", &origin),
        ),
    ];
    let tools = project().join("tests/tools/tools.lock");
    if tools.exists() {
        succeeds(kubedos_build().args(["fetch", "--set", TOOLS, "--lock"]).arg(&tools));
        let tools = Toolbox::open(cache, &Lock::read_alone(&tools).unwrap(), TOOLS).unwrap();
        let mut add = |path: &Path, name: &str| {
            let content = file(std::fs::read(path).unwrap()).with_mode(0o755);
            additions.push((format!("{FOLDER}/{name}"), content));
        };
        for program in PROGRAMS {
            let path = tools.path(program).unwrap();
            add(&path, path.file_name().unwrap().to_str().unwrap());
        }
        let libraries = tools.path(LIBRARIES).unwrap();
        add(&libraries.join(LOADER), "loader");
        for entry in std::fs::read_dir(&libraries).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("lib") && name.contains(".so") && entry.path().is_file() {
                add(&entry.path(), &name);
            }
        }
    }
    std::fs::create_dir_all(out).unwrap();
    assemble(spec, lock, cache, &Store::of(cache), additions, out);
    succeeds(kubedos_build().args(["seed", "--all", "--spec"]).arg(spec).arg("--out").arg(out));
    Product::open(out)
}

/// All samples of a step that each process measures several times.
fn every(of: &[Agent], step: impl Fn(&Agent) -> &[Cost], get: impl Fn(Cost) -> f64) -> Series {
    Series::of(of.iter().flat_map(|one| step(one).iter().map(|cost| get(*cost)).collect::<Vec<_>>()))
}

fn series<T>(of: &[T], get: impl Fn(&T) -> f64) -> Series {
    Series::of(of.iter().map(get))
}

/// A time in milliseconds with its range.
fn shown(series: &Series) -> String {
    series.show(Unit::Milliseconds)
}

/// The tables of the page, and whether the aims are met.
pub fn tables(planes: &Planes) -> String {
    let Planes { agent, replay, tools, .. } = planes;
    let wall = |cost: Cost| cost.wall_ms;
    let processor = |cost: Cost| cost.cpu_ms;
    let mut rows = Vec::new();
    for (what, of) in [("", wall as fn(Cost) -> f64), (", processor time", processor)] {
        let tool = |get: fn(&Tools) -> Cost| {
            if tools.is_empty() { "not measured".into() } else { shown(&series(tools, |one| of(get(one)))) }
        };
        rows.extend([
            vec![
                format!("applied to nothing{what}"),
                shown(&series(agent, |one| of(one.first))),
                shown(&series(replay, |one| of(one.all))),
                tool(|one| one.first),
            ],
            vec![
                format!("applied again{what}"),
                shown(&every(agent, |one| &one.again, of)),
                shown(&every(agent, |one| &one.dumps, of)),
                tool(|one| one.again),
            ],
            vec![
                format!("one peer changed{what}"),
                shown(&every(agent, |one| &one.one_changed, of)),
                String::new(),
                tool(|one| one.one_changed),
            ],
        ]);
    }
    let head = ["Planes: 3 with 1,000 peers each", "kubedOS", "the kernel alone", "ip -batch and wg"];
    let mut text = table(&head, &rows);
    let sizes = [("3 × 10", &planes.agent_10), ("3 × 100", &planes.agent_100), ("3 × 1,000", agent)];
    let rows: Vec<Vec<String>> = sizes
        .iter()
        .map(|(name, of)| {
            let costs = [processor, wall].map(|get| shown(&every(of, |one| &one.one_changed, get)));
            [vec![(*name).to_owned()], costs.to_vec()].concat()
        })
        .collect();
    text += &table(&["One peer changed", "processor time", "time"], &rows);
    let over = |of: fn(Cost) -> f64| {
        let (ours, alone) = (series(agent, |one| of(one.first)), series(replay, |one| of(one.all)));
        (ours.median() / alone.median() - 1.0) * 100.0
    };
    let above = |of: fn(Cost) -> f64| {
        every(agent, |one| &one.again, of).median() - every(agent, |one| &one.dumps, of).median()
    };
    let memory = |of: &[Agent]| series(of, |one| f64::from(one.most_resident_kib) * 1024.0);
    let (few, many) = (memory(&planes.agent_1), memory(agent));
    let met = |is_met: bool| if is_met { "met" } else { "missed" };
    let (wall_over, processor_over) = (over(wall), over(processor));
    text += &format!(
        "- first apply above the kernel alone: {wall_over:.1} % of the time, {processor_over:.1} % of the processor time (aim for the processor time ≤ 10 %: {})\n",
        met(processor_over <= 10.0),
    );
    text += &format!(
        "- applied again above reading the kernel: {:.1} ms, {:.1} ms of processor time (aim ≤ 10 ms: {})\n",
        above(wall),
        above(processor),
        met(above(wall) <= 10.0 && above(processor) <= 10.0)
    );
    text += &format!(
        "- memory of the measuring process, its maximum: {} with 3 peers (aim ≤ 12 MiB: {}), {} with 3,000 (aim ≤ 24 MiB: {})\n",
        few.show(Unit::Bytes),
        met(few.median() <= f64::from(12 << 20)),
        many.show(Unit::Bytes),
        met(many.median() <= f64::from(24 << 20)),
    );
    if let Some(Replay { messages, bytes, .. }) = replay.first() {
        text +=
            &format!("- messages of the first apply: {messages}, {}\n", Unit::Bytes.show(f64::from(*bytes)));
    }
    let Throughput { wg3, plain } = &planes.throughput;
    if !wg3.is_empty() {
        let [wg3, plain] = [wg3, plain].map(|samples| Series::of(samples.iter().copied()));
        text += &format!(
            "- TCP between two nodes: {} over wg3, {} over plain WireGuard (wg3 has {:.0} % of it)\n",
            wg3.show(Unit::Rate),
            plain.show(Unit::Rate),
            wg3.median() / plain.median() * 100.0,
        );
    }
    let (up, stage) = planes.up;
    text += &format!("- kernel start → planes up: {up:.2} s, of which Backplanes took {stage:.2} s\n\n");
    text
}
