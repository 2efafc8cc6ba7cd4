//! Tests of the text of the status page.

use super::*;
use crate::board::{Board, DiskLine};
use crate::stages::backplanes::conflicts::memory::Conflict;
use crate::stages::backplanes::planes::PlaneState;
use kubedos_wire::handover::Handover;
use kubedos_wire::printable;
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

/// Compares with `golden/NAME.txt`. With `BLESS=1` it writes the file instead, to be read and committed.
fn golden(name: &str, page: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/status_page/golden")
        .join(name)
        .with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
}

fn board() -> Board {
    let board = Board::default();
    board.note(|facts| {
        facts.handover = Some(Handover {
            root_hash: "9f31c2a4b5d6".repeat(5),
            payload_hash: "77aa00bb11cc".repeat(5),
            configuration_hash: "a1b2c3d4e5f6".repeat(5),
            cluster_id: "3f2a91c40b7e".repeat(5),
            record_count: 12,
            ..kubedos_wire::sample::handover()
        });
        facts.node = Some("cp-1".into());
        facts.role = Some("control-plane".into());
        facts.incarnation = Some(1);
        facts.floors = Some("generation 3, release 0.1.0 (seed)".into());
        facts.demo_keys = true;
        facts.clock = Some("+3 ms +/- 21 ms, 2/3 agree".into());
        facts.fingerprint = Some("5d".repeat(32));
        facts.disks = vec![
            DiskLine { name: "system".into(), text: "vda, 64.0 GiB, serial lab-cp-1, 26 partitions".into() },
            DiskLine { name: "state".into(), text: "vda25, 1.0 GiB, LUKS2 ext4, 1 % used".into() },
            DiskLine { name: "data".into(), text: "vda26, 55.5 GiB, LUKS2 ext4, 0 % used".into() },
        ];
    });
    let at = |tenths: u64| Duration::from_millis(tenths * 100);
    board.set_stage(
        Stage::ValidateShard,
        Outcome::Unchanged,
        at(92),
        Some(Duration::from_millis(14)),
        "seed on vda2",
    );
    board.set_stage(Stage::Disks, Outcome::Done, at(148), Some(Duration::from_millis(5612)), "vda adopted");
    board.set_stage(Stage::Baseline, Outcome::Done, at(151), Some(Duration::from_millis(40)), "");
    let backplanes =
        "63 rules in force, wg1 10.101.0.1 (2 peers), wg2 10.102.0.1 (2 peers), wg3 10.103.0.1 (2 peers)";
    board.set_stage(Stage::Backplanes, Outcome::Done, at(162), Some(Duration::from_millis(1100)), backplanes);
    for stage in Stage::ALL.into_iter().skip(4) {
        board.set_stage(stage, Outcome::Waiting, at(151), None, "not in this version");
    }
    board
}

fn moment() -> Moment {
    Moment {
        uptime: Duration::from_secs(75),
        clock: 1_795_425_012,
        failed_units: Some(Ok(vec![])),
        planes: Ok(vec![
            plane("wg1", [10, 101, 0, 1], &[], 12_345_678),
            plane("wg2", [10, 102, 0, 1], &["w-1"], 4_000),
            plane("wg3", [10, 103, 0, 1], &[], 0),
        ]),
        drops: Ok(vec![("input.underlay.rest".into(), 1204), ("input.plane.wg1.source".into(), 3)]),
    }
}

fn plane(id: &str, address: [u8; 4], silent: &[&str], received: u64) -> PlaneState {
    PlaneState {
        id: id.parse().unwrap(),
        address: address.into(),
        nodes: 2,
        silent: silent.iter().map(ToString::to_string).collect(),
        received,
        sent: received / 2,
    }
}

