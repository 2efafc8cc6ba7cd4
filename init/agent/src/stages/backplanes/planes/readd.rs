//! Peers without a session are deleted and added again, which resets the timestamp that the kernel stores for them
//! (`clock/stale_peers.rs` says when and why). Only the reconcile loop does this, because it remembers the peers.
//!
//! If the kernel fails between the two halves of a change, the next plan of the plane adds the peer.

use std::collections::BTreeMap;
use std::time::Duration;

use kubedos_sys::netlink::wireguard::Key;
use kubedos_wire::planes::Peer as WantedPeer;
use kubedos_wire::value::PlaneId;

use super::plan::{Edit, as_configured};
use super::{Change, Kernel, Observed, PeerEdit, SettleError, Want};
use crate::stages::backplanes::clock::stale_peers::{self, Peer, Report, stale_peers};

/// A peer: the plane and the public key.
pub type Id = (PlaneId, Key);

/// The memory of the reconcile loop.
pub type Sessions = stale_peers::Sessions<Id>;

/// Deletes peers that have had no handshake for long, and adds them again. `have` is the state that [`super::settle`] has
/// left. Returns a description of each change.
pub fn readd_stale(
    kernel: &mut Kernel,
    want: &[Want],
    have: &Observed,
    sessions: &mut Sessions,
    boot: Duration,
) -> Result<Vec<String>, SettleError> {
    let peers = sessions.observe(reports(want, have), boot);
    let stale = stale_peers(&peers);
    let mut done = Vec::new();
    for change in plan(want, have, &peers, &stale) {
        kernel.apply(&change)?;
        done.push(change.to_string());
    }
    stale.iter().for_each(|id| sessions.readded(id, boot));
    Ok(done)
}

fn wanted(want: &Want) -> BTreeMap<&Key, &WantedPeer> {
    want.plane.peers.iter().map(|peer| (peer.key.bytes(), peer)).collect()
}

/// What the kernel reports about the peers of all planes. Peers that the node shall not have are left out.
pub(super) fn reports(want: &[Want], have: &Observed) -> Vec<Report<Id>> {
    let of_plane = |want: &Want| -> Vec<Report<Id>> {
        let wanted = wanted(want);
        let report = |key: &Key, handshake| {
            let has_keepalive = wanted.get(key)?.keepalive.is_some();
            Some(Report { id: (want.plane.id.clone(), *key), handshake, has_keepalive })
        };
        have.peers(&want.plane.id).iter().filter_map(|peer| report(&peer.key, peer.handshake)).collect()
    };
    want.iter().flat_map(of_plane).collect()
}

/// The changes that delete the stale ones of `peers` and add them again with their configured values. Pure.
pub(super) fn plan(want: &[Want], have: &Observed, peers: &[Peer<Id>], stale: &[Id]) -> Vec<Change> {
    let silence: BTreeMap<&Id, Duration> = peers.iter().map(|peer| (&peer.id, peer.silence)).collect();
    let of_plane = |want: &Want| {
        let link = have.link(&want.plane.id)?;
        let wanted = wanted(want);
        let edits = |id: &Id| -> Option<[PeerEdit; 2]> {
            let peer = wanted.get(&id.1).filter(|_| id.0 == want.plane.id)?;
            let minutes = silence.get(id)?.as_secs() / 60;
            let what = format!("re-add {}, which has had no session for {minutes} minutes", peer.name);
            let second = PeerEdit { key: id.1, what: String::new(), edit: as_configured(peer) };
            Some([PeerEdit { key: id.1, what, edit: Edit::Remove }, second])
        };
        let edits: Vec<PeerEdit> = stale.iter().filter_map(edits).flatten().collect();
        (!edits.is_empty()).then(|| Change::Peers { plane: want.plane.id.clone(), link: link.index, edits })
    };
    want.iter().filter_map(of_plane).collect()
}
