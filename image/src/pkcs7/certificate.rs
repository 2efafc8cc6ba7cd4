//! The parts of an X.509 certificate (RFC 5280, 4.1) that are needed to identify a signer and to verify its signatures.

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

use super::{Pkcs7Error, oid};
use crate::der::{DerError, Reader, sequence, tag};

/// The parts of a certificate with an RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate<'a> {
    /// The whole certificate, DER.
    pub encoded: &'a [u8],
    /// The name of the issuer, encoded.
    pub issuer: &'a [u8],
    /// The name of the subject, encoded.
    pub subject: &'a [u8],
    /// The serial number, encoded.
    pub serial: &'a [u8],
    /// `RSAPublicKey` (RFC 8017, A.1.1), encoded.
    pub public_key: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Parses a certificate. Its own signature is not verified: a certificate is trusted if it is in a list of trusted certificates.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, Pkcs7Error> {
        let (certificate, algorithm, key) = read(encoded).map_err(Pkcs7Error::malformed("certificate"))?;
        if algorithm != oid::RSA {
            return Err(Pkcs7Error::Unsupported("key: only RSA keys are supported"));
        }
        // A BIT STRING begins with the number of unused bits, which is zero for whole bytes.
        match key.split_first() {
            Some((0, public_key)) => Ok(Self { public_key, ..certificate }),
            _ => Err(Pkcs7Error::Unsupported("key encoding")),
        }
    }

    /// `IssuerAndSerialNumber`, encoded. A signature identifies its signer by it.
    pub fn issuer_and_serial(&self) -> Vec<u8> {
        sequence(&[self.issuer, self.serial])
    }

    /// The common name of the subject, for display; `None` if it is missing or not plain text.
    pub fn common_name(&self) -> Option<&'a str> {
        common_name(self.subject).ok().flatten()
    }

    /// Verifies that `signature` is a signature of this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Pkcs7Error> {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.public_key)
            .verify(message, signature)
            .map_err(|_| Pkcs7Error::Signature)
    }
}

/// 2.5.4.3, `commonName`, encoded.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];

/// The last common name of a `Name`: a sequence of sets of type and value (RFC 5280, 4.1.2.4).
fn common_name(name: &[u8]) -> Result<Option<&str>, DerError> {
    let mut found = None;
    let mut names = Reader::new(name).enter(tag::SEQUENCE)?;
    while !names.is_empty() {
        let mut set = names.enter(tag::SET)?;
        while !set.is_empty() {
            let mut attribute = set.enter(tag::SEQUENCE)?;
            let kind = attribute.expect(tag::OID)?.encoded;
            let value = attribute.any()?.content;
            if kind == COMMON_NAME {
                found = std::str::from_utf8(value).ok().filter(|text| !text.contains(char::is_control));
            }
        }
    }
    Ok(found)
}

type Parts<'a> = (Certificate<'a>, &'a [u8], &'a [u8]);

fn read(encoded: &[u8]) -> Result<Parts<'_>, DerError> {
    let mut outer = Reader::new(encoded);
    let mut certificate = outer.enter(tag::SEQUENCE)?;
    outer.finish()?;
    let mut body = certificate.enter(tag::SEQUENCE)?;
    certificate.expect(tag::SEQUENCE)?;
    certificate.expect(tag::BIT_STRING)?;
    certificate.finish()?;

    body.optional(tag::constructed(0))?;
    let serial = body.expect(tag::INTEGER)?.encoded;
    body.expect(tag::SEQUENCE)?;
    let issuer = body.expect(tag::SEQUENCE)?.encoded;
    body.expect(tag::SEQUENCE)?;
    let subject = body.expect(tag::SEQUENCE)?.encoded;
    let mut key_info = body.enter(tag::SEQUENCE)?;
    let algorithm = key_info.enter(tag::SEQUENCE)?.expect(tag::OID)?.encoded;
    let key = key_info.expect(tag::BIT_STRING)?.content;
    key_info.finish()?;
    Ok((Certificate { encoded, issuer, subject, serial, public_key: &[] }, algorithm, key))
}
