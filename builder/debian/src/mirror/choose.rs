//! Selects the mirrors of a suite: requests the suite's `InRelease` from each candidate, in order, until one verifies.
//!
//! No configuration is read and no request is sent before the first file of a suite must be fetched. A candidate with a temporary
//! failure is retried after all others, so that a host that is down does not delay the hosts that work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::base::without_password;
use super::candidate::{Candidate, Kind, Named, Rejection, Why, candidates, listed};
use super::{Archive, Mirror, MirrorError, Wanted, apt};
use crate::fetch::http::{Cause, Client, Host, HttpError, Request, Route};
use crate::fetch::{Progress, Retry};
use crate::release::date::Moment;
use crate::release::keyring::Keyring;
use crate::release::{Release, ReleaseError};
use crate::resolve::selection::{Selection, Suite};

/// The maximum size of a signed index. The one of trixie has 140 kB.
const MAX_INRELEASE_BYTES: u64 = 8 << 20;

/// The maximum size of a mirror list. A list of all mirrors of Debian has 40 kB.
const MAX_LIST_BYTES: u64 = 1 << 20;

/// The network settings.
#[derive(Clone, Copy)]
pub struct Web<'a> {
    /// The HTTP client.
    pub client: &'a Client,
    /// The retry policy for temporary failures.
    pub retry: Retry,
    /// The receiver of progress.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Web<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// A mirror whose `InRelease` of a suite verified.
#[derive(Debug)]
pub struct Accepted {
    /// The file or option that names the mirror.
    pub named: Named,
    /// The base URL.
    pub mirror: Mirror,
    /// The verified signed index.
    pub release: Release,
}

/// The mirrors of all suites. They are selected when they are first needed.
#[derive(Debug)]
pub struct Mirrors {
    wanted: Wanted,
    trust: OnceLock<Result<(Selection, Keyring), Arc<MirrorError>>>,
    /// The candidates from the host's apt configuration.
    host: OnceLock<Vec<Candidate>>,
    pools: Mutex<BTreeMap<String, Arc<Mutex<Pool>>>>,
    hosts: Mutex<Hosts>,
}

/// What is known about hosts in this run.
#[derive(Debug, Default)]
struct Hosts {
    /// Hosts that served a verified file.
    proven: BTreeSet<Host>,
    /// Hosts with a temporary failure. They are tried last.
    silent: BTreeSet<Host>,
}

/// The candidates of one suite, by state.
#[derive(Debug, Default)]
struct Pool {
    /// The base URLs that were tried. A second source with the same base URL is skipped.
    tried: BTreeSet<String>,
    /// Not tried yet, or failed temporarily.
    open: Vec<Open>,
    accepted: Vec<Arc<Accepted>>,
    rejected: Vec<(usize, Arc<Rejection>)>,
}

/// A candidate with its position in the order.
#[derive(Debug)]
struct Open {
    order: usize,
    candidate: Candidate,
    last: Option<Arc<Rejection>>,
}

/// The result of a request to a candidate.
enum Outcome {
    Accepted(Box<Accepted>),
    /// The candidate is a mirror list with these candidates.
    Expanded(Vec<Candidate>),
    Rejected(Rejection),
}

impl Mirrors {
    /// Creates the set of mirrors. Nothing is read yet.
    pub fn find(wanted: Wanted) -> Self {
        let (trust, host) = (OnceLock::new(), OnceLock::new());
        Self { wanted, trust, host, pools: Mutex::default(), hosts: Mutex::default() }
    }

    /// Returns mirror number `n` of a suite, from 0, or `None` if there are fewer mirrors. Fails if the suite has no mirror at all.
    pub fn nth(
        &self,
        suite: &str,
        n: usize,
        web: &Web<'_>,
    ) -> Result<Option<Arc<Accepted>>, Arc<MirrorError>> {
        let (suite, keyring) = self.suite(suite)?;
        let pool = {
            let mut pools = lock(&self.pools);
            match pools.get(&suite.suite) {
                Some(pool) => Arc::clone(pool),
                None => {
                    let pool = Arc::new(Mutex::new(self.pool(suite.mirror)?));
                    pools.insert(suite.suite.clone(), Arc::clone(&pool));
                    pool
                }
            }
        };
        // A second thread waits here until the first one has a result.
        let mut pool = lock(&pool);
        while pool.accepted.len() <= n && self.advance(&mut pool, suite, keyring, web) {}
        match pool.accepted.get(n) {
            Some(accepted) => Ok(Some(Arc::clone(accepted))),
            None if pool.accepted.is_empty() => Err(Arc::new(self.none(suite, pool.reasons()))),
            None => Ok(None),
        }
    }

