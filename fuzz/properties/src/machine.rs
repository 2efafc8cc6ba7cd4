//! The inputs of a node from its machine: seeds, disks, texts of the kernel and the firmware. Also the lab's log of the writes to a disk.

use std::collections::BTreeMap;
use std::io::Cursor;

use kubedos_agent::corruption::bad_block;
use kubedos_agent::seed::{Candidate, Trust, judge};
use kubedos_agent::stages::backplanes::clock::chronyd::protocol::{self, Answer, LENGTH, sample};
use kubedos_agent::stages::disks::anchor::{self, Anchor, Found};
use kubedos_agent::stages::disks::containers::{self, Content};
use kubedos_agent::stages::disks::fake_disks::{Medium, ext4_head, luks_area_of};
use kubedos_agent::stages::disks::filesystems::Superblock;
use kubedos_agent::stages::disks::identity::{self, EDGE};
use kubedos_agent::stages::disks::luks::{self, COPY_BYTES, Checked, Headers};
use kubedos_agent::stages::disks::survey::{ByteRange, Disk, Store};
use kubedos_agent::stages::disks::table::{self, DesiredTable, NewUuids, TableChange, TableFacts};
use kubedos_image::gpt::{self, SectorSize, Step};
use kubedos_image::guid::Guid;
use kubedos_image::iso::seed as volume;
use kubedos_image::layout::{MINIMUM_DISK, recognise};
use kubedos_image::source::Source;
use kubedos_image::sparse::for_data;
use kubedos_lab::write_log::{self, Action};
use kubedos_stage1::{cmdline, firmware, modules};
use kubedos_sys::uevent::Uevent;

use crate::frugal::{LITTLE, Most, frugal};
use crate::{Seed, Target, keys, sparse, volumes};

pub(crate) const TARGETS: [Target; 7] = [
    Target { name: "seed", property: seed, seeds: seed_seeds, mutants: 4000 },
    Target { name: "disk_table", property: disk_table, seeds: disk_table_seeds, mutants: 1000 },
    Target { name: "partition_head", property: partition_head, seeds: partition_head_seeds, mutants: 20_000 },
    Target { name: "anchor", property: anchor, seeds: anchor_seeds, mutants: 5000 },
    Target { name: "kernel_texts", property: kernel_texts, seeds: kernel_texts_seeds, mutants: 100_000 },
    Target { name: "write_log", property: write_log, seeds: write_log_seeds, mutants: 50_000 },
    Target { name: "chronyd_reply", property: chronyd_reply, seeds: chronyd_reply_seeds, mutants: 100_000 },
];

/// A seed volume without its system area. It is accepted only if it contains a signed seed, and not together with another signed seed.
fn seed(input: &[u8]) {
    let candidate =
        |device: &str, bytes: Vec<u8>| Candidate { device: device.into(), bytes: Ok(bytes.into()) };
    let trust = Trust { keys: keys::trusted().to_vec(), cluster_id: keys::cluster_id("lab") };
    let bytes = volumes::seed_volume_of(input);
    let found = || candidate("vdb", bytes.clone());
    let signed = || candidate("vda2", keys::seed_volume("lab", "cp-1"));
    let is_accepted = judge(vec![found()], &trust).ok().unwrap().found.is_some();
    assert!(!is_accepted || is_signed(volume::read(&bytes).unwrap()), "an unsigned seed was accepted");
    // The signed seed is used, regardless of the other candidate and of the order. A second signed seed with other content is refused.
    for candidates in [vec![signed(), found()], vec![found(), signed()]] {
        let Ok(judged) = judge(candidates, &trust) else {
            assert!(is_accepted, "a seed that does not verify prevented the use of the signed seed");
            continue;
        };
        assert!(judged.found.is_some());
        assert_eq!(judged.skipped.is_empty(), is_accepted);
    }
}

/// A seed volume of version 1 without its system area, as the last release without floors wrote it.
const VERSION_1: &[u8] = include_bytes!("../../corpus/seed/version-1");

/// Whether the statement has the body of a signed seed. It may have additional signatures.
fn is_signed(statement: &[u8]) -> bool {
    let body = |bytes: &[u8]| {
        let read = kubedos_wire::statement::read(bytes).unwrap();
        let verified = read.verify(kubedos_wire::statement::Domain::Seed, &keys::trusted()).unwrap();
        verified.body().to_owned()
    };
    [keys::seed_volume("lab", "cp-1"), volumes::seed_volume_of(VERSION_1)]
        .iter()
        .any(|signed| body(volume::read(signed).unwrap()) == body(statement))
}

