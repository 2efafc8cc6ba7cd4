//! Operators, the roster, and the one thing about SSH that is not inert.

use super::operator_keys::{self, Flaw};
use super::{Invariant, control_planes, must, path, repeated, should};
use kubedos_wire::node::OperatorRole;

/// What to write instead of a key that others hold too.
const OWN_KEY: &str = "make a key pair on the operator's machine and write its public half: (umask 077; wg genkey | tee operator.key | wg pubkey)";

const OPERATORS: &str = "spec.security.operators";

pub(super) const RULES: &[Invariant] = &[
    must("no-password-login", "Nobody logs in by password.", &["spec.security.ssh.passwordAuth"], |s, f| {
        if s.security.ssh.password_auth {
            f.at(
                &path!["spec", "security", "ssh", "passwordAuth"],
                "login by password is refused",
                "write false, or remove the section: a node has no SSH at all",
            );
        }
    }),
    should(
        "ssh-is-inert",
        "Nothing about SSH is expected to have an effect.",
        &["spec.security.ssh.allowUsers"],
        |s, f| {
            if !s.security.ssh.allow_users.is_empty() {
                f.at(
                    &path!["spec", "security", "ssh", "allowUsers"],
                    "these users can log in nowhere: a node has no SSH",
                    "people who run the cluster are declared in security.operators",
                );
            }
        },
    ),
    must("unique-operators", "No two operators have the same name or the same key.", &[OPERATORS], |s, f| {
        let operators = || s.security.operators.iter();
        let path = |operator: usize, key: &str| path!["spec", "security", "operators", operator, key];
        for (again, first) in repeated(operators().map(|operator| &operator.name).enumerate()) {
            let help = "give each operator a name of its own";
            f.again(&path(again, "name"), &path(first, "name"), "a second operator has this name", help);
        }
        for (again, first) in repeated(operators().map(|operator| operator.wireguard_key).enumerate()) {
            let help = "each operator's machine has a key pair of its own: `wg genkey` makes one";
            let (at, first) = (path(again, "wireguardKey"), path(first, "wireguardKey"));
            f.again(&at, &first, "a second operator has this key", help);
        }
    }),
    must(
        "published-operator-key",
        "No operator's key is a published one: of documentation, of a standard, or of the demo operator. The demo operator is for specs that are built with the demo keys.",
        &[OPERATORS],
        |s, f| {
            for (index, operator) in s.security.operators.iter().enumerate() {
                let place = match operator_keys::flaw(&operator.wireguard_key) {
                    Some(Flaw::Demo) if f.demo_keys => continue,
                    Some(Flaw::Demo) => "the examples of this project, and RFC 7748 (Alice)",
                    Some(Flaw::Published(place)) => place,
                    _ => continue,
                };
                let message = format!(
                    "the key of operator {} is published, in {place}: whoever reads that can be this operator",
                    operator.name
                );
                f.at(&path!["spec", "security", "operators", index, "wireguardKey"], message, OWN_KEY);
            }
        },
    ),
    must(
        "weak-operator-key",
        "No operator's key is a point of small order, a pattern, or the key of a private key that is easily guessed.",
        &[OPERATORS],
        |s, f| {
            for (index, operator) in s.security.operators.iter().enumerate() {
                let why = match operator_keys::flaw(&operator.wireguard_key) {
                    Some(Flaw::Weak(why)) => format!("is {why}"),
                    Some(Flaw::Guessable(what)) => {
                        format!("has a private key that is easily guessed: {what}")
                    }
                    _ => continue,
                };
                let message = format!("the key of operator {} {why}", operator.name);
                f.at(&path!["spec", "security", "operators", index, "wireguardKey"], message, OWN_KEY);
            }
        },
    ),
    must(
        "published-fingerprint",
        "The root certificate is not a published one. That of the demo keys is for specs that are built with them.",
        &["spec.security.bootstrap.caFingerprint"],
        |s, f| {
            let Some(given) = &s.security.bootstrap.ca_fingerprint else { return };
            let digits = given.as_str().trim_start_matches("sha256:");
            let known = operator_keys::FINGERPRINTS.iter().find(|(known, _)| *known == digits);
            if let Some((_, what)) = known.filter(|(_, what)| !(f.demo_keys && what.ends_with("demo keys"))) {
                f.at(
                    &path!["spec", "security", "bootstrap", "caFingerprint"],
                    format!("this is {what}, not the root certificate of a cluster of yours"),
                    "write what `kubedos-build keys show` prints for your own keys, or leave it out",
                );
            }
        },
    ),
    should("operator-admin", "There is an operator of role admin.", &[OPERATORS], |s, f| {
        if !s.security.operators.iter().any(|operator| operator.role == OperatorRole::Admin) {
            f.at(
                &path!["spec", "security", "operators"],
                "no operator has the role admin: nobody can change the cluster or revoke a node",
                "give one the role admin",
            );
        }
    }),
    must(
        "roster-threshold",
        "The roster's threshold is a majority of the control planes, and not more than there are.",
        &["spec.security.roster.threshold", "spec.nodes.inventory[].role"],
        |s, f| {
            let (count, Some(threshold)) = (control_planes(s), s.security.roster.threshold) else { return };
            let threshold = usize::from(threshold);
            if threshold > count || threshold * 2 <= count {
                let message = match threshold > count {
                    true => format!("{threshold} control planes can never sign: there are {count}"),
                    false => format!(
                        "{threshold} of {count} control planes is no majority: two halves could disagree"
                    ),
                };
                let help = match count / 2 + 1 {
                    least if least < count => {
                        format!("write a number from {least} to {count}, or leave it out")
                    }
                    least => format!("write {least}, or leave it out"),
                };
                f.at(&path!["spec", "security", "roster", "threshold"], message, help);
            }
        },
    ),
];
