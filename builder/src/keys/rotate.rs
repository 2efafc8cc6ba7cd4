//! Rotates keys of one kind. The new key signs from now on; the old public key stays accepted until it is dropped, so that existing images
//! and seeds keep working. Files are written in an order in which an interruption leaves a working directory.

use std::fs;
use std::path::Path;

use kubedos_image::efi_signatures::Variable;

use super::index::{PrivateIndex, PublicIndex};
use super::init::{
    Action, NewFile, Plan, enrolment, index_file, public_certificate, public_half, secret_key,
};
use super::{INDEX, KeyDir, KeyError, PUBLIC, RsaSigner, certificate, files};

/// The keys that can be rotated. The root CA and the platform key are the roots of trust: replacing them requires a new key directory. The
/// node master secret is not rotated: a new incarnation of a node has new secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The key that signs configuration volumes.
    Configuration,
    /// The key that signs seeds.
    Seed,
    /// The cluster's intermediate CA (needs the root CA's key).
    Intermediate,
    /// The key that signs EFI programs.
    SecureBoot,
}

#[derive(Debug)]
pub(super) struct Rotation {
    role: Role,
    drop_old: bool,
    number: u32,
    now: u64,
    private: PrivateIndex,
    public: PublicIndex,
    retired: Vec<String>,
}

/// Plans a rotation. With `drop_old`, the keys that were accepted in addition to the one in use are dropped and their secrets removed.
///
/// # Errors
/// [`KeyError::NoRoot`] for an intermediate without the root CA's key; those of [`KeyDir::open`].
pub fn plan_rotate(path: &Path, role: Role, drop_old: bool, now: u64) -> Result<Plan, KeyError> {
    let keys = KeyDir::open(path)?;
    let private = keys.index.clone();
    let public: PublicIndex = files::read_index(&path.join(PUBLIC).join(INDEX))?;
    if role == Role::Intermediate && !keys.has_root() {
        return Err(KeyError::NoRoot { path: path.join(&private.root_ca) });
    }
    let old = role.file(&private).clone();
    let number = number_of(&old)
        .and_then(|number| number.checked_add(1))
        .ok_or(KeyError::Rule { path: path.join(INDEX), rule: "a key's file name has no number" })?;
    let stem = role.stem();
    let mut lines = vec![format!("write {stem}-{number}.key (secret)")];
    if matches!(role, Role::Intermediate | Role::SecureBoot) {
        lines.push(format!("write {PUBLIC}/{stem}-{number}.crt"));
    }
    if role == Role::SecureBoot {
        lines.extend(["esl", "auth"].map(|suffix| format!("replace {PUBLIC}/db.{suffix}")));
    }
    lines.push(format!("replace {PUBLIC}/{INDEX}"));
    lines.push(format!("replace {INDEX}"));
    let retired: Vec<String> = (1..number)
        .map(|number| format!("{stem}-{number}.key"))
        .filter(|name| drop_old && path.join(name).exists())
        .collect();
    lines.extend(retired.iter().map(|name| format!("remove {name}")));
    let rotation = Rotation { role, drop_old, number, now, private, public, retired };
    Ok(Plan { path: path.to_owned(), files: lines, action: Action::Rotate(Box::new(rotation)) })
}

impl Role {
    const fn stem(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Seed => "seed",
            Self::Intermediate => "intermediate-ca",
            Self::SecureBoot => "db",
        }
    }

    const fn file(self, index: &PrivateIndex) -> &String {
        match self {
            Self::Configuration => &index.configuration,
            Self::Seed => &index.seed,
            Self::Intermediate => &index.intermediate_ca,
            Self::SecureBoot => &index.db,
        }
    }
}

