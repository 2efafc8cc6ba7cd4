//! The writer of a UKI: appends sections to the stub. The bytes depend only on the stub and the sections.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use super::format::{INITIALIZED_DATA, MEM_READ, NAME_LENGTH, SectionHeader};
use super::{Pe, PeError};

/// The maximum file size. PE offsets have 32 bits, but some firmware uses signed arithmetic.
const MAX_FILE: usize = i32::MAX as usize;

/// Appends `sections` (name and content, in this order) to `stub` and updates the headers.
///
/// The contents are not changed; each section is padded in the file to the file alignment of the stub. The time stamp of the stub is kept,
/// and the checksum is set to zero (firmware ignores it).
pub fn uki(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
    let pe = Pe::parse(stub)?;
    if pe.certificate_table().is_some() {
        return Err(PeError::SignedStub);
    }
    check_names(&pe, sections)?;
    let headers_at = check_room(&pe, sections.len())?;
    let optional = pe.optional();
    let (file_alignment, memory_alignment) =
        (optional.file_alignment.get(), optional.section_alignment.get());

    let mut address = pe
        .sections()
        .last()
        .map(|last| last.header)
        .and_then(|last| {
            last.virtual_address.get().checked_add(last.virtual_size.get().max(last.raw_size.get()))
        })
        .and_then(|end| end.checked_next_multiple_of(memory_alignment))
        .ok_or(PeError::TooLarge)?;
    let mut offset = to_u32(stub.len())?;
    let mut data_size = optional.data_size.get();
    let mut headers = Vec::with_capacity(sections.len());
    for (name, content) in sections {
        let virtual_size = to_u32(content.len())?;
        let raw_size = virtual_size.checked_next_multiple_of(file_alignment).ok_or(PeError::TooLarge)?;
        headers.push(SectionHeader {
            name: padded(name),
            virtual_size: U32::new(virtual_size),
            virtual_address: U32::new(address),
            raw_size: U32::new(raw_size),
            raw_offset: U32::new(offset),
            relocations: [0; 12],
            characteristics: U32::new(INITIALIZED_DATA | MEM_READ),
        });
        offset = offset.checked_add(raw_size).ok_or(PeError::TooLarge)?;
        data_size = data_size.checked_add(raw_size).ok_or(PeError::TooLarge)?;
        address = address
            .checked_add(raw_size)
            .and_then(|end| end.checked_next_multiple_of(memory_alignment))
            .ok_or(PeError::TooLarge)?;
    }
    let length =
        usize::try_from(offset).ok().filter(|length| *length <= MAX_FILE).ok_or(PeError::TooLarge)?;

    let mut coff = *pe.coff();
    let total = pe.sections().len() + sections.len();
    coff.sections = U16::new(u16::try_from(total).map_err(|_| PeError::TooLarge)?);
    let mut optional = *optional;
    optional.image_size = U32::new(address);
    optional.data_size = U32::new(data_size);
    optional.checksum = U32::ZERO;

    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(stub);
    put(&mut out, pe.coff_at(), coff.as_bytes())?;
    put(&mut out, pe.optional_at(), optional.as_bytes())?;
    put(&mut out, headers_at, headers.as_bytes())?;
    for ((_, content), header) in sections.iter().zip(&headers) {
        out.extend_from_slice(content);
        let end = usize::try_from(header.raw_offset.get() + header.raw_size.get());
        out.resize(end.map_err(|_| PeError::TooLarge)?, 0);
    }
    Ok(out)
}

fn check_names(pe: &Pe<'_>, sections: &[(&str, &[u8])]) -> Result<(), PeError> {
    for (index, (name, content)) in sections.iter().enumerate() {
        let shape = (2..=NAME_LENGTH).contains(&name.len())
            && name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !shape {
            return Err(PeError::Name((*name).to_owned()));
        }
        let mut before = sections.iter().take(index).map(|(other, _)| *other);
        if pe.section(name).is_some() || before.any(|other| other == *name) {
            return Err(PeError::Duplicate((*name).to_owned()));
        }
        if content.is_empty() {
            return Err(PeError::Empty((*name).to_owned()));
        }
    }
    Ok(())
}

/// The offset of the new section headers: directly after the existing headers, in bytes that are zero and before the first section.
fn check_room(pe: &Pe<'_>, needed: usize) -> Result<usize, PeError> {
    let start = pe.section_headers_end();
    let end = usize::try_from(pe.optional().headers_size.get()).map_err(|_| PeError::TooLarge)?;
    let free = pe.bytes().get(start..end).ok_or(PeError::Truncated("headers"))?;
    let zeroes = free.iter().take_while(|byte| **byte == 0).count();
    let limit = super::format::MAX_SECTIONS.saturating_sub(pe.sections().len());
    let room = (zeroes / size_of::<SectionHeader>()).min(limit);
    if needed > room { Err(PeError::NoHeaderSpace { needed, room }) } else { Ok(start) }
}

/// The name padded with zeroes. `check_names` has checked its length.
fn padded(name: &str) -> [u8; NAME_LENGTH] {
    let mut out = [0; NAME_LENGTH];
    let (field, _) = out.split_at_mut(name.len());
    field.copy_from_slice(name.as_bytes());
    out
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), PeError> {
    let end = at.checked_add(bytes.len()).ok_or(PeError::TooLarge)?;
    out.get_mut(at..end).ok_or(PeError::Truncated("headers"))?.copy_from_slice(bytes);
    Ok(())
}

fn to_u32(value: usize) -> Result<u32, PeError> {
    u32::try_from(value).map_err(|_| PeError::TooLarge)
}
