//! Resolves the `Location` of a redirect (RFC 3986, section 5), and detects loops.
//!
//! Only http and https targets with a host are followed. Dot segments in a relative `Location` are not removed.

use ureq::http::Uri;

use super::error::{Cause, MAX_REDIRECTS};

/// The URLs that were requested for one file.
#[derive(Debug)]
pub(super) struct Trail(Vec<Uri>);

impl Trail {
    pub(super) fn new(first: Uri) -> Self {
        Self(vec![first])
    }

    /// Returns the next URL after a redirect. A loop, or more than [`MAX_REDIRECTS`] redirects, is an error.
    pub(super) fn follow(&mut self, from: &Uri, status: u16, location: Option<&str>) -> Result<Uri, Cause> {
        let next = location.and_then(|location| join(from, location)).ok_or(Cause::BadRedirect(status))?;
        if self.0.contains(&next) {
            return Err(Cause::RedirectLoop(without_user(&next)));
        }
        if self.0.len() > MAX_REDIRECTS {
            return Err(Cause::TooManyRedirects);
        }
        self.0.push(next.clone());
        Ok(next)
    }
}

/// A URL for messages, without user name and password, and without the query, which may contain a token.
fn without_user(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let host = super::Host::of(uri).map(|host| host.to_string()).unwrap_or_default();
    format!("{scheme}://{host}{}", uri.path())
}

fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim().split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let text = if location.is_empty() {
        return None;
    } else if location.contains("://") && !location.starts_with(['/', '?']) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_http && super::Host::of(&uri).is_some()).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_relative_to_the_url_of_the_answer() {
        let base: Uri = "http://mirror.example:8080/debian/pool/a.deb?x=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn.example/a.deb", Some("https://cdn.example/a.deb")),
            ("//cdn.example/a.deb#part", Some("http://cdn.example/a.deb")),
            ("/b.deb", Some("http://mirror.example:8080/b.deb")),
            ("b.deb", Some("http://mirror.example:8080/debian/pool/b.deb")),
            ("?y=http://z", Some("http://mirror.example:8080/debian/pool/a.deb?y=http://z")),
            (
                "/login?from=http://mirror.example/",
                Some("http://mirror.example:8080/login?from=http://mirror.example/"),
            ),
            ("ftp://cdn.example/a.deb", None),
            ("file:///etc/passwd", None),
            ("http://", None),
            ("", None),
            ("http://a b/", None),
        ] {
            assert_eq!(join(&base, location).map(|uri| uri.to_string()).as_deref(), expected, "{location:?}");
        }
    }

    #[test]
    fn loops_and_long_chains_are_errors() {
        let first: Uri = "http://u:secret@mirror.example/a".parse().unwrap();
        let mut trail = Trail::new(first.clone());
        let second = trail.follow(&first, 302, Some("/b")).unwrap();
        let error = trail.follow(&second, 302, Some("http://u:secret@mirror.example/a?token=secret")).is_ok();
        assert!(error, "a URL with a different query is not a loop");
        let error = trail.follow(&second, 302, Some("/b")).unwrap_err();
        assert_eq!(error.to_string(), "redirect loop: http://mirror.example/b was already requested");
        let mut trail = Trail::new(first.clone());
        let mut at = first;
        let error = (0..).find_map(|number| match trail.follow(&at, 302, Some(&format!("/{number}"))) {
            Ok(next) => {
                at = next;
                None
            }
            Err(error) => Some(error),
        });
        assert_eq!(error.unwrap().to_string(), "redirect loop: more than 10 redirects");
        assert!(matches!(trail.follow(&at, 301, None), Err(Cause::BadRedirect(301))));
    }
}