impl Rotation {
    pub(super) fn apply(mut self, path: &Path) -> Result<(), KeyError> {
        let secret = format!("{}-{}.key", self.role.stem(), self.number);
        let new = match self.role {
            Role::Configuration | Role::Seed => self.ed25519(&secret)?,
            Role::Intermediate => self.intermediate(path, &secret)?,
            Role::SecureBoot => self.secure_boot(path, &secret)?,
        };
        for file in &new {
            files::replace(&path.join(&file.name), file)?;
        }
        // The public half first: a key that is accepted but does not sign yet does no harm.
        let public = index_file(&format!("{PUBLIC}/{INDEX}"), &self.public)?;
        files::replace(&path.join(&public.name), &public)?;
        let private = index_file(INDEX, &self.private)?;
        files::replace(&path.join(&private.name), &private)?;
        for name in &self.retired {
            let path = path.join(name);
            fs::remove_file(&path).map_err(|source| files::file("remove", &path, source))?;
        }
        Ok(())
    }

    fn ed25519(&mut self, secret: &str) -> Result<Vec<NewFile>, KeyError> {
        let key = certificate::ed25519()?;
        let (list, file) = match self.role {
            Role::Seed => (&mut self.public.seed, &mut self.private.seed),
            _ => (&mut self.public.configuration, &mut self.private.configuration),
        };
        if self.drop_old {
            list.clear();
        }
        list.push(public_half(&key)?);
        secret.clone_into(file);
        Ok(vec![secret_key(secret, &key)])
    }

    fn intermediate(&mut self, path: &Path, secret: &str) -> Result<Vec<NewFile>, KeyError> {
        let root_path = path.join(&self.private.root_ca);
        let root = read_key(&root_path)?;
        let key = certificate::p384()?;
        let der = certificate::intermediate_ca(&self.public.cluster, self.number, &key, &root)?;
        let name = format!("{}-{}.crt", self.role.stem(), self.number);
        if self.drop_old {
            self.public.intermediate_ca.clear();
        }
        self.public.intermediate_ca.push(name.clone());
        secret.clone_into(&mut self.private.intermediate_ca);
        Ok(vec![secret_key(secret, &key), public_certificate(&name, &der)])
    }

    fn secure_boot(&mut self, path: &Path, secret: &str) -> Result<Vec<NewFile>, KeyError> {
        let key = certificate::rsa2048()?;
        let der = certificate::secure_boot(&self.public.cluster, "signer", self.number, &key)?;
        let name = format!("{}-{}.crt", self.role.stem(), self.number);
        let keys = KeyDir::open(path)?;
        let secure_boot = &keys.public().secure_boot;
        let mut accepted: Vec<&[u8]> = Vec::new();
        if self.drop_old {
            self.public.secure_boot.db.clear();
        } else {
            accepted.extend(secure_boot.db.iter().map(Vec::as_slice));
        }
        accepted.push(&der);
        self.public.secure_boot.db.push(name.clone());
        secret.clone_into(&mut self.private.db);
        // Firmware accepts an update only with a later time stamp than that of the current value.
        let time = self.now.max(self.public.secure_boot.time.saturating_add(1));
        self.public.secure_boot.time = time;

        let kek_path = path.join(&self.private.kek);
        let kek = read_key(&kek_path)?;
        let signer = RsaSigner::new(&kek, secure_boot.kek.clone(), &kek_path)?;
        let mut out = vec![secret_key(secret, &key), public_certificate(&name, &der)];
        out.extend(enrolment(Variable::Db, time, &accepted, &signer)?);
        Ok(out)
    }
}

fn read_key(path: &Path) -> Result<certificate::Pkcs8, KeyError> {
    let text = files::read_secret(path)?;
    files::decode_pem(&text, "PRIVATE KEY")
        .map(zeroize::Zeroizing::new)
        .ok_or_else(|| KeyError::Malformed { path: path.to_owned(), what: "a private key in PEM" })
}

/// Returns the number in a file name: 3 for `seed-3.key`.
fn number_of(name: &str) -> Option<u32> {
    name.strip_suffix(".key")?.rsplit_once('-')?.1.parse().ok()
}
