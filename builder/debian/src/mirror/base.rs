//! The base URL of an archive, the parent of `dists/` and `pool/`.
//!
//! The user name and password of the URL are stored separately from its text and are never printed. A malformed URL is printed without the
//! text before its last `@`.

use ureq::http::Uri;

use crate::fetch::http::{Authorization, Host, Request};

/// A base URL without a trailing slash.
#[derive(Debug, Clone)]
pub struct Mirror {
    base: String,
    host: Host,
    authorization: Option<Authorization>,
}

impl Mirror {
    /// Parses a base URL. It must be http or https, with a host, and without query and fragment.
    pub fn parse(url: &str) -> Option<Self> {
        if url.contains(['#', '?']) {
            return None;
        }
        let uri: Uri = url.trim_end_matches('/').parse().ok()?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let host = Host::of(&uri)?;
        let (user, server) = split(&uri)?;
        let base = format!("{scheme}://{server}{}", uri.path().trim_end_matches('/'));
        Some(Self { base, host, authorization: user.map(Authorization::basic) })
    }

    /// The host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The URL of a path below the base, without user name and password.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// The request for a path below the base; `None` if the path cannot be part of a URL.
    pub(crate) fn request(&self, path: &str) -> Option<Request> {
        Some(Request { uri: self.url(path).parse().ok()?, authorization: self.authorization.clone() })
    }

    /// The request for the base URL itself, which is a mirror list.
    pub(super) fn request_base(&self) -> Option<Request> {
        Some(Request { uri: self.base.parse().ok()?, authorization: self.authorization.clone() })
    }
}

/// Splits the authority of a URL into user part and server. Returns `None` if the text after the host is not a port.
fn split(uri: &Uri) -> Option<(Option<&str>, &str)> {
    let authority = uri.authority()?.as_str();
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (Some(user), server),
        None => (None, authority),
    };
    let is_valid =
        uri.port_u16().is_some() || uri.host().is_some_and(|host| !host.is_empty() && host == server);
    is_valid.then_some((user, server))
}

/// A URL for messages, without user name and password. In a malformed URL, everything before the last `@` is hidden.
pub(super) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let is_valid = url.parse::<Uri>().is_ok_and(|uri| split(&uri).is_some());
    let end = if is_valid { rest.find('/').unwrap_or(rest.len()) } else { rest.len() };
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, server)) if scheme.is_empty() => format!("…@{server}{path}"),
        Some((_, server)) => format!("{scheme}://…@{server}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_parsed_without_trailing_slashes_and_password() {
        for (url, expected) in [
            ("http://mirror.example/debian///", "http://mirror.example/debian/x"),
            ("HTTPS://u:s%65cret@mirror.example:8443/d/", "https://mirror.example:8443/d/x"),
            ("http://mirror.example", "http://mirror.example/x"),
            ("http://[::1]:80/debian", "http://[::1]:80/debian/x"),
        ] {
            let mirror = Mirror::parse(url).unwrap();
            assert_eq!(mirror.url("x"), expected);
            assert_eq!(mirror.request("x").unwrap().uri, expected);
            assert!(!format!("{mirror:?}").contains("cret"), "{mirror:?}");
        }
        for bad in [
            "ftp://x/y",
            "http://",
            "/srv/mirror",
            "",
            "http://a b",
            "http://a/?b",
            "http://a/#b",
            "http://a:b/",
            "//a/b",
            "file:/a",
        ] {
            assert!(Mirror::parse(bad).is_none(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn no_message_contains_a_password() {
        for (url, expected) in [
            ("ftp://u:secret@mirror.example/d@e", "ftp://…@mirror.example/d@e"),
            ("http:/u:secret@mirror.example/d", "…@mirror.example/d"),
            ("http://u:secret/with@slash@mirror.example", "http://…@mirror.example"),
            ("http://u:se cret@mirror.example", "http://…@mirror.example"),
            ("ftp://mirror.example/d@e", "ftp://mirror.example/d@e"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }
}
