//! The digest of a program, its signature, and the verification of the signature against trusted certificates.

use super::{AuthenticodeError, indirect};
use crate::pe::Pe;
use crate::pkcs7::{Certificate, Pkcs7Error, SignedData};
use kubedos_wire::hex32::sha256;

/// `WIN_CERTIFICATE`: length (4 bytes), revision (2), type (2); then the certificate.
pub(super) const HEADER_LENGTH: usize = 8;
/// `WIN_CERT_REVISION`.
pub(super) const REVISION: u16 = 0x0200;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
pub(super) const PKCS_SIGNED_DATA: u16 = 0x0002;

/// The Authenticode digest: SHA-256 over all bytes except the checksum, the certificate directory and the certificate table.
///
/// The specification hashes the header, then the sections by file offset, then the rest. [`Pe`] accepts only files in which this is the
/// order of the bytes.
pub fn digest(program: &[u8]) -> Result<[u8; 32], AuthenticodeError> {
    Ok(digest_of(&Pe::parse(program)?))
}

/// In a [`Pe`], both fields are in the headers, the checksum is before the directory, and the certificates are after the sections.
fn digest_of(pe: &Pe<'_>) -> [u8; 32] {
    let bytes = pe.without_certificates();
    let (checksum, directory) = (pe.checksum_at(), pe.certificate_directory_at());
    let (head, _) = bytes.split_at(checksum);
    let (_, between) = bytes.split_at(directory).0.split_at(checksum + 4);
    let (_, rest) = bytes.split_at(directory + 8);
    sha256(&[head, between, rest])
}

/// The PKCS #7 signature of a program, including padding. It is not verified.
pub fn signature(program: &[u8]) -> Result<Option<&[u8]>, AuthenticodeError> {
    Pe::parse(program)?.certificate_table().map(pkcs7).transpose()
}

/// The certificate (DER) of the claimed signer: the included certificate that the signature refers to. Nothing is verified. `None` if the
/// program is not signed, or the signature does not include this certificate.
pub fn claimed_signer(program: &[u8]) -> Result<Option<&[u8]>, AuthenticodeError> {
    let Some(encoded) = signature(program)? else { return Ok(None) };
    let (signed, _) = SignedData::parse_prefix(encoded)?;
    Ok(signed.certificates.into_iter().find(|certificate| {
        Certificate::parse(certificate).is_ok_and(|parsed| parsed.issuer_and_serial() == signed.signer)
    }))
}

/// Verifies that one of the `trusted` certificates (DER) signed the program, and that the program was not changed afterwards.
///
/// Firmware accepts a program if any of several signatures verifies. This function requires exactly one signature, so that the result is
/// unambiguous.
pub fn verify(program: &[u8], trusted: &[&[u8]]) -> Result<(), AuthenticodeError> {
    let pe = Pe::parse(program)?;
    let table = pe.certificate_table().ok_or(AuthenticodeError::Unsigned)?;
    let (signed, padding) = SignedData::parse_prefix(pkcs7(table)?)?;
    if padding.len() >= 8 || padding.iter().any(|byte| *byte != 0) {
        return Err(AuthenticodeError::Table("bytes after the signature"));
    }
    if signed.content_type != indirect::INDIRECT_DATA {
        return Err(Pkcs7Error::Unsupported("content: not the digest of a program").into());
    }
    let content = signed.content.ok_or(Pkcs7Error::Unsupported("content: detached"))?;
    let (content, digest) = indirect::decode(content)
        .map_err(|source| Pkcs7Error::Malformed { what: "SpcIndirectDataContent", source })?;
    signed.verify(content, trusted)?;
    if digest == digest_of(&pe) { Ok(()) } else { Err(AuthenticodeError::Digest) }
}

/// The only signature of a certificate table, with the padding after it.
fn pkcs7(table: &[u8]) -> Result<&[u8], AuthenticodeError> {
    let Some(([l0, l1, l2, l3, r0, r1, t0, t1], body)) = table.split_first_chunk::<HEADER_LENGTH>() else {
        return Err(AuthenticodeError::Table("shorter than its header"));
    };
    if u16::from_le_bytes([*r0, *r1]) != REVISION || u16::from_le_bytes([*t0, *t1]) != PKCS_SIGNED_DATA {
        return Err(AuthenticodeError::Table("not PKCS #7"));
    }
    let length = u64::from(u32::from_le_bytes([*l0, *l1, *l2, *l3]));
    let entry = length.next_multiple_of(8);
    if length < HEADER_LENGTH as u64 || entry != table.len() as u64 {
        return Err(AuthenticodeError::Table("not exactly one signature"));
    }
    Ok(body)
}
