//! The records of the membership protocol (`docs/protocol.md`, sections 2 and 4 to 8), one file for each kind.
//!
//! Types that cannot hold an invalid value: a record that was read, and one that was constructed, can be written and is read
//! again as the same value. What a record means, and whether to believe it, is decided elsewhere.

mod enrolment;
mod entry;
mod fresh;
mod hello;
mod key_change;
mod root;

pub use enrolment::EnrolmentRequest;
pub use entry::{
    MAX_GENERATION, MemberKeys, NodeEntry, OperatorEntry, PlaneEntry, RecordKey, RosterRecord, Standing,
};
pub use fresh::FreshnessProof;
pub use hello::{GenesisHello, instance};
pub use key_change::{KeyStep, PlaneKeyChange};
pub use root::{AuthorityRef, Epoch, RosterRoot, SignedRoot};
