//! The reader of untrusted PE files. It checks the bounds first, then the form that the parent module describes. The results are views into
//! the bytes, without copies.

use zerocopy::FromBytes;

use super::PeError;
use super::format::{
    CERTIFICATE_DIRECTORY, CHECKSUM_AT, CoffHeader, DOS_MAGIC, Directory, MAX_SECTIONS, OptionalHeader,
    PE_MAGIC, PE_OFFSET_AT, PE32_PLUS, SectionHeader,
};

/// A PE file of the accepted form.
#[derive(Debug, Clone)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    coff: CoffHeader,
    optional: OptionalHeader,
    optional_at: usize,
    sections_at: usize,
    sections: Vec<Section<'a>>,
    certificates: Option<std::ops::Range<usize>>,
}

/// One section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// The header, as it is in the file.
    pub header: SectionHeader,
    name: &'a str,
    raw: &'a [u8],
}

impl<'a> Section<'a> {
    /// The name, without padding.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The content of the section: its bytes in the file without padding.
    pub fn data(&self) -> &'a [u8] {
        // A section may be longer in memory than in the file. The loader then appends zeroes, which are not included.
        self.raw.get(..to_usize(self.header.virtual_size.get())).unwrap_or(self.raw)
    }
}

impl<'a> Pe<'a> {
    /// Reads and checks the headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        let pe_at = pe_offset(bytes)?;
        let after = |from: usize, what| bytes.get(from..).ok_or(PeError::Truncated(what));
        let (coff, _) = CoffHeader::read_from_prefix(after(pe_at + PE_MAGIC.len(), "COFF header")?)
            .map_err(|_| PeError::Truncated("COFF header"))?;
        let optional_at = pe_at + PE_MAGIC.len() + size_of::<CoffHeader>();
        let (optional, _) = OptionalHeader::read_from_prefix(after(optional_at, "optional header")?)
            .map_err(|_| PeError::Truncated("optional header"))?;
        check_headers(&coff, &optional, bytes.len())?;

        let sections_at = optional_at + usize::from(coff.optional_size.get());
        let headers = after(sections_at, "section headers")?;
        let count = usize::from(coff.sections.get());
        let (headers, _) = <[SectionHeader]>::ref_from_prefix_with_elems(headers, count)
            .map_err(|_| PeError::Truncated("section headers"))?;
        let headers_size = to_usize(optional.headers_size.get());
        if sections_at + size_of_val(headers) > headers_size {
            return Err(header(
                "SizeOfHeaders",
                optional.headers_size.get(),
                "it does not cover the section headers",
            ));
        }
        let (sections, end) = read_sections(bytes, headers, &optional)?;
        let certificates = find_certificates(bytes, optional_at, end)?;
        Ok(Self { bytes, coff, optional, optional_at, sections_at, sections, certificates })
    }

    /// The file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The COFF header.
    pub fn coff(&self) -> &CoffHeader {
        &self.coff
    }

    /// The optional header.
    pub fn optional(&self) -> &OptionalHeader {
        &self.optional
    }

    /// The sections. Their headers, addresses and file offsets have the same order.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The bytes of the section with this name. A UKI of kubedOS has no duplicate names. In other files, this is the first section
    /// with the name, as for the stub.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.sections.iter().find(|section| section.name == name).map(Section::data)
    }

    /// The certificate table, if the file has one. It extends to the end of the file.
    pub fn certificate_table(&self) -> Option<&'a [u8]> {
        self.bytes.get(self.certificates.clone()?)
    }

    /// The file without its certificate table. The headers still refer to the table.
    pub fn without_certificates(&self) -> &'a [u8] {
        let end = self.certificates.as_ref().map_or(self.bytes.len(), |range| range.start);
        let (program, _) = self.bytes.split_at(end);
        program
    }

    /// File offset of the four bytes of the checksum.
    pub fn checksum_at(&self) -> usize {
        self.optional_at + CHECKSUM_AT
    }

    /// File offset of the eight bytes with the offset and size of the certificate table.
    pub fn certificate_directory_at(&self) -> usize {
        certificate_directory_at(self.optional_at)
    }

    pub(super) fn coff_at(&self) -> usize {
        self.optional_at - size_of::<CoffHeader>()
    }

    pub(super) fn optional_at(&self) -> usize {
        self.optional_at
    }

    pub(super) fn section_headers_end(&self) -> usize {
        self.sections_at + self.sections.len() * size_of::<SectionHeader>()
    }
}

fn certificate_directory_at(optional_at: usize) -> usize {
    optional_at + size_of::<OptionalHeader>() + CERTIFICATE_DIRECTORY * size_of::<Directory>()
}

fn pe_offset(bytes: &[u8]) -> Result<usize, PeError> {
    if !bytes.starts_with(&DOS_MAGIC) {
        return Err(PeError::NotPe("the DOS header"));
    }
    let field = bytes.get(PE_OFFSET_AT..PE_OFFSET_AT + 4).ok_or(PeError::Truncated("DOS header"))?;
    let at = to_usize(u32::from_le_bytes(field.try_into().map_err(|_| PeError::Truncated("DOS header"))?));
    match at.checked_add(PE_MAGIC.len()).and_then(|end| bytes.get(at..end)) {
        Some(magic) if magic == PE_MAGIC => Ok(at),
        Some(_) => Err(PeError::NotPe("the PE signature")),
        None => Err(PeError::Truncated("DOS header")),
    }
}

