//! Tests of the plan of a partition table.

use super::*;
use kubedos_image::gpt;
use kubedos_wire::seal::Volume;

use super::super::fake_disks::Medium;
use super::super::survey::GIB;

pub(super) const FRESH: NewUuids = NewUuids {
    disk: Guid::from_u128(0xd15c),
    esp: Guid::from_u128(0xe5b),
    seed: Guid::from_u128(0x5eed),
    state: Guid::from_u128(0x57a7e),
    data: Guid::from_u128(0xda7a),
};

const PLAIN: DesiredTable = DesiredTable { may_destroy: false, renew_uuids: false };

fn disk(bytes: u64) -> Disk {
    Disk { serials: vec!["A".into()], ..Disk::new("vda", bytes) }
}

/// The table of a shipped image.
fn shipped() -> Table {
    let layout = layout::shipped(300 << 20).unwrap();
    layout
        .table(SectorSize::B512, Guid::from_u128(1), |role| {
            Guid::from_u128(0x1000 + u128::from(number(role)))
        })
        .unwrap()
}

fn number(role: Role) -> u32 {
    layout::adopted(MINIMUM_DISK).unwrap().place(role).unwrap().number
}

fn write(medium: &mut Medium, table: &Table) {
    for extent in table.extents() {
        medium.write(extent.offset, &extent.bytes);
    }
}

fn kernel_sees(disk: &mut Disk, table: &Table) {
    let place = |partition: &Partition| ByteRange {
        start: table.start_bytes(partition),
        len: table.len_bytes(partition),
    };
    disk.partitions = table.partitions().map(|(number, partition)| (number, place(partition))).collect();
}

fn facts<'a>(disk: &'a Disk, medium: &Medium) -> TableFacts<'a> {
    let edge = identity::EDGE;
    let (head, tail) = (medium.read(0, edge), medium.read(disk.bytes - edge as u64, edge));
    TableFacts { disk, found: gpt::read(&head, &tail, disk.bytes, SectorSize::B512), head, tail }
}

/// Applies writes and announcements; then the plan must be empty.
fn settle(disk: &mut Disk, medium: &mut Medium, changes: &[TableChange]) {
    for change in changes {
        match change {
            TableChange::Wipe => {
                medium.write(0, &vec![0; identity::EDGE]);
                medium.write(disk.bytes - identity::EDGE as u64, &vec![0; identity::EDGE]);
            }
            TableChange::Write { steps, .. } => {
                for step in steps {
                    if let Step::Write(extent) = step {
                        medium.write(extent.offset, &extent.bytes);
                    }
                }
            }
            TableChange::Announce { request: PartitionRequest::Remove, number, .. } => {
                disk.partitions.remove(number).expect("the kernel has the partition");
            }
            TableChange::Announce { number, place, .. } => {
                disk.partitions.insert(*number, *place);
            }
        }
    }
    assert_eq!(plan(&facts(disk, medium), PLAIN, &FRESH), Ok(vec![]), "the second plan is empty");
}

fn text(changes: &[TableChange]) -> String {
    changes.iter().map(|change| describe_change(change) + "\n").collect()
}

/// A raw image on a larger disk: the state of every disk on first boot.
fn imaged(bytes: u64) -> (Disk, Medium) {
    let (mut disk, mut medium) = (disk(bytes), Medium::default());
    write(&mut medium, &shipped());
    kernel_sees(&mut disk, &shipped());
    (disk, medium)
}

fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/stages/disks/golden")
        .join(name)
        .with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
}

/// O1, S3: the plan of an adoption: backup before primary; the kernel is notified last.
#[test]
fn a_shipped_disk_is_adopted() {
    let (mut disk, mut medium) = imaged(20 * GIB);
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    golden("adopt", &text(&changes));
    settle(&mut disk, &mut medium, &changes);
    let found = facts(&disk, &medium).found.unwrap();
    assert!(found.is_consistent());
    assert_eq!(found.table.disk_guid(), FRESH.disk);
    for (role, uuid) in [
        (Role::Esp, FRESH.esp),
        (Role::Seed, FRESH.seed),
        (Role::State, FRESH.state),
        (Role::Data, FRESH.data),
    ] {
        assert_eq!(found.table.get(number(role)).unwrap().uuid, uuid);
    }
    let root = Role::Volume(Volume::Root, kubedos_image::layout::Area::Data, kubedos_image::layout::Slot::A);
    assert_eq!(
        found.table.get(number(root)),
        shipped().get(number(root)),
        "the partition that stage 1 reads is unchanged"
    );
    assert_eq!(found.table.get(24).unwrap().uuid, Guid::ZERO, "slot B is free");
}

#[test]
fn a_grown_disk_gets_a_longer_data_partition_and_keeps_its_uuids() {
    let (mut disk, mut medium) = imaged(20 * GIB);
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    settle(&mut disk, &mut medium, &changes);
    disk.bytes = 30 * GIB;
    let other = NewUuids { disk: Guid::from_u128(9), esp: Guid::from_u128(9), ..FRESH };
    let changes = plan(&facts(&disk, &medium), PLAIN, &other).unwrap();
    golden("grow", &text(&changes));
    settle(&mut disk, &mut medium, &changes);
    assert_eq!(facts(&disk, &medium).found.unwrap().table.disk_guid(), FRESH.disk);
}

