//! Handles Ctrl-C, SIGTERM and a closed terminal in one place: the program exits with code 130 and leaves no unfinished files.
//!
//! A thread waits for the signals. On a signal, it waits until a publication in progress is complete, so that outputs get their names
//! together; terminates the started programs; removes unfinished files; and exits. The rest of the program is not involved. A signal that
//! was ignored when the program started (`nohup`, a background job of a shell) stays ignored.
//!
//! SIGXFSZ (file size limit) is handled so that it becomes an ordinary write error.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use kubedos_debian::failure::{Class, tell};

static PENDING: AtomicBool = AtomicBool::new(false);
static PUBLISHING: Mutex<()> = Mutex::new(());
static UNFINISHED: Mutex<Unfinished> =
    Mutex::new(Unfinished { paths: BTreeSet::new(), programs: BTreeSet::new() });

struct Unfinished {
    paths: BTreeSet<PathBuf>,
    /// Process ids. Each process is the leader of its own group.
    programs: BTreeSet<u32>,
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts to wait for signals. Call it once, before anything is written. `last` runs after a signal, when everything is cleaned up, just
/// before the program prints a message and exits.
///
/// # Errors
/// If a handler or the thread cannot be created.
pub fn watch(last: fn()) -> io::Result<()> {
    // The flag is not used: with a handler installed, a write beyond the limit fails with an error.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(wanted)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            end(last);
        }
    })?;
    Ok(())
}

/// Whether a signal was received. The program is then about to exit, and errors are a consequence of the signal.
pub fn is_pending() -> bool {
    PENDING.load(Ordering::SeqCst)
}

/// The signals that this process ignores, as a bit mask (proc_pid_status(5), `SigIgn`).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    field.and_then(|field| u64::from_str_radix(field.trim(), 16).ok()).unwrap_or(0)
}

/// Cleans up and exits. Neither lock is released: threads that wait for a lock wait until the process ends.
fn end(last: fn()) -> ! {
    PENDING.store(true, Ordering::SeqCst);
    let _publishing = lock(&PUBLISHING);
    let unfinished = lock(&UNFINISHED);
    for program in &unfinished.programs {
        if let Some(pid) = i32::try_from(*program).ok().and_then(Pid::from_raw) {
            // A program that cannot be signalled has already ended.
            kill_process_group(pid, Signal::TERM).unwrap_or_default();
        }
    }
    for path in &unfinished.paths {
        // The next build removes files that could not be removed here.
        drop(remove(path));
    }
    last();
    // A terminated program may have written an incomplete line.
    if !unfinished.programs.is_empty() {
        tell(format_args!(""));
    }
    tell(format_args!("interrupted"));
    std::process::exit(i32::from(Class::Interrupted.code()))
}

/// Removes a file or a tree that other processes may still write to. It is renamed first, so that they cannot open files in it by name.
fn remove(path: &Path) -> io::Result<()> {
    let mut away = path.as_os_str().to_owned();
    away.push(".gone");
    let away = PathBuf::from(away);
    fs::rename(path, &away)?;
    if fs::symlink_metadata(&away)?.is_dir() { fs::remove_dir_all(&away) } else { fs::remove_file(&away) }
}

/// A file or folder that is removed when this value is dropped or a signal arrives, unless it is finished.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Registers a path before anything is created there.
    pub fn new(path: PathBuf) -> Self {
        lock(&UNFINISHED).paths.insert(path.clone());
        Self { path }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets `finish` give the path its final name; a signal is handled only afterwards. If `finish` fails, the path is removed.
    ///
    /// # Errors
    /// The error of `finish`.
    pub fn finish<T, E>(self, finish: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        whole(|| self.finish_within(finish))
    }

    /// Like [`Self::finish`], as a step of a surrounding [`whole`].
    ///
    /// # Errors
    /// The error of `finish`.
    pub fn finish_within<T, E>(self, finish: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        let done = finish(&self.path)?;
        lock(&UNFINISHED).paths.remove(&self.path);
        Ok(done)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A finished path is no longer registered and belongs to its new owner.
        if lock(&UNFINISHED).paths.remove(&self.path) {
            drop(remove(&self.path));
        }
    }
}

/// Runs a short operation to its end; signals are handled afterwards. Calls must not be nested.
pub fn whole<T>(work: impl FnOnce() -> T) -> T {
    let _publishing = lock(&PUBLISHING);
    work()
}

/// A started program that is terminated on a signal.
#[derive(Debug)]
pub struct Program {
    /// The process.
    pub child: Child,
}

impl Program {
    /// Starts a program in its own process group, so that it and all its children can be terminated together.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        // Hold the lock while starting, so that a signal cannot be handled before the program is registered.
        let mut unfinished = lock(&UNFINISHED);
        let child = command.process_group(0).spawn()?;
        unfinished.programs.insert(child.id());
        Ok(Self { child })
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// If the exit status is not available.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait();
        lock(&UNFINISHED).programs.remove(&self.child.id());
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_paths_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let tree = Temporary::new(path("tree"));
        fs::create_dir_all(tree.path().join("a/b")).unwrap();
        drop(tree);
        let file = Temporary::new(path("file"));
        fs::write(file.path(), b"x").unwrap();
        file.finish(|path| fs::rename(path, path.with_extension("done"))).unwrap();
        let failed = Temporary::new(path("failed"));
        fs::write(failed.path(), b"x").unwrap();
        failed.finish(|_| Err::<(), _>(())).unwrap_err();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file.done"]);
    }

    #[test]
    fn a_program_leads_its_own_process_group() {
        let mut command = Command::new("sleep");
        let program = Program::start(command.arg("1000")).unwrap();
        let pid = Pid::from_child(&program.child);
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
        kill_process_group(pid, Signal::TERM).unwrap();
        assert!(!program.wait().unwrap().success());
    }
}
