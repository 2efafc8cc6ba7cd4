//! Refuses EFI variables that change the keys that the kernel trusts, the state of Secure Boot that it assumes, or the
//! options of PID 1. Such variables are not signed.
//!
//! shim writes the variables of its namespace into memory that the operating system cannot change. No shim runs before
//! this UKI, so a variable with such a name was written by something else, and survives restarts. This module follows
//! `security/integrity/platform_certs/load_uefi.c`, `drivers/firmware/efi/mokvar-table.c` and
//! `drivers/firmware/efi/libstub/secureboot.c` of the kernel, and `src/basic/efivars.c` of systemd.
//!
//! The kernel asks the firmware for a name byte for byte, so other spellings and other namespaces are not refused.
//! Attributes, length and content do not matter: an existing variable is refused.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::firmware::EFIVARS;

/// Where the kernel shows the table with shim's variables (`LINUX_EFI_MOK_VARIABLE_TABLE_GUID`).
const SHIM_TABLE: &str = "/sys/firmware/efi/mok-variables";

/// `EFI_SHIM_LOCK_GUID`.
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";
/// `EFI_VENDOR_SYSTEMD`.
const SYSTEMD: &str = "8cf2644b-4b0b-428f-9387-6d876050dc67";

/// A variable that must not exist.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    name: &'static str,
    vendor: &'static str,
    /// shim splits long lists: `MokListRT1` continues `MokListRT`.
    numbered: bool,
    effect: &'static str,
}

const REFUSED: [Refused; 6] = [
    shim("MokListRT", true, "adds keys that the kernel trusts"),
    shim("MokListTrustedRT", true, "makes the kernel trust MokListRT for modules"),
    shim("MokListXRT", true, "adds keys that the kernel refuses"),
    shim("MokIgnoreDB", false, "makes the kernel ignore the keys in db"),
    shim("MokSBStateRT", false, "makes the kernel treat Secure Boot as off"),
    Refused {
        name: "SystemdOptions",
        vendor: SYSTEMD,
        numbered: false,
        effect: "adds words to systemd's command line",
    },
];

const fn shim(name: &'static str, numbered: bool, effect: &'static str) -> Refused {
    Refused { name, vendor: SHIM, numbered, effect }
}

/// Why the EFI variables are refused.
#[derive(Debug, thiserror::Error)]
pub enum VariablesError {
    /// The variables cannot be listed, so it is unknown whether one exists.
    #[error("failed to list {0}")]
    List(&'static str, #[source] io::Error),
    /// Variables exist that must not exist.
    #[error(
        "EFI {}; remove: in the UEFI shell `dmpstore -d NAME -guid GUID`, or from another Linux \
         `chattr -i` and `rm` its file in {EFIVARS}, or reset the firmware's settings",
        .0.join("; ")
    )]
    Exist(Vec<String>),
    /// shim was started before this UKI.
    #[error(
        "shim was started before this UKI ({SHIM_TABLE} exists): its keys would be trusted; start kubedOS without shim"
    )]
    Shim,
}

/// Fails if one of the variables exists or shim was started. efivarfs must be mounted.
pub fn check() -> Result<(), VariablesError> {
    let table = Path::new(SHIM_TABLE).try_exists();
    if table.map_err(|error| VariablesError::List(SHIM_TABLE, error))? {
        return Err(VariablesError::Shim);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(EFIVARS).map_err(|error| VariablesError::List(EFIVARS, error))? {
        let entry = entry.map_err(|error| VariablesError::List(EFIVARS, error))?;
        found.extend(refusal(&entry.file_name()));
    }
    found.sort();
    if found.is_empty() { Ok(()) } else { Err(VariablesError::Exist(found)) }
}

/// Why a file of efivarfs, `NAME-GUID`, must not exist.
fn refusal(file: &OsStr) -> Option<String> {
    REFUSED
        .iter()
        .find(|refused| refused.is(file.as_bytes()))
        .map(|refused| format!("variable {} exists, which {}", file.to_string_lossy(), refused.effect))
}

impl Refused {
    fn is(&self, file: &[u8]) -> bool {
        let Some((rest, vendor)) = file.split_last_chunk::<36>() else { return false };
        let Some(name) = rest.strip_suffix(b"-") else { return false };
        let Some(number) = name.strip_prefix(self.name.as_bytes()) else { return false };
        let is_name = number.is_empty() || (self.numbered && number.iter().all(u8::is_ascii_digit));
        is_name && vendor.eq_ignore_ascii_case(self.vendor.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(file: &str) -> bool {
        refusal(OsStr::new(file)).is_some_and(|text| text.contains(file))
    }

    /// A5: names are compared byte for byte, as the kernel asks the firmware for them.
    #[test]
    fn the_names_that_the_kernel_reads_are_refused() {
        for name in [
            "MokListRT",
            "MokListTrustedRT",
            "MokListXRT",
            "MokIgnoreDB",
            "MokSBStateRT",
            "MokListRT1",
            "MokListXRT27",
        ] {
            assert!(is_refused(&format!("{name}-{SHIM}")), "{name}");
        }
        assert!(is_refused(&format!("SystemdOptions-{SYSTEMD}")));
        assert!(is_refused(&format!("MokListRT-{}", SHIM.to_uppercase())));
    }

    #[test]
    fn other_names_and_namespaces_are_not_refused() {
        let other = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
        for file in [
            format!("moklistrt-{SHIM}"),
            format!("MokListRTx-{SHIM}"),
            format!("MokIgnoreDB1-{SHIM}"),
            format!("MokList-{SHIM}"),
            format!("MokNew-{SHIM}"),
            format!("SbatLevel-{SHIM}"),
            format!("xMokListRT-{SHIM}"),
            format!("MokListRT-{other}"),
            format!("MokListRT-{SYSTEMD}"),
            format!("SystemdOptions-{SHIM}"),
            format!("MokListRT{SHIM}"),
            "MokListRT".to_owned(),
            SHIM.to_owned(),
            String::new(),
        ] {
            assert!(!is_refused(&file), "{file}");
        }
    }
}