#[test]
fn a_clone_gets_new_uuids_and_no_other_change() {
    let (mut disk, mut medium) = imaged(20 * GIB);
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    settle(&mut disk, &mut medium, &changes);
    let other = NewUuids { disk: Guid::from_u128(9), ..FRESH };
    let changes = plan(&facts(&disk, &medium), DesiredTable { renew_uuids: true, ..PLAIN }, &other).unwrap();
    assert_eq!(changes.len(), 1);
    settle(&mut disk, &mut medium, &changes);
    assert_eq!(facts(&disk, &medium).found.unwrap().table.disk_guid(), other.disk);
}

#[test]
fn a_damaged_copy_is_rewritten_from_the_intact_one() {
    let (mut disk, mut medium) = imaged(20 * GIB);
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    settle(&mut disk, &mut medium, &changes);
    let intact = medium.clone();
    medium.write(512, b"gone");
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    assert!(
        text(&changes).starts_with("table primary copy rewritten: 16384 bytes at 1024,"),
        "{}",
        text(&changes)
    );
    settle(&mut disk, &mut medium, &changes);
    assert_eq!(medium, intact);
    medium.write(20 * GIB - 512, b"gone");
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    assert!(text(&changes).starts_with("table backup copy rewritten:") && changes.len() == 1);
    settle(&mut disk, &mut medium, &changes);
    medium.write(510, b"\0\0");
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    settle(&mut disk, &mut medium, &changes);
    assert_eq!(medium, intact);
}

/// The primary copy is damaged and the disk must be adopted: the backup, the only intact copy, is not written before the primary is
/// intact.
#[test]
fn the_only_intact_copy_is_not_overwritten() {
    let (disk, mut medium) = imaged(20 * GIB);
    write(&mut medium, &shipped().resized(20 * GIB).unwrap());
    medium.write(512, b"gone");
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    let text = text(&changes);
    let mut lines = text.lines();
    assert!(
        lines.next().unwrap().starts_with("table primary copy rewritten: 16384 bytes at 1024,"),
        "{text}"
    );
    assert!(lines.next().unwrap().starts_with("table adopted: 16384 bytes at 214748"), "{text}");
}

#[test]
fn an_empty_disk_is_partitioned_with_free_slots() {
    let (mut disk, mut medium) = (disk(64 * GIB), Medium::default());
    let changes = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap();
    golden("empty", &text(&changes));
    settle(&mut disk, &mut medium, &changes);
}

/// O1, S3: the refusal of a foreign disk contains its name; the disk is used only with allowDestroy.
#[test]
fn a_foreign_disk_is_used_only_with_allow_destroy() {
    let mut foreign = Table::new(SectorSize::B512, 20 * GIB, Guid::from_u128(5)).unwrap();
    let home = Partition {
        type_guid: Guid::from_u128(0x0fc63daf_8483_4772_8e79_3d69d8477de4),
        uuid: Guid::from_u128(6),
        first_lba: 2048,
        last_lba: 4095,
        attributes: 0,
        name: "home\u{1b}".into(),
    };
    foreign.set(1, home).unwrap();
    let (mut disk, mut medium) = (disk(20 * GIB), Medium::default());
    write(&mut medium, &foreign);
    kernel_sees(&mut disk, &foreign);
    let refusal = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "disk vda (20.0 GiB, serial A) contains a partition table of 1 partitions, including 1 `home\\u{1b}`; \
         it was not changed, because allowDestroy does not name it"
    );
    let changes = plan(&facts(&disk, &medium), DesiredTable { may_destroy: true, ..PLAIN }, &FRESH).unwrap();
    golden("destroy", &text(&changes));
    settle(&mut disk, &mut medium, &changes);
}

/// A disk of kubedOS with an additional partition counts as foreign and is not changed.
#[test]
fn a_disk_with_an_additional_partition_is_refused() {
    let mut table = shipped().resized(20 * GIB).unwrap();
    let swap = Partition {
        type_guid: Guid::from_u128(0x0657fd6d_a4ab_43c4_84e5_0933c84b4f4f),
        uuid: Guid::from_u128(6),
        first_lba: 39_000_000,
        last_lba: 39_100_000,
        attributes: 0,
        name: "swap".into(),
    };
    table.set(14, swap).unwrap();
    let (disk, mut medium) = (disk(20 * GIB), Medium::default());
    write(&mut medium, &table);
    let refusal = plan(&facts(&disk, &medium), PLAIN, &FRESH).unwrap_err();
    assert!(refusal.to_string().contains("14 `swap`"), "{refusal}");
}

#[test]
fn disks_that_cannot_be_partitioned_are_refused() {
    let small = disk(MINIMUM_DISK - 512);
    assert!(matches!(
        plan(&facts(&small, &Medium::default()), PLAIN, &FRESH),
        Err(TableRefusal::TooSmall { .. })
    ));
    let large_sectors = Disk { sector_bytes: 4096, ..disk(20 * GIB) };
    let refusal = plan(&facts(&large_sectors, &Medium::default()), PLAIN, &FRESH).unwrap_err();
    assert!(refusal.to_string().contains("sectors of 4096 bytes"), "{refusal}");
    let read_only = Disk { read_only: true, ..disk(20 * GIB) };
    assert!(matches!(
        plan(&facts(&read_only, &Medium::default()), PLAIN, &FRESH),
        Err(TableRefusal::ReadOnly { .. })
    ));
}
