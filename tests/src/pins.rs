//! The pinned inputs: every set of the lock, fetched once a run into the user's cache, and the programs that come with them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::cache::{Cache, Place};
use kubedos_debian::lock::Lock;
use kubedos_lab::Tools;

/// The fetched inputs.
#[derive(Debug)]
pub struct Pins {
    cache: Cache,
    lock: Lock,
    lock_file: PathBuf,
}

impl Pins {
    /// The inputs, complete. What has vanished from the mirror is locked anew, into a lock of the tests' own.
    ///
    /// # Panics
    /// When something can be had neither from the cache nor from the mirror.
    pub fn get() -> &'static Self {
        static PINS: OnceLock<Pins> = OnceLock::new();
        PINS.get_or_init(|| {
            let out = scratch().join("lock");
            succeeds(kubedos_build().args(["fetch", "--relock-missing", "--out"]).arg(&out));
            let used = out.join("kubedos.lock");
            let committed = project().join("kubedos.lock");
            let lock_file = if used.exists() { used } else { committed };
            let place =
                Place { fallback: project().join("target/kubedos-cache"), ..Place::from_environment(None) };
            Self { cache: place.open().unwrap(), lock: Lock::read_alone(&lock_file).unwrap(), lock_file }
        })
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The lock that was used.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The file of the lock that was used.
    pub fn lock_file(&self) -> &Path {
        &self.lock_file
    }

    /// The programs of a set, unpacked.
    ///
    /// # Panics
    /// When they cannot be unpacked.
    pub fn toolbox(&self, set: &str) -> Toolbox {
        Toolbox::open(&self.cache, &self.lock, set).unwrap()
    }
}

/// The emulator.
///
/// # Panics
/// When it cannot be unpacked.
pub fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::new(Pins::get().toolbox("tools").root()).unwrap())
}

/// Other people's programs that judge what was built.
///
/// # Panics
/// When they cannot be unpacked.
pub fn oracles() -> &'static Toolbox {
    static ORACLES: OnceLock<Toolbox> = OnceLock::new();
    ORACLES.get_or_init(|| Pins::get().toolbox("oracles"))
}

/// The checkout.
///
/// # Panics
/// Never: this crate lies in it.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where tests write: everything in it can be made again.
pub fn scratch() -> PathBuf {
    project().join("target/vm")
}

/// `kubedos-build` of this very source, run in the checkout.
///
/// # Panics
/// When it does not compile.
pub fn kubedos_build() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        succeeds(cargo().args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--workspace",
            "--bin",
            "kubedos-build",
        ]));
        // Tests lie in a folder of their own below the programs.
        let this = std::env::current_exe().unwrap();
        let folder = this.parent().unwrap();
        if folder.ends_with("deps") { folder.parent().unwrap() } else { folder }.join("kubedos-build")
    });
    let mut command = Command::new(program);
    command.current_dir(project());
    command
}

/// cargo in the checkout, as a shell starts it: what cargo tells the tests of themselves would make build scripts run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(project());
    for (name, _) in std::env::vars_os() {
        let told = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
            "CARGO_TARGET_TMPDIR",
        ];
        if name.to_str().is_some_and(|name| told.iter().any(|start| name.starts_with(start))) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program that has to succeed; gives what it wrote to stdout.
///
/// # Panics
/// With everything that it said, when it does not.
pub fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}
