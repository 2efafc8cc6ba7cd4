//! Builds `kubedos-init`, the binary that is `/init` of the initrd and the agent of the root volume: static, small, and the same bytes from
//! any folder (requirement A4).
//!
//! It is an ordinary cargo build of this workspace in the profile `init`, with everything taken away that could tell one host from another:
//! the environment is an allow-list, paths are remapped, C parts included. Which C library and linker go into it is the [`Toolchain`]'s
//! affair. cargo decides what is out of date; nothing is rebuilt that did not change.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The only target so far.
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

/// What compiles the C parts and links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// The host's C compiler and C library: equal bytes on this host, not across hosts.
    Host,
    /// A compiler driver that is called for both, with arguments that name its sysroot and linker.
    Pinned {
        /// The program.
        driver: PathBuf,
        /// Given to it before its other arguments when it compiles C.
        compile: Vec<String>,
        /// Given to it when it links.
        link: Vec<String>,
    },
}

/// What a build needs.
#[derive(Debug, Clone)]
pub struct InitInputs<'a> {
    /// The workspace's root.
    pub workspace: &'a Path,
    /// cargo's target folder for this build.
    pub target_dir: &'a Path,
    /// No network.
    pub offline: bool,
    /// Compiler and linker.
    pub toolchain: &'a Toolchain,
}

