//! The change of one known peer, without reading the kernel's state: its cost does not depend on the number of peers.
//!
//! The kernel confirms a change, but nothing here shows what other programs have done: the next round of the reconcile loop
//! compares the whole state.

use kubedos_wire::planes::Peer as WantedPeer;
use kubedos_wire::value::PlaneId;

use super::plan::{Edit, as_configured};
use super::{Change, Kernel, PeerEdit, SettleError};

/// Changes one peer of a plane from `was`, which an earlier change has configured, to `is`. `None` is a peer that does not exist.
/// Returns a description of the change, or `None` if both are the same.
pub fn change_peer(
    kernel: &mut Kernel,
    plane: &PlaneId,
    was: Option<&WantedPeer>,
    is: Option<&WantedPeer>,
) -> Result<Option<String>, SettleError> {
    let edits = edits(was, is);
    if edits.is_empty() {
        return Ok(None);
    }
    let links = kernel.links()?;
    let link = links.iter().find(|link| link.name == plane.as_str()).ok_or_else(|| {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        SettleError::Kernel(format!("change a peer of {plane}"), missing)
    })?;
    let change = Change::Peers { plane: plane.clone(), link: link.index, edits };
    kernel.apply(&change)?;
    Ok(Some(change.to_string()))
}

/// Pure. A removal comes first, so that its addresses are free. An endpoint that stays is not sent, because the kernel may have
/// learned a newer one.
fn edits(was: Option<&WantedPeer>, is: Option<&WantedPeer>) -> Vec<PeerEdit> {
    if was == is {
        return Vec::new();
    }
    let mut edits = Vec::new();
    if let Some(was) = was.filter(|was| is.is_none_or(|is| is.key != was.key)) {
        let what = format!("remove {}", was.name);
        edits.push(PeerEdit { key: *was.key.bytes(), what, edit: Edit::Remove });
    }
    if let Some(is) = is {
        let same = was.filter(|was| was.key == is.key);
        let what = if same.is_some() { "change" } else { "add" };
        let mut edit = as_configured(is);
        if let (Edit::Set { endpoint, .. }, Some(was)) = (&mut edit, same)
            && was.endpoint == is.endpoint
        {
            *endpoint = None;
        }
        edits.push(PeerEdit { key: *is.key.bytes(), what: format!("{what} {}", is.name), edit });
    }
    edits
}

#[cfg(test)]
mod tests {
    //! After the change, the plan for the new peers is empty, whatever the change was.

    use proptest::prelude::*;

    use super::super::tests::{execute, run, up, wanted_peer};
    use super::super::{Want, plan};
    use super::*;

    fn peer() -> impl Strategy<Value = Option<WantedPeer>> {
        let peer = (40_u8..43, any::<bool>(), proptest::option::of(1_u16..60), 0_u8..3);
        let peer = peer.prop_map(|(number, endpoint, keepalive, ranges)| WantedPeer {
            keepalive,
            allowed: (0..ranges).map(|last| format!("10.101.1.{last}/32").parse().unwrap()).collect(),
            ..wanted_peer(number, endpoint)
        });
        proptest::option::of(peer)
    }

    proptest! {
        #[test]
        fn a_changed_peer_needs_no_further_change(was in peer(), is in peer()) {
            // A peer that keeps its key and loses its endpoint keeps the one of the kernel: it is where the peer is.
            let (mut wants, mut state) = up();
            let with = |wants: &mut [Want; 2], peer: &Option<WantedPeer>| {
                wants[0].plane.peers.retain(|known| !(40..43).contains(&known.key.bytes()[0]));
                wants[0].plane.peers.extend(peer.clone());
            };
            with(&mut wants, &was);
            run(&wants, &mut state);
            with(&mut wants, &is);
            let plane = wants[0].plane.id.clone();
            let link = state.link(&plane).unwrap().index;
            let edits = edits(was.as_ref(), is.as_ref());
            prop_assert_eq!(edits.is_empty(), was == is);
            execute(&mut state, &Change::Peers { plane, link, edits });
            prop_assert!(plan(&wants, &state).is_empty());
        }
    }
}
