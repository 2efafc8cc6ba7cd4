//! `keys`: creates, shows and rotates the keys of a cluster.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use kubedos_builder::keys::{Init, KeyDir, KeyError, Plan, Role, plan_init, plan_rotate};
use kubedos_debian::failure::{Class, Failure};
use kubedos_wire::hex32::sha256;
use serde::Serialize;

use super::terminal::{self, print_json, say};

/// Create, show and rotate the keys of a cluster
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create all keys of a new cluster
    Init {
        #[command(flatten)]
        place: Place,
        /// Mark them as demo keys, which are accepted for the examples only
        #[arg(long, hide = true)]
        demo: bool,
        #[command(flatten)]
        how: How,
    },
    /// Show the public half, and whether the root CA key is present
    Show {
        #[command(flatten)]
        place: Place,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Replace one kind of key; the old key stays accepted unless it is dropped
    Rotate {
        #[command(flatten)]
        place: Place,
        /// The kind of key
        role: Kind,
        /// Accept only the new key, and remove the old secrets
        #[arg(long)]
        drop_old: bool,
        #[command(flatten)]
        how: How,
    },
}

/// A kind of key that can be replaced.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// The key that signs configuration volumes
    Configuration,
    /// The key that signs seeds
    Seed,
    /// The cluster's intermediate CA (needs the root CA's key)
    Intermediate,
    /// The key that signs EFI programs
    SecureBoot,
}

impl From<Kind> for Role {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Configuration => Self::Configuration,
            Kind::Seed => Self::Seed,
            Kind::Intermediate => Self::Intermediate,
            Kind::SecureBoot => Self::SecureBoot,
        }
    }
}

#[derive(Debug, Args)]
struct Place {
    /// Name of the cluster (metadata.name of its spec)
    cluster: String,
    /// Key directory [default: keys/<CLUSTER>]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct How {
    /// Print the names of the files that would be written, without writing them
    #[arg(long)]
    dry_run: bool,
    /// The current time in seconds since 1970 [default: the system clock]
    #[arg(long, value_name = "SECONDS")]
    now: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.keys.clone().unwrap_or_else(|| Path::new("keys").join(&self.cluster))
    }
}

impl How {
    fn now(&self) -> Result<u64, Failure> {
        match self.now {
            Some(now) => Ok(now),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map(|elapsed| elapsed.as_secs())
                .map_err(|error| Failure::new(Class::Failed, error)),
        }
    }
}

impl Keys {
    /// Runs the subcommand.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Init { place, demo, how } => {
                check_name(&place.cluster)?;
                let init = Init { cluster: place.cluster.clone(), now: how.now()?, demo };
                finish(plan_init(&place.path(), init)?, &how)
            }
            Command::Show { place, json } => {
                let keys = KeyDir::open(&place.path())?;
                check_cluster(&keys, &place.cluster)?;
                print(&Shown::of(&keys), json)
            }
            Command::Rotate { place, role, drop_old, how } => {
                check_cluster(&KeyDir::open(&place.path())?, &place.cluster)?;
                finish(plan_rotate(&place.path(), role.into(), drop_old, how.now()?)?, &how)
            }
        }
    }
}

fn finish(plan: Plan, how: &How) -> Result<(), Failure> {
    for line in plan.files() {
        say!("{}{line}", if how.dry_run { "would " } else { "" });
    }
    if how.dry_run {
        return Ok(());
    }
    let keys = plan.apply()?;
    print(&Shown::of(&keys), how.json)?;
    if keys.has_root() {
        say!(
            "move {} to offline media now: `image` and `seed` work without it",
            keys.path().join("root-ca.key").display()
        );
    }
    Ok(())
}

fn check_name(cluster: &str) -> Result<(), Failure> {
    cluster
        .parse::<kubedos_wire::value::ClusterName>()
        .map(|_| ())
        .map_err(|error| Failure::new(Class::Usage, format!("{cluster:?} is not a cluster name: {error}")))
}

fn check_cluster(keys: &KeyDir, cluster: &str) -> Result<(), Failure> {
    if keys.public().cluster == cluster {
        return Ok(());
    }
    Err(KeyError::OtherCluster {
        path: keys.path().to_owned(),
        found: keys.public().cluster.clone(),
        wanted: cluster.to_owned(),
    }
    .into())
}

#[derive(Serialize)]
struct Shown {
    version: u32,
    cluster: String,
    cluster_id: String,
    demo: bool,
    /// Public keys in hex, the newest last.
    configuration: Vec<String>,
    seed: Vec<String>,
    /// SHA-256 fingerprints of the certificates.
    root_ca: String,
    intermediate_ca: Vec<String>,
    pk: String,
    kek: String,
    db: Vec<String>,
    root_key_is_here: bool,
}

impl Shown {
    fn of(keys: &KeyDir) -> Self {
        let public = keys.public();
        let print = |certificate: &Vec<u8>| hex::encode(sha256(&[certificate]));
        Self {
            version: 1,
            cluster: public.cluster.clone(),
            cluster_id: public.cluster_id(&public.cluster).to_string(),
            demo: public.demo,
            configuration: public.configuration.iter().map(ToString::to_string).collect(),
            seed: public.seed.iter().map(ToString::to_string).collect(),
            root_ca: print(&public.root_ca),
            intermediate_ca: public.intermediate_ca.iter().map(print).collect(),
            pk: print(&public.secure_boot.pk),
            kek: print(&public.secure_boot.kek),
            db: public.secure_boot.db.iter().map(print).collect(),
            root_key_is_here: keys.has_root(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "cluster          {}{}",
                self.cluster,
                if self.demo { " (published DEMO KEYS: anybody can sign with them)" } else { "" }
            ),
            format!("cluster id       {}", self.cluster_id),
        ];
        let lists = [
            ("configuration", "Ed25519", &self.configuration),
            ("seed", "Ed25519", &self.seed),
            ("intermediate CA", "SHA-256", &self.intermediate_ca),
            ("db", "SHA-256", &self.db),
        ];
        for (name, kind, values) in lists {
            for (index, value) in values.iter().enumerate() {
                let state = if index + 1 == values.len() { "signs" } else { "accepted" };
                lines.push(format!("{name:<16} {value} {kind}, {state}"));
            }
        }
        let root = if self.root_key_is_here {
            "private key in this directory: MOVE IT OFFLINE"
        } else {
            "private key not in this directory"
        };
        lines.push(format!("{:<16} {} SHA-256, {root}", "root CA", self.root_ca));
        lines.push(format!("{:<16} {} SHA-256", "PK", self.pk));
        lines.push(format!("{:<16} {} SHA-256", "KEK", self.kek));
        lines
    }
}

fn print(shown: &Shown, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(shown);
    }
    terminal::print(&shown.lines().into_iter().map(|line| line + "\n").collect::<String>())
}
