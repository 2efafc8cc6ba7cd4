//! Clocks that are wrong at the start: the planes come up with any RTC, and a control plane's time corrects the node afterwards (N1).
//!
//! Each machine gets its own RTC. The measurements pass the plane `wg1`: no frame with the port of NTP is on the underlay.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kubedos_lab::switch::{CaptureOptions, Switch, SwitchOptions};
use kubedos_lab::{Disk, Machine, Nic, Patience};
use kubedos_tests::capture::{self, Frame};
use kubedos_tests::{Product, Rig, status_page, test_cluster};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

use crate::nodes::three;

/// A node of the default example, its number, and its RTC at the start.
type Node<'a> = (&'a str, u8, &'a str);

/// Boots a node until its planes are up; returns the note of the record.
fn boot(rig: &Rig, switch: &Switch, disk: &Disk, (node, number, rtc): Node<'_>) -> (Machine, String) {
    let socket = switch.listen(node, rig.bench().folder()).unwrap();
    boot_at(rig, Product::built(), &socket.path, disk, (node, number, rtc))
}

fn boot_at(
    rig: &Rig,
    product: &Product,
    socket: &Path,
    disk: &Disk,
    (node, number, rtc): Node<'_>,
) -> (Machine, String) {
    let mac = format!("52:54:00:00:00:{number:02x}").parse().unwrap();
    let seed = product.seed(node);
    let hardware = rig.unseeded(disk.clone()).disk(seed).network(Nic::new(socket, mac)).clock(rtc);
    let machine = rig.boot(&hardware);
    let ended = |outcome| matches!(outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting);
    let record = machine
        .wait_for("the end of Backplanes", Patience::BOOT, |record| {
            of_planes(record) && ended(record.outcome)
        })
        .unwrap();
    // On a busy host, the devices may appear later than the stage waits for them.
    let is_up = matches!(record.outcome, Outcome::Done | Outcome::Unchanged);
    assert!(is_up || record.on.as_deref() == Some("underlay"), "{record:?}");
    let note = record.note.unwrap();
    assert!(!note.contains("time is not measured"), "{note}");
    (machine, note)
}

fn of_planes(record: &Record) -> bool {
    record.stage == Stage::Backplanes.name()
}

/// Waits for the record that the clock was set.
fn corrected(machine: &Machine) -> String {
    let is_it = |record: &Record| {
        of_planes(record) && record.note.as_deref().is_some_and(|note| note.contains("set the clock"))
    };
    machine.wait_for("a correction of the clock", Patience::BOOT, is_it).unwrap().note.unwrap()
}

/// Waits until a line of the status page satisfies the condition; returns the page.
fn wait_for_page(machine: &mut Machine, within: Duration, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let page = status_page(machine);
        if wanted(&page) {
            return page;
        }
        assert!(begun.elapsed() < within, "{page:#?}");
        std::thread::sleep(Duration::from_secs(3));
    }
}

fn clock_of(page: &[String]) -> &str {
    let line = page.iter().find_map(|line| line.split_once("clock     "));
    line.unwrap_or_else(|| panic!("{page:#?}")).1.trim_end()
}

fn has_all_sessions(page: &[String]) -> bool {
    page.iter().filter(|line| line.contains(", 1/1 sessions, ")).count() == 3
}

/// No datagram with the port of NTP is outside the tunnels.
fn no_ntp_on_the_underlay(capture: &Path) {
    let frames = capture::decoded(capture);
    let is_ntp = |frame: &&Frame| frame.udp.is_some_and(|(from, to)| from == 123 || to == 123);
    let outside: Vec<&Frame> = frames.iter().filter(is_ntp).collect();
    assert!(outside.is_empty(), "{outside:?}");
    assert!(!frames.is_empty());
}

