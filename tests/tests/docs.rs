//! The documentation says what is there: every requirement has a row, every link a target (D3), and the sources are Rust (D4).

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows of the requirements, family by family: letter and numbers.
const REQUIREMENTS: [(&str, std::ops::RangeInclusive<u32>); 10] = [
    ("A", 1..=12),
    ("S", 1..=5),
    ("P", 1..=2),
    ("N", 1..=6),
    ("T", 1..=6),
    ("O", 1..=3),
    ("C", 0..=3),
    ("K", 1..=3),
    ("L", 1..=3),
    ("D", 1..=4),
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files that git tracks.
fn tracked() -> Vec<String> {
    let output =
        std::process::Command::new("git").arg("-C").arg(project()).args(["ls-files", "-z"]).output().unwrap();
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect()
}

/// The anchor that a heading gets on the usual forges.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The targets of the inline links of a page.
fn links(page: &str) -> Vec<&str> {
    page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

#[test]
fn every_requirement_has_a_row() {
    let page = fs::read_to_string(project().join("docs/conformance.md")).unwrap();
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()).collect();
    for (family, numbers) in REQUIREMENTS {
        for number in numbers {
            let id = format!("{family}{number}");
            assert!(rows.contains(id.as_str()), "docs/conformance.md has no row for {id}");
        }
    }
}

#[test]
fn every_link_has_a_target() {
    let mut broken = Vec::new();
    for file in tracked().iter().filter(|file| file.ends_with(".md")) {
        let page = fs::read_to_string(project().join(file)).unwrap();
        let folder = Path::new(file).parent().unwrap();
        for link in links(&page).into_iter().filter(|link| !link.contains("://")) {
            let (path, fragment) = link.split_once('#').map_or((link, None), |(path, f)| (path, Some(f)));
            let target =
                if path.is_empty() { project().join(file) } else { project().join(folder).join(path) };
            if !target.exists() {
                broken.push(format!("{file}: {link}: no such file"));
            } else if let Some(fragment) = fragment {
                let text = fs::read_to_string(&target).unwrap();
                let found =
                    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == fragment);
                if !found {
                    broken.push(format!("{file}: {link}: no such heading"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn what_we_write_is_rust() {
    // Data and documents, and what tools demand in their own language.
    let others = ["py", "pl", "rb", "js", "ts", "c", "cc", "cpp", "h", "java", "lua", "sh", "bash"];
    let go_outside_payloads = |file: &str| file.ends_with(".go") && !file.starts_with("payloads/");
    let strangers: Vec<String> = tracked()
        .into_iter()
        .filter(|file| {
            let extension = file.rsplit('.').next().unwrap_or_default();
            others.contains(&extension) || go_outside_payloads(file)
        })
        .collect();
    assert!(strangers.is_empty(), "not Rust: {strangers:?}");
}