fn check_headers(coff: &CoffHeader, optional: &OptionalHeader, length: usize) -> Result<(), PeError> {
    if optional.magic.get() != PE32_PLUS {
        return Err(PeError::NotPe("the PE32+ header"));
    }
    if coff.symbol_table.get() != 0 || coff.symbols.get() != 0 {
        return Err(PeError::Symbols);
    }
    let count = coff.sections.get();
    if count == 0 || usize::from(count) > MAX_SECTIONS {
        return Err(header("NumberOfSections", count, "1 to 96"));
    }
    let directories = optional.directories.get();
    if to_usize(directories) <= CERTIFICATE_DIRECTORY || directories > 16 {
        return Err(header(
            "NumberOfRvaAndSizes",
            directories,
            "5 to 16, so that there is a certificate directory",
        ));
    }
    let expected = size_of::<OptionalHeader>() + to_usize(directories) * size_of::<Directory>();
    if usize::from(coff.optional_size.get()) != expected {
        return Err(header(
            "SizeOfOptionalHeader",
            coff.optional_size.get(),
            "it contradicts NumberOfRvaAndSizes",
        ));
    }
    let (file, memory) = (optional.file_alignment.get(), optional.section_alignment.get());
    if !file.is_power_of_two() || !(32..=0x1_0000).contains(&file) {
        return Err(header("FileAlignment", file, "a power of two from 32 to 65536"));
    }
    if !memory.is_power_of_two() || memory < file || memory > 0x20_0000 {
        return Err(header("SectionAlignment", memory, "a power of two from FileAlignment to 2 MiB"));
    }
    let headers = optional.headers_size.get();
    if !headers.is_multiple_of(file) || to_usize(headers) > length {
        return Err(header("SizeOfHeaders", headers, "a multiple of FileAlignment inside the file"));
    }
    Ok(())
}

/// The sections, and the end of the last section that has bytes in the file.
fn read_sections<'a>(
    bytes: &'a [u8],
    headers: &'a [SectionHeader],
    optional: &OptionalHeader,
) -> Result<(Vec<Section<'a>>, usize), PeError> {
    let mut sections = Vec::with_capacity(headers.len());
    let mut offset = optional.headers_size.get();
    let mut address = u64::from(offset);
    for head in headers {
        let name = section_name(head)?;
        let refuse = |rule| PeError::Section { name: name.to_owned(), rule };
        if u64::from(head.virtual_address.get()) < address {
            return Err(refuse("its addresses overlap the headers or the previous section"));
        }
        if !head.virtual_address.get().is_multiple_of(optional.section_alignment.get()) {
            return Err(refuse("its address is not aligned"));
        }
        let memory = head.virtual_size.get().max(head.raw_size.get());
        address = u64::from(head.virtual_address.get()) + u64::from(memory);
        if address > u64::from(optional.image_size.get()) {
            return Err(refuse("its addresses reach past SizeOfImage"));
        }
        let mut raw: &[u8] = &[];
        if head.raw_size.get() != 0 {
            if head.raw_offset.get() != offset {
                return Err(refuse(
                    "its file offset is not the end of the headers or of the previous section",
                ));
            }
            if !head.raw_size.get().is_multiple_of(optional.file_alignment.get()) {
                return Err(refuse("its size in the file is not aligned"));
            }
            let start = to_usize(offset);
            raw = start
                .checked_add(to_usize(head.raw_size.get()))
                .and_then(|end| bytes.get(start..end))
                .ok_or_else(|| refuse("it reaches past the end of the file"))?;
            offset = offset.checked_add(head.raw_size.get()).ok_or(PeError::TooLarge)?;
        }
        sections.push(Section { header: *head, name, raw });
    }
    Ok((sections, to_usize(offset)))
}

fn section_name(header: &SectionHeader) -> Result<&str, PeError> {
    let end = header.name.iter().position(|byte| *byte == 0).unwrap_or(header.name.len());
    let (name, padding) = header.name.split_at(end);
    match std::str::from_utf8(name) {
        Ok(text)
            if !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_graphic())
                && padding.iter().all(|byte| *byte == 0) =>
        {
            Ok(text)
        }
        _ => Err(PeError::Section {
            name: name.escape_ascii().to_string(),
            rule: "its name is not printable ASCII, padded with NUL",
        }),
    }
}

fn find_certificates(
    bytes: &[u8],
    optional_at: usize,
    sections_end: usize,
) -> Result<Option<std::ops::Range<usize>>, PeError> {
    let at = certificate_directory_at(optional_at);
    let (directory, _) = bytes
        .get(at..)
        .and_then(|rest| Directory::read_from_prefix(rest).ok())
        .ok_or(PeError::Truncated("data directories"))?;
    let (start, size) = (to_usize(directory.address.get()), to_usize(directory.size.get()));
    let rule = "the certificate table must start at the end of the sections, at a multiple of 8, and extend to the end of the file";
    if size == 0 && start == 0 {
        let trailing = bytes.len().saturating_sub(sections_end);
        return if trailing == 0 { Ok(None) } else { Err(PeError::Trailing(trailing)) };
    }
    if start.checked_add(size) != Some(bytes.len())
        || size < 8
        || !start.is_multiple_of(8)
        || start != sections_end
    {
        return Err(header("certificate directory", directory.address.get(), rule));
    }
    Ok(Some(start..bytes.len()))
}

fn header(field: &'static str, value: impl Into<u64>, rule: &'static str) -> PeError {
    PeError::Header { field, value: value.into(), rule }
}

const fn to_usize(value: u32) -> usize {
    value as usize
}