    /// Returns the first mirror of a suite whose signed index passes an additional check.
    pub fn first(
        &self,
        suite: &str,
        web: &Web<'_>,
        check: impl Fn(&Release) -> Result<(), ReleaseError>,
    ) -> Result<Arc<Accepted>, Arc<MirrorError>> {
        let mut refused = Vec::new();
        for n in 0.. {
            let Some(accepted) = self.nth(suite, n, web)? else { break };
            let Err(error) = check(&accepted.release) else { return Ok(accepted) };
            let (named, host) = (accepted.named.clone(), Some(accepted.mirror.host().clone()));
            refused.push(Arc::new(Rejection { named, host, why: Why::Release(error) }));
        }
        let (suite, _) = self.suite(suite)?;
        let pool = lock(&self.pools).get(&suite.suite).map(Arc::clone);
        if let Some(pool) = pool {
            refused.extend(lock(&pool).reasons());
        }
        Err(Arc::new(self.none(suite, refused)))
    }

    /// Records that a host served a verified file.
    pub(crate) fn prove(&self, host: &Host) {
        lock(&self.hosts).proven.insert(host.clone());
    }

    /// Whether a host served a verified file.
    pub(crate) fn is_proven(&self, host: &Host) -> bool {
        lock(&self.hosts).proven.contains(host)
    }

    fn none(&self, suite: &Suite, rejections: Vec<Arc<Rejection>>) -> MirrorError {
        let (suite, archive) = (suite.suite.clone(), suite.mirror);
        MirrorError::None { suite, archive, apt: self.wanted.apt.clone(), rejections }
    }

    fn suite(&self, name: &str) -> Result<(&Suite, &Keyring), Arc<MirrorError>> {
        let Wanted { packages, keyrings, .. } = &self.wanted;
        let trust = self.trust.get_or_init(|| {
            let selection = Selection::read(packages).map_err(MirrorError::Selection)?;
            Ok((selection, Keyring::read(keyrings).map_err(MirrorError::Keyring)?))
        });
        let (selection, keyring) = trust.as_ref().map_err(Arc::clone)?;
        let suite = selection.archives.iter().find(|suite| suite.suite == name);
        let unknown = || MirrorError::UnknownSuite { suite: name.to_owned(), packages: packages.clone() };
        Ok((suite.ok_or_else(|| Arc::new(unknown()))?, keyring))
    }

    /// The candidates of an archive: the explicit one, or those of the host.
    fn pool(&self, archive: Archive) -> Result<Pool, Arc<MirrorError>> {
        let candidates = match self.wanted.explicit(archive) {
            Some((from, url)) => {
                let not_http = || MirrorError::NotHttp { archive, url: without_password(url), from };
                let mirror = Mirror::parse(url).ok_or_else(|| Arc::new(not_http()))?;
                vec![Candidate { named: Named::Caller(from), kind: Kind::Base(mirror) }]
            }
            None => self.host.get_or_init(|| candidates(apt::sources(&self.wanted.apt))).clone(),
        };
        let numbered = candidates.into_iter().enumerate();
        let open = numbered.map(|(order, candidate)| Open { order, candidate, last: None });
        let mut pool = Pool { open: open.collect(), ..Pool::default() };
        let silent = lock(&self.hosts).silent.clone();
        let is_silent = |open: &Open| match &open.candidate.kind {
            Kind::Base(mirror) | Kind::List(mirror) => silent.contains(mirror.host()),
            Kind::Unfit(_) => false,
        };
        pool.open.sort_by_key(is_silent);
        Ok(pool)
    }

    /// Tries candidates until one more is accepted. Returns `false` if there are no more candidates.
    fn advance(&self, pool: &mut Pool, suite: &Suite, keyring: &Keyring, web: &Web<'_>) -> bool {
        let mut wait = web.retry.wait;
        for attempt in 1.. {
            let mut queue = VecDeque::from(std::mem::take(&mut pool.open));
            let mut later = Vec::new();
            while let Some(mut open) = queue.pop_front() {
                if let Kind::Base(mirror) = &open.candidate.kind
                    && open.last.is_none()
                    && !pool.tried.insert(mirror.url(""))
                {
                    continue;
                }
                match self.ask(open.candidate.clone(), suite, keyring, web) {
                    Outcome::Accepted(accepted) => {
                        let accepted = Arc::from(accepted);
                        pool.open = later.into_iter().chain(queue).collect();
                        web.progress.mirror(&suite.suite, &accepted, &pool.unexpected_rejections());
                        pool.accepted.push(accepted);
                        return true;
                    }
                    Outcome::Expanded(candidates) => {
                        let order = open.order;
                        let listed =
                            candidates.into_iter().map(|candidate| Open { order, candidate, last: None });
                        queue = listed.chain(queue).collect();
                    }
                    Outcome::Rejected(rejection) => {
                        let rejection = Arc::new(rejection);
                        let is_transient = matches!(&rejection.why, Why::Http(error) if error.is_transient());
                        if is_transient && attempt < web.retry.attempts {
                            open.last = Some(rejection);
                            later.push(open);
                        } else {
                            pool.rejected.push((open.order, rejection));
                        }
                    }
                }
            }
            let Some(last) = later.first().and_then(|open| open.last.clone()) else { return false };
            if let Why::Http(error) = &last.why {
                web.progress.retry(&suite.suite, error, wait);
            }
            pool.open = later;
            std::thread::sleep(wait);
            wait *= 2;
        }
        false
    }

