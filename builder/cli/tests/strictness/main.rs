//! A8, A6: a changed byte in a pinned input is an error that names the input. A pinned file is fetched or refused, never silently replaced.
//!
//! The real program runs against an archive that the tests create, sign and serve on the loopback, so that changes of public mirrors do not
//! matter. Exit codes are those of docs/command-line.md.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of a test fail by panicking")]

mod archive;
mod network;
#[path = "../support/ran.rs"]
mod ran;
mod server;
mod sources;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use archive::{Archive, Key, deb, deb_path, release_date};
use kubedos_debian::cache::Cache;
use kubedos_debian::digest::Sha256;
use kubedos_debian::fetch::{FetchError, Fetcher, Problem, Retry, Silent};
use kubedos_debian::lock::Lock;
use kubedos_debian::mirror::{Mirrors, Wanted};
use ran::{Ran, interruptible, limited};
use rustix::process::{Pid, Signal, kill_process};
use server::{Rule, Server};

/// A checkout with a mirror and its archive.
struct World {
    folder: tempfile::TempDir,
    server: Server,
    archive: Archive,
}

/// The number of requests of `lock --update`: the signed index and the package index.
const LOCKED: usize = 2;

const PACKAGES: [(&str, &str, &str); 3] =
    [("app", "1.0-1", "Depends: lib (>= 2)"), ("lib", "2.0-1", ""), ("other", "3", "")];

impl World {
    fn new() -> Self {
        Self::of(Archive::new(&PACKAGES))
    }