/// A datagram from chronyd. Only a reply of the right length to the right request has a measurement.
fn chronyd_reply(input: &[u8]) {
    const SEQUENCE: u32 = 7;
    let valid = sample::source(SEQUENCE, [10, 101, 0, 1], 3, 0, 0);
    let mut corrected = input.to_vec();
    corrected.iter_mut().zip(&valid).take(28).for_each(|(byte, valid)| *byte = *valid); // its head
    for bytes in [input, &corrected] {
        match protocol::parse(bytes, SEQUENCE) {
            Ok(Answer::Sample(_) | Answer::Empty) => assert_eq!(bytes.len(), LENGTH),
            Ok(Answer::End) => assert!(bytes.len() < LENGTH),
            Err(_) => {}
        }
        let other = protocol::parse(bytes, SEQUENCE + 1);
        assert!(
            other.is_err() || protocol::parse(bytes, SEQUENCE).is_err(),
            "one datagram answers two requests"
        );
    }
}

fn chronyd_reply_seeds() -> Vec<Seed> {
    let measured = |ahead, error| sample::source(7, [10, 101, 0, 2], 12, ahead, error);
    vec![
        ("measurement", measured(sample::bits(-8, 3 << 21), sample::bits(-6, 1 << 23))),
        ("far-ahead", measured(sample::bits(63, (1 << 24) - 1), sample::bits(63, -(1 << 24)))),
        ("no-measurement", sample::source(7, [10, 101, 0, 2], u32::MAX, 0, 0)),
        ("end", sample::end(7)),
    ]
}

fn seed_seeds() -> Vec<Seed> {
    let system_area = volumes::seed_volume_of(&[]).len();
    vec![
        ("cp-1", keys::seed_volume("lab", "cp-1")[system_area..].to_vec()),
        ("version-1", VERSION_1.to_vec()),
    ]
}

/// A sparse disk, and the plan of the stage `Disks` for its table. A foreign table is changed only if the disk may be destroyed. After the
/// changes, the table is a kubedOS table, and a second plan contains no change.
fn disk_table(input: &[u8]) {
    let source = sparse::decode(input);
    if source.len() < MINIMUM_DISK || !source.len().is_multiple_of(512) {
        return;
    }
    let mut medium = Medium::default();
    copy(&source, &mut medium);
    if let Some(corrected) = volumes::with_checksums(&source, SectorSize::B512) {
        copy(&corrected, &mut medium);
    }
    for (may_destroy, renew_uuids) in [(false, false), (true, false), (false, true)] {
        let desired = DesiredTable { may_destroy, renew_uuids };
        let mut medium = medium.clone();
        let Ok(changes) = planned(&medium, source.len(), desired) else {
            assert!(!may_destroy, "a disk that may be destroyed was refused");
            continue;
        };
        assert!(may_destroy || !changes.contains(&TableChange::Wipe));
        for change in changes {
            carry_out(&change, &mut medium, source.len());
        }
        let found = observed(&medium, source.len()).unwrap();
        assert!(found.is_consistent() && recognise(&found.table).is_some());
        let left = planned(&medium, source.len(), DesiredTable { renew_uuids: false, ..desired }).unwrap();
        assert!(left.iter().all(|change| matches!(change, TableChange::Announce { .. })), "{left:?}");
    }
}

fn copy(source: &dyn Source, medium: &mut Medium) {
    for_data(source, 1, |at, bytes| {
        medium.write(at, bytes);
        Ok(())
    })
    .unwrap();
}

fn observed(medium: &Medium, bytes: u64) -> Result<gpt::Found, gpt::ReadError> {
    gpt::read(&medium.read(0, EDGE), &medium.read(bytes - EDGE as u64, EDGE), bytes, SectorSize::B512)
}

fn planned(
    medium: &Medium,
    bytes: u64,
    desired: DesiredTable,
) -> Result<Vec<TableChange>, table::TableRefusal> {
    let partitions = BTreeMap::from([(3, ByteRange { start: 1 << 20, len: 1 << 20 })]);
    let disk = Disk { partitions, ..Disk::new("vda", bytes) };
    let (head, tail) = (medium.read(0, EDGE), medium.read(bytes - EDGE as u64, EDGE));
    let facts = TableFacts { disk: &disk, found: observed(medium, bytes), head, tail };
    let [disk, esp, seed, state, data] = [1, 2, 3, 4, 5].map(Guid::from_u128);
    table::plan(&facts, desired, &NewUuids { disk, esp, seed, state, data })
}

