//! The files of a Debian archive: indices, packages, and their content.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::sync::{Arc, LazyLock};

use kubedos_builder::compose::Tree;
use kubedos_builder::compose::unpack::{UnpackError, unpack};
use kubedos_debian::control::{Paragraph, paragraphs};
use kubedos_debian::deb::{Deb, DebError};
use kubedos_debian::digest::Sha256;
use kubedos_debian::index::version::Version;
use kubedos_debian::index::{Index, Package, relation};
use kubedos_debian::lock::{Lock, Proof};
use kubedos_debian::mirror::apt::{self, Entry};
use kubedos_debian::release::Contents;
use kubedos_debian::release::date::Moment;
use kubedos_debian::release::keyring::{Fingerprint, Keyring};

use crate::documents::TOML;
use crate::frugal::{LITTLE, Most, frugal};
use crate::{Seed, Target};

pub(crate) const TARGETS: [Target; 10] = [
    Target { name: "control", property: control, seeds: control_seeds, mutants: 100_000 },
    Target { name: "packages", property: packages, seeds: packages_seeds, mutants: 50_000 },
    Target { name: "relations", property: relations, seeds: relations_seeds, mutants: 100_000 },
    Target { name: "versions", property: versions, seeds: versions_seeds, mutants: 100_000 },
    Target { name: "release", property: release, seeds: release_seeds, mutants: 50_000 },
    Target { name: "inrelease", property: inrelease, seeds: inrelease_seeds, mutants: 10_000 },
    Target { name: "apt_sources", property: apt_sources, seeds: apt_sources_seeds, mutants: 50_000 },
    Target { name: "deb", property: deb, seeds: deb_seeds, mutants: 20_000 },
    Target { name: "lock", property: lock, seeds: lock_seeds, mutants: 20_000 },
    Target { name: "lock_proof", property: lock_proof, seeds: lock_proof_seeds, mutants: 20_000 },
];

/// Paragraphs are pieces of the text, in order. Round trip: read a paragraph, write it, and read it again; its fields are equal.
fn control(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut from = 0;
    for chunk in paragraphs(text) {
        let at = chunk.as_ptr() as usize - text.as_ptr() as usize;
        assert!(at >= from && text[from..at].trim().is_empty());
        from = at + chunk.len();
        let Ok(paragraph) = frugal(LITTLE, chunk.len(), || Paragraph::parse(chunk)) else { continue };
        let lines = paragraph.fields().iter().map(|(name, value)| format!("{name}: {value}\n"));
        let again: String = lines.collect();
        if !again.is_empty() {
            assert_eq!(Paragraph::parse_one(&again).unwrap().fields(), paragraph.fields());
        }
    }
    assert!(text[from..].trim().is_empty());
}

fn control_seeds() -> Vec<Seed> {
    let text = "# note\nPackage: a\nDescription: short\n long\n .\n more\n\n\nSHA256:\n aa 1 x\n bb 2 y\nversion:1.0 \n";
    vec![("two-paragraphs", text.into())]
}

/// For each package of an index: parsing its stanza again gives the same package, and its path stays inside the mirror.
fn packages(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut index = Index::default();
    let most = Most { factor: 32, constant: 4 << 10 };
    if frugal(most, input.len(), || index.add(text, "trixie", "main", None)).is_err() {
        return;
    }
    let (suite, component): (Arc<str>, Arc<str>) = ("trixie".into(), "main".into());
    for name in text.lines().filter_map(|line| line.strip_prefix("Package:")).map(str::trim) {
        let Ok(offers) = index.candidates(name) else { continue };
        for offer in offers {
            assert!(!offer.path.starts_with('/') && !offer.path.split('/').any(|part| part == ".."));
            let again = Package::parse(&offer.stanza, &suite, &component).unwrap();
            assert_eq!(format!("{again:?}"), format!("{offer:?}"));
        }
    }
}

