//! T6: the documented baseline matches the image, and the image contains no undocumented parameter.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use kubedos_builder::compose::data::{OVERLAY, cmdline};

const DOCUMENT: &str = include_str!("../../docs/hardening.md");

fn parameters() -> BTreeMap<String, String> {
    let (_, text) = OVERLAY.iter().find(|(path, _)| *path == "usr/lib/sysctl.d/50-kubedos.conf").unwrap();
    let lines = std::str::from_utf8(text).unwrap().lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parameters: Vec<(String, String)> = lines
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, value)| (name.trim().trim_start_matches('-').to_owned(), value.trim().to_owned()))
        .collect();
    let unique: BTreeMap<_, _> = parameters.iter().cloned().collect();
    assert_eq!(unique.len(), parameters.len(), "a parameter is set twice");
    unique
}

/// The rows of the tables: all names in backquotes in the first column, with the second column.
fn documented() -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for line in DOCUMENT.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        for name in cells[0].split('`').skip(1).step_by(2) {
            rows.insert(name.to_owned(), cells[1].trim_matches('`').replace("\\|", "|"));
        }
    }
    rows
}

#[test]
fn every_kernel_parameter_is_documented_with_its_value() {
    let documented = documented();
    let parameters = parameters();
    assert!(parameters.len() > 40, "{parameters:?}");
    for (name, value) in &parameters {
        assert_eq!(documented.get(name), Some(value), "{name}");
    }
    for name in documented.keys().filter(|name| name.contains('.') && !name.contains('=')) {
        assert!(parameters.contains_key(name), "{name} is documented but not set");
    }
}

#[test]
fn every_word_of_the_command_line_is_documented() {
    let documented = documented();
    let cmdline = cmdline();
    for word in cmdline.split(' ') {
        assert!(documented.contains_key(word), "{word}");
    }
    for word in documented.keys().filter(|name| name.contains('=')) {
        assert!(
            cmdline.split(' ').any(|have| have == word),
            "{word} is documented but not on the command line"
        );
    }
    // The kernel accepts at most 2048 bytes on x86 (COMMAND_LINE_SIZE), and stage 1 compares bytes, not characters.
    assert!(cmdline.len() < 1024 && cmdline.is_ascii() && !cmdline.contains("  "));
}
