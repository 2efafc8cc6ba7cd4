//! Creates a key directory. The plan comes first (`--dry-run` prints it); then the keys are generated in a temporary folder next to the
//! final name, which is renamed, so an existing directory is always complete.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kubedos_image::efi_signatures::{Timestamp, Variable, authenticated, format::OWNER, signature_list};
use kubedos_wire::hex32::PublicKey;
use zeroize::Zeroizing;

use super::certificate::{self, Pkcs8};
use super::index::{PrivateIndex, PublicIndex, SecureBootIndex, VERSION};
use super::rotate::Rotation;
use super::{Ed25519Signer, INDEX, KeyDir, KeyError, PUBLIC, RsaSigner, files};

/// The parameters of new keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Init {
    /// The cluster's name.
    pub cluster: String,
    /// The current time in seconds since 1970. Only the Secure Boot enrolment contains it.
    pub now: u64,
    /// Whether to mark the keys as demo keys.
    pub demo: bool,
}

/// A planned change of a key directory that has not been applied.
#[derive(Debug)]
pub struct Plan {
    pub(super) path: PathBuf,
    pub(super) files: Vec<String>,
    pub(super) action: Action,
}

#[derive(Debug)]
pub(super) enum Action {
    Init(Init),
    Rotate(Box<Rotation>),
}

/// A file to write, relative to the key directory.
pub(super) struct NewFile {
    pub(super) name: String,
    pub(super) secret: bool,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl Plan {
    /// The files that will be written or removed, one line each.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The key directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Generates the keys and writes the files.
    ///
    /// # Errors
    /// If generating or writing fails. Then no incomplete file has a final name.
    pub fn apply(self) -> Result<KeyDir, KeyError> {
        match self.action {
            Action::Init(init) => write_directory(&self.path, &generate(&init)?)?,
            Action::Rotate(rotation) => rotation.apply(&self.path)?,
        }
        KeyDir::open(&self.path)
    }
}

const SECRETS: [(&str, &str); 8] = [
    ("root-ca.key", "ECDSA P-384, move it offline"),
    ("intermediate-ca-1.key", "ECDSA P-384"),
    ("configuration-1.key", "Ed25519"),
    ("seed-1.key", "Ed25519"),
    ("node-master-1.key", "256 random bits"),
    ("PK-1.key", "RSA-2048"),
    ("KEK-1.key", "RSA-2048"),
    ("db-1.key", "RSA-2048"),
];
const PUBLIC_FILES: [&str; 11] = [
    "root-ca.crt",
    "intermediate-ca-1.crt",
    "PK-1.crt",
    "KEK-1.crt",
    "db-1.crt",
    "PK.esl",
    "KEK.esl",
    "db.esl",
    "PK.auth",
    "KEK.auth",
    "db.auth",
];

/// Plans a new key directory.
///
/// # Errors
/// [`KeyError::Exists`] if the path exists, even as an empty folder.
pub fn plan_init(path: &Path, init: Init) -> Result<Plan, KeyError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(KeyError::Exists { path: path.to_owned() });
    }
    let secrets = SECRETS.iter().map(|(name, kind)| format!("write {name} (secret, {kind})"));
    let public = PUBLIC_FILES.iter().map(|name| format!("write {PUBLIC}/{name}"));
    let indices = [format!("write {PUBLIC}/{INDEX}"), format!("write {INDEX}")];
    let files = secrets.chain(public).chain(indices).collect();
    Ok(Plan { path: path.to_owned(), files, action: Action::Init(init) })
}