/// D1: the page of a healthy node fits a terminal of 80 by 24.
#[test]
fn a_healthy_node_fits_80_by_24() {
    let page = render(&board().facts(), &moment());
    golden("healthy", &page);
    assert!(page.lines().count() <= 24, "{} lines", page.lines().count());
    assert!(page.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn the_page_of_a_failed_node_shows_its_errors() {
    let board = board();
    board.set_stage(Stage::Disks, Outcome::Halted, Duration::from_secs(15), None, "disk vdb is not empty");
    board.add_error(
        Duration::from_secs(15),
        "Disks",
        "disk vdb (serial \u{1b}[2JX) contains a GPT with 2 partitions (`swap`, `home`); it was not changed, because \
         allowDestroy does not name it"
            .into(),
    );
    board.note(|facts| {
        facts.corrupt.push("payload".into());
        facts.conflicts.push(Conflict {
            address: "192.168.77.11".parse().unwrap(),
            device: "enp0s3".into(),
            mac: "52:54:00:00:00:63".parse().unwrap(),
        });
    });
    let moment = Moment {
        failed_units: Some(Ok(vec![
            "systemd-networkd.service".into(),
            "systemd-tmpfiles-setup.service".into(),
        ])),
        ..moment()
    };
    let page = render(&board.facts(), &moment);
    golden("trouble", &page);
    assert!(page.lines().all(|line| line.chars().count() <= 80));
}

/// O1: without a usable disk the page describes every disk in full, with the reason why it was not chosen, for any number
/// of disks.
#[test]
fn a_node_without_a_disk_lists_every_disk() {
    let board = board();
    let line = |number: u32| DiskLine {
        name: format!("sd{number}"),
        text: format!(
            "serial is \"S{number}\"; sd{number} 20.0 GiB model \"ACME {number}\" serial \"S{number}\" wwn \
             \"naa.600140512345678990abcdef0123{number:04}\" path \"pci-0000:00:17.0-ata-{number}\""
        ),
    };
    board.note(|facts| {
        facts.disks =
            vec![DiskLine { name: "disks".into(), text: "none: STATE and DATA are in memory".into() }];
        facts.attached = (0..60).map(line).collect();
    });
    let page = render(&board.facts(), &moment());
    assert!(page.lines().all(|line| line.chars().count() <= 80));
    let joined = page.replace("\n          ", "");
    for number in 0..60 {
        assert!(joined.contains(&format!("path \"pci-0000:00:17.0-ata-{number}\"")), "{page}");
    }
    board.note(|facts| {
        facts.disks = vec![DiskLine { name: "system".into(), text: "vda".into() }];
        facts.attached.truncate(3);
        facts.attached[0].text = "chosen; sd0 20.0 GiB".into();
        facts.attached[2].text = "has the seed; sd2 1.0 MiB".into();
    });
    let page = render(&board.facts(), &moment());
    assert!(
        !page.contains("sd0") && page.contains("not used  sd1: serial is \"S1\"; sd1 20.0 GiB"),
        "{page}"
    );
    assert!(page.contains("\nseed      sd2; sd2 1.0 MiB\n"), "{page}");
}

#[test]
fn the_page_of_an_early_boot_shows_missing_facts_as_unknown() {
    let page = render(
        &Board::default().facts(),
        &Moment {
            uptime: Duration::ZERO,
            clock: 0,
            failed_units: None,
            planes: Ok(vec![]),
            drops: Ok(vec![]),
        },
    );
    golden("early", &page);
}

/// The rule with the most packets is shown whatever its length, and the number of rules that do not fit.
#[test]
fn the_page_has_one_line_for_dropped_packets() {
    let line = |drops: Vec<(String, u64)>| {
        let page = render(&board().facts(), &Moment { drops: Ok(drops), ..moment() });
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("dropped")).collect();
        assert!(lines.len() <= 1, "{page}");
        lines.first().map(ToString::to_string)
    };
    assert_eq!(line(vec![]), None);
    let many =
        |count: u64| (0..count).map(|rule| (format!("input.allow.{rule}.tcp"), u64::MAX - rule)).collect();
    assert_eq!(line(many(1)).unwrap(), "dropped   18446744073709551615 input.allow.0.tcp");
    let text = line(many(60)).unwrap();
    assert_eq!(text, "dropped   18446744073709551615 input.allow.0.tcp, 59 more rules");
    assert!(line(vec![("x".repeat(300), 1), ("y".into(), 1)]).unwrap().starts_with("dropped   1 xxx"));
}

#[test]
fn text_from_disks_cannot_control_a_terminal() {
    assert_eq!(shown("a\u{1b}[2Jb\r\nc\u{9b}d", 80), r"a\u{1b}[2Jb\r\nc\u{9b}d");
    assert_eq!(shown("abcdef", 4), "ab..");
    let record = r#"kubedos: {"v":1,"n":9,"t":1,"stage":"Seal","outcome":"done"}"#;
    let hostile = &*format!("{record}\u{1b}[2K\rok\n\u{9b}1A\u{202e}\u{200b}");
    let board = board();
    board.set_stage(Stage::Disks, Outcome::Halted, Duration::from_secs(15), None, hostile);
    board.add_error(Duration::from_secs(15), "Disks", hostile.repeat(50));
    board.note(|facts| {
        facts.node = Some(hostile.into());
        facts.disks.push(DiskLine { name: hostile.into(), text: hostile.into() });
        facts.corrupt.push(hostile.into());
    });
    for failed_units in [Ok(vec![hostile.into()]), Err(hostile.into())] {
        let page = render(&board.facts(), &Moment { failed_units: Some(failed_units), ..moment() });
        assert!(page.chars().all(|c| c == '\n' || printable::is_printable(c)), "{page:?}");
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        assert!(page.lines().all(|line| !line.starts_with("ok") && Record::find(line).is_none()), "{page}");
    }
}

#[test]
fn the_calendar_includes_leap_years() {
    for (seconds, text) in [
        (0, "1970-01-01 00:00:00"),
        (951_782_399, "2000-02-28 23:59:59"),
        (951_782_400, "2000-02-29 00:00:00"),
        (951_868_800, "2000-03-01 00:00:00"),
        (1_795_425_012, "2026-11-23 09:10:12"),
        (4_107_542_400, "2100-03-01 00:00:00"),
    ] {
        assert_eq!(calendar(seconds), text);
    }
}

/// O1: the page of a node without a disk has the whole cause, in lines that break at spaces.
#[test]
fn the_page_has_the_whole_cause_of_a_waiting_stage() {
    let board = board();
    let cause =
        "disk: disk vda (8.0 GiB) is smaller than the 14 GiB that the spec declares for the disk system";
    board.set_stage(
        Stage::Disks,
        Outcome::Waiting,
        Duration::from_secs(6),
        Some(Duration::from_millis(98)),
        cause,
    );
    let page = render(&board.facts(), &moment());
    let start = page.find("waits on").unwrap();
    let lines: Vec<&str> = page[start..].lines().take(2).collect();
    assert_eq!(
        lines,
        [
            "waits on  disk: disk vda (8.0 GiB) is smaller than the 14 GiB that the spec",
            "          declares for the disk system"
        ]
    );
    board.set_stage(Stage::Disks, Outcome::Waiting, Duration::from_secs(6), None, "disk");
    assert!(!render(&board.facts(), &moment()).contains("waits on"));
}
