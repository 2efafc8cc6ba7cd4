//! From records and statements to the arguments of the decisions ([`super::judge`], [`super::accept`]).
//!
//! Keys and digests become [`Bytes`]. A name becomes the id that the caller knows for it, from its configuration. Signatures
//! are verified on the way: what a decision must believe, such as a [`Signed`] grant, is made here from bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::records::{
    EnrolmentRequest, GenesisHello, KeyStep as Step, MemberKeys, NodeEntry, PlaneKeyChange, RosterRecord,
    Standing as State,
};
use super::roster::RosterRecords;
use super::signature::{Signable, Signature};
use super::statements::{
    AuthorityStatement, GenesisToken, GrantStatement, SignedGrant, StatementRefusal, open,
};
use super::{
    AuthorityError, AuthoritySet, Content, Context, Grant, Hello, Identity, KeyChange, KeyStep, PlaneKeys,
    Record, Request, Seat, Signed, Standing, Token,
};
use crate::hex32::{ClusterId, InstanceId, PublicKey};
use crate::membership::codec::Encoded;
use crate::membership::keys::SignerKey;
use crate::value::{NodeId, NodeName};

/// A key or a digest, as the decisions of the product see it.
pub type Bytes = [u8; 32];

/// Why an authority set is no argument of a decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityRefusal {
    /// The configuration does not have a member.
    #[error("the authority set names {0}, which the configuration does not have")]
    UnknownNode(NodeName),
    /// The set cannot be used.
    #[error(transparent)]
    Set(#[from] AuthorityError),
}

/// The life of the cluster that a record belongs to.
pub fn context(cluster: ClusterId, lineage: u32, instance: InstanceId) -> Context<Bytes> {
    Context { cluster: *cluster.as_bytes(), lineage, instance: *instance.as_bytes() }
}

impl NodeEntry {
    /// What the protocol decides about.
    pub fn record(&self) -> Record<Bytes> {
        let standing = match &self.standing {
            State::Member(keys) => Standing::Member(keys.identity()),
            State::Revoked => Standing::Revoked,
        };
        Record { role: self.role, incarnation: self.incarnation.get(), standing }
    }
}

impl MemberKeys {
    fn identity(&self) -> Identity<Bytes> {
        let planes = self.planes.get().iter().map(|(plane, entry)| {
            let next = entry.next.map(|next| *next.as_bytes());
            (plane.clone(), PlaneKeys { sequence: entry.sequence, key: *entry.key.as_bytes(), next })
        });
        Identity {
            node_key: *self.node_key.as_bytes(),
            request: *self.request.as_bytes(),
            endpoint: self.endpoint,
            planes: planes.collect(),
        }
    }
}

impl RosterRecords {
    /// What the roster says, with the generation floor of its root.
    pub fn content(&self, generation_floor: u64) -> Content<Bytes> {
        let mut content = Content { generation_floor, ..Content::default() };
        for record in self.iter() {
            match record {
                RosterRecord::Node(entry) => drop(content.nodes.insert(entry.id, entry.record())),
                RosterRecord::Operator(entry) => {
                    content.revoked_operators.insert(*entry.key.as_bytes());
                }
            }
        }
        content
    }
}

impl AuthorityStatement {
    /// The set with ids in place of names.
    ///
    /// # Errors
    /// If `id` does not know a member.
    pub fn set(
        &self,
        id: impl Fn(&NodeName) -> Option<NodeId>,
    ) -> Result<AuthoritySet<Bytes>, AuthorityRefusal> {
        let seat = |member: &super::statements::AuthorityMember| {
            let id = id(&member.node).ok_or_else(|| AuthorityRefusal::UnknownNode(member.node.clone()))?;
            let roster_key = *member.roster_key.as_bytes();
            Ok((id, Seat { incarnation: member.incarnation.get(), roster_key }))
        };
        let seats: Result<BTreeMap<NodeId, Seat<Bytes>>, AuthorityRefusal> =
            self.members.iter().map(seat).collect();
        Ok(AuthoritySet::new(self.number.get(), usize::from(self.threshold), seats?)?)
    }
}

impl GenesisToken {
    /// The token with ids in place of names; `None` if `id` does not know a control plane.
    pub fn token(&self, id: impl Fn(&NodeName) -> Option<NodeId>) -> Option<Token> {
        let named = self.control_planes.iter().map(|named| Some((id(&named.node)?, named.incarnation.get())));
        Some(Token { lineage: self.lineage.get(), control_planes: named.collect::<Option<_>>()? })
    }
}

impl GenesisHello {
    /// The hello for the token of this lineage. The caller has verified the signature of the roster key, and compared the
    /// digest of the token.
    pub fn hello(&self, lineage: u32) -> Hello<Bytes> {
        Hello { lineage, incarnation: self.incarnation.get(), nonce: *self.nonce.as_bytes() }
    }
}

impl SignedGrant {
    /// The grant, with the seed key that has signed it.
    ///
    /// # Errors
    /// If no seed key has signed it, or it is not a grant for this cluster.
    pub fn verify(
        &self,
        seed_keys: &[PublicKey],
        cluster: ClusterId,
    ) -> Result<Signed<Bytes, Grant<Bytes>>, StatementRefusal> {
        let (grant, by) = open::<GrantStatement>(self.as_bytes(), seed_keys, cluster)?;
        let GrantStatement { id, incarnation, role, voucher_key, .. } = grant.body();
        let voucher_key = voucher_key.map(|key| *key.as_bytes());
        let value = Grant { id: *id, incarnation: incarnation.get(), role: *role, voucher_key };
        Ok(Signed { value, by: *by.as_bytes() })
    }
}

impl EnrolmentRequest {
    /// The request. The lineage is the one in which the reader knows the request's instance.
    pub fn request(&self, lineage: u32) -> Request<Bytes> {
        Request {
            context: context(self.cluster_id, lineage, self.instance),
            id: self.id,
            incarnation: self.incarnation.get(),
            node_key: *self.node_key.as_bytes(),
            planes: self.planes.map(|key| *key.as_bytes()).get().clone(),
            digest: *self.digest().as_bytes(),
        }
    }

    /// Those of the keys that have signed the request: of its node key, and of the grant's voucher key.
    pub fn signers(&self, voucher_key: Option<SignerKey>, signatures: &[Signature]) -> BTreeSet<Bytes> {
        let has_signed =
            |key: &SignerKey| signatures.iter().take(2).any(|signature| self.is_signed_by(key, signature));
        let keys = [Some(self.node_key), voucher_key].into_iter().flatten();
        keys.filter(has_signed).map(|key| *key.as_bytes()).collect()
    }
}

impl PlaneKeyChange {
    /// The change, if this key has signed it.
    pub fn verify(
        &self,
        node_key: &SignerKey,
        signature: &Signature,
    ) -> Option<Signed<Bytes, KeyChange<Bytes>>> {
        let step = match self.step {
            Step::Announce(next) => KeyStep::Announce(*next.as_bytes()),
            Step::Retire => KeyStep::Retire,
            Step::Abort => KeyStep::Abort,
        };
        let (id, incarnation, plane) = (self.id, self.incarnation.get(), self.plane.clone());
        let value = KeyChange { id, incarnation, plane, sequence: self.sequence, step };
        self.is_signed_by(node_key, signature).then_some(Signed { value, by: *node_key.as_bytes() })
    }
}