fn stanza(name: &str, version: &str, more: &str) -> String {
    let digest = Sha256::of(name.as_bytes());
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 7\nSHA256: {digest}\n{more}\n"
    )
}

fn packages_seeds() -> Vec<Seed> {
    let relations =
        "Source: s (0.9)\nDepends: libc6 (>= 2.38), b | c\nConflicts: d (<< 1)\nProvides: mta (= 2), x\n";
    let two = [stanza("a", "1.0-2", relations), stanza("b", "2:9~rc1", "")].join("\n");
    vec![("two-stanzas", two.into_bytes())]
}

/// Relations that are printed are read as the same relations.
fn relations(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    // A group allocates a list, and a relation allocates two strings.
    let most = Most { factor: 256, constant: 4 << 10 };
    let Ok(groups) = frugal(most, input.len(), || relation::parse(text)) else { return };
    let printed: Vec<_> = groups.iter().map(relation::Group::to_string).collect();
    assert_eq!(relation::parse(&printed.join(", ")).unwrap(), groups);
}

fn relations_seeds() -> Vec<Seed> {
    vec![(
        "all-kinds",
        "libc6 (>= 2.38), debconf (>= 0.5) | debconf-2.0, python3:any (<< 3.14),\n x(=1),".into(),
    )]
}

/// Versions, one per line. They are printed as they were read, and their order is total.
fn versions(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut versions = Vec::new();
    for line in text.lines().take(8) {
        if let Ok(version) = frugal(LITTLE, line.len(), || line.parse::<Version>()) {
            assert_eq!(version.to_string(), line);
            versions.push(version);
        }
    }
    for one in &versions {
        assert_eq!(one.cmp(one), Ordering::Equal);
        for other in &versions {
            assert_eq!(one.cmp(other), other.cmp(one).reverse());
            for third in &versions {
                assert!(!(one <= other && other <= third) || one <= third, "{one} {other} {third}");
            }
        }
    }
}

fn versions_seeds() -> Vec<Seed> {
    vec![("a-few", "1.0~rc1\n1.0\n1:0.5-2+b1\n1.00-0\n2.4.7-1:z".into())]
}

const RELEASE: &str = "Origin: Test\nCodename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nValid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nSHA256:\n 5dd87ba18a1bcd1ad5a7ebcb4bbdbbc6ba5d6a1b4bb2cd9e67a1ae4fbbd2e9b3 7 main/binary-amd64/Packages.xz\n";

/// The text that a signature covers. Its dates are read as the same dates after they are printed.
fn release(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let most = Most { factor: 32, constant: 4 << 10 };
    let Ok(contents) = frugal(most, input.len(), || Contents::parse(text, "trixie")) else { return };
    assert!(!contents.indices.is_empty());
    for moment in [Some(contents.date), contents.valid_until].into_iter().flatten() {
        assert_eq!(moment.to_string().parse(), Ok(moment));
    }
}

fn release_seeds() -> Vec<Seed> {
    vec![("one-index", RELEASE.into())]
}

/// The apt sources of a host in each of their forms. Every entry belongs to a line of the text, and the line contains its URI, apart from
/// quotation marks.
fn apt_sources(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // A paragraph of four bytes allocates space for many fields.
    let most = Most { factor: 512, constant: 4 << 10 };
    for parse in [apt::one_line, apt::deb822, apt::mirror_list] as [fn(&str) -> Vec<Entry>; 3] {
        for entry in frugal(most, text.len(), || parse(&text)) {
            let line = text.lines().nth(entry.line - 1).unwrap();
            if let Ok(uri) = entry.uri {
                assert!(
                    !uri.is_empty() && line.replace('"', "").contains(&uri.replace('"', "")),
                    "{line:?} has no {uri:?}"
                );
            }
        }
    }
}

