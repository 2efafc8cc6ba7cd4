//! The variable store of OVMF, the firmware of virtual machines. Enrols the keys of a cluster in a copy of its template and enables Secure
//! Boot.
//!
//! The store is a firmware volume that contains one variable store (EDK2: `MdePkg/Include/Pi/PiFirmwareVolume.h`,
//! `MdeModulePkg/Include/Guid/VariableFormat.h`, authenticated format). Live variables that do not belong to Secure Boot are kept. All
//! variables of Secure Boot are replaced: PK, KEK and db contain only the keys of the cluster, and dbx is empty. The bytes after the
//! variable store (the journal and spare area of the firmware) are not changed.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::format::{ATTRIBUTES, OWNER, TIME_LENGTH};
use super::{EfiSignatureError, Timestamp, Variable, signature_list};
use crate::guid::Guid;

/// `EFI_SYSTEM_NV_DATA_FV_GUID`.
const NV_DATA: Guid = Guid::from_u128(0xfff12b8d_7696_4c8b_a985_2747075b4f50);
/// `EFI_AUTHENTICATED_VARIABLE_GUID`.
const AUTHENTICATED: Guid = Guid::from_u128(0xaaf32c78_947b_439a_a180_2e144ec37792);
/// `EFI_SECURE_BOOT_ENABLE_DISABLE_GUID`.
const SECURE_BOOT_ENABLE: Guid = Guid::from_u128(0xf0a30bc7_af08_4556_99c4_001009c93a44);
/// `EFI_CUSTOM_MODE_ENABLE_GUID`.
const CUSTOM_MODE: Guid = Guid::from_u128(0xc076ec0c_7028_4399_a072_71ee5c448b9f);
/// Signature of a firmware volume.
const MAGIC: [u8; 4] = *b"_FVH";
/// `VARIABLE_DATA`: the start of a variable.
const START: u16 = 0x55aa;
/// `VAR_ADDED`: written and not deleted.
const ADDED: u8 = 0x3f;
/// `VAR_ADDED & VAR_IN_DELETED_TRANSITION`: the firmware was interrupted while it replaced the variable.
const REPLACING: u8 = 0x3e;
/// `NON_VOLATILE | BOOTSERVICE_ACCESS`.
const BOOT_SERVICE_ONLY: u32 = 0x3;
/// `VARIABLE_STORE_FORMATTED`, `VARIABLE_STORE_HEALTHY`.
const HEALTHY: [u8; 2] = [0x5a, 0xfe];

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct VolumeHeader {
    zero: [u8; 16],
    file_system: [u8; 16],
    length: U64,
    signature: [u8; 4],
    attributes: U32,
    header_length: U16,
    checksum: U16,
    extended: U16,
    reserved: u8,
    revision: u8,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StoreHeader {
    signature: [u8; 16],
    size: U32,
    state: [u8; 2],
    reserved: [u8; 6],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct VariableHeader {
    start: U16,
    state: u8,
    reserved: u8,
    attributes: U32,
    monotonic_count: U64,
    time: [u8; TIME_LENGTH],
    public_key: U32,
    name_size: U32,
    data_size: U32,
    vendor: [u8; 16],
}

/// A live variable of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The name as it is stored: UTF-16 with terminator.
    name: &'a [u8],
    /// The namespace.
    pub vendor: Guid,
    /// The value.
    pub data: &'a [u8],
    encoded: &'a [u8],
}

impl Stored<'_> {
    /// Whether the variable has this name and vendor.
    pub fn is(&self, name: &str, vendor: Guid) -> bool {
        self.vendor == vendor && self.name == utf16(name)
    }
}

/// The certificates to enrol, DER.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// Platform key.
    pub pk: &'a [u8],
    /// Key exchange key.
    pub kek: &'a [u8],
    /// The certificates of the keys that sign programs.
    pub db: &'a [&'a [u8]],
    /// The time stamp of the variables.
    pub time: Timestamp,
}

