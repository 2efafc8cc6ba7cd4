//! Tests of the resolver with small archives.

use std::path::Path;

use super::*;
use crate::digest::Sha256;

fn archive(packages: &[(&str, &str, &str)]) -> Index {
    let mut index = Index::default();
    for (name, version, fields) in packages {
        let digest = Sha256::of(name.as_bytes());
        let text = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 1\nSHA256: {digest}\n{fields}\n"
        );
        index.add(text.trim_end_matches('\n'), "trixie", "main", None).unwrap();
    }
    index
}

fn selection(sets: &[(&str, &[&str])], cuts: &str) -> Selection {
    let mut text = String::from("version = 1\narchitecture = \"amd64\"\narchive = []\n");
    for (name, roots) in sets {
        text += &format!("[set.{name}]\nabout = \"x\"\nroots = {roots:?}\n");
    }
    Selection::parse(&(text + cuts), Path::new("packages.toml")).unwrap()
}

fn names(packages: &[(&str, &str, &str)], roots: &[&str], cuts: &str) -> Result<Vec<String>, ResolveError> {
    Ok(resolve(&selection(&[("s", roots)], cuts), &archive(packages))?.into_keys().collect())
}

#[test]
fn depends_and_pre_depends_are_followed_and_recommends_are_not() {
    let packages = [
        ("a", "1", "Depends: b\nRecommends: r"),
        ("b", "1", "Pre-Depends: c:any\nDepends: a"),
        ("c", "1", ""),
        ("r", "1", ""),
        ("essential", "1", "Essential: yes"),
    ];
    assert_eq!(names(&packages, &["a"], "").unwrap(), ["a", "b", "c"]);
}

#[test]
fn a_chosen_alternative_is_preferred_over_the_first() {
    let packages = [
        ("a", "1", "Depends: x | y"),
        ("b", "1", "Depends: c"),
        ("c", "1", "Depends: y"),
        ("x", "1", ""),
        ("y", "1", ""),
    ];
    assert_eq!(names(&packages, &["a"], "").unwrap(), ["a", "x"]);
    assert_eq!(names(&packages, &["a", "b"], "").unwrap(), ["a", "b", "c", "y"], "y is chosen through c");
    let packages = [("a", "1", "Depends: x (>= 2) | y"), ("x", "1", ""), ("y", "1", "")];
    assert_eq!(names(&packages, &["a"], "").unwrap(), ["a", "y"], "the first does not fit");
}

#[test]
fn a_virtual_package_needs_one_provider_with_a_fitting_version() {
    let packages =
        [("a", "1", "Depends: v (>= 2)"), ("p", "9", "Provides: v (= 2)"), ("q", "9", "Provides: v")];
    assert_eq!(
        names(&packages, &["a"], "").unwrap(),
        ["a", "p"],
        "an unversioned Provides satisfies no version"
    );
    let packages = [("a", "1", "Depends: v"), ("p", "9", "Provides: v (= 2)"), ("q", "9", "Provides: v")];
    assert!(
        matches!(names(&packages, &["a"], ""), Err(ResolveError::Ambiguous { providers, .. }) if providers == "p, q")
    );
    assert_eq!(names(&packages, &["a", "q"], "").unwrap(), ["a", "q"]);
}

#[test]
fn conflicts_and_breaks_are_found() {
    for field in ["Conflicts", "Breaks"] {
        let packages = [("a", "1", &*format!("{field}: b (<< 2)")), ("b", "1", "")];
        assert!(matches!(names(&packages, &["a", "b"], ""), Err(ResolveError::Conflict { .. })), "{field}");
        let packages = [("a", "1", &*format!("{field}: b (<< 2)")), ("b", "2", "")];
        assert!(names(&packages, &["a", "b"], "").is_ok(), "{field}");
    }
    let packages = [("a", "1", "Provides: mta\nConflicts: mta"), ("b", "1", "Provides: mta")];
    assert!(names(&packages, &["a"], "").is_ok(), "a package does not conflict with itself");
    assert!(matches!(names(&packages, &["a", "b"], ""), Err(ResolveError::Conflict { .. })));
}

#[test]
fn a_cut_removes_a_dependency_and_must_have_an_effect() {
    let cut = |name: &str| format!("[[cut]]\npackage = {name:?}\nreason = \"only its scripts\"\n");
    let packages = [
        ("a", "1", "Depends: perl, debconf | debconf-2.0"),
        ("perl", "1", "Depends: more"),
        ("more", "1", ""),
        ("debconf", "1", ""),
        ("cdebconf", "1", "Provides: debconf-2.0"),
    ];
    let both = cut("perl") + &cut("debconf");
    assert_eq!(names(&packages, &["a"], &both).unwrap(), ["a"], "no other alternative replaces the cut one");
    assert_eq!(names(&packages, &["a", "perl"], &cut("debconf")).unwrap(), ["a", "more", "perl"]);
    assert!(matches!(names(&packages, &["a"], &(both + &cut("zip"))), Err(ResolveError::IdleCut { .. })));
}

#[test]
fn a_cut_applies_to_the_sets_that_it_names() {
    let cuts = "[[cut]]\npackage = \"b\"\nsets = [\"one\"]\nreason = \"x\"\n";
    let index = archive(&[("a", "1", "Depends: b"), ("b", "1", "")]);
    let resolution = resolve(&selection(&[("one", &["a"]), ("two", &["a"])], cuts), &index).unwrap();
    assert_eq!(resolution["a"].sets.keys().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(resolution["b"].sets.keys().collect::<Vec<_>>(), ["two"]);
    assert_eq!(resolution["b"].sets["two"], Because::NeededBy("a".to_owned()));
}

#[test]
fn a_missing_package_is_reported() {
    assert!(
        matches!(names(&[], &["a"], ""), Err(ResolveError::UnknownRoot { package, .. }) if package == "a")
    );
    let error = names(&[("a", "1", "Depends: b (>= 2)"), ("b", "1", "")], &["a"], "").unwrap_err();
    assert_eq!(error.to_string(), "set s: a 1 needs b (>= 2), which no candidate satisfies");
}

#[test]
fn the_order_of_roots_does_not_matter() {
    let packages =
        [("a", "1", "Depends: x | y"), ("b", "1", "Depends: y | x"), ("x", "1", ""), ("y", "1", "")];
    assert_eq!(names(&packages, &["a", "b"], "").unwrap(), names(&packages, &["b", "a"], "").unwrap());
}

#[test]
fn a_malformed_selection_is_refused() {
    for (bad, why) in [
        ("version = 2\narchitecture = \"amd64\"\narchive = []\nset = {}\n", "version 2"),
        ("version = 1\narchitecture = \"amd64\"\narchive = []\nset = {}\nmore = 1\n", "malformed"),
        (
            "version = 1\narchitecture = \"amd64\"\narchive = []\n[set.a]\nabout = \"\"\nroots = []\n",
            "set.a.roots is empty",
        ),
        (
            "version = 1\narchitecture = \"amd64\"\narchive = []\nset = {}\n[[cut]]\npackage = \"a\"\nreason = \" \"\n",
            "reason",
        ),
        (
            "version = 1\narchitecture = \"amd64\"\narchive = []\nset = {}\n[[cut]]\npackage = \"a\"\nsets = [\"q\"]\nreason = \"x\"\n",
            "set q",
        ),
    ] {
        let error = Selection::parse(bad, Path::new("p.toml")).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}
