//! Selects the proxy for a URL from `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower or upper case, as curl(1) does.
//!
//! A variable that names no usable proxy is an error. The request is not sent directly, because that would bypass the policy of the
//! host.

use std::net::IpAddr;

use ureq::http::Uri;
use zeroize::Zeroizing;

use super::Authorization;
use super::error::{Cause, Host};

/// The proxies that an environment names.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    exceptions: Vec<Exception>,
}

/// A proxy and the variable that names it.
#[derive(Clone)]
struct Named {
    variable: &'static str,
    proxy: Result<ureq::Proxy, &'static str>,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("variable", &self.variable).finish_non_exhaustive()
    }
}

impl Proxies {
    /// Reads the variables through `get`.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let first = |variables: [&'static str; 4]| {
            variables.into_iter().find_map(|variable| {
                let value = get(variable).filter(|value| !value.trim().is_empty())?;
                Some(Named { variable, proxy: usable(value.trim()) })
            })
        };
        let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(&get).unwrap_or_default();
        Self {
            http: first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https: first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            exceptions: exceptions.split([',', ' ', '\t']).filter_map(Exception::parse).collect(),
        }
    }

    /// The proxy for plain HTTP, if the connection to the proxy is also plain HTTP.
    pub(super) fn forward(&self) -> Option<&ureq::Proxy> {
        let proxy = self.http.as_ref()?.proxy.as_ref().ok()?;
        (proxy.protocol() == ureq::ProxyProtocol::Http).then_some(proxy)
    }

    /// The proxy for a URL, and its name for messages.
    pub(super) fn of(&self, uri: &Uri) -> Result<Option<(ureq::Proxy, Option<Host>)>, Cause> {
        let is_https = uri.scheme_str() == Some("https");
        let Some(named) = (if is_https { &self.https } else { &self.http }) else { return Ok(None) };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        if self.exceptions.iter().any(|exception| exception.covers(host, port)) {
            return Ok(None);
        }
        match &named.proxy {
            Ok(proxy) => Ok(Some((proxy.clone(), Host::of(proxy.uri())))),
            Err(why) => Err(Cause::BadProxy { variable: named.variable, why }),
        }
    }
}

/// The credentials for a proxy, if its URL contains any.
pub(super) fn authorization(proxy: &ureq::Proxy) -> Option<Authorization> {
    let (user, password) = (proxy.username(), proxy.password());
    user.or(password)?;
    let both = Zeroizing::new(format!("{}:{}", user.unwrap_or_default(), password.unwrap_or_default()));
    Some(Authorization::encoded(both.as_bytes()))
}

fn usable(value: &str) -> Result<ureq::Proxy, &'static str> {
    let proxy = ureq::Proxy::new(value).map_err(|_| "expected http://HOST:PORT or https://HOST:PORT")?;
    match proxy.protocol() {
        ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(proxy),
        _ => Err("only http and https proxies are supported"),
    }
}

/// One entry of `no_proxy`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    /// A host name with its subdomains, or an address; on one port or on all ports.
    Host {
        name: String,
        port: Option<u16>,
    },
    /// A network, such as 10.0.0.0/8.
    Network {
        address: IpAddr,
        bits: u32,
    },
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            return Some(Self::Network { address: address.parse().ok()?, bits: bits.parse().ok()? });
        }
        if entry.parse::<IpAddr>().is_ok() {
            return Some(Self::Host { name: entry.to_ascii_lowercase(), port: None });
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let name = name.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
        (!name.is_empty()).then(|| Self::Host { name: name.to_ascii_lowercase(), port })
    }

    fn covers(&self, host: &str, on: u16) -> bool {
        match self {
            Self::All => true,
            Self::Host { name, port } => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str());
                port.is_none_or(|port| port == on)
                    && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            Self::Network { address, bits } => match (address, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(host))) => {
                    let differing = network.to_bits() ^ host.to_bits();
                    *bits <= 32 && differing.checked_shr(32 - bits).unwrap_or(0) == 0
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(host))) => {
                    let differing = network.to_bits() ^ host.to_bits();
                    *bits <= 128 && differing.checked_shr(128 - bits).unwrap_or(0) == 0
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(variables: &[(&str, &str)], url: &str) -> Result<Option<String>, String> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        match Proxies::read(get).of(&url.parse().unwrap()) {
            Ok(found) => Ok(found.and_then(|(_, host)| host).map(|host| host.to_string())),
            Err(cause) => Err(cause.to_string()),
        }
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let both = [("http_proxy", "http://u:secret@one.example:3128"), ("HTTPS_PROXY", "two.example:8080")];
        assert_eq!(proxy_of(&both, "http://mirror.example/d"), Ok(Some("one.example:3128".into())));
        assert_eq!(proxy_of(&both, "https://mirror.example/d"), Ok(Some("two.example:8080".into())));
        let all = [("all_proxy", "http://three.example:1")];
        assert_eq!(proxy_of(&all, "https://mirror.example/d"), Ok(Some("three.example:1".into())));
        assert_eq!(proxy_of(&[("http_proxy", " ")], "http://mirror.example/d"), Ok(None));
        assert_eq!(proxy_of(&[("https_proxy", "http://x.example")], "http://mirror.example/d"), Ok(None));
    }

    #[test]
    fn no_proxy_accepts_names_addresses_and_networks() {
        let through = |exceptions: &str, url: &str| {
            proxy_of(&[("http_proxy", "http://p.example:1"), ("no_proxy", exceptions)], url)
                .unwrap()
                .is_some()
        };
        for (exceptions, url) in [
            ("*", "http://mirror.example/"),
            ("localhost, mirror.example", "http://mirror.example/"),
            ("example", "http://Mirror.Example./"),
            (".mirror.example", "http://a.mirror.example/"),
            ("*.example", "http://mirror.example/"),
            ("mirror.example:8080", "http://mirror.example:8080/"),
            ("127.0.0.1", "http://127.0.0.1:9/"),
            ("10.0.0.0/8 ::1", "http://10.9.8.7/"),
            ("::1", "http://[::1]:80/"),
            ("0.0.0.0/0", "http://1.2.3.4/"),
            ("fd00::/8", "http://[fd12::1]/"),
        ] {
            assert!(!through(exceptions, url), "{exceptions:?} does not cover {url}");
        }
        for (exceptions, url) in [
            ("", "http://mirror.example/"),
            ("ror.example", "http://mirror.example/"),
            ("mirror.example:8080", "http://mirror.example/"),
            ("10.0.0.0/8", "http://11.0.0.1/"),
            ("10.0.0.0/99, /, :, [", "http://10.0.0.1/"),
            ("127.0.0.1", "http://127.0.0.11/"),
        ] {
            assert!(through(exceptions, url), "{exceptions:?} covers {url}");
        }
    }

    #[test]
    fn an_unusable_proxy_is_an_error_without_its_password() {
        for value in ["socks5://u:secret@p.example:1", "http://u:secret@", "::secret::"] {
            let error = proxy_of(&[("http_proxy", value)], "http://mirror.example/").unwrap_err();
            assert!(error.contains("http_proxy") && !error.contains("secret"), "{error}");
        }
    }
}
