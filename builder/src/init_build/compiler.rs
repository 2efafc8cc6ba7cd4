//! The compilers of the programs, in a form that cargo can start: a folder in the target folder with a link to the lock's tree, and links
//! to this program under the names of a C compiler and of a wrapper around `rustc`.
//!
//! - [`CLANG`] runs the lock's clang with the tree's own loader and with the tree as its only root. clang starts itself again by
//!   the name with which it was started, so this must be a program and not a command line.
//! - [`RUSTC`] runs the `rustc` that cargo passes.
//!
//! Both remap source paths so that no host path reaches the binary: a crate's sources become `/crates/<name>-<version>`, whether they
//! come from a registry, a mirror or `cargo vendor`, and the output of its build script becomes `out` below that.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{InitBuildError, Means, SET, file};
use crate::cache_key::CacheKey;
use crate::toolbox::Toolbox;

/// The name under which this program acts as the C compiler.
pub const CLANG: &str = "kubedos-clang";
/// The name under which this program acts as the wrapper around `rustc`.
pub const RUSTC: &str = "kubedos-rustc";
/// The name of the linker script.
const SCRIPT: &str = "no-unwind-tables.ld";
/// Removes the tables that are needed to unwind the stack. A panic aborts (profile `init`), so nothing reads them; they take 8 % of
/// stage 1.
pub(super) const NO_UNWIND_TABLES: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;
";
/// The name of the link to the tree.
const TREE: &str = "tree";
const PROGRAM: &str = "usr/bin/clang-19";
const RESOURCES: &str = "usr/lib/llvm-19/lib/clang/19";
const LIBC: &str = "usr/lib/x86_64-linux-gnu";
const GCC: &str = "usr/lib/gcc/x86_64-linux-gnu/14";
/// The start files that gcc links into a static, position-independent program, in gcc's order.
const START_FILES: [(&str, &str); 5] =
    [(LIBC, "rcrt1.o"), (LIBC, "crti.o"), (GCC, "crtbeginS.o"), (GCC, "crtendS.o"), (LIBC, "crtn.o")];

/// The folder with the compilers.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// A folder that does not exist: for the cache key, which must depend on the flags but not on the location of the build.
    pub(super) fn nowhere() -> Self {
        Self(PathBuf::from("/compiler"))
    }

    /// Creates the folder. Its name changes with the compiler only; cargo then recompiles everything.
    pub(super) fn make(means: &Means<'_>, compiler: &CacheKey) -> Result<Self, InitBuildError> {
        let folder = means.target_dir.join("compiler").join(compiler.to_string());
        fs::create_dir_all(&folder).map_err(|source| file("make", &folder, source))?;
        let links = [(TREE, means.toolchain.root()), (CLANG, means.program), (RUSTC, means.program)];
        for (name, to) in links {
            let path = folder.join(name);
            link(to, &path).map_err(|source| file("make", &path, source))?;
        }
        let script = folder.join(SCRIPT);
        replace(&script, |temporary| fs::write(temporary, NO_UNWIND_TABLES))
            .map_err(|source| file("write", &script, source))?;
        Ok(Self(folder))
    }

    /// The linker script.
    pub(super) fn script(&self) -> PathBuf {
        self.0.join(SCRIPT)
    }

    /// The tree of compiler and C library.
    pub(super) fn tree(&self) -> PathBuf {
        self.0.join(TREE)
    }

    /// The C compiler.
    pub(super) fn clang(&self) -> PathBuf {
        self.0.join(CLANG)
    }

    /// The wrapper around `rustc`.
    pub(super) fn rustc(&self) -> PathBuf {
        self.0.join(RUSTC)
    }

    /// The flags with paths for `rustc` ([`super::cargo::RUST_FLAGS`] are the ones without).
    pub(super) fn rust_flags(&self) -> Vec<OsString> {
        let flag = |flag: &str, path: PathBuf| [OsStr::new(flag), path.as_os_str()].into_iter().collect();
        let script =
            [flag("-Clink-arg=--sysroot=", self.tree()), flag("-Clink-arg=--script=", self.script())];
        let objects = self.start_files().map(|object| flag("-Clink-arg=", object));
        let folders = self.library_folders().map(|folder| flag("-Lnative=", folder));
        script.into_iter().chain(objects).chain(folders).collect()
    }

    /// The start files that are linked around a program's own objects.
    pub(super) fn start_files(&self) -> impl Iterator<Item = PathBuf> {
        START_FILES.into_iter().map(|(folder, name)| self.tree().join(folder).join(name))
    }

    /// The library folders.
    pub(super) fn library_folders(&self) -> [PathBuf; 2] {
        [LIBC, GCC].map(|folder| self.tree().join(folder))
    }
}

/// Creates a link and replaces an existing one.
fn link(to: &Path, path: &Path) -> io::Result<()> {
    replace(path, |temporary| symlink(to, temporary))
}

