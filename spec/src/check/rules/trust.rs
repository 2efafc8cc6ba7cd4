//! Operators, the roster, and the one thing about SSH that is not inert.

use super::{Invariant, control_planes, must, path, repeated, should};
use crate::node::OperatorRole;

const OPERATORS: &str = "spec.security.operators";

pub(super) const RULES: &[Invariant] = &[
    must("no-password-login", "Nobody logs in by password.", &["spec.security.ssh.passwordAuth"], |s, f| {
        if s.security.ssh.password_auth {
            f.at(
                &path!["spec", "security", "ssh", "passwordAuth"],
                "password login is refused",
                "write false; a node has no SSH at all",
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
                    "these users cannot log in: a node has no SSH",
                    "operators are declared in security.operators",
                );
            }
        },
    ),
    must("unique-operators", "No two operators have the same name or the same key.", &[OPERATORS], |s, f| {
        for (again, _) in repeated(s.security.operators.iter().map(|operator| &operator.name).enumerate()) {
            f.at(
                &path!["spec", "security", "operators", again, "name"],
                "another operator has this name",
                "give each operator a name of its own",
            );
        }
        for (again, _) in
            repeated(s.security.operators.iter().map(|operator| operator.wireguard_key).enumerate())
        {
            f.at(
                &path!["spec", "security", "operators", again, "wireguardKey"],
                "another operator has this key",
                "each operator's machine has a key of its own",
            );
        }
    }),
    should("operator-admin", "There is an operator of role admin.", &[OPERATORS], |s, f| {
        if !s.security.operators.iter().any(|operator| operator.role == OperatorRole::Admin) {
            f.at(
                &path!["spec", "security", "operators"],
                "no operator may administer the cluster",
                "declare one with the role admin and the public key of their machine",
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
                let message = format!("{threshold} of {count} control planes is no majority of them");
                f.at(
                    &path!["spec", "security", "roster", "threshold"],
                    message,
                    format!("write a number from {} to {count}, or leave it out", count / 2 + 1),
                );
            }
        },
    ),
];