/// Why there is no binary.
#[derive(Debug, thiserror::Error)]
pub enum InitBuildError {
    /// A program did not start.
    #[error("failed to run {0}")]
    Run(&'static str, #[source] io::Error),
    /// cargo said why on stderr.
    #[error("failed to build kubedos-init: cargo ended with {0}")]
    Cargo(ExitStatus),
    /// A folder cannot be named.
    #[error("failed to find {0}")]
    Folder(&'static str, #[source] io::Error),
    /// A path that cannot stand in a compiler's argument.
    #[error("path {} is not UTF-8, or holds a space or `=`", .0.display())]
    Path(PathBuf),
}

/// Builds the binary and gives its path.
pub fn build(inputs: &InitInputs<'_>) -> Result<PathBuf, InitBuildError> {
    let status = command(inputs)?.status().map_err(|error| InitBuildError::Run("cargo", error))?;
    if !status.success() {
        return Err(InitBuildError::Cargo(status));
    }
    Ok(inputs.target_dir.join(TARGET).join(PROFILE).join("kubedos-init"))
}

fn command(inputs: &InitInputs<'_>) -> Result<Command, InitBuildError> {
    let remap = remap(inputs)?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(inputs.workspace)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    cargo.args([
        "build",
        "--locked",
        "--profile",
        PROFILE,
        "--target",
        TARGET,
        "--package",
        "kubedos-init",
        "--bin",
        "kubedos-init",
    ]);
    cargo.arg("--target-dir").arg(inputs.target_dir);
    if inputs.offline {
        cargo.arg("--offline");
    }
    cargo.env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", "0").env("ZERO_AR_DATE", "1");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&remap, inputs.toolchain).join("\x1f"));
    cargo.env("CFLAGS", c_flags(&remap, inputs.toolchain).join(" "));
    if let Toolchain::Pinned { driver, .. } = inputs.toolchain {
        cargo.env("CC", driver);
    }
    Ok(cargo)
}

/// Which folders appear under which name; the longest last, since the last that matches counts.
fn remap(inputs: &InitInputs<'_>) -> Result<Vec<(String, &'static str)>, InitBuildError> {
    let absolute =
        |path: &Path, what| std::path::absolute(path).map_err(|error| InitBuildError::Folder(what, error));
    let home = env::var_os("HOME").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").unwrap_or_else(|| under(&home, ".cargo"));
    let rustup_home = env::var_os("RUSTUP_HOME").unwrap_or_else(|| under(&home, ".rustup"));
    let folders = [
        (absolute(Path::new(&cargo_home), "cargo's home")?, "/cargo"),
        (absolute(Path::new(&rustup_home), "rustup's home")?, "/rustup"),
        (absolute(inputs.workspace, "the workspace")?, "/kubedos"),
        (absolute(inputs.target_dir, "the target folder")?, "/target"),
    ];
    folders.into_iter().map(|(path, name)| Ok((plain(path)?, name))).collect()
}

fn under(home: &OsString, folder: &str) -> OsString {
    Path::new(home).join(folder).into_os_string()
}

fn plain(path: PathBuf) -> Result<String, InitBuildError> {
    match path.to_str() {
        Some(text) if !text.contains([' ', '=', '\x1f']) => Ok(text.to_owned()),
        _ => Err(InitBuildError::Path(path)),
    }
}

fn rust_flags(remap: &[(String, &str)], toolchain: &Toolchain) -> Vec<String> {
    let mut flags =
        vec!["-Ctarget-feature=+crt-static".to_owned(), "-Clink-arg=-Wl,--build-id=none".to_owned()];
    flags.extend(remap.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")));
    if let Toolchain::Pinned { driver, link, .. } = toolchain {
        flags.push(format!("-Clinker={}", driver.display()));
        flags.extend(link.iter().map(|argument| format!("-Clink-arg={argument}")));
    }
    flags
}

fn c_flags(remap: &[(String, &str)], toolchain: &Toolchain) -> Vec<String> {
    let pinned = match toolchain {
        Toolchain::Host => Vec::new(),
        Toolchain::Pinned { compile, .. } => compile.clone(),
    };
    let maps = remap.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}"));
    pinned.into_iter().chain(["-g0".to_owned()]).chain(maps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(toolchain: &Toolchain) -> InitInputs<'_> {
        InitInputs {
            workspace: Path::new("/w"),
            target_dir: Path::new("/w/target/init"),
            offline: true,
            toolchain,
        }
    }

    #[test]
    fn the_callers_flags_and_wrappers_do_not_reach_the_compiler() {
        let command = command(&inputs(&Toolchain::Host)).unwrap();
        let names: Vec<_> = command.get_envs().filter_map(|(name, _)| name.to_str()).collect();
        for name in names {
            let ours = ["LC_ALL", "SOURCE_DATE_EPOCH", "ZERO_AR_DATE", "CARGO_ENCODED_RUSTFLAGS", "CFLAGS"];
            assert!(ENVIRONMENT.contains(&name) || ours.contains(&name), "{name}");
        }
        assert!(command.get_args().any(|argument| argument == "--locked"));
    }

    #[test]
    fn every_folder_of_the_host_has_another_name_in_the_binary() {
        let pinned = Toolchain::Pinned {
            driver: "/cache/clang".into(),
            compile: vec!["--sysroot=/cache/root".into()],
            link: vec!["-fuse-ld=lld".into()],
        };
        let remap = remap(&inputs(&pinned)).unwrap();
        let rust = rust_flags(&remap, &pinned);
        let c = c_flags(&remap, &pinned);
        assert!(rust.contains(&"--remap-path-prefix=/w=/kubedos".to_owned()));
        assert!(c.contains(&"-ffile-prefix-map=/w/target/init=/target".to_owned()));
        assert!(c.contains(&"--sysroot=/cache/root".to_owned()));
        assert!(
            rust.contains(&"-Clinker=/cache/clang".to_owned())
                && rust.contains(&"-Clink-arg=-fuse-ld=lld".to_owned())
        );
        assert_eq!(rust.iter().filter(|flag| flag.starts_with("--remap")).count(), 4);
    }

    #[test]
    fn a_folder_that_would_split_an_argument_is_refused() {
        let toolchain = Toolchain::Host;
        let spaced = InitInputs { workspace: Path::new("/my files"), ..inputs(&toolchain) };
        assert!(matches!(command(&spaced), Err(InitBuildError::Path(_))));
    }
}
