//! Decides whether a partition table is a kubedOS table. Every entry must have the number, type, name and place of the layout; a disk
//! with any other content is not changed.

use super::{Area, DATA_MIN, Layout, MIB, PAYLOAD_MAX, Place, Role, Slot, Volume, adopted, shipped};
use crate::gpt::{Partition, Table};

/// The state of a kubedOS disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As the file was shipped: slot A only.
    Shipped,
    /// Adopted: both slots, STATE and DATA.
    Adopted,
}

/// A partition table that matches the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Shipped or adopted.
    pub state: State,
    /// The current places of its partitions.
    pub layout: Layout,
}

/// Compares a table with the layout. `None`: it is not a kubedOS table, or it is in a state that kubedOS never writes.
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
        // The end of DATA depends on the size that the disk had when DATA was created or last grown.
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

/// Whether a partition has the type, the name and the place of the layout.
pub fn lies_at(table: &Table, partition: &Partition, place: &Place) -> bool {
    partition.type_guid == place.role.type_guid()
        && partition.name == place.role.to_string()
        && table.start_bytes(partition) == place.start
        && table.len_bytes(partition) == place.len
}