fn apt_sources_seeds() -> Vec<Seed> {
    let lines = "# note\ndeb [arch=amd64 signed-by=/a#b.gpg] http://a.example/debian trixie main # note\ndeb-src http://a.example/debian trixie main\n\
        deb cdrom:[Debian 13]/ trixie main\ndeb \"http://b.example/debian\" ./\ndeb mirror+file:/etc/apt/list trixie main\n";
    let paragraphs = "Types: deb deb-src\nURIs: http://a.example/debian\n# note\n http://b.example/debian\nSuites: trixie trixie-updates\nSigned-By:\n x\n .\n y\n\n\
        Types: deb\nURIs: http://c.example/x\nSuites: /\nEnabled: no\n";
    let list = "http://a.example/debian\tpriority:2\tarch:amd64\nhttp://b.example/debian priority:1 # near\n";
    vec![("one-line", lines.into()), ("deb822", paragraphs.into()), ("mirror-list", list.into())]
}

const SIGNED: &str = include_str!("../data/InRelease");

/// A signed index. If it verifies, it contains the signed text.
fn inrelease(input: &[u8]) {
    static KEYRING: LazyLock<Keyring> = LazyLock::new(|| {
        let mut keyring = Keyring::default();
        keyring.add(include_bytes!("../data/archive.asc")).unwrap();
        keyring
    });
    let Ok(text) = std::str::from_utf8(input) else { return };
    let allowed = [Fingerprint::try_from("1BD466E4133C6231233B094EC939205C398A81D5".to_owned()).unwrap()];
    let now: Moment = "2026-12-01T00:00:00Z".parse().unwrap();
    // Signatures are read into owned packets.
    let most = Most { factor: 64, constant: 64 << 10 };
    if let Ok((text, signer)) = frugal(most, input.len(), || KEYRING.verify(text, &allowed, now)) {
        assert_eq!(signer, allowed[0]);
        assert_eq!(text.trim_end(), RELEASE.trim_end());
    }
}

fn inrelease_seeds() -> Vec<Seed> {
    vec![("signed", SIGNED.into())]
}

/// A package. Its files become nodes of a tree, or the package is refused. Its control fields and lists are read as well.
fn deb(input: &[u8]) {
    read_package(input);
    read_package(&with_checksums(input));
}

