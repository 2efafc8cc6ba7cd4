//! Signers with the published demo keys, for tests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

use super::{Signer, SignerError};

pub(crate) struct Demo {
    pair: RsaKeyPair,
    certificate: Vec<u8>,
}

pub(crate) fn pem(text: &str) -> Vec<u8> {
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

macro_rules! demo {
    ($name:ident, $key:literal, $certificate:literal) => {
        pub(crate) fn $name() -> Demo {
            let pair =
                RsaKeyPair::from_pkcs8(&pem(include_str!(concat!("../../../keys/demo/", $key)))).unwrap();
            let certificate = pem(include_str!(concat!("../../../keys/demo/public/", $certificate)));
            Demo { pair, certificate }
        }
    };
}

demo!(pk, "PK-1.key", "PK-1.crt");
demo!(kek, "KEK-1.key", "KEK-1.crt");
demo!(db, "db-1.key", "db-1.crt");

impl Signer for Demo {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let mut out = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut out)
            .map_err(|_| SignerError("RSA".into()))?;
        Ok(out)
    }
}

/// A signer that always fails, such as a token that was unplugged.
pub(crate) struct Broken;

impl Signer for Broken {
    fn certificate(&self) -> &[u8] {
        &[]
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
        Err(SignerError("no token".into()))
    }
}
