//! Tests of EFI signature lists and authenticated variables.

use super::format::OWNER;
use super::{AuthenticatedVariable, Timestamp, Variable, authenticated, certificates, signature_list};
use crate::pkcs7::{Signer, sample as keys};

const NOW: u64 = 1_790_000_000;

#[test]
fn unix_times_are_converted_to_dates() {
    for (seconds, text) in [
        (883_612_800, "1998-01-01 00:00:00"),
        (951_782_399, "2000-02-28 23:59:59"),
        (951_782_400, "2000-02-29 00:00:00"),
        (1_709_251_199, "2024-02-29 23:59:59"),
        (1_790_000_000, "2026-09-21 14:13:20"),
        (4_107_542_400, "2100-03-01 00:00:00"),
        (253_402_300_799, "9999-12-31 23:59:59"),
    ] {
        let bytes = Timestamp::from_unix(seconds).unwrap().to_bytes();
        let year = u16::from_le_bytes([bytes[0], bytes[1]]);
        let [month, day, hour, minute, second] = bytes[2..7] else { unreachable!() };
        assert_eq!(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"), text);
        assert_eq!(bytes[7..], [0; 9]);
    }
    for seconds in [0, 883_612_799, 253_402_300_800, u64::MAX] {
        assert_eq!(Timestamp::from_unix(seconds), None);
    }
}

#[test]
fn lists_are_read_back() {
    let (pk, db) = (keys::pk(), keys::db());
    let lists = signature_list(OWNER, &[pk.certificate(), db.certificate()]).unwrap();
    assert_eq!(certificates(&lists).unwrap(), [(OWNER, pk.certificate()), (OWNER, db.certificate())]);
    // A list of digests is skipped; a truncated list is refused.
    let mut digests = lists[..28].to_vec();
    digests[0] ^= 1;
    digests[16..28].copy_from_slice(&[76, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0]);
    digests.extend_from_slice(&[1; 48]);
    assert_eq!(certificates(&[digests.clone(), lists.clone()].concat()).unwrap().len(), 2);
    for torn in [&lists[..lists.len() - 1], &lists[..27], &digests[..75]] {
        assert!(certificates(torn).is_err());
    }
    for (at, value) in [(16, 0), (16, 27), (20, 200), (24, 0), (24, 16)] {
        let mut bad = digests.clone();
        bad[at] = value;
        assert!(certificates(&bad).is_err(), "{at} {value}");
    }
}

#[test]
fn the_signature_of_a_variable_covers_its_name_time_and_list() {
    let (pk, kek, db) = (keys::pk(), keys::kek(), keys::db());
    let time = Timestamp::from_unix(NOW).unwrap();
    let list = signature_list(OWNER, &[db.certificate()]).unwrap();
    let auth = authenticated(Variable::Db, time, &list, &kek).unwrap();
    assert_eq!(auth, authenticated(Variable::Db, time, &list, &kek).unwrap(), "deterministic");
    let read = AuthenticatedVariable::parse(&auth).unwrap();
    assert_eq!(read.list, list);
    read.verify(Variable::Db, &[kek.certificate()]).unwrap();
    assert!(read.verify(Variable::Dbx, &[kek.certificate()]).is_err(), "another variable");
    assert!(read.verify(Variable::Db, &[pk.certificate()]).is_err(), "another signer");
    for at in [0, 6, auth.len() - 1, auth.len() - list.len() - 1] {
        let mut flipped = auth.clone();
        flipped[at] ^= 1;
        let refused = AuthenticatedVariable::parse(&flipped)
            .map_or(true, |read| read.verify(Variable::Db, &[kek.certificate()]).is_err());
        assert!(refused, "byte {at}");
    }
    for length in [0, 15, 20, 39, 40, auth.len() - list.len() - 1] {
        assert!(AuthenticatedVariable::parse(&auth[..length]).is_err(), "{length}");
    }
}

/// The writer reproduces the committed demo enrolment files from the committed demo keys.
#[test]
fn the_committed_demo_enrolment_is_reproduced() {
    let (pk, kek, db) = (keys::pk(), keys::kek(), keys::db());
    let time = Timestamp::from_unix(NOW).unwrap();
    type Case<'a> = (Variable, &'a dyn Signer, &'a dyn Signer, &'a [u8]);
    let cases: [Case<'_>; 3] = [
        (Variable::Pk, &pk, &pk, include_bytes!("../../../keys/demo/public/PK.auth")),
        (Variable::Kek, &kek, &pk, include_bytes!("../../../keys/demo/public/KEK.auth")),
        (Variable::Db, &db, &kek, include_bytes!("../../../keys/demo/public/db.auth")),
    ];
    for (variable, subject, signer, committed) in cases {
        let list = signature_list(OWNER, &[subject.certificate()]).unwrap();
        assert!(authenticated(variable, time, &list, signer).unwrap() == committed, "{variable:?}");
    }
}
