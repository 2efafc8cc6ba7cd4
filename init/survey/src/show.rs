//! Formats disks as text. All texts from a disk are untrusted: they are escaped and quoted here, so that no serial
//! number can imitate another disk, a field or a verdict.

use std::fmt::Write as _;

use kubedos_wire::printable;

use super::{Disk, size};

/// Maximum length of a value in characters. The longest real name has 68 bytes (`nvme.…`), the longest path about 90.
pub const LONGEST: usize = 100;

/// Escapes and truncates an untrusted value.
pub fn plain(text: &str) -> String {
    clipped(text, LONGEST)
}

/// Truncates in the middle: names often differ only at their end (`nvme.…-00000002`).
fn clipped(text: &str, longest: usize) -> String {
    const TAIL: usize = 12;
    let text = printable::name(text);
    let count = text.chars().count();
    if count <= longest {
        return text.into_owned();
    }
    let head: String = text.chars().take(longest.saturating_sub(TAIL + 1)).collect();
    let tail: String = text.chars().skip(count - TAIL.min(longest)).collect();
    format!("{head}…{tail}")
}

/// Escapes, truncates and quotes an untrusted value.
pub fn quoted(text: &str) -> String {
    marked(&plain(text))
}

fn marked(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

fn quoted_list(texts: &[String]) -> String {
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(" and ")
}

/// Name, size, model, serial number, world-wide name and path on one line, the usual one of each; absent ones are left
/// out. A value of more than `longest` characters is truncated.
pub fn line(disk: &Disk, longest: usize) -> String {
    let mut line = format!("{} {}", clipped(&disk.name, longest), size(disk.bytes));
    let first = |list: &[String]| list.first().cloned();
    let names = [
        ("model", disk.model.clone()),
        ("serial", first(&disk.serials)),
        ("wwn", first(&disk.wwns)),
        ("path", first(&disk.paths)),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            // Writing to a String does not fail.
            let _written = write!(line, " {name} {}", marked(&clipped(&value, longest)));
        }
    }
    line
}

/// The names of a disk, as label and text.
pub fn fields(disk: &Disk) -> Vec<(&'static str, String)> {
    let lists = [("serial", &disk.serials), ("wwn", &disk.wwns), ("path", &disk.paths)];
    let model = disk.model.iter().map(|model| ("model", quoted(model)));
    let lists =
        lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| (*name, quoted_list(list)));
    let flags = disk.read_only.then(|| ("flags", "read-only".to_owned()));
    model.chain(lists).chain(flags).collect()
}

/// Joins parts with `; ` as long as the text stays within `most` bytes, and counts the rest.
pub fn within(most: usize, parts: &[String]) -> String {
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        let left = parts.len() - at;
        let room = most.saturating_sub(text.len() + if left > 1 { " and 65535 more".len() } else { 0 });
        if part.len() + 2 > room && at > 0 {
            let _written = write!(text, "; and {left} more");
            return text;
        }
        if at > 0 {
            text.push_str("; ");
        }
        text.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or(part));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_one_line() {
        let disk = Disk {
            model: Some("QEMU HARDDISK".into()),
            serials: vec!["A1".into()],
            wwns: vec!["naa.5000c500a1b2c3d4".into()],
            paths: vec!["pci-0000:00:1f.2-ata-1".into(), "pci-0000:00:1f.2-ata-1.0".into()],
            ..Disk::new("sda", 20 << 30)
        };
        assert_eq!(
            line(&disk, LONGEST),
            "sda 20.0 GiB model \"QEMU HARDDISK\" serial \"A1\" wwn \"naa.5000c500a1b2c3d4\" path \
             \"pci-0000:00:1f.2-ata-1\""
        );
        assert_eq!(
            fields(&disk).last().unwrap().1,
            "\"pci-0000:00:1f.2-ata-1\" and \"pci-0000:00:1f.2-ata-1.0\""
        );
        assert_eq!(line(&Disk::new("vdb", 4 << 20), LONGEST), "vdb 4.0 MiB");
    }

    /// A serial number cannot imitate a field or another disk, and cannot control a terminal.
    #[test]
    fn a_hostile_serial_number_stays_in_its_quotation_marks() {
        let serial = "A\" wwn \"naa.1\"; vdb 1.0 TiB: chosen\u{1b}[2K\n\u{202e}";
        let disk = Disk { serials: vec![serial.into()], ..Disk::new("vda", 1 << 30) };
        let line = line(&disk, LONGEST);
        assert_eq!(line, r#"vda 1.0 GiB serial "A\" wwn \"naa.1\"; vdb 1.0 TiB: chosen\u{1b}[2K\n\u{202e}""#);
        let long = Disk { serials: vec!["\u{1b}".repeat(9000)], ..disk };
        assert!(super::line(&long, 40).len() < 100);
        let namespace = |number: u32| {
            let wwn = format!("nvme.1b36-746172676574-51454d55204e564d65204374726c-{number:08}");
            super::line(&Disk { wwns: vec![wwn], ..Disk::new("nvme0n1", 1 << 30) }, 40)
        };
        assert!(namespace(2).ends_with("-00000002\""), "{}", namespace(2));
        assert_ne!(namespace(1), namespace(2));
    }

    #[test]
    fn parts_that_do_not_fit_are_counted() {
        let parts: Vec<String> = (0..60).map(|number| format!("part {number:02}")).collect();
        assert_eq!(within(45, &parts), "part 00; part 01; part 02; and 57 more");
        assert_eq!(within(45, &parts[..2]), "part 00; part 01");
        assert_eq!(within(4, &["abcdef".into()]), "abcd");
        assert_eq!(within(10, &[]), "");
        for most in 30..600 {
            assert!(within(most, &parts).len() <= most, "{most}");
        }
    }
}
