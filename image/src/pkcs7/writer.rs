//! The writer of `SignedData` with one signer.

use super::{Certificate, oid};
use crate::der::{NULL, element, sequence, set_of, tag};

const VERSION_1: &[u8] = &[tag::INTEGER, 1, 1];

/// The signed attributes `contentType` and `messageDigest` as the SET OF that is signed (RFC 2315, 9.3).
pub fn attributes(content_type: &[u8], digest: &[u8; 32]) -> Vec<u8> {
    let attribute = |kind: &[u8], value: Vec<u8>| sequence(&[kind, &set_of(vec![value])]);
    set_of(vec![
        attribute(oid::CONTENT_TYPE, content_type.to_vec()),
        attribute(oid::MESSAGE_DIGEST, element(tag::OCTET_STRING, &[digest])),
    ])
}

/// Encodes a `SignedData`. `content` is the encoded content for `[0]`, `None` if it is detached. `attributes` is the SET OF of
/// [`attributes`], `None` if the signature covers the content itself.
pub fn signed_data(
    certificate: &Certificate<'_>,
    content_type: &[u8],
    content: Option<&[u8]>,
    attributes: Option<&[u8]>,
    signature: &[u8],
) -> Vec<u8> {
    let sha256 = sequence(&[oid::SHA256, NULL]);
    let rsa = sequence(&[oid::RSA, NULL]);
    let content = content.map(|content| element(tag::constructed(0), &[content])).unwrap_or_default();
    // [0] IMPLICIT SET OF: replace the tag of the set, and keep its length and content.
    let attributes = match attributes.and_then(<[u8]>::split_first) {
        Some((_, rest)) => [&[tag::constructed(0)], rest].concat(),
        None => Vec::new(),
    };
    let signer = sequence(&[
        VERSION_1,
        &certificate.issuer_and_serial(),
        &sha256,
        &attributes,
        &rsa,
        &element(tag::OCTET_STRING, &[signature]),
    ]);
    sequence(&[
        VERSION_1,
        &set_of(vec![sha256.clone()]),
        &sequence(&[content_type, &content]),
        &element(tag::constructed(0), &[certificate.encoded]),
        &set_of(vec![signer]),
    ])
}

/// Wraps a `SignedData` in a `ContentInfo`.
pub fn content_info(signed_data: &[u8]) -> Vec<u8> {
    sequence(&[oid::SIGNED_DATA, &element(tag::constructed(0), &[signed_data])])
}