fn generate(init: &Init) -> Result<Vec<NewFile>, KeyError> {
    let cluster = init.cluster.as_str();
    let (root, intermediate) = (certificate::p384()?, certificate::p384()?);
    let (configuration, seed) = (certificate::ed25519()?, certificate::ed25519()?);
    let master = certificate::random32("node master")?;
    let (pk, kek, db) = (certificate::rsa2048()?, certificate::rsa2048()?, certificate::rsa2048()?);

    let mut out = Vec::new();
    for (name, key) in [
        ("root-ca.key", &root),
        ("intermediate-ca-1.key", &intermediate),
        ("configuration-1.key", &configuration),
        ("seed-1.key", &seed),
        ("PK-1.key", &pk),
        ("KEK-1.key", &kek),
        ("db-1.key", &db),
    ] {
        out.push(secret_key(name, key));
    }
    let text = Zeroizing::new(hex::encode(master.as_ref()));
    let line = Zeroizing::new([text.as_bytes(), b"\n"].concat());
    out.push(NewFile { name: "node-master-1.key".into(), secret: true, content: line });

    let root_certificate = certificate::root_ca(cluster, &root)?;
    let intermediate_certificate = certificate::intermediate_ca(cluster, 1, &intermediate, &root)?;
    let pk_certificate = certificate::secure_boot(cluster, "platform key", 1, &pk)?;
    let kek_certificate = certificate::secure_boot(cluster, "key exchange key", 1, &kek)?;
    let db_certificate = certificate::secure_boot(cluster, "signer", 1, &db)?;
    for (name, der) in [
        ("root-ca.crt", &root_certificate),
        ("intermediate-ca-1.crt", &intermediate_certificate),
        ("PK-1.crt", &pk_certificate),
        ("KEK-1.crt", &kek_certificate),
        ("db-1.crt", &db_certificate),
    ] {
        out.push(public_certificate(name, der));
    }
    let pk_signer = RsaSigner::new(&pk, pk_certificate.clone(), Path::new("PK-1.key"))?;
    let kek_signer = RsaSigner::new(&kek, kek_certificate.clone(), Path::new("KEK-1.key"))?;
    out.extend(enrolment(Variable::Pk, init.now, &[&pk_certificate], &pk_signer)?);
    out.extend(enrolment(Variable::Kek, init.now, &[&kek_certificate], &pk_signer)?);
    out.extend(enrolment(Variable::Db, init.now, &[&db_certificate], &kek_signer)?);

    let identity = public_half(&configuration)?;
    let public = PublicIndex {
        version: VERSION,
        cluster: cluster.to_owned(),
        demo: init.demo,
        identity,
        configuration: vec![identity],
        seed: vec![public_half(&seed)?],
        root_ca: "root-ca.crt".into(),
        intermediate_ca: vec!["intermediate-ca-1.crt".into()],
        secure_boot: SecureBootIndex {
            time: init.now,
            pk: "PK-1.crt".into(),
            kek: "KEK-1.crt".into(),
            db: vec!["db-1.crt".into()],
        },
    };
    let private = PrivateIndex {
        version: VERSION,
        cluster: cluster.to_owned(),
        root_ca: "root-ca.key".into(),
        intermediate_ca: "intermediate-ca-1.key".into(),
        configuration: "configuration-1.key".into(),
        seed: "seed-1.key".into(),
        node_master: "node-master-1.key".into(),
        pk: "PK-1.key".into(),
        kek: "KEK-1.key".into(),
        db: "db-1.key".into(),
    };
    out.push(index_file(&format!("{PUBLIC}/{INDEX}"), &public)?);
    out.push(index_file(INDEX, &private)?);
    Ok(out)
}

pub(super) fn secret_key(name: &str, key: &Pkcs8) -> NewFile {
    let pem = files::encode_pem(key, "PRIVATE KEY");
    NewFile { name: name.to_owned(), secret: true, content: Zeroizing::new(pem.as_bytes().to_vec()) }
}

pub(super) fn public_certificate(name: &str, der: &[u8]) -> NewFile {
    let content = Zeroizing::new(files::encode_pem(der, "CERTIFICATE").as_bytes().to_vec());
    NewFile { name: format!("{PUBLIC}/{name}"), secret: false, content }
}

pub(super) fn index_file<T: serde::Serialize>(name: &str, index: &T) -> Result<NewFile, KeyError> {
    let text = toml::to_string(index).map_err(|source| KeyError::Encode { name: name.to_owned(), source })?;
    let content = Zeroizing::new(text.into_bytes());
    Ok(NewFile { name: name.to_owned(), secret: !name.starts_with(PUBLIC), content })
}

/// Returns the `.esl` and `.auth` files of a variable.
pub(super) fn enrolment(
    variable: Variable,
    now: u64,
    certificates: &[&[u8]],
    signer: &RsaSigner,
) -> Result<[NewFile; 2], KeyError> {
    let time = Timestamp::from_unix(now).ok_or(KeyError::Clock(now))?;
    let list = signature_list(OWNER, certificates)?;
    let auth = authenticated(variable, time, &list, signer)?;
    let file = |suffix: &str, content: Vec<u8>| NewFile {
        name: format!("{PUBLIC}/{}.{suffix}", variable.name()),
        secret: false,
        content: Zeroizing::new(content),
    };
    Ok([file("esl", list), file("auth", auth)])
}

pub(super) fn public_half(ed25519: &Pkcs8) -> Result<PublicKey, KeyError> {
    Ed25519Signer::new(ed25519, Path::new("new key")).map(|signer| *signer.public())
}

fn write_directory(path: &Path, new: &[NewFile]) -> Result<(), KeyError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let no_name = || files::file("create", path, std::io::ErrorKind::InvalidFilename.into());
    let name = path.file_name().ok_or_else(no_name)?.to_string_lossy();
    fs::create_dir_all(parent).map_err(|source| files::file("create", parent, source))?;
    let partial = parent.join(format!(".{name}.kubedos-partial-{}", std::process::id()));
    let written = write_partial(&partial, new).and_then(|()| {
        // Renaming replaces an empty directory, so check again that the path does not exist (see `plan_init`).
        if fs::symlink_metadata(path).is_ok() {
            return Err(KeyError::Exists { path: path.to_owned() });
        }
        fs::rename(&partial, path).map_err(|source| files::file("create", path, source))
    });
    if written.is_err() && partial.exists() {
        fs::remove_dir_all(&partial).map_err(|source| files::file("remove", &partial, source))?;
    }
    written
}

fn write_partial(partial: &Path, new: &[NewFile]) -> Result<(), KeyError> {
    let make = |path: &Path, mode: u32| {
        fs::DirBuilder::new().mode(mode).create(path).map_err(|source| files::file("create", path, source))
    };
    make(partial, 0o700)?;
    make(&partial.join(PUBLIC), 0o755)?;
    for file in new {
        files::write(&partial.join(&file.name), file)?;
    }
    Ok(())
}
