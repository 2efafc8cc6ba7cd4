//! The reader of untrusted signature lists and authenticated variables.

use super::format::{
    ATTRIBUTES, AUTHENTICATION_HEADER_LENGTH, CERT_TYPE_PKCS7, CERT_X509, LIST_HEADER_LENGTH, REVISION,
    TIME_LENGTH, WIN_CERT_TYPE_EFI_GUID,
};
use super::{EfiSignatureError, Variable};
use crate::guid::Guid;
use crate::pkcs7::SignedData;

/// The X.509 certificates (owner, DER) of concatenated signature lists. Lists of other types, such as digests, are skipped.
pub fn certificates(mut lists: &[u8]) -> Result<Vec<(Guid, &[u8])>, EfiSignatureError> {
    let malformed = |rule| EfiSignatureError::Malformed { what: "signature list", rule };
    let mut out = Vec::new();
    while !lists.is_empty() {
        let kind = lists.first_chunk::<16>().ok_or(malformed("shorter than its header"))?;
        let size = |at| read_u32(lists, at).ok_or(malformed("shorter than its header"));
        let (list_size, header, signature) = (size(16)?, size(20)?, size(24)?);
        let (list, rest) = lists.split_at_checked(list_size).ok_or(malformed("longer than the file"))?;
        let body = LIST_HEADER_LENGTH
            .checked_add(header)
            .and_then(|from| list.get(from..))
            .ok_or(malformed("shorter than its header"))?;
        if signature <= size_of::<Guid>() || body.is_empty() || !body.len().is_multiple_of(signature) {
            return Err(malformed("not a whole number of signatures"));
        }
        if Guid::from_disk(*kind) == CERT_X509 {
            for entry in body.chunks_exact(signature) {
                if let Some((owner, certificate)) = entry.split_first_chunk::<16>() {
                    out.push((Guid::from_disk(*owner), certificate));
                }
            }
        }
        lists = rest;
    }
    Ok(out)
}

/// The parts of an authenticated write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticatedVariable<'a> {
    /// `EFI_TIME`.
    pub time: [u8; TIME_LENGTH],
    /// The signature.
    pub signature: SignedData<'a>,
    /// The signature lists.
    pub list: &'a [u8],
}

impl<'a> AuthenticatedVariable<'a> {
    /// Parses a `.auth` file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EfiSignatureError> {
        let malformed = |rule| EfiSignatureError::Malformed { what: "authenticated variable", rule };
        let short = malformed("shorter than its header");
        let Some(time) = bytes.first_chunk::<TIME_LENGTH>() else { return Err(short) };
        let Some(length) = read_u32(bytes, TIME_LENGTH) else { return Err(short) };
        let kind = [REVISION.to_le_bytes(), WIN_CERT_TYPE_EFI_GUID.to_le_bytes()].concat();
        if bytes.get(20..24) != Some(&kind) || bytes.get(24..40) != Some(&CERT_TYPE_PKCS7.to_disk()) {
            return Err(malformed("not signed by PKCS #7"));
        }
        let end = TIME_LENGTH.checked_add(length);
        let signed = end.and_then(|end| bytes.get(AUTHENTICATION_HEADER_LENGTH..end));
        let list = end.and_then(|end| bytes.get(end..));
        let (Some(signed), Some(list)) = (signed, list) else {
            return Err(malformed("its signature is longer than the file"));
        };
        let (signature, rest) = SignedData::parse_prefix(signed)?;
        if !rest.is_empty() {
            return Err(malformed("bytes after the signature"));
        }
        Ok(Self { time: *time, signature, list })
    }

    /// Verifies that one of the `trusted` certificates (DER) authorised this as a new value of `variable`.
    pub fn verify(&self, variable: Variable, trusted: &[&[u8]]) -> Result<(), EfiSignatureError> {
        let name: Vec<u8> = variable.name().encode_utf16().flat_map(u16::to_le_bytes).collect();
        let message =
            [&name, &variable.vendor().to_disk()[..], &ATTRIBUTES.to_le_bytes(), &self.time, self.list]
                .concat();
        Ok(self.signature.verify(&message, trusted)?)
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*field)).ok()
}