fn carry_out(change: &TableChange, medium: &mut Medium, bytes: u64) {
    match change {
        TableChange::Wipe => {
            for at in [0, bytes - EDGE as u64] {
                medium.write(at, &[0; EDGE]);
            }
        }
        TableChange::Write { steps, .. } => {
            for step in steps {
                if let Step::Write(extent) = step {
                    medium.write(extent.offset, &extent.bytes);
                }
            }
        }
        TableChange::Announce { .. } => {}
    }
}

fn disk_table_seeds() -> Vec<Seed> {
    // The shipped image on a disk that is large enough.
    let mut seeds = volumes::gpt_seeds();
    seeds.retain(|(name, _)| matches!(*name, "shipped" | "adopted" | "grown"));
    for (_, seed) in &mut seeds {
        let length = u64::from_le_bytes(seed[..8].try_into().unwrap()).max(MINIMUM_DISK);
        seed[..8].copy_from_slice(&length.to_le_bytes());
    }
    seeds.push(("empty", MINIMUM_DISK.to_le_bytes().to_vec()));
    seeds
}

/// The start of a partition or disk: known marks, LUKS2 headers (a second time with corrected checksums), the ext4 superblock. A
/// container is recognised only by a valid header.
fn partition_head(input: &[u8]) {
    let absent = || Box::new(gpt::ReadError::Absent);
    let no_table = gpt::ReadError::NoCopy { primary: absent(), backup: absent() };
    let named = identity::foreign(input, &[], &no_table);
    assert_eq!(named.is_none(), input.iter().all(|byte| *byte == 0));
    assert!(identity::known(input).is_none_or(|known| named.as_deref() == Some(known)));
    if let Some(superblock) = Superblock::read(input) {
        let blocks = u32::from_le_bytes(input[1028..1032].try_into().unwrap());
        assert!(superblock.bytes >= u64::from(blocks) * 1024);
    }
    read_headers(input);
    let mut corrected = input.to_vec();
    for copy in corrected.chunks_exact_mut(COPY_BYTES).take(2) {
        copy[448..512].fill(0);
        let sum = kubedos_wire::hex32::sha256(&[copy]);
        copy[448..480].copy_from_slice(&sum);
    }
    read_headers(&corrected);
}

