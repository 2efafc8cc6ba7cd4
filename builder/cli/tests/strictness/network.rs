//! A8, A6: a network error names the host and the cause, and is never treated as a vanished package.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use kubedos_debian::cache::Cache;
use kubedos_debian::fetch::{FetchError, Fetcher, Problem, Retry, Silent, Summary};
use kubedos_debian::lock::Lock;
use kubedos_wire::printable::chain;

use crate::archive::{deb, deb_path};
use crate::ran::Ran;
use crate::server::{Rule, Server};
use crate::{LOCKED, World};

const PAGE: &str = "<!DOCTYPE html><html><body>Please log in</body></html>";

/// An answer with these header lines and this body.
fn raw(head: &str, body: &[u8]) -> Rule {
    Rule::Raw([format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes(), body].concat())
}

fn page(kind: &str) -> Rule {
    raw(&format!("200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}", PAGE.len()), PAGE.as_bytes())
}

/// Fetches with short delays between retries.
fn fetch(world: &World) -> Result<Summary, Vec<Problem>> {
    let (lock, _) = Lock::read(&world.path("kubedos.lock")).unwrap();
    let cache = Cache::at(&world.path("cache")).unwrap();
    let mirrors = world.mirrors();
    let retry = Retry { attempts: 2, wait: Duration::from_millis(1) };
    let fetcher = Fetcher { retry, ..Fetcher::new(&cache, &mirrors) };
    fetcher.fetch(&lock.sources(&[]).unwrap(), &Silent).map_err(|FetchError(problems)| problems)
}

/// Applies a rule to the next four requests for the package `lib`, which is more than a fetch sends.
fn always(world: &World, rule: &Rule) {
    for _ in 0..4 {
        world.server.rule(&deb_path("lib", "2.0-1"), rule.clone());
    }
}

#[test]
fn each_cause_is_reported_with_the_host_and_no_package_has_vanished() {
    let length = deb("lib", "2.0-1").len();
    let chunked = |body: &str| raw("200 OK\r\nTransfer-Encoding: chunked", body.as_bytes());
    let cases: Vec<(&str, Rule, &str)> = vec![
        ("unauthorized", Rule::Status(401), "answers 401: it requires a user name and password"),
        ("forbidden", Rule::Status(403), "answers 403: access is denied"),
        ("proxy", Rule::Status(407), "answers 407: the proxy requires a user name and password"),
        ("busy", Rule::Status(429), "answers 429: too many requests"),
        ("legal", Rule::Status(451), "answers 451"),
        ("broken", Rule::Status(500), "answers 500: the server failed"),
        ("gateway", Rule::Status(504), "answers 504: a proxy or gateway"),
        ("portal status", Rule::Status(511), "answers 511: the network requires a login (captive portal)"),
        ("odd success", Rule::Status(204), "answers 204"),
        ("portal", page("text/html; charset=utf-8"), "captive portal"),
        ("portal in disguise", page("application/vnd.debian.binary-package"), "captive portal"),
        (
            "portal without length",
            raw("200 OK\r\nContent-Type: text/html", PAGE.as_bytes()),
            "captive portal",
        ),
        ("portal in chunks", chunked(&format!("{:x}\r\n{PAGE}\r\n0\r\n\r\n", PAGE.len())), "captive portal"),
        (
            "gzip",
            raw("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4", &[0x1f, 0x8b, 8, 0]),
            "the body is compressed (Content-Encoding: gzip), which was not requested",
        ),
        (
            "gzip of the pinned length",
            raw(&format!("200 OK\r\nContent-Encoding: br\r\nContent-Length: {length}"), &vec![9; length]),
            "(Content-Encoding: br), which was not requested",
        ),
        ("short body", Rule::Cut(100), "short body: the transfer broke off after"),
        ("empty body", Rule::Cut(0), "short body: the transfer broke off after 0 bytes"),
        ("no length", raw("200 OK", b"!<arch>\n"), "short body: the transfer broke off after 8 bytes"),
        ("cut chunk", chunked("ff\r\n!<arch>\n"), "short body: the transfer broke off after"),
        ("no chunk", chunked("zz\r\n!<arch>\n"), "short body: the transfer broke off after 0 bytes"),
        ("no answer", Rule::Raw(Vec::new()), "connection failed"),
        ("not HTTP", Rule::Raw(b"SSH-2.0-OpenSSH_10.0\r\n\r\n".to_vec()), "the answer is not HTTP"),
        ("TLS alert", Rule::Raw(vec![0x15, 3, 1, 0, 2, 2, 0x50]), "the answer is not HTTP"),
        ("self", Rule::Redirect(deb_path("lib", "2.0-1")), "redirect loop"),
        ("nowhere", raw("302 Found\r\nContent-Length: 0", b""), "a redirect (302) without a usable"),
        (
            "other scheme",
            raw("302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0", b""),
            "a redirect (302)",
        ),
    ];
    for (name, rule, cause) in cases {
        let world = World::locked();
        always(&world, &rule);
        let problems = fetch(&world).unwrap_err();
        let [problem @ Problem::Http { .. }] = problems.as_slice() else { panic!("{name}: {problems:?}") };
        let text = chain(problem);
        assert!(text.contains(cause), "{name}: {cause:?} is not in {text}");
        assert!(text.contains(&world.server.host()) && text.contains("lib 2.0-1"), "{name}: {text}");
        // The failure does not affect the next run.
        world.server.state.lock().unwrap().rules.clear();
        fetch(&world).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
    }
}

