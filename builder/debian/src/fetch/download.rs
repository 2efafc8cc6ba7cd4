//! Downloads one file into the cache: resumes an earlier attempt, checks the bytes against the pin, and renames the file.
//!
//! Partial files have an exclusive lock (flock(2)), so that several processes can fetch the same file. Bytes that do not match the pin are
//! removed and never reach the cache. Only temporary failures are retried; the choice of mirrors is in the parent module.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::http::{Cause, Client, Host, HttpError, Request, Route};
use super::{Problem, Progress, Source};
use crate::cache::{Cache, CacheError, ContentMismatch};
use crate::digest::{Hasher, Sha256};
use crate::mirror::Mirror;

/// The number of bytes at the start of a body that are inspected to detect a web page.
const START_BYTES: usize = 512;

/// The number of attempts after temporary failures, and the first delay. The delay doubles after each attempt.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The total number of attempts.
    pub attempts: u32,
    /// The first delay.
    pub wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, wait: Duration::from_millis(500) }
    }
}

/// A failed attempt.
enum Attempt {
    Http(HttpError),
    /// The transfer is complete, but the bytes do not match the pin.
    Wrong {
        resumed: bool,
        host: Host,
        mismatch: Box<ContentMismatch>,
    },
    Cache(CacheError),
}

impl From<CacheError> for Attempt {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// Why a mirror did not provide a file.
pub(super) enum Failure {
    /// Another mirror may have it.
    Http { path: String, error: HttpError },
    /// No other mirror is tried.
    Final(Problem),
}

/// Fetches a file from a mirror through the first path of the source that exists there. Returns the host that served it, or `None` if
/// the file was already complete.
pub(super) fn download(
    source: &Source,
    mirror: &Mirror,
    cache: &Cache,
    client: &Client,
    retry: Retry,
    progress: &dyn Progress,
) -> Result<Option<Host>, Failure> {
    let mut absent = None;
    for path in &source.paths {
        let Some(request) = mirror.request(path) else {
            let route = Route { host: mirror.host().clone(), redirected_by: None, proxy: None };
            let error = HttpError { route: Box::new(route), cause: Cause::BadUrl };
            return Err(Failure::Http { path: path.clone(), error });
        };
        match with_retries(source, &request, cache, client, retry, progress) {
            Ok(host) => return Ok(host),
            Err(Attempt::Http(error)) if error.absent().is_some() => {
                absent = absent.or(Some((path.clone(), error)))
            }
            Err(Attempt::Http(error)) => return Err(Failure::Http { path: path.clone(), error }),
            Err(Attempt::Wrong { host, mismatch, .. }) => {
                let (name, path) = (source.pin.name.clone(), path.clone());
                return Err(Failure::Final(Problem::Wrong { name, host, path, mismatch }));
            }
            Err(Attempt::Cache(error)) => return Err(Failure::Final(Problem::Cache(error))),
        }
    }
    match absent {
        Some((path, error)) => Err(Failure::Http { path, error }),
        None => Err(Failure::Final(Problem::NoPath { name: source.pin.name.clone() })),
    }
}

fn with_retries(
    source: &Source,
    request: &Request,
    cache: &Cache,
    client: &Client,
    retry: Retry,
    progress: &dyn Progress,
) -> Result<Option<Host>, Attempt> {
    let mut wait = retry.wait;
    let mut attempt = 1;
    loop {
        let error = match once(source, request, cache, client, progress) {
            Ok(host) => return Ok(host),
            Err(error) => error,
        };
        match &error {
            // The part from an earlier run may contain other bytes. Try again from the first byte; this does not count as an attempt.
            Attempt::Wrong { resumed: true, .. } => {}
            Attempt::Http(http) if http.is_transient() && attempt < retry.attempts => {
                progress.retry(&source.pin.name, http, wait);
                std::thread::sleep(wait);
                wait *= 2;
                attempt += 1;
            }
            _ => return Err(error),
        }
    }
}

fn once(
    source: &Source,
    request: &Request,
    cache: &Cache,
    client: &Client,
    progress: &dyn Progress,
) -> Result<Option<Host>, Attempt> {
    let pin = &source.pin;
    let mut part = Part::open(cache, &pin.sha256)?;
    let (mut hasher, mut have) = part.measure(pin.size)?;
    let resumed = have > 0;
    let mut served = None;
    if have < pin.size {
        let mut answer = match client.get(request, have) {
            Err(HttpError { cause: Cause::Range, .. }) => client.get(request, 0),
            answer => answer,
        }
        .map_err(Attempt::Http)?;
        if answer.from != have {
            (hasher, have) = (Hasher::new(), 0);
            part.cut(0)?;
        }
        progress.advance(&pin.name, have);
        // Only the digest shows whether an answer that looks like a web page is the file. Such a part must not be resumed.
        let is_doubtful = answer.encoding.is_some() || answer.is_html;
        let mut start = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while have <= pin.size {
            let length = match answer.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    if is_doubtful {
                        part.remove()?;
                    }
                    let cause = Cause::Broken { have, of: Some(pin.size), source: Some(error) };
                    return Err(Attempt::Http(answer.failed(cause)));
                }
            };
            let (bytes, _) = buffer.split_at(length);
            if have == 0 {
                start = bytes.iter().take(START_BYTES).copied().collect();
            }
            part.write(bytes)?;
            hasher.update(bytes);
            have += length as u64;
            progress.advance(&pin.name, have);
        }
        let disguise = answer.disguise(&start);
        let is_whole = answer.is_delimited || answer.total.is_some_and(|total| total != pin.size);
        if have < pin.size && disguise.is_none() && !is_whole {
            let cause = Cause::Broken { have, of: Some(pin.size), source: None };
            return Err(Attempt::Http(answer.failed(cause)));
        }
        if let Some(cause) = disguise
            && hasher.clone().finish() != (pin.sha256, pin.size)
        {
            part.remove()?;
            return Err(Attempt::Http(answer.failed(cause)));
        }
        served = Some(answer.route.host.clone());
    }
    let (got, size) = hasher.finish();
    if got != pin.sha256 || size != pin.size {
        part.remove()?;
        return Err(match served {
            Some(host) => Attempt::Wrong { resumed, host, mismatch: ContentMismatch::new(size, got, pin) },
            // The complete part is from an earlier run and does not match: fetch it again.
            None => return once(source, request, cache, client, progress),
        });
    }
    cache.adopt(&part.file, &part.path, pin)?;
    Ok(served)
}

