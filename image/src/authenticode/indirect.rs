//! `SpcIndirectDataContent`: the signed content of an Authenticode signature. It consists of constants and the digest of the program.

use crate::der::{DerError, NULL, Reader, element, sequence, tag};
use crate::pkcs7::oid;

/// 1.3.6.1.4.1.311.2.1.4, `SPC_INDIRECT_DATA_OBJID`.
pub(super) const INDIRECT_DATA: &[u8] =
    &[0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// 1.3.6.1.4.1.311.2.1.15, `SPC_PE_IMAGE_DATAOBJ`.
const PE_IMAGE_DATA: &[u8] = &[0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f];
/// The file link that the specification prescribes, a BMP string.
const OBSOLETE: &str = "<<<Obsolete>>>";

/// Encodes the content for a digest.
pub(super) fn encode(digest: &[u8; 32]) -> Vec<u8> {
    sequence(&[&octets(digest)])
}

/// The octets inside the SEQUENCE of the content.
pub(super) fn octets(digest: &[u8; 32]) -> Vec<u8> {
    let text: Vec<u8> = OBSOLETE.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let link = element(
        tag::constructed(0),
        &[&element(tag::constructed(2), &[&element(tag::context(0), &[&text])])],
    );
    let flags = [tag::BIT_STRING, 1, 0];
    let image = sequence(&[&flags, &link]);
    let digest_info = sequence(&[&sequence(&[oid::SHA256, NULL]), &element(tag::OCTET_STRING, &[digest])]);
    [sequence(&[PE_IMAGE_DATA, &image]), digest_info].concat()
}

/// Returns the octets of the content, whose digest is in the attributes (RFC 2315, 9.3), and the digest of the program.
pub(super) fn decode(encoded: &[u8]) -> Result<(&[u8], &[u8]), DerError> {
    let mut outer = Reader::new(encoded);
    let content = outer.expect(tag::SEQUENCE)?.content;
    outer.finish()?;
    let mut reader = Reader::new(content);
    let mut data = reader.enter(tag::SEQUENCE)?;
    let kind = data.expect(tag::OID)?;
    if kind.encoded != PE_IMAGE_DATA {
        return Err(DerError::Unexpected { found: kind.tag, expected: tag::OID });
    }
    let mut info = reader.enter(tag::SEQUENCE)?;
    reader.finish()?;
    let algorithm = info.enter(tag::SEQUENCE)?.expect(tag::OID)?;
    let digest = info.expect(tag::OCTET_STRING)?.content;
    info.finish()?;
    // A digest by a different algorithm never matches.
    Ok((content, if algorithm.encoded == oid::SHA256 { digest } else { &[] }))
}