    fn of(archive: Archive) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), server: Server::start(), archive };
        fs::create_dir(world.path("keys")).unwrap();
        fs::write(world.path("keys/test.asc"), world.archive.key.certificate()).unwrap();
        world.select(&world.archive.key.fingerprint());
        world.publish();
        world
    }

    /// A world with a lock.
    fn locked() -> Self {
        let world = Self::new();
        world.run(&["lock", "--update"]).succeeds();
        world
    }

    fn select(&self, fingerprint: &str) {
        let text = format!(
            "version = 1\narchitecture = \"amd64\"\n[[archive]]\nsuite = \"trixie\"\nmirror = \"debian\"\ncomponents = [\"main\"]\n\
             keys = [\"{fingerprint}\"]\n[set.root]\nabout = \"x\"\nroots = [\"app\"]\n[set.tools]\nabout = \"x\"\nroots = [\"other\"]\n"
        );
        fs::write(self.path("packages.toml"), text).unwrap();
    }

    fn publish(&self) {
        self.server.state.lock().unwrap().files = self.archive.files();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cached(&self, bytes: &[u8]) -> PathBuf {
        Cache::at(&self.path("cache")).unwrap().path(&Sha256::of(bytes))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubedos-build"));
        command.env_clear().current_dir(self.folder.path()).args(arguments);
        command.args(["--packages", "packages.toml", "--keyrings", "keys", "--cache", "cache"]);
        command.env("KUBEDOS_DEBIAN_MIRROR", self.server.url()).stdin(Stdio::null());
        command
    }

    /// The mirrors for a library call.
    fn mirrors(&self) -> Mirrors {
        Mirrors::find(Wanted {
            debian: Some(self.server.url()),
            packages: self.path("packages.toml"),
            keyrings: self.path("keys"),
            ..Wanted::default()
        })
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Changes the text of the lock.
    fn edit_lock(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("kubedos.lock")).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path("kubedos.lock"), text.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn fetched_files_are_sufficient_without_the_mirror() {
    let world = World::locked();
    let first = world.run(&["fetch", "--json"]).succeeds();
    assert!(first.out.contains("\"fetched\":3"), "{first:?}");
    world.run(&["lock"]).succeeds();
    world.run(&["lock", "--verify"]).succeeds();
    world.server.state.lock().unwrap().files.clear();
    let again = world.run(&["fetch", "--offline", "--json"]).succeeds();
    assert!(again.out.contains("\"reused\":3") && again.out.contains("\"fetched\":0"), "{again:?}");
    world.run(&["lock", "--verify", "--offline"]).succeeds();
    assert!(
        !fs::read_to_string(world.path("kubedos.lock")).unwrap().contains("127.0.0.1"),
        "the lock names no mirror"
    );
}

#[test]
fn the_same_archive_gives_the_same_lock() {
    let world = World::locked();
    let read = || ["kubedos.lock", "kubedos.lock.proof"].map(|name| fs::read(world.path(name)).unwrap());
    let first = read();
    world.run(&["lock", "--update"]).succeeds();
    assert_eq!(first, read());
}

#[test]
fn a_vanished_pin_is_reported_with_version_and_path() {
    let world = World::locked();
    world.server.state.lock().unwrap().files.remove(&deb_path("lib", "2.0-1"));
    let ran = world
        .run(&["fetch"])
        .fails(1, &["lib 2.0-1", "pool/main/lib_2.0-1_amd64.deb", "404", "--relock-missing"]);
    assert!(!ran.err.contains("app 1.0-1"), "only the vanished package is reported: {ran:?}");
    for status in [403, 410] {
        let world = World::locked();
        world.server.rule(&deb_path("other", "3"), Rule::Status(status));
        let ran = world.run(&["fetch"]).fails(1, &["other 3", &status.to_string(), &world.server.host()]);
        assert_eq!(
            ran.err.contains("--relock-missing"),
            status == 410,
            "403 does not mean that the file was removed: {ran:?}"
        );
    }
}

#[test]
fn only_a_vanished_pin_is_relocked_and_the_used_lock_is_written_to_the_output_folder() {
    let mut world = World::locked();
    let before = fs::read(world.path("kubedos.lock")).unwrap();
    for package in &mut world.archive.packages {
        match package.0.as_str() {
            "lib" => package.1 = "2.1-1".to_owned(),
            "other" => package.1 = "4".to_owned(),
            _ => {}
        }
    }
    world.archive.date = "Sun, 13 Sep 2026 07:55:41 UTC".to_owned();
    world.publish();
    // The mirror keeps the old version of `other` in addition to the newer one.
    world.server.state.lock().unwrap().files.insert(deb_path("other", "3"), deb("other", "3"));
    let ran = world.run(&["fetch", "--relock-missing"]).succeeds();
    assert!(ran.err.contains("~ lib 2.0-1 -> 2.1-1"), "{ran:?}");
    assert_eq!(fs::read(world.path("kubedos.lock")).unwrap(), before, "the committed lock is unchanged");
    let (used, _) = Lock::read(&world.path("out/kubedos.lock")).unwrap();
    let versions: Vec<_> = used.packages.iter().map(|package| package.version.to_string()).collect();
    assert_eq!(versions, ["1.0-1", "2.1-1", "3"], "a package that still exists keeps its pin");
    world.run(&["fetch", "--offline", "--lock", "out/kubedos.lock"]).succeeds();
}

#[test]
fn a_package_with_a_wrong_byte_is_reported_and_not_kept() {
    let (path, bytes) = (deb_path("lib", "2.0-1"), deb("lib", "2.0-1"));
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let world = World::locked();
        world.server.rule(&path, Rule::Flip(at));
        world
            .run(&["fetch"])
            .fails(4, &["lib 2.0-1 does not match the lock", &Sha256::of(&bytes).to_string()]);
        assert!(!world.cached(&bytes).exists());
        assert_eq!(fs::read_dir(world.path("cache/partial")).unwrap().count(), 0, "no part of it is kept");
        world.run(&["fetch"]).succeeds();
    }
}

#[test]
fn a_stale_or_swapped_package_is_refused() {
    let world = World::locked();
    world.server.state.lock().unwrap().files.insert(deb_path("lib", "2.0-1"), deb("other", "3"));
    world.run(&["fetch"]).fails(4, &["lib 2.0-1 does not match the lock"]);
    let world = World::locked();
    let longer = [deb("lib", "2.0-1"), vec![0]].concat();
    world.server.state.lock().unwrap().files.insert(deb_path("lib", "2.0-1"), longer);
    world.run(&["fetch"]).fails(4, &["lib 2.0-1 does not match the lock"]);
}

#[test]
fn a_mismatch_has_priority_over_a_vanished_package() {
    let world = World::locked();
    world.server.rule(&deb_path("lib", "2.0-1"), Rule::Flip(9));
    world.server.rule(&deb_path("other", "3"), Rule::Status(404));
    world.run(&["fetch", "--relock-missing"]).fails(4, &["lib 2.0-1", "other 3"]);
}

#[test]
fn a_wrong_byte_in_the_package_index_is_refused() {
    let world = World::new();
    let paths: Vec<_> = world
        .server
        .state
        .lock()
        .unwrap()
        .files
        .keys()
        .filter(|path| path.contains("binary"))
        .cloned()
        .collect();
    for path in &paths {
        world.server.rule(path, Rule::Flip(40));
    }
    world.run(&["lock", "--update"]).fails(4, &["index trixie main/binary-amd64/Packages.xz"]);
    assert!(!world.path("kubedos.lock").exists());
}

#[test]
fn a_wrong_byte_anywhere_in_the_signed_index_is_refused() {
    let world = World::new();
    let signed = world.server.state.lock().unwrap().files["dists/trixie/InRelease"].clone();
    let text = String::from_utf8(signed.clone()).unwrap();
    let signature = text.find("-----BEGIN PGP SIGNATURE").unwrap();
    let places = [
        text.find("Codename").unwrap() + 10,
        text.find("SHA256:\n ").unwrap() + 12,
        text.find("Packages.xz").unwrap(),
        signature + 60,
        signature + 120,
    ];
    for at in places {
        world.server.rule("dists/trixie/InRelease", Rule::Flip(at));
        world.run(&["lock", "--update"]).fails(4, &["trixie"]);
        assert!(!world.path("kubedos.lock").exists(), "a flip at {at} was accepted");
    }
    let unsigned = text[text.find("Origin").unwrap()..signature].to_owned();
    let before = format!("Codename: evil\n\n{text}");
    let after = format!("{text}\nCodename: evil\n");
    for forged in [unsigned, before, after] {
        world
            .server
            .state
            .lock()
            .unwrap()
            .files
            .insert("dists/trixie/InRelease".to_owned(), forged.into_bytes());
        world.run(&["lock", "--update"]).fails(4, &["signature"]);
    }
}

#[test]
fn a_signature_by_an_unnamed_key_is_refused() {
    // The certificate is in the folder, but the selection names another fingerprint.
    let world = World::new();
    world.select(&Key::generate().fingerprint());
    world.run(&["lock", "--update"]).fails(4, &["signature of the index of trixie", "not allowed"]);
    // The named fingerprint has a certificate, but another key signed the index.
    let mut world = World::new();
    let named = world.archive.key.fingerprint();
    world.archive.key = Key::generate();
    world.publish();
    fs::write(world.path("keys/other.asc"), world.archive.key.certificate()).unwrap();
    world.select(&named);
    world.run(&["lock", "--update"]).fails(4, &["signature of the index of trixie"]);
}

#[test]
fn an_expired_index_is_refused_unless_accepted() {
    let mut archive = Archive::new(&PACKAGES);
    archive.valid_until = Some(release_date(-3_600));
    let world = World::of(archive);
    world.run(&["lock", "--update"]).fails(1, &["was valid until", "--accept-expired"]);
    world.run(&["lock", "--update", "--accept-expired"]).succeeds();
    let mut archive = Archive::new(&PACKAGES);
    archive.valid_until = Some(release_date(3_600));
    World::of(archive).run(&["lock", "--update"]).succeeds();
}

#[test]
fn a_mirror_cannot_withdraw_updates() {
    let mut world = World::locked();
    world.archive.date = "Fri, 11 Sep 2026 07:55:41 UTC".to_owned();
    world.publish();
    world.run(&["lock", "--update"]).fails(1, &["older than", "--accept-older"]);
    world.run(&["lock", "--update", "--accept-older"]).succeeds();
}

#[test]
fn an_index_for_a_different_suite_is_refused() {
    let mut archive = Archive::new(&PACKAGES);
    archive.codename = "sid".to_owned();
    World::of(archive).run(&["lock", "--update"]).fails(4, &["index of trixie has the Codename sid"]);
}

#[test]
fn an_index_is_fetched_by_hash_if_possible_and_otherwise_by_name() {
    let world = World::new();
    let by_name = "dists/trixie/main/binary-amd64/Packages.xz";
    world.server.state.lock().unwrap().files.insert(by_name.to_owned(), b"the next one".to_vec());
    world.run(&["lock", "--update"]).succeeds();
    assert!(world.server.requests(by_name).is_empty());
    let mut archive = Archive::new(&PACKAGES);
    archive.has_by_hash = false;
    let world = World::of(archive);
    world.run(&["lock", "--update"]).succeeds();
    assert_eq!(world.server.requests(by_name).len(), 1);
}

#[test]
fn an_interrupted_transfer_is_resumed() {
    let world = World::locked();
    let path = deb_path("lib", "2.0-1");
    world.server.rule(&path, Rule::Cut(50_000));
    world.run(&["fetch"]).succeeds();
    assert_eq!(world.server.requests(&path), [None, Some("bytes=50000-".to_owned())]);
}

#[test]
fn without_ranges_the_whole_file_is_fetched_again() {
    let world = World::locked();
    world.server.state.lock().unwrap().ignores_ranges = true;
    world.server.rule(&deb_path("lib", "2.0-1"), Rule::Cut(50_000));
    world.run(&["fetch"]).succeeds();
    assert_eq!(fs::read(world.cached(&deb("lib", "2.0-1"))).unwrap(), deb("lib", "2.0-1"));
}

#[test]
fn a_part_with_other_bytes_is_discarded() {
    let bytes = deb("lib", "2.0-1");
    let digest = Sha256::of(&bytes).to_string();
    for left in [vec![7; 1_000], vec![7; bytes.len()], vec![7; bytes.len() + 1]] {
        let world = World::locked();
        fs::write(world.path("cache/partial").join(&digest), left).unwrap();
        world.run(&["fetch"]).succeeds();
        assert_eq!(fs::read(world.cached(&bytes)).unwrap(), bytes);
    }
}

#[test]
fn redirects_are_followed() {
    let world = World::locked();
    world.server.state.lock().unwrap().files.insert("elsewhere".to_owned(), deb("lib", "2.0-1"));
    world.server.rule(&deb_path("lib", "2.0-1"), Rule::Redirect("elsewhere".to_owned()));
    world.run(&["fetch"]).succeeds();
    assert_eq!(world.server.requests("elsewhere").len(), 1);
}

#[test]
fn temporary_failures_are_retried_a_limited_number_of_times() {
    let world = World::locked();
    let path = deb_path("lib", "2.0-1");
    world.server.rule(&path, Rule::Status(500));
    world.run(&["fetch", "--set", "root"]).succeeds();
    assert_eq!(world.server.requests(&path).len(), 2);
    let path = deb_path("other", "3");
    (0..9).for_each(|_| world.server.rule(&path, Rule::Status(503)));
    let (lock, _) = Lock::read(&world.path("kubedos.lock")).unwrap();
    let cache = Cache::at(&world.path("cache")).unwrap();
    let mirrors = world.mirrors();
    let retry = Retry { attempts: 3, wait: Duration::from_millis(1) };
    let fetcher = Fetcher { retry, ..Fetcher::new(&cache, &mirrors) };
    let FetchError(problems) = fetcher.fetch(&lock.sources(&[]).unwrap(), &Silent).unwrap_err();
    assert!(matches!(problems.as_slice(), [Problem::Http { name, .. }] if name == "other 3"), "{problems:?}");
    assert_eq!(world.server.requests(&path).len(), 3);
}

#[test]
fn offline_reports_all_missing_files() {
    let world = World::locked();
    world.run(&["fetch", "--set", "tools"]).succeeds();
    let ran = world.run(&["fetch", "--offline"]).fails(5, &["app 1.0-1", "lib 2.0-1"]);
    assert!(!ran.err.contains("other 3"), "{ran:?}");
    world.run(&["lock", "--update", "--offline"]).fails(5, &[]);
}

#[test]
fn a_damaged_cache_entry_is_reported_and_fetched_again() {
    let world = World::locked();
    world.run(&["fetch"]).succeeds();
    let (path, bytes) = (world.cached(&deb("lib", "2.0-1")), deb("lib", "2.0-1"));
    for damage in [bytes[..100].to_vec(), [&bytes[..bytes.len() - 1], b"x"].concat(), Vec::new()] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, damage).unwrap();
        let ran = world.run(&["fetch"]).succeeds();
        assert!(ran.err.contains("lib 2.0-1 in the cache is damaged"), "{ran:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, b"x").unwrap();
    // Offline, the file cannot be replaced: it is a mismatch, and stays in the cache so that a person can examine it.
    world.run(&["fetch", "--offline"]).fails(4, &["lib 2.0-1 in the cache is damaged"]);
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_killed_or_interrupted_fetch_is_resumed_by_the_next() {
    for (signal, code) in [(Signal::KILL, None), (Signal::INT, Some(130)), (Signal::TERM, Some(130))] {
        let world = World::locked();
        let (path, bytes) = (deb_path("lib", "2.0-1"), deb("lib", "2.0-1"));
        world.server.rule(&path, Rule::Stall(60_000));
        let mut fetch = interruptible(&world.command(&["fetch", "--set", "root"]));
        let mut child = fetch.stderr(Stdio::null()).spawn().unwrap();
        let partial = world.path("cache/partial").join(Sha256::of(&bytes).to_string());
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < 60_000 {
            assert!(Instant::now() < deadline, "the fetch did not reach 60000 bytes in time");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        assert!(!world.cached(&bytes).exists());
        world.run(&["fetch", "--set", "root"]).succeeds();
        assert_eq!(world.server.requests(&path), [None, Some("bytes=60000-".to_owned())]);
        assert_eq!(fs::read(world.cached(&bytes)).unwrap(), bytes);
    }
}

#[test]
fn a_failed_write_is_reported_and_the_next_fetch_resumes() {
    let world = World::locked();
    let bytes = deb("lib", "2.0-1");
    let mut limited = limited(&world.command(&["fetch", "--set", "root"]), 50);
    Ran::of(&mut limited).fails(1, &["failed to write", &Sha256::of(&bytes).to_string(), "File too large"]);
    assert!(!world.cached(&bytes).exists());
    world.run(&["fetch", "--set", "root"]).succeeds();
    assert_eq!(fs::read(world.cached(&bytes)).unwrap(), bytes);
}

#[test]
fn several_fetches_at_once_share_a_cache() {
    let world = World::locked();
    let children: Vec<_> =
        (0..6).map(|_| world.command(&["fetch"]).stderr(Stdio::null()).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    world.run(&["fetch", "--offline"]).succeeds();
    assert_eq!(fs::read_dir(world.path("cache/partial")).unwrap().count(), 0);
}

#[test]
fn a_lock_that_was_edited_is_refused() {
    let other = Sha256::of(b"other").to_string();
    let real = Sha256::of(&deb("lib", "2.0-1")).to_string();
    for (from, to, code) in [
        (real.as_str(), other.as_str(), 4),
        ("version = \"2.0-1\"", "version = \"2.0-2\"", 4),
        ("pool/main/lib_", "pool/main/../lib_", 4),
        ("name = \"lib\"", "name = \"zlib\"", 4),
        ("suite = \"trixie\"\ncomponent", "suite = \"sid\"\ncomponent", 4),
        ("version = 1\n", "version = 2\n", 1),
        ("version = 1\n", "version = 1\nextra = 1\n", 1),
    ] {
        let world = World::locked();
        world.edit_lock(from, to);
        assert_eq!(world.run(&["lock"]).code, Some(code), "{from} -> {to}");
    }
    let world = World::locked();
    world.edit_lock(&real, &other);
    world.run(&["fetch"]).fails(4, &["lib 2.0-1 does not match the lock"]);
}

#[test]
fn a_proof_that_belongs_to_a_different_lock_is_refused() {
    let world = World::locked();
    let mut proof = fs::read(world.path("kubedos.lock.proof")).unwrap();
    let middle = proof.len() / 2;
    proof[middle] ^= 1;
    fs::write(world.path("kubedos.lock.proof"), proof).unwrap();
    world.run(&["lock"]).fails(4, &["proof"]);
    fs::remove_file(world.path("kubedos.lock.proof")).unwrap();
    world.run(&["lock"]).fails(1, &["kubedos.lock.proof"]);
}

#[test]
fn a_lock_that_does_not_fit_the_selection_prints_the_differences() {
    let world = World::locked();
    let text = fs::read_to_string(world.path("packages.toml")).unwrap();
    fs::write(world.path("packages.toml"), text.replace("[\"app\"]", "[\"lib\"]")).unwrap();
    let ran = world.run(&["lock"]).fails(4, &["does not fit", "lock --update"]);
    assert!(ran.out.contains("- app 1.0-1"), "{ran:?}");
    fs::write(world.path("packages.toml"), text.replace("[\"app\"]", "[\"app\", \"new\"]")).unwrap();
    world.run(&["lock"]).fails(4, &["new"]);
}

#[test]
fn verify_checks_every_link_and_reports_an_unchecked_one() {
    let world = World::locked();
    fs::remove_dir_all(world.path("cache")).unwrap();
    world.run(&["lock", "--verify", "--offline"]).fails(5, &["trixie", "the index is not available"]);
    world.run(&["lock", "--verify"]).succeeds();
    // The selection names another key, so the existing signature is not accepted.
    world.select(&Key::generate().fingerprint());
    world.run(&["lock", "--verify"]).fails(4, &["signature"]);
}

#[test]
fn a_dry_run_writes_no_file() {
    let world = World::new();
    world.run(&["lock", "--update", "--dry-run"]).succeeds();
    assert!(!world.path("kubedos.lock").exists());
    world.run(&["lock", "--update"]).succeeds();
    let ran = world.run(&["fetch", "--dry-run"]).succeeds();
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), ["app 1.0-1", "lib 2.0-1", "other 3"]);
    assert!(!world.cached(&deb("lib", "2.0-1")).exists());
}

#[test]
fn wrong_usage_has_exit_code_2() {
    let world = World::locked();
    world.run(&["fetch", "--set", "nothing"]).fails(2, &["no set nothing"]);
    world.run(&["fetch", "--mirror", "ftp://127.0.0.1/debian"]).fails(2, &["not the URL of a mirror"]);
    fs::remove_file(world.path("kubedos.lock")).unwrap();
    world.run(&["fetch"]).fails(1, &["kubedos.lock", "lock --update"]);
}

#[test]
fn an_unwritable_cache_is_reported() {
    let world = World::locked();
    fs::remove_dir_all(world.path("cache")).unwrap();
    fs::write(world.path("cache"), b"").unwrap();
    world.run(&["fetch"]).fails(1, &["cache"]);
    assert!(Path::new(&world.path("cache")).is_file());
}
