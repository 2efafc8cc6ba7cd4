//! Why a request gave no file: always with the host that failed, and never with a user name or password of a URL.

use std::fmt;
use std::io;

use thiserror::Error;
use ureq::http::Uri;

/// The most redirects that are followed for one file.
pub(super) const MAX_REDIRECTS: usize = 10;

/// A host with its port where the URL names one, as messages show it. User name and password are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// The host of a URL; `None` without one.
    pub fn of(uri: &Uri) -> Option<Self> {
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        match uri.port_u16() {
            Some(port) if port != default => Some(Self(format!("{host}:{port}"))),
            _ => Some(Self(host)),
        }
    }

    /// For a URL without a host, which no mirror has.
    pub(super) fn none() -> Self {
        Self("(no host)".to_owned())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who was asked: the host that answered (or did not), the one that redirected there, and the proxy between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host that the last request was for.
    pub host: Host,
    /// The host that was asked first, where it is another.
    pub redirected_by: Option<Host>,
    /// The proxy that was used.
    pub proxy: Option<Host>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        if let Some(first) = &self.redirected_by {
            write!(f, ", redirected by {first}")?;
        }
        if let Some(proxy) = &self.proxy {
            write!(f, ", through the proxy {proxy}")?;
        }
        Ok(())
    }
}

/// A failed request.
#[derive(Debug, Error)]
#[error("{route}")]
pub struct HttpError {
    /// Where it failed.
    pub route: Box<Route>,
    /// The cause.
    #[source]
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub enum Cause {
    /// A status that is not success.
    #[error("{}", Status(*.0))]
    Status(u16),
    /// 404 or 410, by a host of which no file has verified in this run.
    #[error("{}; no other file of this host verified, so that says nothing about the package", Status(*.0))]
    Unproven(u16),
    /// It has no bytes from the offset on: 416.
    #[error("the file there is shorter than the part that is already here (416)")]
    Range,
    /// The proxy does not open a connection to the host.
    #[error("the proxy refuses the connection: {0}")]
    ProxyRefused(String),
    /// The proxy of the environment cannot be used.
    #[error("the proxy in the environment variable {variable} is unusable: {why}")]
    BadProxy {
        /// The variable.
        variable: &'static str,
        /// Why, without the value, which may hold a password.
        why: &'static str,
    },
    /// A web page came in place of the file.
    #[error(
        "a web page came in place of the file, as from a captive portal, a login page or a filtering proxy"
    )]
    Page,
    /// A path that no URL can have.
    #[error("the path cannot be part of a URL")]
    BadUrl,
    /// The body is longer than any file of its kind.
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
    /// Redirects come back to a URL that was asked before.
    #[error("redirect loop: {0} was asked before")]
    RedirectLoop(String),
    /// Redirects do not end.
    #[error("redirect loop: more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirect to nowhere.
    #[error("a redirect ({0}) without a usable http or https URL")]
    BadRedirect(u16),
    /// The body is compressed, which was not requested.
    #[error("the body is compressed (Content-Encoding: {0}), which was not requested")]
    Encoded(String),
    /// The name has no address.
    #[error("the host name has no address")]
    NoAddress,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The connection failed: no name, no route, reset.
    #[error("connection failed")]
    Connection(#[source] io::Error),
    /// Nothing came in time.
    #[error("timed out ({0})")]
    Timeout(ureq::Timeout),
    /// No TLS session, or one with a certificate that is not trusted.
    #[error("TLS failed; check that the port speaks TLS, the certificate, and the clock")]
    Tls(#[source] io::Error),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP; check that the port does not expect TLS")]
    NotHttp(#[source] Box<ureq::Error>),
    /// The body ended early or broke off.
    #[error("short body: the transfer broke off after {have} bytes{}", of.map(|of| format!(" of {of}")).unwrap_or_default())]
    Broken {
        /// Bytes that came, in all attempts.
        have: u64,
        /// The size of the file, where it is known.
        of: Option<u64>,
        /// Why, where the connection failed.
        #[source]
        source: Option<io::Error>,
    },
    /// Something else.
    #[error("the request failed")]
    Other(#[source] Box<ureq::Error>),
}

impl HttpError {
    /// Whether it makes sense to try again.
    pub fn is_transient(&self) -> bool {
        match &self.cause {
            // 511 is what a captive portal answers (RFC 6585): waiting does not log anybody in.
            Cause::Status(status) => matches!(status, 408 | 425 | 429 | 500..=510 | 512..=599),
            Cause::NoAddress
            | Cause::Refused
            | Cause::Connection(_)
            | Cause::Timeout(_)
            | Cause::Broken { .. } => true,
            _ => false,
        }
    }

    /// The status, where the host does not have the file: 404 or 410.
    pub const fn gone(&self) -> Option<u16> {
        match self.cause {
            Cause::Status(status @ (404 | 410)) => Some(status),
            _ => None,
        }
    }
}

/// What a status means for somebody who wants a file.
struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            401 => "it requires a user name and password",
            403 => "access is denied",
            404 => "not found",
            407 => "the proxy requires a user name and password",
            410 => "gone",
            429 => "too many requests",
            451 => "unavailable for legal reasons",
            502 | 504 => "a proxy or gateway cannot reach the server",
            511 => "the network requires a login (captive portal)",
            500..=599 => "the server failed",
            _ => return write!(f, "answers {}", self.0),
        };
        write!(f, "answers {}: {meaning}", self.0)
    }
}