    fn ask(&self, candidate: Candidate, suite: &Suite, keyring: &Keyring, web: &Web<'_>) -> Outcome {
        let Candidate { named, kind } = candidate;
        let (mirror, is_list) = match kind {
            Kind::Base(mirror) => (mirror, false),
            Kind::List(mirror) => (mirror, true),
            Kind::Unfit(unfit) => {
                return Outcome::Rejected(Rejection { named, host: None, why: Why::Unfit(unfit) });
            }
        };
        let host = Some(mirror.host().clone());
        let failed = |named, error: HttpError| {
            if error.is_transient() {
                lock(&self.hosts).silent.insert(mirror.host().clone());
            }
            Outcome::Rejected(Rejection { named, host: host.clone(), why: Why::Http(error) })
        };
        if is_list {
            let place = match &named {
                Named::Host(place) | Named::List { named: place, .. } => place.clone(),
                Named::Caller(_) => apt::Place { file: self.wanted.apt.clone(), line: 0 },
            };
            return match text(web.client, mirror.request_base(), &mirror, MAX_LIST_BYTES, |_| false) {
                Ok((text, _)) => {
                    let entries = apt::mirror_list(&text).into_iter();
                    let located =
                        entries.map(|entry| (apt::Place { file: "".into(), line: entry.line }, entry.uri));
                    Outcome::Expanded(listed(located.collect(), &mirror.host().to_string(), &place))
                }
                Err(error) => failed(named, error),
            };
        }
        let path = format!("dists/{}/InRelease", suite.suite);
        let is_signed = |bytes: &[u8]| bytes.starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----");
        let (text, host) =
            match text(web.client, mirror.request(&path), &mirror, MAX_INRELEASE_BYTES, is_signed) {
                Ok(found) => found,
                Err(error) => return failed(named, error),
            };
        let release = Release::verify(&text, &suite.suite, keyring, &suite.keys, Moment::now())
            .and_then(|release| release.check_archive(suite.mirror).map(|()| release));
        match release {
            Ok(release) => {
                self.prove(&host);
                Outcome::Accepted(Box::new(Accepted { named, mirror, release }))
            }
            Err(error) => Outcome::Rejected(Rejection { named, host: Some(host), why: Why::Release(error) }),
        }
    }
}

impl Pool {
    /// All rejections, in the order of the candidates.
    fn reasons(&self) -> Vec<Arc<Rejection>> {
        let mut all = self.rejected.clone();
        all.extend(self.open.iter().filter_map(|open| Some((open.order, open.last.clone()?))));
        all.sort_by_key(|(order, _)| *order);
        all.into_iter().map(|(_, rejection)| rejection).collect()
    }

    /// The rejections that are printed although another candidate is used.
    fn unexpected_rejections(&self) -> Vec<Arc<Rejection>> {
        self.reasons().into_iter().filter(|rejection| rejection.is_unexpected()).collect()
    }
}

/// Fetches a text of unknown digest. Returns it with the host that served it. A body with the expected start is not treated as a web page.
fn text(
    client: &Client,
    request: Option<Request>,
    mirror: &Mirror,
    limit: u64,
    is_expected: impl Fn(&[u8]) -> bool,
) -> Result<(String, Host), HttpError> {
    let route = Route { host: mirror.host().clone(), redirected_by: None, proxy: None };
    let request = request.ok_or_else(|| HttpError { route: Box::new(route), cause: Cause::BadUrl })?;
    let mut answer = client.get(&request, 0)?;
    let mut bytes = Vec::new();
    let read = (&mut answer.body).take(limit + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        let (have, of) = (bytes.len() as u64, answer.total);
        return Err(answer.failed(Cause::Broken { have, of, source: Some(error) }));
    }
    if bytes.len() as u64 > limit {
        return Err(answer.failed(Cause::TooLong(limit)));
    }
    match answer.disguise(&bytes) {
        Some(cause) if !is_expected(&bytes) => Err(answer.failed(cause)),
        _ => Ok((String::from_utf8_lossy(&bytes).into_owned(), answer.route.host.clone())),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