/// N1: a worker whose RTC is two years ahead gets its planes at once, and is set back by the control plane's clock, which it
/// measures over `wg1`. Its sessions survive.
#[test]
fn a_wrong_rtc_is_corrected_over_wg1_after_the_planes_are_up() {
    let rig = Rig::new("a_wrong_rtc_is_corrected_over_wg1_after_the_planes_are_up");
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let capture = rig.bench().path("capture.pcapng");
    let options = CaptureOptions { file: capture.clone(), max_bytes: 64 << 20, outbound: false };
    switch.control().start_capture(&options).unwrap();
    let (mut control, note) = boot(&rig, &switch, &rig.disk("cp-1-disk"), ("cp-1", 1, "2027-01-01T00:00:00"));
    assert!(note.contains("clock from the RTC"), "{note}");
    let (mut worker, note) = boot(&rig, &switch, &rig.disk("w-1-disk"), ("w-1", 2, "2029-01-01T00:00:00"));
    assert!(note.contains("clock from the RTC"), "{note}");
    let note = corrected(&worker);
    assert!(note.starts_with("drift repaired: set the clock back by 73"), "{note}");
    assert!(note.ends_with(" days: the control planes agree"), "{note}");
    let page = wait_for_page(&mut worker, Duration::from_secs(120), |page| {
        clock_of(page).ends_with("1/1 agree") && clock_of(page).contains(" ms +/- ") && has_all_sessions(page)
    });
    assert!(clock_of(&page).starts_with("2027-01-01 00:"), "{page:#?}");
    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
    let page = wait_for_page(&mut control, Duration::from_secs(60), has_all_sessions);
    assert!(
        clock_of(&page).starts_with("2027-01-01 00:") && clock_of(&page).ends_with("1/1 agree"),
        "{page:#?}"
    );
    let moved = control
        .console()
        .records()
        .iter()
        .any(|record| record.note.as_deref().is_some_and(|note| note.contains("set the clock")));
    assert!(!moved, "a worker moved the clock of a control plane");
    switch.control().stop_capture();
    no_ntp_on_the_underlay(&capture);
}

/// N1: with an RTC in 2106 on the control plane and one in 1970 on the worker, both start between their bounds, and all planes
/// have sessions.
#[test]
fn an_rtc_in_1970_and_one_in_2106_do_not_prevent_planes() {
    let rig = Rig::new("an_rtc_in_1970_and_one_in_2106_do_not_prevent_planes");
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let (control, _) = boot(&rig, &switch, &rig.disk("cp-1-disk"), ("cp-1", 1, "2106-02-07T06:28:16"));
    let (worker, _) = boot(&rig, &switch, &rig.disk("w-1-disk"), ("w-1", 2, "1970-01-01T00:00:00"));
    let mut machines = [control, worker]; // both run until the last check: the worker measures the control plane
    for machine in &mut machines {
        let page = wait_for_page(machine, Duration::from_secs(120), |page| {
            has_all_sessions(page) && clock_of(page).ends_with("1/1 agree")
        });
        let year: u32 = clock_of(&page)[..4].parse().unwrap();
        assert!((2024..2037).contains(&year), "{page:#?}");
    }
}

