//! The LUKS2 containers of STATE and DATA: classifies the content of their partitions and plans what to do. Pure.
//!
//! Creating a container takes many writes by several programs. The header carries the mark [`luks::UNFINISHED`] until
//! everything inside has been created and flushed; the last step replaces the mark in one update of the header, which
//! has two copies. The partition table contains a store's partition only after its container is finished (ADR 0060), and
//! the anchor of a disk survives damage to the headers.
//!
//! Invariant: a store that was never finished is created; a finished store is never created again unless `allowDestroy`
//! permits it. If its header can no longer be read, the header is restored from the backup, or the node halts.

use super::identity;
use super::luks::{self, Checked, Headers, Unacceptable};
use super::survey::Store;

/// The content of a store's partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No header and no other known magic number.
    NoHeader,
    /// A kubedOS container whose creation was interrupted; it has never been used.
    Unfinished,
    /// A finished kubedOS container with the one header shape that the agent writes.
    Finished(Checked),
    /// A LUKS2 magic number, but both copies of the header are damaged.
    Damaged,
    /// A finished kubedOS container whose header does not have the shape that the agent writes.
    Unacceptable(Unacceptable),
    /// Content that kubedOS did not write.
    Foreign(String),
}

/// Classifies a store's partition from its first [`luks::AREA_BYTES`].
pub fn content(store: Store, area: &[u8]) -> Content {
    let headers = Headers::read(area);
    if headers.copies.is_empty() {
        return identity::known(area).map_or(Content::NoHeader, |what| Content::Foreign(what.into()));
    }
    let Some(newest) = headers.newest() else {
        // Creation was interrupted while the first header was written, so the container has never contained data.
        let never_used = headers.copies.iter().all(|copy| copy.subsystem == luks::UNFINISHED);
        return if never_used { Content::Unfinished } else { Content::Damaged };
    };
    match newest.subsystem.as_str() {
        _ if newest.label != store.label() => {
            Content::Foreign(format!("a LUKS container labelled `{}`", newest.label))
        }
        luks::UNFINISHED => Content::Unfinished,
        luks::FINISHED => Checked::read(area).map_or_else(Content::Unacceptable, Content::Finished),
        other => Content::Foreign(format!("a LUKS container of `{other}`")),
    }
}

/// One change to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerChange {
    /// Formats, opens, creates the file system, finishes. The previous content is lost.
    Create {
        /// The store.
        store: Store,
        /// A description of the data that is lost; `None` if no data is lost.
        lost: Option<String>,
    },
    /// Writes the header from its backup. The data is not changed.
    Restore {
        /// The store.
        store: Store,
        /// The header to write.
        header: Checked,
    },
}

/// Why a partition is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContainerRefusal {
    /// The partition contains foreign data.
    #[error(
        "{partition} is for {store}, but contains {what}; it was not changed, because allowDestroy does not name its disk"
    )]
    Foreign {
        /// The kernel's name of the partition.
        partition: String,
        /// The store that the partition is for.
        store: &'static str,
        /// The content.
        what: String,
    },
    /// The store existed, and its container no longer has a usable header.
    #[error(
        "{partition} contained {store}, but {what}; it was not changed: restore the header from a backup (cryptsetup luksHeaderRestore), name the disk in allowDestroy to create {store} again, or replace the node (a seed with a new incarnation and an empty disk)"
    )]
    Lost {
        /// The kernel's name of the partition.
        partition: String,
        /// The store that the partition is for.
        store: &'static str,
        /// The fault.
        what: &'static str,
    },
    /// The header may be forged.
    #[error("the header of {store} on {partition} is not a header that kubedOS writes, and was not used")]
    Unacceptable {
        /// The kernel's name of the partition.
        partition: String,
        /// The store that the partition is for.
        store: &'static str,
        /// The difference from a header that kubedOS writes.
        #[source]
        source: Unacceptable,
    },
    /// The header is intact, but its key slot was created with a different key.
    #[error(
        "the key of this node's seed does not open {partition}: {store} belongs to another node or another incarnation; it was not changed, because allowDestroy does not name its disk"
    )]
    OtherKey {
        /// The kernel's name of the partition.
        partition: String,
        /// The store that the partition is for.
        store: &'static str,
    },
}

