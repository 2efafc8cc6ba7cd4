//! Tests of `kubedos-lab` with real machines. The guest is the firmware's UEFI shell; its `startup.nsh` prints records like a node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic; the lint exempts test functions, not their helpers"
)]
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kubedos_lab::switch::{CaptureOptions, Port, Switch, SwitchOptions};
use kubedos_lab::write_log::{Action, Loss, WriteLog};
use kubedos_lab::{
    Attachment, Bench, Disk, Fault, Firmware, Format, Hardware, Machine, MachineError, Nic, Patience,
};
use kubedos_tests::tools;
use kubedos_wire::record::Outcome;

fn bench(name: &str) -> Bench {
    Bench::new(Path::new(env!("CARGO_TARGET_TMPDIR")), name).unwrap()
}

/// A FAT disk whose script the firmware's shell runs.
fn script_disk(bench: &Bench, name: &str, script: &str) -> Disk {
    let path: PathBuf = bench.path(name);
    let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(8 << 20).unwrap();
    fatfs::format_volume(&mut file, fatfs::FormatVolumeOptions::new()).unwrap();
    let volume = fatfs::FileSystem::new(&file, fatfs::FsOptions::new()).unwrap();
    let mut startup = volume.root_dir().create_file("startup.nsh").unwrap();
    startup.write_all(script.replace('\n', "\r\n").as_bytes()).unwrap();
    drop(startup);
    volume.unmount().unwrap();
    Disk::new(path, Format::Raw)
}

fn record(stage: &str, outcome: &str) -> String {
    // The shell's echo removes quotes unless they are escaped.
    format!(r#"kubedos: {{"v":1,"n":1,"t":1,"stage":"{stage}","outcome":"{outcome}"}}"#).replace('"', "^\"")
}

#[test]
fn a_machine_boots_from_every_attachment_and_its_records_are_read() {
    let (tools, bench) = (tools(), bench("records"));
    let script =
        format!("@echo -off\necho {}\necho {}\n", record("Disks", "started"), record("Disks", "done"));
    for attachment in [Attachment::Virtio, Attachment::Sata, Attachment::Nvme, Attachment::Usb] {
        let disk = script_disk(&bench, &format!("{attachment:?}"), &script).attached(attachment);
        let machine = Machine::start(tools, &bench, &Hardware::new(Firmware::Uefi).disk(disk)).unwrap();
        machine.wait_for_stage("Disks", Outcome::Done, Patience::STEP).unwrap();
        assert_eq!(machine.finish().len(), 2, "{attachment:?}");
    }
}

#[test]
fn a_wait_ends_when_the_kernel_panics_or_the_node_halts() {
    let (tools, bench) = (tools(), bench("vain"));
    let prints = |name: &str, line: &str| {
        let disk = script_disk(&bench, name, &format!("@echo -off\necho {line}\n"));
        Machine::start(tools, &bench, &Hardware::new(Firmware::Uefi).disk(disk)).unwrap()
    };
    let machine = prints("panics", "Kernel panic");
    let error = machine.wait_for_stage("Baseline", Outcome::Done, Patience::STEP).unwrap_err();
    assert!(error.to_string().contains("kernel message: Kernel panic"), "{error}");
    let machine = prints("halts", &record("OpenRoot", "halted"));
    let error = machine.wait_for_stage("Baseline", Outcome::Done, Patience::STEP).unwrap_err();
    assert!(error.to_string().contains("OpenRoot"), "{error}");
    // The awaited record takes precedence over the failure that it reports.
    machine.wait_for_stage("OpenRoot", Outcome::Halted, Patience::STEP).unwrap();
}

#[test]
fn a_machine_that_is_dropped_leaves_no_process() {
    let (tools, bench) = (tools(), bench("dropped"));
    let machine = Machine::start(tools, &bench, &Hardware::new(Firmware::Uefi)).unwrap();
    let folder = machine.log().parent().unwrap().to_owned();
    assert_eq!(processes_in(&folder), 1);
    drop(machine);
    assert_eq!(processes_in(&folder), 0);
}

#[test]
fn the_error_of_refused_hardware_has_the_emulators_message() {
    let (tools, bench) = (tools(), bench("refused"));
    let hardware = Hardware::new(Firmware::Uefi).disk(Disk::new(bench.path("no-such-file"), Format::Raw));
    let error = Machine::start(tools, &bench, &hardware).unwrap_err();
    assert!(
        matches!(&error, MachineError::Refused { message, .. } if message.contains("no-such-file")),
        "{error}"
    );
}

/// The ARP request for `address` (RFC 826: operation 1, target protocol address at byte 38 of the frame).
fn arp_request(port: &Port, address: [u8; 4]) -> Vec<u8> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(300) {
        let Some(frame) = port.receive(Duration::from_secs(1)) else { continue };
        if frame.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]) && frame.get(38..42) == Some(&address) {
            return frame;
        }
    }
    panic!("no ARP request for {address:?}");
}

