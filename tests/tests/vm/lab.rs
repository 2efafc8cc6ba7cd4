//! `kubedos-build lab` as a user runs it: the default example comes up, its state and consoles can be read, and nothing is left running.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use kubedos_tests::{Pins, Rig, kubedos_build};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A lab in the folder of the test. It is ended when the test fails.
struct UsersLab {
    folder: PathBuf,
    _rig: Rig,
}

impl UsersLab {
    fn new(test: &str) -> Self {
        let rig = Rig::new(test);
        rig.take_place();
        Self { folder: rig.bench().path("lab"), _rig: rig }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = kubedos_build();
        // Ctrl-C in a terminal goes to the group of a command; the lab must not depend on the group.
        command.arg("lab").args(arguments).arg("--folder").arg(&self.folder).process_group(0);
        command.stdin(std::process::Stdio::null()).output().unwrap()
    }

    /// Runs a command that succeeds; returns its output.
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that fails; returns what it printed to stderr.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn up(&self, more: &[&str]) -> Vec<Value> {
        let lock = Pins::get().lock_file().to_str().unwrap();
        let arguments = [&["up", "--spec", "examples/lab.yaml", "--lock", lock], more].concat();
        documents(&self.succeeds(&arguments))
    }

    /// The id of the lab's process.
    fn process(&self) -> i32 {
        let record = std::fs::read(self.folder.join("run/process.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        i32::try_from(record["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for UsersLab {
    fn drop(&mut self) {
        drop(self.run(&["down", "--limit", "0"]));
    }
}

/// The documents that a command printed, one per line.
fn documents(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The processes whose command line contains this text.
fn processes_of(text: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mentions = |pid: &i32| {
        let line =
            std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    pids.filter(mentions).collect()
}

fn last<'a>(states: &'a [Value], node: &str) -> &'a Value {
    states.iter().rfind(|state| state["node"] == node).unwrap()
}

/// Faults from the command line: `status` shows them, the frames of the nodes show them, and bad values change nothing.
fn disturb(lab: &UsersLab) {
    let faults = || -> Vec<Value> {
        documents(&lab.succeeds(&["status"])).into_iter().map(|state| state["faults"].clone()).collect()
    };
    let none = [serde_json::json!([]), serde_json::json!([])];
    assert_eq!(faults(), none);
    for (arguments, message) in [
        (&["fault", "loss", "20", "w-9"][..], "no node w-9"),
        (&["fault", "loss", "101"], "0 to 100"),
        (&["fault", "loss", "-1"], "unexpected argument"),
        (&["fault", "delay", "60001"], "60000"),
        (&["fault", "delay", "10", "--jitter", "11"], "jitter is more than the delay"),
        (&["fault", "reorder", "10", "--distance", "0"], "1..=1000"),
        (&["fault", "partition"], "NODE"),
        (&["fault", "partition", "cp-1", "w-1"], "nodes on both sides"),
    ] {
        let output = lab.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code != 0), "{arguments:?}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
        assert_eq!(faults(), none, "{arguments:?}");
    }
    lab.succeeds(&["fault", "loss", "20"]);
    lab.succeeds(&["fault", "delay", "200", "--jitter", "50", "w-1"]);
    lab.succeeds(&["fault", "partition", "w-1"]);
    let expected = |other: &str| {
        serde_json::json!([
            format!("partition from {other}"),
            format!("20 % loss, 150 to 250 ms delay with {other}")
        ])
    };
    assert_eq!(faults(), [expected("w-1"), expected("cp-1")]);
    // The nodes send keepalives, and none arrives.
    let frames = |of: &str| -> u64 {
        let states = documents(&lab.succeeds(&["status"]));
        states.iter().map(|state| state["port"][of].as_u64().unwrap()).sum()
    };
    std::thread::sleep(Duration::from_secs(1)); // frames that are in the queues
    let (sent, arrived, begun) = (frames("received_frames"), frames("sent_frames"), Instant::now());
    while frames("received_frames") == sent {
        assert!(begun.elapsed() < Duration::from_secs(90), "the nodes send nothing");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(frames("sent_frames"), arrived, "a frame crossed the partition");
    lab.succeeds(&["fault", "heal"]);
    assert_eq!(faults(), none);
}

/// D3: one command ends with both nodes at the last stage of this version; another one ends everything and keeps the disks.
#[test]
fn one_command_brings_the_example_up_and_another_one_ends_it() {
    let lab = UsersLab::new("one_command_brings_the_example_up_and_another_one_ends_it");
    let states = lab.up(&[]);
    for (node, address) in [("cp-1", "10.101.0.1"), ("w-1", "10.101.0.2")] {
        let state = last(&states, node);
        assert_eq!(
            (&state["phase"], &state["stage"], &state["outcome"]),
            (&"ready".into(), &"Backplanes".into(), &"done".into()),
            "{state}"
        );
        assert!(state["planes"]["note"].as_str().unwrap().contains(address), "{state}");
    }
    let booting = |node: &str, phase: &str| {
        states.iter().position(|state| state["node"] == node && state["phase"] == phase).unwrap()
    };
    assert!(booting("cp-1", "ready") < booting("w-1", "booting"), "the nodes start one after another");

    let status = documents(&lab.succeeds(&["status"]));
    let nodes: Vec<_> = status.iter().map(|state| state["node"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["cp-1", "w-1"]);
    for state in &status {
        assert_eq!(state["machine"], "running");
        assert!(state["port"]["received_frames"].as_u64().unwrap() > 0, "{state}");
    }
    disturb(&lab);
    assert!(lab.fails(&["up"]).contains("runs already"));
    let console = lab.succeeds(&["console", "cp-1"]);
    assert!(
        console.lines().any(|line| line.contains(r#""stage":"Backplanes","outcome":"done""#)),
        "{console}"
    );
    assert!(!console.contains('\u{1b}'), "a guest controls the terminal");

    let folder = lab.folder.to_str().unwrap();
    // The process of the lab and two machines, possibly with the processes that guard them.
    assert!(processes_of(folder).len() >= 3);
    lab.succeeds(&["down"]);
    assert_eq!(processes_of(folder), [0; 0], "something is left running");
    assert!(!lab.folder.join("run").exists());
    assert!(lab.fails(&["status"]).contains("no lab runs"));

    // The node finds its disks again, and the lab is killed, as by a crash of the host.
    lab.up(&["--node", "w-1"]);
    let console = lab.succeeds(&["console", "w-1"]);
    assert!(console.contains(r#""stage":"Disks","outcome":"unchanged""#), "{console}");
    kill_process(Pid::from_raw(lab.process()).unwrap(), Signal::KILL).unwrap();
    let begun = Instant::now();
    while !processes_of(folder).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?} continue without their lab",
            processes_of(folder)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(lab.fails(&["status"]).contains("no lab runs"));
    lab.succeeds(&["down", "--destroy"]);
    assert!(!lab.folder.exists());
}