/// The live variables of a store, in the order of the store.
pub fn variables(store: &[u8]) -> Result<Vec<Stored<'_>>, EfiSignatureError> {
    let area = store.get(area(store)?).ok_or(malformed("shorter than its header declares"))?;
    read_variables(area)
}

/// A copy of `template` (`OVMF_VARS_4M.fd`, or the store of a machine that is off) with the keys enrolled and Secure Boot enabled.
pub fn enrol(template: &[u8], keys: &Keys<'_>) -> Result<Vec<u8>, EfiSignatureError> {
    let area = area(template)?;
    let mut body = Vec::new();
    for variable in variables(template)? {
        if !is_of_secure_boot(&variable) {
            push(&mut body, variable.encoded);
        }
    }
    for (variable, certificates) in
        [(Variable::Db, keys.db), (Variable::Kek, &[keys.kek]), (Variable::Pk, &[keys.pk])]
    {
        let list = signature_list(OWNER, certificates)?;
        let time = keys.time.to_bytes();
        push(&mut body, &encode(variable.name(), variable.vendor(), ATTRIBUTES, time, &list)?);
    }
    // In custom mode, any person at the console could write the keys without a signature.
    for (name, vendor, value) in [("SecureBootEnable", SECURE_BOOT_ENABLE, 1), ("CustomMode", CUSTOM_MODE, 0)]
    {
        push(&mut body, &encode(name, vendor, BOOT_SERVICE_ONLY, [0; TIME_LENGTH], &[value])?);
    }
    with_body(template, area, body)
}

/// A copy of a store with one more variable, as a program could set it: without a signature and without a time.
pub fn add(
    store: &[u8],
    name: &str,
    vendor: Guid,
    attributes: u32,
    data: &[u8],
) -> Result<Vec<u8>, EfiSignatureError> {
    let area = area(store)?;
    let mut body = Vec::new();
    for variable in variables(store)? {
        if variable.is(name, vendor) {
            return Err(malformed("a variable with this name already exists"));
        }
        push(&mut body, variable.encoded);
    }
    push(&mut body, &encode(name, vendor, attributes, [0; TIME_LENGTH], data)?);
    with_body(store, area, body)
}

/// A copy of a store in which `body` replaces all variables.
fn with_body(
    store: &[u8],
    area: std::ops::Range<usize>,
    mut body: Vec<u8>,
) -> Result<Vec<u8>, EfiSignatureError> {
    if body.len() > area.len() {
        return Err(EfiSignatureError::TooLarge("the set of variables"));
    }
    body.resize(area.len(), 0xff);
    let mut out = store.to_vec();
    out.get_mut(area).ok_or(malformed("shorter than its header declares"))?.copy_from_slice(&body);
    Ok(out)
}

/// The byte range of the variables.
fn area(store: &[u8]) -> Result<std::ops::Range<usize>, EfiSignatureError> {
    let (volume, _) =
        VolumeHeader::ref_from_prefix(store).map_err(|_| malformed("shorter than its header"))?;
    if volume.signature != MAGIC || volume.file_system != NV_DATA.to_disk() {
        return Err(malformed("not a firmware volume with variables"));
    }
    let start = usize::from(volume.header_length.get());
    let (header, rest) = store.split_at_checked(start).ok_or(malformed("shorter than its header"))?;
    let sum = header.chunks(2).fold(0u16, |sum, pair| {
        sum.wrapping_add(pair.iter().rev().fold(0, |all, byte| (all << 8) | u16::from(*byte)))
    });
    if sum != 0 {
        return Err(malformed("the checksum of its header is wrong"));
    }
    let (header, _) = StoreHeader::ref_from_prefix(rest).map_err(|_| malformed("shorter than its header"))?;
    if header.signature != AUTHENTICATED.to_disk() || header.state != HEALTHY {
        return Err(malformed("not a healthy store of authenticated variables"));
    }
    let size = header.size.get() as usize;
    let inside = size >= size_of::<StoreHeader>()
        && size <= rest.len()
        && u64::try_from(start + size).is_ok_and(|end| end <= volume.length.get());
    if inside {
        Ok(start + size_of::<StoreHeader>()..start + size)
    } else {
        Err(malformed("the store is not inside its volume"))
    }
}

