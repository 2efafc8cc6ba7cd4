//! Tests of the cache: damaged files, home folders that are not writable, and replaced files.

use super::*;

fn put(cache: &Cache, name: &str, bytes: &[u8]) -> Pin {
    let pin = Pin { name: name.to_owned(), size: bytes.len() as u64, sha256: Sha256::of(bytes) };
    let partial = cache.partial(&pin.sha256);
    fs::write(&partial, bytes).unwrap();
    cache.adopt(&File::open(&partial).unwrap(), &partial, &pin).unwrap();
    pin
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn open_returns_adopted_bytes_and_reports_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let pin = put(&cache, "a 1", b"hello");
    assert_eq!(cache.open(&pin).unwrap().bytes().unwrap(), b"hello");
    assert!(cache.path(&pin.sha256).starts_with(folder.path().join("sha256/2c")));
    let other = Pin { sha256: Sha256::of(b"x"), ..pin.clone() };
    assert!(matches!(cache.open(&other), Err(CacheError::Missing { name }) if name == "a 1"));
    let (one, two) = (cache.open(&pin).unwrap(), cache.open(&pin).unwrap());
    let mut first = [0; 2];
    one.reader().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(one.bytes().unwrap(), two.bytes().unwrap(), "each reader has its own position");
}

#[test]
fn a_changed_truncated_or_longer_file_is_reported_as_damaged() {
    for damage in [b"hellO".as_slice(), b"hell", b"hello!", b""] {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path()).unwrap();
        let pin = put(&cache, "libc6 2.41", b"hello");
        overwrite(&cache.path(&pin.sha256), damage);
        for cache in [cache, Cache::at(folder.path()).unwrap()] {
            let error = cache.open(&pin).unwrap_err();
            assert!(matches!(&error, CacheError::Damaged { name, .. } if name == "libc6 2.41"), "{error}");
        }
    }
}

#[test]
fn a_checked_file_is_checked_again_after_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let pin = put(&cache, "a", b"hello");
    cache.open(&pin).unwrap();
    let path = cache.path(&pin.sha256);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    overwrite(&path, b"jello");
    File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    assert!(cache.open(&pin).is_err(), "same size and modification time, but other bytes");
}

#[test]
fn an_open_file_keeps_its_checked_bytes_after_a_rename_over_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    let pin = put(&cache, "a", b"hello");
    let verified = cache.open(&pin).unwrap();
    let path = cache.path(&pin.sha256);
    fs::write(folder.path().join("evil"), b"jello").unwrap();
    fs::rename(folder.path().join("evil"), &path).unwrap();
    assert_eq!(verified.bytes().unwrap(), b"hello");
}

#[test]
fn an_explicit_folder_has_no_fallback_and_an_unwritable_home_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), b"").unwrap();
    let place = Place { fallback: at("fallback"), home: Some(at("home")), ..Place::default() };
    assert_eq!(place.open().unwrap().root(), at("home/.cache/kubedos"));
    let with_xdg = Place { xdg: Some(at("xdg")), ..place.clone() };
    assert_eq!(with_xdg.open().unwrap().root(), at("xdg/kubedos"));
    let explicit = Place { variable: Some(at("variable")), ..with_xdg };
    assert_eq!(explicit.open().unwrap().root(), at("variable"));
    assert_eq!(Place { option: Some(at("option")), ..explicit }.open().unwrap().root(), at("option"));
    // A regular file in place of the folder makes the open fail even for root.
    let broken = Place { home: Some(at("file")), ..place };
    assert_eq!(broken.open().unwrap().root(), at("fallback"));
    let error = Place { fallback: at("file/x"), ..broken.clone() }.open().unwrap_err();
    assert!(matches!(error, CacheError::NoPlace { .. }), "{error}");
    assert!(
        Place { option: Some(at("file/x")), ..broken }.open().is_err(),
        "an explicit folder has no fallback"
    );
}
