//! Checks for UEFI, and reads the partition of the UKI and the state of Secure Boot from EFI variables. No other variables
//! are read. The folder `/.extra` (credentials, add-ons and extensions from systemd-stub) is not read either.

use std::fs;
use std::io;
use std::path::Path;

use kubedos_image::guid::Guid;

/// The mount point of efivarfs, which is mounted read-only.
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";

/// A variable of the boot loader interface; systemd-boot writes it, or systemd-stub if the firmware starts it directly.
const LOADER_DEVICE: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Maximum length of these variables; no more is read.
const LONGEST: u64 = 512;

/// The facts from the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// UUID of the partition that the UKI was loaded from; absent for CDs and for kernels that were not loaded from a disk.
    pub boot_partition: Option<Guid>,
    /// The firmware checks signatures.
    pub secure_boot: bool,
}

/// Why this machine cannot boot.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// The machine was started by a BIOS, or by UEFI in legacy mode.
    #[error("this machine was started by a BIOS or in legacy mode; kubedOS needs UEFI firmware")]
    NotUefi,
    /// A variable cannot be read.
    #[error("failed to read EFI variable {0}")]
    Read(&'static str, #[source] io::Error),
}

/// Checks that the kernel was started through UEFI.
pub fn require_uefi() -> Result<(), FirmwareError> {
    if Path::new("/sys/firmware/efi").is_dir() { Ok(()) } else { Err(FirmwareError::NotUefi) }
}

/// Reads the variables.
pub fn observe() -> Result<Firmware, FirmwareError> {
    Ok(Firmware {
        boot_partition: variable(LOADER_DEVICE)?.as_deref().and_then(partition_uuid),
        secure_boot: variable(SECURE_BOOT)?.is_some_and(|value| value == [1]),
    })
}

/// The value of a variable without its four bytes of attributes; `None` if it is not set.
fn variable(name: &'static str) -> Result<Option<Vec<u8>>, FirmwareError> {
    use std::io::Read as _;
    let file = match fs::File::open(Path::new(EFIVARS).join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FirmwareError::Read(name, error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(|error| FirmwareError::Read(name, error))?;
    Ok(bytes.get(4..).map(<[u8]>::to_vec))
}

/// The UUID in a variable of the boot loader: UTF-16, upper or lower case, terminated by a NUL.
pub fn partition_uuid(value: &[u8]) -> Option<Guid> {
    let (pairs, _) = value.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).take_while(|unit| *unit != 0);
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_in_utf16_is_parsed_and_invalid_text_is_not() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let uuid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        assert_eq!(partition_uuid(&utf16(uuid)), uuid.parse().ok());
        assert_eq!(partition_uuid(&utf16(&format!("{uuid}\0rest"))), uuid.parse().ok());
        assert_eq!(partition_uuid(&utf16("")), None);
        assert_eq!(partition_uuid(&[0, 0xd8, 0x41]), None);
    }
}