fn read_variables(area: &[u8]) -> Result<Vec<Stored<'_>>, EfiSignatureError> {
    let mut out = Vec::new();
    let mut at = 0usize;
    while let Some(rest) = area.get(at..)
        && let Ok((header, body)) = VariableHeader::ref_from_prefix(rest)
        && header.start.get() == START
    {
        let size = |size: U32| size.get() as usize;
        let (name, after) = body
            .split_at_checked(size(header.name_size))
            .ok_or(malformed("a variable is longer than the store"))?;
        let (data, after) = after
            .split_at_checked(size(header.data_size))
            .ok_or(malformed("a variable is longer than the store"))?;
        let length = rest.len() - after.len();
        let (encoded, _) = rest.split_at(length);
        match header.state {
            ADDED => out.push(Stored { name, vendor: Guid::from_disk(header.vendor), data, encoded }),
            REPLACING => return Err(malformed("the firmware was interrupted while writing: start it once")),
            _ => {}
        }
        at = (at + length).next_multiple_of(4);
    }
    Ok(out)
}

fn is_of_secure_boot(variable: &Stored<'_>) -> bool {
    let keys = [Variable::Pk, Variable::Kek, Variable::Db, Variable::Dbx];
    keys.iter().any(|key| variable.is(key.name(), key.vendor()))
        || variable.is("SecureBootEnable", SECURE_BOOT_ENABLE)
        || variable.is("CustomMode", CUSTOM_MODE)
}

fn encode(
    name: &str,
    vendor: Guid,
    attributes: u32,
    time: [u8; TIME_LENGTH],
    data: &[u8],
) -> Result<Vec<u8>, EfiSignatureError> {
    let name = utf16(name);
    let narrow = |size: usize| u32::try_from(size).map_err(|_| EfiSignatureError::TooLarge("a variable"));
    let header = VariableHeader {
        start: U16::new(START),
        state: ADDED,
        reserved: 0,
        attributes: U32::new(attributes),
        monotonic_count: U64::ZERO,
        time,
        public_key: U32::ZERO,
        name_size: U32::new(narrow(name.len())?),
        data_size: U32::new(narrow(data.len())?),
        vendor: vendor.to_disk(),
    };
    Ok([header.as_bytes(), &name, data].concat())
}

/// Appends a variable. Variables begin at multiples of four; the bytes between them are erased flash (0xff).
fn push(body: &mut Vec<u8>, variable: &[u8]) {
    body.extend_from_slice(variable);
    body.resize(body.len().next_multiple_of(4), 0xff);
}