/// Creates a file under a temporary name and renames it, because another build may be using the existing one.
fn replace(path: &Path, create: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    create(&temporary)?;
    fs::rename(&temporary, path)
}

/// If this program was started under one of the two names, replaces the process by that compiler. Returns an error if that fails, and
/// `None` if the program has another name.
pub fn run_under_its_name() -> Option<InitBuildError> {
    let mut arguments = env::args_os();
    let name = PathBuf::from(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    let (what, command) = match name.file_name()?.to_str()? {
        CLANG => ("the lock's clang", clang(&name, arguments)),
        RUSTC => ("rustc", Ok(rustc(&name, arguments))),
        _ => return None,
    };
    Some(command.map_or_else(|error| error, |mut command| InitBuildError::Run(what, command.exec())))
}

fn clang(name: &Path, arguments: Vec<OsString>) -> Result<Command, InitBuildError> {
    let tree = name.with_file_name(TREE);
    let mut command = Toolbox::unpacked(&tree, SET).command_as(PROGRAM, name.as_os_str())?;
    // clang starting itself: the arguments are complete, and the first one must stay the first.
    if !arguments.first().is_some_and(|first| first.as_encoded_bytes().starts_with(b"-cc1")) {
        command.args(c_flags(&tree)).arg(renaming("-ffile-prefix-map", &tree, "/toolchain".as_ref()));
        for (from, to) in crate_names(|name| env::var_os(name)) {
            command.arg(renaming("-ffile-prefix-map", &from, &to));
        }
    }
    command.args(arguments);
    Ok(command)
}

fn rustc(name: &Path, arguments: Vec<OsString>) -> Command {
    // Build scripts and procedural macros are compiled for the host, without `--target`.
    let is_for_the_node = arguments.iter().any(|argument| argument == "--target");
    let mut arguments = arguments.into_iter();
    let mut command = Command::new(arguments.next().unwrap_or_else(|| "rustc".into()));
    command.args(arguments);
    if is_for_the_node && let Some(folder) = name.parent() {
        command.args(Folder(folder.to_owned()).rust_flags());
    }
    for (from, to) in crate_names(|name| env::var_os(name)) {
        command.arg(renaming("--remap-path-prefix", &from, &to));
    }
    command
}

/// The flags that make clang use the tree only, and no file of the host.
pub(super) fn c_flags(tree: &Path) -> Vec<OsString> {
    let flags = ["--no-default-config", "-no-canonical-prefixes", "--target=x86_64-linux-gnu", "-g0"];
    let paths = [("--sysroot=", tree.to_owned()), ("-resource-dir=", tree.join(RESOURCES))];
    let paths =
        paths.into_iter().map(|(flag, path)| [OsString::from(flag), path.into()].into_iter().collect());
    flags.into_iter().map(OsString::from).chain(paths).collect()
}

fn renaming(option: &str, from: &Path, to: &OsStr) -> OsString {
    [option.as_ref(), "=".as_ref(), from.as_os_str(), "=".as_ref(), to].into_iter().collect()
}

/// The folders of the current crate, as cargo passes them to compilers and build scripts, and their new names. The last match takes
/// precedence.
fn crate_names(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(PathBuf, OsString)> {
    let [Some(sources), Some(name), Some(version)] =
        ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"].map(&variable)
    else {
        return Vec::new();
    };
    let to: OsString =
        ["/crates/".as_ref(), name.as_os_str(), "-".as_ref(), version.as_os_str()].into_iter().collect();
    let out = variable("OUT_DIR").map(|out| (PathBuf::from(out), Path::new(&to).join("out").into()));
    [(PathBuf::from(sources), to)].into_iter().chain(out).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_has_the_same_name_in_every_folder() {
        let names = |sources: &str, out: Option<&str>| {
            crate_names(|name| match name {
                "CARGO_MANIFEST_DIR" => Some(sources.into()),
                "CARGO_PKG_NAME" => Some("ring".into()),
                "CARGO_PKG_VERSION" => Some("0.17.14".into()),
                "OUT_DIR" => out.map(OsString::from),
                _ => None,
            })
        };
        let (registry, vendored) =
            ("/home/me/.cargo/registry/src/mirror-0123/ring-0.17.14", "/w/vendor/ring");
        for sources in [registry, vendored] {
            let found = names(sources, Some("/t/build/ring-77/out"));
            let expected =
                [(sources, "/crates/ring-0.17.14"), ("/t/build/ring-77/out", "/crates/ring-0.17.14/out")];
            assert_eq!(found, expected.map(|(from, to)| (PathBuf::from(from), OsString::from(to))));
        }
        assert_eq!(names(vendored, None).len(), 1);
        assert_eq!(crate_names(|_| None), []);
    }
}
