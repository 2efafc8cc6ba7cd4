//! A8: the committed lock is consistent: it fits the selection, its signatures verify with the committed keys, and every entry matches its
//! stanza. The test needs no network; the remaining link, from the stanza to the index, is checked by `kubedos-build lock --verify`.

use std::path::Path;

use kubedos_debian::lock::{Lock, proof_path};
use kubedos_debian::release::Release;
use kubedos_debian::release::date::Moment;
use kubedos_debian::release::keyring::Keyring;
use kubedos_debian::resolve::selection::Selection;

#[test]
fn the_committed_lock_fits_its_selection_its_proof_and_the_keys() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = project.join("kubedos.lock");
    let (lock, proof) = Lock::read(&path).unwrap();
    assert_eq!(lock.encode().unwrap(), std::fs::read_to_string(&path).unwrap(), "canonical form");
    let selection = Selection::read(&project.join("rootfs/packages.toml")).unwrap();
    let difference = lock.check_against(&proof, &selection).unwrap();
    assert!(difference.is_empty(), "run `kubedos-build lock --update`:\n{difference}");
    let keyring = Keyring::read(&project.join("rootfs/keyrings")).unwrap();
    for archive in &lock.archives {
        let suite = selection.archives.iter().find(|suite| suite.suite == archive.suite).unwrap();
        let text = &proof.releases[&archive.suite];
        let release = Release::verify(text, &archive.suite, &keyring, &suite.keys, Moment::now()).unwrap();
        assert_eq!(
            (release.sha256, release.date, &release.signer),
            (archive.inrelease, archive.date, &archive.signer)
        );
        for index in &archive.indices {
            assert_eq!(release.indices[&index.path], (index.sha256, index.size));
        }
        // The signature covers every byte of the text.
        let changed = text.replacen("Codename", "codename", 1);
        Release::verify(&changed, &archive.suite, &keyring, &suite.keys, Moment::now()).unwrap_err();
    }
    assert!(proof_path(&path).exists());
}

/// The host selects the mirrors, so committed files must not name one.
#[test]
fn no_committed_file_contains_a_mirror() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for file in ["kubedos.lock", "rootfs/packages.toml"] {
        let text = std::fs::read_to_string(project.join(file)).unwrap();
        assert!(!text.contains("://"), "{file} contains a URL");
    }
}
