//! Mirror candidates: a source that may become a mirror, the file or option that names it, and the reason if it is rejected.
//!
//! This module expands mirror lists on the disk and classifies URIs by their scheme. It sends no request; `choose` does. A source that
//! cannot be used stays in the list with its reason, so that an error message can name it.

use std::fmt;
use std::path::PathBuf;

use super::apt::{self, Place, Unfit};
use super::base::Mirror;
use crate::fetch::http::{Host, HttpError};
use crate::release::ReleaseError;
use kubedos_wire::printable::chain;

/// The origin of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// An option or an environment variable.
    Caller(&'static str),
    /// A line of the host's apt configuration.
    Host(Place),
    /// A line of a mirror list, and the line of the configuration that names the list.
    List {
        /// The list: a file or a host.
        list: String,
        /// The line in the list, from 1; 0 is the list itself.
        line: usize,
        /// The line of the apt configuration that names the list.
        named: Place,
    },
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(name) => f.write_str(name),
            Self::Host(place) => write!(f, "{place}"),
            Self::List { list, line: 0, named } => write!(f, "{named} ({list})"),
            Self::List { list, line, named } => write!(f, "{named} ({list}:{line})"),
        }
    }
}

/// The type of a source in the apt configuration.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A base URL.
    Base(Mirror),
    /// A list of mirrors on a server.
    List(Mirror),
    /// A source that cannot be used.
    Unfit(Unfit),
}

/// A source that may become a mirror.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) named: Named,
    pub(super) kind: Kind,
}

/// Why a candidate is rejected.
#[derive(Debug)]
pub enum Why {
    /// The source cannot be used.
    Unfit(Unfit),
    /// The request failed.
    Http(HttpError),
    /// Its signed index is not Debian's index for the suite.
    Release(ReleaseError),
}

/// A rejected candidate.
#[derive(Debug)]
pub struct Rejection {
    /// The file or option that names the candidate.
    pub named: Named,
    /// The host, if a request was sent.
    pub host: Option<Host>,
    /// The reason.
    pub why: Why,
}

impl Rejection {
    /// Whether the candidate sent an index that does not verify. An old index is not a mismatch.
    pub(crate) fn is_mismatch(&self) -> bool {
        match &self.why {
            Why::Release(error) => {
                !matches!(error, ReleaseError::Expired { .. } | ReleaseError::Older { .. })
            }
            _ => false,
        }
    }

    /// Whether the rejection is worth a line of output: a failed request or an unreadable file, but not a deliberate choice of the host's
    /// administrator, such as a disabled source.
    pub fn is_unexpected(&self) -> bool {
        match &self.why {
            Why::Unfit(unfit) => matches!(
                unfit,
                Unfit::Unreadable(_) | Unfit::NotAFile | Unfit::TooLarge | Unfit::Malformed(_)
            ),
            Why::Http(_) | Why::Release(_) => true,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.named)?;
        match &self.why {
            Why::Unfit(unfit) => write!(f, "{unfit}"),
            // The error begins with the host that failed.
            Why::Http(error) => f.write_str(&chain(error)),
            Why::Release(error) => {
                if let Some(host) = &self.host {
                    write!(f, "{host}: ")?;
                }
                f.write_str(&chain(error))
            }
        }
    }
}

/// The candidates from a host's sources, in order. Mirror lists on the disk are read; those on servers are not.
pub(super) fn candidates(sources: Vec<apt::Located>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (place, uri) in sources {
        match uri.map(|uri| kind(&uri)) {
            Err(unfit) => found.push(Candidate { named: Named::Host(place), kind: Kind::Unfit(unfit) }),
            Ok(Source::Kind(kind)) => found.push(Candidate { named: Named::Host(place), kind }),
            Ok(Source::ListFile(file)) => {
                let list = file.display().to_string();
                found.extend(listed(apt::list(&file), &list, &place));
            }
        }
    }
    found
}