/// The switch with real machines: the second one gets the port of the first one.
#[test]
fn frames_of_a_machine_reach_the_switch_and_the_port_survives_the_machine() {
    let (tools, bench) = (tools(), bench("switched"));
    let switch = Switch::start(&SwitchOptions::default()).unwrap();
    let socket = switch.listen("node", bench.folder()).unwrap();
    let outsider = switch.port("outsider").unwrap();
    let capture = bench.path("frames.pcapng");
    let options = CaptureOptions { file: capture.clone(), max_bytes: 1 << 20, outbound: false };
    switch.control().start_capture(&options).unwrap();
    for (number, mac) in [(1, "52:54:00:00:00:01"), (2, "52:54:00:00:00:02")] {
        let script = format!(
            "@echo -off\nconnect -r\nifconfig -s eth0 static 192.0.2.1{number} 255.255.255.0 192.0.2.1\nping -n 1 192.0.2.9\n"
        );
        let disk = script_disk(&bench, &format!("disk-{number}"), &script);
        let nic = Nic::new(&socket.path, mac.parse().unwrap());
        let hardware = Hardware::new(Firmware::Uefi).disk(disk).network(nic);
        let machine = Machine::start(tools, &bench, &hardware).unwrap();
        let frame = arp_request(&outsider, [192, 0, 2, 9]);
        assert_eq!(frame[6..12], [0x52, 0x54, 0, 0, 0, number], "the sender");
        assert_eq!(frame[28..32], [192, 0, 2, 10 + number], "the sender's address");
        machine.cut_power().unwrap();
    }
    switch.control().stop_capture();
    let bytes = std::fs::read(capture).unwrap();
    let sent = |number: u8| bytes.windows(6).any(|window| window == [0x52, 0x54, 0, 0, 0, number]);
    assert!(sent(1) && sent(2), "the capture has no frame of a machine");
}

#[test]
fn an_overlay_keeps_its_image_and_the_log_has_every_write() {
    let (tools, bench) = (tools(), bench("overlay"));
    let script =
        format!("@echo -off\nfs0:\necho hello > fs0:\\written.txt\necho {}\n", record("Disks", "done"));
    let image = script_disk(&bench, "image", &script);
    let before = std::fs::read(image.file()).unwrap();
    let log = bench.path("writes");
    let disk = bench.overlay(tools, "overlay", &image, 16 << 20).unwrap().write_log(&log);
    let machine = Machine::start(tools, &bench, &Hardware::new(Firmware::Uefi).disk(disk.clone())).unwrap();
    machine.wait_for_stage("Disks", Outcome::Done, Patience::STEP).unwrap();
    assert!(machine.writes(0).unwrap() > 0);
    machine.cut_power().unwrap();
    assert_eq!(std::fs::read(image.file()).unwrap(), before);

    let after = std::fs::read(bench.raw_copy(tools, "after", &disk).unwrap()).unwrap();
    assert_ne!(after[..before.len()], before[..]);
    let log = WriteLog::open(&log).unwrap();
    assert!(log.entries().iter().any(|entry| matches!(entry.action, Action::Write { .. })));
    let replayed = bench.copy("replayed", image.file()).unwrap();
    let file = std::fs::File::options().write(true).open(&replayed).unwrap();
    file.set_len(16 << 20).unwrap();
    log.replay(&file, log.entries().len(), Loss::Nothing).unwrap();
    assert!(std::fs::read(&replayed).unwrap() == after, "the replayed log differs from the disk");
}

#[test]
fn a_failed_write_does_not_reach_the_disk() {
    let (tools, bench) = (tools(), bench("failing"));
    let script = "@echo -off\nfs0:\necho hello > fs0:\\written.txt\nif not exist fs0:\\written.txt then\n echo not written\nelse\n echo was written\nendif\n";
    let disk = script_disk(&bench, "disk", script).fault(Fault::EveryWrite);
    let before = std::fs::read(disk.file()).unwrap();
    let file = disk.file().to_owned();
    let machine = Machine::start(tools, &bench, &Hardware::new(Firmware::Uefi).disk(disk)).unwrap();
    machine
        .wait_for_line("the script's end", Patience::STEP, |line| {
            line.ends_with("written") || line.contains("Script Error")
        })
        .unwrap();
    machine.cut_power().unwrap();
    assert!(std::fs::read(file).unwrap() == before, "a failed write reached the disk");
}

#[test]
fn seabios_reports_on_the_console_that_no_device_is_bootable() {
    let (tools, bench) = (tools(), bench("bios"));
    let machine = Machine::start(tools, &bench, &Hardware::new(Firmware::Bios)).unwrap();
    machine.wait_for_line("SeaBIOS", Patience::STEP, |line| line.contains("No bootable device")).unwrap();
}

/// The process that `a_machine_ends_with_the_process_that_started_it` starts and kills.
#[test]
#[ignore = "started and killed by a_machine_ends_with_the_process_that_started_it"]
fn start_a_machine_and_print_its_folder() {
    let bench = bench("orphan");
    let machine = Machine::start(tools(), &bench, &Hardware::new(Firmware::Uefi)).unwrap();
    println!("\nfolder {}", machine.log().parent().unwrap().display());
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn a_machine_ends_with_the_process_that_started_it() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "start_a_machine_and_print_its_folder", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let folder =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("folder ").map(PathBuf::from)).unwrap();
    assert_eq!(processes_in(&folder), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let start = std::time::Instant::now();
    while processes_in(&folder) > 0 {
        assert!(start.elapsed().as_secs() < 10, "the emulator still runs");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The number of processes with this working folder.
fn processes_in(folder: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .count()
}
