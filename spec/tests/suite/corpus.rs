//! The corpus of bad specs (requirement S1): each file of `tests/bad` is refused with exactly the diagnostics in the `.txt` file
//! next to it, and each file of `tests/warned` is accepted with exactly its warnings.
//!
//! The name of a fixture describes its flaw. A fixture is a base of `tests/base` with one flaw; fixtures named `several_…` have
//! several flaws.
//! Fixtures that are too large to be committed are generated here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use kubedos_spec::allocation::{Allocation, AssignError};
use kubedos_spec::check::{self, Problem, Raw, Severity};

use crate::golden;

/// The minimum number of bad specs.
const LEAST: usize = 120;

/// Fixtures that are generated, because they are larger than all other files of the folder together.
const GENERATED: [(&str, Make); 3] = [
    ("file_too_large", || {
        let line = b"# a comment of sixty-four bytes, again and again and again . . .\n";
        line.iter().copied().cycle().take((16 << 20) + 1).collect()
    }),
    ("too_many_values", || [b"spec: [", "0,".repeat(2_000_001).as_bytes(), b"]\n"].concat()),
    ("deep_nesting_without_end", || vec![b'['; 1 << 20]),
];

type Make = fn() -> Vec<u8>;

/// A spec of the corpus.
pub struct Fixture {
    pub name: String,
    pub bytes: Vec<u8>,
    allocation: Option<String>,
}

/// The specs of a folder, in the order of their names.
pub fn fixtures(kind: &str) -> Vec<Fixture> {
    let mut all: Vec<Fixture> = fs::read_dir(golden::path(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| Fixture {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            bytes: fs::read(&path).unwrap(),
            allocation: fs::read_to_string(path.with_extension("alloc.toml")).ok(),
        })
        .collect();
    if kind == "bad" {
        all.extend(GENERATED.map(|(name, make)| Fixture {
            name: name.into(),
            bytes: make(),
            allocation: None,
        }));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

impl Fixture {
    /// Whether it is valid, and every problem and warning, as `validate` reports them.
    pub fn validate(&self) -> (bool, Vec<Problem>) {
        let validated = match Raw::new(&self.bytes).validate() {
            Ok(validated) => validated,
            Err(problems) => return (false, problems),
        };
        let recorded = match &self.allocation {
            Some(text) => Allocation::parse(text).unwrap(),
            None => Allocation::empty(validated.spec().metadata.name.clone()),
        };
        match validated.plan(&recorded) {
            Err(AssignError::Problems(problems)) => (false, problems),
            plan => {
                plan.unwrap();
                (true, validated.warnings().to_vec())
            }
        }
    }

    fn render(&self, problems: &[Problem]) -> String {
        let source = String::from_utf8_lossy(&self.bytes);
        check::render(&format!("{}.yaml", self.name), &source, problems, false)
    }
}

/// Compares every text with its golden file, and checks that every golden file has a fixture.
fn compare(kind: &str, texts: &BTreeMap<String, String>) {
    let path = |name: &str| golden::path(kind).join(format!("{name}.txt"));
    let differ: Vec<_> = texts.iter().filter(|(name, text)| !golden::equals(&path(name), text)).collect();
    for entry in fs::read_dir(golden::path(kind)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(texts.contains_key(name.split('.').next().unwrap()), "{name} has no fixture");
    }
    let shown: Vec<String> = differ.iter().map(|(name, text)| format!("{name}:\n{text}")).collect();
    assert!(differ.is_empty(), "{} differ from their golden files:\n{}", differ.len(), shown.join("\n"));
}

#[test]
fn every_bad_spec_is_refused_with_its_exact_diagnostics() {
    let all = fixtures("bad");
    assert!(all.len() >= LEAST, "there are only {} bad specs", all.len());
    let mut texts = BTreeMap::new();
    let mut wrong = Vec::new();
    for fixture in &all {
        let (valid, problems) = fixture.validate();
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let several = fixture.name.starts_with("several_");
        if valid || several != (errors > 1) {
            wrong.push(format!("{}: valid: {valid}, {errors} errors", fixture.name));
        }
        let without_hint =
            problems.iter().filter(|problem| problem.help.as_ref().is_none_or(String::is_empty));
        wrong.extend(
            without_hint.map(|problem| format!("{}: no hint for {:?}", fixture.name, problem.message)),
        );
        texts.insert(fixture.name.clone(), fixture.render(&problems));
    }
    compare("bad", &texts);
    assert!(wrong.is_empty(), "each fixture must have one problem for its one flaw:\n{}", wrong.join("\n"));
}

#[test]
fn every_questionable_spec_is_accepted_with_its_exact_warnings() {
    let mut texts = BTreeMap::new();
    for fixture in fixtures("warned") {
        let (valid, problems) = fixture.validate();
        let warnings = problems.iter().filter(|problem| problem.severity == Severity::Warning).count();
        assert!(valid && warnings == problems.len() && warnings > 0, "{}: {problems:#?}", fixture.name);
        texts.insert(fixture.name.clone(), fixture.render(&problems));
    }
    compare("warned", &texts);
}

#[test]
fn every_rule_has_a_fixture_that_violates_it() {
    let violated: BTreeSet<&str> = fixtures("bad")
        .iter()
        .chain(&fixtures("warned"))
        .flat_map(|fixture| fixture.validate().1)
        .map(|problem| problem.rule)
        .collect();
    let rules: BTreeSet<&str> =
        check::all_rules().into_iter().flat_map(|(_, rules)| rules).map(|(id, ..)| id).collect();
    let missing: Vec<_> = rules.difference(&violated).collect();
    assert!(missing.is_empty(), "no fixture violates {missing:?}");
    let unlisted: Vec<_> = violated.difference(&rules).collect();
    assert!(unlisted.is_empty(), "the list of rules does not contain {unlisted:?}");
}

#[test]
fn the_bases_of_the_fixtures_are_valid_without_warnings() {
    for fixture in fixtures("base") {
        let (valid, problems) = fixture.validate();
        assert!(valid && problems.is_empty(), "{}", fixture.render(&problems));
    }
}

#[test]
fn no_diagnostic_contains_terminal_control_characters() {
    for fixture in fixtures("bad") {
        let text = fixture.render(&fixture.validate().1);
        let hidden = |c: char| {
            c != '\n' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        };
        assert_eq!(text.chars().find(|c| hidden(*c)), None, "{}", fixture.name);
    }
}
