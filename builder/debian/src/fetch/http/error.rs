//! Errors of HTTP requests. Each names the host that failed, and none contains a user name or password of a URL.

use std::fmt;
use std::io;

use thiserror::Error;
use ureq::http::Uri;

/// The maximum number of redirects for one file.
pub(super) const MAX_REDIRECTS: usize = 10;

/// A host name for messages, with its port if it is not the default one, and without user name and password.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    /// The host of a URL, if it has one.
    pub fn of(uri: &Uri) -> Option<Self> {
        let host = uri.host().filter(|host| !host.is_empty())?.to_ascii_lowercase();
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        match uri.port_u16() {
            Some(port) if port != default => Some(Self(format!("{host}:{port}"))),
            _ => Some(Self(host)),
        }
    }

    /// A placeholder for a URL without a host.
    pub(super) fn none() -> Self {
        Self("(no host)".to_owned())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The route of a request: the last host, the host that redirected to it, and the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host of the last request.
    pub host: Host,
    /// The host of the first request, if it is a different one.
    pub redirected_by: Option<Host>,
    /// The proxy, if one was used.
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
    /// The hosts of the request.
    pub route: Box<Route>,
    /// The cause.
    #[source]
    pub cause: Cause,
}

/// The cause of a failed request.
#[derive(Debug, Error)]
pub enum Cause {
    /// A status that is not success.
    #[error("{}", Status(*.0))]
    Status(u16),
    /// 404 or 410 from a host that has not served a verified file in this run.
    #[error("{}; no other file of this host verified, so the package may still exist", Status(*.0))]
    Unproven(u16),
    /// 416: the file has no bytes at the requested offset.
    #[error("the file on the server is shorter than the part that was already fetched (416)")]
    Range,
    /// The proxy does not open a connection to the host.
    #[error("the proxy refused the connection: {0}")]
    ProxyRefused(String),
    /// The proxy of the environment cannot be used.
    #[error("the proxy in the environment variable {variable} is unusable: {why}")]
    BadProxy {
        /// The variable.
        variable: &'static str,
        /// The reason, without the value, which may contain a password.
        why: &'static str,
    },
    /// The body is a web page instead of the file.
    #[error(
        "the answer is a web page instead of the file, for example from a captive portal, a login page or a filtering proxy"
    )]
    Page,
    /// The path cannot be part of a URL.
    #[error("the path cannot be part of a URL")]
    BadUrl,
    /// The body is longer than the limit.
    #[error("the body is longer than {0} bytes")]
    TooLong(u64),
    /// A redirect leads to a URL that was already requested.
    #[error("redirect loop: {0} was already requested")]
    RedirectLoop(String),
    /// There are more redirects than the limit.
    #[error("redirect loop: more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    /// A redirect without a usable URL.
    #[error("a redirect ({0}) without a usable http or https URL")]
    BadRedirect(u16),
    /// The body is compressed, which was not requested.
    #[error("the body is compressed (Content-Encoding: {0}), which was not requested")]
    Encoded(String),
    /// The host name has no address.
    #[error("the host name has no address")]
    NoAddress,
    /// The host refused the connection.
    #[error("connection refused")]
    Refused,
    /// The connection failed, for example because there is no route or it was reset.
    #[error("connection failed")]
    Connection(#[source] io::Error),
    /// A time limit was exceeded.
    #[error("timed out ({0})")]
    Timeout(ureq::Timeout),
    /// The TLS session was not established, or the certificate is not trusted.
    #[error("TLS failed; check that the port supports TLS, and check the certificate and the clock")]
    Tls(#[source] io::Error),
    /// The answer is not HTTP.
    #[error("the answer is not HTTP; check that the port does not expect TLS")]
    NotHttp(#[source] Box<ureq::Error>),
    /// The body ended early, or the connection failed during the transfer.
    #[error("short body: the transfer broke off after {have} bytes{}", of.map(|of| format!(" of {of}")).unwrap_or_default())]
    Broken {
        /// The number of bytes received in all attempts.
        have: u64,
        /// The size of the file in bytes, if known.
        of: Option<u64>,
        /// The cause, if the connection failed.
        #[source]
        source: Option<io::Error>,
    },
    /// Any other failure.
    #[error("the request failed")]
    Other(#[source] Box<ureq::Error>),
}

impl HttpError {
    /// Whether the failure may be temporary, so that a retry is useful.
    pub fn is_transient(&self) -> bool {
        match &self.cause {
            // 511 is from a captive portal (RFC 6585): a retry does not help until the user logs in.
            Cause::Status(status) => matches!(status, 408 | 425 | 429 | 500..=510 | 512..=599),
            Cause::NoAddress
            | Cause::Refused
            | Cause::Connection(_)
            | Cause::Timeout(_)
            | Cause::Broken { .. } => true,
            _ => false,
        }
    }

    /// The status if the host does not have the file: 404 or 410.
    pub const fn absent(&self) -> Option<u16> {
        match self.cause {
            Cause::Status(status @ (404 | 410)) => Some(status),
            _ => None,
        }
    }
}

/// A status with its meaning for the request of a file.
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

/// Maps an error of the HTTP library to a cause.
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
    fn a_host_is_printed_with_its_port_and_without_a_password() {
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
    fn only_temporary_failures_are_retried() {
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
                error(Cause::Status(status)).absent(),
                None,
                "{status} does not mean that the file was removed"
            );
        }
        for cause in
            [Cause::Page, Cause::TooManyRedirects, Cause::Encoded("gzip".into()), Cause::Unproven(404)]
        {
            let error = error(cause);
            assert!(!error.is_transient() && error.absent().is_none(), "{error}");
        }
    }
}