#[test]
fn a_whole_file_of_a_different_length_is_a_mismatch_and_reports_the_host() {
    for body in [b"!<arch>\nshort".to_vec(), [deb("lib", "2.0-1"), vec![0; 9]].concat()] {
        let world = World::locked();
        world.server.state.lock().unwrap().files.insert(deb_path("lib", "2.0-1"), body);
        world.run(&["fetch"]).fails(4, &["lib 2.0-1 does not match the lock", &world.server.host()]);
        assert_eq!(world.server.requests(&deb_path("lib", "2.0-1")).len(), 1, "the request is not retried");
    }
}

#[test]
fn a_content_encoding_with_the_pinned_bytes_is_not_an_error() {
    let (world, bytes) = (World::locked(), deb("lib", "2.0-1"));
    let rule = raw(&format!("200 OK\r\nContent-Encoding: x-gzip\r\nContent-Length: {}", bytes.len()), &bytes);
    world.server.rule(&deb_path("lib", "2.0-1"), rule);
    fetch(&world).unwrap();
    let heads = &world.server.state.lock().unwrap().heads;
    assert!(
        heads.iter().all(|(_, head)| head.to_ascii_lowercase().contains("accept-encoding: identity")),
        "{heads:?}"
    );
}

#[test]
fn a_redirect_loop_over_two_hosts_reports_both() {
    let (world, other) = (World::locked(), Server::start());
    let path = deb_path("lib", "2.0-1");
    let to = |server: &Server| {
        raw(&format!("302 Found\r\nLocation: {}/{path}\r\nContent-Length: 0", server.url()), b"")
    };
    always(&world, &to(&other));
    other.always(to(&world.server));
    let text = chain(&fetch(&world).unwrap_err()[0]);
    assert!(
        text.contains(&format!("{}, redirected by {}: redirect loop", other.host(), world.server.host())),
        "{text}"
    );
    assert_eq!(world.server.requests(&path).len(), 1);
}

#[test]
fn a_redirect_to_a_login_page_reports_the_host_of_the_page() {
    let (world, portal) = (World::locked(), Server::start());
    portal.always(page("text/html"));
    always(
        &world,
        &raw(&format!("302 Found\r\nLocation: {}/login?x=1\r\nContent-Length: 0", portal.url()), b""),
    );
    let text = chain(&fetch(&world).unwrap_err()[0]);
    assert!(text.contains(&portal.host()) && text.contains("captive portal"), "{text}");
}

/// A6: a 404 proves that a file was removed only if the host served another verified file.
#[test]
fn other_failures_do_not_relock_packages() {
    let empty = Server::start();
    let redirect =
        |path: &str| raw(&format!("302 Found\r\nLocation: {}/{path}\r\nContent-Length: 0", empty.url()), b"");
    let rules = [
        Rule::Status(403),
        Rule::Status(407),
        Rule::Status(511),
        page("text/html"),
        redirect("x"),
        redirect("login"),
    ];
    for rule in rules {
        let world = World::locked();
        world.server.rule(&deb_path("lib", "2.0-1"), rule.clone());
        let ran = world.run(&["fetch", "--relock-missing"]).fails(1, &["lib 2.0-1"]);
        assert!(
            !ran.err.contains("vanished") && !world.path("out/kubedos.lock").exists(),
            "{rule:?}: {ran:?}"
        );
    }
    let world = World::locked();
    world.server.rule(&deb_path("lib", "2.0-1"), redirect("x"));
    world
        .run(&["fetch"])
        .fails(1, &[&empty.host(), &world.server.host(), "404", "no other file of this host verified"]);
    // The whole mirror answers 404: a wrong path.
    let world = World::locked();
    world.server.state.lock().unwrap().files.clear();
    let ran = world
        .run(&["fetch", "--relock-missing"])
        .fails(1, &["no mirror of the suite trixie", "404", &world.server.host()]);
    assert!(!ran.err.contains("vanished") && !world.path("out/kubedos.lock").exists(), "{ran:?}");
}

