//! Shared fixtures: the image that the real program builds from the default example, and benches with separate caches over the same
//! packages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kubedos_debian::cache::Place;
use rustix::process::{Pid, Signal, kill_process};

use crate::ran::{Ran, interruptible};

/// The spec of the default example.
pub const SPEC: &str = "examples/lab.yaml";
/// The base name of its outputs.
pub const NAME: &str = "lab-0.1.0";
/// The maximum time to wait for a line of output, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The folder of the checkout.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap()
}

/// A command that runs the program in the checkout.
pub fn kubedos_build(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubedos-build"));
    command.current_dir(project()).args(arguments);
    command
}

/// Runs the program in the checkout.
pub fn run(arguments: &[&str]) -> Ran {
    Ran::of(&mut kubedos_build(arguments))
}

/// The outputs of the default example.
pub struct Product {
    pub folder: PathBuf,
    /// The lock of the build: the committed one, unless a package has vanished from the mirror.
    pub lock: PathBuf,
}

/// Builds the example once per process.
pub fn product() -> &'static Product {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    PRODUCT.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("product");
        run(&["image", "--spec", SPEC, "--relock-missing", "--out", folder.to_str().unwrap()]).succeeds();
        let used = folder.join("kubedos.lock");
        let lock = if used.exists() { used } else { project().join("kubedos.lock") };
        Product { folder, lock }
    })
}

impl Product {
    pub fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{NAME}.{ending}"))
    }

    /// The cache of the build.
    fn cache() -> PathBuf {
        let fallback = project().join("target/kubedos-cache");
        Place { fallback, ..Place::from_environment(None) }.open().unwrap().root().to_owned()
    }
}

/// A part of the cache that a bench shares with the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// The packages, through a symbolic link.
    Packages,
    /// The packages, as hard links, so that a test can replace one.
    OwnPackages,
    /// The unpacked sets, such as the compiler.
    Tools,
    /// The built results of a kind.
    Built(&'static str),
}

/// Everything that a build of the example can reuse. The build then writes only the configuration and the outputs.
pub const ALL: [Shared; 4] =
    [Shared::Packages, Shared::Built("init"), Shared::Built("volume"), Shared::Built("boot")];

/// The cache and the output folder of one test.
pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub fn new(shared: &[Shared]) -> Self {
        // The product fetches the packages.
        product();
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let bench = Self { folder };
        fs::create_dir_all(bench.path("cache/built")).unwrap();
        shared.iter().for_each(|shared| bench.share(*shared));
        bench
    }

    /// Puts a shared part into the cache and replaces an existing one.
    pub fn share(&self, shared: Shared) {
        let from = Product::cache();
        let place = |name: &str| {
            let path = self.path("cache").join(name);
            if path.exists() {
                fs::remove_dir_all(&path).unwrap();
            }
            path
        };
        match shared {
            Shared::Packages => symlink(from.join("sha256"), place("sha256")).unwrap(),
            Shared::OwnPackages => link_tree(&from.join("sha256"), &place("sha256")),
            Shared::Tools => symlink(from.join("tools"), place("tools")).unwrap(),
            Shared::Built(kind) => {
                link_tree(&from.join("built").join(kind), &place(&format!("built/{kind}")))
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that builds the example with the cache of this bench into its folder `out`.
    pub fn image(&self, more: &[&str]) -> Command {
        self.image_of(SPEC, more)
    }

    /// A command that builds a spec.
    pub fn image_of(&self, spec: &str, more: &[&str]) -> Command {
        let mut command = kubedos_build(&["image", "--spec", spec, "--offline"]);
        command.arg("--cache").arg(self.path("cache"));
        command.arg("--lock").arg(&product().lock);
        if !more.contains(&"--out") {
            command.arg("--out").arg(self.path("out"));
        }
        command.args(more);
        command
    }

    /// Checks that the output folder and the cache contain no incomplete files.
    pub fn is_tidy(&self) {
        let partial = |name: &str| {
            name.contains(".kubedos-partial") || name.ends_with(".gone") || name.starts_with(".new-")
        };
        let mut folders =
            vec![self.path("out"), self.path("cache"), self.path("cache/partial"), self.path("cache/tools")];
        folders.extend(
            names(&self.path("cache/built")).into_iter().map(|kind| self.path("cache/built").join(kind)),
        );
        for folder in folders {
            for name in names(&folder) {
                assert!(!partial(&name), "{name} is left in {}", folder.display());
                let in_store = folder.parent().is_some_and(|parent| parent.ends_with("built"));
                assert!(!in_store || !name.starts_with('.'), "{name} is left in {}", folder.display());
            }
        }
        assert_eq!(names(&self.path("cache/partial")), Vec::<String>::new());
    }

    /// Checks that the output folder contains no output.
    pub fn has_no_output(&self) {
        assert!(
            names(&self.path("out")).iter().all(|name| name == ".lock"),
            "{:?}",
            names(&self.path("out"))
        );
        self.is_tidy();
    }

    /// Waits until all programs that were started for this bench have ended.
    pub fn is_quiet(&self) {
        let mine = self.folder.path().to_str().unwrap().to_owned();
        let running = || -> Vec<String> {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
            let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
            lines.filter(|line| line.contains(&mine)).collect()
        };
        for _ in 0..600 {
            if running().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("still running: {:#?}", running());
    }
}

/// The sorted names in a folder; empty if the folder does not exist.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Creates a second tree with hard links to the same files. Skips temporary files of builds that are running.
fn link_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            link_tree(&path, &to);
        } else if fs::hard_link(&path, &to).is_err() {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// A running build, with the lines that it has printed.
pub struct Running {
    pub child: Child,
    lines: Mutex<Receiver<String>>,
    seen: Mutex<Vec<String>>,
}

impl Running {
    pub fn start(command: &Command) -> Self {
        let mut command = interruptible(command);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        // Sending fails if the receiver was dropped.
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines: Mutex::new(lines), seen: Mutex::default() }
    }

    /// Waits for a line that contains `words`. Returns false if the build ends without one.
    pub fn prints(&self, words: &str) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            let found = line.contains(words);
            seen.push(line);
            if found {
                return true;
            }
        }
        false
    }

    pub fn signal(&self, signal: Signal) {
        // The child was not waited for, so its process id is still valid even if it has ended.
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end. Returns the exit code and all lines.
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        let code = self.child.wait().unwrap().code();
        let mut seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        seen.extend(self.lines.into_inner().unwrap_or_else(PoisonError::into_inner).iter());
        (code, seen)
    }
}
