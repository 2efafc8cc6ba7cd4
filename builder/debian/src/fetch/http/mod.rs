//! The HTTP client: requests a URL from an offset, and returns the body or a classified failure.
//!
//! This module follows redirects itself, so that each failure names the host that caused it. It does not decompress: a file must match
//! the lock byte by byte. The user name and password of a URL are sent to the host of that URL only, and are in no message.

mod error;
mod forward;
mod proxy;
mod redirect;

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION,
    PROXY_AUTHORIZATION, RANGE, TRANSFER_ENCODING,
};
use ureq::http::{HeaderName, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use error::classify;
pub use error::{Cause, Host, HttpError, Route};
use proxy::Proxies;
use redirect::Trail;

/// The value of an `Authorization` header.
#[derive(Clone)]
pub struct Authorization(Zeroizing<String>);

impl Authorization {
    /// HTTP basic authentication (RFC 7617) from the user part of a URL, `user:password`, percent-encoded.
    pub fn basic(user: &str) -> Self {
        Self::encoded(&Zeroizing::new(percent_decoded(user)))
    }

    fn encoded(decoded: &[u8]) -> Self {
        use base64::Engine as _;
        let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(decoded));
        Self(Zeroizing::new(format!("Basic {}", encoded.as_str())))
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

/// Decodes percent escapes, such as `%2F` to `/`. Invalid escapes are unchanged.
pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit =
                    |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low)
            }
            _ => None,
        };
        decoded.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    decoded
}

/// A request for one file.
#[derive(Debug, Clone)]
pub struct Request {
    /// The URL, without user name and password.
    pub uri: Uri,
    /// Credentials for the host of this URL. They are not sent to a host that it redirects to.
    pub authorization: Option<Authorization>,
}

/// An answer with a body.
pub struct Answer {
    /// The route to the host that answered.
    pub route: Route,
    /// The offset of the first byte of the body: the requested one, or 0 if the server does not support ranges.
    pub from: u64,
    /// The size of the whole file, if the answer contains it.
    pub total: Option<u64>,
    /// Whether the answer contains the whole file and declares where the body ends (`Content-Length` or chunks). A body that is complete but
    /// shorter than the pin is then a different file, not an interrupted transfer.
    pub is_delimited: bool,
    /// The `Content-Encoding`, if it is not `identity`, which was requested.
    pub encoding: Option<String>,
    /// Whether the `Content-Type` is HTML.
    pub is_html: bool,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

impl Answer {
    /// Creates an error with the route of this answer.
    pub fn failed(&self, cause: Cause) -> HttpError {
        HttpError { route: Box::new(self.route.clone()), cause }
    }

    /// Detects an encoded body or a web page, from the headers and the start of the body.
    pub fn disguise(&self, start: &[u8]) -> Option<Cause> {
        if let Some(encoding) = &self.encoding {
            return Some(Cause::Encoded(encoding.clone()));
        }
        let start = start.trim_ascii_start().to_ascii_lowercase();
        let is_page = self.is_html || start.starts_with(b"<!doctype html") || start.starts_with(b"<html");
        is_page.then_some(Cause::Page)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("route", &self.route).field("from", &self.from).finish_non_exhaustive()
    }
}

/// The HTTP client. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    /// Connects to servers, directly or through `CONNECT`.
    agent: ureq::Agent,
    /// Connects to the proxy for plain HTTP.
    forward: Option<ureq::Agent>,
    proxies: Proxies,
}

/// The certificate bundles of the host: the path on Debian and its derivatives, then on Fedora and its derivatives.
const HOST_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

impl Client {
    /// Creates a client with the proxies of the environment and the certificates of the host.
    pub fn new() -> Self {
        Self::with_environment(|name| std::env::var(name).ok())
    }