/// A redirect target that served other verified files can report that a file was removed.
#[test]
fn a_file_that_a_redirect_target_no_longer_has_has_vanished() {
    let (world, pool) = (World::locked(), Server::start());
    let files = world.server.state.lock().unwrap().files.clone();
    pool.state.lock().unwrap().files = files;
    for path in [deb_path("lib", "2.0-1"), deb_path("app", "1.0-1")] {
        let to = format!("302 Found\r\nLocation: {}/{path}\r\nContent-Length: 0", pool.url());
        world.server.rule(&path, raw(&to, b""));
    }
    pool.state.lock().unwrap().files.remove(&deb_path("lib", "2.0-1"));
    world.run(&["fetch"]).fails(1, &["lib 2.0-1 has vanished", &pool.host(), "--relock-missing"]);
}

#[test]
fn unreachable_hosts_are_reported_with_the_cause() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    // A plain HTTP server gives this answer to a TLS handshake.
    let (plain, _asked) = proxy(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let cases = [
        (format!("http://{closed}/debian"), closed.to_string(), "connection refused"),
        ("http://mirror.invalid/debian".to_owned(), "mirror.invalid".to_owned(), "mirror.invalid: "),
        (format!("https://{plain}/debian"), plain, "TLS failed"),
    ];
    for (url, host, cause) in cases {
        let world = World::locked();
        let mut command = world.command(&["fetch"]);
        let url = url.replace("://", "://user:geheim@");
        let ran = Ran::of(command.args(["--mirror", &url]));
        let ran = ran.fails(1, &["no mirror of the suite trixie is usable", "--mirror: ", &host, cause]);
        assert!(!ran.err.contains("geheim") && !ran.err.contains("vanished"), "{ran:?}");
        assert_eq!(world.server.count(), LOCKED, "no other mirror replaces the given one");
    }
}

/// A proxy that answers each connection with these bytes, and passes each request to the receiver.
fn proxy(answer: &'static [u8]) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (send, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            // The receiver does not exist any more if the test has ended.
            drop(send.send(String::from_utf8_lossy(&head[..length]).into_owned()));
            drop(stream.write_all(answer));
        }
    });
    (host, asked)
}

#[test]
fn a_proxy_that_denies_access_is_reported_with_the_mirror() {
    for (answer, cause) in [
        (&b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"[..], "407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"),
    ] {
        let world = World::locked();
        let (host, asked) = proxy(answer);
        let mut command = world.command(&["fetch"]);
        command.env("http_proxy", format!("http://user:geheim@{host}"));
        let expected = format!("through the proxy {host}");
        let ran = Ran::of(&mut command)
            .fails(1, &["KUBEDOS_DEBIAN_MIRROR", &world.server.host(), &expected, cause]);
        assert!(!ran.err.contains("geheim"), "{ran:?}");
        assert!(
            asked.try_iter().count() > 0 && world.server.count() == LOCKED,
            "only the proxy received a request"
        );
        // An exception bypasses the proxy.
        let mut command = world.command(&["fetch"]);
        command.env("http_proxy", format!("http://{host}")).env("no_proxy", "localhost, 127.0.0.0/8");
        Ran::of(&mut command).succeeds();
    }
}

/// A proxy that forwards plain requests (RFC 9112), but opens no tunnel.
#[test]
fn plain_http_works_through_a_proxy_without_tunnels() {
    let (world, proxy) = (World::locked(), Server::start());
    let served = world.server.state.lock().unwrap().files.clone();
    let through = |path: &str| format!("http://mirror.invalid/debian/{path}");
    proxy.state.lock().unwrap().files =
        served.into_iter().map(|(path, bytes)| (through(&path), bytes)).collect();
    let mut command = world.command(&["fetch", "--mirror", "http://mirror.invalid/debian"]);
    command.env("http_proxy", proxy.url().replace("/debian", "").replace("://", "://user:geheim@"));
    Ran::of(&mut command).succeeds();
    let state = proxy.state.lock().unwrap();
    for (path, head) in &state.heads {
        assert!(path.starts_with("http://mirror.invalid/debian/"), "{path}");
        let head = head.to_ascii_lowercase();
        assert!(
            head.contains("host: mirror.invalid\r\n") && head.contains("proxy-authorization: basic "),
            "{head}"
        );
    }
    assert_eq!(world.server.count(), LOCKED);
}

#[test]
fn an_unusable_proxy_is_not_bypassed() {
    let world = World::locked();
    let mut command = world.command(&["fetch"]);
    command.env("http_proxy", "socks5://user:geheim@127.0.0.1:1");
    let ran = Ran::of(&mut command).fails(1, &["http_proxy", "only http and https proxies"]);
    assert!(!ran.err.contains("geheim") && world.server.count() == LOCKED, "{ran:?}");
}
