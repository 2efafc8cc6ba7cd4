//! The table of `lab status`: goldens at 80 columns, and hostile text of a node.

use super::*;
use crate::lab::protocol::{Planes, PortTraffic};
use std::path::PathBuf;

fn node(name: &str, phase: Phase) -> NodeStatus {
    NodeStatus {
        version: 1,
        node: name.into(),
        role: if name.starts_with("cp") { "control-plane" } else { "worker" }.into(),
        address: Some("192.168.77.11".into()),
        mac: "02:00:00:00:00:01".into(),
        phase,
        machine: None,
        stage: None,
        outcome: None,
        on: None,
        error: None,
        corrupt: None,
        up_s: None,
        planes: None,
        faults: vec![],
        port: PortTraffic::default(),
        console: PathBuf::from("/console.log"),
    }
}

fn running(name: &str, phase: Phase, stage: &str, outcome: Outcome, up_s: u64) -> NodeStatus {
    NodeStatus {
        machine: Some("running".into()),
        stage: Some(stage.into()),
        outcome: Some(outcome),
        up_s: Some(up_s),
        port: PortTraffic { attached: true, ..PortTraffic::default() },
        ..node(name, phase)
    }
}

fn planes(outcome: Outcome, note: &str) -> Planes {
    Planes { outcome, on: None, note: Some(note.into()) }
}

fn lab(nodes: Vec<NodeStatus>) -> LabStatus {
    LabStatus { up_s: 192, stopping: false, nodes }
}

fn shown(nodes: Vec<NodeStatus>) -> String {
    render(&lab(nodes), "target/lab", 80, false)
}

/// The faults of a node are below its row, also before the node runs.
#[test]
fn faults_are_shown() {
    let faults = vec!["partition from cp-1".to_owned(), "20 % loss with all nodes".to_owned()];
    let text = shown(vec![NodeStatus { faults, ..node("w-1", Phase::Queued) }]);
    let expected = "  fault     partition from cp-1\n  fault     20 % loss with all nodes\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_booting_lab() {
    let first = running("cp-1", Phase::Booting, "FindVolumes", Outcome::Started, 9);
    assert_eq!(
        shown(vec![first, node("w-1", Phase::Queued)]),
        "lab target/lab runs since 3m12s: 0 of 2 nodes ready\n\
         \n\
         NODE  ROLE     ADDRESS        STAGE        STATE    UP  PLANES\n\
         cp-1  control  192.168.77.11  FindVolumes  started  9s  -\n\
         \x20 frames    0 from the node (0 B), 0 to it (0 B)\n\
         w-1   worker   192.168.77.11  -            queued   -   -\n"
    );
}

#[test]
fn a_lab_with_a_healthy_node_and_one_that_waits() {
    let mut first = running("cp-1", Phase::Ready, "Backplanes", Outcome::Unchanged, 72);
    first.planes = Some(planes(
        Outcome::Unchanged,
        "14 rules in force, wg1 10.101.0.1 (1 peer), wg2 10.102.0.1 (1 peer), wg3 10.103.0.1 (1 peer)",
    ));
    first.port = PortTraffic {
        attached: true,
        received_frames: 120,
        received_bytes: 9523,
        sent_frames: 80,
        sent_bytes: 6246,
    };
    let mut second = running("w-1", Phase::Waiting, "Backplanes", Outcome::Waiting, 3725);
    second.on = Some("roster".into());
    second.planes = Some(planes(Outcome::Waiting, "14 rules in force, no planes"));
    assert_eq!(
        shown(vec![first, second]),
        "lab target/lab runs since 3m12s: 1 of 2 nodes ready\n\
         \n\
         NODE  ROLE     ADDRESS        STAGE       STATE      UP     PLANES\n\
         cp-1  control  192.168.77.11  Backplanes  unchanged  1m12s  up\n\
         \x20 planes    14 rules in force, wg1 10.101.0.1 (1 peer), wg2 10.102.0.1 (1 peer),\n\
         \x20           wg3 10.103.0.1 (1 peer)\n\
         \x20 frames    120 from the node (9.3 KiB), 80 to it (6.1 KiB)\n\
         w-1   worker   192.168.77.11  Backplanes  waiting    1h02m  waiting\n\
         \x20 waits on  roster\n\
         \x20 planes    14 rules in force, no planes\n\
         \x20 frames    0 from the node (0 B), 0 to it (0 B)\n"
    );
}

#[test]
fn a_halted_node_shows_its_cause() {
    let mut first = node("cp-1", Phase::Halted);
    (first.stage, first.error) = (
        Some("OpenRoot".into()),
        Some(
            "root: no partition has the root hash of the boot manifest; vda has no GPT, vdb has no GPT"
                .into(),
        ),
    );
    let mut second = running("w-1", Phase::Booting, "ValidateShard", Outcome::Waiting, 20);
    second.on = Some("seed".into());
    assert_eq!(
        shown(vec![first, second]),
        "lab target/lab runs since 3m12s: 0 of 2 nodes ready\n\
         \n\
         NODE  ROLE     ADDRESS        STAGE          STATE    UP   PLANES\n\
         cp-1  control  192.168.77.11  OpenRoot       halted   -    -\n\
         \x20 cause     root: no partition has the root hash of the boot manifest; vda has\n\
         \x20           no GPT, vdb has no GPT\n\
         w-1   worker   192.168.77.11  ValidateShard  waiting  20s  -\n\
         \x20 waits on  seed\n\
         \x20 frames    0 from the node (0 B), 0 to it (0 B)\n"
    );
}

/// A guest prints records that should clear the screen and add a row for another node.
#[test]
fn a_hostile_guest_stays_in_its_cells() {
    let mut first = running("cp-1", Phase::Booting, "\u{1b}[2J\nw-1  worker", Outcome::Retry, 1);
    first.error = Some(format!("\u{202e}x\u{9b}2K\r日本{}", "y".repeat(2000)));
    first.on = Some("a\nw-1   worker   ready".into());
    let text = shown(vec![first]);
    assert_eq!(
        text,
        format!(
            "lab target/lab runs since 3m12s: 0 of 1 nodes ready\n\
             \n\
             NODE  ROLE     ADDRESS        STAGE            STATE  UP  PLANES\n\
             cp-1  control  192.168.77.11  \\u{{1b}}[2J\\nw-1…  retry  1s  -\n\
             \x20 waits on  a\\nw-1   worker   ready\n\
             \x20 error     \\u{{202e}}x\\u{{9b}}2K\\r\\u{{65e5}}\\u{{672c}}{}\n\
             \x20           {}\n\
             \x20           {}…\n\
             \x20 frames    0 from the node (0 B), 0 to it (0 B)\n",
            "y".repeat(33),
            "y".repeat(68),
            "y".repeat(67)
        )
    );
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut first =
        running("a-node-with-a-very-long-name", Phase::Ready, &"é".repeat(500), Outcome::Unchanged, u64::MAX);
    first.address = Some("2001:db8:1234:5678:9abc:def0:1234:5678".into());
    first.error = Some("x".repeat(900));
    first.planes = Some(planes(Outcome::Unchanged, &"é".repeat(900)));
    for width in 0..120 {
        let text = render(&lab(vec![first.clone()]), &"f/".repeat(100), width, false);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.clamp(20, WIDTH), "{width}: {text}");
    }
}

#[test]
fn only_the_state_has_a_colour() {
    let text = render(&lab(vec![node("cp-1", Phase::Halted)]), "l", 80, true);
    assert!(text.contains("\x1b[1;31mhalted\x1b[0m"), "{text}");
    assert_eq!(text.matches('\x1b').count(), 2);
}
