//! Creates another version of a package that differs in one letter of one file.

use std::fs;
use std::io::{Read, Write};

use kubedos_debian::cache::Cache;
use kubedos_debian::digest::Sha256;
use kubedos_debian::lock::Lock;

use kubedos_tests::Pins;

/// Changes a letter in a text file of a package, puts the changed package into a cache, and returns a lock that pins it. The lock has no
/// proof for this package, so `kubedos-build` refuses it; the library builds with it.
pub fn change(cache: &Cache, name: &str, path: &str) -> Lock {
    let mut lock = Pins::get().lock().clone();
    let package = lock.packages.iter_mut().find(|package| package.name == name).unwrap();
    let bytes = Pins::get().cache().open(&package.pin()).unwrap().bytes().unwrap();
    let changed = with_changed_letter(&bytes, path);
    (package.sha256, package.size) = (Sha256::of(&changed), u64::try_from(changed.len()).unwrap());
    let place = cache.path(&package.sha256);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, changed).unwrap();
    lock
}

/// The package (deb(5)) with an uncompressed data archive in which one letter is changed.
fn with_changed_letter(deb: &[u8], path: &str) -> Vec<u8> {
    let (magic, mut rest) = deb.split_at(8);
    let mut out = magic.to_vec();
    while let Some((header, after)) = rest.split_at_checked(60) {
        let field =
            |range: std::ops::Range<usize>| str::from_utf8(&header[range]).unwrap().trim_end().to_owned();
        let (name, length) = (field(0..16), field(48..58).parse::<usize>().unwrap());
        let member = &after[..length];
        rest = after.get(length.next_multiple_of(2)..).unwrap_or_default();
        let (name, content) = match name.trim_end_matches('/') {
            "data.tar.xz" => ("data.tar".to_owned(), changed_archive(member, path)),
            other => (other.to_owned(), member.to_vec()),
        };
        writeln!(out, "{name:<16}{:<32}{:<10}`", field(16..48), content.len()).unwrap();
        out.extend(&content);
        if content.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

/// The unpacked archive, with the first lower-case letter of a file changed to upper case. The checksum of a tar header does not cover the
/// file's content.
fn changed_archive(packed: &[u8], path: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    liblzma::read::XzDecoder::new_multi_decoder(packed).read_to_end(&mut archive).unwrap();
    let name = [b"./", path.as_bytes(), b"\0"].concat();
    let header = archive.chunks(512).position(|block| block.starts_with(&name)).unwrap();
    let content = &mut archive[(header + 1) * 512..];
    content.iter_mut().find(|byte| byte.is_ascii_lowercase()).unwrap().make_ascii_uppercase();
    archive
}