/// Sorts what the HTTP library reports about a request.
pub(super) fn classify(error: ureq::Error, is_https: bool) -> Cause {
    match error {
        ureq::Error::HostNotFound => Cause::NoAddress,
        ureq::Error::ConnectionFailed => Cause::Refused,
        ureq::Error::Timeout(phase) => Cause::Timeout(phase),
        ureq::Error::ConnectProxyFailed(why) => Cause::ProxyRefused(why),
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Cause::Refused,
            // The TLS library reports a bad certificate and bytes that are not TLS this way.
            io::ErrorKind::InvalidData if is_https => Cause::Tls(error),
            _ => Cause::Connection(error),
        },
        error @ (ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::TlsRequired) => {
            Cause::Tls(io::Error::other(error))
        }
        error @ (ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..)) => {
            Cause::NotHttp(Box::new(error))
        }
        error => Cause::Other(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_port_and_no_password() {
        for (url, expected) in [
            ("http://u:secret@Mirror.example/d", "mirror.example"),
            ("https://mirror.example:443/", "mirror.example"),
            ("https://u@mirror.example:80/", "mirror.example:80"),
            ("http://[::1]:8080/d", "[::1]:8080"),
        ] {
            assert_eq!(Host::of(&url.parse().unwrap()).unwrap().to_string(), expected, "{url}");
        }
        assert_eq!(Host::of(&"/d".parse().unwrap()), None);
    }

    #[test]
    fn only_what_passes_by_itself_is_tried_again() {
        let host = Host("mirror.example".into());
        let error = |cause| HttpError {
            route: Box::new(Route { host: host.clone(), redirected_by: None, proxy: None }),
            cause,
        };
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(error(Cause::Status(status)).is_transient(), "{status}");
        }
        for status in [300, 400, 401, 403, 404, 407, 410, 451, 511] {
            assert!(!error(Cause::Status(status)).is_transient(), "{status}");
        }
        for status in [403, 407, 500] {
            assert_eq!(
                error(Cause::Status(status)).gone(),
                None,
                "{status} does not say that a file is gone"
            );
        }
        for cause in
            [Cause::Page, Cause::TooManyRedirects, Cause::Encoded("gzip".into()), Cause::Unproven(404)]
        {
            let error = error(cause);
            assert!(!error.is_transient() && error.gone().is_none(), "{error}");
        }
    }
}
