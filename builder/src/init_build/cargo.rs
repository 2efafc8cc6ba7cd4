//! The cargo command that builds the binary: everything of the caller's environment and configuration that could reach the bytes is
//! set or taken away, and what names folders of this host is left to [`super::compiler`] to rename.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::compiler::Folder;
use super::sources::TOOLCHAIN;
use super::{AGENT, InitBuildError, Means, STAGE1, file};
use crate::interrupt::Program;

/// The only target so far. That it is given to cargo, although it is the host's, keeps our flags from build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The cargo profile, in the workspace's manifest.
const PROFILE: &str = "init";
/// What cargo may see of the caller's environment: where its own things are, and how to reach a registry.
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
/// What it is told instead. Variables win over a `config.toml` of the user.
const SET: [(&str, &str); 6] = [
    ("LC_ALL", "C"),
    ("SOURCE_DATE_EPOCH", "0"),
    ("ZERO_AR_DATE", "1"),
    ("CARGO_INCREMENTAL", "0"),
    ("RUSTC", "rustc"),
    ("RUSTC_WORKSPACE_WRAPPER", ""),
];

/// What cargo made.
pub(super) struct Built {
    /// The binary.
    pub(super) binary: PathBuf,
    /// cargo's list of what went into it.
    pub(super) dependencies: PathBuf,
}

/// Refuses another compiler than `rust-toolchain.toml` names.
pub(super) fn check_rustc(workspace: &Path) -> Result<(), InitBuildError> {
    let path = workspace.join(TOOLCHAIN);
    let text = std::fs::read_to_string(&path).map_err(|source| file("read", &path, source))?;
    let pinned = channel(&text).ok_or(InitBuildError::NoChannel(path))?;
    let output = start("rustc", workspace).arg("-vV").output();
    let output = output.map_err(|error| InitBuildError::Run("rustc", error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("of no known version");
    if found == pinned {
        return Ok(());
    }
    Err(InitBuildError::Rustc { found: found.to_owned(), pinned })
}

/// `channel` of `rust-toolchain.toml`.
fn channel(text: &str) -> Option<String> {
    let document: toml::Table = text.parse().ok()?;
    Some(document.get("toolchain")?.get("channel")?.as_str()?.to_owned())
}

/// Runs cargo.
pub(super) fn build(workspace: &Path, means: &Means<'_>, compiler: &Folder) -> Result<(), InitBuildError> {
    let status = Program::start(&mut command(workspace, means, compiler)).and_then(Program::wait);
    let status = status.map_err(|error| InitBuildError::Run("cargo", error))?;
    if !status.success() {
        return Err(InitBuildError::Cargo(status));
    }
    Ok(())
}

/// Where cargo puts a program.
pub(super) fn built(means: &Means<'_>, program: &str) -> Built {
    let binary = means.target_dir.join(TARGET).join(PROFILE).join(program);
    Built { dependencies: binary.with_extension("d"), binary }
}

fn command(workspace: &Path, means: &Means<'_>, compiler: &Folder) -> Command {
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
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(compiler).join(OsStr::new("\x1f")));
    cargo
}

/// A program in the workspace that sees of the environment what is allowed.
fn start(program: &'static str, workspace: &Path) -> Command {
    let mut command = Command::new(program);
    let allowed = ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?)));
    command.current_dir(workspace).env_clear().envs(allowed);
    command
}

/// A static, position-independent program linked by the Rust toolchain's own rust-lld. Since no compiler driver stands between, the
/// start files and folders that one would add are named here; the libraries are named by the standard library.
pub(super) fn rust_flags(compiler: &Folder) -> Vec<OsString> {
    let mut flags: Vec<OsString> = [
        "-Ctarget-feature=+crt-static",
        "-Clinker=rust-lld",
        "-Clinker-flavor=ld.lld",
        "-Clink-arg=--build-id=none",
    ]
    .map(OsString::from)
    .into();
    let mut add = |flag: &str, path: PathBuf| {
        let mut flag = OsString::from(flag);
        flag.push(path);
        flags.push(flag);
    };
    add("-Clink-arg=--sysroot=", compiler.tree());
    for object in compiler.start_files() {
        add("-Clink-arg=", object);
    }
    for folder in compiler.library_folders() {
        add("-Lnative=", folder);
    }
    flags
}

/// The folders whose names must not be in the binary.
///
/// # Errors
/// [`InitBuildError::NoHome`] when the environment does not say where one of them is.
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

/// The folder that a variable names, else the one of that name in the home directory.
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

    #[test]
    fn the_channel_is_read_from_the_toolchain_file() {
        assert_eq!(channel("[toolchain]\nchannel = \"1.2.3\"\n").as_deref(), Some("1.2.3"));
        assert_eq!(channel("[toolchain]\npath = \"/x\"\n"), None);
        assert_eq!(channel("1.2.3"), None);
    }

    /// A folder that is not known cannot be looked for.
    #[test]
    fn folders_of_the_host_come_from_the_environment_or_are_missed() {
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
        let command = command(Path::new("/w"), &means.borrowed(), &compiler);
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
    }
}
