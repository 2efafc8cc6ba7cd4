//! Operators, the roster, and the one thing about SSH that is not inert.

use super::{Invariant, control_planes, must, path, repeated, should};
use crate::node::OperatorRole;

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