/// The candidates from a mirror list. A list inside a list is an error.
pub(super) fn listed(entries: Vec<apt::Located>, list: &str, named: &Place) -> Vec<Candidate> {
    let candidate = |(place, uri): apt::Located| {
        let kind = match uri.map(|uri| kind(&uri)) {
            Ok(Source::Kind(Kind::Base(mirror))) => Kind::Base(mirror),
            Ok(Source::Kind(Kind::Unfit(unfit))) | Err(unfit) => Kind::Unfit(unfit),
            Ok(Source::Kind(Kind::List(_)) | Source::ListFile(_)) => {
                Kind::Unfit(Unfit::Malformed("a mirror list inside a mirror list"))
            }
        };
        let named = Named::List { list: list.to_owned(), line: place.line, named: named.clone() };
        Candidate { named, kind }
    };
    entries.into_iter().map(candidate).collect()
}

enum Source {
    Kind(Kind),
    ListFile(PathBuf),
}

/// Classifies a URI by its scheme, like apt's methods.
fn kind(uri: &str) -> Source {
    let Some((scheme, rest)) = uri.split_once(':') else { return Source::Kind(Kind::Unfit(Unfit::Uri)) };
    let scheme = scheme.to_ascii_lowercase();
    let base = |url: &str, of: fn(Mirror) -> Kind| {
        Source::Kind(Mirror::parse(url).map_or(Kind::Unfit(Unfit::Uri), of))
    };
    match scheme.as_str() {
        "http" | "https" => base(uri, Kind::Base),
        "mirror" | "mirror+http" => base(&format!("http:{rest}"), Kind::List),
        "mirror+https" => base(&format!("https:{rest}"), Kind::List),
        "mirror+file" | "mirror+copy" => match local_path(rest) {
            Some(path) => Source::ListFile(path),
            None => Source::Kind(Kind::Unfit(Unfit::Uri)),
        },
        // This includes `tor+http`: a source that the host uses through Tor must not be contacted directly.
        _ if is_scheme(&scheme) => Source::Kind(Kind::Unfit(Unfit::Scheme(scheme))),
        _ => Source::Kind(Kind::Unfit(Unfit::Uri)),
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The path of a `file:` URI: `/a`, `///a` or `//localhost/a`.
fn local_path(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(after) => after.strip_prefix("localhost").unwrap_or(after),
        None => rest,
    };
    let decoded = String::from_utf8(crate::fetch::http::percent_decoded(path)).ok()?;
    (decoded.starts_with('/') && !decoded.contains('\0')).then(|| PathBuf::from(decoded))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn shown(apt: &Path) -> Vec<String> {
        let root = format!("{}/", apt.display());
        let one = |candidate: Candidate| {
            let text = match candidate.kind {
                Kind::Base(mirror) => mirror.url(""),
                Kind::List(mirror) => format!("list {}", mirror.url("")),
                Kind::Unfit(unfit) => format!("({unfit})"),
            };
            format!("{}: {text}", candidate.named).replace(&root, "")
        };
        candidates(apt::sources(apt)).into_iter().map(one).collect()
    }

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            let text = text.replace("ROOT", &folder.path().display().to_string());
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// A8: every source of a host is a candidate in apt's order, independent of its name. A source that cannot be used has a reason.
    #[test]
    fn candidates_are_in_the_order_of_apt() {
        let folder = written(&[
            ("sources.list", "deb http://main.example/ubuntu noble main\n"),
            ("sources.list.d/aaa-vendor.list", "deb [signed-by=/x] https://vendor.example/apt stable main\n"),
            (
                "sources.list.d/debian.sources",
                "Types: deb\nURIs: mirror+file:ROOT/mirrors.list https://u:secret@two.example/debian/\nSuites: trixie\n",
            ),
            (
                "sources.list.d/Z.list",
                "deb tor+http://onion.example/debian trixie main\ndeb cdrom:[Debian 13]/ trixie main\n",
            ),
            (
                "sources.list.d/other.list",
                "deb file:///srv/mirror trixie main\ndeb mirror+https://lists.example/debian.txt trixie main\ndeb copy:/srv trixie main\n\
                 deb mirror+file:relative trixie main\ndeb nothing trixie main\ndeb http://:80/x trixie main\ndeb mirror+file:ROOT/none trixie main\n",
            ),
            ("sources.list.d/ignored.list.save", "deb http://save.example/debian trixie main\n"),
            ("sources.list.d/has space.list", "deb http://space.example/debian trixie main\n"),
            ("sources.list.d/.hidden.list", "deb http://hidden.example/debian trixie main\n"),
            (
                "mirrors.list",
                "http://far.example/debian\nhttp://near.example/debian\tpriority:1\nmirror+file:/x\n",
            ),
        ]);
        let expected = [
            "sources.list:1: http://main.example/ubuntu/",
            "sources.list.d/Z.list:1: (tor+http sources are not supported, only http, https and mirror lists)",
            "sources.list.d/Z.list:2: (cdrom sources are not supported, only http, https and mirror lists)",
            "sources.list.d/aaa-vendor.list:1: https://vendor.example/apt/",
            "sources.list.d/debian.sources:2 (mirrors.list:2): http://near.example/debian/",
            "sources.list.d/debian.sources:2 (mirrors.list:1): http://far.example/debian/",
            "sources.list.d/debian.sources:2 (mirrors.list:3): (a mirror list inside a mirror list)",
            "sources.list.d/debian.sources:2: https://two.example/debian/",
            "sources.list.d/other.list:1: (file sources are not supported, only http, https and mirror lists)",
            "sources.list.d/other.list:2: list https://lists.example/debian.txt/",
            "sources.list.d/other.list:3: (copy sources are not supported, only http, https and mirror lists)",
            "sources.list.d/other.list:4: (the URI is malformed)",
            "sources.list.d/other.list:5: (the URI is malformed)",
            "sources.list.d/other.list:6: (the URI is malformed)",
            "sources.list.d/other.list:7 (none): (the file cannot be read (entity not found))",
        ];
        assert_eq!(shown(folder.path()), expected);
    }

    #[test]
    fn an_unreadable_file_does_not_hide_others() {
        let folder =
            written(&[("sources.list.d/z.list", "# f\u{fc}r\ndeb http://z.example/debian trixie main\n")]);
        let parts = folder.path().join("sources.list.d");
        fs::create_dir(parts.join("a.list")).unwrap();
        std::os::unix::fs::symlink("/nowhere", parts.join("b.sources")).unwrap();
        fs::write(parts.join("c.list"), b"# f\xfcr\ndeb http://c.example/debian trixie main\n").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            parts.join("d.list"),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        fs::File::create(parts.join("e.list")).unwrap().set_len(5 << 20).unwrap();
        let expected = [
            "sources.list.d/a.list: (not a regular file)",
            "sources.list.d/b.sources: (the file cannot be read (entity not found))",
            "sources.list.d/c.list:2: http://c.example/debian/",
            "sources.list.d/d.list: (not a regular file)",
            "sources.list.d/e.list: (larger than 4194304 bytes)",
            "sources.list.d/z.list:2: http://z.example/debian/",
        ];
        assert_eq!(shown(folder.path()), expected);
        assert!(shown(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn paths_of_mirror_lists_are_file_uris() {
        for (rest, expected) in [
            ("/etc/a%20b", Some("/etc/a b")),
            ("///etc/a", Some("/etc/a")),
            ("//localhost/etc/a", Some("/etc/a")),
            ("//elsewhere/etc/a", None),
            ("etc/a", None),
            ("/a%00b", None),
            ("", None),
        ] {
            assert_eq!(local_path(rest), expected.map(PathBuf::from), "{rest}");
        }
    }
}
