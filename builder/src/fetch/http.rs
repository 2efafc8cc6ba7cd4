//! One HTTP request: a URL and an offset in, a body or a classified failure out. Proxies come from the usual environment variables.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// A failed request, by what it means for trying again.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The server does not have it: 403, 404, 410.
    #[error("the server answered {0}")]
    Gone(u16),
    /// It has no bytes from the offset on: 416.
    #[error("the server's file is shorter than what is here of it")]
    Range,
    /// It may work in a moment: timeouts, resets, 408, 429, 5xx.
    #[error("the server cannot be reached or answered with a passing error")]
    Transient(#[source] Box<ureq::Error>),
    /// The body ended early or broke off.
    #[error("the transfer broke off")]
    Broken(#[source] io::Error),
    /// It will not work.
    #[error("the request failed")]
    Fatal(#[source] Box<ureq::Error>),
}

impl HttpError {
    /// Whether it makes sense to try again.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_) | Self::Broken(_))
    }
}

/// An answer with a body.
pub struct Answer {
    /// The offset of the body's first byte: what was asked for, or 0 from a server that knows no ranges.
    pub from: u64,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Makes requests; clones share connections.
#[derive(Debug, Clone)]
pub struct Client(ureq::Agent);

/// Where hosts keep the certificates that they trust: Debian and its kin, then Fedora and its kin.
const HOST_CERTIFICATES: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

impl Client {
    /// A client with the host's proxies and certificates.
    pub fn new() -> Self {
        let tls = TlsConfig::builder().root_certs(host_certificates()).build();
        let config = ureq::Agent::config_builder()
            .user_agent(concat!("kubedos-build/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(true)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .max_idle_connections_per_host(16)
            .tls_config(tls)
            .build();
        Self(config.new_agent())
    }

    /// Asks for a URL from an offset on.
    pub fn get(&self, url: &str, from: u64) -> Result<Answer, HttpError> {
        let mut request = self.0.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(classify)?;
        let starts_there = || {
            let range = response.headers().get("Content-Range")?.to_str().ok()?;
            range.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok()
        };
        let from = if response.status() == 206 { starts_there().unwrap_or(0) } else { 0 };
        Ok(Answer { from, body: Box::new(response.into_body().into_reader()) })
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

fn classify(error: ureq::Error) -> HttpError {
    match error {
        ureq::Error::StatusCode(status @ (403 | 404 | 410)) => HttpError::Gone(status),
        ureq::Error::StatusCode(416) => HttpError::Range,
        ureq::Error::StatusCode(408 | 425 | 429 | 500..=599)
        | ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_) => HttpError::Transient(Box::new(error)),
        other => HttpError::Fatal(Box::new(other)),
    }
}

/// What the host trusts (a company's proxy may need it), or the built-in list. Bytes are believed by digest, never by TLS.
fn host_certificates() -> RootCerts {
    let said = std::env::var("SSL_CERT_FILE").ok();
    for path in said.iter().map(String::as_str).chain(HOST_CERTIFICATES) {
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