/// An incomplete download with an exclusive lock. A process that finds it locked uses a separate file.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn open(cache: &Cache, sha256: &Sha256) -> Result<Self, CacheError> {
        let shared = cache.partial(sha256);
        let mut path = shared.clone();
        loop {
            let file = open_part(&path)?;
            let is_locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            // Between the open and the lock, another process may have completed and renamed the file.
            let is_same = fs::metadata(&path).is_ok_and(|now| is_same_file(&now, &file));
            if is_locked && is_same {
                return Ok(Self { file, path });
            }
            if !is_locked {
                path = shared.with_extension(format!(
                    "{}-{:?}",
                    std::process::id(),
                    std::thread::current().id()
                ));
            }
        }
    }

    /// Hashes the existing bytes. A part that is longer than the pin is truncated to 0.
    fn measure(&mut self, limit: u64) -> Result<(Hasher, u64), CacheError> {
        let size = self.file.metadata().map_err(self.io("open"))?.len();
        let mut hasher = Hasher::new();
        if size > limit {
            self.cut(0)?;
            return Ok((hasher, 0));
        }
        self.file.seek(SeekFrom::Start(0)).map_err(self.io("read"))?;
        let have = io::copy(&mut self.file, &mut hasher).map_err(self.io("read"))?;
        Ok((hasher, have))
    }

    fn cut(&mut self, size: u64) -> Result<(), CacheError> {
        self.file.set_len(size).map_err(self.io("write"))?;
        self.file.seek(SeekFrom::Start(size)).map_err(self.io("write"))?;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.file.write_all(bytes).map_err(self.io("write"))
    }

    fn remove(&self) -> Result<(), CacheError> {
        fs::remove_file(&self.path).map_err(self.io("remove"))
    }

    fn io(&self, what: &'static str) -> impl FnOnce(io::Error) -> CacheError + use<> {
        let path = self.path.clone();
        move |source| CacheError::Io { what, path, source }
    }
}

fn open_part(path: &Path) -> Result<File, CacheError> {
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(|source| CacheError::Io { what: "write", path: path.to_owned(), source })
}

fn is_same_file(one: &fs::Metadata, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|other| (one.dev(), one.ino()) == (other.dev(), other.ino()))
}
