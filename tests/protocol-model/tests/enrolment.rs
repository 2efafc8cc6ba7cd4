//! Enrolment: every state of three honest control planes, a worker that loses STATE, and an etcd that loses its entry.
#![allow(clippy::unwrap_used)]

use kubedos_protocol_model::checker::search;
use kubedos_protocol_model::enrolment::Enrolment;

#[test]
fn a_voucher_makes_one_member() {
    let report = search(&Enrolment { restores: 2, ..Enrolment::default() });
    println!(
        "enrolment: {} states, {} steps, depth {}, {} good",
        report.states, report.steps, report.depth, report.good
    );
    assert!(report.violation.is_none(), "{}", report.violation.unwrap().text());
    assert!(report.stuck.is_none(), "{}", report.stuck.unwrap().text());
    assert!(report.good > 0);
}

/// Signers that do not remember which request they have signed: etcd loses the entry, and the voucher is used again.
#[test]
fn a_voucher_is_used_again_after_a_restored_snapshot() {
    let mutant = Enrolment { forgets_request: true, restores: 1 };
    let trace = search(&mutant).violation.unwrap();
    println!("{}", trace.text());
    assert_eq!(trace.reason, "two members by one voucher");
}
