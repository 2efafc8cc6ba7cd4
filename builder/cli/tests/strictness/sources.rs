//! A8, A6: the mirrors of a host are identified by their signed index, independent of names and syntax in the apt configuration.

use std::fs;
use std::process::Stdio;

use crate::archive::{Archive, Key, deb_path};
use crate::ran::Ran;
use crate::server::{Rule, Server};
use crate::{LOCKED, World};

/// Replaces the apt configuration of the host.
fn configure(world: &World, files: &[(&str, String)]) {
    let apt = world.path("apt");
    drop(fs::remove_dir_all(&apt));
    fs::create_dir_all(apt.join("sources.list.d")).unwrap();
    for (name, text) in files {
        fs::write(apt.join(name), text).unwrap();
    }
}

/// Runs without an explicit mirror, so that the sources of the host are used.
fn run(world: &World, arguments: &[&str]) -> Ran {
    let mut command = world.command(arguments);
    command.env_remove("KUBEDOS_DEBIAN_MIRROR").args(["--apt", "apt"]).stdin(Stdio::null());
    Ran::of(&mut command)
}

/// Starts a server for an archive.
fn serving(archive: &Archive) -> Server {
    let server = Server::start();
    server.state.lock().unwrap().files = archive.files();
    server
}

/// An archive of a vendor at the path of Debian's archive.
fn vendor(key: Key, origin: &str) -> Archive {
    let mut archive = Archive::new(&[]);
    archive.key = key;
    archive.origin = [origin.to_owned(), origin.to_owned()];
    archive
}

#[test]
fn debian_is_found_after_ubuntu_and_a_vendor_in_both_syntaxes() {
    let world = World::locked();
    let mut ubuntu = vendor(Key::generate(), "Ubuntu");
    ubuntu.suite = "noble".to_owned();
    let (ubuntu, other_vendor) = (serving(&ubuntu), serving(&vendor(Key::generate(), "Debian")));
    let debian = world.server.url();
    let forms = [
        (
            "sources.list.d/debian.sources",
            format!(
                "Types: deb deb-src\nURIs: {debian}/\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/x.gpg\n"
            ),
        ),
        (
            "sources.list.d/zz.list",
            format!("deb [arch=arm64 signed-by=/usr/share/keyrings/x.gpg] {debian} stable main\n"),
        ),
        (
            "sources.list.d/zz.sources",
            format!(
                "Types: deb\nSuites: testing\nURIs:\n {}\n# comment\n {debian}\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n",
                ubuntu.url()
            ),
        ),
    ];
    for (name, text) in forms {
        drop(fs::remove_dir_all(world.path("cache")));
        let other = format!("deb [signed-by=/etc/apt/keyrings/v.gpg] {} stable main\n", other_vendor.url());
        let files = [
            ("sources.list", format!("deb {} noble main\n", ubuntu.url())),
            ("sources.list.d/aaa-vendor.list", other),
            (name, text),
        ];
        configure(&world, &files);
        let ran = run(&world, &["fetch"]).succeeds();
        for words in [
            format!("no mirror of trixie: apt/sources.list:1: {}: answers 404: not found", ubuntu.host()),
            format!(
                "no mirror of trixie: apt/sources.list.d/aaa-vendor.list:1: {}: the signature of the index of trixie does not verify",
                other_vendor.host()
            ),
            format!("trixie is fetched from {} (apt/{name}:", world.server.host()),
        ] {
            assert!(ran.err.contains(&words), "{name}: {words:?} is not in {ran:?}");
        }
    }
    assert_eq!(ubuntu.requests("dists/trixie/InRelease").len(), 3, "each candidate gets one request per run");
}

/// A signature by the right key is not enough: the index must also name Debian and the suite.
#[test]
fn an_index_from_a_different_archive_or_suite_is_rejected_although_its_key_is_trusted() {
    let mut world = World::locked();
    let files = |world: &World| [("sources.list", format!("deb {} trixie main\n", world.server.url()))];
    for (origin, label, codename, reason) in [
        ("Vendor", "Debian", "trixie", "its Origin is \"Vendor\""),
        ("Debian", "Debian-Security", "trixie", "its Label is \"Debian-Security\""),
        ("Debian", "Vendor", "trixie", "its Label is \"Vendor\""),
        ("Debian", "Debian", "bookworm", "the mirror's index of trixie has the Codename bookworm"),
    ] {
        world.archive.origin = [origin.to_owned(), label.to_owned()];
        world.archive.codename = codename.to_owned();
        world.publish();
        configure(&world, &files(&world));
        run(&world, &["fetch"]).fails(
            4,
            &[
                "no mirror of the suite trixie is usable",
                "apt/sources.list:1: ",
                &world.server.host(),
                reason,
            ],
        );
        assert!(
            world.server.requests(&deb_path("lib", "2.0-1")).is_empty(),
            "no package was fetched from the mirror"
        );
    }
}