    /// Creates a client with a different source of environment variables.
    fn with_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let tls = TlsConfig::builder().root_certs(host_certificates()).build();
        let config = ureq::Agent::config_builder()
            .user_agent(concat!("kubedos-build/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .max_idle_connections_per_host(16)
            .tls_config(tls)
            .build();
        let proxies = Proxies::read(get);
        let forward = proxies.forward().and_then(|proxy| forward::agent(config.clone(), proxy));
        Self { agent: config.new_agent(), forward, proxies }
    }

    /// Requests a file from an offset, and follows redirects.
    pub fn get(&self, request: &Request, from: u64) -> Result<Answer, HttpError> {
        let mut uri = request.uri.clone();
        let mut trail = Trail::new(uri.clone());
        loop {
            let (route, proxy) = self.route(&request.uri, &uri);
            let failed = |cause| HttpError { route: Box::new(route.clone()), cause };
            let authorization = request.authorization.as_ref().filter(|_| is_same_server(&request.uri, &uri));
            let response = self.once(&uri, proxy.map_err(failed)?, authorization, from).map_err(failed)?;
            match response.status().as_u16() {
                status @ (301 | 302 | 303 | 307 | 308) => {
                    let next = trail.follow(&uri, status, header(&response, &LOCATION));
                    uri = next.map_err(failed)?;
                }
                200 | 206 => return Ok(answer(route, response)),
                416 => return Err(failed(Cause::Range)),
                status => return Err(failed(Cause::Status(status))),
            }
        }
    }

    fn route(&self, first: &Uri, uri: &Uri) -> (Route, Result<Option<ureq::Proxy>, Cause>) {
        let named = |uri: &Uri| Host::of(uri).unwrap_or_else(Host::none);
        let (host, first_host) = (named(uri), named(first));
        let redirected_by = (first_host != host).then_some(first_host);
        match self.proxies.of(uri) {
            Ok(Some((proxy, name))) => (Route { host, redirected_by, proxy: name }, Ok(Some(proxy))),
            Ok(None) => (Route { host, redirected_by, proxy: None }, Ok(None)),
            Err(cause) => (Route { host, redirected_by, proxy: None }, Err(cause)),
        }
    }

    fn once(
        &self,
        uri: &Uri,
        proxy: Option<ureq::Proxy>,
        authorization: Option<&Authorization>,
        from: u64,
    ) -> Result<Response<ureq::Body>, Cause> {
        let is_https = uri.scheme_str() == Some("https");
        let forward = self.forward.as_ref().filter(|_| !is_https && proxy.as_ref() == self.proxies.forward());
        let mut request = match forward {
            Some(forward) => forward.get(uri),
            None => self.agent.get(uri).config().proxy(proxy.clone()).build(),
        };
        if let Some(Authorization(value)) =
            proxy.as_ref().filter(|_| forward.is_some()).and_then(proxy::authorization)
        {
            request = request.header(PROXY_AUTHORIZATION, value.as_str());
        }
        request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(Authorization(value)) = authorization {
            request = request.header(AUTHORIZATION, value.as_str());
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| classify(error, is_https))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether credentials for one URL may be sent to the other.
fn is_same_server(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && Host::of(one) == Host::of(other)
}

fn header<'a>(response: &'a Response<ureq::Body>, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn answer(route: Route, response: Response<ureq::Body>) -> Answer {
    let length = header(&response, &CONTENT_LENGTH).and_then(|length| length.trim().parse::<u64>().ok());
    let range = header(&response, &CONTENT_RANGE).and_then(|range| range.trim().strip_prefix("bytes "));
    let (from, total) = if response.status() == 206 {
        let start = range.and_then(|range| range.split_once('-')?.0.trim().parse().ok());
        let total = range.and_then(|range| range.rsplit_once('/')?.1.trim().parse().ok());
        (start.unwrap_or(0), total)
    } else {
        (0, length)
    };
    let is_chunked = header(&response, &TRANSFER_ENCODING).is_some_and(|coding| coding.contains("chunked"));
    let encoding = header(&response, &CONTENT_ENCODING).map(|encoding| encoding.trim().to_ascii_lowercase());
    let kind = header(&response, &CONTENT_TYPE).unwrap_or_default().trim().to_ascii_lowercase();
    Answer {
        route,
        from,
        total,
        is_delimited: response.status() == 200 && (length.is_some() || is_chunked),
        encoding: encoding.filter(|encoding| !matches!(encoding.as_str(), "" | "identity")),
        is_html: kind.starts_with("text/html") || kind.starts_with("application/xhtml"),
        body: Box::new(response.into_body().into_reader()),
    }
}

/// The certificates that the host trusts, or else the built-in list. A company's proxy may need a certificate of the host. Data is
/// trusted by its digest, never because of TLS.
fn host_certificates() -> RootCerts {
    let named = std::env::var("SSL_CERT_FILE").ok();
    for path in named.iter().map(String::as_str).chain(HOST_CERTIFICATES) {
        let Ok(pem) = std::fs::read(Path::new(path)) else { continue };
        let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if !certificates.is_empty() {
            return RootCerts::new_with_certs(&certificates);
        }
    }
    RootCerts::WebPki
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_decoded_and_never_printed() {
        // The example of RFC 7617, with its space escaped as a URL needs it.
        let authorization = Authorization::basic("Aladdin:open%20sesame");
        assert_eq!(authorization.0.as_str(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{authorization:?}"), "Authorization(…)");
        for (text, expected) in [("%", "%"), ("%2", "%2"), ("%zz%41", "%zzA"), ("a%2Fb", "a/b")] {
            assert_eq!(percent_decoded(text), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn credentials_are_sent_to_their_server_only() {
        let is_same = |one: &str, other: &str| is_same_server(&one.parse().unwrap(), &other.parse().unwrap());
        assert!(is_same("https://mirror.example/a", "https://mirror.example:443/b"));
        assert!(!is_same("https://mirror.example/a", "http://mirror.example/a"));
        assert!(!is_same("https://mirror.example/a", "https://mirror.example:8443/a"));
        assert!(!is_same("https://mirror.example/a", "https://mirror.example.evil.example/a"));
    }
}
