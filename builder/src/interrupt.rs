//! Ctrl-C, a polite kill and a closed terminal end the program in one place: exit code 130, and nothing left behind.
//!
//! A thread waits for the signals. When one comes it lets a publication that has begun come to its end, so that outputs get their names
//! together; ends the programs that were started; removes what is unfinished; and exits. Nothing else in the program has to know. A signal
//! that was ignored when the program started (`nohup`, a shell's background job) stays ignored.
//!
//! A file size limit is an ordinary write error here, not a signal that kills.

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
    /// Process ids, each the leader of a group of its own.
    programs: BTreeSet<u32>,
}

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to wait for signals. Called once, before anything is written. `last` runs when one has come and all is tidied up, just before
/// the program says so and ends.
///
/// # Errors
/// When the system gives no handler or thread.
pub fn watch(last: fn()) -> io::Result<()> {
    // The flag is of no interest: with a handler in place, a write past the limit fails with an error.
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

/// Has a signal come? The program is then about to end, and what fails in it now fails for that reason.
pub fn is_pending() -> bool {
    PENDING.load(Ordering::SeqCst)
}

/// The signals that this process ignores, bit by bit (proc_pid_status(5), `SigIgn`).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    field.and_then(|field| u64::from_str_radix(field.trim(), 16).ok()).unwrap_or(0)
}

/// Neither lock is given back: whoever waits for one waits until the process is gone.
fn end(last: fn()) -> ! {
    PENDING.store(true, Ordering::SeqCst);
    let _publishing = lock(&PUBLISHING);
    let unfinished = lock(&UNFINISHED);
    for program in &unfinished.programs {
        if let Some(pid) = i32::try_from(*program).ok().and_then(Pid::from_raw) {
            // Who cannot be ended has ended.
            kill_process_group(pid, Signal::TERM).unwrap_or_default();
        }
    }
    for path in &unfinished.paths {
        // The next build removes what is left.
        drop(remove(path));
    }
    last();
    // A program that was ended may have begun a line.
    if !unfinished.programs.is_empty() {
        tell(format_args!(""));
    }
    tell(format_args!("interrupted"));
    std::process::exit(i32::from(Class::Interrupted.code()))
}

/// Removes a file or a tree that others may still be writing to: moved away first, so that what they open by name is not there any more.
fn remove(path: &Path) -> io::Result<()> {
    let mut away = path.as_os_str().to_owned();
    away.push(".gone");
    let away = PathBuf::from(away);
    fs::rename(path, &away)?;
    if fs::symlink_metadata(&away)?.is_dir() { fs::remove_dir_all(&away) } else { fs::remove_file(&away) }
}

/// A file or folder that is removed unless it is kept: when this is dropped, or when a signal comes.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Takes charge of a path, before anything is there.
    pub fn new(path: PathBuf) -> Self {
        lock(&UNFINISHED).paths.insert(path.clone());
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets `finish` give it its name; a signal waits for that. If it fails, the path is removed.
    ///
    /// # Errors
    /// What `finish` returns.
    pub fn finish<T, E>(self, finish: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        whole(|| self.finish_within(finish))
    }

    /// The same as a step of a larger [`whole`].
    ///
    /// # Errors
    /// What `finish` returns.
    pub fn finish_within<T, E>(self, finish: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
        let done = finish(&self.path)?;
        lock(&UNFINISHED).paths.remove(&self.path);
        Ok(done)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A path that was finished is in charge of somebody else.
        if lock(&UNFINISHED).paths.remove(&self.path) {
            drop(remove(&self.path));
        }
    }
}

/// Runs something short to its end, whatever signals come meanwhile. Not to be nested.
pub fn whole<T>(work: impl FnOnce() -> T) -> T {
    let _publishing = lock(&PUBLISHING);
    work()
}

/// A program that was started, and that ends when a signal comes.
#[derive(Debug)]
pub struct Program {
    /// The program.
    pub child: Child,
}

impl Program {
    /// Starts it in a process group of its own, so that it and all that it starts can be ended together.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        // Registered before a signal can be acted on, or it would be missed.
        let mut unfinished = lock(&UNFINISHED);
        let child = command.process_group(0).spawn()?;
        unfinished.programs.insert(child.id());
        Ok(Self { child })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system does not say how it ended.
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
    fn what_is_not_finished_is_removed_and_what_is_stays() {
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
    fn a_program_leads_a_group_of_its_own() {
        let mut command = Command::new("sleep");
        let program = Program::start(command.arg("1000")).unwrap();
        let pid = Pid::from_child(&program.child);
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
        kill_process_group(pid, Signal::TERM).unwrap();
        assert!(!program.wait().unwrap().success());
    }
}