fn utf16(name: &str) -> Vec<u8> {
    name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

const fn malformed(rule: &'static str) -> EfiSignatureError {
    EfiSignatureError::Malformed { what: "variable store", rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkcs7::{Signer, sample as keys};

    /// An empty store as the build of OVMF writes it: header of the volume, header of the store, erased flash, then the journal.
    fn template() -> Vec<u8> {
        let mut out = vec![0; 16];
        out.extend_from_slice(&NV_DATA.to_disk());
        out.extend_from_slice(&0x5000u64.to_le_bytes());
        out.extend_from_slice(b"_FVH\xff\xfe\x04\x00\x48\x00\x00\x00\x00\x00\x00\x02");
        out.extend_from_slice(&[5, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let sum =
            out.chunks(2).fold(0u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
        out[0x32..0x34].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
        out.extend_from_slice(&AUTHENTICATED.to_disk());
        out.extend_from_slice(&0x3fb8u32.to_le_bytes());
        out.extend_from_slice(&[0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
        out.resize(0x4000, 0xff);
        out.resize(0x5000, 0x77);
        out
    }

    fn enrolled(template: &[u8]) -> Result<Vec<u8>, EfiSignatureError> {
        let (pk, kek, db) = (keys::pk(), keys::kek(), keys::db());
        let time = Timestamp::from_unix(1_790_000_000).unwrap();
        let db = [db.certificate()];
        enrol(template, &Keys { pk: pk.certificate(), kek: kek.certificate(), db: &db, time })
    }

    fn names(store: &[u8]) -> Vec<String> {
        variables(store)
            .unwrap()
            .iter()
            .map(|variable| {
                let units: Vec<u16> =
                    variable.name.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                String::from_utf16(&units).unwrap().trim_end_matches('\0').to_owned()
            })
            .collect()
    }

    #[test]
    fn the_keys_are_enrolled_and_the_rest_of_the_flash_is_unchanged() {
        let store = enrolled(&template()).unwrap();
        assert_eq!(names(&store), ["db", "KEK", "PK", "SecureBootEnable", "CustomMode"]);
        assert_eq!(store[..0x64], template()[..0x64]);
        assert_eq!(store[0x4000..], template()[0x4000..]);
        let listed = variables(&store).unwrap();
        let db = listed.iter().find(|variable| variable.is("db", Variable::Db.vendor())).unwrap();
        assert_eq!(super::super::certificates(db.data).unwrap()[0].1, keys::db().certificate());
        assert_eq!(enrolled(&template()).unwrap(), store, "deterministic");
    }

    /// All keys that were enrolled before are removed; other variables are kept.
    #[test]
    fn foreign_keys_are_replaced_and_other_variables_kept() {
        let foreign = [
            ("PK", Variable::Pk.vendor()),
            ("dbx", Variable::Dbx.vendor()),
            ("SecureBootEnable", SECURE_BOOT_ENABLE),
            ("BootOrder", Variable::Pk.vendor()),
            ("PK", CUSTOM_MODE),
        ];
        let mut used = template();
        let mut at = 0x64;
        for (name, vendor) in foreign {
            let mut variable = encode(name, vendor, 7, [0; 16], b"other").unwrap();
            variable.resize(variable.len().next_multiple_of(4), 0xff);
            used[at..at + variable.len()].copy_from_slice(&variable);
            at += variable.len();
        }
        let store = enrolled(&used).unwrap();
        assert_eq!(names(&store), ["BootOrder", "PK", "db", "KEK", "PK", "SecureBootEnable", "CustomMode"]);
        assert_eq!(enrolled(&store).unwrap(), store, "enrolling twice gives the same store");
        // Deleted variables are not listed. A variable in transition is an error, because the firmware must complete the write first.
        used[0x64 + 2] = 0x3d;
        assert_eq!(names(&used).len(), 4);
        used[0x64 + 2] = REPLACING;
        assert!(enrolled(&used).is_err());
    }

    #[test]
    fn a_variable_is_added_after_the_others_and_only_once() {
        let store = enrolled(&template()).unwrap();
        let more = add(&store, "MokListRT", CUSTOM_MODE, 7, b"keys").unwrap();
        let listed = variables(&more).unwrap();
        let (last, others) = listed.split_last().unwrap();
        assert_eq!(others, variables(&store).unwrap());
        assert!(last.is("MokListRT", CUSTOM_MODE));
        assert_eq!(last.data, b"keys");
        assert_eq!(more[0x4000..], store[0x4000..]);
        assert!(add(&more, "MokListRT", CUSTOM_MODE, 7, b"").is_err(), "twice");
        assert!(add(&store, "large", CUSTOM_MODE, 7, &[0; 0x4000]).is_err(), "larger than the store");
    }

    #[test]
    fn an_invalid_store_is_refused() {
        let flip = |at: usize| {
            let mut store = template();
            store[at] ^= 1;
            store
        };
        for (why, store) in [
            ("empty", Vec::new()),
            ("short", template()[..0x40].to_vec()),
            ("other file system", flip(16)),
            ("no magic", flip(40)),
            ("header checksum", flip(0x32)),
            ("other store", flip(0x48)),
            ("unhealthy", flip(0x5d)),
            ("truncated", template()[..0x3fff].to_vec()),
        ] {
            assert!(enrolled(&store).is_err(), "{why}");
        }
        let mut torn = template();
        torn[0x64..0x66].copy_from_slice(&START.to_le_bytes());
        assert!(variables(&torn).is_err(), "a variable of 4 GiB");
    }
}