/// The same bytes with corrected checksums of all tar headers. This works only for uncompressed archives.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.windows(5).position(|text| text == b"ustar"))
    {
        at += found + 5;
        if let Some(header) = (at - 5).checked_sub(257).and_then(|start| bytes.get_mut(start..start + 512)) {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

fn read_package(input: &[u8]) {
    // The control archive is in memory, the decoders have their own windows (in memory that is not counted here), and the tree contains
    // the decompressed files.
    let most = Most { factor: 1 << 15, constant: 40 << 20 };
    let Ok(mut deb) = frugal(most, input.len(), || Deb::open(Cursor::new(input))) else { return };
    drop(deb.control().map(|paragraph| paragraph.fields().len()));
    drop(deb.conffiles());
    assert!(deb.scripts().count() <= 5);
    let mut entries = 0_u64;
    let visited = deb.visit(|entry, content| {
        entries += 1;
        assert!(
            !entry.path.split('/').any(|part| matches!(part, "" | "." | "..")) && !entry.path.contains('\0')
        );
        assert!(entry.mode <= 0o7777);
        std::io::copy(content, &mut std::io::sink()).map_err(DebError::Io)?;
        Ok::<(), DebError>(())
    });
    let mut tree = Tree::new(1_763_300_000);
    let unpacked = frugal(most, input.len(), || unpack("fuzz", &mut deb, &mut tree));
    assert!(visited.is_ok() || unpacked.is_err());
    if unpacked.is_ok() {
        assert!(tree.len() as u64 <= entries + 1);
        drop(tree.check());
    } else if visited.is_ok() {
        assert!(!matches!(unpacked, Err(UnpackError::Deb(_))));
    }
}

fn deb_seeds() -> Vec<Seed> {
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(42);
        header.set_mtime(5);
        header.set_size(size);
        header
    };
    let file = tar::EntryType::Regular;
    let mut control = tar::Builder::new(Vec::new());
    for (name, text) in [
        ("./control", "Package: a\nVersion: 1\n"),
        ("./conffiles", "/etc/a\n"),
        ("./postinst", "#!/bin/sh\n"),
    ] {
        control.append_data(&mut header(file, 0o755, text.len() as u64), name, text.as_bytes()).unwrap();
    }
    let control = control.into_inner().unwrap();
    let mut data = tar::Builder::new(Vec::new());
    data.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), "./", &b""[..]).unwrap();
    data.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), "./etc/", &b""[..]).unwrap();
    data.append_data(&mut header(file, 0o644, 2), "./etc/a", &b"hi"[..]).unwrap();
    data.append_link(&mut header(tar::EntryType::Link, 0o644, 0), "./etc/b", "./etc/a").unwrap();
    data.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), "./etc/c", "../up").unwrap();
    data.append_data(&mut header(file, 0o644, 1), format!("./etc/{}", "long/".repeat(30)), &b"x"[..])
        .unwrap();
    let data = data.into_inner().unwrap();
    let xz = |bytes: &[u8]| {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    vec![
        ("plain", ar(&[("control.tar", &control), ("data.tar", &data)])),
        ("xz", ar(&[("control.tar.xz", &xz(&control)), ("data.tar.xz", &xz(&data))])),
        (
            "zst",
            ar(&[
                ("control.tar.zst", &zstd::encode_all(&*control, 1).unwrap()),
                ("data.tar.zst", &zstd::encode_all(&*data, 1).unwrap()),
            ]),
        ),
    ]
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [("debian-binary", &b"2.0\n"[..])].iter().chain(members) {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", bytes.len()).unwrap();
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// Round trip: read a lock, write it, and read it again; both locks are equal.
fn lock(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(lock) = frugal(TOML, input.len(), || Lock::parse(text)) else { return };
    assert_eq!(Lock::parse(&lock.encode().unwrap()).unwrap(), lock);
}

fn lock_seeds() -> Vec<Seed> {
    let digest = Sha256::of(b"x");
    let text = format!(
        "version = 1\narchitecture = \"amd64\"\nproof = \"{digest}\"\n\n[[archive]]\nsuite = \"trixie\"\nmirror = \"debian\"\ndate = \"2026-09-12T07:55:41Z\"\ninrelease = \"{digest}\"\nsigner = \"{}\"\n\n[[archive.indices]]\npath = \"main/binary-amd64/Packages.xz\"\nsize = 7\nsha256 = \"{digest}\"\n\n[[package]]\nname = \"a\"\nversion = \"1.0-2\"\narchitecture = \"amd64\"\nsets = [\"root\"]\nsuite = \"trixie\"\ncomponent = \"main\"\npath = \"pool/a_1.0-2_amd64.deb\"\nsize = 7\nsha256 = \"{digest}\"\nsource = \"a\"\nsource_version = \"1.0-2\"\n",
        "A".repeat(40)
    );
    vec![("one-package", Lock::parse(&text).unwrap().encode().unwrap().into_bytes())]
}

/// Round trip: read a proof, write it, and read it again; both proofs are equal. Four bytes of zstd may decode to a run of 128 KiB.
fn lock_proof(input: &[u8]) {
    let most = Most { factor: 1 << 18, constant: 1 << 20 };
    let Ok(proof) = frugal(most, input.len(), || Proof::decode(input)) else { return };
    assert_eq!(Proof::decode(&proof.encode().unwrap()).unwrap(), proof);
}

fn lock_proof_seeds() -> Vec<Seed> {
    let proof = Proof {
        version: 1,
        releases: BTreeMap::from([("trixie".into(), RELEASE.into())]),
        stanzas: BTreeMap::from([("a".into(), stanza("a", "1", ""))]),
    };
    let plain = zstd::bulk::compress(br#"{"version":1,"releases":{},"stanzas":{}}"#, -5).unwrap();
    vec![("one-package", proof.encode().unwrap()), ("empty", plain)]
}
