//! Tests of the lookup in the store, and the compiler folder that the tests of the submodules share. `tests/tests/reproducible/` runs the
//! real build twice and compares the programs.

use super::*;
use crate::store::Store;

/// Owns the values that [`Means`] borrows.
pub(super) struct Owned {
    target_dir: PathBuf,
    toolchain: Toolbox,
}

impl Owned {
    pub(super) fn borrowed(&self) -> Means<'_> {
        Means {
            target_dir: &self.target_dir,
            offline: true,
            toolchain: &self.toolchain,
            program: Path::new("/bin/kubedos-build"),
        }
    }
}

pub(super) fn compiler() -> (tempfile::TempDir, compiler::Folder, Owned) {
    let folder = tempfile::tempdir().unwrap();
    let owned = Owned {
        target_dir: folder.path().join("target"),
        toolchain: Toolbox::unpacked(&folder.path().join("tree"), SET),
    };
    let made = compiler::Folder::make(&owned.borrowed(), &CacheKeyBuilder::new("test", 1).finish()).unwrap();
    (folder, made, owned)
}

#[test]
fn creating_the_compiler_folder_twice_leaves_one_set_of_links() {
    let (_folder, made, owned) = compiler();
    compiler::Folder::make(&owned.borrowed(), &CacheKeyBuilder::new("test", 1).finish()).unwrap();
    assert_eq!(fs::read_link(made.clang()).unwrap(), Path::new("/bin/kubedos-build"));
    assert_eq!(fs::read_link(made.tree()).unwrap(), owned.toolchain.root());
    assert_eq!(fs::read_dir(made.clang().parent().unwrap()).unwrap().count(), 3);
}

#[test]
fn a_path_of_the_host_in_the_binary_is_found() {
    let bytes = b"xx/home/me/kubedos/init/src/lib.rsyy";
    assert!(contains_path(bytes, Path::new("/home/me/kubedos")));
    assert!(!contains_path(bytes, Path::new("/home/you/kubedos")));
    assert!(!contains_path(bytes, Path::new("/")) && !contains_path(bytes, Path::new("/src")));
}

#[test]
fn a_damaged_stored_binary_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().to_owned());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let recipe = Recipe::read(workspace, &[]).unwrap();
    assert_eq!(recipe.kept(&store).unwrap(), None);
    let place = store
        .insert::<InitBuildError>(KIND, &recipe.inputs.key(), |folder| {
            fs::write(folder.join(STAGE1), b"stage 1").unwrap();
            fs::write(folder.join(AGENT), b"agent").unwrap();
            Ok(())
        })
        .unwrap();
    let kept = recipe.kept(&store).unwrap().unwrap();
    assert_eq!((kept.stage1.as_ref(), kept.agent.as_ref()), (b"stage 1".as_slice(), b"agent".as_slice()));
    fs::write(place.join(AGENT), b"agenz").unwrap();
    assert_eq!(recipe.kept(&store).unwrap(), None);
}
