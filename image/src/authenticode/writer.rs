//! Creates a signature, and moves it between a program and a separate file.

use super::reader::{HEADER_LENGTH, PKCS_SIGNED_DATA, REVISION, digest, verify};
use super::{AuthenticodeError, indirect};
use crate::pe::{Pe, PeError};
use crate::pkcs7::{Certificate, Signer, attributes, content_info, signed_data};
use kubedos_wire::hex32::sha256;

/// The data that must be signed, to be transported to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The Authenticode digest of the program, which the owner of the key compares.
    pub digest: [u8; 32],
    /// The message that must be signed with RSA PKCS #1 v1.5 and SHA-256. It has about a hundred bytes and depends only on the digest.
    pub message: Vec<u8>,
}

/// Creates the message that must be signed for a program.
pub fn prepare(program: &[u8]) -> Result<Request, AuthenticodeError> {
    if Pe::parse(program)?.certificate_table().is_some() {
        return Err(AuthenticodeError::Signed);
    }
    let digest = digest(program)?;
    Ok(Request { digest, message: message(&digest) })
}

/// Verifies and attaches a signature that the key of `certificate` (DER) made over [`Request::message`].
pub fn attach(program: &[u8], certificate: &[u8], signature: &[u8]) -> Result<Vec<u8>, AuthenticodeError> {
    let request = prepare(program)?;
    let parsed = Certificate::parse(certificate)?;
    parsed.verify(&request.message, signature)?;
    let content = indirect::encode(&request.digest);
    let signed =
        signed_data(&parsed, indirect::INDIRECT_DATA, Some(&content), Some(&request.message), signature);
    let signed = content_info(&signed);

    let length = u32::try_from(HEADER_LENGTH + signed.len()).map_err(|_| PeError::TooLarge)?;
    let mut table = Vec::with_capacity(HEADER_LENGTH + signed.len() + 7);
    table.extend_from_slice(&length.to_le_bytes());
    table.extend_from_slice(&REVISION.to_le_bytes());
    table.extend_from_slice(&PKCS_SIGNED_DATA.to_le_bytes());
    table.extend_from_slice(&signed);
    table.resize(table.len().next_multiple_of(8), 0);
    append(program, &table)
}

/// Signs a program.
pub fn sign(program: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, AuthenticodeError> {
    let request = prepare(program)?;
    let signature = signer.sign(&request.message)?;
    attach(program, signer.certificate(), &signature)
}

/// Removes the signature. Returns the unsigned program, and the certificate table for a separate file.
pub fn detach(program: &[u8]) -> Result<(Vec<u8>, Vec<u8>), AuthenticodeError> {
    let pe = Pe::parse(program)?;
    let table = pe.certificate_table().ok_or(AuthenticodeError::Unsigned)?.to_vec();
    let mut unsigned = pe.without_certificates().to_vec();
    put_directory(&mut unsigned, pe.certificate_directory_at(), [0; 8])?;
    Ok((unsigned, table))
}

/// Attaches a detached certificate table to the same program after a rebuild. One of the `trusted` certificates (DER) must have signed this
/// program.
pub fn graft(program: &[u8], table: &[u8], trusted: &[&[u8]]) -> Result<Vec<u8>, AuthenticodeError> {
    if Pe::parse(program)?.certificate_table().is_some() {
        return Err(AuthenticodeError::Signed);
    }
    let signed = append(program, table)?;
    verify(&signed, trusted)?;
    Ok(signed)
}

fn message(digest: &[u8; 32]) -> Vec<u8> {
    // The digest covers the octets inside the SEQUENCE.
    attributes(indirect::INDIRECT_DATA, &sha256(&[&indirect::octets(digest)]))
}

fn append(program: &[u8], table: &[u8]) -> Result<Vec<u8>, AuthenticodeError> {
    let pe = Pe::parse(program)?;
    let narrow = |value: usize| u32::try_from(value).map_err(|_| PeError::TooLarge);
    let (start, size) = (narrow(program.len())?.to_le_bytes(), narrow(table.len())?.to_le_bytes());
    let mut directory = [0; 8];
    let (first, second) = directory.split_at_mut(4);
    first.copy_from_slice(&start);
    second.copy_from_slice(&size);
    let mut out = Vec::with_capacity(program.len() + table.len());
    out.extend_from_slice(program);
    put_directory(&mut out, pe.certificate_directory_at(), directory)?;
    out.extend_from_slice(table);
    Pe::parse(&out)?;
    Ok(out)
}

fn put_directory(program: &mut [u8], at: usize, directory: [u8; 8]) -> Result<(), PeError> {
    program
        .get_mut(at..at + directory.len())
        .ok_or(PeError::Truncated("data directories"))?
        .copy_from_slice(&directory);
    Ok(())
}
