//! Compares serial numbers and world-wide names in the spec's spelling with those in the kernel's spelling.
//!
//! The kernel, udev and the label on the disk spell one name in several ways (`Documentation/ABI/stable/sysfs-block`,
//! udev's `scsi_id`, `ata_id` and `udev_replace_whitespace`). Spellings that lose no information are
//! [`Agreement::Full`]. If one side has only the beginning of the name, the result is [`Agreement::Prefix`], which is enough to
//! select a disk, but not enough to destroy one.

/// The degree to which two names agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    /// The names differ.
    None,
    /// The names differ only in the case of letters. Serial numbers are case-sensitive, so they are different.
    CaseOnly,
    /// One name is the beginning of the other, and is known to be truncated.
    Prefix,
    /// The names are the same.
    Full,
}

/// The number of bytes of a serial number that virtio-blk, ATA and NVMe transfer (virtio 1.2, 5.2.6; ATA ACS-4, IDENTIFY DEVICE
/// words 10 to 19; NVMe base 2.0, Identify Controller SN).
pub const SERIAL_BYTES: usize = 20;

/// Compares a serial number in the spec with one from the kernel. `limit` is the number of bytes that the transport
/// transfers.
pub fn serial(spec: &str, kernel: &str, limit: Option<usize>) -> Agreement {
    let spec = spec.trim();
    // Only the kernel's text is converted: udev maps `A B` to `A_B`, but `A B` in the spec does not match a disk `A_B`.
    if spec == kernel.trim() || spec == by_udev(kernel) {
        return Agreement::Full;
    }
    let cut = limit.is_some_and(|limit| spec.len() > limit && kernel.len() == limit);
    if cut && (spec.starts_with(kernel) || by_udev(spec).starts_with(&by_udev(kernel))) {
        return Agreement::Prefix;
    }
    if spec.eq_ignore_ascii_case(kernel.trim()) || spec.eq_ignore_ascii_case(&by_udev(kernel)) {
        return Agreement::CaseOnly;
    }
    Agreement::None
}

/// A text as udev writes it into `ID_SERIAL_SHORT`: without surrounding white space, with one underscore for each run
/// of white space inside, and one for each character that is not allowed in the name of a link
/// (`udev_replace_whitespace`, `udev_replace_chars`).
fn by_udev(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join("_");
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_/".contains(c) || !c.is_ascii();
    joined.chars().map(|c| if is_kept(c) { c } else { '_' }).collect()
}

/// Compares a world-wide name in the spec with one from the kernel.
pub fn wwn(spec: &str, kernel: &str) -> Agreement {
    match (Wwn::parse(spec), Wwn::parse(kernel)) {
        (Wwn::Number(spec_type, spec), Wwn::Number(kernel_type, kernel)) => {
            let types_agree = spec_type.is_none() || kernel_type.is_none() || spec_type == kernel_type;
            let is_naa = spec_type.or(kernel_type) == Some(Type::Naa);
            if !types_agree {
                Agreement::None
            } else if spec == kernel {
                Agreement::Full
            } else if is_naa && spec.len() == 16 && kernel.len() == 32 && kernel.starts_with(&spec) {
                Agreement::Prefix // `ID_WWN` of a 128-bit name
            } else {
                Agreement::None
            }
        }
        (Wwn::Text(spec), Wwn::Text(kernel)) if spec == kernel => Agreement::Full,
        _ => Agreement::None,
    }
}

/// A key that is equal for two serial numbers in specs that the same disk may have.
pub fn serial_key(spec: &str) -> String {
    by_udev(spec.trim())
}

/// A key that is equal for two spellings of one world-wide name. Equal digits from two registries have the same key.
pub fn wwn_key(spec: &str) -> String {
    match Wwn::parse(spec) {
        Wwn::Number(_, text) | Wwn::Text(text) => text,
    }
}

/// Whether the kernel or udev may use this spelling for a world-wide name of a disk (`scsi_vpd_lun_id`,
/// `nvme_ns_wwid`).
pub fn is_wwn(spec: &str) -> bool {
    match Wwn::parse(spec) {
        Wwn::Number(..) => true,
        Wwn::Text(text) => ["t10.", "nvme.", "iqn."].iter().any(|kind| text.starts_with(kind)),
    }
}

/// Whether the text is the name of a link in `/dev/disk/by-id`, which contains a serial number only as a part.
pub fn is_link(text: &str) -> bool {
    text.starts_with("/dev/")
        || ["ata-", "scsi-", "nvme-", "usb-", "virtio-", "mmc-", "wwn-"]
            .iter()
            .any(|bus| text.starts_with(bus))
}

