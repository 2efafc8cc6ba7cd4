//! The writer of signature lists and authenticated variables.

use super::format::{
    ATTRIBUTES, CERT_TYPE_PKCS7, CERT_X509, LIST_HEADER_LENGTH, REVISION, WIN_CERT_TYPE_EFI_GUID,
};
use super::{EfiSignatureError, Timestamp, Variable};
use crate::guid::Guid;
use crate::pkcs7::{Certificate, Signer, oid, signed_data};

/// Creates one `EFI_SIGNATURE_LIST` per certificate (DER), because certificates differ in length.
pub fn signature_list(owner: Guid, certificates: &[&[u8]]) -> Result<Vec<u8>, EfiSignatureError> {
    let mut out = Vec::new();
    for certificate in certificates {
        let signature = size_of::<Guid>() + certificate.len();
        let narrow =
            |size: usize| u32::try_from(size).map_err(|_| EfiSignatureError::TooLarge("a signature list"));
        out.extend_from_slice(&CERT_X509.to_disk());
        out.extend_from_slice(&narrow(LIST_HEADER_LENGTH + signature)?.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&narrow(signature)?.to_le_bytes());
        out.extend_from_slice(&owner.to_disk());
        out.extend_from_slice(certificate);
    }
    Ok(out)
}

/// The message that authorises `list` as the new value of a variable: name, vendor, attributes, time stamp, value.
pub fn message(variable: Variable, time: Timestamp, list: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = variable.name().encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&name, &variable.vendor().to_disk()[..], &ATTRIBUTES.to_le_bytes(), &time.to_bytes(), list].concat()
}

/// The value of an authenticated write: `EFI_VARIABLE_AUTHENTICATION_2` and the list.
///
/// The signature is a bare, detached `SignedData` over the message without attributes, as 8.2.2 requires.
pub fn authenticated(
    variable: Variable,
    time: Timestamp,
    list: &[u8],
    signer: &dyn Signer,
) -> Result<Vec<u8>, EfiSignatureError> {
    let message = message(variable, time, list);
    let signature = signer.sign(&message)?;
    let certificate = Certificate::parse(signer.certificate())?;
    certificate.verify(&message, &signature)?;
    let signed = signed_data(&certificate, oid::DATA, None, None, &signature);
    let length = u32::try_from(8 + size_of::<Guid>() + signed.len())
        .map_err(|_| EfiSignatureError::TooLarge("a signature"))?;
    Ok([
        &time.to_bytes()[..],
        &length.to_le_bytes(),
        &REVISION.to_le_bytes(),
        &WIN_CERT_TYPE_EFI_GUID.to_le_bytes(),
        &CERT_TYPE_PKCS7.to_disk(),
        &signed,
        list,
    ]
    .concat())
}