/// The facts about a store's partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The store.
    pub store: Store,
    /// The kernel's name of its partition.
    pub partition: String,
    /// Its content.
    pub content: Content,
    /// The container is finished, and it is open or this node's key has opened it.
    pub opens: bool,
    /// The store was finished before: the partition table contains its partition, or the disk has an anchor of this node.
    pub existed: bool,
    /// The header backup in the disk's anchor.
    pub backup: Option<Checked>,
}

/// The changes that are needed before both containers can be opened. Empty if both are open.
pub fn plan(facts: &[ContainerFacts], may_destroy: bool) -> Result<Vec<ContainerChange>, ContainerRefusal> {
    let mut changes = Vec::new();
    for facts in facts {
        changes.extend(plan_one(facts, may_destroy)?);
    }
    Ok(changes)
}

fn plan_one(facts: &ContainerFacts, may_destroy: bool) -> Result<Option<ContainerChange>, ContainerRefusal> {
    let store = facts.store;
    let (partition, name) = (facts.partition.clone(), store.name());
    let unreadable = match &facts.content {
        Content::Finished(_) if facts.opens => return Ok(None),
        Content::NoHeader | Content::Unfinished if !facts.existed => {
            return Ok(Some(ContainerChange::Create { store, lost: None }));
        }
        Content::NoHeader => Some("it no longer has a header"),
        Content::Unfinished => Some("its header belongs to a container that was never used"),
        Content::Damaged => Some("both copies of its header are damaged"),
        Content::Finished(_) | Content::Unacceptable(_) | Content::Foreign(_) => None,
    };
    if let (Some(_), Some(backup)) = (unreadable, &facts.backup) {
        return Ok(Some(ContainerChange::Restore { store, header: backup.clone() }));
    }
    let refusal = match (&facts.content, unreadable) {
        (_, Some(what)) => ContainerRefusal::Lost { partition, store: name, what },
        (Content::Unacceptable(source), _) => {
            ContainerRefusal::Unacceptable { partition, store: name, source: source.clone() }
        }
        (Content::Foreign(what), _) => {
            ContainerRefusal::Foreign { partition, store: name, what: what.clone() }
        }
        (_, None) => ContainerRefusal::OtherKey { partition, store: name },
    };
    if !may_destroy {
        return Err(refusal);
    }
    let lost = match &refusal {
        ContainerRefusal::Foreign { what, .. } => what.clone(),
        ContainerRefusal::Lost { what, .. } => format!("the previous {name}: {what}"),
        ContainerRefusal::Unacceptable { .. } => {
            format!("a container of {name} with a header that kubedOS does not write")
        }
        ContainerRefusal::OtherKey { .. } => format!("a container of {name} with a different key"),
    };
    Ok(Some(ContainerChange::Create { store, lost: Some(lost) }))
}

#[cfg(test)]
mod tests {
    use super::super::fake_disks::luks_area_of;
    use super::*;

    fn facts(content: Content) -> ContainerFacts {
        ContainerFacts {
            store: Store::State,
            partition: "vda25".into(),
            content,
            opens: false,
            existed: false,
            backup: None,
        }
    }

    fn area(subsystem: &str) -> Vec<u8> {
        luks_area_of(Store::State, subsystem, 1)
    }

    fn finished() -> Checked {
        Checked::read(&area(luks::FINISHED)).unwrap()
    }

    /// A byte of the JSON area, which the checksum covers.
    const CHECKED: usize = 5000;

    #[test]
    fn the_content_of_a_partition_is_recognised() {
        let whole = area(luks::FINISHED);
        let unfinished = area(luks::UNFINISHED);
        let mut torn = unfinished.clone();
        torn[CHECKED] ^= 1;
        torn[luks::COPY_BYTES..].fill(0);
        let mut second_only = whole.clone();
        second_only[..512].fill(0);
        let mut damaged = whole.clone();
        damaged[CHECKED] ^= 1;
        damaged[luks::COPY_BYTES + CHECKED] ^= 1;
        let mut xfs = vec![0; luks::AREA_BYTES];
        xfs[..4].copy_from_slice(b"XFSB");
        let data = luks_area_of(Store::Data, luks::FINISHED, 1);
        let cases = [
            (vec![0; luks::AREA_BYTES], Content::NoHeader),
            (vec![0x5a; luks::AREA_BYTES], Content::NoHeader),
            (whole, Content::Finished(finished())),
            (second_only, Content::Finished(finished())),
            (unfinished, Content::Unfinished),
            (torn, Content::Unfinished),
            (damaged, Content::Damaged),
            (data, Content::Foreign("a LUKS container labelled `kubedos-data`".into())),
            (xfs, Content::Foreign("an XFS file system".into())),
        ];
        for (area, expected) in cases {
            assert_eq!(content(Store::State, &area), expected);
        }
    }