/// The registry that assigns a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// T11 Network Address Authority: 64 or 128 bits.
    Naa,
    /// IEEE EUI-64, and NVMe's NGUID of 128 bits.
    Eui,
    /// RFC 9562.
    Uuid,
}

/// A world-wide name, independent of its spelling.
#[derive(Debug, PartialEq, Eq)]
enum Wwn {
    /// Digits in lower case, with leading zeros; without a type if the spelling has none.
    Number(Option<Type>, String),
    /// `t10.…`, `nvme.…`: text, in udev's form and in lower case.
    Text(String),
}

impl Wwn {
    fn parse(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let text = ["wwn-", "nvme-"] // links in /dev/disk/by-id
            .iter()
            .find_map(|link| text.strip_prefix(link))
            .unwrap_or(&text);
        let typed = [("naa.", Type::Naa), ("0x", Type::Naa), ("eui.", Type::Eui), ("uuid.", Type::Uuid)]
            .iter()
            .find_map(|(prefix, kind)| Some((*kind, text.strip_prefix(prefix)?)));
        let (kind, rest) = typed.map_or((None, text), |(kind, rest)| (Some(kind), rest));
        let digits: String = rest.chars().filter(|c| *c != '-').collect();
        let is_number = matches!(digits.len(), 16 | 24 | 32) && digits.chars().all(|c| c.is_ascii_hexdigit());
        // Only a UUID contains dashes; NVMe's NGUID, which sysfs prints in the same form, is accepted too.
        if is_number && (digits.len() == rest.len() || is_uuid_form(rest)) {
            return Self::Number(kind, digits);
        }
        Self::Text(by_udev(text))
    }
}

