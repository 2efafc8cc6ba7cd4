//! The cargo command that builds the programs. It sets or removes everything in the caller's environment and configuration that could
//! influence the bytes; [`super::compiler`] remaps the paths of this host.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::compiler::Folder;
use super::sources::TOOLCHAIN;
use super::{AGENT, InitBuildError, Means, STAGE1, file};
use crate::cache_key::CacheKey;
use crate::interrupt::Program;

/// The only target so far. It is passed to cargo although it is the host's, so that cargo does not apply our flags to build scripts and
/// macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The cargo profile, defined in the workspace's manifest.
const PROFILE: &str = "init";
/// The environment variables that cargo inherits: the locations of its own files, and the proxies for the registry.
const ENVIRONMENT: [&str; 14] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
/// The environment variables that are set. They take precedence over a `config.toml` of the user.
const SET: [(&str, &str); 6] = [
    ("LC_ALL", "C"),
    ("SOURCE_DATE_EPOCH", "0"),
    ("ZERO_AR_DATE", "1"),
    ("CARGO_INCREMENTAL", "0"),
    ("RUSTC", "rustc"),
    ("RUSTC_WORKSPACE_WRAPPER", ""),
];

/// The files that cargo writes for a program.
pub(super) struct Built {
    /// The binary.
    pub(super) binary: PathBuf,
    /// cargo's list of the compiled source files.
    pub(super) dependencies: PathBuf,
}

