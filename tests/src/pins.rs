//! The pinned inputs and programs of the tests: every set of the lock, fetched once per run into the user's cache.
//!
//! Tests use only these programs and cargo, so that the result does not depend on what is installed on the host.

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
    /// All inputs. A package that the mirror no longer has is replaced by its successor in a separate lock of the tests.
    ///
    /// # Panics
    /// If a package is neither in the cache nor on the mirror.
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

    /// The lock in use.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// The file of the lock in use.
    pub fn lock_file(&self) -> &Path {
        &self.lock_file
    }

    /// The unpacked programs of a set.
    ///
    /// # Panics
    /// If they cannot be unpacked.
    pub fn toolbox(&self, set: &str) -> Toolbox {
        Toolbox::open(&self.cache, &self.lock, set).unwrap()
    }
}

/// The emulator.
///
/// # Panics
/// If it cannot be unpacked.
pub fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::new(Pins::get().toolbox("tools").root()).unwrap())
}

/// The independent programs that check the outputs of a build.
///
/// # Panics
/// If they cannot be unpacked.
pub fn oracles() -> &'static Toolbox {
    static ORACLES: OnceLock<Toolbox> = OnceLock::new();
    ORACLES.get_or_init(|| Pins::get().toolbox("oracles"))
}

/// The root folder of the checkout.
///
/// # Panics
/// Never: this crate is in a folder of the checkout.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder for everything that tests write. All of it can be generated again.
pub fn scratch() -> PathBuf {
    project().join("target/vm")
}

/// `kubedos-build`, compiled from this checkout, with the checkout as its working folder.
///
/// # Panics
/// If it does not compile.
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
        // Test programs are in the subfolder `deps` of the folder with the other programs.
        let this = std::env::current_exe().unwrap();
        let folder = this.parent().unwrap();
        if folder.ends_with("deps") { folder.parent().unwrap() } else { folder }.join("kubedos-build")
    });
    let mut command = Command::new(program);
    command.current_dir(project());
    command
}

/// cargo in the checkout, without the environment variables that cargo sets for tests. With them, build scripts would run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(project());
    for (name, _) in std::env::vars_os() {
        let set_by_cargo = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
            "CARGO_TARGET_TMPDIR",
        ];
        if name.to_str().is_some_and(|name| set_by_cargo.iter().any(|start| name.starts_with(start))) {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program that must succeed; returns its standard output.
///
/// # Panics
/// If it fails; the message contains its whole output.
pub fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
