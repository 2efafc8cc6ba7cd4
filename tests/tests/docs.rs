//! Checks the documentation against the project: every requirement has a row, every link has a target, and the tables of the disk layout,
//! the limits and the command line match the code (D3). Also checks that all sources are Rust (D4).

#![expect(clippy::unwrap_used, reason = "test helpers outside of test functions")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kubedos_image::layout::{
    DATA_MIN, Layout, MIB, MINIMUM_DISK, PAYLOAD_MAX, Place, Role, SEED_SIZE, adopted, shipped,
};
use kubedos_wire::record::MAX_BYTES;
use kubedos_wire::seal::Volume;

/// The requirement ids: the letter of each family and its numbers.
const REQUIREMENTS: [(&str, std::ops::RangeInclusive<u32>); 10] = [
    ("A", 1..=12),
    ("S", 1..=5),
    ("P", 1..=2),
    ("N", 1..=6),
    ("T", 1..=6),
    ("O", 1..=3),
    ("C", 0..=3),
    ("K", 1..=3),
    ("L", 1..=3),
    ("D", 1..=4),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

/// The files that git tracks.
fn tracked() -> Vec<String> {
    let output =
        std::process::Command::new("git").arg("-C").arg(project()).args(["ls-files", "-z"]).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

/// The anchor of a heading, as GitHub and GitLab generate it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The targets of the inline links of a page.
fn links(page: &str) -> Vec<&str> {
    page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

#[test]
fn every_requirement_has_a_row() {
    let page = page("docs/conformance.md");
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    for (family, numbers) in REQUIREMENTS {
        for number in numbers {
            let id = format!("{family}{number}");
            assert!(rows.contains(id.as_str()), "docs/conformance.md has no row for {id}");
        }
    }
}

#[test]
fn every_link_has_a_target() {
    let mut broken = Vec::new();
    for file in tracked().iter().filter(|file| file.ends_with(".md")) {
        let page = fs::read_to_string(project().join(file)).unwrap();
        let folder = Path::new(file).parent().unwrap();
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            let (path, fragment) = link.split_once('#').map_or((link, None), |(path, f)| (path, Some(f)));
            let target =
                if path.is_empty() { project().join(file) } else { project().join(folder).join(path) };
            if !target.exists() {
                broken.push(format!("{file}: {link}: no such file"));
            } else if let Some(fragment) = fragment {
                let text = fs::read_to_string(&target).unwrap();
                let found =
                    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == fragment);
                if !found {
                    broken.push(format!("{file}: {link}: no such heading"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

/// D3: a reader of the README can find every page.
#[test]
fn the_readme_links_to_every_page() {
    let readme = page("README.md");
    let linked = links(&readme);
    let is_page = |file: &String| {
        let in_docs = file.strip_prefix("docs/").is_some_and(|rest| !rest.contains('/'));
        in_docs && file.ends_with(".md")
    };
    let unlinked: Vec<String> =
        tracked().into_iter().filter(is_page).filter(|file| !linked.contains(&file.as_str())).collect();
    assert!(unlinked.is_empty(), "pages without a link in the README: {unlinked:?}");
}

/// The size of a partition in a layout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// The layout does not have the partition.
    Absent,
    /// Always this size in MiB.
    Always(u64),
    /// The size depends on the content or on the disk.
    Varies,
}

fn size(role: Role, [one, other]: &[Layout; 2]) -> Size {
    match (one.place(role), other.place(role)) {
        (Some(one), Some(other)) if one.len == other.len => Size::Always(one.len / MIB),
        (Some(_), Some(_)) => Size::Varies,
        _ => Size::Absent,
    }
}

/// Every partition with its size in the image file and on a node's disk.
fn partitions() -> Vec<(Place, Size, Size)> {
    let files = [1, PAYLOAD_MAX].map(|payload| shipped(payload).unwrap());
    let disks = [MINIMUM_DISK, 1 << 40].map(|bytes| adopted(bytes).unwrap());
    let [smallest, _] = &disks;
    smallest
        .places()
        .iter()
        .map(|place| (*place, size(place.role, &files), size(place.role, &disks)))
        .collect()
}

/// A5, O1: the places, sizes, types and labels in `docs/disks.md` match the code, and no row is missing or superfluous.
#[test]
fn the_documented_layout_matches_the_code() {
    let page = page("docs/disks.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Layout\n")).unwrap();
    let documented: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let text = |size, varies: &str| match size {
        Size::Absent => "–".to_owned(),
        Size::Always(mib) => mib.to_string(),
        Size::Varies => varies.to_owned(),
    };
    let expected: Vec<String> = partitions()
        .into_iter()
        .map(|(Place { number, role, start, .. }, file, disk)| {
            let (guid, start) = (role.type_guid(), start / MIB);
            let (file_size, disk_size) = (text(file, "as used"), text(disk, "the rest"));
            let maker = if file == Size::Absent { "agent" } else { "image" };
            format!("| {number} | `{role}` | `{guid}` | {start} | {file_size} | {disk_size} | {maker} |")
        })
        .collect();
    assert_eq!(documented, expected);
    let data = adopted(MINIMUM_DISK).unwrap().place(Role::Data).unwrap().len / MIB;
    let smallest = format!("has {data} MiB on the smallest disk ({} GiB)", MINIMUM_DISK / MIB / 1024);
    assert!(section.contains(&smallest), "{smallest}");
}

/// ADR 0001 has the same layout. It does not list the partitions of the second slot.
#[test]
fn the_layout_in_adr_0001_matches_the_code() {
    let page = page("docs/adr/0001-disk-layout.md");
    for (Place { number, role, .. }, file, disk) in partitions() {
        let file_size = match file {
            Size::Absent if !matches!(role, Role::State | Role::Data) => continue,
            Size::Absent => "–".to_owned(),
            Size::Always(mib) => format!("{mib} MiB"),
            Size::Varies => "as used, up to the next MiB".to_owned(),
        };
        let disk_size = match disk {
            _ if disk == file => "same".to_owned(),
            Size::Always(mib) => format!("{mib} MiB"),
            Size::Absent | Size::Varies => format!("the rest, at least {} MiB", DATA_MIN / MIB),
        };
        let row = format!("| {number} | `{role}` | `{}` | {file_size} | {disk_size} |", role.type_guid());
        assert!(page.lines().any(|line| line.starts_with(&row)), "no row {row}");
    }
}

#[test]
fn the_documented_limits_match_the_code() {
    let page = page("docs/limits.md");
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(what, rest)| (what, rest.split(" |").next().unwrap_or_default()))
        .collect();
    for volume in [Volume::Root, Volume::Configuration, Volume::Payload] {
        let mib = volume.max_data_bytes() / MIB;
        let expected =
            if mib.is_multiple_of(1024) { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") };
        let row = format!("{} volume", volume.name());
        assert_eq!(rows.get(row.as_str()), Some(&expected.as_str()), "{row}");
    }
    let smallest = format!("at least {} GiB", MINIMUM_DISK / MIB / 1024);
    assert!(rows.get("boot disk").is_some_and(|limit| limit.contains(&smallest)), "{smallest}");
    assert_eq!(rows.get("seed"), Some(&format!("{} MiB", SEED_SIZE / MIB).as_str()));
    assert_eq!(rows.get("console record"), Some(&format!("{MAX_BYTES} bytes").as_str()));
}

/// The words of a text between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// T6: the page gives a reason for every parameter of the sealed command line, and lists no other parameter.
#[test]
fn the_documented_command_line_matches_the_sealed_one() {
    let page = page("docs/hardening.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Kernel command line\n")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<&str> = rows.flat_map(|row| quoted(row.split(" | ").next().unwrap())).collect();
    let source = fs::read_to_string(project().join("kernel-config/cmdline")).unwrap();
    let sealed: BTreeSet<&str> =
        source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(documented, sealed);
}

#[test]
fn the_sources_are_rust() {
    // Files without these extensions are data, documents, or input of tools that have their own language.
    let others = ["py", "pl", "rb", "js", "ts", "c", "cc", "cpp", "h", "java", "lua", "sh", "bash"];
    let go_outside_payloads = |file: &str| file.ends_with(".go") && !file.starts_with("payloads/");
    let foreign: Vec<String> = tracked()
        .into_iter()
        .filter(|file| {
            let extension = file.rsplit('.').next().unwrap_or_default();
            others.contains(&extension) || go_outside_payloads(file)
        })
        .collect();
    assert!(foreign.is_empty(), "not Rust: {foreign:?}");
}