    /// The newer copy counts, even if it is the second one.
    #[test]
    fn an_interrupted_finish_is_unfinished_or_finished_but_never_damaged() {
        let old = luks_area_of(Store::State, luks::UNFINISHED, 4);
        let new = luks_area_of(Store::State, luks::FINISHED, 5);
        let mut both = new[..luks::COPY_BYTES].to_vec();
        both.extend_from_slice(&old[luks::COPY_BYTES..]);
        assert!(matches!(content(Store::State, &both), Content::Finished(_)));
        both[CHECKED] ^= 1; // the first copy is torn, so the older copy counts, and it is unfinished
        assert_eq!(content(Store::State, &both), Content::Unfinished);
    }

    fn contents() -> Vec<Content> {
        vec![
            Content::NoHeader,
            Content::Unfinished,
            Content::Damaged,
            Content::Finished(finished()),
            Content::Unacceptable(Unacceptable::Binary("the size")),
            Content::Foreign("an XFS file system".into()),
        ]
    }

    /// O1: a finished store is never created again without permission, for any content of the partition; every refusal
    /// contains the partition.
    #[test]
    fn a_finished_store_is_never_created_again_without_permission() {
        for content in contents() {
            for backup in [None, Some(finished())] {
                let existed =
                    ContainerFacts { existed: true, backup: backup.clone(), ..facts(content.clone()) };
                match plan(&[existed], false) {
                    Ok(changes) => assert!(
                        matches!(changes.as_slice(), [ContainerChange::Restore { header, .. }] if Some(header) == backup.as_ref()),
                        "{content:?}: {changes:?}"
                    ),
                    Err(refusal) => assert!(refusal.to_string().contains("vda25"), "{refusal}"),
                }
            }
        }
    }

    /// S3: even with `allowDestroy` a backup is restored first, and the plan describes the lost data.
    #[test]
    fn allow_destroy_recreates_only_stores_that_cannot_be_restored() {
        for content in contents() {
            let existed = ContainerFacts { existed: true, ..facts(content.clone()) };
            let changes = plan(std::slice::from_ref(&existed), true).unwrap();
            assert!(
                matches!(changes.as_slice(), [ContainerChange::Create { lost: Some(_), .. }]),
                "{content:?}: {changes:?}"
            );
            let restorable = ContainerFacts { backup: Some(finished()), ..existed };
            let restored =
                matches!(plan(&[restorable], true).unwrap().as_slice(), [ContainerChange::Restore { .. }]);
            let unreadable = matches!(content, Content::NoHeader | Content::Unfinished | Content::Damaged);
            assert_eq!(restored, unreadable, "{content:?}");
        }
    }

    #[test]
    fn a_new_store_is_created_and_foreign_content_is_refused() {
        for content in [Content::NoHeader, Content::Unfinished] {
            let changes = plan(&[facts(content)], false).unwrap();
            assert_eq!(changes, [ContainerChange::Create { store: Store::State, lost: None }]);
        }
        for content in
            [Content::Damaged, Content::Finished(finished()), Content::Foreign("an XFS file system".into())]
        {
            assert!(plan(&[facts(content)], false).is_err());
        }
    }

    #[test]
    fn an_open_container_is_not_changed() {
        for may_destroy in [false, true] {
            let open = ContainerFacts { opens: true, existed: true, ..facts(Content::Finished(finished())) };
            assert_eq!(plan(&[open], may_destroy), Ok(vec![]));
        }
    }

    /// The message lists the ways to continue.
    #[test]
    fn the_refusal_of_a_lost_header_lists_the_remedies() {
        let existed = ContainerFacts { existed: true, ..facts(Content::NoHeader) };
        let text = plan(&[existed], false).unwrap_err().to_string();
        for words in ["vda25", "state", "luksHeaderRestore", "allowDestroy", "new incarnation"] {
            assert!(text.contains(words), "{words} is not in {text}");
        }
    }
}
