//! Our implementation of the JSON Schema agrees with an independent validator (the crate `jsonschema`), for the examples, the
//! corpus, and generated specs, valid and damaged.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use jsonschema::Validator;
use kubedos_spec::check::{Problem, Raw, rule};
use kubedos_spec::{model, yaml};
use kubedos_wire::value;
use proptest::prelude::*;
use serde_json::Value;

use crate::corpus::fixtures;
use crate::{generate, golden};

/// The fixtures that the schema accepts: no regular expression expresses these rules, and JSON Schema accepts 1.0 as a whole
/// number. Our check is stricter only for these.
const BEYOND_THE_SCHEMA: [&str; 17] = [
    "cidr_octet_too_large",
    "cidr_prefix_too_long",
    "cidr_with_host_bits",
    "endpoint_is_loopback",
    "endpoint_with_port",
    "float_without_fraction",
    "host_address_is_broadcast",
    "host_address_is_network",
    "interface_named_all",
    "interface_named_lo",
    "interface_of_digits",
    "plane_named_all",
    "plane_named_default",
    "plane_named_lo",
    "port_range_reversed",
    "port_too_large",
    "wireguard_key_all_zero",
];

/// The independent validator.
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(model::schema()).unwrap());

/// The number of problems of shape, and of single values.
fn of_shape(problems: &[Problem]) -> (usize, usize) {
    let shape = |problem: &&Problem| rule::SHAPE.iter().any(|rule| rule.id == problem.rule);
    let single = |problem: &&Problem| value::KINDS.iter().any(|(rule, _)| rule.id == problem.rule);
    (problems.iter().filter(shape).count(), problems.iter().filter(single).count())
}

fn problems(spec: &Value) -> Vec<Problem> {
    Raw::new(spec.to_string().as_bytes()).validate().err().unwrap_or_default()
}

#[test]
fn the_schema_is_a_valid_schema() {
    assert!(jsonschema::meta::is_valid(model::schema()));
}

#[test]
fn the_schema_accepts_every_example_and_every_base() {
    for folder in [golden::project("examples"), golden::path("base"), golden::path("warned")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let (tree, _) = yaml::read(&fs::read(&path).unwrap());
                let errors: Vec<String> =
                    VALIDATOR.iter_errors(&tree.unwrap().to_json()).map(|error| error.to_string()).collect();
                assert_eq!(errors, [""; 0], "{}", path.display());
            }
        }
    }
}

#[test]
fn the_schema_refuses_every_bad_spec_whose_shape_is_wrong() {
    let mut accepted = BTreeSet::new();
    for fixture in fixtures("bad") {
        let (Some(tree), _) = yaml::read(&fixture.bytes) else { continue };
        let (shape, single) = of_shape(&fixture.validate().1);
        if shape + single > 0 && VALIDATOR.is_valid(&tree.to_json()) {
            accepted.insert(fixture.name);
        }
    }
    assert_eq!(accepted.iter().map(String::as_str).collect::<Vec<_>>(), BEYOND_THE_SCHEMA);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn both_accept_a_generated_spec(spec in generate::specs()) {
        let source = spec.to_string();
        let validated = Raw::new(source.as_bytes()).validate();
        prop_assert!(validated.is_ok(), "{:#?}\n{spec:#}", validated.unwrap_err());
        prop_assert!(VALIDATOR.is_valid(&spec), "{spec:#}");
        // The schema also describes what the types serialize.
        let written = serde_json::to_value(validated.unwrap().spec()).unwrap();
        prop_assert!(VALIDATOR.is_valid(&written), "{written:#}");
        prop_assert_eq!(problems(&written), vec![]);
    }

    #[test]
    fn both_agree_on_a_damaged_spec(spec in generate::damaged_specs()) {
        let (shape, single) = of_shape(&problems(&spec));
        let refused = !VALIDATOR.is_valid(&spec);
        if refused {
            prop_assert!(!problems(&spec).is_empty(), "only the schema refuses {spec:#}");
        }
        if shape > 0 {
            prop_assert!(refused, "only we refuse the shape: {:#?}\n{spec:#}", problems(&spec));
        }
        if single == 0 && shape == 0 && refused {
            // The size of the map of planes is checked by the rule of purposes, and an empty file by the rule empty-file.
            let elsewhere = ["plane-per-purpose", "empty-file"];
            let reported = problems(&spec).iter().any(|problem| elsewhere.contains(&problem.rule));
            prop_assert!(reported, "{:#?}\n{spec:#}", problems(&spec));
        }
    }

    /// The pattern of the schema accepts every text that the constructor accepts, so editors accept every valid text.
    #[test]
    fn no_pattern_is_stricter_than_its_constructor(
        kind in 0..value::KINDS.len(),
        at in any::<prop::sample::Index>(),
        patch in "[ -~]{0,3}",
        cut in 0_usize..3,
    ) {
        let (rule, check) = value::KINDS[kind];
        let mut text = rule.example.to_owned();
        let at = at.index(text.len() + 1);
        text.replace_range(at..(at + cut).min(text.len()), &patch);
        let defs = model::schema()["$defs"].as_object().unwrap();
        // Values that occur only in shards and cluster documents are in no schema.
        let schema = defs.values().find(|schema| schema["x-rule"] == rule.id);
        if let Some(schema) = schema.filter(|_| check(&text).is_ok()) {
            let validator = jsonschema::draft202012::new(schema).unwrap();
            prop_assert!(validator.is_valid(&Value::from(text.clone())), "{}: {text:?}", rule.id);
        }
    }
}
