//! The roster: every state with an attacker who holds one of three control planes.
#![allow(clippy::unwrap_used)]

use kubedos_protocol_model::checker::search;
use kubedos_protocol_model::roster::{Roster, Without};
use kubedos_wire::membership::{Check, Condition};

/// Enrolment, revocation and replacement.
fn members() -> Roster {
    Roster { epochs: 3, ..Roster::default() }
}

/// A node that was off, with and without its STATE.
fn quarantine() -> Roster {
    Roster { epochs: 3, restarts: 1, observer_loses: true, until_revoked: true, ..Roster::default() }
}

/// A lost disk, and new authority sets.
fn authority() -> Roster {
    Roster { epochs: 3, disks: 1, sets: 1, until_revoked: true, ..Roster::default() }
}

fn holds(name: &str, model: &Roster) {
    let report = search(model);
    println!(
        "{name}: {} states, {} steps, depth {}, {} good",
        report.states, report.steps, report.depth, report.good
    );
    assert!(report.violation.is_none(), "{}", report.violation.unwrap().text());
    assert!(report.stuck.is_none(), "{}", report.stuck.unwrap().text());
    assert!(report.good > 0);
}

fn finds(name: &str, reason: &str, mutant: &Roster) {
    let trace = search(mutant).violation.unwrap();
    println!("{name}: {}", trace.text());
    assert_eq!(trace.reason, reason);
}

#[test]
fn one_control_plane_neither_adds_nor_takes_back() {
    holds("members", &members());
}

#[test]
fn a_node_that_was_off_gets_what_an_honest_control_plane_knows() {
    holds("quarantine", &quarantine());
}

#[test]
fn a_new_authority_set_takes_nothing_back() {
    holds("authority", &Roster { disks: 0, ..authority() });
}

#[test]
#[ignore = "takes minutes; for `make drill`"]
fn a_lost_disk_and_a_new_authority_set_take_nothing_back() {
    holds("authority, lost disk", &authority());
}

#[test]
#[ignore = "takes minutes; for `make drill`"]
fn a_node_that_was_off_while_a_node_was_replaced() {
    holds("quarantine, replacement", &Roster { until_revoked: false, ..quarantine() });
}

#[test]
#[ignore = "takes minutes; for `make drill`"]
fn members_with_expiry_and_a_lost_state() {
    holds("members, expiry, lost STATE", &Roster { expiry: true, worker_loses: true, ..members() });
}

#[test]
fn threshold_one() {
    let without = Some(Without::OneSignature);
    finds("threshold_one", "the attacker added a member", &Roster { without, ..members() });
}

#[test]
fn without_evidence() {
    let without = Some(Without::Check(Check::Evidence));
    finds("without_evidence", "the attacker added a member", &Roster { without, ..members() });
}

#[test]
fn without_arming() {
    let without = Some(Without::Check(Check::Armed));
    finds("without_arming", "a node became a member before it was armed", &Roster { without, ..members() });
}

#[test]
fn hmac_voucher() {
    let without = Some(Without::SecretVoucher);
    finds("hmac_voucher", "the attacker added a member", &Roster { without, ..members() });
}

#[test]
fn signer_forgets() {
    let without = Some(Without::Check(Check::Order));
    let reason = "a root was signed without a revocation that every control plane knew";
    finds("signer_forgets", reason, &Roster { without, ..members() });
}

#[test]
fn node_forgets() {
    let without = Some(Without::Condition(Condition::Order));
    finds("node_forgets", "a control plane took a record back", &Roster { without, ..members() });
}

#[test]
fn lower_epoch() {
    let without = Some(Without::Condition(Condition::Epoch));
    finds("lower_epoch", "the observer accepted a lower epoch", &Roster { without, ..members() });
}

#[test]
fn old_authority_set() {
    let without = Some(Without::AuthorityNumber);
    finds(
        "old_authority_set",
        "the observer accepted a root of a replaced authority set",
        &Roster { without, ..authority() },
    );
}

#[test]
fn one_proof() {
    let without = Some(Without::ProofThreshold);
    finds(
        "one_proof",
        "the observer left quarantine with an old roster",
        &Roster { without, ..quarantine() },
    );
}

#[test]
fn without_nonce() {
    let without = Some(Without::Nonce);
    finds(
        "without_nonce",
        "the observer left quarantine with an old roster",
        &Roster { without, ..quarantine() },
    );
}

#[test]
fn signer_without_memory() {
    let without = Some(Without::Memory);
    let model = Roster { disks: 1, restarts: 1, ..quarantine() };
    finds(
        "signer_without_memory",
        "a root was signed without a revocation that every control plane knew",
        &Roster { without, ..model },
    );
}

#[test]
fn revoke_without_order() {
    let without = Some(Without::RevocationOrder);
    finds("revoke_without_order", "a node was revoked without an order", &Roster { without, ..members() });
}