/// Whether the text has the form 8-4-4-4-12.
fn is_uuid_form(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_agree_in_the_spellings_of_kernel_and_udev() {
        let limit = Some(SERIAL_BYTES);
        let cases = [
            ("A1", "A1", None, Agreement::Full),
            (" A1 ", "A1", None, Agreement::Full),
            ("A1", "  A1", None, Agreement::Full),
            ("WD WX 12", "WD WX 12", None, Agreement::Full),
            ("WD_WX_12", "WD WX  12", None, Agreement::Full),
            ("WD WX 12", "WD_WX_12", None, Agreement::None),
            ("a1", "A1", None, Agreement::CaseOnly),
            ("A1", "0A1", None, Agreement::None),
            ("A", "A1", limit, Agreement::None),
            ("A1B", "A1", limit, Agreement::None),
            ("0123456789012345678901234", "01234567890123456789", limit, Agreement::Prefix),
            ("0123456789012345678901234", "0123456789012345678", limit, Agreement::None),
            ("0123456789012345678901234", "01234567890123456789", None, Agreement::None),
            ("0123456789012345678X01234", "01234567890123456789", limit, Agreement::None),
            ("01234567890123456789", "01234567890123456789", limit, Agreement::Full),
            ("0123456789012345678", "01234567890123456789", limit, Agreement::None),
            ("disk_of_node_1_in_rack_2", "disk of node 1 in ra", limit, Agreement::Prefix),
            ("", "", limit, Agreement::Full),
        ];
        for (spec, kernel, limit, expected) in cases {
            assert_eq!(serial(spec, kernel, limit), expected, "{spec:?} against {kernel:?}");
        }
    }

    /// A 128-bit name has two spellings in udev: `ID_WWN` (its first 64 bits) and `ID_WWN_WITH_EXTENSION`.
    #[test]
    fn world_wide_names_agree_in_the_spellings_of_kernel_and_udev() {
        const LONG: &str = "naa.600140512345678990abcdef01234567";
        let cases = [
            ("0x5000c500a1b2c3d4", "naa.5000c500a1b2c3d4", Agreement::Full),
            ("0x5000C500A1B2C3D4", "naa.5000c500a1b2c3d4", Agreement::Full),
            ("naa.5000c500a1b2c3d4", "naa.5000c500a1b2c3d4", Agreement::Full),
            ("NAA.5000C500A1B2C3D4", "naa.5000c500a1b2c3d4", Agreement::Full),
            ("5000c500a1b2c3d4", "naa.5000c500a1b2c3d4", Agreement::Full),
            ("wwn-0x5000c500a1b2c3d4", "naa.5000c500a1b2c3d4", Agreement::Full),
            ("0x5000c500a1b2c3d", "naa.5000c500a1b2c3d4", Agreement::None),
            ("0x05000c500a1b2c3d", "naa.5000c500a1b2c3d", Agreement::None),
            ("0x600140512345678990abcdef01234567", LONG, Agreement::Full),
            ("600140512345678990ABCDEF01234567", LONG, Agreement::Full),
            ("0x6001405123456789", LONG, Agreement::Prefix),
            ("0x90abcdef01234567", LONG, Agreement::None),
            ("0x600140512345678990abcdef", LONG, Agreement::None),
            ("0x600140512345678990abcdef01234567", "naa.6001405123456789", Agreement::None),
            ("eui.0025385b71b0001f", "eui.0025385b71b0001f", Agreement::Full),
            ("nvme-eui.0025385B71B0001F", "eui.0025385b71b0001f", Agreement::Full),
            ("eui.25385b71b0001f", "eui.0025385b71b0001f", Agreement::None),
            ("0x0025385b71b0001f", "eui.0025385b71b0001f", Agreement::None),
            ("0025385b71b0001f", "eui.0025385b71b0001f", Agreement::Full),
            ("eui.0025385b71b0001f", "eui.0025385b71b0001f0011223344556677", Agreement::None),
            (
                "uuid.0d4b5f1c-6c5e-4f0e-9d0a-1d2c3b4a5f60",
                "uuid.0d4b5f1c-6c5e-4f0e-9d0a-1d2c3b4a5f60",
                Agreement::Full,
            ),
            (
                "0D4B5F1C-6C5E-4F0E-9D0A-1D2C3B4A5F60",
                "uuid.0d4b5f1c-6c5e-4f0e-9d0a-1d2c3b4a5f60",
                Agreement::Full,
            ),
            (
                "uuid.0d4b5f1c-6c5e-4f0e-9d0a-1d2c3b4a5f60",
                "eui.0d4b5f1c6c5e4f0e9d0a1d2c3b4a5f60",
                Agreement::None,
            ),
            (
                "t10.ATA     QEMU HARDDISK      QM00001    ",
                "t10.ATA     QEMU HARDDISK      QM00001",
                Agreement::Full,
            ),
            ("t10.ATA_QEMU_HARDDISK_QM00001", "t10.ATA     QEMU HARDDISK      QM00001", Agreement::Full),
            ("nvme.1b36-6c6162-51454d55-00000001", "nvme.1b36-6c6162-51454d55-00000001", Agreement::Full),
            ("nvme.1b36-6c6162-51454d55-00000001", "nvme.1b36-6c6162-51454d55-00000002", Agreement::None),
        ];
        for (spec, kernel, expected) in cases {
            assert_eq!(wwn(spec, kernel), expected, "{spec:?} against {kernel:?}");
        }
    }

    #[test]
    fn all_spellings_of_a_name_have_the_same_key() {
        for (one, other) in [
            ("0x5000C500A1B2C3D4", "naa.5000c500a1b2c3d4"),
            ("wwn-0x5000c500a1b2c3d4", "5000c500a1b2c3d4"),
            ("0D4B5F1C-6C5E-4F0E-9D0A-1D2C3B4A5F60", "uuid.0d4b5f1c-6c5e-4f0e-9d0a-1d2c3b4a5f60"),
            ("t10.ATA     QEMU HARDDISK", "t10.ATA_QEMU_HARDDISK"),
        ] {
            assert_eq!(wwn_key(one), wwn_key(other));
            assert!(is_wwn(one) && is_wwn(other), "{one} {other}");
        }
        assert_ne!(wwn_key("naa.5000c500a1b2c3d4"), wwn_key("naa.5000c500a1b2c3d5"));
        assert_eq!(serial_key(" WD WX 12"), serial_key("WD_WX_12"));
        assert_ne!(serial_key("wd-1"), serial_key("WD-1"));
    }

    #[test]
    fn a_text_that_cannot_be_a_disk_name_is_detected() {
        for text in ["5000c500a1b2c3d", "0x5000c5", "sda", "naa.", "eui.0025385b", "S3Z1NB0K100001"] {
            assert!(!is_wwn(text), "{text}");
        }
        assert!(is_link("/dev/disk/by-id/ata-WDC_WD10") && is_link("nvme-Samsung_SSD_980_S64"));
        assert!(!is_link("S3Z1NB0K100001") && !is_link("QM00001"));
    }
}
