//! Invariants of operators, the roster, the root certificate, and SSH.

use super::operator_keys::{self, Flaw};
use super::{Invariant, control_planes, must, path, repeated, should};
use kubedos_wire::node::OperatorRole;

/// The hint for a key whose private key is not secret.
const OWN_KEY: &str = "create a key pair on the operator's machine and write its public key: (umask 077; wg genkey | tee operator.key | wg pubkey)";

const OPERATORS: &str = "spec.security.operators";

pub(super) const RULES: &[Invariant] = &[
    must(
        "no-password-login",
        "Password login is not enabled.",
        &["spec.security.ssh.passwordAuth"],
        |s, f| {
            if s.security.ssh.password_auth {
                f.at(
                    &path!["spec", "security", "ssh", "passwordAuth"],
                    "password login must not be enabled",
                    "write false, or remove the section: a node has no SSH at all",
                );
            }
        },
    ),
    should(
        "ssh-is-inert",
        "The spec declares no users for SSH, because they have no effect.",
        &["spec.security.ssh.allowUsers"],
        |s, f| {
            if !s.security.ssh.allow_users.is_empty() {
                f.at(
                    &path!["spec", "security", "ssh", "allowUsers"],
                    "these users cannot log in anywhere: a node has no SSH",
                    "declare the people who administer the cluster in security.operators",
                );
            }
        },
    ),
    must("unique-operators", "No two operators have the same name or the same key.", &[OPERATORS], |s, f| {
        let operators = || s.security.operators.iter();
        let path = |operator: usize, key: &str| path!["spec", "security", "operators", operator, key];
        for (again, first) in repeated(operators().map(|operator| &operator.name).enumerate()) {
            let help = "give each operator its own name";
            f.again(&path(again, "name"), &path(first, "name"), "a second operator has this name", help);
        }
        for (again, first) in repeated(operators().map(|operator| operator.wireguard_key).enumerate()) {
            let help = "each operator's machine needs its own key pair: `wg genkey` creates one";
            let (at, first) = (path(again, "wireguardKey"), path(first, "wireguardKey"));
            f.again(&at, &first, "a second operator has this key", help);
        }
    }),
    must(
        "published-operator-key",
        "No operator's key is published in documentation or in a standard. The key of the demo operator is accepted only in specs that are built with the demo keys.",
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
                    "the key of operator {} is published in {place}: every reader can act as this operator",
                    operator.name
                );
                f.at(&path!["spec", "security", "operators", index, "wireguardKey"], message, OWN_KEY);
            }
        },
    ),
    must(
        "weak-operator-key",
        "No operator's key is a point of small order, a pattern, or derived from a private key that is easy to guess.",
        &[OPERATORS],
        |s, f| {
            for (index, operator) in s.security.operators.iter().enumerate() {
                let why = match operator_keys::flaw(&operator.wireguard_key) {
                    Some(Flaw::Weak(why)) => format!("is {why}"),
                    Some(Flaw::Guessable(what)) => {
                        format!("has a private key that is easy to guess: {what}")
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
        "The root certificate is not a published one. The root certificate of the demo keys is accepted only in specs that are built with these keys.",
        &["spec.security.bootstrap.caFingerprint"],
        |s, f| {
            let Some(given) = &s.security.bootstrap.ca_fingerprint else { return };
            let digits = given.as_str().trim_start_matches("sha256:");
            let known = operator_keys::FINGERPRINTS.iter().find(|(known, _)| *known == digits);
            if let Some((_, what)) = known.filter(|(_, what)| !(f.demo_keys && what.ends_with("demo keys"))) {
                f.at(
                    &path!["spec", "security", "bootstrap", "caFingerprint"],
                    format!("this is {what}, not the root certificate of your own keys"),
                    "write what `kubedos-build keys show` prints for your own keys, or omit it",
                );
            }
        },
    ),
    should("operator-admin", "There is an operator with the role admin.", &[OPERATORS], |s, f| {
        if !s.security.operators.iter().any(|operator| operator.role == OperatorRole::Admin) {
            f.at(
                &path!["spec", "security", "operators"],
                "no operator has the role admin, so the cluster cannot be changed and no node can be revoked",
                "give one operator the role admin",
            );
        }
    }),
    must(
        "roster-threshold",
        "The roster's threshold is a majority of the control planes, and not larger than their number.",
        &["spec.security.roster.threshold", "spec.nodes.inventory[].role"],
        |s, f| {
            let (count, Some(threshold)) = (control_planes(s), s.security.roster.threshold) else { return };
            let threshold = usize::from(threshold);
            if threshold > count || threshold * 2 <= count {
                let message = match threshold > count {
                    true => format!(
                        "the threshold {threshold} cannot be reached: there are only {count} control planes"
                    ),
                    false => format!(
                        "{threshold} of {count} control planes is not a majority: two halves could disagree"
                    ),
                };
                let help = match count / 2 + 1 {
                    least if least < count => {
                        format!("write a number from {least} to {count}, or omit it")
                    }
                    least => format!("write {least}, or omit it"),
                };
                f.at(&path!["spec", "security", "roster", "threshold"], message, help);
            }
        },
    ),
];
