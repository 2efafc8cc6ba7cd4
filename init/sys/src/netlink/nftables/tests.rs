//! What is written is read back, on data and with this kernel.

use super::*;

fn rule(expressions: Vec<Expression>, comment: &str) -> Rule {
    Rule { expressions, comment: comment.to_owned() }
}

fn device(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// One rule for each kind of expression.
fn table() -> Table {
    let counter = || Expression::Counter("input.one".into());
    let rules = vec![
        rule(
            vec![
                Expression::Meta(Key::InputDevice),
                Expression::Compare(Comparison::NotEqual, device("wg1")),
                Expression::Meta(Key::Family),
                Expression::Compare(Comparison::Equal, vec![2]),
                Expression::Payload { base: Base::Network, offset: 12, length: 4 },
                Expression::Mask(vec![255, 255, 255, 0]),
                Expression::Compare(Comparison::Equal, vec![10, 101, 0, 0]),
                counter(),
                Expression::Drop,
            ],
            "anti-spoofing",
        ),
        rule(
            vec![
                Expression::ConnectionState,
                Expression::Mask(6_u32.to_ne_bytes().to_vec()),
                Expression::Compare(Comparison::NotEqual, vec![0; 4]),
                counter(),
                Expression::Accept,
            ],
            "",
        ),
        rule(
            vec![
                Expression::Meta(Key::Protocol),
                Expression::Compare(Comparison::Equal, vec![17]),
                Expression::Payload { base: Base::Transport, offset: 2, length: 2 },
                Expression::Range(vec![0xca, 0x6c], vec![0xca, 0x6e]),
                Expression::Limit { rate: 200, burst: 400 },
                Expression::Counter("input.two".into()),
                Expression::Accept,
            ],
            "a comment with \"quotes\"",
        ),
    ];
    let chain =
        |name: &str, hook, accept, rules| Chain { name: name.into(), hook, priority: 0, accept, rules };
    Table {
        name: "kubedos".into(),
        chains: vec![
            chain("input", 1, false, rules),
            chain("forward", 2, false, vec![]),
            chain("output", 3, true, vec![]),
        ],
    }
}

#[test]
fn rules_and_chains_are_read_as_they_were_written() {
    for chain in table().chains {
        let mut message = Writer::default();
        write_chain(&mut message, &chain);
        let read = read_chain(Attributes(&message.0)).unwrap();
        assert_eq!(read, Chain { rules: vec![], ..chain.clone() });
        for rule in chain.rules {
            let mut message = Writer::default();
            write_rule(&mut message, "input", &rule).unwrap();
            assert_eq!(read_rule(Attributes(&message.0)), Ok(rule));
        }
    }
}

#[test]
fn each_counter_is_created_once() {
    assert_eq!(table().counters().collect::<Vec<_>>(), ["input.one", "input.two"]);
}

/// A rule that differs in one value never equals the desired one.
#[test]
fn other_values_are_foreign() {
    let element = |name: &str, fill: fn(&mut Writer)| {
        let mut element = Writer::default();
        element.text(1, name).nest(2, fill);
        Expression::read(Attributes(&element.0)).unwrap()
    };
    let foreign = |name: &str| Expression::Foreign(name.to_owned());
    assert_eq!(
        element("limit", |data| {
            data.be64(1, 1).be64(2, 60).be32(3, 5);
        }),
        foreign("limit"),
        "per minute"
    );
    assert_eq!(
        element("limit", |data| {
            data.be64(1, 1).be64(2, 1).be32(3, 5).be32(5, 1);
        }),
        foreign("limit"),
        "over"
    );
    assert_eq!(
        element("meta", |data| {
            data.be32(1, 2).be32(2, 6);
        }),
        foreign("meta"),
        "another register"
    );
    assert_eq!(
        element("meta", |data| {
            data.be32(3, 1).be32(2, 3);
        }),
        foreign("meta"),
        "sets a mark"
    );
    assert_eq!(
        element("ct", |data| {
            data.be32(1, 1).be32(2, 0).u8(3, 0);
        }),
        foreign("ct"),
        "one direction"
    );
    assert_eq!(
        element("objref", |data| {
            data.be32(1, 2).text(2, "q");
        }),
        foreign("objref"),
        "a quota"
    );
    assert_eq!(
        element("lookup", |data| {
            data.text(1, "set");
        }),
        foreign("lookup")
    );
    let jump = element("immediate", |data| {
        data.be32(1, 0).nest(2, |data| {
            data.nest(2, |verdict| {
                verdict.be32(1, 0xffff_fffd).text(2, "elsewhere");
            });
        });
    });
    assert_eq!(jump, foreign("immediate"));
}

#[test]
fn a_comment_that_is_too_long_is_refused() {
    let long = rule(vec![], &"x".repeat(128));
    assert!(write_rule(&mut Writer::default(), "input", &long).is_err());
}

#[test]
fn cut_user_data_has_no_comment() {
    assert_eq!(read_comment(&[0, 5, b'a', 0]), None);
    assert_eq!(read_comment(&[7, 1, 9, 0, 2, b'a', 0]), Some("a".into()));
    assert_eq!(read_comment(&[]), None);
}
