//! Generates keys and their certificates.
//!
//! Certificates start far in the past and do not expire: nodes decide by the lists of accepted keys and by rotation, and the clock of a
//! node may still be at the epoch of its image when it first verifies them (ADR 0012).

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use rsa::pkcs8::EncodePrivateKey;
use zeroize::Zeroizing;

use super::KeyError;

/// A secret key in PKCS #8 format.
pub(super) type Pkcs8 = Zeroizing<Vec<u8>>;

/// The PKCS #8 encoding of an Ed25519 key before its 32 bytes (RFC 8410, section 7), in version 1, which every tool reads.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Generates 32 random bytes.
pub(super) fn random32(what: &'static str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(|_| KeyError::Generate(what))?;
    Ok(bytes)
}

/// Generates an Ed25519 key.
pub(super) fn ed25519() -> Result<Pkcs8, KeyError> {
    let seed = random32("Ed25519")?;
    let mut out = Zeroizing::new(Vec::with_capacity(ED25519_PKCS8.len() + seed.len()));
    out.extend_from_slice(&ED25519_PKCS8);
    out.extend_from_slice(seed.as_ref());
    Ok(out)
}

/// Generates an ECDSA P-384 key.
pub(super) fn p384() -> Result<Pkcs8, KeyError> {
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new())
        .map(|document| Zeroizing::new(document.as_ref().to_vec()))
        .map_err(|_| KeyError::Generate("P-384"))
}

/// Generates an RSA-2048 key, the size that every firmware supports.
pub(super) fn rsa2048() -> Result<Pkcs8, KeyError> {
    let key =
        rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).map_err(|_| KeyError::Generate("RSA"))?;
    let document = key.to_pkcs8_der().map_err(|_| KeyError::Generate("RSA"))?;
    Ok(Zeroizing::new(document.as_bytes().to_vec()))
}

/// Creates the root CA's certificate in DER.
pub(super) fn root_ca(cluster: &str, key: &Pkcs8) -> Result<Vec<u8>, KeyError> {
    let certificate = root_params(cluster).self_signed(&p384_pair(key)?)?;
    Ok(certificate.der().to_vec())
}

/// Creates the certificate of intermediate CA number `number` in DER, signed by the root. It may sign certificates of nodes and operators,
/// and the CAs of the cluster's own services, but no other CA.
pub(super) fn intermediate_ca(
    cluster: &str,
    number: u32,
    key: &Pkcs8,
    root: &Pkcs8,
) -> Result<Vec<u8>, KeyError> {
    let mut params = params(&format!("kubedOS {cluster} intermediate CA {number}"), cluster);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(root_params(cluster), p384_pair(root)?);
    Ok(params.signed_by(&p384_pair(key)?, &issuer)?.der().to_vec())
}

/// Creates a self-signed Secure Boot certificate in DER.
pub(super) fn secure_boot(cluster: &str, what: &str, number: u32, key: &Pkcs8) -> Result<Vec<u8>, KeyError> {
    let mut params = params(&format!("kubedOS {cluster} Secure Boot {what} {number}"), cluster);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key.as_slice().into(), &PKCS_RSA_SHA256)?;
    Ok(params.self_signed(&pair)?.der().to_vec())
}

fn root_params(cluster: &str) -> CertificateParams {
    let mut params = params(&format!("kubedOS {cluster} root CA"), cluster);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(common_name: &str, cluster: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, cluster);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

fn p384_pair(key: &Pkcs8) -> Result<KeyPair, KeyError> {
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&key.as_slice().into(), &PKCS_ECDSA_P384_SHA384)?)
}