/// A recognised container is also recognised from its checked copy, which contains no cipher other than AES-XTS.
fn read_headers(head: &[u8]) {
    // The key slot after the headers may have any content.
    let mut area = head.to_vec();
    area.resize(luks::AREA_BYTES, 0);
    let headers = frugal(LITTLE, 0, || Headers::read(&area));
    assert!(headers.copies.len() <= 2);
    assert!(headers.newest().is_none_or(|newest| newest.whole));
    for store in Store::ALL {
        if let Content::Finished(header) = containers::content(store, &area) {
            let newest = headers.newest().unwrap();
            assert_eq!((newest.label.as_str(), newest.subsystem.as_str()), (&*store.label(), luks::FINISHED));
            assert_eq!(containers::content(store, header.bytes()), Content::Finished(header.clone()));
            let text = String::from_utf8_lossy(&header.bytes()[luks::BINARY_BYTES..COPY_BYTES]).into_owned();
            assert_eq!(text.matches(r#""encryption":"#).count(), 2, "{text}");
            assert_eq!(text.matches(r#""encryption":"aes-xts-plain64""#).count(), 2, "{text}");
        }
    }
}

/// The header copies without the key slot.
fn copies(store: Store, subsystem: &str, sequence: u64) -> Vec<u8> {
    let mut area = luks_area_of(store, subsystem, sequence);
    area.truncate(luks::HEAD_BYTES);
    area
}

fn partition_head_seeds() -> Vec<Seed> {
    let mut torn = copies(Store::State, luks::FINISHED, 4);
    torn[100] ^= 1;
    vec![
        ("container", copies(Store::State, luks::FINISHED, 3)),
        ("first-copy-torn", torn),
        ("unfinished", copies(Store::Data, luks::UNFINISHED, 1)),
        ("ext4", ext4_head(10 << 30)),
    ]
}

/// An anchor is accepted only if it was sealed with the key of the node. Any record round-trips.
fn anchor(input: &[u8]) {
    let key = [7; 32].into();
    if let Found::Own(anchor) =
        frugal(Most { factor: 4, constant: 16 << 10 }, input.len(), || anchor::open(input, &key))
    {
        let sealed = anchor::seal(&anchor, &key);
        assert_eq!(sealed, input[..sealed.len()], "an anchor that was not sealed with this key was accepted");
    }
    assert!(!matches!(anchor::open(input, &[8; 32].into()), Found::Own(_)));
    let Ok(record) = std::str::from_utf8(input.get(..1000).unwrap_or(input)) else { return };
    let header = Checked::read(&luks_area_of(Store::Data, luks::FINISHED, 3)).unwrap();
    let whole = Anchor { sequence: 3, record: record.to_owned(), headers: [(Store::Data, header)].into() };
    assert_eq!(anchor::open(&anchor::seal(&whole, &key), &key), Found::Own(whole));
}

fn anchor_seeds() -> Vec<Seed> {
    let small = Anchor { sequence: 1, record: "version = 2\n".into(), headers: BTreeMap::new() };
    vec![("without-headers", anchor::seal(&small, &[7; 32].into()))]
}

/// Short texts of kernel, firmware and devices: a record of the kernel log, an event, a command line, a variable of the boot loader, the
/// name of a device. A line feed separates two texts.
fn kernel_texts(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some(bad) = frugal(LITTLE, text.len(), || bad_block(&text)) {
        assert!(text.contains(&format!("device-mapper: verity: {}: {} is corrupted", bad.device, bad.block)));
    }
    // Each variable takes two strings.
    let event = frugal(Most { factor: 128, constant: 4096 }, input.len(), || Uevent::parse(input));
    assert!(event.get("=").is_none());
    let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
    let (given, baked) = (first.as_bytes(), second.as_bytes());
    let trimmed = |text: &str| text.strip_suffix(['\n', '\0']).unwrap_or(text).to_owned();
    assert_eq!(cmdline::compare(given, baked).is_ok(), trimmed(first) == trimmed(second));
    assert!(cmdline::compare(given, given).is_ok());
    if let Some(uuid) = firmware::partition_uuid(input) {
        let utf16: Vec<u8> = uuid.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(firmware::partition_uuid(&utf16), Some(uuid));
    }
    modules::matches(first, second);
    assert!(modules::matches("*", second));
}

fn kernel_texts_seeds() -> Vec<Seed> {
    let uuid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
    vec![
        (
            "log-record",
            b"3,812,9312345,-;device-mapper: verity: 254:6: data block 513 is corrupted\n SUBSYSTEM=x"
                .to_vec(),
        ),
        (
            "uevent",
            b"change@/devices/virtual/block/dm-0\0ACTION=change\0DEVNAME=dm-0\0DM_VERITY_ERR_BLOCK_NR=1,17\0"
                .to_vec(),
        ),
        ("cmdline", b"console=ttyS0 quiet\nconsole=ttyS0 quiet\0".to_vec()),
        ("loader-variable", uuid.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("modalias", b"usb:v0000p*d[0-9a-c]?*\nusb:v0000p0000db1".to_vec()),
    ]
}

/// Every entry takes a sector of the log, followed by its data.
fn write_log(input: &[u8]) {
    let read = frugal(Most { factor: 4, constant: 16 << 10 }, input.len(), || {
        write_log::parse(Cursor::new(input), input.len() as u64)
    });
    let Ok(entries) = read else { return };
    assert!(entries.len() <= input.len() / 512);
    let mut end = 512;
    for entry in entries {
        if let Action::Write { data, .. } = entry.action {
            assert!(data >= end + 512 && data + entry.length <= input.len() as u64);
            end = data + entry.length;
        }
    }
}

fn write_log_seeds() -> Vec<Seed> {
    let sector = |words: &[u64]| {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes
    };
    let log = [
        sector(&[0x006a_7366_7773_6872, 1, 3, 512]),
        sector(&[1, 1, 2, 0]),
        vec![7; 512],
        sector(&[3, 2, 4, 0]),
        sector(&[0, 0, 1, 0]),
    ];
    vec![("write-discard-flush", log.concat())]
}
