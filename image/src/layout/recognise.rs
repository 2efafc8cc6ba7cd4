//! Is a partition table one of ours? Only a table whose every entry has the number, type, name and place of the layout is; a disk
//! with anything else on it is not touched.

use super::{Area, DATA_MIN, Layout, MIB, PAYLOAD_MAX, Place, Role, Slot, Volume, adopted, shipped};
use crate::gpt::{Partition, Table};

/// In which state a disk of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As the file was shipped: slot A only.
    Shipped,
    /// Adopted: both slots, STATE and DATA.
    Adopted,
}

/// A table of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Shipped or adopted.
    pub state: State,
    /// Where its partitions are now.
    pub layout: Layout,
}

/// Compares a table with the layout. `None`: the table is not ours, or not in a state that our software leaves behind.
pub fn recognise(table: &Table) -> Option<Recognised> {
    let payload = Role::Volume(Volume::Payload, Area::Data, Slot::A);
    let entries = table.partitions().count();
    let (state, mut layout) = if table.get(14).is_none() {
        let payload = table.get(13).map(|partition| table.len_bytes(partition))?;
        if payload % MIB != 0 || payload > PAYLOAD_MAX {
            return None;
        }
        (State::Shipped, shipped(payload).ok()?)
    } else {
        (State::Adopted, adopted(table.disk_bytes()).ok()?)
    };
    if entries != layout.places.len() {
        return None;
    }
    for place in &mut layout.places {
        let partition = table.get(place.number)?;
        // DATA ends where it ended when it was made, or last grown.
        if place.role == Role::Data {
            place.len = table.len_bytes(partition);
            if place.len < DATA_MIN || place.len % MIB != 0 {
                return None;
            }
        }
        if !lies_at(table, partition, place) {
            return None;
        }
    }
    debug_assert!(layout.place(payload).is_some());
    layout.disk_bytes = table.disk_bytes();
    Some(Recognised { state, layout })
}

/// Does a partition have the type, the name and the place that the layout gives it?
pub fn lies_at(table: &Table, partition: &Partition, place: &Place) -> bool {
    partition.type_guid == place.role.type_guid()
        && partition.name == place.role.to_string()
        && table.start_bytes(partition) == place.start
        && table.len_bytes(partition) == place.len
}
