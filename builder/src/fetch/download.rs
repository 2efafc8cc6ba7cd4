//! One file into the cache: resumed where an earlier attempt stopped, held against its pin, then given its name.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

use super::http::{Client, HttpError};
use super::{Problem, Progress, Source};
use crate::cache::{Cache, CacheError, Unlike};
use crate::digest::{Hasher, Sha256};

/// How often a passing failure is tried again, and how long it waits: the wait doubles each time.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: u32,
    /// The first wait.
    pub wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, wait: Duration::from_millis(500) }
    }
}

/// What one attempt came to, when it did not give the file.
enum Attempt {
    Http(HttpError),
    /// The bytes are all there and are the wrong ones.
    Wrong {
        resumed: bool,
        unlike: Box<Unlike>,
    },
    Cache(CacheError),
}

impl From<CacheError> for Attempt {
    fn from(error: CacheError) -> Self {
        Self::Cache(error)
    }
}

/// Fetches from the first of a source's URLs that has it.
pub(super) fn download(
    source: &Source,
    urls: &[String],
    cache: &Cache,
    client: &Client,
    retry: Retry,
    progress: &dyn Progress,
) -> Result<(), Problem> {
    let mut gone = None;
    for (path, url) in source.paths.iter().zip(urls) {
        match with_retries(source, url, cache, client, retry, progress) {
            Ok(()) => return Ok(()),
            Err(Attempt::Http(HttpError::Gone(status))) => gone = gone.or(Some((path.clone(), status))),
            Err(Attempt::Http(error)) => {
                return Err(Problem::Http {
                    name: source.pin.name.clone(),
                    path: path.clone(),
                    source: error,
                });
            }
            Err(Attempt::Wrong { unlike, .. }) => {
                return Err(Problem::Wrong { name: source.pin.name.clone(), path: path.clone(), unlike });
            }
            Err(Attempt::Cache(error)) => return Err(Problem::Cache(error)),
        }
    }
    let (path, status) = gone.unwrap_or_default();
    Err(Problem::Vanished { name: source.pin.name.clone(), path, status })
}

fn with_retries(
    source: &Source,
    url: &str,
    cache: &Cache,
    client: &Client,
    retry: Retry,
    progress: &dyn Progress,
) -> Result<(), Attempt> {
    let mut wait = retry.wait;
    let mut attempt = 1;
    loop {
        let error = match once(source, url, cache, client, progress) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match &error {
            // A part that an earlier run left may have been of something else: once more, from the first byte.
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
    url: &str,
    cache: &Cache,
    client: &Client,
    progress: &dyn Progress,
) -> Result<(), Attempt> {
    let pin = &source.pin;
    let mut part = Part::open(cache, &pin.sha256)?;
    let (mut hasher, mut have) = part.measure(pin.size)?;
    let resumed = have > 0;
    if have < pin.size {
        let mut answer = match client.get(url, have) {
            Err(HttpError::Range) => client.get(url, 0),
            answer => answer,
        }
        .map_err(Attempt::Http)?;
        if answer.from != have {
            (hasher, have) = (Hasher::new(), 0);
            part.cut(0)?;
        }
        progress.advance(&pin.name, have);
        let mut buffer = vec![0; 1 << 16];
        while have <= pin.size {
            let length = match answer.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Attempt::Http(HttpError::Broken(error))),
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            part.write(bytes)?;
            hasher.update(bytes);
            have += length as u64;
            progress.advance(&pin.name, have);
        }
        if have < pin.size {
            let error =
                io::Error::new(io::ErrorKind::UnexpectedEof, format!("{have} of {} bytes came", pin.size));
            return Err(Attempt::Http(HttpError::Broken(error)));
        }
    }
    let (got, size) = hasher.finish();
    if got != pin.sha256 || size != pin.size {
        part.remove()?;
        return Err(Attempt::Wrong { resumed, unlike: Unlike::new(size, got, pin) });
    }
    cache.adopt(&part.file, &part.path, pin)?;
    Ok(())
}

/// A growing download, locked against other processes; who finds it locked works on one of his own.
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
            // Between opening and locking, another process may have finished the file and given it its final name.
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

    /// Hashes what is there; a part that is longer than the pin is of no use.
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
