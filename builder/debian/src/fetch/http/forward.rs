//! Plain HTTP through an HTTP proxy: the request line contains the whole URL (RFC 9112, section 3.2.2).
//!
//! The HTTP library supports only `CONNECT`, which most proxies permit for port 443 only. An agent of this module connects to its proxy
//! for every URL, and rewrites the start of each request. It is used for `GET` requests without a body only.

use std::io;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

/// Creates an agent that connects to the proxy for every URL.
pub(super) fn agent(config: Config, proxy: &ureq::Proxy) -> Option<ureq::Agent> {
    let proxy = format!("http://{}:{}", proxy.host(), proxy.port()).parse().ok()?;
    Some(ureq::Agent::with_parts(config, TcpConnector::default().chain(Rewrite), ToProxy(proxy)))
}

/// Resolves every URL to the addresses of the proxy.
#[derive(Debug)]
struct ToProxy(Uri);

impl Resolver for ToProxy {
    fn resolve(
        &self,
        _: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        DefaultResolver::default().resolve(&self.0, config, timeout)
    }
}

#[derive(Debug)]
struct Rewrite;

impl<In: Transport> Connector<In> for Rewrite {
    type Out = Absolute<In>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let authority = details.uri.authority().map_or("", |authority| authority.as_str());
        let server = authority.rsplit_once('@').map_or(authority, |(_, server)| server);
        Ok(chained.map(|inner| Absolute { inner, origin: format!("http://{server}") }))
    }
}

/// A connection to the proxy for requests to one server.
#[derive(Debug)]
struct Absolute<In> {
    inner: In,
    origin: String,
}

const METHOD: &[u8] = b"GET ";

impl<In: Transport> Transport for Absolute<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let amount =
            absolute(self.inner.buffers().output(), amount, self.origin.as_bytes()).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidInput, "the request is too long for a proxy")
            })?;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

/// Inserts the origin before the path of a request. Returns the new length, or `None` if the buffer is too small.
fn absolute(output: &mut [u8], amount: usize, origin: &[u8]) -> Option<usize> {
    let head = output.get(..amount)?;
    if !head.strip_prefix(METHOD).is_some_and(|path| path.starts_with(b"/")) {
        return Some(amount);
    }
    let (at, end) = (METHOD.len() + origin.len(), amount + origin.len());
    if end > output.len() {
        return None;
    }
    output.copy_within(METHOD.len()..amount, at);
    output.get_mut(METHOD.len()..at)?.copy_from_slice(origin);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_start_of_a_request_is_rewritten() {
        let rewritten = |text: &str, room: usize| {
            let mut buffer = text.as_bytes().to_vec();
            buffer.resize(text.len() + room, 0);
            let length = absolute(&mut buffer, text.len(), b"http://a.example")?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        };
        let expected = Some("GET http://a.example/d HTTP/1.1\r\n".to_owned());
        assert_eq!(rewritten("GET /d HTTP/1.1\r\n", 16), expected);
        assert_eq!(rewritten("GET /d HTTP/1.1\r\n", 15), None);
        for other in ["Host: a.example\r\n", "GET", ""] {
            assert_eq!(rewritten(other, 0).as_deref(), Some(other));
        }
    }
}
