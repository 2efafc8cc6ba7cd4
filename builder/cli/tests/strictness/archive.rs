//! A small signed archive. Each test creates its own archive and key.

use std::collections::BTreeMap;
use std::io::Write;

use kubedos_debian::digest::Sha256;
use kubedos_debian::release::date::Moment;
use pgp::composed::{
    CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey,
};
use pgp::types::{KeyDetails, Password};

/// An archive key.
pub struct Key(SignedSecretKey);

impl Key {
    pub fn generate() -> Self {
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .can_encrypt(EncryptionCaps::None)
            .primary_user_id("Archive of a test".into());
        Self(parameters.build().unwrap().generate(rand::thread_rng()).unwrap())
    }

    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string()
    }

    pub fn certificate(&self) -> String {
        SignedPublicKey::from(self.0.clone()).to_armored_string(None.into()).unwrap()
    }

    pub fn sign(&self, text: &str) -> String {
        let key = &self.0.primary_key;
        let message =
            CleartextSignedMessage::sign(rand::thread_rng(), text, key, &Password::empty()).unwrap();
        message.to_armored_string(None.into()).unwrap()
    }
}

/// The content of the archive.
pub struct Archive {
    pub key: Key,
    /// `Origin` and `Label`.
    pub origin: [String; 2],
    /// The folder below `dists/`.
    pub suite: String,
    pub codename: String,
    pub date: String,
    pub valid_until: Option<String>,
    /// Name, version and further fields of each package.
    pub packages: Vec<(String, String, String)>,
    pub has_by_hash: bool,
}

impl Archive {
    pub fn new(packages: &[(&str, &str, &str)]) -> Self {
        let owned =
            |&(name, version, fields): &(&str, &str, &str)| (name.into(), version.into(), fields.into());
        Self {
            key: Key::generate(),
            origin: ["Debian".to_owned(), "Debian".to_owned()],
            suite: "trixie".to_owned(),
            codename: "trixie".to_owned(),
            date: "Sat, 12 Sep 2026 07:55:41 UTC".to_owned(),
            valid_until: None,
            packages: packages.iter().map(owned).collect(),
            has_by_hash: true,
        }
    }

    /// All files, by path below the mirror's base URL.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut index = String::new();
        for (name, version, fields) in &self.packages {
            let (path, bytes) = (deb_path(name, version), deb(name, version));
            index += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {path}\nSize: {}\nSHA256: {}\n",
                bytes.len(),
                Sha256::of(&bytes)
            );
            if !fields.is_empty() {
                index += &format!("{fields}\n");
            }
            index.push('\n');
            files.insert(path, bytes);
        }
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(index.as_bytes()).unwrap();
        let index = encoder.finish().unwrap();
        let folder = format!("dists/{}/main/binary-amd64", self.suite);
        if self.has_by_hash {
            files.insert(format!("{folder}/by-hash/SHA256/{}", Sha256::of(&index)), index.clone());
        }
        files.insert(
            format!("dists/{}/InRelease", self.suite),
            self.key.sign(&self.release(&index)).into_bytes(),
        );
        files.insert(format!("{folder}/Packages.xz"), index);
        files
    }

    fn release(&self, index: &[u8]) -> String {
        let until =
            self.valid_until.iter().map(|until| format!("Valid-Until: {until}\n")).collect::<String>();
        format!(
            "Origin: {}\nLabel: {}\nCodename: {}\nDate: {}\n{until}Acquire-By-Hash: yes\nSHA256:\n {} {} main/binary-amd64/Packages.xz\n",
            self.origin[0],
            self.origin[1],
            self.codename,
            self.date,
            Sha256::of(index),
            index.len()
        )
    }
}

/// A time in the format of a `Release` file. The day of the week is always `Mon`, because the parser ignores it.
pub fn release_date(seconds_from_now: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text =
        Moment::from_unix(Moment::now().unix().checked_add_signed(seconds_from_now).unwrap()).to_string();
    let month: usize = text[5..7].parse().unwrap();
    format!("Mon, {} {} {} {} UTC", &text[8..10], MONTHS[month - 1], &text[..4], &text[11..19])
}

pub fn deb_path(name: &str, version: &str) -> String {
    format!("pool/main/{name}_{version}_amd64.deb")
}

/// A package with one incompressible file, so that it is long enough for interrupted transfers.
pub fn deb(name: &str, version: &str) -> Vec<u8> {
    let tar = |path: &str, content: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
        builder.into_inner().unwrap()
    };
    let noise: Vec<u8> = (0_u32..6_000)
        .flat_map(|at| *Sha256::of(format!("{name} {version} {at}").as_bytes()).as_bytes())
        .collect();
    let mut out = b"!<arch>\n".to_vec();
    for (member, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar("control", format!("Package: {name}\nVersion: {version}\n").as_bytes())),
        ("data.tar", tar("usr/share/noise", &noise)),
    ] {
        writeln!(out, "{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", bytes.len()).unwrap();
        out.extend(bytes);
    }
    out
}