#[test]
fn every_candidate_is_listed_with_its_place_host_and_reason() {
    let world = World::locked();
    let (empty, page) = (Server::start(), Server::start());
    page.always(Rule::Raw(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>login</html>".to_vec(),
    ));
    configure(
        &world,
        &[
            (
                "sources.list",
                format!(
                    "deb cdrom:[Debian 13]/ trixie main\ndeb-src {0} trixie main\ndeb {0} ./\n",
                    world.server.url()
                ),
            ),
            (
                "sources.list.d/a.list",
                format!(
                    "deb {} stable main\ndeb tor+http://mirror.example/debian trixie main\n",
                    empty.url()
                ),
            ),
            (
                "sources.list.d/b.sources",
                format!(
                    "Types: deb\nURIs: {}\nSuites: trixie\nEnabled: no\n\nTypes: deb\nURIs: http://user:geheim@{}/debian\nSuites: trixie\n",
                    world.server.url(),
                    page.host()
                ),
            ),
            ("sources.list.d/c.list.bak", format!("deb {} trixie main\n", world.server.url())),
        ],
    );
    let ran = run(&world, &["fetch", "--set", "tools"]);
    let expected = format!(
        "error: no mirror of the suite trixie is usable: no candidate serves its signed index dists/trixie/InRelease
  apt/sources.list:1: cdrom sources are not supported, only http, https and mirror lists
  apt/sources.list:2: only source packages: deb-src
  apt/sources.list:3: a flat repository, without suites
  apt/sources.list.d/a.list:1: {}: answers 404: not found
  apt/sources.list.d/a.list:2: tor+http sources are not supported, only http, https and mirror lists
  apt/sources.list.d/b.sources:1: disabled: Enabled is no
  apt/sources.list.d/b.sources:7: {}: the answer is a web page instead of the file, for example from a captive portal, a login page or a filtering proxy
error: failed to fetch 1 of the pinned files
  help: name a mirror with --mirror URL or the environment variable KUBEDOS_DEBIAN_MIRROR
",
        empty.host(),
        page.host()
    );
    assert_eq!(
        (ran.code, ran.err.split_once("error: ").map(|(_, rest)| format!("error: {rest}"))),
        (Some(1), Some(expected)),
        "{ran:?}"
    );
    assert_eq!(world.server.count(), LOCKED, "only `lock --update` sent requests");
    configure(&world, &[]);
    run(&world, &["fetch"]).fails(
        1,
        &[
            "no mirror of the suite trixie is known: the apt configuration in apt contains no source",
            "--mirror",
        ],
    );
}

#[test]
fn mirror_lists_are_followed_from_a_file_and_from_a_server() {
    let world = World::locked();
    let (down, lists) = (Server::start(), Server::start());
    down.always(Rule::Status(503));
    let list =
        format!("# mirrors\n{}\tpriority:2\n{}\tpriority:1\narch:arm64\n", world.server.url(), down.url());
    fs::write(world.path("mirrors.list"), &list).unwrap();
    lists.state.lock().unwrap().files.insert("list.txt".to_owned(), list.into_bytes());
    let list_url = format!("{}/list.txt", lists.url());
    for (uri, place) in [
        (format!("mirror+file:{}", world.path("mirrors.list").display()), "mirrors.list:2".to_owned()),
        (list_url.replace("http:", "mirror+http:"), format!("{}:2", lists.host())),
        (list_url.replace("http:", "mirror:"), format!("{}:2", lists.host())),
    ] {
        drop(fs::remove_dir_all(world.path("cache")));
        configure(&world, &[("sources.list", format!("deb {uri} trixie main\n"))]);
        let ran = run(&world, &["fetch"]).succeeds();
        assert!(ran.err.contains(&format!("{}: answers 503", down.host())), "{ran:?}");
        assert!(
            ran.err
                .contains(&format!("trixie is fetched from {} (apt/sources.list:1 (", world.server.host())),
            "{ran:?}"
        );
        assert!(ran.err.contains(&place), "{ran:?}");
        assert!(!ran.err.contains("retry in"), "a failing mirror does not delay a working one: {ran:?}");
    }
}

#[test]
fn an_explicit_mirror_is_not_replaced_by_one_of_the_host() {
    let (world, empty) = (World::locked(), Server::start());
    configure(&world, &[("sources.list", format!("deb {} trixie main\n", world.server.url()))]);
    run(&world, &["fetch", "--mirror", &empty.url()]).fails(1, &["--mirror: ", &empty.host(), "404"]);
    let mut command = world.command(&["fetch", "--apt", "apt"]);
    command.env("KUBEDOS_DEBIAN_MIRROR", empty.url());
    Ran::of(&mut command).fails(1, &["KUBEDOS_DEBIAN_MIRROR: ", &empty.host(), "404"]);
    assert_eq!(world.server.count(), LOCKED);
}

