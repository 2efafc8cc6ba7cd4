//! Tests of Authenticode digests and signatures.

use super::{AuthenticodeError, attach, claimed_signer, detach, digest, graft, prepare, sign, verify};
use crate::pe::{sample, uki};
use crate::pkcs7::{Certificate, Pkcs7Error, Signer, sample as keys};
use kubedos_wire::hex32::sha256;

fn program() -> Vec<u8> {
    uki(&sample::stub(), &[(".cmdline", b"quiet"), (".linux", &[7; 5000])]).unwrap()
}

/// A11: signing is deterministic. The pinned digests change only with the writer, the demo keys or the sample.
#[test]
fn a_signature_is_deterministic_and_verifies() {
    let signer = keys::db();
    let signed = sign(&program(), &signer).unwrap();
    assert_eq!(signed, sign(&program(), &signer).unwrap());
    verify(&signed, &[signer.certificate()]).unwrap();
    assert_eq!(digest(&signed).unwrap(), digest(&program()).unwrap(), "signing does not change the identity");
    assert_eq!(
        hex::encode(digest(&program()).unwrap()),
        "63bd74506faa502321a8c20f73fb4e26be580003e5e8962a6c25dea1a57e305a"
    );
    assert_eq!(
        hex::encode(sha256(&[&signed])),
        "4ac643d282f68cf1aded13d061f7e8ba95f825d2485f520dbb68de5c369d6684"
    );
}

#[test]
fn the_claimed_signer_is_reported_by_name() {
    let signer = keys::db();
    let signed = sign(&program(), &signer).unwrap();
    let claimed = claimed_signer(&signed).unwrap().unwrap();
    assert_eq!(claimed, signer.certificate());
    assert_eq!(Certificate::parse(claimed).unwrap().common_name(), Some("kubedOS demo Secure Boot signer 1"));
    assert_eq!(claimed_signer(&program()).unwrap(), None);
}

/// A11: the key may be offline. A signature is verified before it is attached.
#[test]
fn a_signature_that_was_made_on_another_machine_can_be_attached() {
    let (program, signer) = (program(), keys::db());
    let request = prepare(&program).unwrap();
    assert_eq!(request.digest, digest(&program).unwrap());
    let made_elsewhere = signer.sign(&request.message).unwrap();
    assert_eq!(
        attach(&program, signer.certificate(), &made_elsewhere).unwrap(),
        sign(&program, &signer).unwrap()
    );
    let of_another_message = signer.sign(b"other").unwrap();
    for (certificate, signature) in [
        (signer.certificate(), &of_another_message),
        (keys::kek().certificate(), &made_elsewhere),
        (signer.certificate(), &Vec::new()),
    ] {
        let error = attach(&program, certificate, signature).unwrap_err();
        assert!(matches!(error, AuthenticodeError::Signature(Pkcs7Error::Signature)), "{error}");
    }
    assert!(matches!(sign(&program, &keys::Broken), Err(AuthenticodeError::Signer(_))));
}

#[test]
fn a_detached_signature_can_be_attached_to_the_same_program_only() {
    let (program, signer) = (program(), keys::db());
    let signed = sign(&program, &signer).unwrap();
    let (unsigned, table) = detach(&signed).unwrap();
    assert_eq!(unsigned, program);
    let trusted = [signer.certificate()];
    assert_eq!(graft(&program, &table, &trusted).unwrap(), signed);
    let other = uki(&sample::stub(), &[(".cmdline", b"loud!"), (".linux", &[7; 5000])]).unwrap();
    assert!(matches!(graft(&other, &table, &trusted), Err(AuthenticodeError::Digest)));
    assert!(graft(&program, &table[..table.len() - 8], &trusted).is_err());
    assert!(matches!(graft(&signed, &table, &trusted), Err(AuthenticodeError::Signed)));
    assert!(matches!(prepare(&signed), Err(AuthenticodeError::Signed)));
    assert!(matches!(detach(&program), Err(AuthenticodeError::Unsigned)));
}

#[test]
fn a_signature_of_an_untrusted_certificate_is_refused() {
    let signed = sign(&program(), &keys::kek()).unwrap();
    let error = verify(&signed, &[keys::db().certificate(), keys::pk().certificate()]).unwrap_err();
    assert!(matches!(error, AuthenticodeError::Signature(Pkcs7Error::UnknownSigner)), "{error}");
    assert!(verify(&signed, &[]).is_err());
    verify(&signed, &[keys::db().certificate(), keys::kek().certificate()]).unwrap();
    assert!(matches!(verify(&program(), &[]), Err(AuthenticodeError::Unsigned)));
}

/// A5: if any byte of a signed program is flipped, its signature is refused. The exceptions are the checksum, which firmware ignores, and
/// bytes of the signature without meaning: unsigned copies of fields of the trusted certificate.
#[test]
fn a_flipped_byte_anywhere_is_refused() {
    let signer = keys::db();
    let signed = sign(&program(), &signer).unwrap();
    let (unsigned, _) = detach(&signed).unwrap();
    let checksum = 88 + 64..88 + 68;
    for at in 0..signed.len() {
        let mut flipped = signed.clone();
        flipped[at] ^= 0x10;
        let refused = verify(&flipped, &[signer.certificate()]).is_err();
        if at < unsigned.len() {
            assert_eq!(refused, !checksum.contains(&at), "byte {at:#x}");
        }
    }
}

/// A signature does not cover the bytes after it.
#[test]
fn bytes_after_the_signature_are_refused() {
    let signer = keys::db();
    let (program, table) = detach(&sign(&program(), &signer).unwrap()).unwrap();
    let mut padded = [table, vec![0; 8]].concat();
    let length = u32::try_from(padded.len()).unwrap();
    padded[..4].copy_from_slice(&length.to_le_bytes());
    assert!(matches!(
        graft(&program, &padded, &[signer.certificate()]),
        Err(AuthenticodeError::Table("bytes after the signature"))
    ));
    let twice = {
        let (_, table) = detach(&sign(&program, &signer).unwrap()).unwrap();
        [table.clone(), table].concat()
    };
    assert!(matches!(
        graft(&program, &twice, &[signer.certificate()]),
        Err(AuthenticodeError::Table("not exactly one signature"))
    ));
}

/// A signature is refused if the attributes are correct but the content has a different digest.
#[test]
fn the_content_is_bound_to_the_attributes() {
    let signer = keys::db();
    let signed = sign(&program(), &signer).unwrap();
    let ours = digest(&signed).unwrap();
    let position = signed.windows(32).position(|window| window == ours).unwrap();
    let mut forged = signed;
    forged[position] ^= 1;
    let error = verify(&forged, &[signer.certificate()]).unwrap_err();
    assert!(matches!(error, AuthenticodeError::Signature(Pkcs7Error::Digest)), "{error}");
}
