//! The reader of an untrusted `SignedData`, and its verification against trusted certificates.

use super::{Certificate, Pkcs7Error, oid};
use crate::der::{DerError, Reader, element, tag};
use kubedos_wire::hex32::sha256;

/// The parts of a `SignedData` with one signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedData<'a> {
    /// The object identifier of the content type, encoded.
    pub content_type: &'a [u8],
    /// The encoded content, if it is not detached.
    pub content: Option<&'a [u8]>,
    /// The included certificates, DER. They are not trusted.
    pub certificates: Vec<&'a [u8]>,
    /// `IssuerAndSerialNumber` of the signer, encoded.
    pub signer: &'a [u8],
    /// The content of the signed attributes' SET OF.
    attributes: Option<&'a [u8]>,
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    /// Parses a `SignedData`, bare or in a `ContentInfo`, at the start of `bytes`. Returns it and the remaining bytes.
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Pkcs7Error> {
        let malformed = Pkcs7Error::malformed("SignedData");
        let mut reader = Reader::new(bytes);
        let mut inner = reader.enter(tag::SEQUENCE).map_err(&malformed)?;
        if inner.peek() == Some(tag::OID) {
            if inner.any().map_err(&malformed)?.encoded != oid::SIGNED_DATA {
                return Err(Pkcs7Error::Unsupported("content: not SignedData"));
            }
            let mut explicit = inner.enter(tag::constructed(0)).map_err(&malformed)?;
            inner.finish().map_err(&malformed)?;
            inner = explicit.enter(tag::SEQUENCE).map_err(&malformed)?;
            explicit.finish().map_err(&malformed)?;
        }
        Ok((read(inner)?, reader.rest()))
    }

    /// Verifies that one of the `trusted` certificates (DER) made this signature over `content`.
    ///
    /// A signature without attributes covers `content` itself; a signature with attributes covers its SHA-256.
    pub fn verify(&self, content: &[u8], trusted: &[&[u8]]) -> Result<(), Pkcs7Error> {
        let mut refusal = Pkcs7Error::UnknownSigner;
        for encoded in trusted {
            let certificate = Certificate::parse(encoded)?;
            if certificate.issuer_and_serial() != self.signer {
                continue;
            }
            match self.verify_with(&certificate, content) {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn verify_with(&self, certificate: &Certificate<'_>, content: &[u8]) -> Result<(), Pkcs7Error> {
        let Some(attributes) = self.attributes else {
            return certificate.verify(content, self.signature);
        };
        let malformed = Pkcs7Error::malformed("signed attributes");
        let expected = element(tag::OCTET_STRING, &[&sha256(&[content])]);
        if attribute(attributes, oid::CONTENT_TYPE).map_err(&malformed)? != Some(self.content_type) {
            return Err(Pkcs7Error::Unsupported("signed attributes: another content type"));
        }
        if attribute(attributes, oid::MESSAGE_DIGEST).map_err(&malformed)? != Some(expected.as_slice()) {
            return Err(Pkcs7Error::Digest);
        }
        certificate.verify(&element(tag::SET, &[attributes]), self.signature)
    }
}

fn read(mut inner: Reader<'_>) -> Result<SignedData<'_>, Pkcs7Error> {
    let malformed = Pkcs7Error::malformed("SignedData");
    inner.expect(tag::INTEGER).map_err(&malformed)?;
    let mut digests = inner.enter(tag::SET).map_err(&malformed)?;
    algorithm(&mut digests, &[oid::SHA256], "digest algorithm")?;
    digests.finish().map_err(&malformed)?;

    let mut info = inner.enter(tag::SEQUENCE).map_err(&malformed)?;
    let content_type = info.expect(tag::OID).map_err(&malformed)?.encoded;
    let content = info.optional(tag::constructed(0)).map_err(&malformed)?.map(|element| element.content);
    info.finish().map_err(&malformed)?;

    let mut certificates = Vec::new();
    if let Some(set) = inner.optional(tag::constructed(0)).map_err(&malformed)? {
        let mut set = Reader::new(set.content);
        while !set.is_empty() {
            certificates.push(set.expect(tag::SEQUENCE).map_err(&malformed)?.encoded);
        }
    }
    inner.optional(tag::constructed(1)).map_err(&malformed)?;

    let mut signers = inner.enter(tag::SET).map_err(&malformed)?;
    inner.finish().map_err(&malformed)?;
    let mut signer = signers.enter(tag::SEQUENCE).map_err(&malformed)?;
    if !signers.is_empty() {
        return Err(Pkcs7Error::Unsupported("signature: more than one signer"));
    }
    signer.expect(tag::INTEGER).map_err(&malformed)?;
    let name = signer.expect(tag::SEQUENCE).map_err(&malformed)?.encoded;
    algorithm(&mut signer, &[oid::SHA256], "digest algorithm")?;
    let attributes = signer.optional(tag::constructed(0)).map_err(&malformed)?.map(|element| element.content);
    algorithm(&mut signer, &[oid::RSA, oid::SHA256_RSA], "signature algorithm")?;
    let signature = signer.expect(tag::OCTET_STRING).map_err(&malformed)?.content;
    Ok(SignedData { content_type, content, certificates, signer: name, attributes, signature })
}

fn algorithm(reader: &mut Reader<'_>, accepted: &[&[u8]], what: &'static str) -> Result<(), Pkcs7Error> {
    let malformed = Pkcs7Error::malformed("algorithm");
    let mut inner = reader.enter(tag::SEQUENCE).map_err(&malformed)?;
    let found = inner.expect(tag::OID).map_err(&malformed)?.encoded;
    if accepted.contains(&found) { Ok(()) } else { Err(Pkcs7Error::Unsupported(what)) }
}

/// The only value of an attribute; `None` if the attribute is missing or occurs twice.
fn attribute<'a>(attributes: &'a [u8], kind: &[u8]) -> Result<Option<&'a [u8]>, DerError> {
    let mut found = None;
    let mut reader = Reader::new(attributes);
    while !reader.is_empty() {
        let mut attribute = reader.enter(tag::SEQUENCE)?;
        let name = attribute.expect(tag::OID)?.encoded;
        let mut values = attribute.enter(tag::SET)?;
        attribute.finish()?;
        if name != kind {
            continue;
        }
        let value = values.any()?.encoded;
        values.finish()?;
        if found.replace(value).is_some() {
            return Ok(None);
        }
    }
    Ok(found)
}