#[test]
fn no_request_is_sent_if_all_files_are_cached_or_offline() {
    let world = World::locked();
    configure(&world, &[("sources.list", format!("deb {} trixie main\n", world.server.url()))]);
    run(&world, &["fetch", "--set", "tools"]).succeeds();
    let before = world.server.count();
    let ran = run(&world, &["fetch", "--set", "tools"]).succeeds();
    assert!(!ran.err.contains("mirror"), "{ran:?}");
    run(&world, &["fetch", "--offline"]).fails(5, &["lib 2.0-1"]);
    run(&world, &["fetch", "--dry-run"]).succeeds();
    assert_eq!(world.server.count(), before);
    run(&world, &["fetch"]).succeeds();
    assert_eq!(world.server.requests("dists/trixie/InRelease").len(), 3, "once in each run that fetched");
}

#[test]
fn a_file_comes_from_the_next_mirror_and_vanishes_only_if_all_lack_it() {
    let world = World::locked();
    let second = serving(&world.archive);
    let both = format!("deb {} trixie main\ndeb {} trixie main\n", world.server.url(), second.url());
    configure(&world, &[("sources.list", both)]);
    let lib = deb_path("lib", "2.0-1");
    world.server.state.lock().unwrap().files.remove(&lib);
    world.server.rule(&deb_path("other", "3"), Rule::Status(403));
    run(&world, &["fetch"]).succeeds();
    assert_eq!(second.requests(&lib).len(), 1);
    drop(fs::remove_dir_all(world.path("cache")));
    second.state.lock().unwrap().files.remove(&lib);
    run(&world, &["fetch"])
        .fails(1, &["lib 2.0-1 has vanished", &world.server.host(), &second.host(), "--relock-missing"]);
    // A mirror that denies access does not prove that a file was removed.
    drop(fs::remove_dir_all(world.path("cache")));
    second.rule(&lib, Rule::Status(403));
    let ran = run(&world, &["fetch", "--relock-missing"]).fails(1, &["lib 2.0-1", "403", "404"]);
    assert!(!ran.err.contains("vanished"), "{ran:?}");
}

#[test]
fn an_update_skips_an_outdated_mirror() {
    let mut world = World::locked();
    let stale = {
        world.archive.date = "Fri, 11 Sep 2026 07:55:41 UTC".to_owned();
        serving(&world.archive)
    };
    let text = |servers: &[&Server]| {
        servers.iter().map(|server| format!("deb {} trixie main\n", server.url())).collect()
    };
    configure(&world, &[("sources.list", text(&[&stale, &world.server]))]);
    run(&world, &["lock", "--update"]).succeeds();
    configure(&world, &[("sources.list", text(&[&stale]))]);
    run(&world, &["lock", "--update"])
        .fails(1, &["apt/sources.list:1: ", &stale.host(), "older than", "--accept-older"]);
    // A file that is pinned by digest may come from the outdated mirror.
    run(&world, &["fetch"]).succeeds();
}

#[test]
fn the_password_of_a_source_is_sent_to_its_host_only() {
    let (world, other) = (World::locked(), Server::start());
    other.state.lock().unwrap().files = world.archive.files();
    let lib = deb_path("lib", "2.0-1");
    let to = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}/{lib}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        other.url()
    );
    world.server.rule(&lib, Rule::Raw(to.into_bytes()));
    let url = world.server.url().replace("://", "://user:ge%68eim@");
    configure(&world, &[("sources.list", format!("deb {url} trixie main\n"))]);
    let ran = run(&world, &["fetch"]).succeeds();
    // `user:geheim` in base64.
    let has = |server: &Server| {
        let state = server.state.lock().unwrap();
        let heads = state.heads.iter().filter(|(path, _)| *path == lib);
        heads.map(|(_, head)| head.contains("Basic dXNlcjpnZWhlaW0=")).collect::<Vec<_>>()
    };
    assert_eq!((has(&world.server), has(&other)), (vec![true], vec![false]));
    world.server.rule(&deb_path("other", "3"), Rule::Status(401));
    fs::remove_dir_all(world.path("cache")).unwrap();
    let failed = run(&world, &["fetch", "--set", "tools"]).fails(1, &["answers 401"]);
    for text in [ran.err, failed.err] {
        assert!(!text.contains("geheim") && !text.contains("%68eim"), "{text}");
    }
}