/// Returns an error if the compiler is not the one that `rust-toolchain.toml` pins.
pub(super) fn check_rustc(workspace: &Path) -> Result<(), InitBuildError> {
    let path = workspace.join(TOOLCHAIN);
    let text = std::fs::read_to_string(&path).map_err(|source| file("read", &path, source))?;
    let pinned = channel(&text).ok_or(InitBuildError::NoChannel(path))?;
    let output = start("rustc", workspace).arg("-vV").output();
    let output = output.map_err(|error| InitBuildError::Run("rustc", error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("of unknown version");
    if found == pinned {
        return Ok(());
    }
    Err(InitBuildError::Rustc { found: found.to_owned(), pinned })
}

/// Returns `channel` of `rust-toolchain.toml`.
fn channel(text: &str) -> Option<String> {
    let document: toml::Table = text.parse().ok()?;
    Some(document.get("toolchain")?.get("channel")?.as_str()?.to_owned())
}

/// Runs cargo.
pub(super) fn build(
    workspace: &Path,
    means: &Means<'_>,
    compiler: &Folder,
    key: &CacheKey,
) -> Result<(), InitBuildError> {
    let status = Program::start(&mut command(workspace, means, compiler, key)).and_then(Program::wait);
    let status = status.map_err(|error| InitBuildError::Run("cargo", error))?;
    if !status.success() {
        return Err(InitBuildError::Cargo(status));
    }
    Ok(())
}

/// Returns the files that cargo writes for a program.
pub(super) fn built(means: &Means<'_>, program: &str) -> Built {
    let binary = means.target_dir.join(TARGET).join(PROFILE).join(program);
    Built { dependencies: binary.with_extension("d"), binary }
}

fn command(workspace: &Path, means: &Means<'_>, compiler: &Folder, key: &CacheKey) -> Command {
    let mut cargo = start("cargo", workspace);
    cargo.args(["build", "--locked", "--profile", PROFILE, "--target", TARGET]);
    for program in [STAGE1, AGENT] {
        cargo.args(["--package", program, "--bin", program]);
    }
    cargo.arg("--target-dir").arg(means.target_dir);
    if means.offline {
        cargo.arg("--offline");
    }
    cargo.envs(SET).env("CARGO_BUILD_BUILD_DIR", means.target_dir);
    cargo
        .env("RUSTC_WRAPPER", compiler.rustc())
        .env(format!("CC_{}", TARGET.replace('-', "_")), compiler.clang());
    // The last flag has no effect on the compiler. With it, cargo compiles everything again if the compiler or a flag of the wrapper changes.
    let key = format!("--cfg=kubedos_compiler=\"{key}\"");
    cargo.env(
        "CARGO_ENCODED_RUSTFLAGS",
        RUST_FLAGS.into_iter().chain([key.as_str()]).collect::<Vec<_>>().join("\x1f"),
    );
    cargo
}

/// A command that runs in the workspace with the allowed environment variables only.
fn start(program: &'static str, workspace: &Path) -> Command {
    let mut command = Command::new(program);
    let allowed = ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command.current_dir(workspace).env_clear().envs(allowed);
    command
}

/// The flags for static, position-independent programs linked by the Rust toolchain's rust-lld. No compiler driver is involved, so
/// [`Folder::rust_flags`] adds the start files and folders that a driver would add; the standard library names the libraries.
///
/// They contain no path: cargo makes the names of crates and symbols from the flags, and the order of functions depends on these names.
pub(super) const RUST_FLAGS: [&str; 6] = [
    "-Ctarget-feature=+crt-static",
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Clink-arg=--build-id=none",
    // Relocations take two bits each instead of 24 bytes (DT_RELR; the C library relocates itself with them).
    "-Clink-arg=-zpack-relative-relocs",
    "-Clink-arg=--no-eh-frame-hdr",
];

/// Returns the folders of this host whose paths must not be in the programs.
///
/// # Errors
/// [`InitBuildError::NoHome`] if the environment does not contain the location of one of them.
pub(super) fn folders_of_the_host(
    workspace: &Path,
    means: &Means<'_>,
) -> Result<Vec<PathBuf>, InitBuildError> {
    let of_home = |variable, folder| home_of(variable, folder, |name| env::var_os(name));
    Ok(vec![
        workspace.to_owned(),
        means.target_dir.to_owned(),
        means.toolchain.root().to_owned(),
        of_home("CARGO_HOME", ".cargo")?,
        of_home("RUSTUP_HOME", ".rustup")?,
    ])
}

/// Returns the folder that a variable names, otherwise the folder `name` in the home directory.
fn home_of(
    variable: &'static str,
    folder: &str,
    value: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, InitBuildError> {
    let in_home = || value("HOME").map(|home| Path::new(&home).join(folder));
    value(variable).map(PathBuf::from).or_else(in_home).ok_or(InitBuildError::NoHome(variable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_key::CacheKeyBuilder;

    #[test]
    fn the_channel_is_read_from_the_toolchain_file() {
        assert_eq!(channel("[toolchain]\nchannel = \"1.2.3\"\n").as_deref(), Some("1.2.3"));
        assert_eq!(channel("[toolchain]\npath = \"/x\"\n"), None);
        assert_eq!(channel("1.2.3"), None);
    }

    /// An unknown folder cannot be searched for, so it is an error.
    #[test]
    fn folders_of_the_host_come_from_the_environment_or_are_an_error() {
        let home = |set: &'static [(&str, &str)]| {
            home_of("CARGO_HOME", ".cargo", |name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
            })
        };
        assert_eq!(home(&[("HOME", "/h"), ("CARGO_HOME", "/c")]).unwrap(), Path::new("/c"));
        assert_eq!(home(&[("HOME", "/h")]).unwrap(), Path::new("/h/.cargo"));
        assert!(matches!(home(&[]), Err(InitBuildError::NoHome("CARGO_HOME"))));
    }

    #[test]
    fn the_callers_flags_and_wrappers_do_not_reach_the_compiler() {
        let (_folder, compiler, means) = super::super::tests::compiler();
        let key = CacheKeyBuilder::new("test", 1).finish();
        let command = command(Path::new("/w"), &means.borrowed(), &compiler, &key);
        let ours = [
            "CARGO_BUILD_BUILD_DIR",
            "RUSTC_WRAPPER",
            "CC_x86_64_unknown_linux_gnu",
            "CARGO_ENCODED_RUSTFLAGS",
        ];
        let allowed = ENVIRONMENT.iter().chain(&ours).chain(SET.iter().map(|(name, _)| name));
        let allowed: Vec<_> = allowed.collect();
        for (name, _) in command.get_envs() {
            assert!(allowed.contains(&&name.to_str().unwrap()), "{name:?}");
        }
        assert!(command.get_args().any(|argument| argument == "--locked"));
        let mut variables = command.get_envs();
        let flags =
            variables.find_map(|(name, value)| value.filter(|_| name == "CARGO_ENCODED_RUSTFLAGS")).unwrap();
        let (flags, folder) = (flags.to_str().unwrap(), compiler.tree().parent().unwrap().to_owned());
        assert!(!flags.contains(folder.to_str().unwrap()) && flags.contains(&key.to_string()), "{flags}");
    }
}
