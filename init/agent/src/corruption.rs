//! Reports blocks that fail verification after boot. The kernel returns an I/O error to the reader and logs a message.
//! This thread reads the message and emits a `corrupt` record with the volume's name.
//!
//! The message is `device-mapper: verity: MAJOR:MINOR: data block N is corrupted` (or `metadata block`), written by
//! `drivers/md/dm-verity-target.c` (`verity_handle_err`), at most a hundred times per device. `MAJOR:MINOR` is the data
//! partition; its GPT label in sysfs is the volume's name with the slot. `/dev/kmsg` returns one record per read
//! (`Documentation/ABI/testing/dev-kmsg`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use kubedos_wire::record::Outcome;
use kubedos_wire::stage::EarlyStage;

use super::board::Board;
use kubedos_base::console::{Console, Event, uptime};

/// A block that the kernel found corrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBlock {
    /// `MAJOR:MINOR` of the data partition.
    pub device: String,
    /// `data block 12` or `metadata block 3`.
    pub block: String,
}

/// The bad block in a record of the kernel log; `None` if the record reports no bad block.
pub fn bad_block(record: &str) -> Option<BadBlock> {
    let (head, text) = record.split_once(';')?;
    let facility = head.split(',').next()?.parse::<u32>().ok()? >> 3;
    if facility != 0 {
        return None; // not from the kernel: a program that can write to /dev/kmsg can forge the message
    }
    let rest = text.lines().next()?.strip_prefix("device-mapper: verity: ")?.strip_suffix(" is corrupted")?;
    let (device, block) = rest.split_once(": ")?;
    // The numbers become part of a path in sysfs, so they must be numbers.
    let (major, minor) = device.split_once(':')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor)).then_some(())?;
    Some(BadBlock { device: device.to_owned(), block: block.to_owned() })
}

/// The volume of a data partition: its GPT label without the slot; the device numbers if sysfs has no label.
pub fn volume(sysfs: &Path, device: &str) -> String {
    let uevent = fs::read_to_string(sysfs.join("dev/block").join(device).join("uevent")).unwrap_or_default(); // if the device was removed, the device numbers are used
    let label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME="));
    match label {
        Some(label) => {
            label.strip_suffix("-a").or_else(|| label.strip_suffix("-b")).unwrap_or(label).to_owned()
        }
        None => device.to_owned(),
    }
}

/// The step of stage 1 that opened a volume.
const fn opened_by(volume: &str) -> EarlyStage {
    match volume.as_bytes() {
        b"payload" => EarlyStage::OpenPayload,
        b"configuration" => EarlyStage::OpenConfiguration,
        _ => EarlyStage::OpenRoot,
    }
}

/// Reads the kernel log in an endless loop, and reports each bad block once.
pub fn watch(console: &Console, board: &Board) -> io::Result<()> {
    let mut log = File::open("/dev/kmsg")?;
    let mut seen = BTreeSet::new();
    let mut buffer = vec![0; 8192]; // the longest record of the kernel is 8 KiB including its dictionary
    loop {
        let length = match log.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted) => {
                continue;
            } // the kernel has overwritten records
            Err(error) => return Err(error),
        };
        let record = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        let Some(bad) = bad_block(&record) else { continue };
        let volume = volume(Path::new("/sys"), &bad.device);
        if seen.insert((volume.clone(), bad.block.clone())) {
            report(console, board, &volume, &bad.block);
        }
    }
}

fn report(console: &Console, board: &Board, volume: &str, block: &str) {
    let stage = opened_by(volume).name();
    board.add_error(uptime(), stage, format!("{block} of {volume} does not verify"));
    board.note(|facts| {
        if !facts.corrupt.iter().any(|known| known == volume) {
            facts.corrupt.push(volume.to_owned());
        }
    });
    console.emit(Event::new(stage, Outcome::Corrupt).volume(volume).note(block));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_and_block_are_read_from_the_kernels_message() {
        let bad = bad_block(
            "3,812,9312345,-;device-mapper: verity: 254:6: data block 513 is corrupted\n SUBSYSTEM=x",
        );
        assert_eq!(bad, Some(BadBlock { device: "254:6".into(), block: "data block 513".into() }));
        let bad = bad_block("3,812,9312345,-;device-mapper: verity: 254:6: metadata block 2 is corrupted");
        assert_eq!(bad.unwrap().block, "metadata block 2");
        assert_eq!(bad_block("6,1,2,-;device-mapper: verity: sha256 using implementation"), None);
    }

    #[test]
    fn a_forged_message_from_user_space_is_ignored() {
        assert_eq!(bad_block("11,812,9,-;device-mapper: verity: 254:6: data block 513 is corrupted"), None);
    }

    #[test]
    fn a_message_without_valid_device_numbers_is_ignored() {
        for device in ["../..", "/etc", "254", "254:", ":6", "254:6/..", "+254:6"] {
            let record = format!("3,1,9,-;device-mapper: verity: {device}: data block 5 is corrupted");
            assert_eq!(bad_block(&record), None, "{device}");
        }
    }

    #[test]
    fn the_volume_is_the_partitions_label_without_the_slot() {
        let sysfs = tempfile::tempdir().unwrap();
        for (device, label, volume_name) in [
            ("254:6", "root-a", "root"),
            ("254:24", "payload-b", "payload"),
            ("7:9", "configuration-a", "configuration"),
        ] {
            let folder = sysfs.path().join("dev/block").join(device);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), format!("MAJOR=254\nPARTN=6\nPARTNAME={label}\n")).unwrap();
            assert_eq!(volume(sysfs.path(), device), volume_name);
        }
        assert_eq!(volume(sysfs.path(), "8:1"), "8:1");
        assert_eq!(opened_by("payload"), EarlyStage::OpenPayload);
        assert_eq!(opened_by("8:1"), EarlyStage::OpenRoot);
    }
}
