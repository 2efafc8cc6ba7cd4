//! The base URL of an archive, below which `dists/` and `pool/` lie. Its user name and password are kept apart and never shown.

use ureq::http::Uri;

use crate::fetch::http::{Authorization, Host, Request};

/// A base URL, without a slash at its end.
#[derive(Debug, Clone)]
pub struct Mirror {
    base: String,
    host: Host,
    authorization: Option<Authorization>,
}

impl Mirror {
    /// Reads a base URL: http or https, with a host, without query and fragment.
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

    /// Its host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The URL of a path below the base, without user name and password.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// The request for a path below the base; `None` for a path that no URL can have.
    pub(crate) fn request(&self, path: &str) -> Option<Request> {
        Some(Request { uri: self.url(path).parse().ok()?, authorization: self.authorization.clone() })
    }

    /// The request for the base itself: a list of mirrors.
    pub(super) fn request_base(&self) -> Option<Request> {
        Some(Request { uri: self.base.parse().ok()?, authorization: self.authorization.clone() })
    }
}

/// User part and server of a URL; `None` where what follows the host is no port.
fn split(uri: &Uri) -> Option<(Option<&str>, &str)> {
    let authority = uri.authority()?.as_str();
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (Some(user), server),
        None => (None, authority),
    };
    let is_sound =
        uri.port_u16().is_some() || uri.host().is_some_and(|host| !host.is_empty() && host == server);
    is_sound.then_some((user, server))
}

/// A URL for messages, without user name and password. Of one that is malformed nothing before its last `@` is shown.
pub(super) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let is_sound = url.parse::<Uri>().is_ok_and(|uri| split(&uri).is_some());
    let end = if is_sound { rest.find('/').unwrap_or(rest.len()) } else { rest.len() };
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
    fn a_base_is_read_without_its_slashes_and_its_password() {
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
            assert!(Mirror::parse(bad).is_none(), "{bad:?} was taken");
        }
    }

    #[test]
    fn no_message_has_a_password() {
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
