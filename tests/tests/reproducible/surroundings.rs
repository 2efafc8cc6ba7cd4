//! The surroundings of a build: everything that must not affect its outputs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubedos_tests::{kubedos_build, oracles, project, succeeds};

/// The user and group `nobody` (the kernel's overflow id), which own no files.
const NOBODY: u32 = 65534;
/// A time that is far from the present and from every time in the lock.
const A_DAY_IN_2033: &str = "@2033-05-18 03:33:20";

/// The surroundings.
pub struct Surroundings {
    umask: &'static str,
    program: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    is_environment_closed: bool,
    /// The user that builds, if it is not the present one.
    pub user: Option<u32>,
    /// Whether the build runs on one processor.
    is_alone: bool,
    /// Whether files are created in reverse order.
    pub is_reversed: bool,
    /// The folder in which the sources are, if they are not in the folder of the copy.
    pub shelf: Option<&'static Path>,
}

impl Surroundings {
    /// The surroundings of a developer, except for the clock, which is years ahead. libfaketime from the lock is loaded with its own
    /// loader. `/proc/self/exe` then points to that loader, so the digest of the program itself also differs between the builds.
    pub fn usual() -> Self {
        let path = |path| oracles().path(path).unwrap();
        let libraries = "usr/lib/x86_64-linux-gnu";
        let mut program: Vec<OsString> = vec![path("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").into()];
        program.extend(["--inhibit-cache".into(), "--library-path".into(), path(libraries).into()]);
        let preloaded = path("usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
        program.extend(["--preload".into(), preloaded.into(), kubedos_build().get_program().to_owned()]);
        Self {
            umask: "022",
            program,
            environment: vec![
                ("FAKETIME", A_DAY_IN_2033.into()),
                // Timeouts use the monotonic clock.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
                ("LC_ALL", "C.UTF-8".into()),
                ("TZ", "UTC".into()),
            ],
            is_environment_closed: false,
            user: None,
            is_alone: false,
            is_reversed: false,
            shelf: None,
        }
    }

    /// Surroundings that differ in everything else: user (if the present user may change it), home, umask, locale, time zone, processors,
    /// the folders of the program, cargo and the Rust toolchain, and the order of directory entries.
    pub fn other(folder: &Path) -> Self {
        let user = rustix::process::geteuid().is_root().then_some(NOBODY);
        let program = folder.join("programs");
        let make = |path: &Path| make_folder(path, user);
        for made in [folder, &program] {
            make(made);
        }
        let program = program.join("kubedos-build");
        fs::copy(kubedos_build().get_program(), &program).unwrap();
        let (home, cargo) = (folder.join("its home"), folder.join("its cargo"));
        make(&home);
        copy_cargo_home(&cargo, user);
        let rust = folder.join("its rust");
        link_tree(&sysroot(), &rust, user, &|path| {
            path.starts_with("share") || path.ends_with("rustlib/src")
        });
        let mut path = rust.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        Self {
            umask: "077",
            program: vec![program.into()],
            environment: vec![
                ("PATH", path),
                ("HOME", home.into()),
                ("CARGO_HOME", cargo.into()),
                ("LC_ALL", "tr_TR.UTF-8".into()),
                ("LANG", "tr_TR.UTF-8".into()),
                ("TZ", "Pacific/Kiritimati".into()),
            ],
            is_environment_closed: true,
            user,
            is_alone: true,
            is_reversed: true,
            // tmpfs lists the newest name first; other file systems sort by a hash of the name, independent of the order of creation.
            shelf: Some(Path::new("/dev/shm")).filter(|shelf| shelf.is_dir()),
        }
    }

    /// Runs `kubedos-build` with `folder` as its working folder.
    pub fn run(&self, folder: &Path, arguments: &[&OsStr]) {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {} && exec \"$@\"", self.umask), "sh"]);
        command.args(&self.program).args(arguments).current_dir(folder);
        if self.is_environment_closed {
            command.env_clear();
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        // The CPU affinity belongs to a thread, and processes that the thread starts inherit it.
        std::thread::scope(|scope| {
            let run = || {
                if self.is_alone {
                    let mut one = rustix::thread::CpuSet::new();
                    let all = rustix::thread::sched_getaffinity(None).unwrap();
                    let mut processors = 0..rustix::thread::CpuSet::MAX_CPU;
                    one.set(processors.find(|&processor| all.is_set(processor)).unwrap());
                    rustix::thread::sched_setaffinity(None, &one).unwrap();
                }
                succeeds(&mut command)
            };
            scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }
}

/// Creates a folder that `user` owns.
pub fn make_folder(path: &Path, user: Option<u32>) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    if let Some(user) = user {
        chown(path, Some(user), Some(user)).unwrap();
    }
}

/// Creates a hard link, or a copy if the target is on another file system. A hard link keeps the owner.
pub fn link_or_copy(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}

/// Links or copies a tree. Skips each path, relative to `from`, for which `is_left_out` returns true.
fn link_tree(from: &Path, to: &Path, user: Option<u32>, is_left_out: &dyn Fn(&Path) -> bool) {
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        make_folder(&to.join(&inside), user);
        for entry in fs::read_dir(from.join(&inside)).unwrap() {
            let path = inside.join(entry.unwrap().file_name());
            if is_left_out(&path) {
            } else if from.join(&path).is_dir() {
                folders.push(path);
            } else {
                link_or_copy(&from.join(&path), &to.join(&path));
            }
        }
    }
}

/// Creates a home folder for cargo with the downloaded crates and the user's configuration of registries, but without unpacked crates and
/// programs. The index is copied and not linked, because cargo writes to it.
fn copy_cargo_home(to: &Path, user: Option<u32>) {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo");
    let from = std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from);
    make_folder(to, user);
    for name in ["config.toml", "config"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    link_tree(&from.join("registry/cache"), &to.join("registry/cache"), user, &|_| false);
    make_folder(&to.join("registry"), user);
    let mut copy = Command::new("cp");
    succeeds(copy.arg("-r").args([from.join("registry/index"), to.join("registry/index")]));
    if let Some(user) = user {
        succeeds(
            Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(to.join("registry/index")),
        );
    }
}

fn sysroot() -> PathBuf {
    let mut rustc = Command::new("rustc");
    PathBuf::from(succeeds(rustc.current_dir(project()).args(["--print", "sysroot"])).trim_end())
}
