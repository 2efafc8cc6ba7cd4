//! The reader of specs: for any bytes it terminates, does not panic, and reports printable messages.

use kubedos_spec::check::{self, Raw, Severity};
use kubedos_spec::yaml::{self, Content, Node};
use proptest::prelude::*;
use serde_json::Value;

use crate::{generate, golden};

fn count(node: &Node) -> usize {
    1 + match &node.content {
        Content::List(list) => list.iter().map(count).sum(),
        Content::Map(entries) => entries.iter().map(|entry| count(&entry.value)).sum(),
        _ => 0,
    }
}

/// Checks the properties that are true for any bytes.
fn check_bytes(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (tree, _) = yaml::read(bytes);
    if let Some(tree) = &tree {
        // No alias is followed, so a tree is not larger than its text; each byte can be followed by an empty value.
        prop_assert!(count(tree) <= 2 * bytes.len() + 1);
    }
    let Err(problems) = Raw::new(bytes).validate() else { return Ok(()) };
    prop_assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
    prop_assert!(problems.is_sorted_by_key(|problem| problem.at), "{problems:#?}");
    let source = String::from_utf8_lossy(bytes);
    let lines = source.lines().count();
    for problem in &problems {
        prop_assert!(problem.at.line >= 1 && problem.at.column >= 1, "{problem:?}");
        prop_assert!(problem.at.line as usize <= lines.max(1) + 1, "{problem:?} of {lines} lines");
    }
    let shown = check::render("spec.yaml", &source, &problems, false);
    prop_assert!(!shown.chars().any(|c| c != '\n' && yaml::is_hidden(c)), "{shown:?}");
    Ok(())
}

/// Text that is closer to YAML than random bytes.
fn yaml_like() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "spec",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "|",
        ">",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
        "# ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "? ",
        "~",
        "null",
        "true",
        "0",
        "-1",
        "1e9",
        "0x10",
        "\t",
        "\r\n",
        "\\u0000",
        "é",
        "\u{feff}",
        "\u{202e}",
        "apiVersion: kubedos.ca/v1alpha1\n",
        "kind: Cluster\n",
        "metadata:\n",
    ]);
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

/// JSON documents with 64-bit whole numbers.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äß€]{0,12}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z .:#-]{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    tree.prop_filter("an empty document is reported by a separate rule", |tree| !tree.is_null())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        check_bytes(&bytes)?;
    }

    #[test]
    fn text_like_yaml_is_read_or_refused(text in yaml_like()) {
        check_bytes(text.as_bytes())?;
    }

    #[test]
    fn a_damaged_example_is_read_or_refused(
        at in any::<prop::sample::Index>(),
        patch in prop::collection::vec(any::<u8>(), 0..4),
        cut in 0_usize..40,
    ) {
        let mut bytes = std::fs::read(golden::project("examples/bare-metal.yaml")).unwrap();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, patch);
        check_bytes(&bytes)?;
    }

    #[test]
    fn json_is_read_unchanged(document in documents()) {
        let (tree, problems) = yaml::read(document.to_string().as_bytes());
        prop_assert_eq!(problems, vec![]);
        prop_assert_eq!(tree.unwrap().to_json(), document);
    }

    #[test]
    fn crlf_line_ends_do_not_change_the_result(spec in generate::specs()) {
        let unix = format!("{spec:#}");
        let other = unix.replace('\n', "\r\n");
        let read = |text: &str| yaml::read(text.as_bytes()).0.unwrap().to_json();
        prop_assert_eq!(read(&unix), read(&other));
        prop_assert!(Raw::new(other.as_bytes()).validate().is_ok());
    }
}

#[test]
fn the_cost_of_an_alias_bomb_is_linear_in_its_text() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..60 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    let (tree, problems) = yaml::read(bomb.as_bytes());
    assert!(count(&tree.unwrap()) < bomb.len());
    assert!(problems.iter().all(|problem| problem.rule == "no-alias"));
    assert!(problems.len() <= 20, "only the first ones are reported");
}
