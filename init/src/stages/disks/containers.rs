//! The LUKS2 containers of STATE and DATA: what is in their partitions, and what to do about it. Pure.
//!
//! Making a container is many writes by several programs. It bears the mark [`luks::UNFINISHED`] until everything inside has been
//! made and flushed; the last step replaces the mark, in one header update that has two copies. So a container is either
//! unfinished, has never held anything, and is made anew from the start; or it is finished and is never formatted unasked.

use super::identity;
use super::luks::{self, Headers};
use super::survey::{Store, Survey};

/// What lies in the partition of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing that is known: it may be used. (Our partition was just made here.)
    Free,
    /// Ours, but its making was cut off.
    Unfinished,
    /// Ours, finished.
    Finished,
    /// Ours by its marks, but neither copy of its header is whole.
    Damaged,
    /// Somebody else's.
    Foreign(String),
}

/// The content of a store's partition, from its first bytes.
pub fn content(store: Store, head: &[u8]) -> Content {
    let headers = Headers::read(head);
    if headers.copies.is_empty() {
        return identity::known(head).map_or(Content::Free, |what| Content::Foreign(what.into()));
    }
    let Some(newest) = headers.newest() else {
        // Cut off while the first header was written: nothing had ever been in it.
        let never_used = headers.copies.iter().all(|copy| copy.subsystem == luks::UNFINISHED);
        return if never_used { Content::Unfinished } else { Content::Damaged };
    };
    match newest.subsystem.as_str() {
        _ if newest.label != store.label() => {
            Content::Foreign(format!("a LUKS container labelled `{}`", newest.label))
        }
        luks::UNFINISHED => Content::Unfinished,
        luks::FINISHED => Content::Finished,
        other => Content::Foreign(format!("a LUKS container of `{other}`")),
    }
}

/// One thing to do about a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerChange {
    /// Format, open, make the file system, finish.
    Make(Store),
    /// Open with the node's key.
    Open(Store),
}

/// Why a partition is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerRefusal {
    /// It holds something of somebody else.
    #[error(
        "{partition} should hold {store}, but holds {what}; its disk is not named in allowDestroy, so it was left as it is"
    )]
    Foreign {
        /// The kernel's name of the partition.
        partition: String,
        /// What it is for.
        store: &'static str,
        /// What it holds.
        what: String,
    },
    /// Its header is damaged.
    #[error(
        "the header of the container of {store} on {partition} is damaged in both copies; it was left as it is"
    )]
    Damaged {
        /// The kernel's name of the partition.
        partition: String,
        /// What it is for.
        store: &'static str,
    },
}

/// A store's partition and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Which store.
    pub store: Store,
    /// The kernel's name of its partition.
    pub partition: String,
    /// What lies in it.
    pub content: Content,
}

/// The changes after which both containers are open. Empty when they are.
pub fn plan(
    facts: &[ContainerFacts],
    survey: &Survey,
    may_destroy: bool,
) -> Result<Vec<ContainerChange>, ContainerRefusal> {
    let mut changes = Vec::new();
    for ContainerFacts { store, partition, content } in facts {
        let change = match content {
            Content::Finished if survey.open.contains_key(store) => continue,
            Content::Finished => ContainerChange::Open(*store),
            Content::Free | Content::Unfinished => ContainerChange::Make(*store),
            Content::Damaged | Content::Foreign(_) if may_destroy => ContainerChange::Make(*store),
            Content::Damaged => {
                return Err(ContainerRefusal::Damaged { partition: partition.clone(), store: store.name() });
            }
            Content::Foreign(what) => {
                let what = what.clone();
                return Err(ContainerRefusal::Foreign {
                    partition: partition.clone(),
                    store: store.name(),
                    what,
                });
            }
        };
        changes.push(change);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::super::replica::luks_copies;
    use super::*;

    fn facts(content: Content) -> Vec<ContainerFacts> {
        vec![ContainerFacts { store: Store::State, partition: "vda25".into(), content }]
    }

    fn head(label: &str, subsystem: &str) -> Vec<u8> {
        luks_copies(label, subsystem, 1)
    }

    #[test]
    fn the_content_of_a_partition_is_recognised() {
        let finished = head("kubedos-state", luks::FINISHED);
        let unfinished = head("kubedos-state", luks::UNFINISHED);
        let mut torn = unfinished.clone();
        torn[CHECKED] ^= 1;
        torn[luks::COPY_BYTES..].fill(0);
        let mut second_only = finished.clone();
        second_only[..512].fill(0);
        let mut damaged = finished.clone();
        damaged[CHECKED] ^= 1;
        damaged[luks::COPY_BYTES + CHECKED] ^= 1;
        let mut xfs = vec![0; luks::HEAD_BYTES];
        xfs[..4].copy_from_slice(b"XFSB");
        let cases = [
            (vec![0; luks::HEAD_BYTES], Content::Free),
            (vec![0x5a; luks::HEAD_BYTES], Content::Free),
            (finished, Content::Finished),
            (second_only, Content::Finished),
            (unfinished, Content::Unfinished),
            (torn, Content::Unfinished),
            (damaged, Content::Damaged),
            (head("backup", "mine"), Content::Foreign("a LUKS container labelled `backup`".into())),
            (
                head("kubedos-data", luks::FINISHED),
                Content::Foreign("a LUKS container labelled `kubedos-data`".into()),
            ),
            (xfs, Content::Foreign("an XFS file system".into())),
        ];
        for (head, expected) in cases {
            assert_eq!(content(Store::State, &head), expected);
        }
    }

    /// A byte of the JSON area, which the checksum covers.
    const CHECKED: usize = 5000;

    /// The newer copy counts, also when it is the second one.
    #[test]
    fn an_interrupted_finish_is_unfinished_or_finished_but_never_damaged() {
        let old = luks_copies("kubedos-state", luks::UNFINISHED, 4);
        let new = luks_copies("kubedos-state", luks::FINISHED, 5);
        let mut both = new[..luks::COPY_BYTES].to_vec();
        both.extend_from_slice(&old[luks::COPY_BYTES..]);
        assert_eq!(content(Store::State, &both), Content::Finished);
        both[CHECKED] ^= 1; // the first copy was torn: the older one counts, and nothing has been used yet
        assert_eq!(content(Store::State, &both), Content::Unfinished);
    }

    /// O1, S3: what is somebody else's is refused by name, and taken only with allowDestroy.
    #[test]
    fn foreign_and_damaged_content_needs_allow_destroy() {
        let survey = Survey::default();
        for content in [Content::Foreign("an XFS file system".into()), Content::Damaged] {
            let refusal = plan(&facts(content.clone()), &survey, false).unwrap_err();
            assert!(refusal.to_string().contains("vda25") && refusal.to_string().contains("left as it is"));
            assert_eq!(plan(&facts(content), &survey, true), Ok(vec![ContainerChange::Make(Store::State)]));
        }
    }

    #[test]
    fn a_finished_container_is_opened_once_and_never_made_again() {
        let mut survey = Survey::default();
        for may_destroy in [false, true] {
            survey.open.clear();
            let opened = plan(&facts(Content::Finished), &survey, may_destroy);
            assert_eq!(opened, Ok(vec![ContainerChange::Open(Store::State)]));
            survey.open.insert(Store::State, 1 << 30);
            assert_eq!(plan(&facts(Content::Finished), &survey, may_destroy), Ok(vec![]));
        }
        assert_eq!(
            plan(&facts(Content::Unfinished), &survey, false),
            Ok(vec![ContainerChange::Make(Store::State)]),
            "an open mapping of an unfinished container is no reason to keep it"
        );
    }
}