/// A node that was four years ahead once has sessions after its clock is right again, and keeps them for longer than a session
/// lives and a peer needs to be added again. The agreed time is the lower bound of the next boot, without any control plane.
#[test]
#[ignore = "runs for a quarter of an hour: `make drill`"]
fn a_burned_key_recovers_and_the_agreed_time_is_the_next_lower_bound() {
    let rig = Rig::new("a_burned_key_recovers_and_the_agreed_time_is_the_next_lower_bound");
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let (mut control, _) = boot(&rig, &switch, &rig.disk("cp-1-disk"), ("cp-1", 1, "2031-01-01T00:00:00"));
    let disk = rig.disk("w-1-disk");
    let socket = switch.listen("w-1", rig.bench().folder()).unwrap();
    let (mut worker, _) =
        boot_at(&rig, Product::built(), &socket.path, &disk, ("w-1", 2, "2035-01-01T00:00:00"));
    wait_for_page(&mut worker, Duration::from_secs(120), has_all_sessions);
    drop(worker); // a power failure
    let (mut worker, _) =
        boot_at(&rig, Product::built(), &socket.path, &disk, ("w-1", 2, "2031-01-01T00:03:00"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(480) {
        for machine in [&mut control, &mut worker] {
            wait_for_page(machine, Duration::from_secs(200), has_all_sessions);
        }
        std::thread::sleep(Duration::from_secs(10));
    }
    drop((control, worker));
    let (mut worker, note) =
        boot_at(&rig, Product::built(), &socket.path, &disk, ("w-1", 2, "1970-01-01T00:00:00"));
    assert!(note.contains("clock from the lower bound"), "{note}");
    let page = wait_for_page(&mut worker, Duration::from_secs(60), |_| true);
    assert!(clock_of(&page).starts_with("2031-01-01 "), "{page:#?}");
}

/// Three nodes of a cluster at one switch, with their RTCs.
struct Three {
    rig: Rig,
    product: &'static Product,
    sockets: Vec<PathBuf>,
    disks: Vec<Disk>,
    names: [&'static str; 3],
    machines: Vec<Option<Machine>>,
    _switch: Switch,
}

impl Three {
    /// The planes of each node come up whatever the clocks of the others are: a boot does not wait for them.
    fn boot(test: &str, product: &'static Product, names: [&'static str; 3], rtcs: [&str; 3]) -> Self {
        let rig = Rig::of(product, test);
        let switch = Switch::start(&SwitchOptions::default()).unwrap();
        let sockets = names.map(|name| switch.listen(name, rig.bench().folder()).unwrap().path).to_vec();
        let disks = names.map(|name| rig.disk(&format!("{name}-disk"))).to_vec();
        let mut three = Self { rig, product, sockets, disks, names, machines: vec![], _switch: switch };
        for (at, rtc) in rtcs.into_iter().enumerate() {
            let machine = three.start(at, rtc);
            three.machines.push(Some(machine));
        }
        three
    }

    fn start(&self, at: usize, rtc: &str) -> Machine {
        let node = (self.names[at], u8::try_from(at + 1).unwrap(), rtc);
        boot_at(&self.rig, self.product, &self.sockets[at], &self.disks[at], node).0
    }

    /// Ends a machine as a power failure does, and starts it with another RTC.
    fn restart(&mut self, at: usize, rtc: &str) {
        self.machines[at] = None;
        self.machines[at] = Some(self.start(at, rtc));
    }

    /// Waits until every node has sessions with both others on all planes, and its comparison of the clock ends with a text; checks the
    /// day of each clock.
    fn wait_for(&mut self, within: Duration, comparison: &str, days: [&str; 3]) {
        for (machine, day) in self.machines.iter_mut().zip(days) {
            let page = wait_for_page(machine.as_mut().unwrap(), within, |page| {
                let sessions = page.iter().filter(|line| line.contains(", 2/2 sessions, ")).count();
                sessions == 3 && clock_of(page).ends_with(comparison)
            });
            assert!(clock_of(&page).starts_with(day), "{page:#?}");
        }
    }

    /// The notes and errors of a node about its clock.
    fn about_the_clock(&self, at: usize) -> Vec<String> {
        let records = self.machines[at].as_ref().unwrap().console().records();
        let texts = records.into_iter().filter(of_planes).flat_map(|record| [record.note, record.error]);
        texts.flatten().filter(|text| text.contains("clock")).collect()
    }
}

/// N1: one of two control planes is a day ahead, so no majority agrees: no clock moves, the worker follows neither of them, and all
/// planes have sessions. Then the wrong one restarts with the right time: to the others, its clock jumps back by a day. All agree, and
/// all planes have sessions again without a restart of the others.
#[test]
#[ignore = "three nodes, and a wait for sessions after a step back: `make drill`"]
fn two_control_planes_that_disagree_move_no_clock_and_a_jump_back_is_survived() {
    let names = ["cp-1", "cp-2", "w-1"];
    let rtcs = ["2027-01-01T00:00:00", "2027-01-02T00:02:00", "2027-01-01T00:02:00"];
    let mut nodes = Three::boot("two_control_planes_that_disagree", three(), names, rtcs);
    let days = ["2027-01-01 0", "2027-01-02 0", "2027-01-01 0"];
    nodes.wait_for(Duration::from_secs(300), "2/2 disagree", days);
    for at in 0..3 {
        let texts = nodes.about_the_clock(at);
        let kept =
            |text: &String| text.contains("control planes disagree (2 of 2 measured), the clock is kept");
        assert!(texts.iter().any(kept), "{texts:#?}");
        assert!(!texts.iter().any(|text| text.contains("set the clock")), "{texts:#?}");
    }
    nodes.restart(1, "2027-01-01T00:06:00");
    nodes.wait_for(Duration::from_secs(600), "2/2 agree", ["2027-01-01 0"; 3]);
}

/// N1: one of three control planes is two years ahead. The majority sets it back, and moves no clock of its own by more than the tolerance.
#[test]
#[ignore = "three nodes: `make drill`"]
fn a_control_plane_that_disagrees_with_two_others_is_set_back_and_moves_neither() {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    let product = PRODUCT.get_or_init(|| Product::of(&test_cluster("majority"), "majority"));
    let names = ["cp-1", "cp-2", "cp-3"];
    // The liar starts first: it is alone with the first honest one for a while.
    let rtcs = ["2029-01-01T00:00:00", "2027-01-01T00:01:00", "2027-01-01T00:02:00"];
    let mut nodes = Three::boot("a_control_plane_that_disagrees", product, names, rtcs);
    nodes.wait_for(Duration::from_secs(300), "3/3 agree", ["2027-01-01 0"; 3]);
    let texts = nodes.about_the_clock(0);
    let set_back = |text: &String| text.starts_with("drift repaired: set the clock back by 73");
    assert!(texts.iter().any(set_back), "{texts:#?}");
    for at in [1, 2] {
        let texts = nodes.about_the_clock(at);
        let days = |text: &String| text.contains("set the clock") && text.contains(" days");
        assert!(!texts.iter().any(days), "{texts:#?}");
    }
}
